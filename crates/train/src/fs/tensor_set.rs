//! Tensors in one safetensors file, or in several with an index.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Component, Path};

use serde::Deserialize;

use super::limited::read_limited;
use super::tensors::TensorFile;
use crate::error::TrainError;

/// The longest index that is read: that of a model of 600 billion weights takes 9 MB.
const MAX_INDEX: u64 = 12 << 20;

/// The format's name in errors.
const KIND: &str = "safetensors index";

/// The most files: each stays open.
const MAX_FILES: usize = 1000;

/// The tensors of a model.
#[derive(Debug)]
pub struct TensorSet {
    files: Vec<TensorFile>,
    /// The file of each tensor; empty if there is one file.
    places: HashMap<String, usize>,
}

impl TensorSet {
    /// Opens one file.
    ///
    /// # Errors
    /// As [`TensorFile::open`].
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        Ok(Self { files: vec![TensorFile::open(path)?], places: HashMap::new() })
    }

    /// Opens the files that an index names: JSON with a `weight_map` from tensors to files in its folder.
    ///
    /// # Errors
    /// [`TrainError::Io`]; [`TrainError::FileFormat`] for an index that is none, names a file that is not there or a tensor that is
    /// not in its file, and for a tensor in two files; otherwise as [`TensorFile::open`].
    pub fn open_index(path: &Path) -> Result<Self, TrainError> {
        let refused = |problem: String| refused(path, problem);
        let index = read(path)?;
        let dir = path.parent().unwrap_or(Path::new(""));
        let names: BTreeSet<&str> = index
            .iter()
            .map(|(name, file)| file_name(file).ok_or_else(|| refused(not_a_file(name, file))))
            .collect::<Result<_, _>>()?;
        if names.len() > MAX_FILES {
            return Err(refused(format!("it names {} files, this program reads {MAX_FILES}", names.len())));
        }
        let mut set = Self { files: Vec::new(), places: HashMap::new() };
        let mut numbers = HashMap::new();
        for name in names {
            let file = dir.join(name);
            if !file.exists() {
                return Err(refused(format!("it names `{name}`, which is not there")));
            }
            set.add(TensorFile::open(&file)?).map_err(refused)?;
            numbers.insert(name, set.files.len() - 1);
        }
        for (name, file) in &index {
            if set.places.get(name) != numbers.get(file.as_str()) {
                return Err(refused(format!("it says that tensor `{name}` is in `{file}`, where it is not")));
            }
        }
        Ok(set)
    }

    fn add(&mut self, file: TensorFile) -> Result<(), String> {
        for name in file.names() {
            if let Some(&other) = self.places.get(&name) {
                let shown =
                    |file: &TensorFile| file.path().file_name().unwrap_or_default().display().to_string();
                let (a, b) = (shown(&self.files[other]), shown(&file));
                return Err(format!("tensor `{name}` is in `{a}` and in `{b}`"));
            }
            self.places.insert(name, self.files.len());
        }
        self.files.push(file);
        Ok(())
    }

    /// The files.
    pub fn files(&self) -> &[TensorFile] {
        &self.files
    }

    /// The file with the tensor `name`; the first one, which has it not, if none has.
    pub fn file_of(&self, name: &str) -> &TensorFile {
        &self.files[self.places.get(name).copied().unwrap_or(0)]
    }

    /// The names of all tensors, file by file.
    pub fn names(&self) -> Vec<String> {
        self.files.iter().flat_map(TensorFile::names).collect()
    }
}

fn refused(path: &Path, problem: String) -> TrainError {
    TrainError::FileFormat { path: path.to_owned(), kind: KIND, problem }
}

fn not_a_file(tensor: &str, file: &str) -> String {
    format!("it says that tensor `{tensor}` is in `{file}`, which is no file of its folder")
}

/// The map from tensors to files.
fn read(path: &Path) -> Result<BTreeMap<String, String>, TrainError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = read_limited(path, KIND, MAX_INDEX)?;
    let index: Index = serde_json::from_slice(&text).map_err(|e| refused(path, e.to_string()))?;
    if index.weight_map.is_empty() {
        return Err(refused(path, "its `weight_map` is empty".to_owned()));
    }
    Ok(index.weight_map)
}

/// The name of a file in the index's own folder.
fn file_name(name: &str) -> Option<&str> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) => Some(name),
        _ => None,
    }
}
