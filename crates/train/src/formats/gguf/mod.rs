//! GGUF, the single-file format of llama.cpp: configuration, tokenizer and weights in one file, weights often quantised.
//!
//! Its keys become those of Hugging Face's `config.json` and `tokenizer.json`, so their meaning is defined once. Weights are
//! decoded to f32 exactly as ggml does.

mod adapter;
mod blocks;
mod config;
mod encode;
mod export;
mod express;
mod header;
mod layers;
mod parts;
mod rope;
mod stored;
mod table;
mod tokenizer;
mod values;
mod vocab;
mod write;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::contents::{self, Contents};
use super::metadata::FolderMetadata;
use super::rope as rows;
use super::source::{Candidate, Model, ModelSource, QuantWeights};
use super::weights::check_finite;
use crate::config::{ModelConfig, ParamSpec, RopeKind};
use crate::demand::{self, Use};
use crate::error::TrainError;
use crate::tokenizer::Tokenizer;
use blocks::Kept;
use config::config_keys;
use header::{Header, TensorInfo};
use parts::{Parts, damaged, unfit};
use serde_json::Value;
use table::{stores_pairs, tensor_name};

pub(super) use adapter::{Factors, write_adapter};
pub(super) use export::write;
pub(super) use vocab::rebuilt_json;

/// The format.
pub(super) struct Gguf;

impl ModelSource for Gguf {
    fn name(&self) -> &'static str {
        "a GGUF file"
    }

    fn detect(&self, candidate: &Candidate) -> bool {
        candidate.head.starts_with(b"GGUF") || candidate.has_only_gguf
    }

    fn config(&self, path: &Path) -> Result<ModelConfig, TrainError> {
        Ok(Open::new(path)?.config)
    }

    fn has_weights(&self, _: &Path) -> Result<bool, TrainError> {
        Ok(true)
    }

    fn tokenizer(&self, path: &Path, _: &ModelConfig) -> Result<Option<Tokenizer>, TrainError> {
        Open::new(path)?.tokenizer()
    }

    fn contents(&self, path: &Path) -> Result<Contents, TrainError> {
        let open = Open::new(path)?;
        let Parts { paths, header } = &open.parts;
        let text = |key: &str| values::text(header, key).ok().flatten().map(str::to_owned);
        let tensor = |t: &TensorInfo| {
            (t.format.name.to_owned(), t.shape.iter().map(|&n| n as u64).product(), t.bytes as u64)
        };
        Ok(Contents {
            architecture: text("general.architecture"),
            context: open.metadata()?.context_length(),
            files: paths.clone(),
            tensors: header.tensors.iter().map(tensor).collect(),
            licence: text("general.license").or_else(|| contents::licence_in(path)),
            has_chat_template: text("tokenizer.chat_template").is_some(),
            unknown_keys: Vec::new(),
        })
    }

    fn quantised(&self, path: &Path) -> Result<QuantWeights, TrainError> {
        Open::new(path)?.quantised()
    }

    fn open(&self, path: &Path, tokenizer: Option<&Path>) -> Result<Model, TrainError> {
        let given = tokenizer.map(|path| Tokenizer::load(path, None)).transpose()?;
        let open = Open::new(path)?;
        given.iter().try_for_each(|given| given.check_vocab(open.config.vocab))?;
        demand::check(&open.config, Use::Weights)?;
        let metadata = open.metadata()?;
        let (tokenizer, metadata) = match given {
            Some(given) => (Some(given), metadata.without_tokenizer()),
            None => (open.tokenizer()?, metadata),
        };
        let params = open.weights()?;
        Ok(Model { config: open.config, params, tokenizer, unfit: None, metadata })
    }
}

/// A model with its parsed header.
struct Open {
    parts: Parts,
    /// The configuration under Hugging Face's keys.
    keys: serde_json::Map<String, Value>,
    config: ModelConfig,
}

