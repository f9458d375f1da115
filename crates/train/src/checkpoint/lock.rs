//! One process a run.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use crate::error::TrainError;

/// The file that is locked.
const NAME: &str = ".lock";

/// A run's folder, taken until this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct RunLock {
    /// `None` where the file system knows no locks.
    _file: Option<File>,
}

impl RunLock {
    /// Whether a process has ever taken the folder `dir`.
    pub(crate) fn is_in(dir: &Path) -> bool {
        dir.join(NAME).exists()
    }

    /// Takes the folder `dir`, which exists; `None` if another process has it.
    ///
    /// # Errors
    /// [`TrainError::Io`] if the file of the lock cannot be made, [`TrainError::Link`] if it is a link.
    pub(crate) fn take(dir: &Path) -> Result<Option<Self>, TrainError> {
        let path = dir.join(NAME);
        refuse_link(&path)?;
        let file = File::options().create(true).write(true).truncate(false).open(&path);
        let file = file.map_err(TrainError::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: Some(file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            // Some network file systems have no locks; training there is as good as it ever was.
            Err(TryLockError::Error(_)) => Ok(Some(Self { _file: None })),
        }
    }
}

/// Refuses to write to `path` where that would write elsewhere.
pub(crate) fn refuse_link(path: &Path) -> Result<(), TrainError> {
    match path.symlink_metadata() {
        Ok(found) if found.is_symlink() => Err(TrainError::Link { path: path.to_owned() }),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(TrainError::io("write", path)(error)),
    }
}
