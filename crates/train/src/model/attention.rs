//! Attention as a program.

use super::statement::{Span, Statement};
use crate::config::{Frequencies, LayerRope, Linear, ModelConfig, ParamKind, Rope, RopeKind};
use mil::{DType, Var};

/// The tables of RoPE of one kind of layers.
#[derive(Clone, Debug)]
pub struct RopeRows {
    /// The angle per position of each channel of a head, `[E]`.
    per_position: Vec<f64>,
    amplitude: f64,
}

impl RopeRows {
    /// The tables of layers with this RoPE in windows of `seq` tokens. A layer without RoPE turns by no angle, so that all layers
    /// have the same operations.
    pub fn new(cfg: &ModelConfig, of: LayerRope, seq: usize) -> RopeRows {
        let (e, variant) = (cfg.head_dim, &cfg.variant);
        let (theta, scaling) = match (of, &variant.local_rope) {
            (LayerRope::Local, Some((theta, scaling))) => (*theta, scaling),
            _ => (cfg.rope.theta, &variant.scaling),
        };
        let pair = |c: usize| match cfg.rope.kind {
            RopeKind::Interleaved => c / 2,
            _ => c % (e / 2).max(1),
        };
        let Frequencies { per_position, amplitude } = scaling.frequencies(theta, e, seq);
        match of {
            LayerRope::None => RopeRows { per_position: vec![0.0; e], amplitude: 1.0 },
            _ => RopeRows { per_position: (0..e).map(|c| per_position[pair(c)]).collect(), amplitude },
        }
    }

    /// Cosine and sine of a channel at a position.
    pub fn at(&self, channel: usize, position: usize) -> (f64, f64) {
        let (sin, cos) = (position as f64 * self.per_position[channel]).sin_cos();
        (self.amplitude * cos, self.amplitude * sin)
    }
}

/// The value that the mask adds to a hidden score: the lowest finite number in fp16, far below any score in fp32.
pub(crate) fn masked(dtype: DType) -> f64 {
    if dtype == DType::F16 { -65504.0 } else { -1e30 }
}

/// Scores plus the mask, so that the softmax of hidden ones is 0.
///
/// Numerics: in fp16 the mask is added twice, unless a cap bounds the scores. A hidden score of 40 000 is -25 504 after one
/// addition, above a visible score of -40 000; after two, no hidden score is above -65504. Where all visible scores of a row
/// are -infinity, so are the hidden ones, and the softmax is NaN instead of a mean of what is hidden.
fn hide<'b>(scores: Var<'b>, mask: Var<'b>, is_capped: bool) -> Var<'b> {
    let once = scores + mask;
    if is_capped || mask.ty().dtype != DType::F16 { once } else { once + mask }
}

impl<'b> Statement<'b> {
    /// Norm and attention, up to the residual addition.
    pub(super) fn attention(&mut self, x: Var<'b>) -> Var<'b> {
        self.b.enter("norm1");
        let xn = self.norm(x, "rms1", ParamKind::AttentionNorm).named("xn");
        let [q, key, v] = self.projections(xn);
        let attn = self.attend(q, [key, v]);
        self.attention_out(attn)
    }

    /// Queries `[1, H·E, 1, T]`, keys and values `[1, K·E, 1, T]` of normed activations.
    pub(super) fn projections(&mut self, xn: Var<'b>) -> [Var<'b>; 3] {
        let cfg = self.cfg;
        let (d, t) = (cfg.dim, self.span.queries());
        let (h, k, e) = (cfg.heads, cfg.kv_heads, cfg.head_dim);
        let (q_dim, kv_dim) = (cfg.q_dim(), cfg.kv_dim());
        self.b.enter("qkv");
        let [wq, wk, wv] =
            [("wq", ParamKind::Wq, q_dim), ("wk", ParamKind::Wk, kv_dim), ("wv", ParamKind::Wv, kv_dim)]
                .map(|(name, kind, out)| self.weight(name, kind, [out, d, 1, 1]));
        self.b.enter("qkv.q");
        let bias = cfg.variant.bias;
        let q = self.project(Linear::Q, xn, wq);
        let q = self.biased(q, bias.qkv, "bq", ParamKind::Bq);
        let mut q = q.named("q_proj"); //                                      [1, H·E, 1, S]
        self.b.enter("qkv.k");
        let key = self.project(Linear::K, xn, wk);
        let key = self.biased(key, bias.qkv, "bk", ParamKind::Bk);
        let mut key = key.named("k_proj"); //                                  [1, K·E, 1, S]
        self.b.enter("qkv.v");
        let v = self.project(Linear::V, xn, wv);
        let v = self.biased(v, bias.qkv, "bv", ParamKind::Bv).named("v");

        if cfg.qk_norm {
            self.b.enter("qk_norm");
            q = self.head_norm(q, "rms_q", ParamKind::QueryNorm, h).named("q_norm");
            key = self.head_norm(key, "rms_k", ParamKind::KeyNorm, k).named("k_norm");
        }
        if cfg.rope.kind != RopeKind::None {
            self.b.enter("rope");
            let tables = self.rope_tables(cfg.rope);
            q = rotate(q, &tables, [1, h, e, t]).named("q");
            key = rotate(key, &tables, [1, k, e, t]).named("k");
        }
        [q, key, v]
    }

    /// Attention of queries `[1, H·E, 1, T]` to keys and values `[1, K·E, 1, C]`: `[1, H·E, 1, T]`.
    pub(super) fn attend(&mut self, q: Var<'b>, [key, v]: [Var<'b>; 2]) -> Var<'b> {
        let cfg = self.cfg;
        let (t, c) = (self.span.queries(), self.span.keys());
        let (h, k, e) = (cfg.heads, cfg.kv_heads, cfg.head_dim);
        // Scaled before the product: unscaled scores may overflow fp16.
        self.b.enter("scale");
        let cap = cfg.variant.score_cap;
        let scale = cfg.variant.query_scalar.unwrap_or(e as f64).powf(-0.5);
        let q = q * (scale / cap.unwrap_or(1.0));

