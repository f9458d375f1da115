//! Rules with one moment: stochastic gradient descent, and Lion.

use super::{ParamSlices, Update};
use crate::{CHUNK, simd};
use rayon::prelude::*;
use softane::pool::for_each;

/// The constants of stochastic gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// μ: decay of the momentum per step; 0: none.
    pub momentum: f32,
    /// λ: decoupled weight decay; a parameter loses the share lr·λ per step.
    pub weight_decay: f32,
}

/// The constants of Lion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lion {
    /// β₁: the share of the momentum in an update.
    pub beta1: f32,
    /// β₂: decay of the momentum per step.
    pub beta2: f32,
    /// λ: decoupled weight decay; a parameter loses the share lr·λ per step.
    pub weight_decay: f32,
}

impl Sgd {
    /// Takes one step on a tensor of parameters, in place; `v` is not used.
    ///
    /// ```text
    /// m ← μm + g      θ ← θ − lr·( m + λθ )
    /// ```
    ///
    /// with g the gradient times `grad_scale`, and λ = 0 for a tensor that does not decay.
    ///
    /// Numerics: all f32; the result does not depend on how the tensor is split among threads.
    /// Source: `torch.optim.SGD` without dampening and Nesterov's term; its weight decay is not decoupled, ours is, as AdamW's.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn step(&self, update: Update, slices: ParamSlices<'_>) {
        let (momentum, lr) = (self.momentum, update.lr);
        let decay = if slices.decays { self.weight_decay } else { 0.0 };
        each(update, slices, |theta, g, m| {
            *m = momentum * *m + g;
            *theta -= lr * (*m + decay * *theta);
        });
    }
}

impl Lion {
    /// Takes one step on a tensor of parameters, in place; `v` is not used.
    ///
    /// ```text
    /// θ ← θ − lr·( sign(β₁m + (1−β₁)g) + λθ )      m ← β₂m + (1−β₂)g
    /// ```
    ///
    /// with g the gradient times `grad_scale`, sign(0) = 0, and λ = 0 for a tensor that does not decay.
    ///
    /// Numerics: all f32; the result does not depend on how the tensor is split among threads.
    /// Source: Chen et al. 2023, arXiv:2302.06675, algorithm 2.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn step(&self, update: Update, slices: ParamSlices<'_>) {
        let (Lion { beta1, beta2, weight_decay }, lr) = (*self, update.lr);
        let decay = if slices.decays { weight_decay } else { 0.0 };
        each(update, slices, |theta, g, m| {
            let direction = beta1 * *m + (1.0 - beta1) * g;
            let sign = if direction == 0.0 { 0.0 } else { 1.0f32.copysign(direction) };
            *theta -= lr * (sign + decay * *theta);
            *m = beta2 * *m + (1.0 - beta2) * g;
        });
    }
}

/// Calls `change` with each parameter, its gradient times `grad_scale`, and its momentum.
#[inline(always)]
fn each(update: Update, slices: ParamSlices<'_>, change: impl Fn(&mut f32, f32, &mut f32) + Copy + Sync) {
    let ParamSlices { theta, grad, m, .. } = slices;
    assert_eq!([grad.len(), m.len()], [theta.len(); 2], "gradient and momentum of {}", theta.len());
    let scale = update.grad_scale;
    let chunks = theta.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK)).zip(m.par_chunks_mut(CHUNK));
    for_each(chunks, |((theta, grad), m)| {
        simd(
            #[inline(always)]
            || {
                for ((theta, grad), m) in theta.iter_mut().zip(grad).zip(m.iter_mut()) {
                    change(theta, grad * scale, m);
                }
            },
        );
    });
}
