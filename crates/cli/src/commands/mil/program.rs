//! Finding and reading programs.

use super::find::{Found, find};
use crate::error::CommandError;
use crate::ui::Ui;
use crate::units;
use coreml::{ModelError, ModelText};
use mil::text::tree::Func;
use mil::text::{Checked, Read, check};
use mil::{Function, Report};
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A MIL text and where it came from. A model file is read as the text that it is in another notation.
#[derive(Debug)]
pub struct Source {
    /// As messages call it.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The folder that `@model_path` stands for.
    pub folder: PathBuf,
    pub text: String,
    /// What a model file has that its text does not hold, a sentence each; `None` if the file is the text.
    pub model: Option<Vec<String>>,
    lines: Vec<usize>,
}

impl Source {
    /// The program that `path` names, or that is in the folder `path`.
    ///
    /// # Errors
    /// If there is none, it is neither UTF-8 nor an ML program, or cannot be read.
    pub fn open(path: &Path) -> Result<Source, CommandError> {
        let Found { name, file, is_model } = find(path)?;
        let parent = file.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = parent.unwrap_or(Path::new(".")).to_owned();
        if is_model {
            let read = model(&file).map_err(|e| {
                CommandError::input(format!("cannot read `{}`: {e}", file.display()), e.hint())
            })?;
            return Ok(Source::of(name, file, folder, read.text, Some(read.lost)));
        }
        let bytes = read(&file).map_err(|e| {
            let text = format!("cannot read `{}`: {e}", file.display());
            CommandError::input(text, "Name a MIL text, a model file, or a folder with either in it.")
        })?;
        Source::new(name, file, folder, bytes)
    }

    /// The text that comes from stdin.
    ///
    /// # Errors
    /// If it cannot be read, or is no UTF-8.
    pub fn stdin() -> Result<Source, CommandError> {
        let bytes = all_of(io::stdin().lock()).map_err(|e| {
            CommandError::input(format!("cannot read stdin: {e}"), "Give the text of a program to it.")
        })?;
        Source::new("<stdin>".to_owned(), PathBuf::new(), PathBuf::from("."), bytes)
    }

    /// This text with the weights of another.
    pub fn beside(self, other: &Source) -> Source {
        Source { folder: other.folder.clone(), ..self }
    }

    fn new(name: String, path: PathBuf, folder: PathBuf, bytes: Vec<u8>) -> Result<Source, CommandError> {
        let text = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            let text = format!("`{name}` is no text in UTF-8: byte {at} does not belong there");
            CommandError::input(text, "Give MIL text or a Core ML model; a coremldata.bin is neither.")
        })?;
        Ok(Source::of(name, path, folder, text, None))
    }

    fn of(name: String, path: PathBuf, folder: PathBuf, text: String, model: Option<Vec<String>>) -> Source {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Source { name, path, folder, text, model, lines }
    }

    /// Line and column of byte `at`, both from 1, the column in characters.
    pub fn line_column(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|&start| start <= at).max(1);
        let start = self.lines[line - 1];
        let column = self.text.get(start..at).map_or(0, |text| text.chars().count());
        (line, column + 1)
    }

    /// Shows `report` on this text.
    pub fn explain(&self, ui: &Ui, report: &Report) {
        ui.report(report, &self.name, &self.text);
    }

    /// The mistake that the text itself is: shows `report`, of which the errors count.
    pub fn refuse(&self, ui: &Ui, report: &Report) -> CommandError {
        let errors = report.clone().errors();
        self.explain(ui, &errors);
        let count = units::plural(errors.diagnostics.len(), "error");
        CommandError::input(
            format!("`{}` has {count}", self.name),
            format!("Correct the program; `backpropane mil check {}` reports all errors.", self.name),
        )
    }

    /// Parses and resolves the text.
    ///
    /// # Errors
    /// If it is wrong; all that is wrong has then been shown.
    pub fn check(&self, ui: &Ui, read: &Read<'_>) -> Result<Checked, CommandError> {
        let checked = check(read);
        if checked.report.has_errors() { Err(self.refuse(ui, &checked.report)) } else { Ok(checked) }
    }

    /// Function `name`, or the main one, as program and as tree; all of its operations have a meaning here.
    ///
    /// # Errors
    /// If there is none, or it has opaque operations, which have then been shown.
    pub fn function<'c, 's>(
        &self,
        ui: &Ui,
        checked: &'c Checked,
        read: &'c Read<'s>,
        name: Option<&str>,
    ) -> Result<(&'c Function, &'c Func<'s>), CommandError> {
        let function = match name {
            Some(name) => checked.program.functions.iter().find(|f| f.name == name),
            None => checked.program.main(),
        };
        let both =
            function.and_then(|f| Some((f, read.tree.functions.iter().find(|t| t.name.text == f.name)?)));
        let Some((function, tree)) = both else {
            let names = checked.program.functions.iter().map(|f| format!("`{}`", f.name));
            let names = names.collect::<Vec<_>>().join(", ");
            return Err(match name {
                Some(name) => CommandError::input(
                    format!("`{}` has no function `{name}`", self.name),
                    format!("Name one that it has: {names}."),
                ),
                None => CommandError::input(
                    format!("`{}` has no function", self.name),
                    "Name a program that has one.",
                ),
            });
        };
        let mut report = Report::default();
        for opaque in opaque_in(checked, tree) {
            report.push(opaque.refusal());
        }
        if report.diagnostics.is_empty() {
            return Ok((function, tree));
        }
        self.explain(ui, &report);
        let count = units::plural(report.diagnostics.len(), "operation");
        Err(CommandError::input(
            format!(
                "function `{}` of `{}` has {count} that this program does not support",
                function.name, self.name
            ),
            "Leave these operations out of the program.",
        ))
    }
}

/// The unsupported operations of a function.
pub fn opaque_in<'c>(checked: &'c Checked, tree: &Func<'_>) -> impl Iterator<Item = &'c mil::text::Opaque> {
    let inside: Range<usize> = tree.block.span.range();
    checked.opaque.iter().filter(move |o| inside.contains(&o.range.start))
}

/// Longer texts are not read.
const LONGEST: u64 = 128 << 20;

/// The model file at `path`.
fn model(path: &Path) -> Result<ModelText, ModelError> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    coreml::read(&mut BufReader::with_capacity(64, file), length)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    limited(file.metadata()?.len())?;
    all_of(file)
}

/// All bytes of a text, if it is not too long.
fn all_of(from: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LONGEST + 1).read_to_end(&mut bytes)?;
    limited(bytes.len() as u64)?;
    Ok(bytes)
}

fn limited(length: u64) -> io::Result<()> {
    match length > LONGEST {
        true => Err(io::Error::other(format!("it has more than {} MiB", LONGEST >> 20))),
        false => Ok(()),
    }
}
