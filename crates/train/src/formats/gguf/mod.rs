//! GGUF, the single-file format of llama.cpp: configuration, tokenizer and weights in one file, weights often quantised.
//!
//! Its keys become those of Hugging Face's `config.json` and `tokenizer.json`, so their meaning is defined once. Weights are
//! decoded to f32 exactly as ggml does.

mod blocks;
mod config;
mod header;
mod rope;
mod tokenizer;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::metadata::FolderMetadata;
use super::rope as rows;
use super::source::{Candidate, Model, ModelSource};
use super::weights::check_finite;
use crate::config::{Family, ModelConfig, RopeKind};
use crate::demand::{self, Use};
use crate::error::TrainError;
use crate::tokenizer::Tokenizer;
use config::{KeyError, config_keys, tensor_name};
use header::{Header, HeaderError, TensorInfo};
use serde_json::Value;

/// The format.
pub(super) struct Gguf;

impl ModelSource for Gguf {
    fn name(&self) -> &'static str {
        "a GGUF file"
    }

    fn detect(&self, candidate: &Candidate) -> bool {
        candidate.head.starts_with(b"GGUF")
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

/// A file with its parsed header.
struct Open<'p> {
    path: &'p Path,
    header: Header,
    /// The configuration under Hugging Face's keys.
    keys: serde_json::Map<String, Value>,
    config: ModelConfig,
}

impl<'p> Open<'p> {
    fn new(path: &'p Path) -> Result<Self, TrainError> {
        let reading = || TrainError::io("read", path);
        let file = File::open(path).map_err(reading())?;
        let length = file.metadata().map_err(reading())?.len();
        let header = Header::read(BufReader::new(file), length).map_err(|e| match e {
            HeaderError::Read(source) => reading()(source),
            e if e.is_unsupported() => unsupported(path, &e),
            e => damaged(path, &e),
        })?;
        check_parts(&header).map_err(|e| unfit(path, &e))?;
        let mut file = File::open(path).map_err(reading())?;
        let tables = rope::tables(&header, |info, to| decode(&mut file, info, to)).map_err(reading())?;
        let mut keys = config_keys(&header).map_err(|e| unfit(path, &e))?;
        rope::add_scaling(&header, &tables, &mut keys).map_err(|e| unfit(path, &e))?;
        let config = match ModelConfig::from_json_in(path, &Value::from(keys.clone()).to_string()) {
            // The keys that it names are not those of the file.
            Err(TrainError::ConfigValue { problem, .. }) => {
                return Err(damaged(path, &format!("its keys make no model: {problem}")));
            }
            config => config?,
        };
        Ok(Self { path, header, keys, config })
    }

    fn tokenizer(&self) -> Result<Option<Tokenizer>, TrainError> {
        let Some(json) = tokenizer::tokenizer_json(&self.header).map_err(|e| unfit(self.path, &e))? else {
            return Ok(None);
        };
        let tokenizer = Tokenizer::from_json_in(self.path, json.as_bytes())?;
        tokenizer.check_vocab(self.config.vocab)?;
        Ok(Some(tokenizer))
    }

    fn metadata(&self) -> Result<FolderMetadata, TrainError> {
        let template =
            config::text(&self.header, "tokenizer.chat_template").map_err(|e| unfit(self.path, &e))?;
        FolderMetadata::from_keys(self.path, self.keys.clone(), template)
    }

    /// The weights in checkpoint order, rows of query and key projections in Hugging Face's.
    fn weights(&self) -> Result<Vec<f32>, TrainError> {
        let path = self.path;
        let specs = self.config.params();
        let family = self.config.variant.family;
        let tensor_name = |name: &str| tensor_name(name, family.has_post_norms());
        let named = |name: &str| tensor_name(name).and_then(|name| self.header.tensor(&name));
        let missing = |name: &str| TrainError::TensorMissing {
            path: path.to_owned(),
            name: tensor_name(name).unwrap_or_else(|| name.to_owned()),
        };
        // All tensors are checked before memory is allocated.
        let mut infos = Vec::with_capacity(specs.len());
        for spec in &specs {
            let info = named(&spec.name).ok_or_else(|| missing(&spec.name))?;
            if info.shape != spec.shape {
                let (name, got, want) = (info.name.clone(), info.shape.clone(), spec.shape.clone());
                return Err(TrainError::TensorShape { path: path.to_owned(), name, got, want });
            }
            infos.push(info);
        }
        if let Some(extra) = self
            .header
            .tensors
            .iter()
            .find(|t| !infos.iter().any(|info| info.name == t.name) && !rope::TABLES.contains(&&*t.name))
        {
            return Err(TrainError::TensorUnexpected { path: path.to_owned(), name: extra.name.clone() });
        }
        // llama.cpp stores these rows in the order of rotated pairs, for these architectures alone.
        let mut stored = self.config.clone();
        if matches!(family, Family::Llama | Family::Mistral | Family::SmolLm3) && !stored.qk_norm {
            stored.rope.kind = RopeKind::Interleaved;
        }
        // It stores what a norm multiplies with; Gemma's weights are less by 1.
        let offset = family.norm_offset() as f32;
        let mut file = File::open(path).map_err(TrainError::io("read", path))?;
        let mut params = vec![0.0; self.config.param_count()];
        for (spec, info) in specs.iter().zip(infos) {
            let numbers = &mut params[spec.range()];
            decode(&mut file, info, numbers).map_err(TrainError::io("read", path))?;
            check_finite(path, &info.name, numbers)?;
            rows::to_folder_order(&stored, spec, numbers);
            if offset != 0.0 && spec.name.ends_with("norm.weight") {
                numbers.iter_mut().for_each(|w| *w -= offset);
            }
        }
        Ok(params)
    }
}

/// Approximate number of bytes read at once.
const CHUNK: usize = 1 << 20;

/// Reads and decodes a tensor, many blocks at once.
fn decode(file: &mut File, info: &TensorInfo, to: &mut [f32]) -> io::Result<()> {
    file.seek(SeekFrom::Start(info.start))?;
    let blocks = (CHUNK / info.format.bytes).max(1);
    let mut bytes = vec![0; blocks * info.format.bytes];
    for to in to.chunks_mut(blocks * info.format.elements) {
        let bytes = &mut bytes[..to.len() / info.format.elements * info.format.bytes];
        file.read_exact(bytes)?;
        info.format.decode_all(bytes, to);
    }
    Ok(())
}

/// Refuses one part of a model in several files.
fn check_parts(header: &Header) -> Result<(), KeyError> {
    let key = "split.count";
    match config::integer(header, key)? {
        Some(parts @ 2..) => {
            let got = format!("{parts}, so the file is one of the parts of a model, which");
            Err(KeyError::Unsupported { key: key.to_owned(), got })
        }
        _ => Ok(()),
    }
}

fn unfit(path: &Path, problem: &KeyError) -> TrainError {
    if problem.is_unsupported() { unsupported(path, problem) } else { damaged(path, problem) }
}

fn unsupported(path: &Path, problem: &impl std::fmt::Display) -> TrainError {
    TrainError::Unsupported { path: path.to_owned(), problem: problem.to_string() }
}

fn damaged(path: &Path, problem: &impl std::fmt::Display) -> TrainError {
    TrainError::FileFormat { path: path.to_owned(), kind: "GGUF", problem: problem.to_string() }
}

#[cfg(test)]
mod tests;
