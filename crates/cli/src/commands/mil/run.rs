//! `backpropane mil run`.

use super::super::engine::threads;
use super::engine::{EngineArg, Job};
use super::indices::Watched;
use super::inputs::{InputArg, InputSources, input};
use super::outputs::{Listed, names, table, write};
use super::program::Source;
use super::shapes::{ShapeArg, shape};
use super::weights::Folder;
use crate::error::CommandError;
use crate::output::print_json;
use crate::ui::Ui;
use mil::{Tensor, TensorType};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Instant;

/// Run a MIL program with its weights
///
/// Inputs are given by name. They may be of the parameter's type or one whose values it has; float64 and float32 are
/// rounded to fp16, with a note. A state is an input too, zeros unless it is given, and its new value is an output with
/// its name. Sizes that the program leaves open are those of the inputs.
///
/// With --random, inputs that are not given are drawn: floats from -1 to 1, integers from 0 to 7. Sizes that are open
/// are then those of --shape, or the defaults that the program names.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane mil run model.mlmodelc --random 1
  backpropane mil run model.mil --input ids=ids.npy --input mask=mask.npy --out results/
  backpropane mil run model.mil --input all.safetensors --out results.safetensors
  backpropane mil run model.mil --random 1 --shape audio=1,16000 --engine reference --json

Files:
  results/             NAME.npy for each output; bf16 and fp8 as float32, integers of less than a byte in one
  results.safetensors  all outputs")]
pub struct RunArgs {
    /// A MIL text, .mlmodelc, .mlpackage or .mlmodel
    #[arg(value_name = "PROGRAM")]
    program: PathBuf,

    /// Where the weight files are [default: where the program says, beside it]
    #[arg(long, value_name = "DIR")]
    weights: Option<PathBuf>,

    /// The function to run [default: main, or the first]
    #[arg(long, value_name = "NAME")]
    function: Option<String>,

    /// An input: a .npy file with its name, or a .safetensors file with any number of them
    #[arg(long = "input", value_name = "[NAME=]FILE", value_parser = input)]
    inputs: Vec<InputArg>,

    /// Sizes of an input that is not given, as NAME=1,3,224
    #[arg(long = "shape", value_name = "NAME=SIZES", value_parser = shape)]
    shapes: Vec<ShapeArg>,

    /// Draw the inputs that are not given; same seed, same values
    #[arg(long, value_name = "SEED")]
    random: Option<u64>,

    /// Write the outputs: to a folder, as NAME.npy, or to a file that ends in .safetensors
    #[arg(long, value_name = "DIR|FILE")]
    out: Option<PathBuf>,

    /// The engine to run on
    #[arg(long, value_name = "ENGINE", default_value = "soft")]
    engine: EngineArg,

    /// Threads to compute on; 0: as many as the machine runs at once. The results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = threads)]
    threads: usize,

    /// Print one JSON object: program, function, engine, and the outputs with all of their elements
    #[arg(long)]
    json: bool,
}

/// A run in JSON.
#[derive(Debug, Serialize)]
struct Report {
    program: String,
    function: String,
    engine: &'static str,
    outputs: Vec<Listed>,
}

pub fn run(ui: &Ui, args: &RunArgs) -> Result<(), CommandError> {
    let source = Source::open(&args.program)?;
    let read = mil::text::read(&source.text);
    let checked = source.check(ui, &read)?;
    let (function, tree) = source.function(ui, &checked, &read, args.function.as_deref())?;
    let wanted = InputSources { files: &args.inputs, shapes: &args.shapes, random: args.random };
    let inputs = wanted.values(ui, &source, function, tree)?;
    let mut folder = Folder::new(&source.folder, args.weights.as_deref());
    let began = Instant::now();
    let types: Vec<TensorType> = inputs.iter().map(|t| t.ty.clone()).collect();
    let watched = Watched::new(function, &types, !matches!(args.engine, EngineArg::Ane));
    let job =
        Job { source: &source, program: &checked.program, function: &watched.function, inputs: &inputs };
    let results = job.run(ui, args.engine, &mut folder, args.threads)?;
    let results = watched.check(ui, &inputs, results)?;
    let seconds = began.elapsed().as_secs_f64();
    let outputs: Vec<(String, Tensor)> = names(function, tree).into_iter().zip(results).collect();
    if let Some(out) = &args.out {
        write(out, &outputs)?;
        ui.say(format!("outputs are in `{}`", out.display()));
    }
    if args.json {
        return print_json(
            ui,
            &Report {
                program: source.name,
                function: function.name.clone(),
                engine: args.engine.name(),
                outputs: outputs.iter().map(|(name, tensor)| Listed::of(name, tensor)).collect(),
            },
        );
    }
    ui.result(&table(&outputs))?;
    ui.aside(format!("compiled and run in {seconds:.3} s on the engine `{}`", args.engine.name()));
    Ok(())
}
