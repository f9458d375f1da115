//! From text to training windows: text files, token files, the split into training and validation, and which
//! window a step trains on.
//!
//! Text is read in pieces, encoded and written to a file of little-endian 16-bit tokens ([`tokenize`]).
//! Token files are read window by window at their position ([`TokenFile`]): memory stays constant however
//! large the file is, as with a memory map, and a file cut while in use is an error instead of a signal.

mod split;
mod synthetic;
mod text;
mod token_file;
mod tokenize;

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

/// What `--data` names.
#[derive(Debug)]
pub enum Source {
    /// Text that is still to be tokenized.
    Text(TextSource),
    /// A file of tokens, such as llama2.c's pretokenized stories.
    Tokens(PathBuf),
}

impl Source {
    /// A file whose name ends in `.bin` holds tokens; any other file, and the `.txt` files of a folder, hold
    /// text.
    ///
    /// # Errors
    /// [`TrainError::Io`], [`TrainError::EmptyText`], [`TrainError::NoTextFiles`].
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let tokens = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("bin")) && !path.is_dir();
        if tokens {
            // Fails here, and not after minutes of other work, if the file cannot be read.
            std::fs::File::open(path).map_err(TrainError::io("read", path))?;
            return Ok(Self::Tokens(path.to_owned()));
        }
        TextSource::open(path).map(Self::Text)
    }
}

#[cfg(test)]
mod tests;
