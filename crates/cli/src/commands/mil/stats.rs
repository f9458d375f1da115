//! `backpropane mil stats`.

use super::program::{Source, opaque_in};
use super::shapes::{ShapeArg, known_types, shape};
use crate::error::CommandError;
use crate::output::print_json;
use crate::ui::Ui;
use crate::units;
use mil::pass::specialise;
use mil::stats::{OpCount, Stats, kinds};
use mil::text::Checked;
use mil::text::tree::{Func, Param};
use mil::{Function, TensorType};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

/// Count the operations of a MIL program, and their cost
///
/// For each function: inputs, outputs and states; operations by kind; floating-point operations (two for each
/// multiply-add of matrix products, convolutions, attention and recurrent layers; elementwise ones count as nothing);
/// parameters and bytes of weights; and the most memory that values take at one time when operations run in order.
/// Blocks count as if they ran once.
///
/// Sizes that the program leaves open are those of --shape, or the defaults that the program names; without either,
/// what depends on them is not given.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane mil stats model.mlmodelc
  backpropane mil stats model.mil --shape audio=1,16000
  backpropane mil stats model.mil --json | jq '.functions[].flops'")]
pub struct StatsArgs {
    /// A MIL text, .mlmodelc, .mlpackage or .mlmodel
    #[arg(value_name = "PROGRAM")]
    program: PathBuf,

