//! The host's share of a training step, in f32, channel-first.
//!
//! An activation is `[C, S]`, element (c, t) at `c·S + t`: the columns are positions, the rows channels. Every
//! function cuts its work by shape alone and adds in a fixed order, so its result has the same bits at any
//! number of threads; it runs on the current rayon pool, and allocates nothing once its [`Scratch`] has grown.
//! Lengths that do not fit together are mistakes of the caller and panic; data from outside is checked and
//! refused as [`HostError`].
//!
//! Matrix products are `softane`'s, seen here as [`gemm`].

pub mod embed;
pub mod error;
pub mod head;
pub mod loss;
pub mod norm;
pub mod regression;
pub mod residual;
pub mod squared_norms;
pub mod transpose;
pub mod weight_grad;

mod chunk;
mod outliers;
mod scratch;

pub use error::HostError;
pub use scratch::Scratch;
pub use softane::gemm;
pub use softane::gemm::Store;

pub(crate) use chunk::{CHUNK, LANES, simd, tree_sum};

#[cfg(test)]
pub(crate) mod testing;
