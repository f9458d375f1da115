//! An adapter's folder as a model: the one that it names, with the adapter merged.

use std::path::{Path, PathBuf};

use super::config::{ADAPTER_CONFIG, AdapterConfig, is_adapter_alone};
use super::files::Adapter;
use super::merge::check_base;
use super::refused;
use crate::config::ModelConfig;
use crate::error::TrainError;
use crate::formats::contents::Contents;
use crate::formats::source::{Candidate, Model, ModelSource, QuantWeights};
use crate::tokenizer::Tokenizer;

/// Finds the format of a file or folder.
pub(crate) type Detect = fn(&Path) -> Result<&'static dyn ModelSource, TrainError>;

/// The format.
pub(crate) struct AdapterFolder {
    /// Finds the format of the model that an adapter names.
    pub(crate) detect: Detect,
}

impl ModelSource for AdapterFolder {
    fn name(&self) -> &'static str {
        "a folder with `adapter_config.json`"
    }

    fn detect(&self, candidate: &Candidate) -> bool {
        candidate.is_adapter
    }

    fn config(&self, path: &Path) -> Result<ModelConfig, TrainError> {
        let base = base_in(path)?;
        (self.detect)(&base)?.config(&base)
    }

    fn has_weights(&self, path: &Path) -> Result<bool, TrainError> {
        let base = base_in(path)?;
        (self.detect)(&base)?.has_weights(&base)
    }

    fn tokenizer(&self, path: &Path, config: &ModelConfig) -> Result<Option<Tokenizer>, TrainError> {
        match Tokenizer::load_from_folder(path, config.vocab)? {
            Some(own) => Ok(Some(own)),
            None => {
                let base = base_in(path)?;
                (self.detect)(&base)?.tokenizer(&base, config)
            }
        }
    }

    fn contents(&self, path: &Path) -> Result<Contents, TrainError> {
        let base = base_in(path)?;
        (self.detect)(&base)?.contents(&base)
    }

    fn quantised(&self, path: &Path) -> Result<QuantWeights, TrainError> {
        let base = base_in(path)?;
        (self.detect)(&base)?.quantised(&base)
    }

    fn open(&self, path: &Path, tokenizer: Option<&Path>) -> Result<Model, TrainError> {
        let adapter = Adapter::open(path)?;
        let base = base_of(&adapter)?;
        let mut model = (self.detect)(&base)?.open(&base, tokenizer)?;
        check_base(&adapter, &base, &model)?;
        adapter.merge(&model.config, &mut model.params, 1.0)?;
        Ok(model)
    }
}

/// The model that `adapter` names.
///
/// # Errors
/// [`TrainError::Adapter`], if it names none that is here.
pub(super) fn base_of(adapter: &Adapter) -> Result<PathBuf, TrainError> {
    let dir = adapter.path.parent().unwrap_or(Path::new(""));
    base_named(dir, adapter.config.base.as_deref())
}

fn base_in(dir: &Path) -> Result<PathBuf, TrainError> {
    base_named(dir, AdapterConfig::read(&dir.join(ADAPTER_CONFIG))?.base.as_deref())
}

fn base_named(dir: &Path, name: Option<&str>) -> Result<PathBuf, TrainError> {
    let given = || format!("Name it: `--model MODEL --adapter {}`.", dir.display());
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Err(refused(dir, "it does not say which model it belongs to", given()));
    };
    let beside = dir.join(name);
    match [Path::new(name), &beside].into_iter().find(|path| path.exists() && !is_adapter_alone(path)) {
        Some(path) => Ok(path.to_owned()),
        None => Err(refused(dir, format!("it belongs to the model `{name}`, which is not here"), given())),
    }
}
