//! From text to training windows: text files, token files, the split into training and validation, and which
//! window a step trains on.
//!
//! ```text
//! text ─────────────► tokens ──► windows at any place
//! lines of JSON ──┬─► tokens ──┐
//!                 └─► examples ┴► windows of examples, with the targets that count
//! ```
//!
//! Text is read in chunks, encoded and written to a file of little-endian tokens ([`tokenize`]). Windows are read from the
//! token file when they are needed ([`TokenFile`]), so memory does not grow with the file. A file that is truncated or
//! overwritten while in use is an error.

mod example;
mod example_set;
mod example_windows;
mod records;
mod split;
mod synthetic;
mod text;
mod token_file;
mod token_layout;
mod tokenize;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub(crate) use example::Encoding;
pub use example::LossOn;
pub(crate) use example_set::ExampleSet;
pub use example_set::ExampleSource;
pub use example_windows::ExampleCounts;
pub(crate) use example_windows::{ExampleWindow, ExampleWindows};
pub use records::Keys;
pub(crate) use records::Lines;
pub use split::{Sampler, Split, windows};
pub use synthetic::regression_sample;
pub use text::TextSource;
pub use token_file::TokenFile;
pub use tokenize::{tokenize, train_tokenizer};

use crate::error::TrainError;

/// The text that is built into the program: fifteen plays of Shakespeare, 2 MB of ASCII.
///
/// Source and licence: `assets/README.md`.
pub fn bundled() -> &'static str {
    include_str!("../../../../assets/shakespeare-15-plays.txt")
}

/// Training data: text, examples or tokens.
#[derive(Debug)]
pub enum Source {
    /// Text, not yet tokenized.
    Text(TextSource),
    /// Lines of JSON, not yet tokenized.
    Examples(ExampleSource),
    /// A file of tokens, such as llama2.c's pretokenized stories.
    Tokens(PathBuf),
}

impl Source {
    /// Detects what `path` holds.
    ///
    /// A file whose name ends in `.bin`, `.npy` or `.safetensors`, or that begins as one of llm.c's, of NumPy's or with a header of
    /// safetensors, holds tokens. A file whose first line is a JSON object holds examples; `valid.jsonl` beside `train.jsonl` validates.
    /// Any other file, and the `.txt` files of a folder, hold text. A folder with `train.jsonl`, or with `.jsonl` files and no `.txt`
    /// file, holds examples. Names of formats that hold none of these are refused.
    ///
    /// # Errors
    /// [`TrainError::Io`], [`TrainError::EmptyText`], [`TrainError::NoTextFiles`], [`TrainError::DataFormat`].
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let extension = path.extension().map(|e| e.to_ascii_lowercase()).unwrap_or_default();
        if path.is_dir() {
            return Self::open_folder(path);
        }
        // A pipe would lose its first bytes.
        let mut head = Vec::new();
        if path.is_file() {
            let file = File::open(path).map_err(TrainError::io("read", path))?;
            file.take(HEAD).read_to_end(&mut head).map_err(TrainError::io("read", path))?;
        }
        if token_layout::says_tokens(&head) {
            return Ok(Self::Tokens(path.to_owned()));
        }
        let extension = extension.to_str().unwrap_or_default();
        if matches!(extension, "bin" | "npy" | "safetensors") {
            // Fail early if the file cannot be read.
            File::open(path).map_err(TrainError::io("read", path))?;
            return Ok(Self::Tokens(path.to_owned()));
        }
        let is_lines = LINES.contains(&extension);
        if path.is_file() && !head.is_empty() && (is_lines || records::is_json_lines(path)?) {
            let name = path.file_name().and_then(|name| name.to_str());
            let valid = (name == Some(TRAIN)).then(|| valid_beside(path)).flatten();
            let train = vec![path.to_owned()];
            return Ok(Self::Examples(ExampleSource { name: path.to_owned(), train, valid }));
        }
        let (what, remedy) = match extension {
            "json" => ("JSON that is not one record a line", LINE_BY_LINE),
            "parquet" | "arrow" => ("a table", EXTRACT),
            "gz" | "zip" | "zst" | "xz" | "bz2" | "7z" | "tar" | "tgz" => {
                ("packed files", "Unpack it, and name the text.")
            }
            _ => return TextSource::open(path).map(Self::Text),
        };
        Err(TrainError::DataFormat { path: path.to_owned(), what, extension: extension.to_owned(), remedy })
    }

    fn open_folder(path: &Path) -> Result<Self, TrainError> {
        let (name, train) = (path.to_owned(), path.join(TRAIN));
        if train.is_file() {
            let valid = valid_beside(&train);
            return Ok(Self::Examples(ExampleSource { name, train: vec![train], valid }));
        }
        match TextSource::open(path) {
            Err(error @ TrainError::NoTextFiles { .. }) => {
                let mut train = Vec::new();
                for entry in path.read_dir().map_err(TrainError::io("read", path))? {
                    let file = entry.map_err(TrainError::io("read", path))?.path();
                    let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default();
                    if LINES.contains(&extension) && file.is_file() {
                        train.push(file);
                    }
                }
                train.sort();
                if train.is_empty() {
                    return Err(error);
                }
                Ok(Self::Examples(ExampleSource { name, train, valid: None }))
            }
            opened => opened.map(Self::Text),
        }
    }

    /// These data with the examples of the file `path` to validate on.
    ///
    /// # Errors
    /// [`TrainError::ValidFile`] if the data are no examples.
    pub(crate) fn validated_by(self, path: Option<&Path>) -> Result<Self, TrainError> {
        match (self, path) {
            (source, None) => Ok(source),
            (Self::Examples(source), Some(path)) => {
                File::open(path).map_err(TrainError::io("read", path))?;
                Ok(Self::Examples(ExampleSource { valid: Some(path.to_owned()), ..source }))
            }
            (_, Some(path)) => Err(TrainError::ValidFile { path: path.to_owned() }),
        }
    }
}

/// The file of examples that validates, beside the file `train`.
fn valid_beside(train: &Path) -> Option<PathBuf> {
    let beside = ["valid.jsonl", "validation.jsonl", "val.jsonl"].map(|name| train.with_file_name(name));
    beside.into_iter().find(|path| path.is_file())
}

/// The file of examples to train on, in a folder.
const TRAIN: &str = "train.jsonl";

/// Extensions of files with one JSON record a line.
const LINES: [&str; 2] = ["jsonl", "ndjson"];

/// Bytes that tell a format.
const HEAD: u64 = 16;

/// The remedy for a JSON document.
const LINE_BY_LINE: &str = "Write one record a line, as `jq -c '.[]'` does of a list, into a `.jsonl` file.";

/// The remedy for text in fields of tables.
const EXTRACT: &str = "Put the text itself into `.txt` files, a document in each, and name their folder.";

#[cfg(test)]
mod tests;
