//! Writing a file all at once or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile, TempPath};

use crate::error::TrainError;

/// What stands between a file's name and the random end of its temporary name.
const MARK: &str = ".tmp";

/// Random characters at the end of a temporary name.
const RANDOM: usize = 6;

/// A file that takes its name only when it is complete.
///
/// Bytes go to a new file `NAME.tmpXXXXXX` beside it, which nobody can have put there before;
/// [`AtomicFile::commit`] makes them durable and renames, which replaces a link and never follows it. Dropped
/// before that, for whatever reason, the temporary file is removed and an earlier `NAME` is as it was.
pub(crate) struct AtomicFile {
    path: PathBuf,
    // Closed before it is removed.
    writer: BufWriter<File>,
    temporary: TempPath,
}

impl AtomicFile {
    /// Starts writing `path`.
    pub(crate) fn create(path: &Path) -> Result<Self, TrainError> {
        // A rename would put a file in the place of a device or a folder.
        if fs::metadata(path).is_ok_and(|m| !m.is_file()) {
            let source = io::Error::new(io::ErrorKind::AlreadyExists, "it is not a regular file");
            return Err(TrainError::Io { doing: "replace", path: path.to_owned(), source });
        }
        let file = temporary_beside(path).map_err(TrainError::io("create", path))?;
        let (file, temporary) = file.into_parts();
        Ok(Self { path: path.to_owned(), writer: BufWriter::with_capacity(1 << 20, file), temporary })
    }

    /// Appends `bytes`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        self.writer.write_all(bytes).map_err(TrainError::io("write", &self.path))
    }

    /// Makes the content durable, then visible under its name.
    pub(crate) fn commit(mut self) -> Result<(), TrainError> {
        self.finish().map_err(TrainError::io("write", &self.path))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.writer.flush()?;
        self.writer.get_ref().sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        self.temporary.disable_cleanup(true);
        sync_folder(&self.path)
    }
}

/// A new file whose name begins as that of `path`, with the permissions of any new file.
fn temporary_beside(path: &Path) -> io::Result<NamedTempFile<File>> {
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push(MARK);
    Builder::new()
        .prefix(&prefix)
        .suffix("")
        .rand_bytes(RANDOM)
        .make_in(folder_of(path), |path| File::options().write(true).create_new(true).open(path))
}

/// Whether the file at `path` is what an interrupted write left, by this program or an earlier version of it, of a
/// file whose name `of` knows.
pub(super) fn is_remains(path: &Path, of: impl Fn(&str) -> bool) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((stem, end)) = name.rsplit_once(MARK) else { return false };
    let ours = end.is_empty() || end.len() == RANDOM && end.bytes().all(|b| b.is_ascii_alphanumeric());
    // A link is somebody else's.
    ours && of(stem) && path.symlink_metadata().is_ok_and(|m| m.is_file())
}

/// Makes a rename in the folder of `path` durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    // Only Unix lets a folder be opened and synced.
    if cfg!(unix) {
        File::open(folder_of(path))?.sync_all()?;
    }
    Ok(())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a whole file from `bytes`, all at once or not at all.
///
/// # Errors
/// [`TrainError::Io`]; an earlier file of that name is then as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let mut file = AtomicFile::create(path)?;
    file.write(bytes)?;
    file.commit()
}
