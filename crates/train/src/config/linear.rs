//! The projections of a layer.

use serde::{Deserialize, Serialize};

use super::ModelConfig;

/// A projection of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Linear {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// The attention's output.
    O,
    /// The gate of the feed-forward part.
    Gate,
    /// The feed-forward part's other product with its input.
    Up,
    /// The feed-forward part's output.
    Down,
}

impl Linear {
    /// All of a layer, in the order of the parameter table.
    pub const ALL: [Linear; 7] =
        [Linear::Q, Linear::K, Linear::V, Linear::O, Linear::Gate, Linear::Up, Linear::Down];

    /// Hugging Face's name of its module, such as `q_proj`.
    pub fn module(self) -> &'static str {
        match self {
            Linear::Q => "q_proj",
            Linear::K => "k_proj",
            Linear::V => "v_proj",
            Linear::O => "o_proj",
            Linear::Gate => "gate_proj",
            Linear::Up => "up_proj",
            Linear::Down => "down_proj",
        }
    }

    /// Its module with the one that it is in, such as `self_attn.q_proj`.
    pub fn path(self) -> String {
        let part = if self < Linear::Gate { "self_attn" } else { "mlp" };
        format!("{part}.{}", self.module())
    }

    /// The name of its two factors in programs, such as `q`.
    pub(crate) fn short(self) -> &'static str {
        self.module().trim_end_matches("_proj")
    }

    /// Outputs and inputs.
    pub fn size(self, cfg: &ModelConfig) -> [usize; 2] {
        let (d, f) = (cfg.dim, cfg.hidden);
        match self {
            Linear::Q => [cfg.q_dim(), d],
            Linear::K | Linear::V => [cfg.kv_dim(), d],
            Linear::O => [d, cfg.q_dim()],
            Linear::Gate | Linear::Up => [f, d],
            Linear::Down => [d, f],
        }
    }
}
