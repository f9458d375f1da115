//! The files of a model: one, those of a split one, or the only one in a folder.
//!
//! Parts are called `NAME-00001-of-0000N.gguf`; the first has the keys, all have tensors, `split.no`, `split.count` and
//! `split.tensors.count`. Source: llama.cpp `tools/gguf-split`.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::header::{Header, HeaderError};
use super::values::{KeyError, integer};
use crate::error::TrainError;
use crate::formats::shards;

/// The most parts: each header is in memory.
const MOST: u64 = 1000;

/// The files of a model with the header of the first, which has the tensors of all.
pub struct Parts {
    /// The files, in order.
    pub paths: Vec<PathBuf>,
    /// The keys of the first, the tensors of all.
    pub header: Header,
}

impl Parts {
    /// Opens the model that `path`, a file or a folder with one, is or is a part of.
    ///
    /// # Errors
    /// [`TrainError::Io`]; [`TrainError::FileFormat`] or [`TrainError::Unsupported`] for a header that cannot be read, and for parts
    /// that are missing or do not belong together.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let path = &if path.is_dir() { only_file(path)? } else { path.to_owned() };
        let mut header = header_of(path)?;
        let Some(count) = number(path, &header, "split.count")?.filter(|&count| count > 1) else {
            return Ok(Self { paths: vec![path.clone()], header });
        };
        if count > MOST {
            return Err(damaged(path, &format!("it is one of {count} parts, this program reads {MOST}")));
        }
        let Some((stem, _)) = shards::parts_of(path).filter(|(_, parts)| *parts as u64 == count) else {
            let problem = format!(
                "it is one of {count} parts, and its name does not end in `-00001-of-{count:05}.gguf`, so the others cannot be found"
            );
            return Err(damaged(path, &problem));
        };
        let paths: Vec<PathBuf> =
            (1..=count as usize).map(|n| shards::part(&stem, n, count as usize)).collect();
        if let Some(missing) = paths.iter().find(|part| !part.exists()) {
            let name = missing.file_name().unwrap_or_default().display();
            return Err(damaged(path, &format!("it is one of {count} parts, and `{name}` is not there")));
        }
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut tensors = Vec::new();
        for (part, path) in paths.iter().enumerate() {
            let own = header_of(path)?;
            for (key, want) in [("split.count", count), ("split.no", part as u64)] {
                let got = number(path, &own, key)?;
                if got != Some(want) {
                    let got = got.map_or("missing".to_owned(), |got| got.to_string());
                    return Err(damaged(path, &format!("`{key}` is {got}, by its name it is {want}")));
                }
            }
            for mut tensor in own.tensors {
                if let Some(other) = places.insert(tensor.name.clone(), part) {
                    let other = paths[other].file_name().unwrap_or_default().display();
                    return Err(damaged(path, &format!("tensor `{}` is in `{other}` too", tensor.name)));
                }
                tensor.part = part;
                tensors.push(tensor);
            }
            if part == 0 {
                header.keys = own.keys;
            }
        }
        let all = number(&paths[0], &header, "split.tensors.count")?;
        if all.is_some_and(|all| all != tensors.len() as u64) {
            let (want, got) = (all.unwrap_or_default(), tensors.len());
            return Err(damaged(&paths[0], &format!("its parts should have {want} tensors and have {got}")));
        }
        header.tensors = tensors;
        Ok(Self { paths, header })
    }

    /// The file that errors name.
    pub fn path(&self) -> &Path {
        self.paths.first().map_or(Path::new(""), PathBuf::as_path)
    }
}

/// The model's file in the folder `dir`: its only GGUF file, or the first part of the only split one.
fn only_file(dir: &Path) -> Result<PathBuf, TrainError> {
    let mut files = shards::gguf_files(dir)?;
    files.sort();
    let mut models: Vec<&PathBuf> = Vec::new();
    for file in &files {
        let stem = |path: &Path| shards::parts_of(path).map_or(path.to_owned(), |(stem, _)| stem);
        if !models.iter().any(|model| stem(model) == stem(file)) {
            models.push(file);
        }
    }
    match models[..] {
        [only] => Ok(only.clone()),
        [] => Err(damaged(dir, &"it has no GGUF file")),
        _ => {
            let names: Vec<String> = models
                .iter()
                .take(8)
                .map(|m| format!("`{}`", m.file_name().unwrap_or_default().display()))
                .collect();
            let problem = format!("it is a folder with {} GGUF files: {}", models.len(), names.join(", "));
            Err(TrainError::Several { path: dir.to_owned(), problem })
        }
    }
}

/// The header of the file `path`.
fn header_of(path: &Path) -> Result<Header, TrainError> {
    let reading = || TrainError::io("read", path);
    let file = File::open(path).map_err(reading())?;
    let length = file.metadata().map_err(reading())?.len();
    Header::read(BufReader::new(file), length).map_err(|e| match e {
        HeaderError::Read(source) => reading()(source),
        e if e.is_unsupported() => unsupported(path, &e),
        e => damaged(path, &e),
    })
}

fn number(path: &Path, header: &Header, key: &str) -> Result<Option<u64>, TrainError> {
    integer(header, key).map_err(|e| unfit(path, &e))
}

/// An error in the keys of the file `path`.
pub fn unfit(path: &Path, problem: &KeyError) -> TrainError {
    if problem.is_unsupported() { unsupported(path, problem) } else { damaged(path, problem) }
}

fn unsupported(path: &Path, problem: &impl std::fmt::Display) -> TrainError {
    TrainError::Unsupported { path: path.to_owned(), problem: problem.to_string() }
}

/// The file `path` is not what it should be.
pub fn damaged(path: &Path, problem: &impl std::fmt::Display) -> TrainError {
    TrainError::FileFormat { path: path.to_owned(), kind: "GGUF", problem: problem.to_string() }
}
