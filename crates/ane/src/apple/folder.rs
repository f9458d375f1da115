//! The temporary folder of a program: `model.mil` and `weights/`, where the compiler service looks for them.
//!
//! Its name follows from the program's content, so equal programs share it, in this process and in others. Here they
//! are counted; between processes each user holds a shared lock on a lock file next to the folder. The last user removes
//! both.

use crate::error::DeviceError;
use mil::Weights;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The folders of this process, with reference counts.
static LIVE: Mutex<BTreeMap<PathBuf, Live>> = Mutex::new(BTreeMap::new());

struct Live {
    users: usize,
    lock: File,
}

/// A reference to a temporary folder; dropping the last one removes it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Creates `root/<identifier>` with the files of a program, or shares an existing one.
    ///
    /// # Errors
    /// `WeightPath`, if a weight file would be outside; `Folder`, on an I/O error. Cleans up after itself.
    pub(super) fn create(
        root: &Path,
        identifier: &str,
        kernel: &str,
        text: &str,
        weights: &Weights,
    ) -> Result<Folder, DeviceError> {
        let inside = weights.files().map(|(path, bytes)| Ok((inside(kernel, path)?, bytes)));
        let files: Vec<(PathBuf, &[u8])> = inside.collect::<Result<_, DeviceError>>()?;
        let path = root.join(identifier);
        let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = live.get_mut(&path) {
            shared.users += 1;
            return Ok(Folder { path });
        }
        let lock = hold(&path)?;
        live.insert(path.clone(), Live { users: 1, lock });
        drop(live);
        // From here on, dropping removes what was written.
        let folder = Folder { path };
        folder.put(Path::new("model.mil"), text.as_bytes())?;
        folder.make(&folder.path.join("weights"))?;
        for (path, bytes) in files {
            folder.put(&path, bytes)?;
        }
        Ok(folder)
    }

    /// Whether no other kernel of this process uses it.
    pub(super) fn is_exclusive(&self) -> bool {
        let live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        live.get(&self.path).is_some_and(|shared| shared.users == 1)
    }

    /// Overwrites the weight files with `weights`, and also the compiler's output `data` if `compiled`.
    ///
    /// # Errors
    /// As [`Folder::create`].
    pub(super) fn rewrite(&self, kernel: &str, weights: &Weights, compiled: bool) -> Result<(), DeviceError> {
        for (path, bytes) in weights.files() {
            self.put(&inside(kernel, path)?, bytes)?;
            // Source: Orion and Espresso write the weight file there.
            if compiled {
                self.put(Path::new("data"), bytes)?;
            }
        }
        Ok(())
    }

    fn make(&self, dir: &Path) -> Result<(), DeviceError> {
        fs::create_dir_all(dir).map_err(failed("create", dir))
    }

    /// Writes a file atomically: another process may be reading one of the same name and content.
    fn put(&self, name: &Path, bytes: &[u8]) -> Result<(), DeviceError> {
        let path = self.path.join(name);
        let mut aside = path.clone().into_os_string();
        aside.push(format!(".{}", std::process::id()));
        let aside = PathBuf::from(aside);
        if let Some(dir) = path.parent() {
            self.make(dir)?;
        }
        let mut file = File::create(&aside).map_err(failed("create", &aside))?;
        file.write_all(bytes).map_err(failed("write", &aside))?;
        fs::rename(&aside, &path).map_err(failed("rename", &aside))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shared) = live.get_mut(&self.path) else { return };
        shared.users -= 1;
        if shared.users > 0 {
            return;
        }
        // While another process holds the lock, that process removes the folder. A folder that cannot be removed is
        // in the system's temporary folder, which the system clears.
        if let Some(Live { lock, .. }) = live.remove(&self.path)
            && lock.try_lock().is_ok()
        {
            let _ = fs::remove_dir_all(&self.path);
            let _ = fs::remove_file(lock_path(&self.path));
        }
    }
}

/// The path of a weight file within the folder: its path without `@model_path/`.
fn inside(kernel: &str, path: &str) -> Result<PathBuf, DeviceError> {
    let relative = path.strip_prefix("@model_path/").map(PathBuf::from);
    let plain = |p: &PathBuf| {
        p.components().all(|c| matches!(c, Component::Normal(_))) && p.components().next().is_some()
    };
    relative
        .filter(plain)
        .ok_or_else(|| DeviceError::WeightPath { kernel: kernel.to_owned(), path: path.to_owned() })
}

