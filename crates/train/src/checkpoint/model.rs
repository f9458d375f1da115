//! Weights of a model under Hugging Face's names, and model folders.

use std::borrow::Cow;
use std::path::Path;

use super::tensors::{Tensor, TensorFile, write_tensors};
use super::{Origin, RunFolder, is_llama2c, load_llama2c, rope};
use crate::config::ModelConfig;
use crate::demand::{self, Use};
use crate::error::TrainError;
use crate::tokenizer::Tokenizer;

/// A model as a folder holds it.
#[derive(Debug)]
pub struct Model {
    /// What it is.
    pub config: ModelConfig,
    /// Its weights in checkpoint order ([`ModelConfig::params`]).
    pub params: Vec<f32>,
    /// Its tokenizer, if it has one.
    pub tokenizer: Option<Tokenizer>,
    /// Why the tokenizer beside a llama2.c file is not its own.
    pub unfit: Option<TrainError>,
    /// What else its folder says.
    pub origin: Origin,
}

/// Writes weights as safetensors, F32, all at once or not at all, with rows of queries and keys as Hugging Face's
/// folders have them.
///
/// `params` is `[N]` in checkpoint order ([`ModelConfig::params`]).
///
/// # Errors
/// As [`write_tensors`].
pub fn save_model(path: &Path, config: &ModelConfig, params: &[f32]) -> Result<(), TrainError> {
    // Other programs look for this entry before they read weights.
    let write = |tensors: &[Tensor<'_>]| write_tensors(path, Some(("format", "pt".to_owned())), tensors);
    as_saved(config, params, write)
}

/// Whether the file at `path` is what [`save_model`] writes for these weights, whole and undamaged.
pub(super) fn is_saved(path: &Path, config: &ModelConfig, params: &[f32]) -> bool {
    let whole =
        |file: TensorFile| as_saved(config, params, |tensors| file.claims(tensors)) && file.verify().is_ok();
    TensorFile::open(path).is_ok_and(whole)
}

/// Calls `f` with the tensors that [`save_model`] writes.
fn as_saved<R>(config: &ModelConfig, params: &[f32], f: impl FnOnce(&[Tensor<'_>]) -> R) -> R {
    let specs = config.params();
    let rows = |spec| rope::in_folder(config, spec, params.get(spec.range()).unwrap_or(&[]));
    let data: Vec<Cow<'_, [f32]>> = specs.iter().map(rows).collect();
    let tensor =
        |(spec, data): (crate::config::ParamSpec, _)| Tensor { name: spec.name, shape: spec.shape, data };
    f(&specs.into_iter().zip(data.iter().map(|d| &**d)).map(tensor).collect::<Vec<_>>())
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
/// As [`TensorFile::open`], or one of the `Tensor…` cases of [`TrainError`]; numbers that are not finite are one.
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
        let (name, numbers) = (format!("{prefix}{}", spec.name), &mut params[spec.range()]);
        file.read(&name, &spec.shape, numbers)?;
        check_finite(file.path(), &name, numbers)?;
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

/// Refuses a tensor with numbers that are infinite or NaN: nothing that follows from them is right.
pub(super) fn check_finite(path: &Path, name: &str, numbers: &[f32]) -> Result<(), TrainError> {
    let count = numbers.iter().filter(|x| !x.is_finite()).count();
    if count == 0 {
        return Ok(());
    }
    let first = numbers.iter().position(|x| !x.is_finite()).unwrap_or_default();
    let (path, name, of) = (path.to_owned(), name.to_owned(), numbers.len());
    Err(TrainError::TensorNotFinite { path, name, count, of, first })
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
/// of llama2.c with perhaps a tokenizer beside it. `tokenizer` is used instead, if it is given.
///
/// # Errors
/// As [`ModelConfig::read`], [`load_model`], [`Tokenizer::load`], [`load_llama2c`] and [`Origin::read`];
/// [`TrainError::TokenizerFormat`] or [`TrainError::TokenizerTooLarge`] for a tokenizer with more tokens than the
/// model, [`TrainError::WeightsFormat`] for weights in other files.
pub fn open_model(path: &Path, tokenizer: Option<&Path>) -> Result<Model, TrainError> {
    let given = tokenizer.map(|path| Tokenizer::load(path, None)).transpose()?;
    let check = |config: &ModelConfig| match &given {
        Some(t) if t.vocab_size() > config.vocab => {
            Err(TrainError::TokenizerTooLarge { tokenizer: t.vocab_size(), model: config.vocab })
        }
        _ => Ok(()),
    };
    if is_llama2c(path) {
        let (config, params) = load_llama2c(path)?;
        check(&config)?;
        let beside = match given {
            Some(given) => Ok(Some(given)),
            // A folder of several models has the tokenizer of one of them.
            None => tokenizer_of(path.parent().unwrap_or(Path::new("")), &config),
        };
        let (tokenizer, unfit) = beside.map_or_else(|unfit| (None, Some(unfit)), |found| (found, None));
        let origin = Origin::llama2c(&config);
        return Ok(Model { config, params, tokenizer, unfit, origin });
    }
    let folder = RunFolder::at(path);
    let config = ModelConfig::read(&folder.config())?;
    check(&config)?;
    demand::check(&config, Use::Weights)?;
    let origin = Origin::read(path)?;
    let (tokenizer, origin) = match given {
        // The folder's own, named, is no other.
        Some(given) if is_in(tokenizer, path) => (Some(given), origin),
        Some(given) => (Some(given), origin.without_tokenizer()),
        None => (tokenizer_of(path, &config)?, origin),
    };
    if let Some(found) = foreign_weights(path) {
        return Err(TrainError::WeightsFormat { path: path.to_owned(), found });
    }
    let params = load_model(&folder.model(), &config)?;
    Ok(Model { config, params, tokenizer, unfit: None, origin })
}

/// Whether `file` is in the folder `dir`.
fn is_in(file: Option<&Path>, dir: &Path) -> bool {
    let folder = |path: &Path| std::fs::canonicalize(path).ok();
    let parent = file.and_then(folder).and_then(|file| Some(file.parent()?.to_owned()));
    parent.is_some() && parent == folder(dir)
}

/// The tokenizer in a folder, which must fit the model.
pub(crate) fn tokenizer_of(dir: &Path, config: &ModelConfig) -> Result<Option<Tokenizer>, TrainError> {
    let tokenizer = Tokenizer::load_from_folder(dir, Some(config.vocab))?;
    match &tokenizer {
        Some(t) if t.vocab_size() > config.vocab => Err(TrainError::TokenizerFormat {
            path: dir.join(t.file_name()),
            problem: format!("it has {} tokens, the model's vocabulary {}", t.vocab_size(), config.vocab),
        }),
        _ => Ok(tokenizer),
    }
}

/// The file with weights that a folder without `model.safetensors` has in a form that is not read.
pub fn foreign_weights(dir: &Path) -> Option<&'static str> {
    const OTHERS: [&str; 4] = [
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "consolidated.00.pth",
    ];
    let is_there = |name: &str| dir.join(name).exists();
    OTHERS.into_iter().find(|name| is_there(name)).filter(|_| !is_there("model.safetensors"))
}
