//! `backpropane mil check`.

use super::fix::fix;
use super::profile::profile;
use super::program::Source;
use super::rules::{ChipList, chips, route};
use super::weights::{Folder, OTHER_TYPE, WeightError};
use crate::error::CommandError;
use crate::output::print_json;
use crate::ui::Ui;
use crate::units;
use anelint::rules::{Profile, Route};
use mil::diag::{Diagnostic, Place, Severity};
use mil::text::Checked;
use mil::text::tree::{Tree, Type, Value};
use mil::{Report, TensorType};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The most weights reported one by one; with a wrong weight file all of them are invalid.
const TOLD: usize = 20;

/// Report all errors of MIL programs, with their places
///
/// Checks the text: that it can be read, that names are defined, that every operation gets what it takes. Checks the
/// weights: that each BLOBFILE names a record of its type; of weight files only the records are read. Operations that
/// MIL has and this program has no meaning for are noted, and taken as they are written. `--chip` also checks the rules
/// that real Neural Engines have, by all that projects report of them; no engine is needed for it. `--fix` rewrites
/// what breaks them where a rewrite keeps the meaning, proves that on random inputs, and writes the program.
///
/// Exits with 1 if there is an error, with 2 if a program could not be read; warnings and notes are no errors.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane mil check model.mil
  backpropane mil check X.mlmodelc Y.mlmodelc
  backpropane mil check model.mil --chip m1,m4      would these engines take it?
  backpropane mil check model.mil --chip all --fix --out repaired.mil
  backpropane mil check model.mil --weights blobs/ --json | jq '.[].diagnostics[].message'")]
pub struct CheckArgs {
    /// Programs to check: MIL texts, .mlmodelc, .mlpackage, .mlmodel
    #[arg(required = true, value_name = "PROGRAM")]
    programs: Vec<PathBuf>,

    /// Where the weight files are [default: where the program says, beside it]
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,

    /// Check the rules of real engines too: m1,m4, or all
    #[arg(long, value_name = "CHIPS", value_parser = chips)]
    chip: Option<ChipList>,

    /// The way to the engine: in-memory, as this program goes, e5rt, or both
    #[arg(long, value_name = "ROUTE", value_parser = route, default_value = "in-memory", requires = "chip")]
    route: Route,

    /// Verdicts of a chip, by `backpropane probe all --submit-file`: what was seen there counts more than the table
    #[arg(long, value_name = "FILE", requires = "chip")]
    profile: Option<PathBuf>,

    /// Repair what breaks rules of engines, of those that --chip finds or of all, in the file itself
    #[arg(long, conflicts_with = "json")]
    fix: bool,

    /// Write the repaired program here instead
    #[arg(long, value_name = "FILE", requires = "fix")]
    out: Option<PathBuf>,

    /// Print one JSON array, an object for each program: file, operations, errors, warnings, notes, diagnostics
    #[arg(long)]
    json: bool,
}

pub fn run(ui: &Ui, args: &CheckArgs) -> Result<(), CommandError> {
    if args.out.is_some() && args.programs.len() > 1 {
        return Err(CommandError::input(
            "one file is no place for several programs",
            "Repair them one by one.",
        ));
    }
    let profile = args.profile.as_deref().map(profile).transpose()?;
    let (mut unread, mut wrong, mut listing) = (None, false, Vec::new());
    for path in &args.programs {
        let (source, verdict) = match examine(ui, args, profile.as_ref(), path) {
            Ok(examined) => examined,
            Err(error) => {
                ui.error(&error);
                unread = Some(error);
                continue;
            }
        };
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
        Some(error) => Err(error.reported()),
        None if wrong => Err(CommandError::negative()),
        None => Ok(()),
    }
}

/// The result of checking a program.
#[derive(Debug)]
struct Verdict {
    /// Constants not counted.
    operations: usize,
    /// Errors in the language and the weights; rules of engines not counted.
    mistakes: usize,
    /// Rules of the requested engines; `None` without a request.
    broken: Option<Vec<&'static str>>,
    report: Report,
}

/// The diagnostics of the program, or of the repaired one.
fn examine(
    ui: &Ui,
    args: &CheckArgs,
    profile: Option<&Profile>,
    path: &Path,
) -> Result<(Source, Verdict), CommandError> {
    let source = Source::open(path)?;
    let (verdict, checked) = Verdict::of(&source, args, profile);
    if !args.fix || verdict.mistakes > 0 {
        return Ok((source, verdict));
    }
    let (weights, broken) = (args.weights.as_deref(), verdict.broken.as_deref());
    let Some(written) = fix(ui, &source, checked, weights, broken, args.out.as_deref())? else {
        return Ok((source, verdict));
    };
    let repaired = Source::open(&written)?.beside(&source);
    let (verdict, _) = Verdict::of(&repaired, args, profile);
    Ok((repaired, verdict))
}

