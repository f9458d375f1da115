//! Attention as a program.

use super::statement::Statement;
use crate::config::{Frequencies, LayerRope, ParamKind, Rope, RopeKind};
use mil::{DType, Var};

/// The value that the causal mask adds to a masked score: the lowest finite number in fp16, far below any score in fp32.
fn masked(dtype: DType) -> f64 {
    if dtype == DType::F16 { -65504.0 } else { -1e30 }
}

impl<'b> Statement<'b> {
    /// Norm and attention, up to the residual addition.
    pub(super) fn attention(&mut self, x: Var<'b>) -> Var<'b> {
        let cfg = self.cfg;
        let (d, s) = (cfg.dim, cfg.seq);
        let (h, k, e) = (cfg.heads, cfg.kv_heads, cfg.head_dim);
        let (q_dim, kv_dim) = (cfg.q_dim(), cfg.kv_dim());
        self.b.enter("norm1");
        let xn = self.norm(x, "rms1", ParamKind::AttentionNorm).named("xn");

        self.b.enter("qkv");
        let [wq, wk, wv] =
            [("wq", ParamKind::Wq, q_dim), ("wk", ParamKind::Wk, kv_dim), ("wv", ParamKind::Wv, kv_dim)]
                .map(|(name, kind, out)| self.weight(name, kind, [out, d, 1, 1]));
        self.b.enter("qkv.q");
        let bias = cfg.variant.bias;
        let q = self.biased(xn.conv1x1(wq, 1), bias.qkv, "bq", ParamKind::Bq);
        let mut q = q.named("q_proj"); //                                      [1, H·E, 1, S]
        self.b.enter("qkv.k");
        let key = self.biased(xn.conv1x1(wk, 1), bias.qkv, "bk", ParamKind::Bk);
        let mut key = key.named("k_proj"); //                                  [1, K·E, 1, S]
        self.b.enter("qkv.v");
        let v = self.biased(xn.conv1x1(wv, 1), bias.qkv, "bv", ParamKind::Bv).named("v");

        if cfg.qk_norm {
            self.b.enter("qk_norm");
            q = self.head_norm(q, "rms_q", ParamKind::QueryNorm, h).named("q_norm");
            key = self.head_norm(key, "rms_k", ParamKind::KeyNorm, k).named("k_norm");
        }
        if cfg.rope.kind != RopeKind::None {
            self.b.enter("rope");
            let tables = self.rope_tables(cfg.rope);
            q = rotate(q, &tables, [1, h, e, s]).named("q");
            key = rotate(key, &tables, [1, k, e, s]).named("k");
        }

        // Scaled before the product: unscaled scores may overflow fp16.
        self.b.enter("scale");
        let cap = cfg.variant.score_cap;
        let scale = cfg.variant.query_scalar.unwrap_or(e as f64).powf(-0.5);
        let q = q * (scale / cap.unwrap_or(1.0));

        // The rows of query heads that share a key head follow one another: head j reads key head j / (H/K).
        self.b.enter("scores");
        let rows = |x: Var<'b>, heads: usize| x.reshape(&[1, heads, e, s]).t(); // [1, heads, S, E]
        let grouped = |x: Var<'b>, last: usize| shaped(x, &[1, k, h / k * s, last]);
        let window = self.kind.window.unwrap_or(s);
        let mask = self.table("mask", [1, 1, s, s], |n| {
            let (from, to) = (n / s, n % s);
            if to <= from && from - to < window { 0.0 } else { masked(self.dtype) }
        });
        let scores = grouped(rows(q, h), e).matmul(rows(key, k), false, true);
        let scores = shaped(scores, &[1, h, s, s]); //                         [1, H, S, S]
        let scores = match cap {
            None => scores,
            Some(cap) => scores.tanh() * cap,
        };
        let scores = scores + mask;

        self.b.enter("softmax");
        let p = scores.softmax(-1).named("p");

        self.b.enter("mix");
        let mixed = grouped(p, s).matmul(rows(v, k), false, false); //         [1, K, H/K·S, E]
        let mixed = shaped(mixed, &[1, h, s, e]).t(); //                       [1, H, E, S]
        let attn = mixed.reshape(&[1, q_dim, 1, s]).named("attn"); //          [1, H·E, 1, S]

        self.b.enter("out");
        let wo = self.weight("wo", ParamKind::Wo, [d, q_dim, 1, 1]);
        self.biased(attn.conv1x1(wo, 1), bias.out, "bo", ParamKind::Bo).named("o")
    }

    /// cos, sin `[1, 1, E, S]` and the signed permutation `[1, 1, E, E]` that rotates each pair by a right angle.
    fn rope_tables(&self, rope: Rope) -> [Var<'b>; 3] {
        let (e, s) = (self.cfg.head_dim, self.cfg.seq);
        let pair = |c: usize| match rope.kind {
            RopeKind::Interleaved => c / 2,
            _ => c % (e / 2),
        };
        let variant = &self.cfg.variant;
        let global = (rope.theta, &variant.scaling);
        let (theta, scaling) = match (self.kind.rope, &variant.local_rope) {
            (LayerRope::Local, Some((theta, scaling))) => (*theta, scaling),
            _ => global,
        };
        let Frequencies { per_position, amplitude } = scaling.frequencies(theta, e, s);
        // A layer without RoPE turns by no angle, so that all layers have the same operations.
        let (amplitude, speed) =
            if self.kind.rope == LayerRope::None { (1.0, 0.0) } else { (amplitude, 1.0) };
        let angle = |n: usize| speed * (n % s) as f64 * per_position[pair(n / s)];
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
        [
            self.table("rope_cos", [1, 1, e, s], |n| amplitude * angle(n).cos()),
            self.table("rope_sin", [1, 1, e, s], |n| amplitude * angle(n).sin()),
            self.table("rope_turn", [1, 1, e, e], turn),
        ]
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
