//! The claim of a process to a run's folder.

use super::{Options, RunError};
use crate::checkpoint::RunFolder;
use crate::error::TrainError;
use crate::fs::RunLock;

/// A run's folder, which is created and locked when something is to be written to it first.
pub(super) struct Claim<'a> {
    options: &'a Options,
    lock: Option<RunLock>,
}

impl<'a> Claim<'a> {
    /// No claim yet.
    pub(super) fn new(options: &'a Options) -> Claim<'a> {
        Claim { options, lock: None }
    }

    /// Creates and locks the folder, if this was not done before.
    ///
    /// # Errors
    /// `Busy` or `Occupied` if another process has it, or was faster.
    pub(super) fn take(&mut self) -> Result<RunFolder, RunError> {
        let out = &self.options.out;
        if self.lock.is_some() {
            return Ok(RunFolder::at(out));
        }
        let folder = RunFolder::create(out)?;
        let lock = RunLock::take(out)?.ok_or_else(|| RunError::Busy { dir: out.clone() })?;
        // Another process may have trained here since this one looked.
        if !self.options.resume && is_occupied(&folder)? {
            return Err(RunError::Occupied { dir: out.clone() });
        }
        folder.clean()?;
        self.lock = Some(lock);
        Ok(folder)
    }

    /// The lock, to be held as long as the run lives.
    pub(super) fn into_lock(self) -> Option<RunLock> {
        self.lock
    }
}

/// Whether a run or a model is in the folder.
pub(super) fn is_occupied(folder: &RunFolder) -> Result<bool, TrainError> {
    Ok(folder.newest()?.is_some() || folder.model().exists())
}
