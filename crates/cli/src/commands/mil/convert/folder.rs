//! A folder that appears whole or not at all, and weight files beside a text.

use super::super::weights::Folder;
use crate::error::CommandError;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// A folder that is being written, under another name until it is complete.
pub struct NewFolder {
    temporary: PathBuf,
    out: PathBuf,
    is_finished: bool,
}

impl NewFolder {
    /// Begins the folder `out`, which must not be there.
    ///
    /// # Errors
    /// If no folder can be made beside it.
    pub fn create(out: &Path) -> Result<NewFolder, CommandError> {
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let temporary = out.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        fs::create_dir(&temporary).map_err(|e| unwritten(out, &e))?;
        Ok(NewFolder { temporary, out: out.to_owned(), is_finished: false })
    }

    /// Writes a file of the folder.
    pub fn write(&mut self, below: &Path, bytes: &[u8]) -> Result<(), CommandError> {
        self.file(below)
            .and_then(|mut f| f.write_all(bytes).and_then(|()| f.sync_all()))
            .map_err(|e| unwritten(&self.out, &e))
    }

    /// Copies the weight files, each to its place below the folder `model`; returns how many bytes they have.
    pub fn copy_all(
        &mut self,
        model: &Path,
        weights: &BTreeMap<&str, &str>,
        from: &mut Folder,
    ) -> Result<u64, CommandError> {
        let mut total = 0;
        for (path, to) in weights {
            let mut target = self.file(&model.join(to)).map_err(|e| unwritten(&self.out, &e))?;
            let mut source = from.whole(path)?;
            let copied = io::copy(&mut source, &mut target).and_then(|n| target.sync_all().map(|()| n));
            total += copied.map_err(|e| unwritten(&self.out, &e))?;
        }
        Ok(total)
    }

    /// Gives the folder its name.
    pub fn finish(mut self) -> Result<(), CommandError> {
        let parent = self.out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A folder that has appeared meanwhile is not replaced: it is empty, or this fails.
        fs::rename(&self.temporary, &self.out)
            .and_then(|()| File::open(parent)?.sync_all())
            .map_err(|e| unwritten(&self.out, &e))?;
        self.is_finished = true;
        Ok(())
    }

    fn file(&self, below: &Path) -> io::Result<File> {
        let path = self.temporary.join(below);
        fs::create_dir_all(path.parent().unwrap_or(&self.temporary))?;
        File::create_new(path)
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if !self.is_finished {
            // What cannot be removed harms nobody: it has a name of its own.
            let _ = fs::remove_dir_all(&self.temporary);
        }
    }
}

/// Puts the weight files beside the text `out`, where its paths name them; returns how many bytes they have. A file that is
/// there with the same bytes stays, and one with others is not replaced.
pub fn beside(out: &Path, weights: &BTreeMap<&str, &str>, from: &mut Folder) -> Result<u64, CommandError> {
    let folder = out.parent().unwrap_or(Path::new(""));
    let mut total = 0;
    for (path, to) in weights {
        let target = folder.join(to);
        if fs::symlink_metadata(&target).is_ok() {
            let held =
                File::open(&target).and_then(|file| same(file, from.whole(path).map_err(io::Error::other)?));
            total += match held.map_err(|e| unwritten(&target, &e))? {
                Some(bytes) => bytes,
                None => {
                    return Err(CommandError::input(
                        format!("`{}` is there already, with other weights", target.display()),
                        "Write the text to another folder.",
                    ));
                }
            };
            continue;
        }
        let parent = target.parent().unwrap_or(folder);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let temporary = target.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let mut source = from.whole(path)?;
        let copied =
            fs::create_dir_all(parent).and_then(|()| File::create_new(&temporary)).and_then(|mut file| {
                let copied = io::copy(&mut source, &mut file)?;
                file.sync_all()?;
                fs::rename(&temporary, &target)?;
                Ok(copied)
            });
        total += copied.map_err(|e| {
            let _ = fs::remove_file(&temporary);
            unwritten(&target, &e)
        })?;
    }
    Ok(total)
}

/// The number of bytes, if both have the same.
fn same(mut a: impl Read, mut b: impl Read) -> io::Result<Option<u64>> {
    let (mut x, mut y) = (Vec::new(), Vec::new());
    let mut total = 0;
    loop {
        x.clear();
        y.clear();
        a.by_ref().take(1 << 16).read_to_end(&mut x)?;
        b.by_ref().take(1 << 16).read_to_end(&mut y)?;
        if x != y {
            return Ok(None);
        }
        if x.is_empty() {
            return Ok(Some(total));
        }
        total += x.len() as u64;
    }
}

fn unwritten(path: &Path, error: &io::Error) -> CommandError {
    let text = format!("cannot write `{}`: {error}", path.display());
    CommandError::input(text, "Name a place that can be written, with room for the weights.")
}