fn lock_path(folder: &Path) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Takes a shared lock on the folder's lock file.
fn hold(folder: &Path) -> Result<File, DeviceError> {
    let path = lock_path(folder);
    loop {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(failed("create", &path))?;
        file.lock_shared().map_err(failed("lock", &path))?;
        // Another process may have removed the file between these two lines; this lock is then on a deleted file.
        let held = file.metadata().map_err(failed("read", &path))?;
        match fs::metadata(&path) {
            Ok(there) if (there.dev(), there.ino()) == (held.dev(), held.ino()) => return Ok(file),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(failed("read", &path)(e)),
        }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DeviceError {
    let path = path.to_owned();
    move |source| DeviceError::Folder { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for a test.
    fn root(test: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("backpropane-folder-{test}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        root
    }

    fn weights(path: &str) -> Weights {
        let mut weights = Weights::new();
        weights.insert(path, b"bytes".to_vec());
        weights
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn equal_programs_share_a_folder_that_the_last_one_removes() {
        let root = root("share");
        let make =
            || Folder::create(&root, "id", "k", "text", &weights("@model_path/weights/w.bin")).unwrap();
        let (a, b) = (make(), make());
        assert_eq!(names(&root), ["id", "id.lock"]);
        assert_eq!(names(&root.join("id")), ["model.mil", "weights"]);
        assert_eq!(fs::read(root.join("id/weights/w.bin")).unwrap(), b"bytes");
        drop(a);
        assert!(root.join("id/model.mil").exists());
        drop(b);
        assert!(names(&root).is_empty());
        fs::remove_dir(&root).unwrap();
    }

    #[test]
    fn files_are_rewritten_in_the_folder_that_is_there() {
        let root = root("rewrite");
        let old = weights("@model_path/weights/w.bin");
        let folder = Folder::create(&root, "id", "k", "text", &old).unwrap();
        assert!(folder.is_exclusive());
        let mut new = Weights::new();
        new.insert("@model_path/weights/w.bin", b"other".to_vec());
        folder.rewrite("k", &new, false).unwrap();
        assert_eq!(fs::read(root.join("id/weights/w.bin")).unwrap(), b"other");
        assert_eq!(names(&root.join("id")), ["model.mil", "weights"]);
        folder.rewrite("k", &old, true).unwrap();
        assert_eq!(fs::read(root.join("id/data")).unwrap(), b"bytes");
        assert!(folder.rewrite("k", &weights("elsewhere"), false).is_err());
        let shared = Folder::create(&root, "id", "k", "text", &old).unwrap();
        assert!(!folder.is_exclusive() && !shared.is_exclusive());
        drop((folder, shared));
        assert!(names(&root).is_empty());
        fs::remove_dir(&root).unwrap();
    }

    #[test]
    fn another_processs_share_keeps_the_folder() {
        let root = root("other");
        let folder = Folder::create(&root, "id", "k", "text", &Weights::new()).unwrap();
        // A second file description acts on the lock like another process.
        let other = hold(&root.join("id")).unwrap();
        drop(folder);
        assert_eq!(names(&root), ["id", "id.lock"]);
        drop(other);
        drop(Folder::create(&root, "id", "k", "text", &Weights::new()).unwrap());
        assert!(names(&root).is_empty());
        fs::remove_dir(&root).unwrap();
    }

    #[test]
    fn weights_lie_inside_or_nowhere() {
        let root = root("inside");
        for path in ["weights/w.bin", "@model_path/../w.bin", "@model_path//etc/w.bin", "@model_path/"] {
            let error = Folder::create(&root, "id", "k", "text", &weights(path)).unwrap_err();
            assert!(matches!(error, DeviceError::WeightPath { .. }), "{path}: {error}");
        }
        assert!(names(&root).is_empty());
        let missing = root.join("no");
        let error = Folder::create(&missing, "id", "k", "text", &Weights::new()).unwrap_err();
        assert!(error.to_string().contains("id.lock"), "{error}");
        fs::remove_dir(&root).unwrap();
    }
}
