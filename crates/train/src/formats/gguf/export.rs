//! Writing a model as a GGUF file, or as several.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use super::config::config_keys;
use super::encode::{BLOCK, encode};
use super::express;
use super::rope;
use super::stored::difference;
use super::table::{RECORDS, Written, architecture, stores_pairs, tensor_name};
use super::vocab::vocab_keys;
use super::write::{ALIGNMENT, Key, Tensor, Value, as_read, header};
use crate::config::{ModelConfig, ParamKind, ParamSpec};
use crate::error::TrainError;
use crate::formats::metadata::FolderMetadata;
use crate::formats::rope as rows;
use crate::formats::shards;
use crate::formats::source::Model;
use crate::formats::weight_type::{WeightType, check_range};
use crate::fs::AtomicFile;

/// Keys with the texts of a folder's files, which other readers ignore.
pub const FILES: &str = "backpropane.file.";

/// A tensor that is written, with its numbers.
struct Content<'m> {
    tensor: Tensor,
    /// Their name in messages.
    name: String,
    numbers: Cow<'m, [f32]>,
    /// What is added to them.
    offset: f32,
}

/// Writes `model`; returns the files in order, and what llama.cpp does otherwise with them. With `shard`, no file has more bytes
/// of tensors, unless one tensor has.
///
/// # Errors
/// [`TrainError::Export`] for what the format cannot express, and numbers outside of `kind`'s range; [`TrainError::Io`].
pub fn write(
    model: &Model,
    path: &Path,
    kind: WeightType,
    shard: Option<u64>,
) -> Result<(Vec<PathBuf>, Vec<String>), TrainError> {
    let config = &model.config;
    let cannot = |problem: String| TrainError::Export {
        format: "GGUF",
        problem,
        remedy: "Export to Hugging Face's format with `--to hf`.".to_owned(),
    };
    express::check(config).map_err(cannot)?;
    let contents = contents(model, kind).map_err(cannot)?;
    let tensors: Vec<Tensor> = contents.iter().map(|content| content.tensor.clone()).collect();
    let keys = keys(model, kind, &tensors).map_err(cannot)?;
    check(config, &keys, &tensors).map_err(cannot)?;
    for content in &contents {
        check_range(content.tensor.kind, &content.name, &content.numbers)?;
    }
    let sizes: Vec<u64> = tensors.iter().map(Tensor::bytes).collect();
    let parts = shards::plan(&sizes, shard);
    let paths = shards::names(path, parts.len());
    for (part, (range, path)) in parts.iter().zip(&paths).enumerate() {
        let mut own = if part == 0 { keys.clone() } else { Vec::new() };
        if parts.len() > 1 {
            let number = |n: usize| Value::U16(n as u16);
            own.push(("split.no".to_owned(), number(part)));
            own.push(("split.count".to_owned(), number(parts.len())));
            own.push(("split.tensors.count".to_owned(), Value::I32(tensors.len() as i32)));
        }
        write_part(path, &own, &contents[range.clone()])?;
    }
    Ok((paths, express::notes(config, model.metadata.context(config))))
}

fn write_part(path: &Path, keys: &[Key], contents: &[Content<'_>]) -> Result<(), TrainError> {
    let mut file = AtomicFile::create(path)?;
    let tensors: Vec<Tensor> = contents.iter().map(|content| content.tensor.clone()).collect();
    file.write(&header(keys, &tensors))?;
    for Content { tensor, numbers, offset, .. } in contents {
        let (mut bytes, mut raised) = (Vec::new(), Vec::new());
        // Whole blocks at once.
        for numbers in numbers.chunks(BLOCK << 13) {
            raised.clear();
            raised.extend(numbers.iter().map(|w| w + offset));
            bytes.clear();
            encode(tensor.kind, if *offset == 0.0 { numbers } else { &raised }, &mut bytes);
            file.write(&bytes)?;
        }
        let rest = tensor.bytes().next_multiple_of(ALIGNMENT) - tensor.bytes();
        file.write(&vec![0; rest as usize])?;
    }
    file.commit()
}

/// The tensors of a file: the parameters, and tables of RoPE's divisors.
fn contents(model: &Model, kind: WeightType) -> Result<Vec<Content<'_>>, String> {
    let config = &model.config;
    let permuted = stores_pairs(config);
    let norm_offset = config.variant.family.norm_offset() as f32;
    let mut contents = Vec::new();
    for (name, divisors) in rope::written_tables(config) {
        let tensor = Tensor { name: name.to_owned(), shape: vec![divisors.len()], kind: WeightType::F32 };
        contents.push(Content { tensor, name: name.to_owned(), numbers: Cow::Owned(divisors), offset: 0.0 });
    }
    for spec in config.params() {
        let numbers = model.params.get(spec.range()).unwrap_or(&[]);
        let own = rows::in_folder(config, &spec, numbers);
        let numbers = if permuted { rows::in_pairs(config, &spec, numbers) } else { own };
        // It stores what a norm multiplies with; Gemma's weights are less by 1.
        let offset = if spec.name.ends_with("norm.weight") { norm_offset } else { 0.0 };
        contents.push(Content { tensor: tensor(config, &spec, kind)?, name: spec.name, numbers, offset });
    }
    Ok(contents)
}

