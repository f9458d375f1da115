//! Tests that are files: MIL programs that say in their first lines what must be so.
//!
//! ```text
//! //! # Lines like this one are for readers.
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
//! | `read` | the text is read, or refused as the file says |
//! | `print` | the program prints, and what is printed is read and prints the same; `as=FILE`: it prints that file |
//! | `check` | it is right as far as that can be said before it runs, or it is refused as the file says |
//! | `verify` | it is right and can run as it is, or it is refused as the file says |
//! | `run` | each `engine` computes the outputs given, as close as `close` says: `exact`, `ulp16:N`, `ulp32:N`, `abs:X` |
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

/// A file that does not hold what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The file.
    pub file: PathBuf,
    /// What is wrong, in one or more lines.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.message)
    }
}

/// What came of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many files were checked.
    pub files: usize,
    /// All that does not hold.
    pub failures: Vec<Failure>,
    /// What could not be tried, and why.
    pub skipped: Vec<String>,
}

/// Checks every `.mil` file below `folder`. With `bless`, expectations that do not hold are rewritten instead.
///
/// # Errors
/// If the folder or a file cannot be read, or a blessed one not be written.
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
