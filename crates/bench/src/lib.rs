//! Reproducible measurements of a training step: fixed models, weights and data that other programs can generate too, and
//! checks that results are correct. Not here: how they are printed (`cli`).
#![forbid(unsafe_code)]

mod ablation;
mod compile;
mod dispatch;
mod error;
mod gemm;
mod generate;
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
pub use generate::{GenerateBenchOptions, GenerateTimes, generation};
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

/// Median and 5th and 95th percentile of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The median.
    pub median: Duration,
    /// The 5th percentile.
    pub low: Duration,
    /// The 95th percentile.
    pub high: Duration,
}

impl Spread {
    /// From at least one time.
    fn of(mut times: Vec<Duration>) -> Spread {
        times.sort();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        Spread { median: times[times.len() / 2], low: at(5), high: at(95) }
    }
}
