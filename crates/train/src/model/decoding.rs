//! The programs of decoding: the forward pass of a layer for any positions, with keys and values kept between runs.
//!
//! They are made of the same pieces as the layer of training. Weights, masks and rows of the tables of RoPE are inputs, so
//! one program serves all layers, of all kinds, and programs of different sizes share the surfaces of weights.

use super::ModelError;
use super::kernels::InputWeight;
use super::precision::Precision;
use super::statement::{Span, Statement};
use crate::config::{LayerKind, ModelConfig, ParamKind};
use ane::pack::{Packed, SurfaceRegion, pack_apart};
use mil::{Builder, Opset};

/// A part of a layer's forward pass; the host does what is between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DecodePart {
    /// From the residual stream `x` `[D, T]` to queries, keys and values, rotated.
    Project,
    /// From queries, all keys and all values to the heads' results `attn` `[H·E, T]`.
    Attend,
    /// From `attn` to what is added to the residual stream, `[D, T]`.
    Output,
    /// From the residual stream `x2` `[D, T]` to what is added to it.
    FeedForward,
}

/// A program of decoding: each value and each weight has its own input surface.
#[derive(Clone, Debug)]
pub struct DecodeSpec {
    /// Its name.
    pub name: String,
    /// The program with the types of its surfaces.
    pub packed: Packed,
    /// The values that it reads, by name.
    pub values: Vec<SurfaceRegion>,
    /// The weights that it reads.
    pub weights: Vec<InputWeight>,
}

impl DecodePart {
    /// Every part, in order of dispatch.
    pub const ALL: [DecodePart; 4] =
        [DecodePart::Project, DecodePart::Attend, DecodePart::Output, DecodePart::FeedForward];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            DecodePart::Project => "project",
            DecodePart::Attend => "attend",
            DecodePart::Output => "output",
            DecodePart::FeedForward => "feed_forward",
        }
    }
}

impl DecodeSpec {
    /// The program of `part` of a layer of `cfg` for `queries` columns and, if it attends, `keys` keys. If `host_norms`, it reads the
    /// normed residual stream, `xn` or `x2n`, instead of the stream.
    ///
    /// # Errors
    /// If the configuration makes no valid program; does not happen with validated ones.
    pub fn new(
        cfg: &ModelConfig,
        part: DecodePart,
        [queries, keys]: [usize; 2],
        (precision, host_norms): (Precision, bool),
    ) -> Result<DecodeSpec, ModelError> {
        let builder = Builder::new("main", Opset::Ios18);
        let span = Span::Any { queries, keys };
        let mut l = Statement::new(&builder, cfg, (LayerKind::PLAIN, span), precision.dtype());
        let (d, q_dim, kv_dim) = (cfg.dim, cfg.q_dim(), cfg.kv_dim());
        let results = match part {
            DecodePart::Project => {
                let xn = match host_norms {
                    true => l.input("xn", [1, d, 1, queries]),
                    false => {
                        let x = l.input("x", [1, d, 1, queries]);
                        l.norm(x, "rms1", ParamKind::AttentionNorm)
                    }
                };
                let [q, key, v] = l.projections(xn);
                vec![("q", q), ("k", key), ("v", v)]
            }
            DecodePart::Attend => {
                let q = l.input("q", [1, q_dim, 1, queries]);
                let stored = ["keys", "values"].map(|name| l.input(name, [1, kv_dim, 1, keys]));
                vec![("attn", l.attend(q, stored))]
            }
            DecodePart::Output => {
                let attn = l.input("attn", [1, q_dim, 1, queries]);
                vec![("o", l.attention_out(attn))]
            }
            DecodePart::FeedForward => {
                let ffn = match host_norms {
                    true => {
                        let x2n = l.input("x2n", [1, d, 1, queries]);
                        l.feed_forward_of(x2n)
                    }
                    false => {
                        let x2 = l.input("x2", [1, d, 1, queries]);
                        l.feed_forward(x2)
                    }
                };
                vec![("ffn", ffn)]
            }
        };
        let kinds = l.weights;
        let program = builder.finish(results)?;
        let name = match part {
            DecodePart::Attend => format!("{}_{queries}_{keys}", part.name()),
            _ => format!("{}_{queries}", part.name()),
        };
        let packed = pack_apart(&program, queries, &|v| kinds.contains_key(&v))
            .map_err(|source| ModelError::Pack { kernel: name.clone(), source })?;
        let (mut values, mut weights) = (Vec::new(), Vec::new());
        for (region, v) in packed.inputs.iter().zip(&program.entry().inputs) {
            match kinds.get(v) {
                Some(&kind) => weights.push(InputWeight { kind, region: region.clone() }),
                None => values.push(region.clone()),
            }
        }
        Ok(DecodeSpec { name, packed, values, weights })
    }

    /// The first channel of the result called `name` on the output surface.
    pub fn channel(&self, name: &str) -> Option<usize> {
        self.packed.outputs.iter().find(|region| region.name == name).map(|region| region.channel)
    }
}
