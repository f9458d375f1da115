//! The lock of a run's folder: only one process at a time trains in it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use crate::error::TrainError;

/// Name of the locked file.
const NAME: &str = ".lock";

/// The lock on a run's folder; released on drop, and by the system when the process ends.
#[derive(Debug)]
pub(crate) struct RunLock {
    /// `None` if the file system has no locks.
    _file: Option<File>,
}

impl RunLock {
    /// Whether the folder `dir` has a lock file.
    pub(crate) fn is_in(dir: &Path) -> bool {
        dir.join(NAME).exists()
    }

    /// Locks the existing folder `dir`; `None` if another process holds the lock.
    ///
    /// # Errors
    /// [`TrainError::Io`] if the lock file cannot be created, [`TrainError::Link`] if it is a symbolic link.
    pub(crate) fn take(dir: &Path) -> Result<Option<Self>, TrainError> {
        let path = dir.join(NAME);
        refuse_link(&path)?;
        let file = File::options().create(true).write(true).truncate(false).open(&path);
        let file = file.map_err(TrainError::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: Some(file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            // Some network file systems have no locks: train without one.
            Err(TryLockError::Error(_)) => Ok(Some(Self { _file: None })),
        }
    }
}

/// Refuses a `path` that is a symbolic link: writing to it would write elsewhere.
///
/// # Errors
/// [`TrainError::Link`], or [`TrainError::Io`].
pub(crate) fn refuse_link(path: &Path) -> Result<(), TrainError> {
    match path.symlink_metadata() {
        Ok(found) if found.is_symlink() => Err(TrainError::Link { path: path.to_owned() }),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(TrainError::io("write", path)(error)),
    }
}
