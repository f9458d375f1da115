//! `backpropane fetch`.

#[cfg(feature = "fetch")]
mod download;
#[cfg(feature = "fetch")]
mod files;

#[cfg(not(feature = "fetch"))]
use crate::error::CommandError;
#[cfg(not(feature = "fetch"))]
use crate::ui::Ui;
use std::path::PathBuf;

/// Fetch a model from the Hugging Face hub
///
/// Fetches configuration, weights in safetensors, tokenizer and licence by plain HTTPS. A fetch that was interrupted goes on
/// where it stopped; each file is compared with the hub's checksum, and files that are here already are kept. Needs a build
/// with `--features fetch`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane fetch HuggingFaceTB/SmolLM2-135M
  backpropane fetch Qwen/Qwen3-0.6B --out models/qwen3
  backpropane fetch bartowski/SmolLM2-135M-Instruct-GGUF --file SmolLM2-135M-Instruct-Q8_0.gguf")]
pub struct FetchArgs {
    /// The model: its owner and its name
    #[arg(value_name = "ORG/NAME", value_parser = repository)]
    model: String,

    /// The folder to write [default: models/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// A file of the model, such as a GGUF file; then only those that are named are fetched
    #[arg(long = "file", value_name = "FILE", value_parser = file_name)]
    files: Vec<String>,

    /// The branch, tag or commit
    #[arg(long, value_name = "NAME", default_value = "main", value_parser = file_name)]
    revision: String,

    /// Another server with the same paths
    #[arg(long, value_name = "URL", default_value = "https://huggingface.co")]
    endpoint: String,
}

/// An owner and a name, as the hub allows them.
fn repository(text: &str) -> Result<String, String> {
    let is_name = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    match text.split_once('/') {
        Some((owner, name)) if is_name(owner) && is_name(name) => Ok(text.to_owned()),
        _ => Err("an owner and a name are needed, such as HuggingFaceTB/SmolLM2-135M".to_owned()),
    }
}

/// A path below a folder, of characters that need no escape in an address.
fn file_name(text: &str) -> Result<String, String> {
    let is_name = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'+'))
    };
    match text.split('/').all(is_name) {
        true => Ok(text.to_owned()),
        false => Err("a name of letters, digits, `-`, `_`, `.` and `/` is needed".to_owned()),
    }
}

/// Refuses, and says how the files can be had otherwise.
#[cfg(not(feature = "fetch"))]
pub fn run(_: &Ui, args: &FetchArgs) -> Result<(), CommandError> {
    let FetchArgs { model, out, files, revision, endpoint } = args;
    let name = model.rsplit('/').next().unwrap_or(model);
    let dir = out.clone().unwrap_or_else(|| PathBuf::from("models").join(name));
    let file = files.first().map_or("config.json", String::as_str);
    let hint = format!(
        "Build it with `cargo build --release --features cli/fetch`, or fetch each file yourself: `curl -L --create-dirs -o \
         {}/{file} {endpoint}/{model}/resolve/{revision}/{file}`.",
        dir.display()
    );
    Err(CommandError::failure("this build cannot fetch: it was made without the feature `fetch`")
        .with_hint(hint))
}

#[cfg(feature = "fetch")]
pub use files::run;
