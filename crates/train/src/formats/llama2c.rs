//! llama2.c's checkpoints of version 0: seven i32 (dim, hidden, layers, heads, key/value heads, vocabulary,
//! longest sequence; a negative vocabulary means a classifier of its own), then f32 tensors kind by kind, each
//! for all layers: embedding, attention norms, Wq, Wk, Wv, Wo, feed-forward norms, W1, W2, W3, final norm, two
//! tables of RoPE frequencies, classifier. Source: karpathy/llama2.c `export.py`, `legacy_export`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::metadata::FolderMetadata;
use super::rope;
use super::source::{Candidate, Model, ModelSource};
use super::weights::check_finite;
use crate::config::{ModelConfig, ParamKind, Rope, RopeKind, Task, Variant};
use crate::error::TrainError;
use crate::tokenizer::Tokenizer;

const HEADER: usize = 28;

/// Magic number of later versions, "ak42".
const MARK: i32 = 0x616b_3432;

/// The largest plausible size in a header: text and most token files have larger words.
const LARGEST: i32 = 1 << 20;

/// The format.
pub(super) struct Llama2c;

impl ModelSource for Llama2c {
    fn name(&self) -> &'static str {
        "a llama2.c checkpoint"
    }

    /// Detects the magic number of later versions, or seven plausible sizes.
    fn detect(&self, candidate: &Candidate) -> bool {
        let is_size = |size: i32| (1..=LARGEST).contains(&size);
        match words(&candidate.head)[..] {
            [MARK, ..] => true,
            [dim, hidden, layers, heads, kv_heads, vocab, seq, ..] => {
                [dim, hidden, layers, heads, kv_heads, seq].into_iter().all(is_size) && vocab != 0
            }
            _ => false,
        }
    }

    fn config(&self, path: &Path) -> Result<ModelConfig, TrainError> {
        config_of(path)
    }

    fn has_weights(&self, _: &Path) -> Result<bool, TrainError> {
        Ok(true)
    }

    /// The tokenizer beside a checkpoint may belong to another model in the same folder.
    fn tokenizer(&self, path: &Path, config: &ModelConfig) -> Result<Option<Tokenizer>, TrainError> {
        Tokenizer::load_from_folder(path.parent().unwrap_or(Path::new("")), config.vocab)
    }

    fn open(&self, path: &Path, tokenizer: Option<&Path>) -> Result<Model, TrainError> {
        let given = tokenizer.map(|path| Tokenizer::load(path, None)).transpose()?;
        let (config, params) = load(path)?;
        given.iter().try_for_each(|given| given.check_vocab(config.vocab))?;
        let found = match given {
            Some(given) => Ok(Some(given)),
            None => self.tokenizer(path, &config),
        };
        let (tokenizer, unfit) = found.map_or_else(|unfit| (None, Some(unfit)), |found| (found, None));
        let metadata = FolderMetadata::with_ids(&config, START, END);
        Ok(Model { config, params, tokenizer, unfit, metadata })
    }
}

/// Ids of the tokens that start and end a text, the same in all checkpoints.
const START: u32 = 1;
const END: u32 = 2;

/// The little-endian i32 words of `bytes`.
fn words(bytes: &[u8]) -> Vec<i32> {
    bytes.as_chunks::<4>().0.iter().map(|&word| i32::from_le_bytes(word)).collect()
}

/// Reads configuration and weights; the weights are in checkpoint order, rows of query and key projections in Hugging
/// Face's.
///
/// # Errors
/// [`TrainError::Io`], [`TrainError::Llama2cVersion`], [`TrainError::FileFormat`] if it is truncated or of another
/// kind, or [`TrainError::TensorNotFinite`].
fn load(path: &Path) -> Result<(ModelConfig, Vec<f32>), TrainError> {
    let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
    check_version(path, bytes.get(..HEADER).unwrap_or(&bytes))?;
    let (config, mut params) = parse(&bytes).map_err(|problem| not_complete(path, problem))?;
    for spec in config.params() {
        let numbers = &mut params[spec.range()];
        check_finite(path, &spec.name, numbers)?;
        rope::to_folder_order(&config, &spec, numbers);
    }
    Ok((rope::config_in_folder(&config), params))
}

