//! Atomic writes: a file appears under its name only when complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile, TempPath};

use crate::error::TrainError;

/// Separates a file's name from the random suffix of its temporary name.
const MARK: &str = ".tmp";

/// Length of that suffix.
const RANDOM: usize = 6;

/// A file that is renamed to its final name only when complete.
///
/// Bytes go to a new file `NAME.tmpXXXXXX` in the same folder; an existing file of that name is never opened.
/// [`AtomicFile::commit`] syncs and renames it. The rename replaces a link and never follows it. Dropped before the commit, the
/// temporary file is removed, and an earlier `NAME` is unchanged.
pub(crate) struct AtomicFile {
    path: PathBuf,
    // Declared first, so that the file is closed before it is removed.
    writer: BufWriter<File>,
    temporary: TempPath,
}

impl AtomicFile {
    /// Starts writing `path`.
    pub(crate) fn create(path: &Path) -> Result<Self, TrainError> {
        // A rename would replace a device or a folder.
        if fs::metadata(path).is_ok_and(|m| !m.is_file()) {
            let source = io::Error::new(io::ErrorKind::AlreadyExists, "it is not a regular file");
            return Err(TrainError::Io { doing: "replace", path: path.to_owned(), source });
        }
        let file = temporary_beside(path).map_err(TrainError::io("create", path))?;
        let (file, temporary) = file.into_parts();
        Ok(Self { path: path.to_owned(), writer: BufWriter::with_capacity(1 << 20, file), temporary })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        self.writer.write_all(bytes).map_err(TrainError::io("write", &self.path))
    }

    /// Syncs the content, renames the file, and syncs the folder.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub(crate) fn commit(mut self) -> Result<(), TrainError> {
        self.finish().map_err(TrainError::io("write", &self.path))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        self.writer.get_ref().sync_all()?;
        // Not `TempPath::persist`: it makes the system call directly, so `cargo xtask crash` could not inject a fault.
        fs::rename(&self.temporary, &self.path)?;
        self.temporary.disable_cleanup(true);
        sync_folder(&self.path)
    }
}

/// Creates the temporary file of `path`, with the permissions of any new file.
fn temporary_beside(path: &Path) -> io::Result<NamedTempFile<File>> {
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push(MARK);
    Builder::new()
        .prefix(&prefix)
        .suffix("")
        .rand_bytes(RANDOM)
        .make_in(folder_of(path), |path| File::options().write(true).create_new(true).open(path))
}

/// Whether the file at `path` is a temporary file of an interrupted write, by this or an earlier version of the program, and
/// `of` accepts the name of its target.
pub(crate) fn is_remains(path: &Path, of: impl Fn(&str) -> bool) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((stem, end)) = name.rsplit_once(MARK) else { return false };
    let ours = end.is_empty() || end.len() == RANDOM && end.bytes().all(|b| b.is_ascii_alphanumeric());
    // This program creates no links.
    ours && of(stem) && path.symlink_metadata().is_ok_and(|m| m.is_file())
}

/// Syncs the folder of `path`, so that a rename in it survives a crash.
fn sync_folder(path: &Path) -> io::Result<()> {
    // Folders can be opened and synced on Unix only.
    if cfg!(unix) {
        File::open(folder_of(path))?.sync_all()?;
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes `bytes` to the file `path`, atomically.
///
/// # Errors
/// [`TrainError::Io`]; an existing file is then unchanged.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let mut file = AtomicFile::create(path)?;
    file.write(bytes)?;
    file.commit()
}
