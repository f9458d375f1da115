//! The feed-forward part as a program.

use super::statement::Statement;
use crate::config::ParamKind;
use mil::Var;

impl<'b> Statement<'b> {
    /// Norm and SwiGLU, up to the residual addition.
    pub(super) fn feed_forward(&mut self, x2: Var<'b>) -> Var<'b> {
        let (d, f) = (self.cfg.dim, self.cfg.hidden);
        self.b.enter("norm2");
        let x2n = self.norm(x2, "rms2", ParamKind::FeedForwardNorm).named("x2n");

        self.b.enter("up");
        let w1 = self.weight("w1", ParamKind::W1, [f, d, 1, 1]);
        let w3 = self.weight("w3", ParamKind::W3, [f, d, 1, 1]);
        self.b.enter("up.1");
        let bias = self.cfg.variant.bias.mlp;
        let h1 = self.biased(x2n.conv1x1(w1, 1), bias, "b1", ParamKind::B1).named("h1"); // [1, F, 1, S]
        self.b.enter("up.3");
        let h3 = self.biased(x2n.conv1x1(w3, 1), bias, "b3", ParamKind::B3).named("h3");

        self.b.enter("silu");
        let silu = h1 * h1.sigmoid();

        self.b.enter("gate");
        let gate = (silu * h3).named("gate");

        self.b.enter("down");
        let w2 = self.weight("w2", ParamKind::W2, [d, f, 1, 1]);
        self.biased(gate.conv1x1(w2, 1), bias, "b2", ParamKind::B2).named("ffn")
    }
}
