//! llama2.c's first checkpoint form: seven i32 (dim, hidden, layers, heads, key/value heads, vocabulary,
//! longest sequence; a negative vocabulary means a classifier of its own), then f32 tensors kind by kind, each
//! for all layers: embedding, attention norms, Wq, Wk, Wv, Wo, feed-forward norms, W1, W2, W3, final norm, two
//! tables of RoPE frequencies, classifier. Source: karpathy/llama2.c `export.py`, `legacy_export`.

use std::path::Path;

use crate::config::{ModelConfig, ParamKind, Rope, RopeKind, Task};
use crate::error::TrainError;

const HEADER: usize = 28;

/// Reads a llama2.c checkpoint: its configuration, and its weights in checkpoint order.
///
/// # Errors
/// [`TrainError::Io`], or [`TrainError::FileFormat`] if it is truncated or of another kind.
pub fn load_llama2c(path: &Path) -> Result<(ModelConfig, Vec<f32>), TrainError> {
    let bytes = std::fs::read(path).map_err(TrainError::io("read", path))?;
    parse(&bytes).map_err(|problem| TrainError::FileFormat {
        path: path.to_owned(),
        kind: "llama2.c checkpoint",
        problem,
    })
}

pub(super) fn parse(bytes: &[u8]) -> Result<(ModelConfig, Vec<f32>), String> {
    let Some((header, body)) = bytes.split_at_checked(HEADER) else {
        return Err(format!("it has {} bytes, too few for a header", bytes.len()));
    };
    let config = config(header)?;
    let tables = config.seq * config.head_dim;
    let want = HEADER + 4 * (config.param_count() + tables);
    if bytes.len() != want {
        return Err(format!("its header asks for {want} bytes, the file has {}", bytes.len()));
    }

    let specs = config.params();
    let mut params = vec![0.0; config.param_count()];
    let mut numbers = body.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b));
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
