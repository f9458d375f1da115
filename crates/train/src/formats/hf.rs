//! Hugging Face's model folder: `config.json`, `model.safetensors`, and optionally a tokenizer.

use std::path::Path;

use super::contents::{self, Contents};
use super::metadata::{FolderMetadata, shown};
use super::source::{Candidate, Model, ModelSource};
use super::weights::{INDEX, WEIGHTS, has_safetensors, load_set};
use crate::config::ModelConfig;
use crate::demand::{self, Use};
use crate::error::TrainError;
use crate::fs::{TensorSet, read_limited};
use crate::tokenizer::Tokenizer;

/// Name of the configuration.
pub(crate) const CONFIG: &str = "config.json";

/// The format.
pub(super) struct HuggingFace;

impl ModelSource for HuggingFace {
    fn name(&self) -> &'static str {
        "a folder with `config.json`"
    }

    fn detect(&self, candidate: &Candidate) -> bool {
        candidate.is_folder
    }

    fn config(&self, path: &Path) -> Result<ModelConfig, TrainError> {
        let path = path.join(CONFIG);
        refuse_quantised(&path)?;
        ModelConfig::read(&path)
    }

    fn has_weights(&self, path: &Path) -> Result<bool, TrainError> {
        check_weights_format(path)?;
        Ok(has_safetensors(path))
    }

    fn tokenizer(&self, path: &Path, config: &ModelConfig) -> Result<Option<Tokenizer>, TrainError> {
        Tokenizer::load_from_folder(path, config.vocab)
    }

    fn contents(&self, path: &Path) -> Result<Contents, TrainError> {
        let metadata = FolderMetadata::read(path)?;
        let mut contents = Contents {
            architecture: metadata.text("model_type"),
            context: metadata.context_length(),
            licence: contents::licence_in(path),
            has_chat_template: has_chat_template(path),
            unknown_keys: metadata.unknown_keys(),
            ..Contents::default()
        };
        if self.has_weights(path)? {
            for file in weights(path)?.files() {
                contents.files.push(file.path().to_owned());
                contents.tensors.extend(file.tensors());
            }
        }
        Ok(contents)
    }

    fn open(&self, path: &Path, tokenizer: Option<&Path>) -> Result<Model, TrainError> {
        let given = tokenizer.map(|path| Tokenizer::load(path, None)).transpose()?;
        let config = self.config(path)?;
        given.iter().try_for_each(|given| given.check_vocab(config.vocab))?;
        demand::check(&config, Use::Weights)?;
        let metadata = FolderMetadata::read(path)?;
        let (tokenizer, metadata) = match given {
            // `tokenizer` may be the folder's own.
            Some(given) if is_in(tokenizer, path) => (Some(given), metadata),
            Some(given) => (Some(given), metadata.without_tokenizer()),
            None => (self.tokenizer(path, &config)?, metadata),
        };
        let params = load_set(&weights(path)?, &config)?;
        Ok(Model { config, params, tokenizer, unfit: None, metadata })
    }
}

/// Refuses weights that are quantised, which `config.json` says.
fn refuse_quantised(path: &Path) -> Result<(), TrainError> {
    // What cannot be read is named by whoever reads the rest.
    let text = read_limited(path, "model's", 4 << 20).unwrap_or_default();
    let keys: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let Some((key, value)) = ["quantization", "quantization_config"]
        .into_iter()
        .filter_map(|key| Some((key, keys.get(key)?)))
        .find(|(_, value)| !value.is_null())
    else {
        return Ok(());
    };
    let dir = path.parent().unwrap_or(Path::new("")).display();
    let remedy = match key {
        "quantization" => {
            format!("Make plain weights of it: `mlx_lm.convert --hf-path {dir} --mlx-path {dir}-plain -d`.")
        }
        _ => "Use the folder that it was made from, or a GGUF file of it.".to_owned(),
    };
    let problem = format!("`{key}` = {}: quantised weights are not read", shown(value));
    Err(TrainError::ConfigValue { file: Some(path.to_owned()), key: key.to_owned(), problem, remedy })
}

fn check_weights_format(path: &Path) -> Result<(), TrainError> {
    match foreign_weights(path) {
        Some(found) => Err(TrainError::WeightsFormat { path: path.to_owned(), found }),
        None => Ok(()),
    }
}

/// Whether the folder `dir` has a chat template, in a file of its own or in the tokenizer's settings.
fn has_chat_template(dir: &Path) -> bool {
    let settings = read_limited(&dir.join("tokenizer_config.json"), "model's", 4 << 20).unwrap_or_default();
    let settings: serde_json::Value = serde_json::from_slice(&settings).unwrap_or_default();
    settings.get("chat_template").is_some_and(|template| !template.is_null())
        || ["chat_template.jinja", "chat_template.json"].iter().any(|name| dir.join(name).exists())
}

/// Whether `file` is in the folder `dir`.
fn is_in(file: Option<&Path>, dir: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let parent = file.and_then(real).and_then(|file| Some(file.parent()?.to_owned()));
    parent.is_some() && parent == real(dir)
}

/// The weights in the folder `dir`: one file, or those of an index.
fn weights(dir: &Path) -> Result<TensorSet, TrainError> {
    check_weights_format(dir)?;
    let (whole, index) = (dir.join(WEIGHTS), dir.join(INDEX));
    // As transformers: the one file, if there is one.
    if !whole.exists() && index.exists() { TensorSet::open_index(&index) } else { TensorSet::open(&whole) }
}

/// The weight file of an unsupported format in a folder without safetensors.
pub(crate) fn foreign_weights(dir: &Path) -> Option<&'static str> {
    const OTHERS: [&str; 3] = ["pytorch_model.bin", "pytorch_model.bin.index.json", "consolidated.00.pth"];
    if has_safetensors(dir) {
        return None;
    }
    OTHERS.into_iter().find(|name| dir.join(name).exists())
}
