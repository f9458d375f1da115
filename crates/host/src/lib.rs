//! The host's part of a training step, in f32, channel-first: what kernels leave to it, and what updates the weights.
//!
//! An activation is `[C, S]`, element (c, t) at `c·S + t`: columns are positions, rows channels. Every function divides its
//! work by shape alone and sums in a fixed order, so its result has the same bits at any number of threads. It runs on the
//! current rayon pool and allocates nothing once its [`Scratch`] has grown. Mismatched lengths panic; invalid data is
//! a [`HostError`].
//!
//! Matrix products are those of `softane`, re-exported as [`gemm`].
//!
//! Not in this crate: what a layer, a parameter or a run is. A step's loops over activations and weights are here or in `softane`.
#![forbid(unsafe_code)]

pub mod bias;
pub mod dropout;
pub mod embed;
pub mod error;
pub mod head;
pub mod loss;
pub mod norm;
pub mod optim;
pub mod range;
pub mod regression;
pub mod residual;
pub mod rng;
pub mod soft_cap;
pub mod squared_norms;
pub mod transpose;
pub mod weight_grad;

mod chunk;
mod logits_gradient;
mod outliers;
mod scratch;

pub use error::HostError;
pub use scratch::Scratch;
pub use softane::gemm;
pub use softane::gemm::Store;

pub(crate) use chunk::{CHUNK, LANES, tree_sum};
pub(crate) use softane::vectorised as simd;

#[cfg(test)]
mod testing;
