//! `backpropane serve`.

#[cfg(feature = "serve")]
mod engine;
#[cfg(feature = "serve")]
mod language;
#[cfg(feature = "serve")]
mod start;

#[cfg(not(feature = "serve"))]
use crate::error::CommandError;
#[cfg(not(feature = "serve"))]
use crate::ui::Ui;
#[cfg(feature = "serve")]
pub use start::run;

use super::engine::{ModelArgs, above_zero, positive};
use super::model::NamedModel;
use crate::units;
use std::path::PathBuf;

/// Answer OpenAI's API over HTTP
///
/// POST /v1/chat/completions and /v1/completions, whole or as events; GET /v1/models and /health. Texts of all clients are written
/// together. An unsupported field that would change an answer is refused by name. Ctrl-C or SIGTERM finishes requests under way, refuses new
/// ones, and ends; a second one quits at once.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane serve --model SmolLM2-135M-Instruct.gguf
  backpropane serve --model SmolLM2-135M-Instruct.gguf --adapter runs/smol
  backpropane serve --model runs/smol --port 9000 --slots 4 --json > requests.jsonl
  BACKPROPANE_API_KEY=secret backpropane serve --model runs/smol --host 0.0.0.0
  curl http://127.0.0.1:8080/v1/chat/completions -H \"Content-Type: application/json\" \\
    -d '{\"model\": \"smol\", \"messages\": [{\"role\": \"user\", \"content\": \"Hello!\"}]}'")]
pub struct ServeArgs {
    #[command(flatten)]
    model: NamedModel,

    /// A tokenizer.json, or llama2.c's tokenizer.bin [default: the one beside the weights]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// A chat template, in Jinja [default: the model's own]
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,

    /// The model's name, which requests have to give [default: that of the folder or file]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The address to listen on; 0.0.0.0 is open to other machines
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    host: String,

    /// The port to listen on; 0: one that is free
    #[arg(long, value_name = "N", default_value_t = 8080)]
    port: u16,

    /// A key that clients have to send, as `Authorization: Bearer KEY` [default: the environment's BACKPROPANE_API_KEY, if
    /// set; else none]
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,

    /// Texts that are written together; each has keys and values of its own in memory
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = positive::<usize>)]
    slots: usize,

    /// Texts that may wait for these; beyond, requests are answered with 429
    #[arg(long, value_name = "N", default_value_t = 64)]
    queue: usize,

    /// The most tokens of a prompt with its answer [default: as the model's window has]
    #[arg(long, value_name = "N", value_parser = positive::<usize>)]
    context: Option<usize>,

    /// Seconds after which an answer is broken off
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0, value_parser = above_zero::<f64>)]
    timeout: f64,

    /// The most bytes of a request's body
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = units::parse_bytes)]
    body_limit: u64,

    /// Print a line of JSON for the address and for each request
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    on: ModelArgs,
}

/// Refuses, and says how the command can be had.
#[cfg(not(feature = "serve"))]
pub fn run(_: &Ui, _: &ServeArgs) -> Result<(), CommandError> {
    Err(CommandError::failure("this build cannot serve: it was made without the feature `serve`")
        .with_hint("Build it with `cargo build --release`, whose default features have it."))
}
