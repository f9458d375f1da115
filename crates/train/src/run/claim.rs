//! Creating and locking a run's folder.

use super::{Options, RunError};
use crate::checkpoint::RunFolder;
use crate::error::TrainError;
use crate::fs::RunLock;

/// A run's folder that is created and locked before the first write.
pub(super) struct Claim<'a> {
    options: &'a Options,
    lock: Option<RunLock>,
}

impl<'a> Claim<'a> {
    /// An unlocked folder.
    pub(super) fn new(options: &'a Options) -> Claim<'a> {
        Claim { options, lock: None }
    }

    /// Creates and locks the folder, unless done before.
    ///
    /// # Errors
    /// `Busy` or `Occupied` if another process holds or has used it.
    pub(super) fn take(&mut self) -> Result<RunFolder, RunError> {
        let out = &self.options.out;
        if self.lock.is_some() {
            return Ok(RunFolder::at(out));
        }
        let folder = RunFolder::create(out)?;
        let lock = RunLock::take(out)?.ok_or_else(|| RunError::Busy { dir: out.clone() })?;
        // Another process may have trained here since the first check.
        if !self.options.resume && is_occupied(&folder)? {
            return Err(RunError::Occupied { dir: out.clone() });
        }
        folder.clean()?;
        self.lock = Some(lock);
        Ok(folder)
    }

    /// The lock, to be held during the run.
    pub(super) fn into_lock(self) -> Option<RunLock> {
        self.lock
    }
}

/// Whether the folder contains a run or a model.
pub(super) fn is_occupied(folder: &RunFolder) -> Result<bool, TrainError> {
    Ok(folder.newest()?.is_some() || folder.model().exists())
}
