//! The table of weights: name, shape, offset in the flat parameter slice, and initialisation.

use std::ops::Range;

use super::{Linear, ModelConfig, Task};

/// The role of a weight in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParamKind {
    /// Token embedding `[V, D]`.
    Embedding,
    /// Weight of the RMSNorm before attention `[D]`.
    AttentionNorm,
    /// Query projection `[H·E, D]`.
    Wq,
    /// Key projection `[K·E, D]`.
    Wk,
    /// Value projection `[K·E, D]`.
    Wv,
    /// Output projection of the attention `[D, H·E]`.
    Wo,
    /// Bias of the query projection `[H·E]`.
    Bq,
    /// Bias of the key projection `[K·E]`.
    Bk,
    /// Bias of the value projection `[K·E]`.
    Bv,
    /// Bias of the output projection `[D]`.
    Bo,
    /// Weight of the RMSNorm over each query head `[E]`.
    QueryNorm,
    /// Weight of the RMSNorm over each key head `[E]`.
    KeyNorm,
    /// Weight of the RMSNorm after attention `[D]`.
    PostAttentionNorm,
    /// Weight of the RMSNorm before the feed-forward layer `[D]`.
    FeedForwardNorm,
    /// Weight of the RMSNorm after the feed-forward layer `[D]`.
    PostFeedForwardNorm,
    /// Gate projection `[F, D]`: its output goes through SiLU.
    W1,
    /// Up projection `[F, D]`.
    W3,
    /// Down projection `[D, F]`.
    W2,
    /// Bias of the gate projection `[F]`.
    B1,
    /// Bias of the up projection `[F]`.
    B3,
    /// Bias of the down projection `[D]`.
    B2,
    /// Weight of the RMSNorm before the classifier `[D]`.
    FinalNorm,
    /// Classifier `[V, D]`, if it is not the embedding.
    Classifier,
    /// Factor A `[R, I]` of a projection's adapter.
    LoraA(Linear),
    /// Factor B `[O, R]` of a projection's adapter.
    LoraB(Linear),
}

impl ParamKind {
    /// Whether it is a factor of an adapter.
    pub fn is_adapter(self) -> bool {
        matches!(self, ParamKind::LoraA(_) | ParamKind::LoraB(_))
    }
}

/// The initialisation of a weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// Normal with mean 0.
    Normal {
        /// Standard deviation.
        std: f32,
    },
    /// Uniform in ±`limit`.
    Uniform {
        /// Largest magnitude.
        limit: f32,
    },
}

/// One weight: its name, its shape and its place in the flat slice.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Its role in the model.
    pub kind: ParamKind,
    /// The layer it belongs to, counted from 0; `None` for embedding, final norm and classifier.
    pub layer: Option<usize>,
    /// Hugging Face's name, such as `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// `[out, in]` for matrices, `[channels]` for norms and biases; row-major.
    pub shape: Vec<usize>,
    /// Index of its first element in the flat slice.
    pub offset: usize,
    /// Its initialisation.
    pub init: Init,
    /// Whether weight decay applies: to tensors with two or more axes.
    pub decay: bool,
}

impl ParamSpec {
    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its rows and columns, if it is a matrix of a layer.
    pub fn layer_matrix(&self) -> Option<[usize; 2]> {
        match (self.layer, &self.shape[..]) {
            (Some(_), &[rows, cols]) => Some([rows, cols]),
            _ => None,
        }
    }

    /// Its elements in the flat slice.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.count()
    }
}

impl ModelConfig {
    /// The kind of the classifier's weight: that of the embedding if they are tied.
    pub(crate) fn classifier(&self) -> ParamKind {
        if self.tied { ParamKind::Embedding } else { ParamKind::Classifier }
    }

