//! Weights of a model under Hugging Face's names, and model folders.

use std::path::Path;

use super::tensors::{Tensor, TensorFile, write_tensors};
use super::{RunFolder, load_llama2c};
use crate::config::ModelConfig;
use crate::error::TrainError;
use crate::tokenizer::Tokenizer;

/// A model as a folder holds it.
#[derive(Debug)]
pub struct Model {
    /// What it is.
    pub config: ModelConfig,
    /// Its weights in checkpoint order ([`ModelConfig::params`]).
    pub params: Vec<f32>,
    /// Its tokenizer, if the folder has one.
    pub tokenizer: Option<Tokenizer>,
}

/// Writes weights as safetensors, F32, all at once or not at all.
///
/// `params` is `[N]` in checkpoint order ([`ModelConfig::params`]).
///
/// # Errors
/// As [`write_tensors`].
pub fn save_model(path: &Path, config: &ModelConfig, params: &[f32]) -> Result<(), TrainError> {
    // Other programs look for this entry before they read weights.
    write_tensors(path, Some(("format", "pt".to_owned())), &named(config, "", params))
}

/// The weights of a model as tensors whose names begin with `prefix`.
pub(super) fn named<'a>(config: &ModelConfig, prefix: &str, params: &'a [f32]) -> Vec<Tensor<'a>> {
    let tensor = |spec: crate::config::ParamSpec| Tensor {
        name: format!("{prefix}{}", spec.name),
        data: params.get(spec.range()).unwrap_or(&[]),
        shape: spec.shape,
    };
    config.params().into_iter().map(tensor).collect()
}

/// Reads the weights of a model from safetensors (F32, F16 or BF16) into one slice in checkpoint order.
///
/// Every tensor must be one the configuration knows, except for tables of rotary frequencies, which are
/// ignored, and an `lm_head.weight` equal to a tied embedding.
///
/// # Errors
/// [`TrainError::Io`], [`TrainError::FileFormat`], or one of the `Tensor…` cases of [`TrainError`].
pub fn load_model(path: &Path, config: &ModelConfig) -> Result<Vec<f32>, TrainError> {
    load_params_from(&TensorFile::open(path)?, config, "")
}

/// As [`load_model`], for a file whose weights have names that begin with `prefix` and that may hold other
/// tensors besides.
///
/// # Errors
/// As [`load_model`].
pub fn load_params_from(
    file: &TensorFile,
    config: &ModelConfig,
    prefix: &str,
) -> Result<Vec<f32>, TrainError> {
    let specs = config.params();
    // First that all is there, then memory for it.
    for spec in &specs {
        file.check(&format!("{prefix}{}", spec.name), &spec.shape)?;
    }
    let mut params = vec![0.0; config.param_count()];
    for spec in &specs {
        file.read(&format!("{prefix}{}", spec.name), &spec.shape, &mut params[spec.range()])?;
    }
    for name in file.names() {
        let Some(own) = name.strip_prefix(prefix) else { continue };
        let known = own.ends_with("rotary_emb.inv_freq")
            || specs.iter().any(|spec| spec.name == own)
            || (own == "lm_head.weight" && is_tied_copy(file, &name, config, &params)?);
        if !known {
            return Err(TrainError::TensorUnexpected { path: file.path().to_owned(), name });
        }
    }
    Ok(params)
}

/// Whether the classifier in the file repeats the embedding of a model that ties them.
fn is_tied_copy(
    file: &TensorFile,
    name: &str,
    config: &ModelConfig,
    params: &[f32],
) -> Result<bool, TrainError> {
    let count = config.vocab * config.dim;
    if !config.tied || count == 0 {
        return Ok(false);
    }
    let mut classifier = vec![0.0; count];
    file.read(name, &[config.vocab, config.dim], &mut classifier)?;
    // The embedding is the first parameter.
    Ok(params.get(..count).is_some_and(|embedding| embedding == classifier))
}

/// Opens a model: a folder with `config.json`, `model.safetensors` and perhaps a tokenizer, or a `.bin` file
/// of llama2.c.
///
/// # Errors
/// As [`ModelConfig::read`], [`load_model`], [`Tokenizer::load`] and [`load_llama2c`];
/// [`TrainError::TokenizerFormat`] for a tokenizer with more tokens than the model.
pub fn open_model(path: &Path) -> Result<Model, TrainError> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("bin")) && path.is_file() {
        let (config, params) = load_llama2c(path)?;
        return Ok(Model { config, params, tokenizer: None });
    }
    let folder = RunFolder::at(path);
    let config = ModelConfig::read(&folder.config())?;
    let tokenizer = Tokenizer::load_from_folder(path, Some(config.vocab))?;
    if let Some(tokenizer) = tokenizer.as_ref().filter(|t| t.vocab_size() > config.vocab) {
        return Err(TrainError::TokenizerFormat {
            path: path.join(tokenizer.file_name()),
            problem: format!(
                "it has {} tokens, the model's vocabulary {}",
                tokenizer.vocab_size(),
                config.vocab
            ),
        });
    }
    let params = load_model(&folder.model(), &config)?;
    Ok(Model { config, params, tokenizer })
}