/// Reads only the configuration.
///
/// # Errors
/// As [`load`].
fn config_of(path: &Path) -> Result<ModelConfig, TrainError> {
    let reading = || TrainError::io("read", path);
    let file = File::open(path).map_err(reading())?;
    let length = file.metadata().map_err(reading())?.len();
    let mut header = Vec::new();
    file.take(HEADER as u64).read_to_end(&mut header).map_err(reading())?;
    check_version(path, &header)?;
    let config = sized(&header, length).map_err(|problem| not_complete(path, problem))?;
    Ok(rope::config_in_folder(&config))
}

fn check_version(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    match words(bytes)[..] {
        [MARK, version, ..] => Err(TrainError::Llama2cVersion { path: path.to_owned(), version }),
        _ => Ok(()),
    }
}

fn not_complete(path: &Path, problem: String) -> TrainError {
    TrainError::FileFormat { path: path.to_owned(), kind: "llama2.c checkpoint", problem }
}

/// The configuration in the header of a file of `length` bytes.
///
/// # Errors
/// If the header is invalid or implies another length.
fn sized(bytes: &[u8], length: u64) -> Result<ModelConfig, String> {
    let Some(header) = bytes.get(..HEADER) else {
        return Err(format!("it has {length} bytes, too few for a header"));
    };
    let config = config(header)?;
    let want = (HEADER + 4 * (config.param_count() + config.seq * config.head_dim)) as u64;
    if length != want {
        return Err(format!("its header implies {want} bytes, the file has {length}"));
    }
    Ok(config)
}

/// Parses a checkpoint; rows keep the file's order.
pub(super) fn parse(bytes: &[u8]) -> Result<(ModelConfig, Vec<f32>), String> {
    let config = sized(bytes, bytes.len() as u64)?;
    let tables = config.seq * config.head_dim;
    let specs = config.params();
    let mut params = vec![0.0; config.param_count()];
    let mut numbers = bytes[HEADER..].as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b));
    for kind in ORDER {
        if kind == ParamKind::Classifier {
            numbers.by_ref().take(tables).for_each(drop);
        }
        for spec in specs.iter().filter(|spec| spec.kind == kind) {
            for (weight, number) in params[spec.range()].iter_mut().zip(&mut numbers) {
                *weight = number;
            }
        }
    }
    Ok((config, params))
}

/// The order of the tensors in the file; the RoPE tables come before the classifier.
const ORDER: [ParamKind; 12] = [
    ParamKind::Embedding,
    ParamKind::AttentionNorm,
    ParamKind::Wq,
    ParamKind::Wk,
    ParamKind::Wv,
    ParamKind::Wo,
    ParamKind::FeedForwardNorm,
    ParamKind::W1,
    ParamKind::W2,
    ParamKind::W3,
    ParamKind::FinalNorm,
    ParamKind::Classifier,
];

fn config(header: &[u8]) -> Result<ModelConfig, String> {
    let mut words = words(header).into_iter();
    let mut next = |name: &str, least: i32| match words.next() {
        Some(word) if word >= least => Ok(word),
        word => Err(format!("its header says {name} = {}", word.unwrap_or_default())),
    };
    let mut size = |name| next(name, 1).map(|word| word as usize);
    let (dim, hidden, layers) = (size("dim")?, size("hidden")?, size("layers")?);
    let (heads, kv_heads) = (size("heads")?, size("kv_heads")?);
    let vocab = next("vocab", i32::MIN)?;
    let seq = next("seq", 1)? as usize;
    let config = ModelConfig {
        dim,
        hidden,
        layers,
        heads,
        kv_heads,
        head_dim: dim / heads,
        vocab: vocab.unsigned_abs() as usize,
        seq,
        rms_eps: 1e-5,
        rope: Rope { kind: RopeKind::Interleaved, theta: 10_000.0 },
        qk_norm: false,
        tied: vocab > 0,
        task: Task::Language,
        variant: Variant::default(),
    };
    config.validate().map_err(|error| format!("its header is invalid: {error}"))?;
    Ok(config)
}
