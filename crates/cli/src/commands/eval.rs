//! `backpropane eval`.

use super::engine::{ModelArgs, named, positive};
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
use train::evaluate::{EvaluateOptions, Evaluation, Sliding, TaskScore, evaluate, evaluate_task};
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
  backpropane eval --model runs/shakespeare --data hamlet.txt --stride 64        with a second figure
  backpropane eval --model runs/smol --data chats.jsonl                          what the assistant wrote
  backpropane eval --model runs/smol --task questions.jsonl --json               multiple choice")]
pub struct EvalArgs {
    #[command(flatten)]
    model: NamedModel,

    /// A text, a folder of `.txt` files, lines of JSON as `train` takes them, or tokens: a `.bin` or `.npy` file
    #[arg(long, value_name = "PATH", required_unless_present = "task")]
    data: Option<PathBuf>,

    /// Multiple-choice questions, a JSON object each line: query, choices and gold, the index of the right one. They are
    /// scored as lm-evaluation-harness does: acc by the log-likelihood of a choice, acc_norm by that per character
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "stride"])]
    task: Option<PathBuf>,

    #[command(flatten)]
    examples: ExampleArgs,

    /// What counts in lines of JSON: completions and answers of the assistant, or all
    #[arg(long, value_name = "WHAT", default_value = "completion", value_parser = named(LossOn::ALL, LossOn::name))]
    loss_on: LossOn,

    /// A tokenizer.json, or llama2.c's tokenizer.bin [default: the one beside the weights]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// Number of windows to measure on, or of questions [default: all]
    #[arg(long, value_name = "N", value_parser = positive::<usize>)]
    windows: Option<usize>,

    /// Also measure on overlapping windows, each this many tokens after the one before
    #[arg(long, value_name = "N", value_parser = positive::<usize>, conflicts_with = "windows")]
    stride: Option<usize>,

    #[command(flatten)]
    on: ModelArgs,

    /// Print one JSON object: step, loss, perplexity, bits_per_byte, windows; with --stride also sliding; with --task
    /// questions, acc, acc_stderr, acc_norm, acc_norm_stderr, cut
    #[arg(long)]
    json: bool,
}

/// The result of either kind of evaluation.
enum Figures {
    Loss(Evaluation),
    Task(TaskScore),
}

fn say_task(ui: &Ui, args: &EvalArgs, score: &TaskScore) -> Result<(), CommandError> {
    if args.json {
        return print_json(ui, score);
    }
    let figure = |name: &str, share: f64, error: Option<f64>| {
        let error = error.map_or(String::new(), |error| format!(" ± {error:.4}"));
        format!("{name} {share:.4}{error}")
    };
    let (sum, norm) = (
        figure("acc", score.acc, score.acc_stderr),
        figure("acc_norm", score.acc_norm, score.acc_norm_stderr),
    );
    let cut = if score.cut > 0 { format!("; {} cut at their beginning", score.cut) } else { String::new() };
    ui.result(&format!("{sum}, {norm}, {}{cut}", units::plural(score.questions, "question")))
}

pub fn run(ui: &Ui, args: &EvalArgs) -> Result<(), CommandError> {
    let ladder = Ladder::here();
    let options = EvaluateOptions {
        compute: args.on.compute(ladder.known()),
        windows: args.windows,
        stride: args.stride,
        examples: args.examples.options(None),
        loss_on: args.loss_on,
    };
    let mut bar = None;
    let on_event = &mut |event: CompileEvent<'_>| ladder.report(ui, event);
    let tokenizer = args.tokenizer.as_deref();
    crate::unread::note(ui, args.model.get().shown());
    let what = if args.task.is_some() { "question" } else { "window" };
    let progress = &mut |done: usize, total: usize| {
        if bar.is_none() {
            bar = ui.bar("evaluating", total as u64);
        }
        if let Some(bar) = &bar {
            bar.set_position(done as u64);
            bar.set_message(format!("{done} of {}", units::plural(total, what)));
        }
    };
    let result = match (&args.task, &args.data) {
        (Some(task), _) => {
            evaluate_task(args.model.get(), tokenizer, task, &options, on_event, progress).map(Figures::Task)
        }
        (None, Some(data)) => {
            evaluate(args.model.get(), tokenizer, data, &options, on_event, progress).map(Figures::Loss)
        }
        (None, None) => return Err(CommandError::failure("neither data nor questions are named".to_owned())),
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let result = match result? {
        Figures::Task(score) => return say_task(ui, args, &score),
        Figures::Loss(result) => result,
    };
    if args.json {
        return print_json(ui, &result);
    }
    let Evaluation { plain, sliding } = result;
    ui.result(&format!("{}, {}", report::loss(&plain), units::plural(plain.windows, "window")))?;
    let Some(Sliding { stride, loss, perplexity, bits_per_byte, windows }) = sliding else { return Ok(()) };
    let figures = report::loss(&Validation { step: 0, loss, perplexity, bits_per_byte, windows });
    ui.result(&format!("{figures}, {} with stride {stride}", units::plural(windows, "window")))
}