    /// Sizes of a parameter that the program leaves open, as NAME=1,3,224
    #[arg(long = "shape", value_name = "NAME=SIZES", value_parser = shape)]
    shapes: Vec<ShapeArg>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A program in numbers.
#[derive(Debug, Serialize)]
struct Listing {
    program: String,
    /// Of the text format.
    version: String,
    functions: Vec<Counts>,
}

#[derive(Debug, Serialize)]
struct Counts {
    name: String,
    opset: String,
    inputs: Vec<Named>,
    outputs: Vec<Named>,
    /// Constants not counted.
    operations: usize,
    constants: usize,
    /// `None` if sizes are unknown.
    flops: Option<u64>,
    parameters: u64,
    weight_bytes: u64,
    inline_bytes: u64,
    /// `None` if sizes are unknown, or an operation is unsupported.
    peak_bytes: Option<u64>,
    kinds: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Named {
    name: String,
    r#type: String,
}

#[derive(Debug, Serialize)]
struct Row {
    op: String,
    count: usize,
    flops: Option<u64>,
    /// Whether it is unsupported.
    opaque: bool,
}

pub fn run(ui: &Ui, args: &StatsArgs) -> Result<(), CommandError> {
    let source = Source::open(&args.program)?;
    let read = mil::text::read(&source.text);
    let checked = source.check(ui, &read)?;
    for arg in &args.shapes {
        let known = |f: &Function| f.inputs.iter().any(|&id| f.value(id).name == arg.name);
        if !checked.program.functions.iter().any(known) {
            return Err(CommandError::input(
                format!("`{}` has no parameter `{}`", source.name, arg.name),
                "Give the sizes of parameters.",
            ));
        }
    }
    let functions = checked.program.functions.iter().zip(&read.tree.functions);
    let functions = functions.map(|(f, tree)| counts(f, tree, &checked, &args.shapes));
    let functions = functions.collect::<Result<Vec<_>, _>>()?;
    let version = checked.program.version.clone();
    let listing = Listing { program: source.name, version, functions };
    if args.json { print_json(ui, &listing) } else { ui.result(&listing.text()) }
}

fn counts(
    function: &Function,
    tree: &Func<'_>,
    checked: &Checked,
    shapes: &[ShapeArg],
) -> Result<Counts, CommandError> {
    let mut opaque: BTreeMap<String, usize> = BTreeMap::new();
    opaque_in(checked, tree).for_each(|o| *opaque.entry(o.op.clone()).or_default() += 1);
    let own: Vec<ShapeArg> = shapes
        .iter()
        .filter(|arg| function.inputs.iter().any(|&id| function.value(id).name == arg.name))
        .cloned()
        .collect();
    let settled = settled(function, tree, &own)?;
    let whole = settled.values.iter().all(|v| v.ty.is_known());
    let stats = Stats::of(&settled);
    let mut rows: Vec<Row> = kinds(&settled)
        .into_iter()
        .filter(|(op, _)| *op != "const")
        .map(|(op, OpCount { count, flops })| Row {
            op: op.to_owned(),
            count,
            flops: whole.then_some(flops),
            opaque: false,
        })
        .collect();
    let constants = kinds(&settled).get("const").map_or(0, |k| k.count);
    let hidden: usize = opaque.values().sum();
    rows.extend(opaque.into_iter().map(|(op, count)| Row { op, count, flops: None, opaque: true }));
    rows.sort_by(|a, b| (b.flops, b.count).cmp(&(a.flops, a.count)).then_with(|| a.op.cmp(&b.op)));
    let input = |p: &Param<'_>| Named { name: p.name.to_string(), r#type: p.ty.to_string() };
    let output = |name: &mil::text::tree::Name<'_>| {
        let ty = function.find(name.text).map(|id| function.ty(id).to_string());
        Named { name: name.to_string(), r#type: ty.unwrap_or_default() }
    };
    Ok(Counts {
        name: function.name.clone(),
        opset: tree.opset.to_string(),
        inputs: tree.params.iter().map(input).collect(),
        outputs: tree.block.results.iter().map(output).collect(),
        operations: stats.ops + hidden,
        constants,
        flops: whole.then_some(stats.flops),
        parameters: stats.parameters,
        weight_bytes: stats.weight_bytes,
        inline_bytes: stats.inline_bytes,
        peak_bytes: (whole && hidden == 0).then_some(stats.peak_bytes),
        kinds: rows,
    })
}

/// `function` with its sizes known, as far as they can be.
fn settled(function: &Function, tree: &Func<'_>, shapes: &[ShapeArg]) -> Result<Function, CommandError> {
    if function.values.iter().all(|v| v.ty.is_known()) {
        return Ok(function.clone());
    }
    let types: Vec<TensorType> = match known_types(function, tree, shapes) {
        Ok(types) => types,
        Err(error) if !shapes.is_empty() => return Err(error),
        Err(_) => return Ok(function.clone()),
    };
    Ok(specialise::specialise(function, &types).unwrap_or_else(|_| function.clone()))
}

impl Listing {
    fn text(&self) -> String {
        let mut out = format!("{}: program({})\n", self.program, self.version);
        for f in &self.functions {
            f.text(&mut out);
        }
        out.trim_end().to_owned()
    }
}

impl Counts {
    fn text(&self, out: &mut String) {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "\nfunction {} <{}>", self.name, self.opset);
        let names = self.inputs.iter().chain(&self.outputs).map(|v| v.name.chars().count());
        let width = names.max().unwrap_or(0);
        for (what, values) in [("input", &self.inputs), ("output", &self.outputs)] {
            for value in values {
                let _ = writeln!(out, "  {what:<12}{:<width$}  {}", value.name, value.r#type);
            }
        }
        let shown = |flops: u64| units::count(flops as f64);
        let unknown = || "unknown: sizes are open; pass them with --shape".to_owned();
        let line = |out: &mut String, what: &str, value: String| {
            let _ = writeln!(out, "  {what:<12}{value}");
        };
        line(
            out,
            "operations",
            format!("{}, and {}", self.operations, units::plural(self.constants, "constant")),
        );
        line(
            out,
            "compute",
            self.flops.map_or_else(unknown, |n| format!("{} floating-point operations", shown(n))),
        );
        line(out, "parameters", units::count(self.parameters as f64));
        let weights = format!(
            "{} in weight files, {} in the program",
            units::bytes(self.weight_bytes),
            units::bytes(self.inline_bytes)
        );
        line(out, "weights", weights);
        let hidden = self.kinds.iter().any(|k| k.opaque);
        let peak = match self.peak_bytes {
            Some(peak) => format!("{} at most at one time", units::bytes(peak)),
            None if hidden => "unknown: an operation is not supported".to_owned(),
            None => unknown(),
        };
        line(out, "values", peak);
        let width = self.kinds.iter().map(|k| k.op.len()).max().unwrap_or(0).max(9);
        let _ = writeln!(out, "\n  {:<width$}  {:>6}  {:>7}", "operation", "count", "flops");
        for k in &self.kinds {
            let flops = match k.flops {
                Some(0) => String::new(),
                Some(flops) => shown(flops),
                None if k.opaque => "not supported".to_owned(),
                None => "?".to_owned(),
            };
            let row = format!("  {:<width$}  {:>6}  {flops:>7}", k.op, k.count);
            let _ = writeln!(out, "{}", row.trim_end());
        }
    }
}
