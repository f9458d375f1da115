//! `backpropane mil check`.

use super::super::print_json;
use super::program::Source;
use super::weights::{Folder, WeightError};
use crate::error::CommandError;
use crate::ui::Ui;
use crate::units;
use mil::diag::{Diagnostic, Place, Severity};
use mil::text::tree::{Block, Literal, Statement, Tree, Type, Value};
use mil::{Report, TensorType};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Weights that are wrong are told one by one up to this number; a foreign weight file makes all of them wrong.
const TOLD: usize = 20;

/// Say all that is wrong with MIL programs, and where
///
/// Checks the text: that it can be read, that names are defined, that every operation gets what it takes. Checks the
/// weights: that each BLOBFILE names a record of its type; of weight files only the records are read. Operations that
/// MIL has and this program has no meaning for are noted, and taken as they are written.
///
/// Exits with 1 if there is an error, with 2 if a program could not be read; warnings and notes are no errors.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane mil check model.mil
  backpropane mil check X.mlmodelc Y.mlmodelc
  backpropane mil check model.mil --weights blobs/ --json | jq '.[].diagnostics[].message'")]
pub struct CheckArgs {
    /// Programs to check: MIL texts, or folders with a model.mil in them
    #[arg(required = true, value_name = "PROGRAM")]
    programs: Vec<PathBuf>,

    /// Where the weight files are [default: where the program says, beside it]
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,

    /// Print one JSON array, an object for each program: file, operations, errors, warnings, notes, diagnostics
    #[arg(long)]
    json: bool,
}

pub fn run(ui: &Ui, args: &CheckArgs) -> Result<(), CommandError> {
    let (mut unread, mut wrong, mut listing) = (None, false, Vec::new());
    for path in &args.programs {
        let source = match Source::open(path) {
            Ok(source) => source,
            Err(error) => {
                ui.error(&error);
                unread = Some(error);
                continue;
            }
        };
        let verdict = examine(&source, args.weights.as_deref());
        wrong |= verdict.report.has_errors();
        if args.json {
            listing.push(verdict.listed(&source));
        } else {
            source.explain(ui, &verdict.report);
            ui.result(&verdict.summary(&source))?;
        }
    }
    if args.json {
        print_json(ui, &listing)?;
    }
    match unread {
        Some(error) => Err(error.told()),
        None if wrong => Err(CommandError::negative()),
        None => Ok(()),
    }
}

/// What was found out about a program.
#[derive(Debug)]
struct Verdict {
    /// Constants not counted.
    operations: usize,
    report: Report,
}

/// Asks everybody who knows something about the program.
fn examine(source: &Source, weights: Option<&Path>) -> Verdict {
    let read = mil::text::read(&source.text);
    let checked = mil::text::check(&read);
    let mut verdict = Verdict { operations: operations(&read.tree), report: checked.report };
    verdict.add(blobs(&read.tree, &mut Folder::new(&source.folder, weights)));
    verdict
}

impl Verdict {
    /// Adds what somebody else has found, and sorts all by its places.
    fn add(&mut self, findings: impl IntoIterator<Item = Diagnostic>) {
        self.report.diagnostics.extend(findings);
        self.report.diagnostics.sort_by_key(|d| match &d.place {
            Place::Text(range) => range.start,
            _ => usize::MAX,
        });
    }

    fn count(&self, severity: Severity) -> usize {
        self.report.diagnostics.iter().filter(|d| d.severity == severity).count()
    }

    /// `model.mil: 118 operations, 2 warnings`.
    fn summary(&self, source: &Source) -> String {
        let mut line = format!("{}: {}", source.name, units::plural(self.operations, "operation"));
        for severity in [Severity::Error, Severity::Warning, Severity::Note] {
            match self.count(severity) {
                0 => {}
                n => line.push_str(&format!(", {}", units::plural(n, severity.name()))),
            }
        }
        line
    }

    fn listed(&self, source: &Source) -> Listed {
        Listed {
            file: source.name.clone(),
            operations: self.operations,
            errors: self.count(Severity::Error),
            warnings: self.count(Severity::Warning),
            notes: self.count(Severity::Note),
            diagnostics: self.report.diagnostics.iter().map(|d| Finding::of(source, d)).collect(),
        }
    }
}

/// The operations of a program, constants not counted.
fn operations(tree: &Tree<'_>) -> usize {
    let mut count = 0;
    statements(tree, &mut |s| count += usize::from(s.op.text != "const"));
    count
}

