//! File tests: MIL programs whose first lines state the tests and their expectations.
//!
//! ```text
//! //! # Lines like this one are comments.
//! //! test read print verify
//! //! test run engine=reference,soft close=ulp16:2
//! //! test grad wrt=x
//! //! x = [[1.0, 2.0, 3.0]]
//! //! y = [[0.0900, 0.2447, 0.6652]]
//! program(1.3)
//! ```
//!
//! | test | holds if |
//! |---|---|
//! | `read` | the text parses, or is refused as the file expects |
//! | `print` | printing and parsing round-trip; `as=FILE`: it prints that file |
//! | `check` | it is valid, with unknown sizes allowed, or is refused as the file expects |
//! | `verify` | it is valid and can run, or is refused as the file expects |
//! | `run` | each `engine` computes the given outputs within the tolerance `close`: `exact`, `ulp16:N`, `ulp32:N`, `abs:X` |
//! | `grad` | autodiff agrees with finite differences of the mathematics, for each input of `wrt`; of fp32 programs |
//!
//! `NAME = …` gives an input, an output, or, as `d_NAME`, the cotangent of an output; elements are written as in MIL.
//! `@model_path/…/FILE = TYPE …` gives a weight file with one tensor at offset 64. `// error[code]` at the end of a
//! line expects that refusal there, `//! error[code]` one that has no place.
#![forbid(unsafe_code)]

mod case;
mod check;
mod close;
mod engine;
mod grad;
mod value;

pub use engine::{ENGINES, Engine, RunFn};

use std::fmt;
use std::path::{Path, PathBuf};

/// A failed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The file.
    pub file: PathBuf,
    /// The message, one or more lines.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.message)
    }
}

/// The result of checking a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The number of files checked.
    pub files: usize,
    /// Failed tests.
    pub failures: Vec<Failure>,
    /// Tests that could not run, and why.
    pub skipped: Vec<String>,
}

/// Checks every `.mil` file below `folder`. With `bless`, failed expectations are updated instead.
///
/// # Errors
/// If a file cannot be read, or a blessed file cannot be written.
pub fn check_folder(folder: &Path, bless: bool) -> std::io::Result<Totals> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let mut outcome = Totals { files: files.len(), ..Totals::default() };
    for file in files {
        let source = std::fs::read_to_string(&file)?;
        let result = check::check(&file, &source, bless);
        if let Some(blessed) = result.blessed {
            std::fs::write(&file, blessed)?;
        }
        let failure = |message| Failure { file: file.clone(), message };
        outcome.failures.extend(result.failures.into_iter().map(failure));
        outcome.skipped.extend(result.skipped.iter().map(|text| format!("{}: {text}", file.display())));
    }
    Ok(outcome)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "mil") {
            files.push(path);
        }
    }
    Ok(())
}
