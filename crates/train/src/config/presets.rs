//! The presets.

use super::{ModelConfig, Rope, RopeKind, Task, Variant};

/// The names [`ModelConfig::preset`] knows, smallest model first.
pub const PRESETS: &[&str] = &["tiny", "shakespeare", "layer768", "stories15m", "stories42m", "stories110m"];

impl ModelConfig {
    /// The preset of that name.
    ///
    /// `tiny` is for tests, `shakespeare` the default, `stories15m`, `stories42m` and `stories110m` are
    /// the shapes of llama2.c's TinyStories models, `layer768` is one layer alone: no embedding, no RoPE,
    /// mean squared error on seeded synthetic data.
    pub fn preset(name: &str) -> Option<Self> {
        Some(match name {
            "tiny" => Self { kv_heads: 2, hidden: 128, ..llama(64, 2, 4, 320, 32, RopeKind::RotateHalf) },
            // `docs/default-run.md` says why. Norms of queries and keys make it a Qwen3 to other readers.
            "shakespeare" => Self { qk_norm: true, ..llama(192, 4, 6, 2048, 128, RopeKind::RotateHalf) },
            "stories15m" => Self { hidden: 768, ..llama(288, 6, 6, 32_000, 256, RopeKind::Interleaved) },
            // llama2.c trained this one with windows of 1024; 256 costs a quarter of the memory.
            "stories42m" => Self { hidden: 1376, ..llama(512, 8, 8, 32_000, 256, RopeKind::Interleaved) },
            // Windows of 1024 in llama2.c, of 256 in published Neural Engine runs.
            "stories110m" => Self { hidden: 2048, ..llama(768, 12, 12, 32_000, 256, RopeKind::Interleaved) },
            "layer768" => Self {
                hidden: 2048,
                tied: false,
                task: Task::Regression,
                ..llama(768, 1, 12, 0, 512, RopeKind::None)
            },
            _ => return None,
        })
    }
}

/// A plain llama: as many key/value heads as heads, heads as wide as the model, tied embedding. `hidden` is
/// llama2.c's rule, 8/3 of `dim` rounded up to a multiple of 32.
pub(crate) fn llama(
    dim: usize,
    layers: usize,
    heads: usize,
    vocab: usize,
    seq: usize,
    rope: RopeKind,
) -> ModelConfig {
    ModelConfig {
        dim,
        hidden: (8 * dim / 3).next_multiple_of(32),
        layers,
        heads,
        kv_heads: heads,
        head_dim: dim / heads,
        vocab,
        seq,
        rms_eps: 1e-5,
        rope: Rope { kind: rope, theta: 10_000.0 },
        qk_norm: false,
        tied: true,
        task: Task::Language,
        variant: Variant::default(),
    }
}
