//! The kinds of a model's layers.

use serde::Serialize;
use std::fmt::{self, Display, Formatter};
use train::config::{LayerRope, ModelConfig};

/// Layers of the same kind. Kernels of different kinds have the same operations and differ in constants: the mask and
/// the tables of RoPE.
#[derive(Debug, Serialize)]
pub(super) struct Kind {
    /// Their numbers, from 0.
    pub(super) layers: Vec<usize>,
    /// The tokens that a token sees, itself included; all before it if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<usize>,
    /// `global`, `local` or `none`.
    rope: &'static str,
}

impl Kind {
    /// The kinds of `cfg`, in order of first use.
    pub(super) fn all(cfg: &ModelConfig) -> Vec<Kind> {
        let (kinds, places) = cfg.layer_kinds();
        let layers = |i: usize| (0..cfg.layers).filter(|&layer| places.get(layer) == Some(&i)).collect();
        let rope = |rope: LayerRope| match rope {
            LayerRope::Global => "global",
            LayerRope::Local => "local",
            LayerRope::None => "none",
        };
        let kind = |(i, kind): (usize, &train::config::LayerKind)| Kind {
            layers: layers(i),
            window: kind.window,
            rope: rope(kind.rope),
        };
        kinds.iter().enumerate().map(kind).collect()
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let layers: Vec<String> = self.layers.iter().map(usize::to_string).collect();
        let layers = format!("{} {}", if layers.len() == 1 { "layer" } else { "layers" }, layers.join(", "));
        let window = self.window.map_or("see all before".to_owned(), |n| format!("see {n} tokens"));
        let rope = match self.rope {
            "none" => "no RoPE",
            "local" => "RoPE of local layers",
            _ => "the model's RoPE",
        };
        write!(f, "{layers}: {window}, {rope}")
    }
}
