//! Finding and reading programs.

use crate::error::CommandError;
use crate::ui::Ui;
use crate::units;
use mil::text::tree::Func;
use mil::text::{Checked, Read, check};
use mil::{Function, Report};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The name of a program in a folder.
const PROGRAM: &str = "model.mil";
/// The deepest nesting of folders that is searched: `X.mlpackage/Data/com.apple.CoreML/X.mlmodelc`.
const DEEPEST: usize = 4;
/// Entries of a folder that are looked at: a model has few.
const ENTRIES: usize = 10_000;

/// A MIL text and where it came from.
#[derive(Debug)]
pub struct Source {
    /// As messages call it.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The folder that `@model_path` stands for.
    pub folder: PathBuf,
    pub text: String,
    lines: Vec<usize>,
}

impl Source {
    /// The text that `path` names, or that is in the folder `path`.
    ///
    /// # Errors
    /// If there is none, or it is no UTF-8.
    pub fn open(path: &Path) -> Result<Source, CommandError> {
        let path = if path.is_dir() { find(path)? } else { path.to_owned() };
        let bytes = read(&path).map_err(|e| {
            let text = format!("cannot read `{}`: {e}", path.display());
            CommandError::input(text, "Name a MIL text, or a folder with a model.mil in it.")
        })?;
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = parent.unwrap_or(Path::new(".")).to_owned();
        Source::new(path.display().to_string(), path.clone(), folder, bytes)
    }

    /// The text that comes from stdin.
    ///
    /// # Errors
    /// If it cannot be read, or is no UTF-8.
    pub fn stdin() -> Result<Source, CommandError> {
        let mut bytes = Vec::new();
        io::stdin().lock().take(LONGEST).read_to_end(&mut bytes).map_err(|e| {
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
            CommandError::input(text, "Give MIL text; a model.mlmodel or coremldata.bin is none.")
        })?;
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Ok(Source { name, path, folder, text, lines })
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
const LONGEST: u64 = 1 << 32;

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The program in `folder`, however deep: the one that is nearest.
fn find(folder: &Path) -> Result<PathBuf, CommandError> {
    let mut level = vec![folder.to_owned()];
    let (mut entries, mut uncompiled) = (0, false);
    for _ in 0..=DEEPEST {
        let mut found: Vec<PathBuf> = level.iter().map(|f| f.join(PROGRAM)).filter(|p| p.is_file()).collect();
        uncompiled |= level.iter().any(|f| f.join("model.mlmodel").is_file());
        if found.len() > 1 {
            found.sort();
            let names = found.iter().map(|p| format!("`{}`", p.display())).collect::<Vec<_>>().join(", ");
            return Err(CommandError::input(
                format!("there are {} programs in `{}`", found.len(), folder.display()),
                format!("Name one of them: {names}."),
            ));
        }
        if let Some(found) = found.pop() {
            return Ok(found);
        }
        let below = level.iter().filter_map(|f| fs::read_dir(f).ok()).flatten().flatten();
        let below = below.take(ENTRIES - entries).inspect(|_| entries += 1);
        let below = below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
        level = below.map(|e| e.path()).collect();
    }
    let hint = match uncompiled {
        true => {
            "The model is not compiled; `xcrun coremlcompiler compile` makes a folder with a model.mil of it."
        }
        false => "Name a MIL text, or a folder with a model.mil in it, as X.mlmodelc has.",
    };
    Err(CommandError::input(format!("there is no model.mil in `{}`", folder.display()), hint))
}
