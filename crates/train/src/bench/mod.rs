//! Measurements of a training step that anybody can repeat: fixed models, numbers that every other program can make
//! too, and checks that the work done is the work meant.

mod gemm;
mod kernel;
mod step;
mod workload;

pub use gemm::{ProductTime, products};
pub use kernel::{KernelTimes, kernels};
pub use step::{StepBench, StepOptions, StepTimes};
pub use workload::Workload;
