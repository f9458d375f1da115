//! Hugging Face's model folder: `config.json`, `model.safetensors`, and optionally a tokenizer.

use std::path::Path;

use super::metadata::FolderMetadata;
use super::source::{Candidate, Model, ModelSource};
use super::weights::load_model;
use crate::config::ModelConfig;
use crate::demand::{self, Use};
use crate::error::TrainError;
use crate::tokenizer::Tokenizer;

/// Name of the configuration.
pub(crate) const CONFIG: &str = "config.json";

/// Name of the weights.
pub(crate) const WEIGHTS: &str = "model.safetensors";

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
        ModelConfig::read(&path.join(CONFIG))
    }

    fn has_weights(&self, path: &Path) -> Result<bool, TrainError> {
        check_weights_format(path)?;
        Ok(path.join(WEIGHTS).exists())
    }

    fn tokenizer(&self, path: &Path, config: &ModelConfig) -> Result<Option<Tokenizer>, TrainError> {
        Tokenizer::load_from_folder(path, config.vocab)
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
        check_weights_format(path)?;
        let params = load_model(&path.join(WEIGHTS), &config)?;
        Ok(Model { config, params, tokenizer, unfit: None, metadata })
    }
}

fn check_weights_format(path: &Path) -> Result<(), TrainError> {
    match foreign_weights(path) {
        Some(found) => Err(TrainError::WeightsFormat { path: path.to_owned(), found }),
        None => Ok(()),
    }
}

/// Whether `file` is in the folder `dir`.
fn is_in(file: Option<&Path>, dir: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    let parent = file.and_then(real).and_then(|file| Some(file.parent()?.to_owned()));
    parent.is_some() && parent == real(dir)
}

/// The weight file of an unsupported format in a folder without `model.safetensors`.
pub(crate) fn foreign_weights(dir: &Path) -> Option<&'static str> {
    const OTHERS: [&str; 4] = [
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "consolidated.00.pth",
    ];
    let exists = |name: &str| dir.join(name).exists();
    OTHERS.into_iter().find(|name| exists(name)).filter(|_| !exists(WEIGHTS))
}
