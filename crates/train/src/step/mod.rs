//! One training step: a model compiled on a device, its memory, and the tasks of forward and backward.
//!
//! The plan of [`crate::model`] assigns operations to the engine's kernels. The host computes the rest in f32: embedding,
//! residual additions, the backward pass of norms, classifier and loss, matrix gradients.

mod apply_update; // gradients → new weights, in the model and in its kernels
mod budget; //       the number of programs that a process may compile
mod buffers; //      surfaces and activations, each declared once
mod build; //        options of compiling a model
mod clock; //        total time of a kind of work
mod compute; //      options of computing with a model
mod context; //      state shared by tasks, besides buffers
mod error; //        errors
mod forward; //      forward-only passes: evaluation, logits, the range check
mod graph; //        the builder of all graphs, and the graph of a step
mod host_math; //    the interface of the host's work
mod in_flight; //    the number of windows side by side
mod kernels; //      the compiled kernels
mod ladder; //       plans of kernels, tried one after the other
mod network; //      a model on a device
mod out_of_range; // values that are out of range
mod params; //       the table of parameters
mod passes; //       the forward-only plans
mod range; //        checks of values and weights
mod weight_files; // weight files of kernels
mod weights; //      writing weights into the kernels

pub use budget::BudgetExhausted;
pub use buffers::{Buffers, Window};
pub use build::Build;
pub use compute::ComputeOptions;
pub use error::StepError;
pub(crate) use forward::hides_infinity;
pub use graph::StepGraph;
pub use host_math::{FastMath, HostMath, Operand};
pub use kernels::{ChosenRung, Kernels};
pub use ladder::{CompileEvent, CompileRequest, compile};
pub use network::Network;
pub use out_of_range::OutOfRange;
pub use params::{GradientSum, Param, Params};