    /// Every weight in checkpoint order: embedding; for each layer attention norm, Wq, Wk, Wv, Wo, query
    /// and key norm, feed-forward norm, W1, W3, W2; final norm; classifier. A bias follows its matrix. Offsets are
    /// without gaps.
    ///
    /// Meant for a configuration that passed [`ModelConfig::validate`].
    pub fn params(&self) -> Vec<ParamSpec> {
        let has_post_norms = self.variant.family.has_post_norms();
        let norm_init = if self.variant.family.norm_offset() == 0.0 { Init::Ones } else { Init::Zeros };
        let mut table = Table { specs: Vec::new(), offset: 0, layer: None, norm_init };
        let (d, f, v) = (self.dim, self.hidden, self.vocab);
        let (q, kv, e) = (self.q_dim(), self.kv_dim(), self.head_dim);
        let language = self.task == Task::Language;
        let bias = self.variant.bias;

        if language {
            table.matrix(ParamKind::Embedding, "model.embed_tokens", [v, d], Init::Normal { std: EMBED_STD });
        }
        for layer in 0..self.layers {
            table.layer = Some(layer);
            table.norm(ParamKind::AttentionNorm, "input_layernorm", d);
            table.matrix(ParamKind::Wq, "self_attn.q_proj", [q, d], self.linear_init(d));
            table.bias(bias.qkv, ParamKind::Bq, "self_attn.q_proj", q);
            table.matrix(ParamKind::Wk, "self_attn.k_proj", [kv, d], self.linear_init(d));
            table.bias(bias.qkv, ParamKind::Bk, "self_attn.k_proj", kv);
            table.matrix(ParamKind::Wv, "self_attn.v_proj", [kv, d], self.linear_init(d));
            table.bias(bias.qkv, ParamKind::Bv, "self_attn.v_proj", kv);
            table.matrix(ParamKind::Wo, "self_attn.o_proj", [d, q], self.residual_init(q));
            table.bias(bias.out, ParamKind::Bo, "self_attn.o_proj", d);
            if self.qk_norm {
                table.norm(ParamKind::QueryNorm, "self_attn.q_norm", e);
                table.norm(ParamKind::KeyNorm, "self_attn.k_norm", e);
            }
            if has_post_norms {
                table.norm(ParamKind::PostAttentionNorm, "post_attention_layernorm", d);
                table.norm(ParamKind::FeedForwardNorm, "pre_feedforward_layernorm", d);
                table.norm(ParamKind::PostFeedForwardNorm, "post_feedforward_layernorm", d);
            } else {
                table.norm(ParamKind::FeedForwardNorm, "post_attention_layernorm", d);
            }
            table.matrix(ParamKind::W1, "mlp.gate_proj", [f, d], self.linear_init(d));
            table.bias(bias.mlp, ParamKind::B1, "mlp.gate_proj", f);
            table.matrix(ParamKind::W3, "mlp.up_proj", [f, d], self.linear_init(d));
            table.bias(bias.mlp, ParamKind::B3, "mlp.up_proj", f);
            table.matrix(ParamKind::W2, "mlp.down_proj", [d, f], self.residual_init(f));
            table.bias(bias.mlp, ParamKind::B2, "mlp.down_proj", d);
        }
        table.layer = None;
        if language {
            table.norm(ParamKind::FinalNorm, "model.norm", d);
            if !self.tied {
                table.matrix(ParamKind::Classifier, "lm_head", [v, d], Init::Normal { std: EMBED_STD });
            }
        }
        table.specs
    }

    /// Number of weights.
    pub fn param_count(&self) -> usize {
        // Validated configurations have at most 2³⁴ weights.
        usize::try_from(self.param_count_wide()).unwrap_or(usize::MAX)
    }

    /// Number of weights, in a type wide enough for any configuration.
    pub(crate) fn param_count_wide(&self) -> u128 {
        let [d, f, v, l, e] =
            [self.dim, self.hidden, self.vocab, self.layers, self.head_dim].map(|n| n as u128);
        let (q, kv) = (self.heads as u128 * e, self.kv_heads as u128 * e);
        let stream = if self.variant.family.has_post_norms() { 4 * d } else { 2 * d };
        let norms = stream + if self.qk_norm { 2 * e } else { 0 };
        let bias = self.variant.bias;
        let biases = [(bias.qkv, q + 2 * kv), (bias.out, d), (bias.mlp, 2 * f + d)];
        let biases: u128 = biases.into_iter().filter(|(has, _)| *has).map(|(_, count)| count).sum();
        let layer = 2 * q * d + 2 * kv * d + 3 * f * d + norms + biases;
        let ends = match self.task {
            Task::Language => d + v * d * if self.tied { 1 } else { 2 },
            Task::Regression => 0,
        };
        l * layer + ends
    }

    /// A projection with `fan_in` inputs: variance 1/(3·fan_in), that of PyTorch's `nn.Linear`, which is a
    /// standard deviation of 0.021 at 768 channels. `layer768` draws uniformly from ±1/√D, as the original.
    fn linear_init(&self, fan_in: usize) -> Init {
        match self.task {
            Task::Language => Init::Normal { std: (1.0 / (3.0 * fan_in as f64)).sqrt() as f32 },
            Task::Regression => Init::Uniform { limit: (1.0 / (self.dim as f64).sqrt()) as f32 },
        }
    }

    /// A projection whose output is added to the residual stream: smaller by 1/√(2L), so that the stream's
    /// variance does not grow with depth (Radford et al. 2019, GPT-2).
    fn residual_init(&self, fan_in: usize) -> Init {
        match self.linear_init(fan_in) {
            Init::Normal { std } => Init::Normal { std: std / (2.0 * self.layers as f32).sqrt() },
            other => other,
        }
    }
}

/// Standard deviation of embedding and classifier rows, as in GPT-2.
const EMBED_STD: f32 = 0.02;

/// The table under construction.
struct Table {
    specs: Vec<ParamSpec>,
    offset: usize,
    layer: Option<usize>,
    norm_init: Init,
}

impl Table {
    fn matrix(&mut self, kind: ParamKind, name: &str, shape: [usize; 2], init: Init) {
        self.push(kind, format!("{name}.weight"), shape.to_vec(), init);
    }

    fn norm(&mut self, kind: ParamKind, name: &str, channels: usize) {
        self.push(kind, format!("{name}.weight"), vec![channels], self.norm_init);
    }

    /// The bias of the matrix called `name`, if the model has it.
    fn bias(&mut self, has: bool, kind: ParamKind, name: &str, channels: usize) {
        if has {
            self.push(kind, format!("{name}.bias"), vec![channels], Init::Zeros);
        }
    }

    fn push(&mut self, kind: ParamKind, name: String, shape: Vec<usize>, init: Init) {
        let name = match self.layer {
            Some(layer) => format!("model.layers.{layer}.{name}"),
            None => name,
        };
        let decay = shape.len() >= 2;
        let spec = ParamSpec { kind, layer: self.layer, name, shape, offset: self.offset, init, decay };
        self.offset += spec.count();
        self.specs.push(spec);
    }
}
