//! `backpropane mil grad`.

use super::fmt::print;
use super::program::Source;
use super::shapes::{ShapeArg, known_types, shape, specialised};
use crate::error::CommandError;
use crate::ui::Ui;
use mil::diag::{Diagnostic, Place};
use mil::grad::{GradError, backward_function};
use mil::{Function, Program, Report, ValueId};
use std::path::PathBuf;
use train::fs::write_atomically;

/// Derive the backward program of a MIL program
///
/// The result is MIL again. It takes what the program takes, and for each output NAME that is a float its cotangent
/// d_NAME; it gives the cotangent d_NAME of each NAME of --wrt, and computes what of the forward pass it needs. Weights
/// are read from where the program reads them.
///
/// A constant may be asked for like a parameter. An operation on the way that has no gradient is shown; exit code 2.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane mil grad model.mil --wrt x
  backpropane mil grad model.mil --wrt x,weight,bias --out backward.mil
  backpropane mil grad model.mil --wrt x --shape x=1,64 | backpropane mil fmt -")]
pub struct GradArgs {
    /// A MIL text, .mlmodelc, .mlpackage or .mlmodel
    #[arg(value_name = "PROGRAM")]
    program: PathBuf,

    /// Parameters and constants whose cotangents are wanted
    #[arg(long, value_name = "NAMES", value_delimiter = ',', required = true)]
    wrt: Vec<String>,

    /// The function to differentiate [default: main, or the first]
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    /// Sizes of a parameter that the program leaves open, as NAME=1,3,224
    #[arg(long = "shape", value_name = "NAME=SIZES", value_parser = shape)]
    shapes: Vec<ShapeArg>,

    /// The file to write instead of stdout; an earlier one of that name is replaced
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(ui: &Ui, args: &GradArgs) -> Result<(), CommandError> {
    let source = Source::open(&args.program)?;
    let read = mil::text::read(&source.text);
    let checked = source.check(ui, &read)?;
    let (function, tree) = source.function(ui, &checked, &read, args.function.as_deref())?;
    let types = known_types(function, tree, &args.shapes)?;
    let program = specialised(ui, &source, function, &types, &checked.program)?;
    let forward = program.entry();
    let wrt = targets(forward, &args.wrt)?;
    let backward = backward_function(forward, &wrt).map_err(|e| explain(ui, &source, forward, e))?;
    let program = Program {
        version: program.version.clone(),
        build_info: program.build_info.clone(),
        functions: vec![backward],
    };
    let text = mil::text::print(&program);
    // The input must be a program.
    mil::text::load(&text).map_err(|report| {
        ui.report(&report, "the backward program", &text);
        CommandError::failure("the derived program is wrong; this is a mistake of backpropane")
    })?;
    match &args.out {
        Some(out) => {
            write_atomically(out, text.as_bytes())?;
            ui.say(format!("the backward program is in `{}`", out.display()));
            Ok(())
        }
        None => print(ui, &text),
    }
}

/// The values that `names` name.
fn targets(function: &Function, names: &[String]) -> Result<Vec<ValueId>, CommandError> {
    let constant = |id: ValueId| {
        function.ops.iter().any(|op| op.const_literal().is_some() && op.results.first() == Some(&id))
    };
    let mut targets = Vec::new();
    for name in names {
        let id = function.find(name).filter(|&id| function.inputs.contains(&id) || constant(id));
        let Some(id) = id else {
            let inputs = function.inputs.iter().map(|&id| function.value(id));
            let floats = inputs.filter(|v| v.ty.dtype.is_float());
            let list = floats.map(|v| format!("`{}`", v.name)).collect::<Vec<_>>().join(", ");
            let why = match function.find(name) {
                Some(_) => {
                    format!("`{name}` is computed; only parameters and constants can be differentiated")
                }
                None => format!("function `{}` has no parameter or constant `{name}`", function.name),
            };
            let parameters = if list.is_empty() {
                "It has no parameter that is a float".to_owned()
            } else {
                format!("Its parameters that are floats: {list}")
            };
            return Err(CommandError::input(
                why,
                format!("{parameters}; constants are called as in the text."),
            ));
        };
        if !targets.contains(&id) {
            targets.push(id);
        }
    }
    Ok(targets)
}

/// Shows where the program cannot be differentiated.
fn explain(ui: &Ui, source: &Source, function: &Function, error: GradError) -> CommandError {
    let place = |name: &str| {
        let id = function.find(name)?;
        let op = function.ops.iter().find(|op| op.results.contains(&id))?;
        Some(op.place.clone()).filter(|place| matches!(place, Place::Text(_)))
    };
    match error {
        GradError::NoGradient { ref value, ref reason, op } => {
            let text = format!("`{op}`, which computes `{value}`, has no gradient: {reason}");
            let shown = Diagnostic::new("no-gradient", text, place(value).unwrap_or_default());
            source.explain(ui, &Report { diagnostics: vec![shown] });
            CommandError::input(
                format!("function `{}` of `{}` cannot be differentiated", function.name, source.name),
                "Choose values that do not depend on that operation, or remove it from the program.",
            )
        }
        GradError::Derived(report) => {
            source.explain(ui, &report);
            CommandError::failure("the derived program is wrong; this is a mistake of backpropane")
        }
        GradError::Unconnected { .. } => {
            CommandError::input(error.to_string(), "Leave it away: its gradient is zero.")
        }
        GradError::NameTaken { .. } => CommandError::input(error.to_string(), "Rename it in the program."),
        other => CommandError::input(other.to_string(), "Ask for floats."),
    }
}
