//! From text to training windows: text files, token files, the split into training and validation, and which
//! window a step trains on.
//!
//! Text is read in chunks, encoded and written to a file of little-endian tokens ([`tokenize`]). Windows are read from the
//! token file when they are needed ([`TokenFile`]), so memory does not grow with the file. A file that is truncated or
//! overwritten while in use is an error.

mod split;
mod synthetic;
mod text;
mod token_file;
mod token_layout;
mod tokenize;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

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

/// Training data: text or tokens.
#[derive(Debug)]
pub enum Source {
    /// Text, not yet tokenized.
    Text(TextSource),
    /// A file of tokens, such as llama2.c's pretokenized stories.
    Tokens(PathBuf),
}

impl Source {
    /// A file whose name ends in `.bin`, `.npy` or `.safetensors`, or that begins as one of llm.c's, of NumPy's or with a header of
    /// safetensors, holds tokens; any other file, and the `.txt` files of a folder, hold text. Names of formats that hold
    /// neither are refused.
    ///
    /// # Errors
    /// [`TrainError::Io`], [`TrainError::EmptyText`], [`TrainError::NoTextFiles`], [`TrainError::DataFormat`].
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let extension = path.extension().map(|e| e.to_ascii_lowercase()).unwrap_or_default();
        if path.is_dir() {
            return TextSource::open(path).map(Self::Text);
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
        let (what, remedy) = match extension.to_str().unwrap_or_default() {
            "bin" | "npy" | "safetensors" => {
                // Fail early if the file cannot be read.
                File::open(path).map_err(TrainError::io("read", path))?;
                return Ok(Self::Tokens(path.to_owned()));
            }
            "jsonl" | "ndjson" | "json" => ("JSON records", EXTRACT),
            "parquet" | "arrow" => ("a table", EXTRACT),
            "gz" | "zip" | "zst" | "xz" | "bz2" | "7z" | "tar" | "tgz" => {
                ("packed files", "Unpack it, and name the text.")
            }
            _ => return TextSource::open(path).map(Self::Text),
        };
        let extension = extension.to_string_lossy().into_owned();
        Err(TrainError::DataFormat { path: path.to_owned(), what, extension, remedy })
    }
}

/// Bytes that tell a format.
const HEAD: u64 = 16;

/// The remedy for text in fields of records.
const EXTRACT: &str = "Put the text itself into `.txt` files, a document in each, and name their folder.";

#[cfg(test)]
mod tests;
