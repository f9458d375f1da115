//! llama2.c's first checkpoint form: seven i32 (dim, hidden, layers, heads, key/value heads, vocabulary,
//! longest sequence; a negative vocabulary means a classifier of its own), then f32 tensors kind by kind, each
//! for all layers: embedding, attention norms, Wq, Wk, Wv, Wo, feed-forward norms, W1, W2, W3, final norm, two
//! tables of RoPE frequencies, classifier. Source: karpathy/llama2.c `export.py`, `legacy_export`.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::model::check_finite;
use super::rope;
use crate::config::{ModelConfig, ParamKind, Rope, RopeKind, Task};
use crate::error::TrainError;

const HEADER: usize = 28;

/// What later versions begin with: "ak42".
const MARK: u32 = 0x616b_3432;

/// Whether `path` is a file with the name of a llama2.c checkpoint.
pub fn is_llama2c(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("bin"))
}

/// Reads a llama2.c checkpoint: its configuration, and its weights in checkpoint order. Rows of queries and keys are
/// put into the order of Hugging Face's folders.
///
/// # Errors
/// [`TrainError::Io`], [`TrainError::Llama2cVersion`], [`TrainError::FileFormat`] if it is truncated or of another
/// kind, or [`TrainError::TensorNotFinite`].
pub fn load_llama2c(path: &Path) -> Result<(ModelConfig, Vec<f32>), TrainError> {
    let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
    check_version(path, &bytes)?;
    let (config, mut params) = parse(&bytes).map_err(|problem| not_complete(path, problem))?;
    for spec in config.params() {
        let place = spec.range();
        check_finite(path, &spec.name, &params[place.clone()])?;
        if let Cow::Owned(rows) = rope::in_folder(&config, &spec, &params[place.clone()]) {
            params[place].copy_from_slice(&rows);
        }
    }
    Ok((rope::config_in_folder(&config), params))
}

/// Reads the configuration of a llama2.c checkpoint, and not its weights.
///
/// # Errors
/// As [`load_llama2c`].
pub fn llama2c_config(path: &Path) -> Result<ModelConfig, TrainError> {
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
    match bytes.as_chunks::<4>().0 {
        &[mark, version, ..] if u32::from_le_bytes(mark) == MARK => {
            let version = i32::from_le_bytes(version);
            Err(TrainError::Llama2cVersion { path: path.to_owned(), version })
        }
        _ => Ok(()),
    }
}

fn not_complete(path: &Path, problem: String) -> TrainError {
    TrainError::FileFormat { path: path.to_owned(), kind: "llama2.c checkpoint", problem }
}

/// The configuration in the header of a file of `length` bytes, which must be those that it asks for.
fn sized(bytes: &[u8], length: u64) -> Result<ModelConfig, String> {
    let Some(header) = bytes.get(..HEADER) else {
        return Err(format!("it has {length} bytes, too few for a header"));
    };
    let config = config(header)?;
    let want = (HEADER + 4 * (config.param_count() + config.seq * config.head_dim)) as u64;
    if length != want {
        return Err(format!("its header asks for {want} bytes, the file has {length}"));
    }
    Ok(config)
}

/// A checkpoint with its rows as they lie in the file.
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

/// The order of the tensors in the file; the frequency tables stand before the classifier.
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
    let mut words = header.as_chunks::<4>().0.iter().map(|&b| i32::from_le_bytes(b));
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
    };
    config.validate().map_err(|error| format!("its header is impossible: {error}"))?;
    Ok(config)
}
