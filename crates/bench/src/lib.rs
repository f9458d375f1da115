//! Measurements of a training step that anybody can repeat: fixed models, numbers that every other program can make
//! too, and checks that the work done is the work meant. Not here: how they are shown (`cli`).
#![forbid(unsafe_code)]

mod ablation;
mod compile;
mod dispatch;
mod error;
mod gemm;
mod kernel;
mod scaling;
mod slow;
mod stack;
mod step;
mod workload;

use std::time::Duration;

pub use ablation::{Ablation, Optimisation, Pairs, What, ablation, variants};
pub use compile::{CompileTimes, compilations};
pub use dispatch::{DispatchTime, dispatches};
pub use error::BenchError;
pub use gemm::{ProductTime, ProductTimes, limit, products};
pub use kernel::{KernelTimes, kernels};
pub use scaling::{Over, ScalingTime, scaling};
pub use stack::{
    StackOptions, StackSize, StackTime, Timed, Untimed, int8_sizes, knee, peak_sizes, sram_sizes, stacks,
};
pub use step::{StepBench, StepBenchOptions, StepTimes};
pub use workload::Workload;

/// The median of at least one time.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The middle of times, and how far they are from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Half of all are shorter.
    pub median: Duration,
    /// One in twenty is shorter.
    pub low: Duration,
    /// One in twenty is longer.
    pub high: Duration,
}

impl Spread {
    /// Of at least one time.
    fn of(mut times: Vec<Duration>) -> Spread {
        times.sort();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        Spread { median: times[times.len() / 2], low: at(5), high: at(95) }
    }
}
