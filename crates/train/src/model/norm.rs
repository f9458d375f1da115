//! RMSNorm as a program.

use super::statement::{NormSite, Statement};
use crate::config::ParamKind;
use mil::Var;

/// The largest sum of a norm's squares: half of the overflow threshold of an engine's products (rules N1, N8).
const LARGEST_SUM: f64 = 16384.0;

/// The bound of a column's scaled elements in a norm; it takes effect with few channels.
const LARGEST_REACH: f64 = 16.0;

/// The smallest √eps of a norm whose scaled square does not underflow in fp16, even for a column of zeros.
const SMALLEST_ROOT_EPS: f64 = 1.0 / 1048576.0;

/// The minimum of δ, which is added to a column's largest magnitude: the reciprocal of the sum must fit into fp16.
const SMALLEST_SHIFT: f64 = 1.0 / 16384.0;

impl<'b> Statement<'b> {
    /// RMSNorm over channels.
    pub(super) fn norm(&mut self, x: Var<'b>, name: &str, kind: ParamKind) -> Var<'b> {
        let w = self.weight(name, kind, [1, self.cfg.dim, 1, 1]);
        let y = self.rms_normed(x, name, 1) * self.factor(w);
        self.norms.push(NormSite { kind, input: x.id(), output: y.id(), groups: 1, past: None });
        y
    }

    /// RMSNorm over each head of `[1, heads·E, 1, S]`.
    pub(super) fn head_norm(&mut self, x: Var<'b>, name: &str, kind: ParamKind, heads: usize) -> Var<'b> {
        let (e, s) = (self.cfg.head_dim, self.span.queries());
        let w = self.weight(name, kind, [1, 1, e, 1]);
        let z = x.reshape(&[1, heads, e, s]); //                               [1, heads, E, S]
        let y = (self.rms_normed(z, name, heads) * self.factor(w)).reshape(&[1, heads * e, 1, s]);
        self.norms.push(NormSite { kind, input: x.id(), output: y.id(), groups: heads, past: None });
        y
    }

    /// The factor of a norm with weight `w`.
    fn factor(&self, w: Var<'b>) -> Var<'b> {
        let offset = self.cfg.variant.family.norm_offset();
        if offset == 0.0 { w } else { w + offset }
    }

    /// `x / √(mean x² + eps)`: of `[1, C, 1, S]` over channels if `groups` is 1, of `[1, groups, C, S]` over C otherwise.
    ///
    /// Numerics: accurate for elements from 1e-4 to 65504 and eps from 1e-12, in fp16 and with the fixed-point sums of an
    /// engine (rules N1, N2, N10). Each column is multiplied by `u / (max |x| + δ)` before it is squared, and so is
    /// √eps; the factor cancels. It may be too small for fp16, so it is applied as two factors. Squares are then at most u²,
    /// and their sum, a product with ones, at most [`LARGEST_SUM`].
    fn rms_normed(&self, x: Var<'b>, name: &str, groups: usize) -> Var<'b> {
        let shape = x.shape();
        let (axis, s) = if groups == 1 { (1, shape[3]) } else { (2, shape[3]) };
        let c = shape[axis];
        let reach = 2f64.powf((LARGEST_SUM / c as f64).log2().div_euclid(2.0)).min(LARGEST_REACH);
        let root_eps = self.cfg.rms_eps.sqrt().max(SMALLEST_ROOT_EPS);
        // (max |x| + δ)^−½: never above 128, and √eps times its square never above 1.
        let h = (x.abs().reduce_max(&[axis as i64], true) + root_eps.max(SMALLEST_SHIFT)).pow(-0.5);
        let first = x * h;
        let second = h * reach;
        let scaled = first * second; //                                         |scaled| ≤ reach
        let square = (scaled * scaled).reshape(&[1, groups * c, 1, s]);
        let ones = self.table(&format!("{name}_ones"), [groups, groups * c, 1, 1], |n| {
            if n % (groups * c) / c == n / (groups * c) { 1.0 } else { 0.0 }
        });
        let mean = square.conv1x1(ones, 1) * (1.0 / c as f64); //               [1, groups, 1, S]
        let eps = h * (h * (reach * root_eps));
        first * (second * (mean + eps * eps).pow(-0.5))
    }
}
