//! The interface of the host's work in a step, so that variants can be measured.

use flow::Lane;
use host::gemm::{Elements, MatmulPrecision};
use host::norm::{NormGradient, RmsNorm};
use host::squared_norms::Gradient;
use host::{Scratch, weight_grad};
use std::fmt;

/// An operand of a matrix gradient, `[C, S]`.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// Its elements.
    pub elements: Elements<'a>,
    /// Whether it is a host activation, in the host's layout; else it is channel-first on a surface.
    pub is_host: bool,
}

/// Computation and scheduling of the host's work in a step.
///
/// Training uses the provided methods, with channel-first activations as on surfaces. Other implementations are for
/// measurements and must give the same bits.
pub trait HostMath: fmt::Debug + Send + Sync {
    /// The lane that computes gradients of matrices and of the embedding.
    fn gradient_lane(&self) -> Lane {
        Lane::Cpu
    }

    /// Whether the engine's lane waits for the gradients of a layer's matrices before the next layer's backward pass.
    fn waits_for_each_layer(&self) -> bool {
        false
    }

    /// Converts an activation `[C, seq]` in place to the host's layout.
    fn to_host_layout(&self, values: &mut [f32], seq: usize) {
        let _ = (values, seq);
    }

    /// Calls `f` with an activation in the host's layout as `[C, seq]`.
    fn with_channel_first(&self, values: &[f32], seq: usize, f: &mut dyn FnMut(&[f32])) {
        let _ = seq;
        f(values);
    }

    /// [`RmsNorm::forward`] of activations in the host's layout.
    fn norm(&self, norm: &RmsNorm, x: &[f32], weight: &[f32], y: &mut [f32], scratch: &mut Scratch) {
        norm.forward(x, weight, y, scratch);
    }

    /// [`RmsNorm::backward`] of activations in the host's layout.
    fn norm_gradient(&self, norm: &RmsNorm, gradient: NormGradient<'_>, scratch: &mut Scratch) {
        norm.backward(gradient, scratch);
    }

    /// [`weight_grad::outer_product`] of `dz` and `a`, along `seq` positions.
    fn weight_gradient(
        &self,
        math: MatmulPrecision,
        dw: Gradient<'_>,
        [dz, a]: [Operand<'_>; 2],
        seq: usize,
    ) {
        weight_grad::outer_product(math, dw, dz.elements, a.elements, seq);
    }
}

/// The implementation that training uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct FastMath;

impl HostMath for FastMath {}