        // The rows of query heads that share a key head follow one another: head j reads key head j / (H/K).
        self.b.enter("scores");
        let rows = |x: Var<'b>, [heads, s]: [usize; 2]| x.reshape(&[1, heads, e, s]).t(); // [1, heads, S, E]
        let grouped = |x: Var<'b>, last: usize| shaped(x, &[1, k, h / k * t, last]);
        let mask = self.mask();
        let scores = grouped(rows(q, [h, t]), e).matmul(rows(key, [k, c]), false, true);
        let scores = shaped(scores, &[1, h, t, c]); //                         [1, H, T, C]
        let scores = match cap {
            None => scores,
            Some(cap) => scores.tanh() * cap,
        };
        let scores = hide(scores, mask, cap.is_some());

        self.b.enter("softmax");
        let p = scores.softmax(-1).named("p");

        self.b.enter("mix");
        let mixed = grouped(p, c).matmul(rows(v, [k, c]), false, false); //    [1, K, H/K·T, E]
        let mixed = shaped(mixed, &[1, h, t, e]).t(); //                       [1, H, E, T]
        mixed.reshape(&[1, h * e, 1, t]).named("attn") //                      [1, H·E, 1, T]
    }

    /// What is added to the residual stream, `[1, D, 1, T]`.
    pub(super) fn attention_out(&mut self, attn: Var<'b>) -> Var<'b> {
        let variant = &self.cfg.variant;
        self.b.enter("out");
        let wo = self.weight("wo", ParamKind::Wo, [self.cfg.dim, self.cfg.q_dim(), 1, 1]);
        let o = self.project(Linear::O, attn, wo);
        let o = self.biased(o, variant.bias.out, "bo", ParamKind::Bo).named("o");
        if !variant.family.has_post_norms() {
            return o;
        }
        self.b.enter("post_norm1");
        self.norm(o.named("o_proj"), "rms_o", ParamKind::PostAttentionNorm).named("o")
    }

    /// What is added to scores: 0, or [`masked`].
    fn mask(&self) -> Var<'b> {
        let s = match self.span {
            Span::Whole(seq) => seq,
            Span::Any { queries, keys } => return self.input("mask", [1, 1, queries, keys]),
        };
        let window = self.kind.window.unwrap_or(s);
        let mask = self.table("mask", [1, 1, s, s], |n| {
            let (from, to) = (n / s, n % s);
            if to <= from && from - to < window { 0.0 } else { masked(self.dtype) }
        });
        // The smaller one, not the sum: that is -infinity in fp16.
        match self.documents {
            None => mask,
            Some(documents) => mask.minimum(documents.reshape(&[1, 1, s, s])),
        }
    }

    /// cos, sin `[1, 1, E, S]` and the signed permutation `[1, 1, E, E]` that rotates each pair by a right angle.
    fn rope_tables(&self, rope: Rope) -> [Var<'b>; 3] {
        let (e, s) = (self.cfg.head_dim, self.span.queries());
        let turn = |n: usize| {
            let (to, from) = (n / e, n % e);
            let (first, partner) = match rope.kind {
                RopeKind::Interleaved => (to % 2 == 0, to ^ 1),
                _ => (to < e / 2, (to + e / 2) % e),
            };
            if from != partner {
                0.0
            } else if first {
                -1.0
            } else {
                1.0
            }
        };
        let [cos, sin] = match self.span {
            Span::Any { .. } => ["rope_cos", "rope_sin"].map(|name| self.input(name, [1, 1, e, s])),
            Span::Whole(seq) => {
                let rows = RopeRows::new(self.cfg, self.kind.rope, seq);
                let at = |n: usize| rows.at(n / s, n % s);
                [
                    self.table("rope_cos", [1, 1, e, s], |n| at(n).0),
                    self.table("rope_sin", [1, 1, e, s], |n| at(n).1),
                ]
            }
        };
        [cos, sin, self.table("rope_turn", [1, 1, e, e], turn)]
    }
}

/// Rotary position embedding of `[1, heads·E, 1, S]`: `x·cos + turn·x·sin`.
fn rotate<'b>(x: Var<'b>, [cos, sin, turn]: &[Var<'b>; 3], heads: [usize; 4]) -> Var<'b> {
    let flat = x.shape();
    let x = x.reshape(&heads); //                                              [1, heads, E, S]
    (x * *cos + turn.matmul(x, false, false) * *sin).reshape(&flat)
}

fn shaped<'b>(x: Var<'b>, shape: &[usize]) -> Var<'b> {
    if x.shape() == shape { x } else { x.reshape(shape) }
}
