//! `backpropane mil diff`.

use super::check::Span;
use super::program::Source;
use super::weights::Folder;
use crate::error::CommandError;
use crate::output::print_json;
use crate::ui::Ui;
use crate::units;
use mil::diag::{Snippet, quote};
use mil::diff::{Difference, Side, diff};
use mil::text::Read;
use mil::text::tree::Value;
use serde::Serialize;
use std::ops::Range;
use std::path::PathBuf;

/// Compare two MIL programs, and show where they differ
///
/// Names, the order of operations that do not depend on each other, the spelling of constants, comments and version
/// make no difference. Parameters are matched by name if both programs use the same ones, else in order. Weights are
/// compared by their elements if the files of both programs are at hand, else by path and offset.
///
/// Exits with 1 if they differ. Consequences of one difference are not reported.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane mil diff before.mil after.mil
  backpropane mil diff X.mlmodelc Y.mlmodelc --json")]
pub struct DiffArgs {
    /// The first program: a MIL text, .mlmodelc, .mlpackage or .mlmodel
    #[arg(value_name = "PROGRAM")]
    first: PathBuf,

    /// The second
    #[arg(value_name = "PROGRAM")]
    second: PathBuf,

    /// Print one JSON object: same, weights (elements or places), differences
    #[arg(long)]
    json: bool,
}

/// A comparison in JSON.
#[derive(Debug, Serialize)]
struct DiffRecord {
    same: bool,
    /// How they were compared.
    weights: &'static str,
    differences: Vec<DifferenceRecord>,
}

#[derive(Debug, Serialize)]
struct DifferenceRecord {
    message: String,
    first: Option<Span>,
    second: Option<Span>,
}

pub fn run(ui: &Ui, args: &DiffArgs) -> Result<(), CommandError> {
    let (a, b) = (Source::open(&args.first)?, Source::open(&args.second)?);
    let (x, y) = (mil::text::read(&a.text), mil::text::read(&b.text));
    a.check(ui, &x)?;
    b.check(ui, &y)?;
    let mut folders = [Folder::new(&a.folder, None), Folder::new(&b.folder, None)];
    let [first, second] = &mut folders;
    let named = names_weights(&x) || names_weights(&y);
    let at_hand = named && all_at_hand(&x, first) && all_at_hand(&y, second);
    if named && !at_hand {
        ui.say("note: not all weight files are available, so weights are compared by path and offset");
    }
    let mut contents = |side, path: &str, offset| {
        let folder = match side {
            Side::First => &mut *first,
            Side::Second => &mut *second,
        };
        // A record that has become unreadable is compared by its place.
        if at_hand { folder.digest(path, offset).ok() } else { None }
    };
    let differences = diff(&x.tree, &y.tree, &mut contents);
    let same = differences.is_empty();
    if args.json {
        let at = |source: &Source, place: &Option<(Range<usize>, String)>| {
            place.as_ref().map(|(range, _)| Span::of(source, range))
        };
        let told = differences.iter().map(|d| DifferenceRecord {
            message: d.message.clone(),
            first: at(&a, &d.first),
            second: at(&b, &d.second),
        });
        let weights = if at_hand { "elements" } else { "places" };
        print_json(ui, &DiffRecord { same, weights, differences: told.collect() })?;
    } else {
        ui.result(&text(&a, &b, &differences))?;
    }
    if same { Ok(()) } else { Err(CommandError::negative()) }
}

fn text(a: &Source, b: &Source, differences: &[Difference]) -> String {
    let mut out = String::new();
    for d in differences {
        let places = [(a, &d.first), (b, &d.second)].into_iter();
        let snippets: Vec<Snippet<'_>> = places
            .filter_map(|(source, place)| {
                let (range, label) = place.as_ref()?;
                Some(Snippet { file: &source.name, source: &source.text, range, label })
            })
            .collect();
        out.push_str(&quote(&d.message, &snippets));
    }
    out.push_str(&match differences.len() {
        0 => format!("`{}` and `{}` are the same program", a.name, b.name),
        n => format!(
            "`{}` (the first) and `{}` (the second) differ in {}",
            a.name,
            b.name,
            units::plural(n, "place")
        ),
    });
    out
}

/// Path and offset of every literal that is in a weight file.
fn weights<'t>(read: &'t Read<'_>) -> impl Iterator<Item = (&'t str, u64)> {
    read.tree.statements().flat_map(|s| s.literals()).filter_map(|l| match &l.value {
        Value::Blob { path, offset } => Some((&**path, *offset)),
        _ => None,
    })
}

fn names_weights(read: &Read<'_>) -> bool {
    weights(read).next().is_some()
}

fn all_at_hand(read: &Read<'_>, folder: &mut Folder) -> bool {
    weights(read).all(|(path, offset)| folder.record(path, offset).is_ok())
}
