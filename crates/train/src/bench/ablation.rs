//! What each optimisation of maderix/ANE is worth here: steps with one of them switched off, and with one more of them
//! on from none to all.

use super::{BenchError, Spread, StepBench, StepOptions, Workload};
use crate::host::Layout;
use crate::model::{Fusion, Plan};
use crate::step::{Build, Course};
use ane::DeviceInfo;
use std::time::Duration;

/// An optimisation that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimisation {
    /// Host activations lie channel-first, as surfaces do; else row-major, with transposes on the host.
    ChannelFirst,
    /// The host's norms go by vectors, on all threads; else number by number.
    VectorNorms,
    /// Gradients of matrices are computed beside dispatches; else in line with them.
    GradientsBeside,
    /// RMSNorm is part of the forward kernels; else the host's.
    FusedNorms,
    /// Woᵀ is part of sdpaBwd1: six kernels a layer; else seven.
    FusedWo,
    /// Gradients of matrices are waited for when they are needed; else at the end of each layer's backward pass.
    DeferredWaits,
}

impl Optimisation {
    /// All of them, in the order in which maderix/ANE came to them.
    pub const ALL: [Optimisation; 6] = [
        Optimisation::ChannelFirst,
        Optimisation::VectorNorms,
        Optimisation::GradientsBeside,
        Optimisation::FusedNorms,
        Optimisation::FusedWo,
        Optimisation::DeferredWaits,
    ];

    /// What it is called, and what there is without it.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Optimisation::ChannelFirst => ("channel-first layout", "row-major, transposes on the host"),
            Optimisation::VectorNorms => ("vectorised RMSNorm", "scalar RMSNorm"),
            Optimisation::GradientsBeside => ("asynchronous dW", "dW on the engine's lane"),
            Optimisation::FusedNorms => ("RMSNorm in the kernels", "forward RMSNorm on the host"),
            Optimisation::FusedWo => ("Woᵀ in sdpaBwd1", "Woᵀ a kernel of its own, seven"),
            Optimisation::DeferredWaits => ("deferred waits", "dW waited for after each layer"),
        }
    }
}

/// How a model is built with these optimisations and no others.
pub fn build(storage: crate::run::Storage, on: &[Optimisation]) -> Build {
    let has = |o| on.contains(&o);
    let layout = if has(Optimisation::ChannelFirst) { Layout::ChannelFirst } else { Layout::RowMajor };
    Build {
        plan: Plan::fused(Fusion { norms: has(Optimisation::FusedNorms), wo: has(Optimisation::FusedWo) }),
        course: Course {
            layout,
            vector_norms: has(Optimisation::VectorNorms),
            gradients_beside: has(Optimisation::GradientsBeside),
            deferred_waits: has(Optimisation::DeferredWaits),
        },
        ..Build::train(storage.precision())
    }
}

/// A step that was timed.
#[derive(Clone, Debug)]
pub struct Ablation {
    /// What was switched on.
    pub on: Vec<Optimisation>,
    /// What is told of it: the optimisation that is off, or the one that was added.
    pub what: What,
    /// The time of a step.
    pub time: Spread,
    /// The losses before the first step and after three, and the norm of the first gradient.
    pub numbers: [f64; 3],
}

/// What a step shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Everything is on.
    All,
    /// Everything but this.
    Without(Optimisation),
    /// Nothing is on.
    Nothing,
    /// This and all before it are on.
    Added(Optimisation),
}

/// All that is measured: everything on, each optimisation off in turn, then none on, and one more each time.
pub fn variants() -> Vec<(What, Vec<Optimisation>)> {
    let all = Optimisation::ALL;
    let without = |o: Optimisation| (What::Without(o), all.into_iter().filter(|&x| x != o).collect());
    let added = |i: usize| (What::Added(all[i]), all[..=i].to_vec());
    let first = [(What::All, all.to_vec())].into_iter().chain(all.into_iter().map(without));
    first.chain([(What::Nothing, Vec::new())]).chain((0..all.len()).map(added)).collect()
}

/// Times a step of `workload`, of `batch` windows, with each of [`variants`].
///
/// The machine's speed drifts, so all are measured in `rounds` rounds, one after the other; `options.samples` is for
/// each round.
///
/// # Errors
/// If the engine cannot be had, refuses a kernel, or fails.
pub fn ablation(
    workload: &Workload,
    options: &StepOptions,
    batch: usize,
    rounds: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(DeviceInfo, Vec<Ablation>), BenchError> {
    let variants = variants();
    let total = rounds * variants.len();
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); variants.len()];
    let mut numbers = vec![[f64::NAN; 3]; variants.len()];
    let mut device = None;
    for i in 0..total {
        let v = i % variants.len();
        let build = build(options.storage, &variants[v].1);
        let bench = StepBench::with(workload, options, &build, batch)?;
        let step = bench.run(options, &mut |_, _| {})?;
        times[v].extend(step.samples);
        numbers[v] = [step.loss0, step.gradient_norm, step.loss3];
        device = Some(step.device);
        progress(i + 1, total);
    }
    let rows = variants.into_iter().zip(times).zip(numbers);
    let rows =
        rows.map(|(((what, on), times), numbers)| Ablation { on, what, time: Spread::of(times), numbers });
    let device = device.ok_or(BenchError::Nothing)?;
    Ok((device, rows.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_off_once_and_then_all_come_on_in_order() {
        let variants = variants();
        assert_eq!(variants.len(), 14);
        for (what, on) in &variants {
            match what {
                What::All => assert_eq!(on[..], Optimisation::ALL),
                What::Without(o) => assert!(on.len() == 5 && !on.contains(o)),
                What::Nothing => assert!(on.is_empty()),
                What::Added(o) => assert!(on.last() == Some(o) && Optimisation::ALL.starts_with(on)),
            }
        }
        let all = build(crate::run::Storage::F16, &Optimisation::ALL);
        assert_eq!((all.course, all.plan.kernels().len()), (Course::default(), 6));
        let none = build(crate::run::Storage::F16, &[]);
        assert_eq!(none.plan.kernels().len(), 7);
    }
}
