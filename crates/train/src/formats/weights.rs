//! Weights in safetensors files, under Hugging Face's names.

use std::borrow::Cow;
use std::path::Path;

use super::rope;
use crate::config::{ModelConfig, ParamSpec};
use crate::error::TrainError;
use crate::fs::{NamedTensor, TensorFile, write_tensors};

/// Writes weights as safetensors, F32, atomically, with the rows of query and key projections in Hugging Face's order.
///
/// `params` is `[N]` in checkpoint order ([`ModelConfig::params`]).
///
/// # Errors
/// As [`write_tensors`].
pub fn save_model(path: &Path, config: &ModelConfig, params: &[f32]) -> Result<(), TrainError> {
    // Other programs require this entry.
    let write = |tensors: &[NamedTensor<'_>]| write_tensors(path, Some(("format", "pt".to_owned())), tensors);
    as_saved(config, params, write)
}

/// Whether the file at `path` is undamaged and equal to what [`save_model`] writes for these weights.
pub(crate) fn is_saved(path: &Path, config: &ModelConfig, params: &[f32]) -> bool {
    let whole =
        |file: TensorFile| as_saved(config, params, |tensors| file.claims(tensors)) && file.verify().is_ok();
    TensorFile::open(path).is_ok_and(whole)
}

/// Calls `f` with the tensors that [`save_model`] writes.
fn as_saved<R>(config: &ModelConfig, params: &[f32], f: impl FnOnce(&[NamedTensor<'_>]) -> R) -> R {
    let specs = config.params();
    let rows = |spec| rope::in_folder(config, spec, params.get(spec.range()).unwrap_or(&[]));
    let data: Vec<Cow<'_, [f32]>> = specs.iter().map(rows).collect();
    let tensor = |(spec, data): (ParamSpec, _)| NamedTensor { name: spec.name, shape: spec.shape, data };
    f(&specs.into_iter().zip(data.iter().map(|d| &**d)).map(tensor).collect::<Vec<_>>())
}

/// The weights of a model as tensors whose names begin with `prefix`.
pub(crate) fn named<'a>(config: &ModelConfig, prefix: &str, params: &'a [f32]) -> Vec<NamedTensor<'a>> {
    let tensor = |spec: ParamSpec| NamedTensor {
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
    load_some_from(file, config, prefix, |_| true)
}

/// As [`load_params_from`], of the weights for which `is_stored` holds; the others are 0.
///
/// # Errors
/// As [`load_model`]; a tensor of another weight is unexpected.
pub(crate) fn load_some_from(
    file: &TensorFile,
    config: &ModelConfig,
    prefix: &str,
    is_stored: impl Fn(&ParamSpec) -> bool,
) -> Result<Vec<f32>, TrainError> {
    let specs: Vec<ParamSpec> = config.params().into_iter().filter(is_stored).collect();
    // Check all tensors before allocating memory for them.
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

/// Refuses a tensor with infinities or NaNs.
///
/// # Errors
/// [`TrainError::TensorNotFinite`], with their number and the first.
pub(super) fn check_finite(path: &Path, name: &str, numbers: &[f32]) -> Result<(), TrainError> {
    let count = numbers.iter().filter(|x| !x.is_finite()).count();
    if count == 0 {
        return Ok(());
    }
    let first = numbers.iter().position(|x| !x.is_finite()).unwrap_or_default();
    let (path, name, of) = (path.to_owned(), name.to_owned(), numbers.len());
    Err(TrainError::TensorNotFinite { path, name, count, of, first })
}

/// Whether the file's classifier is a copy of the embedding, in a model that ties the two.
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
