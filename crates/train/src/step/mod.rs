//! One training step: a model compiled on a device, its buffers, and the tasks of forward and backward.
//!
//! The engine's kernels compute what the plan of [`crate::model`] gives them. The rest is here, in f32: embedding,
//! residual additions, the backward pass of norms, classifier and loss, gradients of matrices.

mod buffers;
mod build;
mod clock;
mod course;
mod delivery;
mod error;
mod graph;
mod head_norm;
mod ladder;
mod layout;
mod learn;
mod network;
mod range;
mod spent;
mod tasks;

pub use buffers::{Buffers, Window};
pub use build::Build;
pub use course::Course;
pub use error::StepError;
pub use graph::StepGraph;
pub use ladder::{Chosen, Heard};
pub(crate) use ladder::{compile, compile_on, open_engine};
pub use network::Network;
pub use range::OutOfRange;
pub use spent::Spent;
use spent::check_budget;
