//! Which files of a model are fetched.

use super::download::{Fetcher, Got};
use super::{FetchArgs, file_name};
use crate::error::CommandError;
use crate::ui::Ui;
use crate::units;
use std::path::{Path, PathBuf};

/// Files that a model may have, besides its weights.
const BESIDES: [&str; 12] = [
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "README.md",
    "LICENSE",
];

/// Fetches the files.
pub fn run(ui: &Ui, args: &FetchArgs) -> Result<(), CommandError> {
    let name = args.model.rsplit('/').next().unwrap_or(&args.model);
    let dir = args.out.clone().unwrap_or_else(|| PathBuf::from("models").join(name));
    let base = format!("{}/{}/resolve/{}", args.endpoint.trim_end_matches('/'), args.model, args.revision);
    let fetcher = Fetcher::new(base, dir.clone());
    let fetch = |file: &str| -> Result<bool, CommandError> {
        let got = fetcher.fetch(file)?;
        match got {
            Got::Fetched { bytes, resumed: 0 } => ui.say(format!("{file}: {}", units::bytes(bytes))),
            Got::Fetched { bytes, resumed } => {
                let (all, before) = (units::bytes(bytes), units::bytes(resumed));
                ui.say(format!("{file}: {all}, of which {before} were here"));
            }
            Got::Kept => ui.say(format!("{file}: is here already")),
            Got::Absent => {}
        }
        Ok(!matches!(got, Got::Absent))
    };
    let missing = |file: &str, hint: &str| {
        CommandError::input(format!("`{}` has no file `{file}`", args.model), hint.to_owned())
    };
    if !args.files.is_empty() {
        for file in &args.files {
            if !fetch(file)? {
                return Err(missing(file, "Look at its list of files for the right name."));
            }
        }
    } else {
        let by_name = "Check the name, or name a file of it with `--file`.";
        if !fetch("config.json")? {
            return Err(missing("config.json", by_name));
        }
        let index = "model.safetensors.index.json";
        if fetch(index)? {
            for shard in shards(&dir.join(index))? {
                if !fetch(&shard)? {
                    return Err(missing(&shard, "Its index names this file: tell its owner."));
                }
            }
        } else if !fetch("model.safetensors")? {
            return Err(missing("model.safetensors", by_name));
        }
        for file in BESIDES {
            fetch(file)?;
        }
    }
    ui.result(&dir.display().to_string())
}

/// The files that an index names.
fn shards(index: &Path) -> Result<Vec<String>, CommandError> {
    let refused = |problem: String| {
        let message = format!("`{}` is not an index of weights: {problem}", index.display());
        CommandError::input(message, "Fetch another model.")
    };
    let text = std::fs::read(index).map_err(|e| refused(e.to_string()))?;
    let json: serde_json::Value = serde_json::from_slice(&text).map_err(|e| refused(e.to_string()))?;
    let map = json["weight_map"].as_object().ok_or_else(|| refused("it has no `weight_map`".to_owned()))?;
    let mut names = Vec::new();
    for name in map.values() {
        let name = name.as_str().and_then(|name| file_name(name).ok());
        let name = name.filter(|name| !name.contains('/'));
        names.push(name.ok_or_else(|| refused("it names what is no file of the folder".to_owned()))?);
    }
    names.sort();
    names.dedup();
    Ok(names)
}
