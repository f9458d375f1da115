//! Measurements of a training step that anybody can repeat: fixed models, numbers that every other program can make
//! too, and checks that the work done is the work meant.

mod gemm;
mod kernel;
mod step;
mod workload;

use std::time::Duration;

pub use gemm::{ProductTime, products};
pub use kernel::{KernelTimes, kernels};
pub use step::{StepBench, StepOptions, StepTimes};
pub use workload::Workload;

/// The median of at least one time.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
