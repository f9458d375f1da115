//! The traces of a run's last steps, for `train --trace`.

use crate::error::CommandError;
use crate::output::{check_place, write_file};
use std::collections::VecDeque;
use std::path::Path;
use train::run::Trace;

/// The traces of the last steps.
#[derive(Debug)]
pub struct Traces<'a> {
    path: Option<&'a Path>,
    steps: usize,
    /// The newest first.
    last: VecDeque<Trace>,
}

impl<'a> Traces<'a> {
    /// Keeps the traces of the last `steps` steps, if `path` is given.
    ///
    /// # Errors
    /// If `path` cannot be written.
    pub fn new(path: Option<&'a Path>, steps: usize) -> Result<Traces<'a>, CommandError> {
        check_place(path)?;
        Ok(Traces { path, steps, last: VecDeque::new() })
    }

    /// Adds the trace of a step.
    pub fn add(&mut self, trace: &Trace) {
        if self.path.is_some() {
            self.last.truncate(self.steps - 1);
            self.last.push_front(trace.clone());
        }
    }

    /// Writes all as one Chrome trace, in order of time. Without any step it leaves the previous process's file alone.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&mut self) -> Result<(), CommandError> {
        let Some(path) = self.path else { return Ok(()) };
        let Some(mut all) = self.last.pop_back() else { return Ok(()) };
        self.last.iter().rev().for_each(|trace| all.append(trace));
        write_file(path, &all.to_chrome_json())
    }
}