impl Verdict {
    /// Runs all checks on the program, and returns its meaning.
    fn of(source: &Source, args: &CheckArgs, profile: Option<&Profile>) -> (Verdict, Checked) {
        let read = mil::text::read(&source.text);
        let mut checked = mil::text::check(&read);
        let mut verdict = Verdict {
            operations: read.tree.statements().filter(|s| s.op.text != "const").count(),
            mistakes: 0,
            broken: None,
            report: std::mem::take(&mut checked.report),
        };
        // Without an engine in question, all readers are.
        let in_memory = args.chip.is_some() && args.route == Route::InMemory;
        let mut folder = Folder::new(&source.folder, args.weights.as_deref());
        verdict.add(blobs(&read.tree, &mut folder, in_memory));
        verdict.mistakes = verdict.count(Severity::Error);
        if let Some(ChipList(chips)) = &args.chip {
            let findings = anelint::rules::check_with(&read, chips, args.route, profile);
            verdict.broken = Some(findings.iter().map(|f| f.rule.id).collect());
            verdict.add(findings.iter().map(|f| f.diagnostic()));
        }
        (verdict, checked)
    }

    /// Adds other diagnostics, and sorts all by place.
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
            diagnostics: self.report.diagnostics.iter().map(|d| DiagnosticRecord::of(source, d)).collect(),
        }
    }
}

/// Errors of the weights that the program uses. A record of another type than the constant's, whose bytes fit, is a warning
/// if the program is handed over `in_memory`.
fn blobs(tree: &Tree<'_>, folder: &mut Folder, in_memory: bool) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    // A missing file is reported once, at its first use.
    let mut absent: BTreeMap<&str, (Place, String, usize)> = BTreeMap::new();
    for literal in tree.statements().flat_map(|s| s.literals()) {
        let (Value::Blob { path, offset }, Type::Tensor { dtype, dims }) = (&literal.value, &literal.ty)
        else {
            continue;
        };
        // Unknown sizes of a constant are a mistake that is reported already.
        let Some(shape) = dims.iter().copied().collect::<Option<Vec<usize>>>() else { continue };
        let place = || Place::Text(literal.span.range());
        let ty = TensorType::new(*dtype, shape);
        let other_type = match in_memory {
            true => folder.other_type(path, *offset, &ty),
            false => folder.check(path, *offset, &ty).map(|_| None),
        };
        match other_type {
            Ok(None) => {}
            Err(WeightError::Absent { looked, .. }) => {
                absent.entry(path).or_insert_with(|| (place(), looked, 0)).2 += 1;
            }
            Ok(Some(error)) => {
                let text = format!("{error}; {OTHER_TYPE}");
                let warning = Diagnostic::new("weight", text, place()).severity(Severity::Warning);
                found.push(warning.help("write the record with the constant's type"));
            }
            Err(error) => {
                found.push(Diagnostic::new("weight", error.to_string(), place()).help(error.hint()));
            }
        }
    }
    // Errors first: of many, these are shown.
    found.sort_by_key(|d| d.severity != Severity::Error);
    if found.len() > TOLD {
        let more = found.split_off(TOLD);
        let errors = more.iter().any(|d| d.severity == Severity::Error);
        let severity = if errors { Severity::Error } else { Severity::Warning };
        let text = format!("{} more are wrong and not shown", units::plural(more.len(), "weight"));
        found.push(Diagnostic::new("too-many", text, Place::Nowhere).severity(severity));
    }
    found.extend(absent.into_iter().map(|(path, (place, looked, count))| {
        let text = format!(
            "{} in `{path}` cannot be checked: {looked} does not exist",
            units::plural(count, "weight")
        );
        let warning = Diagnostic::new("missing-weights", text, place).severity(Severity::Warning);
        warning.help("pass the folder of the weight files with `--weights DIR`")
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
    diagnostics: Vec<DiagnosticRecord>,
}

#[derive(Debug, Serialize)]
struct DiagnosticRecord {
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

impl DiagnosticRecord {
    fn of(source: &Source, d: &Diagnostic) -> DiagnosticRecord {
        let at = |place: &Place| match place {
            Place::Text(range) => Some(Span::of(source, range)),
            _ => None,
        };
        let labels = d.labels.iter().map(|(place, text)| Label { text: text.clone(), at: at(place) });
        DiagnosticRecord {
            severity: d.severity.name(),
            code: d.code,
            message: d.message.clone(),
            at: at(&d.place),
            labels: labels.collect(),
            help: d.help.clone(),
        }
    }
}
