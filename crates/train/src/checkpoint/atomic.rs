//! Writing a file all at once or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::TrainError;

/// A file that takes its name only when it is complete.
///
/// Bytes go to `NAME.tmp` beside it; [`AtomicFile::commit`] makes them durable and renames. Dropped before
/// that, for whatever reason, the temporary file is removed and an earlier `NAME` is as it was.
pub(crate) struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    writer: Option<BufWriter<File>>,
}

impl AtomicFile {
    /// Starts writing `path`.
    pub(crate) fn create(path: &Path) -> Result<Self, TrainError> {
        // A rename would put a file in the place of a device or a folder.
        if fs::metadata(path).is_ok_and(|m| !m.is_file()) {
            let source = io::Error::new(io::ErrorKind::AlreadyExists, "it is not a regular file");
            return Err(TrainError::Io { doing: "replace", path: path.to_owned(), source });
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".tmp");
        let temporary = path.with_file_name(name);
        let file = File::create(&temporary).map_err(TrainError::io("create", path))?;
        Ok(Self { path: path.to_owned(), temporary, writer: Some(BufWriter::with_capacity(1 << 20, file)) })
    }

    /// Appends `bytes`.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), TrainError> {
        let result = match &mut self.writer {
            Some(writer) => writer.write_all(bytes),
            None => Ok(()),
        };
        result.map_err(TrainError::io("write", &self.path))
    }

    /// Makes the content durable, then visible under its name.
    pub(crate) fn commit(mut self) -> Result<(), TrainError> {
        self.finish().map_err(TrainError::io("write", &self.path))
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Some(mut writer) = self.writer.take() {
            let flushed = writer.flush().and_then(|()| writer.get_ref().sync_all());
            // Closes the file without another attempt to write what is still buffered.
            let _ = writer.into_parts();
            let renamed = flushed.and_then(|()| fs::rename(&self.temporary, &self.path));
            if renamed.is_err() {
                // Nobody is left to tell if this fails too; the first error is the one to report.
                let _ = fs::remove_file(&self.temporary);
            }
            renamed?;
            sync_folder(&self.path)?;
        }
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            let _ = writer.into_parts();
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Makes a rename in the folder of `path` durable.
fn sync_folder(path: &Path) -> io::Result<()> {
    // Only Unix lets a folder be opened and synced.
    if cfg!(unix) {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
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
