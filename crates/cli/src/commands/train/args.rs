//! The flags of `backpropane train`.

use super::settings::SettingFlags;
use crate::commands::engine::{ModelArgs, positive};
use crate::commands::examples::ExampleArgs;
use crate::output::model_help;
use std::path::PathBuf;
use std::time::Duration;

/// Parses a time.
fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("a time above 0 is needed".to_owned()),
        Ok(time) => Ok(time),
        Err(_) => Err("a time such as 90s, 30m or 1h30m is needed".to_owned()),
    }
}

/// Train a model on text
///
/// Without arguments it trains a small model on built-in plays of Shakespeare, in about two minutes on two cores.
///
/// The run's folder receives the model as other programs read it (config.json, model.safetensors, tokenizer.json),
/// metrics.jsonl, loss.svg, and checkpoints to resume from. Ctrl-C finishes the step, saves, and ends with exit code
/// 130; a second one quits at once. Settings that are not given suit the model's size.
///
/// Where a process may compile only a limited number of programs (--compile-budget), the run saves and continues in a
/// new process as often as needed. Results are the same to the bit, and the output is that of one run.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane train                                       the default, into runs/shakespeare
  backpropane train --data novels/ --out runs/novels      your own text: a file or a folder
  backpropane train --resume --out runs/novels            go on after Ctrl-C, same schedule
  backpropane train --model runs/novels --data poems.txt  start from trained weights
  backpropane train --model SmolLM2-135M --data chats.jsonl --epochs 2     tune on chats or on prompts with completions
  backpropane train --model layer768 --steps 100          one layer alone, on synthetic data
  backpropane train --data novels/ --steps 20000 --max-time 30m            half an hour of it
  backpropane train --steps 20 --trace steps.json --trace-steps 3
  backpropane train --model stories15m --data stories.bin --tokenizer tokenizer.bin")]
pub struct TrainArgs {
    #[arg(long, value_name = "PRESET|FILE|DIR", help = model_help("A preset (tiny, shakespeare, layer768, stories15m, \
        stories42m, stories110m), a .toml or .json file, or a model to start from: its folder")
        + " [default: shakespeare]")]
    pub model: Option<String>,

    /// A text, a folder of .txt files, lines of JSON (chats, prompts with completions, or texts) or a folder with
    /// train.jsonl, or tokens: a .bin file of 2-byte ones (4-byte ones for a vocabulary above 65536) or of llm.c, or a
    /// .npy file [default: the plays that are built in]
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,

    /// Lines of JSON to validate on [default: valid.jsonl beside train.jsonl, else a twentieth of the data]
    #[arg(long, value_name = "FILE")]
    pub valid: Option<PathBuf>,

    #[command(flatten)]
    pub examples: ExampleArgs,

    /// A tokenizer.json, or llama2.c's tokenizer.bin [default: the model's; a new model's is trained from the text]
    #[arg(long, value_name = "PATH")]
    pub tokenizer: Option<PathBuf>,

    /// The run's folder [default: a new one in runs/]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    #[command(flatten)]
    pub settings: SettingFlags,

    #[command(flatten)]
    pub on: ModelArgs,

    /// Resume from the newest checkpoint of the folder
    #[arg(long)]
    pub resume: bool,

    /// Stop after this time, such as 30m or 1h30m, and end as after the last step: validation, model, report. --resume goes on;
    /// the learning rate follows the number of steps, not the time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub max_time: Option<Duration>,

    /// Write a Chrome trace of the last step: when each task ran, what lanes waited for and when they were idle
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// Number of last steps in the trace, at most those of one process
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive::<usize>, requires = "trace")]
    pub trace_steps: usize,

    /// Print the time of a step by kind of work: engine, conversion, host, waiting, optimizer, compiling; metrics.jsonl
    /// has it for each step, the --json report for the whole run
    #[arg(long)]
    pub profile: bool,

    /// Print only errors, warnings and the report
    #[arg(long)]
    pub quiet: bool,

    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
}
