//! One training step: a model compiled on a device, its buffers, and the tasks of forward and backward.
//!
//! The engine's kernels compute what the plan of [`crate::model`] gives them. The rest is here, in f32: embedding,
//! residual additions, the backward pass of norms, classifier and loss, gradients of matrices.

mod apply_update;
mod budget;
mod buffers;
mod build;
mod clock;
mod error;
mod graph;
mod head_norm;
mod ladder;
mod layout;
mod network;
mod options;
mod range;
mod tasks;
mod upload;

pub use budget::BudgetExhausted;
use budget::check_budget;
pub use buffers::{Buffers, Window};
pub use build::Build;
pub use error::StepError;
pub use graph::StepGraph;
pub use ladder::{Chosen, Heard};
pub(crate) use ladder::{compile, compile_on, open_engine};
pub use network::Network;
pub use options::StepOptions;
pub use range::OutOfRange;
