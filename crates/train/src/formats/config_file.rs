//! A configuration without weights: a TOML or JSON file with our short keys or Hugging Face's.

use std::path::Path;

use super::contents::Contents;
use super::source::{Candidate, Model, ModelSource};
use crate::config::ModelConfig;
use crate::error::TrainError;
use crate::tokenizer::Tokenizer;

/// The format.
pub(super) struct ConfigFile;

impl ModelSource for ConfigFile {
    fn name(&self) -> &'static str {
        "a configuration in TOML or JSON"
    }

    fn detect(&self, candidate: &Candidate) -> bool {
        candidate.is_text()
    }

    fn config(&self, path: &Path) -> Result<ModelConfig, TrainError> {
        ModelConfig::read(path)
    }

    fn has_weights(&self, _: &Path) -> Result<bool, TrainError> {
        Ok(false)
    }

    fn tokenizer(&self, _: &Path, _: &ModelConfig) -> Result<Option<Tokenizer>, TrainError> {
        Ok(None)
    }

    fn contents(&self, _: &Path) -> Result<Contents, TrainError> {
        Ok(Contents::default())
    }

    fn open(&self, path: &Path, _: Option<&Path>) -> Result<Model, TrainError> {
        Err(TrainError::NoWeights { path: path.to_owned() })
    }
}
