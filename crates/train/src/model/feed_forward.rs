//! The feed-forward part as a program.

use super::statement::Statement;
use crate::config::{Activation, Linear, ParamKind};
use mil::Var;

impl<'b> Statement<'b> {
    /// Norm and gated feed-forward part, up to the residual addition.
    pub(super) fn feed_forward(&mut self, x2: Var<'b>) -> Var<'b> {
        self.b.enter("norm2");
        let x2n = self.norm(x2, "rms2", ParamKind::FeedForwardNorm).named("x2n");
        self.feed_forward_of(x2n)
    }

    /// The gated feed-forward part of normed activations.
    pub(super) fn feed_forward_of(&mut self, x2n: Var<'b>) -> Var<'b> {
        let (d, f) = (self.cfg.dim, self.cfg.hidden);
        self.b.enter("up");
        let w1 = self.weight("w1", ParamKind::W1, [f, d, 1, 1]);
        let w3 = self.weight("w3", ParamKind::W3, [f, d, 1, 1]);
        self.b.enter("up.1");
        let bias = self.cfg.variant.bias.mlp;
        let h1 = self.project(Linear::Gate, x2n, w1);
        let h1 = self.biased(h1, bias, "b1", ParamKind::B1).named("h1"); // [1, F, 1, S]
        self.b.enter("up.3");
        let h3 = self.project(Linear::Up, x2n, w3);
        let h3 = self.biased(h3, bias, "b3", ParamKind::B3).named("h3");

        self.b.enter("silu");
        let (active, product) = match self.cfg.variant.activation {
            Activation::Silu => (h1 * h1.sigmoid(), "gate"),
            Activation::GeluTanh => (gelu(h1), "gated"),
        };

        self.b.enter("gate");
        let gate = (active * h3).named(product);

        self.b.enter("down");
        let w2 = self.weight("w2", ParamKind::W2, [d, f, 1, 1]);
        let ffn = self.project(Linear::Down, gate, w2);
        let ffn = self.biased(ffn, bias, "b2", ParamKind::B2).named("ffn");
        if !self.cfg.variant.family.has_post_norms() {
            return ffn;
        }
        self.b.enter("post_norm2");
        self.norm(ffn.named("down_proj"), "rms_ffn", ParamKind::PostFeedForwardNorm).named("ffn")
    }
}

/// The argument beyond which GELU's cubic term is not needed: there it is x or 0 to the last bit of fp32.
const GELU_REACH: f64 = 8.0;

/// `gelu(x)` with the approximation by tanh: `x·σ(2·√(2/π)·(x + 0.044715·x³))`, since `½·(1 + tanh u) = σ(2u)`.
///
/// Engines refuse `gelu` itself (rule T16), and the cube of a large number leaves fp16.
fn gelu(x: Var<'_>) -> Var<'_> {
    let near = x.clip(-GELU_REACH, GELU_REACH);
    let scale = 2.0 * std::f64::consts::FRAC_2_PI.sqrt();
    let u = near * (near * near * (0.044715 * scale) + scale);
    x * u.sigmoid()
}
