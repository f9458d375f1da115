//! Model formats: the supported ones, and detection of a file's or folder's format.
//!
//! Adding a format is one file that implements `ModelSource` and one line in `SOURCES`. Nothing outside of this folder
//! detects a format.

mod adapter;
mod ane_checkpoint;
mod config_file;
mod contents;
mod export;
mod foreign;
mod gguf;
mod hf;
mod info;
mod llama2c;
mod metadata;
mod rope;
mod shards;
mod source;
mod vocabulary;
mod weight_type;
mod weights;

use std::path::Path;

use crate::config::{self, ModelConfig};
use crate::error::TrainError;
use crate::fs::read_limited;
use crate::tokenizer::Tokenizer;
use source::{Candidate, ModelSource};

pub(crate) use adapter::{ADAPTER, ADAPTER_CONFIG, is_adapter_saved, save_adapter};
pub use adapter::{AdapterModel, AdapterRef, ModelRef, export_adapter, fingerprint, is_adapter_alone};
pub use export::{ExportOptions, Exported, Target, export};
pub(crate) use hf::{CONFIG, foreign_weights};
pub use info::{ModelInfo, NumberFormat, TokenizerInfo, info};
pub(crate) use metadata::COMPANIONS;
pub use metadata::FolderMetadata;
pub(crate) use rope::config_in_folder;
pub use source::{Model, QuantWeights};
pub use weight_type::WeightType;
pub(crate) use weights::{INDEX, WEIGHTS, is_saved, load_specs_from, named};
pub use weights::{load_model, load_params_from, save_model};

/// The largest configuration whose keys are looked at.
const LARGEST_CONFIG: u64 = 4 << 20;

/// All formats, in the order in which they are tried.
static SOURCES: [&dyn ModelSource; 6] = [
    &gguf::Gguf,
    &adapter::AdapterFolder { detect },
    &hf::HuggingFace,
    &ane_checkpoint::AneCheckpoint,
    &llama2c::Llama2c,
    &config_file::ConfigFile,
];

/// The files of a model that are read besides its folder, for help texts.
pub const MODEL_FILES: &str = "a GGUF file, llama2.c's .bin, or a checkpoint of maderix/ANE";

/// The format of the file or folder at `path`.
///
/// # Errors
/// [`TrainError::Io`], [`TrainError::NotAFile`] for a device or a pipe, [`TrainError::Foreign`], or
/// [`TrainError::ModelFormat`] if it has none of them.
fn detect(path: &Path) -> Result<&'static dyn ModelSource, TrainError> {
    let candidate = Candidate::read(path)?;
    foreign::refuse(path, &candidate)?;
    SOURCES.into_iter().find(|source| source.detect(&candidate)).ok_or_else(|| TrainError::ModelFormat {
        path: path.to_owned(),
        formats: SOURCES.iter().map(|source| source.name()).collect(),
    })
}

/// Reads the model at `path`: configuration, weights, tokenizer. The tokenizer at `tokenizer`, if given, replaces the
/// model's own.
///
/// # Errors
/// [`TrainError::ModelFormat`] for a file that is no model, [`TrainError::NoWeights`] for a configuration alone,
/// [`TrainError::WeightsFormat`] for weights in other files, [`TrainError::TokenizerTooLarge`]; otherwise what is wrong with
/// one of its files.
pub fn open_model(path: &Path, tokenizer: Option<&Path>) -> Result<Model, TrainError> {
    detect(path)?.open(path, tokenizer)
}

/// Reads the matrices of the model at `path` that are stored in 8 bits or fewer an element, as they are. They are the same
/// numbers as [`open_model`] reads.
///
/// # Errors
/// As [`open_model`].
pub fn open_quantised(path: &Path) -> Result<QuantWeights, TrainError> {
    detect(path)?.quantised(path)
}

/// The start of a training: configuration, and weights and tokenizer if there are any.
#[derive(Debug)]
pub(crate) struct Initial {
    /// The configuration.
    pub(crate) config: ModelConfig,
    /// The weights; `None` if they are to be initialised.
    pub(crate) params: Option<Vec<f32>>,
    /// The tokenizer that the user named, else the model's own.
    pub(crate) tokenizer: Option<Tokenizer>,
    /// As in [`Model`].
    pub(crate) unfit: Option<TrainError>,
    /// As in [`Model`].
    pub(crate) metadata: FolderMetadata,
}

impl Initial {
    fn untrained(config: ModelConfig, tokenizer: Option<Tokenizer>) -> Self {
        Self { config, params: None, tokenizer, unfit: None, metadata: FolderMetadata::default() }
    }
}

/// Reads the start of a training of `name`: a preset's name, or a path as for [`open_model`]. The tokenizer at `tokenizer`,
/// if given, replaces the model's own.
///
/// # Errors
/// As [`ModelConfig::find`] and [`open_model`].
pub(crate) fn open_initial(name: &str, tokenizer: Option<&Path>) -> Result<Initial, TrainError> {
    let given = || tokenizer.map(|path| Tokenizer::load(path, None)).transpose();
    if let Some(config) = ModelConfig::preset(name) {
        return Ok(Initial::untrained(config, given()?));
    }
    let (path, source) = find(name)?;
    if source.has_weights(path)? {
        let Model { config, params, tokenizer, unfit, metadata } = source.open(path, tokenizer)?;
        return Ok(Initial { config, params: Some(params), tokenizer, unfit, metadata });
    }
    let config = source.config(path)?;
    let tokenizer = match given()? {
        Some(given) => Some(given),
        None => source.tokenizer(path, &config)?,
    };
    Ok(Initial::untrained(config, tokenizer))
}

/// The keys of the configuration of the model at `path` that nothing is known of, and that are not read: a folder's, or those of
/// a JSON file. None where there is nothing to read.
pub fn unknown_keys(path: &Path) -> Vec<String> {
    let path = if path.is_dir() { path.join(CONFIG) } else { path.to_owned() };
    if !path.is_file() || path.extension().is_none_or(|end| end != "json") {
        return Vec::new();
    }
    let bytes = read_limited(&path, "configuration", LARGEST_CONFIG).unwrap_or_default();
    let keys: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&bytes).unwrap_or_default();
    // A file with our short names has no others.
    let is_short = !keys.contains_key("hidden_size");
    let names = if is_short { Vec::new() } else { config::unknown_keys(&keys) };
    names.into_iter().map(str::to_owned).collect()
}

/// `name` as a path, with its format.
fn find(name: &str) -> Result<(&Path, &'static dyn ModelSource), TrainError> {
    let path = Path::new(name);
    if !path.exists() {
        return Err(TrainError::UnknownModel { name: name.to_owned(), presets: crate::config::PRESETS });
    }
    Ok((path, detect(path)?))
}

impl ModelConfig {
    /// The configuration called `name`: a preset, else that of a file or folder in a supported format.
    ///
    /// # Errors
    /// [`TrainError::UnknownModel`], [`TrainError::ModelFormat`], or what is wrong with the file.
    pub fn find(name: &str) -> Result<Self, TrainError> {
        if let Some(config) = Self::preset(name) {
            return Ok(config);
        }
        let (path, source) = find(name)?;
        source.config(path)
    }
}

#[cfg(test)]
mod tests;
