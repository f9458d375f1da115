//! Weights in safetensors files, under Hugging Face's names.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::weight_type::{WeightType, check_range};
use super::{rope, shards};
use crate::config::{ModelConfig, ParamSpec};
use crate::error::TrainError;
use crate::fs::{NamedTensor, TensorFile, TensorSet, write_atomically, write_tensors, write_tensors_as};
use host::range::count_beyond;

/// Name of the weights in a folder.
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// Name of the index where the weights are in several files.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Whether the folder `dir` has safetensors, in one file or several.
pub(super) fn has_safetensors(dir: &Path) -> bool {
    [WEIGHTS, INDEX].iter().any(|name| dir.join(name).exists())
}

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

/// Writes weights as [`save_model`] does, rounded to `float`, into the folder `dir`; returns the files. With `shard`, no file has
/// more bytes of tensors, unless one tensor has, and there is an index.
///
/// # Errors
/// As [`write_tensors_as`], and [`TrainError::Export`] for numbers outside of the range of `float`.
pub(super) fn save_in_folder(
    dir: &Path,
    model: (&ModelConfig, &[f32]),
    kind: WeightType,
    shard: Option<u64>,
) -> Result<Vec<PathBuf>, TrainError> {
    let (config, params) = model;
    let Some(float) = kind.float() else {
        return Err(TrainError::Export {
            format: "a folder of Hugging Face's format",
            problem: format!("its numbers cannot be {}", kind.name()),
            remedy: "Use `--dtype f32`, `f16` or `bf16`, or `--to gguf`.".to_owned(),
        });
    };
    as_saved(config, params, |tensors| {
        tensors.iter().try_for_each(|tensor| check_range(kind, &tensor.name, tensor.data))?;
        std::fs::create_dir_all(dir).map_err(TrainError::io("create", dir))?;
        let sizes: Vec<u64> = tensors.iter().map(|t| (float.bytes() * t.data.len()) as u64).collect();
        let parts = shards::plan(&sizes, shard);
        let mut paths = shards::names(&dir.join(WEIGHTS), parts.len());
        for (range, path) in parts.iter().zip(&paths) {
            write_tensors_as(path, Some(("format", "pt".to_owned())), &tensors[range.clone()], float)?;
        }
        if parts.len() > 1 {
            let mut places = serde_json::Map::new();
            for (range, path) in parts.iter().zip(&paths) {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                places.extend(tensors[range.clone()].iter().map(|t| (t.name.clone(), name.clone().into())));
            }
            let total: u64 = sizes.iter().sum();
            let index = serde_json::json!({ "metadata": { "total_size": total }, "weight_map": places });
            let path = dir.join(INDEX);
            write_atomically(&path, format!("{index:#}\n").as_bytes())?;
            paths.push(path);
        }
        Ok(paths)
    })
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

/// The weights `specs` as tensors whose names begin with `prefix`.
pub(crate) fn named<'a>(specs: &[ParamSpec], prefix: &str, params: &'a [f32]) -> Vec<NamedTensor<'a>> {
    let tensor = |spec: &ParamSpec| NamedTensor {
        name: format!("{prefix}{}", spec.name),
        data: params.get(spec.range()).unwrap_or(&[]),
        shape: spec.shape.clone(),
    };
    specs.iter().map(tensor).collect()
}

/// Reads the weights of a model from safetensors (F32, F16 or BF16) into one slice in checkpoint order.
///
/// Every tensor must be one the configuration knows, except for tables of rotary frequencies, which are
/// ignored, and an `lm_head.weight` equal to a tied embedding.
///
/// # Errors
/// As [`TensorFile::open`], or one of the `Tensor…` cases of [`TrainError`]; numbers that are not finite are one.
pub fn load_model(path: &Path, config: &ModelConfig) -> Result<Vec<f32>, TrainError> {
    load_set(&TensorSet::open(path)?, config)
}

/// As [`load_model`], for the weights in one file or several.
///
/// # Errors
/// As [`load_model`].
pub(super) fn load_set(set: &TensorSet, config: &ModelConfig) -> Result<Vec<f32>, TrainError> {
    load(&|name| set.file_of(name), &set.names(), (config, &config.params(), config.param_count()), "")
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
    load_specs_from(file, (config, &config.params()), prefix, |_| true)
}

/// As [`load_params_from`], for the weights `specs` of a file, whose names there begin with `prefix`. Those for which `is_stored` does not hold are 0.
///
/// # Errors
/// As [`load_model`]; a tensor of another weight is unexpected.
pub(crate) fn load_specs_from(
    file: &TensorFile,
    (config, specs): (&ModelConfig, &[ParamSpec]),
    prefix: &str,
    is_stored: impl Fn(&ParamSpec) -> bool,
) -> Result<Vec<f32>, TrainError> {
    let total = specs.last().map_or(0, |spec| spec.range().end);
    let stored: Vec<ParamSpec> = specs.iter().filter(|spec| is_stored(spec)).cloned().collect();
    load(&|_| file, &file.names(), (config, &stored, total), prefix)
}

/// Reads the weights `specs` from the files that `file_of` says into a slice of `total`; `names` are those of all tensors.
fn load<'f>(
    file_of: &dyn Fn(&str) -> &'f TensorFile,
    names: &[String],
    (config, specs, total): (&ModelConfig, &[ParamSpec], usize),
    prefix: &str,
) -> Result<Vec<f32>, TrainError> {
    // Check all tensors before allocating memory for them.
    for spec in specs {
        let name = format!("{prefix}{}", spec.name);
        file_of(&name).check(&name, &spec.shape)?;
    }
    let mut params = vec![0.0; total];
    for spec in specs {
        let (name, numbers) = (format!("{prefix}{}", spec.name), &mut params[spec.range()]);
        let file = file_of(&name);
        file.read(&name, &spec.shape, numbers)?;
        check_finite(file.path(), &name, numbers)?;
    }
    let known: HashSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    for name in names {
        let Some(own) = name.strip_prefix(prefix) else { continue };
        let file = file_of(name);
        let known = own.ends_with("rotary_emb.inv_freq")
            || known.contains(own)
            || (own == "lm_head.weight" && is_tied_copy(file, name, config, &params)?);
        if !known {
            return Err(TrainError::TensorUnexpected { path: file.path().to_owned(), name: name.clone() });
        }
    }
    Ok(params)
}

/// Refuses a tensor with infinities or NaNs.
///
/// # Errors
/// [`TrainError::TensorNotFinite`], with their number and the first.
pub(super) fn check_finite(path: &Path, name: &str, numbers: &[f32]) -> Result<(), TrainError> {
    let count = count_beyond(numbers, f32::MAX);
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
