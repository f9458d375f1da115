//! Models in several files: which tensors go into which, and the names of the files.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::TrainError;

/// The tensors of each file, in order: as many as fit into `most` bytes, and at least one.
pub fn plan(sizes: &[u64], most: Option<u64>) -> Vec<Range<usize>> {
    let most = most.unwrap_or(u64::MAX);
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0u64);
    for (at, size) in sizes.iter().enumerate() {
        if at > start && bytes.saturating_add(*size) > most {
            parts.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes = bytes.saturating_add(*size);
    }
    parts.push(start..sizes.len());
    parts
}

/// The names of `count` files: `path` alone, or with `-00001-of-0000N` before its extension.
pub fn names(path: &Path, count: usize) -> Vec<PathBuf> {
    if count == 1 {
        return vec![path.to_owned()];
    }
    (1..=count).map(|number| part(path, number, count)).collect()
}

/// The name of one of several files.
pub fn part(path: &Path, number: usize, count: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{number:05}-of-{count:05}{extension}"))
}

/// The path without its part's number, and the number of parts, if `path` is the name of a part.
pub fn parts_of(path: &Path) -> Option<(PathBuf, usize)> {
    let stem = path.file_stem()?.to_str()?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(count) || !is_number(number) {
        return None;
    }
    let extension = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    Some((path.with_file_name(format!("{stem}{extension}")), count.parse().ok()?))
}

/// The files in the folder `dir` that begin as GGUF files do and are called `*.gguf`.
///
/// # Errors
/// [`TrainError::Io`] if the folder cannot be listed.
pub fn gguf_files(dir: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(TrainError::io("read", dir))? {
        let path = entry.map_err(TrainError::io("read", dir))?.path();
        let is_named = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
        if is_named && path.is_file() && begins_with(&path, b"GGUF") {
            files.push(path);
        }
    }
    Ok(files)
}

fn begins_with(path: &Path, mark: &[u8; 4]) -> bool {
    let mut head = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == *mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_fill_files_in_order_and_names_tell_their_place() {
        let all = |n: usize| std::iter::once(0..n).collect::<Vec<_>>();
        assert_eq!(plan(&[5, 5, 5], None), all(3));
        assert_eq!(plan(&[5, 5, 5], Some(10)), [0..2, 2..3]);
        // A tensor larger than a file has one of its own.
        assert_eq!(plan(&[1, 50, 1], Some(10)), [0..1, 1..2, 2..3]);
        assert_eq!(plan(&[], Some(10)), all(0));
        let paths = names(Path::new("a/m.gguf"), 2);
        assert_eq!(paths, [Path::new("a/m-00001-of-00002.gguf"), Path::new("a/m-00002-of-00002.gguf")]);
        assert_eq!(parts_of(&paths[1]), Some((PathBuf::from("a/m.gguf"), 2)));
        for other in ["m.gguf", "m-1-of-2.gguf", "m-00001-of-0000x.gguf", "-of-00002.gguf"] {
            assert_eq!(parts_of(Path::new(other)), None, "{other}");
        }
    }
}
