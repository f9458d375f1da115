//! `backpropane eval`.

use super::engine::{ModelArgs, positive};
use super::examples::ExampleArgs;
use super::model::NamedModel;
use crate::error::CommandError;
use crate::ladder::Ladder;
use crate::output::print_json;
use crate::report;
use crate::ui::Ui;
use crate::units;
use std::path::PathBuf;
use train::data::LossOn;
use train::evaluate::{EvaluateOptions, Evaluation, Sliding, evaluate};
use train::run::{CompileEvent, Validation};

/// Measure how well a model predicts a text
///
/// Prints the mean loss in nats per token, the perplexity, and, if the model's tokenizer is known, bits per byte of the
/// text, which do not depend on the tokenizer. Windows do not overlap, so the first tokens of each are predicted from
/// little text; with --stride a second figure follows, of windows that do.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane eval --model runs/shakespeare --data hamlet.txt
  backpropane eval --model runs/shakespeare --data hamlet.txt --windows 100 --json
  backpropane eval --model runs/shakespeare --data hamlet.txt --stride 64        with a second figure")]
pub struct EvalArgs {
    #[command(flatten)]
    model: NamedModel,

    /// A text, a folder of `.txt` files, lines of JSON as `train` takes them, or tokens: a `.bin` or `.npy` file
    #[arg(long, value_name = "PATH")]
    data: PathBuf,

    #[command(flatten)]
    examples: ExampleArgs,

    /// What counts in lines of JSON: completions and answers of the assistant, or all
    #[arg(long, value_name = "WHAT", default_value = "completion", value_parser = loss_on)]
    loss_on: LossOn,

    /// A tokenizer.json, or llama2.c's tokenizer.bin [default: the one beside the weights]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// Number of windows to measure on [default: all]
    #[arg(long, value_name = "N", value_parser = positive::<usize>)]
    windows: Option<usize>,

    /// Also measure on overlapping windows, each this many tokens after the one before
    #[arg(long, value_name = "N", value_parser = positive::<usize>, conflicts_with = "windows")]
    stride: Option<usize>,

    #[command(flatten)]
    on: ModelArgs,

    /// Print one JSON object: step, loss, perplexity, bits_per_byte, windows; with --stride also sliding
    #[arg(long)]
    json: bool,
}

fn loss_on(text: &str) -> Result<LossOn, String> {
    LossOn::ALL
        .into_iter()
        .find(|on| on.name() == text)
        .ok_or_else(|| "completion or all is needed".to_owned())
}

pub fn run(ui: &Ui, args: &EvalArgs) -> Result<(), CommandError> {
    let ladder = Ladder::here();
    let options = EvaluateOptions {
        threads: args.on.engine.threads,
        device: args.on.device(),
        start: args.on.start(ladder.known()),
        storage: args.on.storage(),
        windows: args.windows,
        stride: args.stride,
        examples: args.examples.options(None),
        loss_on: args.loss_on,
    };
    let mut bar = None;
    let on_event = &mut |event: CompileEvent<'_>| ladder.report(ui, event);
    let tokenizer = args.tokenizer.as_deref();
    crate::unread::note(ui, args.model.get().shown());
    let result = evaluate(args.model.get(), tokenizer, &args.data, &options, on_event, &mut |done, total| {
        if bar.is_none() {
            bar = ui.bar("evaluating", total as u64);
        }
        if let Some(bar) = &bar {
            bar.set_position(done as u64);
            bar.set_message(format!("{done} of {}", units::plural(total, "window")));
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let result = result?;
    if args.json {
        return print_json(ui, &result);
    }
    let Evaluation { plain, sliding } = result;
    ui.result(&format!("{}, {}", report::loss(&plain), units::plural(plain.windows, "window")))?;
    let Some(Sliding { stride, loss, perplexity, bits_per_byte, windows }) = sliding else { return Ok(()) };
    let figures = report::loss(&Validation { step: 0, loss, perplexity, bits_per_byte, windows });
    ui.result(&format!("{figures}, {} with stride {stride}", units::plural(windows, "window")))
}