impl Open {
    fn new(path: &Path) -> Result<Self, TrainError> {
        let parts = Parts::open(path)?;
        let (path, header) = (parts.path(), &parts.header);
        let tables =
            rope::tables(header, |info, to| decode(&mut File::open(&parts.paths[info.part])?, info, to));
        let tables = tables.map_err(TrainError::io("read", path))?;
        let mut keys = config_keys(header).map_err(|e| unfit(path, &e))?;
        rope::add_scaling(header, &tables, &mut keys).map_err(|e| unfit(path, &e))?;
        let config = match ModelConfig::from_json_in(path, &Value::from(keys.clone()).to_string()) {
            // The keys that it names are not those of the file.
            Err(TrainError::ConfigValue { problem, .. }) => {
                return Err(damaged(path, &format!("its keys make no model: {problem}")));
            }
            config => config?,
        };
        let (keys, config) = folder_keys(header, &config).unwrap_or((keys, config));
        Ok(Self { parts, keys, config })
    }

    fn tokenizer(&self) -> Result<Option<Tokenizer>, TrainError> {
        let (path, header) = (self.parts.path(), &self.parts.header);
        let unfit = |e| unfit(path, &e);
        let whole = values::text(header, vocab::WHOLE).map_err(unfit)?.map(str::to_owned);
        let json = match whole {
            Some(json) => Some(json),
            None => tokenizer::tokenizer_json(header).map_err(unfit)?,
        };
        let Some(json) = json else { return Ok(None) };
        let tokenizer = Tokenizer::from_json_in(path, json.as_bytes())?;
        tokenizer.check_vocab(self.config.vocab)?;
        Ok(Some(tokenizer))
    }

    fn metadata(&self) -> Result<FolderMetadata, TrainError> {
        let (path, header) = (self.parts.path(), &self.parts.header);
        let template = values::text(header, "tokenizer.chat_template").map_err(|e| unfit(path, &e))?;
        let mut metadata = FolderMetadata::from_keys(path, self.keys.clone(), template)?;
        for name in FolderMetadata::KEPT {
            let key = format!("{}{name}", export::FILES);
            if let Some(text) = values::text(header, &key).map_err(|e| unfit(path, &e))? {
                metadata.keep(path, name, text)?;
            }
        }
        Ok(metadata)
    }

    /// The parameters with the tensor of each.
    fn tensors(&self) -> Result<Vec<(ParamSpec, &TensorInfo)>, TrainError> {
        let (path, header) = (self.parts.path(), &self.parts.header);
        let specs = self.config.params();
        let family = self.config.variant.family;
        let tensor_name = |name: &str| tensor_name(name, family.has_post_norms());
        let mut unused: HashMap<&str, &TensorInfo> =
            header.tensors.iter().map(|info| (info.name.as_str(), info)).collect();
        unused.retain(|name, _| !rope::TABLES.contains(name));
        let missing = |name: &str| TrainError::TensorMissing {
            path: path.to_owned(),
            name: tensor_name(name).unwrap_or_else(|| name.to_owned()),
        };
        // All tensors are checked before memory is allocated.
        let mut tensors = Vec::with_capacity(specs.len());
        for spec in specs {
            let info = tensor_name(&spec.name).and_then(|name| unused.remove(name.as_str()));
            let info = info.ok_or_else(|| missing(&spec.name))?;
            if info.shape != spec.shape {
                let (name, got, want) = (info.name.clone(), info.shape.clone(), spec.shape.clone());
                return Err(TrainError::TensorShape { path: path.to_owned(), name, got, want });
            }
            tensors.push((spec, info));
        }
        if let Some(extra) = header.tensors.iter().find(|t| unused.contains_key(t.name.as_str())) {
            return Err(TrainError::TensorUnexpected { path: path.to_owned(), name: extra.name.clone() });
        }
        Ok(tensors)
    }

    /// The configuration with the order of rows that the file has.
    fn stored(&self) -> ModelConfig {
        let mut stored = self.config.clone();
        if stores_pairs(&self.config) {
            stored.rope.kind = RopeKind::Interleaved;
        }
        stored
    }