/// Calls `f` with every statement, those of blocks included, in order.
fn statements<'t, 's>(tree: &'t Tree<'s>, f: &mut impl FnMut(&'t Statement<'s>)) {
    fn walk<'t, 's>(block: &'t Block<'s>, f: &mut impl FnMut(&'t Statement<'s>)) {
        for s in &block.statements {
            f(s);
            s.blocks.iter().for_each(|nested| walk(&nested.block, f));
        }
    }
    tree.functions.iter().for_each(|function| walk(&function.block, f));
}

/// What is wrong with the weights that the program names.
fn blobs(tree: &Tree<'_>, folder: &mut Folder) -> Vec<Diagnostic> {
    let mut literals: Vec<&Literal<'_>> = Vec::new();
    statements(tree, &mut |s| {
        let items = s.args.iter().flat_map(|arg| arg.value.items());
        let given = items.filter_map(|item| match item {
            mil::text::tree::Item::Literal(l) => Some(l),
            mil::text::tree::Item::Name(_) => None,
        });
        literals.extend(given.chain(s.attrs.iter().map(|a| &a.literal)));
    });
    let (mut found, mut more) = (Vec::new(), 0);
    // A file that is not there is told once, where it is first named.
    let mut absent: BTreeMap<&str, (Place, String, usize)> = BTreeMap::new();
    for literal in literals {
        let (Value::Blob { path, offset }, Type::Tensor { dtype, dims }) = (&literal.value, &literal.ty)
        else {
            continue;
        };
        // Unknown sizes of a constant are a mistake that is reported already.
        let Some(shape) = dims.iter().copied().collect::<Option<Vec<usize>>>() else { continue };
        let place = || Place::Text(literal.span.range());
        match folder.check(path, *offset, &TensorType::new(*dtype, shape)) {
            Ok(_) => {}
            Err(WeightError::Absent { looked, .. }) => {
                absent.entry(path).or_insert_with(|| (place(), looked, 0)).2 += 1;
            }
            Err(_) if found.len() >= TOLD => more += 1,
            Err(error) => {
                let mut wrong = Diagnostic::new("weight", error.to_string(), place());
                wrong.help = Some(error.hint().to_owned());
                found.push(wrong);
            }
        }
    }
    if more > 0 {
        let text = format!("{} more are wrong and not shown", units::plural(more, "weight"));
        found.push(Diagnostic::new("too-many", text, Place::Nowhere));
    }
    found.extend(absent.into_iter().map(|(path, (place, looked, count))| {
        let text = format!(
            "{} in `{path}` cannot be checked: {looked} does not exist",
            units::plural(count, "weight")
        );
        let warning = Diagnostic::new("missing-weights", text, place).severity(Severity::Warning);
        warning.help("say with `--weights DIR` where the weight files are")
    }));
    found
}

/// A program in JSON.
#[derive(Debug, Serialize)]
struct Listed {
    file: String,
    operations: usize,
    errors: usize,
    warnings: usize,
    notes: usize,
    diagnostics: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Finding {
    severity: &'static str,
    code: &'static str,
    message: String,
    #[serde(flatten)]
    at: Option<Span>,
    labels: Vec<Label>,
    help: Option<String>,
}

#[derive(Debug, Serialize)]
struct Label {
    text: String,
    #[serde(flatten)]
    at: Option<Span>,
}

/// Where something is: line and column from 1, and bytes.
#[derive(Debug, Serialize)]
pub struct Span {
    line: usize,
    column: usize,
    start: usize,
    end: usize,
}

impl Span {
    pub fn of(source: &Source, range: &std::ops::Range<usize>) -> Span {
        let (line, column) = source.line_column(range.start);
        Span { line, column, start: range.start, end: range.end }
    }
}

impl Finding {
    fn of(source: &Source, d: &Diagnostic) -> Finding {
        let at = |place: &Place| match place {
            Place::Text(range) => Some(Span::of(source, range)),
            _ => None,
        };
        let labels = d.labels.iter().map(|(place, text)| Label { text: text.clone(), at: at(place) });
        Finding {
            severity: d.severity.name(),
            code: d.code,
            message: d.message.clone(),
            at: at(&d.place),
            labels: labels.collect(),
            help: d.help.clone(),
        }
    }
}
