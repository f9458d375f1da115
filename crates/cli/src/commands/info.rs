//! `backpropane info`.

use crate::error::CommandError;
use crate::output::print_json;
use crate::ui::Ui;
use crate::units;
use serde_json::{Value, json};
use std::path::PathBuf;
use train::formats::{ModelInfo, info};

/// Say what a model is
///
/// Its architecture, size, number formats, tokenizer, context, licence, and the memory that it needs. Of the weights only
/// headers are read, so a file of gigabytes takes no longer than a small one.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane info runs/shakespeare
  backpropane info SmolLM2-135M-Instruct.Q4_1.gguf
  backpropane info stories15M.bin --json")]
pub struct InfoArgs {
    /// A folder with config.json or a GGUF file, a GGUF file or a part of one, llama2.c's .bin, or a checkpoint of maderix/ANE
    #[arg(value_name = "PATH")]
    path: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(ui: &Ui, args: &InfoArgs) -> Result<(), CommandError> {
    let info = info(&args.path)?;
    if args.json {
        return print_json(ui, &as_json(&info));
    }
    for (name, text) in lines(&info) {
        ui.result(&format!("{name:<10} {text}"))?;
    }
    Ok(())
}

fn lines(info: &ModelInfo) -> Vec<(&'static str, String)> {
    let c = &info.config;
    let heads = if c.kv_heads == c.heads { String::new() } else { format!(" on {}", c.kv_heads) };
    let count = |n: u64| units::count(n as f64);
    let mut lines = vec![
        (
            "model",
            format!(
                "{}: {} parameters, {}, dim {}, {}{heads} heads, vocabulary {}",
                info.architecture,
                count(c.param_count() as u64),
                units::plural(c.layers, "layer"),
                c.dim,
                c.heads,
                c.vocab
            ),
        ),
        (
            "format",
            format!(
                "{}: {}, {}",
                info.format,
                units::plural(info.files.len(), "file"),
                units::bytes(info.bytes)
            ),
        ),
    ];
    for format in &info.formats {
        let tensors = units::plural(format.tensors, "tensor");
        let (numbers, bytes) = (count(format.numbers), units::bytes(format.bytes));
        lines.push(("numbers", format!("{numbers} {} in {tensors}, {bytes}", format.name)));
    }
    lines.push(("context", units::plural(info.context, "token")));
    let template = if info.has_chat_template { ", with a chat template" } else { "" };
    lines.push((
        "tokenizer",
        match &info.tokenizer {
            Ok(Some(tokenizer)) => {
                format!("{}, {}{template}", tokenizer.kind, units::plural(tokenizer.tokens, "token"))
            }
            Ok(None) => "none".to_owned(),
            Err(error) => format!("none that can be used: {error}"),
        },
    ));
    lines.push(("licence", info.licence.clone().unwrap_or_else(|| "not named".to_owned())));
    if !info.unknown_keys.is_empty() {
        let keys: Vec<String> = info.unknown_keys.iter().map(|key| format!("`{key}`")).collect();
        lines.push(("not read", format!("unknown keys of its configuration: {}", keys.join(", "))));
    }
    let [generate, tune, train] = [info.to_generate, info.to_tune, info.to_train].map(units::bytes);
    lines.push((
        "memory",
        format!(
            "at least {generate} to generate, {tune} to train adapters, {train} to train all, with one window of {} tokens",
            c.seq
        ),
    ));
    lines
}

fn as_json(info: &ModelInfo) -> Value {
    let c = &info.config;
    let formats: Vec<Value> = info
        .formats
        .iter()
        .map(|f| json!({ "name": f.name, "tensors": f.tensors, "numbers": f.numbers, "bytes": f.bytes }))
        .collect();
    let tokenizer = match &info.tokenizer {
        Ok(Some(tokenizer)) => json!({ "kind": tokenizer.kind, "tokens": tokenizer.tokens }),
        Ok(None) => Value::Null,
        Err(error) => json!({ "error": error.to_string() }),
    };
    json!({
        "architecture": info.architecture,
        "format": info.format,
        "files": info.files,
        "bytes": info.bytes,
        "parameters": c.param_count(),
        "dim": c.dim,
        "hidden": c.hidden,
        "layers": c.layers,
        "heads": c.heads,
        "kv_heads": c.kv_heads,
        "head_dim": c.head_dim,
        "vocab": c.vocab,
        "context": info.context,
        "tied": c.tied,
        "numbers": formats,
        "tokenizer": tokenizer,
        "chat_template": info.has_chat_template,
        "licence": info.licence,
        "unknown_keys": info.unknown_keys,
        "memory": { "generate": info.to_generate, "tune": info.to_tune, "train": info.to_train, "window": c.seq },
    })
}
