//! Why a file is not read as a tokenizer.

use std::path::Path;

use crate::error::TrainError;

/// Why a file is not read as a tokenizer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// What is wrong with it.
    #[error("{0}")]
    Problem(String),
    /// It has a part of a kind that is not known.
    #[error("unknown {part} \"{kind}\" at `{place}`")]
    Unknown {
        /// `normalizer`, `decoder`, …
        part: &'static str,
        kind: String,
        /// Where in the file.
        place: String,
        /// The kinds that are known.
        known: &'static [&'static str],
    },
    /// It is a model of SentencePiece.
    #[error("it is a model of SentencePiece")]
    SentencePiece,
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        match error.is_syntax() || error.is_eof() {
            true => Self::Problem(format!("it is not JSON: {error}")),
            false => Self::Problem(error.to_string()),
        }
    }
}

impl From<String> for Refusal {
    fn from(problem: String) -> Self {
        Self::Problem(problem)
    }
}

impl Refusal {
    /// The error for the file `path`.
    pub(super) fn of_file(self, path: &Path) -> TrainError {
        let path = path.to_owned();
        match self {
            Self::Problem(problem) => TrainError::TokenizerFormat { path, problem },
            Self::Unknown { part, mut kind, place, known } => {
                if let Some((end, _)) = kind.char_indices().nth(LONGEST_KIND) {
                    kind.truncate(end);
                    kind.push('…');
                }
                TrainError::TokenizerKind { path, part, kind, place, known }
            }
            Self::SentencePiece => TrainError::SentencePiece { path },
        }
    }
}

/// Characters of an unknown kind that an error shows.
const LONGEST_KIND: usize = 40;
