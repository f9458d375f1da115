//! Low-rank adapters of projections: which matrices have one, and the table of their parameters.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Init, Linear, ModelConfig, ParamKind, ParamSpec};

/// Low-rank adapters: `y = W·x + s·B·(A·x)` for each target, with `A` `[R, I]` and `B` `[O, R]`; with dropout `A·(k ⊙ x)`, where
/// k is 0 or the inverse of the probability of not being 0. Targets that project the same x have the same k.
///
/// Source: Hu et al. 2021, arXiv:2106.09685; rank-stabilised: Kalajdzievski 2023, arXiv:2312.03732.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lora {
    /// R.
    pub rank: usize,
    /// α: s is α/R.
    pub alpha: f64,
    /// Whether s is α/√R instead.
    pub rank_stabilised: bool,
    /// The probability that a step of training leaves out an element of what the adapters project.
    #[serde(default)]
    pub dropout: f64,
    /// The projections that have one, in the order of [`Linear::ALL`].
    pub targets: Vec<Linear>,
    /// The first layer that has any.
    pub first_layer: usize,
}

impl Lora {
    /// s: the factor on the adapters' output.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rank_stabilised { rank.sqrt() } else { rank }
    }

    /// The factors of all layers of `cfg`, A before B; the first one begins at `offset` of the flat slice. A is uniform in
    /// ±1/√I, as PEFT's (Kaiming with a = √5), B is 0. Layers before the first are left out.
    pub fn params(&self, cfg: &ModelConfig, offset: usize) -> Vec<ParamSpec> {
        let mut specs = Vec::new();
        let mut at = offset;
        for layer in self.first_layer..cfg.layers {
            for &linear in &self.targets {
                let [outputs, inputs] = linear.size(cfg);
                let limit = (1.0 / (inputs as f64).sqrt()) as f32;
                for (kind, factor, shape, init) in [
                    (ParamKind::LoraA(linear), "lora_A", [self.rank, inputs], Init::Uniform { limit }),
                    (ParamKind::LoraB(linear), "lora_B", [outputs, self.rank], Init::Zeros),
                ] {
                    specs.push(ParamSpec {
                        kind,
                        layer: Some(layer),
                        name: format!("model.layers.{layer}.{}.{factor}.weight", linear.path()),
                        shape: shape.to_vec(),
                        offset: at,
                        init,
                        decay: true,
                    });
                    at += self.rank * if factor == "lora_A" { inputs } else { outputs };
                }
            }
        }
        specs
    }
}

/// Which parameters of a model are trained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trainable {
    /// Adapters; all else is frozen then.
    pub lora: Option<Lora>,
    /// Whether embedding and classifier are trained besides adapters.
    pub embeddings: bool,
    /// Names of weights that are frozen.
    pub frozen: BTreeSet<String>,
}

impl Trainable {
    /// Whether the parameter `spec` is trained.
    pub fn trains(&self, spec: &ParamSpec) -> bool {
        let is_end = matches!(spec.kind, ParamKind::Embedding | ParamKind::Classifier);
        match &self.lora {
            _ if self.frozen.contains(&spec.name) => false,
            None => true,
            Some(_) => spec.kind.is_adapter() || self.embeddings && is_end,
        }
    }

    /// Whether the classifier of `cfg`, or the embedding that is tied to it, is trained.
    pub fn trains_classifier(&self, cfg: &ModelConfig) -> bool {
        let kind = cfg.classifier();
        // A configuration that is yet to be refused may have any number of layers.
        let ends = ModelConfig { layers: 0, ..cfg.clone() }.params();
        ends.iter().any(|spec| spec.kind == kind && self.trains(spec))
    }

    /// The probability that a step leaves out an element of what adapters project.
    pub fn dropout(&self) -> f64 {
        self.lora.as_ref().map_or(0.0, |lora| lora.dropout)
    }

    /// Every parameter of `cfg` in order: those of the model, then the adapters.
    pub fn table(&self, cfg: &ModelConfig) -> Vec<ParamSpec> {
        let mut specs = cfg.params();
        let offset = specs.last().map_or(0, |spec| spec.range().end);
        specs.extend(self.lora.iter().flat_map(|lora| lora.params(cfg, offset)));
        specs
    }

    /// The trained parameters, without gaps: the order of the optimizer's moments.
    pub fn trained(&self, cfg: &ModelConfig) -> Vec<ParamSpec> {
        let mut specs = self.table(cfg);
        specs.retain(|spec| self.trains(spec));
        close_gaps(&mut specs);
        specs
    }

    /// The parameters that a checkpoint stores, without gaps: all of the model, or only what is trained besides a frozen one.
    pub fn stored(&self, cfg: &ModelConfig) -> Vec<ParamSpec> {
        if self.lora.is_some() { self.trained(cfg) } else { cfg.params() }
    }
}

/// Places `specs` one after the other in the flat slice.
fn close_gaps(specs: &mut [ParamSpec]) {
    let mut offset = 0;
    for spec in specs {
        spec.offset = offset;
        offset += spec.count();
    }
}
