//! The traces of a run's last steps, for `train --trace`.

use crate::commands::{check_place, write_file};
use crate::error::CommandError;
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
    /// Keeps the last `steps` steps, if they are to be written to a file.
    ///
    /// # Errors
    /// If no file can be written there.
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

    /// Writes them as one trace, in order of time; a process that took no step keeps the file of the previous one.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&mut self) -> Result<(), CommandError> {
        let Some(path) = self.path else { return Ok(()) };
        let Some(mut all) = self.last.pop_back() else { return Ok(()) };
        self.last.iter().rev().for_each(|trace| all.append(trace));
        write_file(path, &all.to_chrome_json())
    }
}