    /// The files, opened.
    fn files(&self) -> Result<Vec<File>, TrainError> {
        let open = |path: &PathBuf| File::open(path).map_err(TrainError::io("read", path));
        self.parts.paths.iter().map(open).collect()
    }

    /// The weights in checkpoint order, rows of query and key projections in Hugging Face's.
    fn weights(&self) -> Result<Vec<f32>, TrainError> {
        let tensors = self.tensors()?;
        let stored = self.stored();
        // It stores what a norm multiplies with; Gemma's weights are less by 1.
        let offset = self.config.variant.family.norm_offset() as f32;
        let mut files = self.files()?;
        let mut params = vec![0.0; self.config.param_count()];
        for (spec, info) in &tensors {
            let numbers = &mut params[spec.range()];
            let path = &self.parts.paths[info.part];
            decode(&mut files[info.part], info, numbers).map_err(TrainError::io("read", path))?;
            check_finite(path, &info.name, numbers)?;
            rows::to_folder_order(&stored, spec, numbers);
            if offset != 0.0 && spec.name.ends_with("norm.weight") {
                numbers.iter_mut().for_each(|w| *w -= offset);
            }
        }
        Ok(params)
    }

    /// The matrices that are stored as codes, rows in the order of [`Open::weights`].
    fn quantised(&self) -> Result<QuantWeights, TrainError> {
        let stored = self.stored();
        let mut files = self.files()?;
        let mut found = QuantWeights::new();
        for (spec, info) in self.tensors()? {
            let &[rows, cols] = info.shape.as_slice() else { continue };
            if !info.format.has_codes() {
                continue;
            }
            let mut kept = Kept::default();
            let path = &self.parts.paths[info.part];
            let unpack = |bytes: &[u8], _| info.format.unpack_all(bytes, &mut kept);
            read(&mut files[info.part], info, spec.count(), unpack).map_err(TrainError::io("read", path))?;
            let Some(matrix) = info.format.matrix([rows, cols], kept) else { continue };
            let moved = rows::folder_row(&stored, &spec).map(|from| matrix.with_rows(from));
            found.insert(spec.name, moved.unwrap_or(matrix));
        }
        Ok(found)
    }
}

/// The `config.json` of the folder that the file was made from, if it describes the model of the other keys.
fn folder_keys(
    header: &Header,
    config: &ModelConfig,
) -> Option<(serde_json::Map<String, Value>, ModelConfig)> {
    let text = values::text(header, &format!("{}config.json", export::FILES)).ok()??;
    let own = ModelConfig::from_json_in(Path::new(""), text).ok()?;
    let same = stored::difference(config, &own).is_none();
    let keys = serde_json::from_str(text).ok()?;
    same.then_some((keys, own))
}

/// Approximate number of bytes read at once.
const CHUNK: usize = 1 << 20;

/// Reads and decodes a tensor.
fn decode(file: &mut File, info: &TensorInfo, to: &mut [f32]) -> io::Result<()> {
    let mut kept = Kept::default();
    read(file, info, to.len(), |bytes, elements| info.format.decode_all(bytes, &mut to[elements], &mut kept))
}

/// Reads a tensor of `count` elements, many blocks at once: `each` gets their bytes, and which elements they are.
fn read(
    file: &mut File,
    info: &TensorInfo,
    count: usize,
    mut each: impl FnMut(&[u8], Range<usize>),
) -> io::Result<()> {
    file.seek(SeekFrom::Start(info.start))?;
    let blocks = (CHUNK / info.format.bytes).max(1);
    let mut bytes = vec![0; blocks * info.format.bytes];
    for first in (0..count).step_by(blocks * info.format.elements) {
        let elements = first..count.min(first + blocks * info.format.elements);
        let bytes = &mut bytes[..elements.len() / info.format.elements * info.format.bytes];
        file.read_exact(bytes)?;
        each(bytes, elements);
    }
    Ok(())
}

#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tests;
