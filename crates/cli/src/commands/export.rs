//! `backpropane export`.

use super::model::AdapterArgs;
use crate::error::CommandError;
use crate::output::model_help;
use crate::ui::Ui;
use crate::units;
use std::path::PathBuf;
use train::formats::{ExportOptions, ModelRef, Target, WeightType, export, export_adapter, is_adapter_alone};

/// Write a model in another format
///
/// With `--dtype f32`, the default, no weight loses a bit. A GGUF file keeps the folder's configuration, tokenizer, chat
/// template and generation settings, so the folder comes back from it. What a format cannot hold is an error, or, of a
/// tokenizer, said at the end.
#[derive(clap::Args, Debug)]
#[command(
    visible_alias = "convert",
    after_help = "\
Examples:
  backpropane export runs/novels --to gguf novels.gguf                 for llama.cpp
  backpropane export runs/novels --to gguf novels.gguf --dtype q8_0    a quarter of the size
  backpropane export stories15M.bin --to hf stories15M                 for transformers
  backpropane export SmolLM2-135M.gguf --to hf smollm2 --dtype bf16 --shard-size 100MB
  backpropane export runs/stories --to llama2c stories.bin             for llama2.c
  backpropane export runs/tuned --merge --to gguf tuned.gguf           a run with --lora, merged into its model
  backpropane export runs/tuned --to gguf adapter.gguf                 its adapter alone"
)]
pub struct ExportArgs {
    #[arg(value_name = "MODEL", help = model_help("The folder of a run or model"))]
    model: PathBuf,

    /// The folder or file to write; it must not exist, or be an empty folder
    #[arg(value_name = "OUT")]
    out: PathBuf,

    /// The format: a folder of Hugging Face's, a GGUF file, or a checkpoint of llama2.c
    #[arg(long, value_name = "FORMAT", value_parser = target())]
    to: Target,

    #[command(flatten)]
    adapters: AdapterArgs,

    /// Merge an adapter's folder, such as that of a run with --lora, into the model that it names; else the adapter alone is
    /// written: as PEFT's folder, or as a GGUF file for llama.cpp
    #[arg(long)]
    merge: bool,

    /// The number format of matrices
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = weight_type())]
    dtype: WeightType,

    /// The most bytes of weights in a file, such as 5GB or 500MB; larger models get several files [default: one file]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    shard_size: Option<u64>,

    /// A tokenizer.json, or llama2.c's tokenizer.bin [default: the one of the model]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
}

fn target() -> impl clap::builder::TypedValueParser<Value = Target> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    let names = PossibleValuesParser::new(Target::ALL.map(Target::name));
    names.map(|name| Target::ALL.into_iter().find(|t| t.name() == name).unwrap_or(Target::HuggingFace))
}

fn weight_type() -> impl clap::builder::TypedValueParser<Value = WeightType> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    let names = PossibleValuesParser::new(WeightType::ALL.map(WeightType::name));
    names.map(|name| WeightType::ALL.into_iter().find(|t| t.name() == name).unwrap_or(WeightType::F32))
}

pub fn run(ui: &Ui, args: &ExportArgs) -> Result<(), CommandError> {
    let options = ExportOptions {
        to: args.to,
        dtype: args.dtype,
        shard_size: args.shard_size,
        tokenizer: args.tokenizer.as_deref(),
    };
    crate::unread::note(ui, &args.model);
    let adapters = &args.adapters.adapter;
    let is_alone = !args.merge && adapters.is_empty() && is_adapter_alone(&args.model);
    let exported = match is_alone {
        true => export_adapter(&args.model, &args.out, &options)?,
        false => export(ModelRef { path: Some(&args.model), adapters }, &args.out, &options)?,
    };
    for lost in &exported.lost {
        ui.warn(format!("not written: {lost}"));
    }
    for note in exported.notes {
        ui.warn(note);
    }
    for file in &exported.files {
        ui.result(&file.display().to_string())?;
    }
    let weights = units::count(exported.params as f64);
    ui.say(format!("{weights} weights as {}, {}", args.dtype.name(), units::bytes(exported.bytes)));
    Ok(())
}