/// A parameter as a tensor. Norms are F32; rows that are not whole blocks are F16; of a model of nibbles, embedding and
/// classifier are bytes.
fn tensor(config: &ModelConfig, spec: &ParamSpec, kind: WeightType) -> Result<Tensor, String> {
    let name = tensor_name(&spec.name, config.variant.family.has_post_norms())
        .ok_or_else(|| format!("no name is known for tensor `{}`", spec.name))?;
    let row = spec.shape.last().copied().unwrap_or(1);
    let is_end = matches!(spec.kind, ParamKind::Embedding | ParamKind::Classifier);
    let kind = match kind {
        _ if spec.shape.len() < 2 => WeightType::F32,
        WeightType::Q8_0 | WeightType::Q4_0 if !row.is_multiple_of(BLOCK) => WeightType::F16,
        WeightType::Q4_0 if is_end => WeightType::Q8_0,
        kind => kind,
    };
    Ok(Tensor { name, shape: spec.shape.clone(), kind })
}

fn keys(model: &Model, kind: WeightType, tensors: &[Tensor]) -> Result<Vec<Key>, String> {
    let (config, metadata) = (&model.config, &model.metadata);
    let architecture = architecture(config);
    let quantised = tensors.iter().any(|tensor| tensor.kind.float().is_none());
    let mut keys: Vec<Key> = vec![
        ("general.architecture".to_owned(), Value::Str(architecture.to_owned())),
        ("general.type".to_owned(), Value::Str("model".to_owned())),
        ("general.file_type".to_owned(), Value::U32(kind.file_type())),
    ];
    if quantised {
        keys.push(("general.quantization_version".to_owned(), Value::U32(2)));
    }
    let written = Written { config, context: metadata.context(config) };
    for record in RECORDS.iter().filter(|record| record.is_of(architecture)) {
        let value = (record.write)(&written);
        keys.extend(value.map(|value| (format!("{architecture}.{}", record.name), value)));
    }
    let text = metadata.config_json_as(config, model.tokenizer.as_ref(), "float32");
    let folder: Map<String, Json> = serde_json::from_str(&text).map_err(|e| e.to_string())?;
    if let Some(tokenizer) = &model.tokenizer {
        let ids = ["bos_token_id", "eos_token_id", "pad_token_id"].map(|key| first_id(folder.get(key)));
        keys.extend(vocab_keys(tokenizer, config.vocab, ids).map_err(|e| format!("of its tokenizer, {e}"))?);
    }
    if let Some(template) = metadata.companion("chat_template.jinja") {
        keys.push(("tokenizer.chat_template".to_owned(), Value::Str(template.to_owned())));
    }
    keys.push((format!("{FILES}config.json"), Value::Str(text)));
    for (name, text) in FolderMetadata::KEPT.iter().filter_map(|name| Some((name, metadata.companion(name)?)))
    {
        keys.push((format!("{FILES}{name}"), Value::Str(text.to_owned())));
    }
    Ok(keys)
}

/// A token's id, or the first of several.
fn first_id(value: Option<&Json>) -> Option<u32> {
    let value = value?;
    let first = value.as_array().and_then(|ids| ids.first()).unwrap_or(value);
    first.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// Refuses keys from which a reader makes another model.
fn check(config: &ModelConfig, keys: &[Key], tensors: &[Tensor]) -> Result<(), String> {
    let header = as_read(keys, tensors);
    let mut read = config_keys(&header).map_err(|e| e.to_string())?;
    rope::add_scaling(&header, &rope::written_tables(config), &mut read).map_err(|e| e.to_string())?;
    let got =
        ModelConfig::from_json_in(Path::new(""), &Json::from(read).to_string()).map_err(|e| e.to_string())?;
    match difference(config, &got) {
        Some((key, own, read)) => Err(format!("it has `{key}` = {own}, and the file would say {read}")),
        None => Ok(()),
    }
}
