//! One training step: a model compiled on a device, its memory, and the tasks of forward and backward.
//!
//! The engine's kernels compute what the plan of [`crate::model`] gives them. The rest is here, in f32: embedding,
//! residual additions, the backward pass of norms, classifier and loss, gradients of matrices.

mod apply_update; // gradients → new weights, in the model and in its kernels
mod budget; //       how many programs a process may compile
mod buffers; //      surfaces and activations, each declared once
mod build; //        what is decided before a model is compiled
mod clock; //        time that a kind of work takes
mod context; //      what tasks share that is no memory
mod error; //        what can go wrong
mod forward; //      forward passes alone: evaluation, logits, the range check
mod graph; //        the builder of all graphs, and the graph of a step
mod host_math; //    how the host computes its share: the seam for variants
mod kernels; //      the compiled kernels
mod ladder; //       plans of kernels, tried one after the other
mod network; //      all of it together
mod out_of_range; // where values left their range, in words
mod params; //       the table of parameters
mod passes; //       the forward-only plans
mod range; //        checks of values and weights
mod weight_files; // weight files of kernels
mod weights; //      weights on their way to the kernels

pub use budget::BudgetExhausted;
pub use buffers::{Buffers, Window};
pub use build::Build;
pub use error::StepError;
pub use graph::StepGraph;
pub use host_math::{FastMath, HostMath, Operand};
pub use kernels::{ChosenRung, Kernels};
pub use ladder::{CompileEvent, CompileRequest, compile};
pub use network::Network;
pub use out_of_range::OutOfRange;
pub use params::{GradientSum, Param, Params};
