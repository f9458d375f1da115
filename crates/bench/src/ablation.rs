//! Ablation of maderix/ANE's optimisations: steps with one of them off, and with one more on, from none to all.

use super::slow::{ActivationLayout, SlowMath};
use super::{BenchError, Spread, StepBench, StepBenchOptions, Workload};
use ane::DeviceInfo;
use std::sync::Arc;
use std::time::Duration;
use train::model::{Fusion, KernelPlan, Precision};
use train::step::Build;

/// An optimisation that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optimisation {
    /// Host activations are channel-first, like surfaces; else row-major, with transposes on the host.
    ChannelFirst,
    /// The host's norms are vectorised and multithreaded; else scalar.
    VectorNorms,
    /// Matrix gradients are computed concurrently with dispatches; else between them.
    GradientsBeside,
    /// RMSNorm is part of the forward kernels; else the host computes it.
    FusedNorms,
    /// The product with Woᵀ is part of sdpaBwd1, which makes six kernels a layer; else seven.
    FusedWo,
    /// Gradients of matrices are waited for when they are needed; else at the end of each layer's backward pass.
    DeferredWaits,
}

impl Optimisation {
    /// All of them, in the order in which maderix/ANE added them.
    pub const ALL: [Optimisation; 6] = [
        Optimisation::ChannelFirst,
        Optimisation::VectorNorms,
        Optimisation::GradientsBeside,
        Optimisation::FusedNorms,
        Optimisation::FusedWo,
        Optimisation::DeferredWaits,
    ];

    /// The build options with exactly the optimisations `on`.
    pub fn build(storage: Precision, on: &[Optimisation]) -> Build {
        let has = |o| on.contains(&o);
        let mut host = SlowMath::new();
        host.layout = if has(Optimisation::ChannelFirst) {
            ActivationLayout::ChannelFirst
        } else {
            ActivationLayout::RowMajor
        };
        host.vector_norms = has(Optimisation::VectorNorms);
        host.gradients_beside = has(Optimisation::GradientsBeside);
        host.deferred_waits = has(Optimisation::DeferredWaits);
        Build {
            plan: KernelPlan::fused(Fusion {
                norms: has(Optimisation::FusedNorms),
                wo: has(Optimisation::FusedWo),
            }),
            host: Arc::new(host),
            ..Build::train(storage)
        }
    }

    /// Its name, and the name of what replaces it when it is off.
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

/// The measurement of a variant.
#[derive(Clone, Debug)]
pub struct Ablation {
    /// The optimisations that are on.
    pub on: Vec<Optimisation>,
    /// Its place in the series.
    pub what: What,
    /// The time of a step.
    pub time: Pairs,
    /// The losses before the first step and after three, and the norm of the first gradient.
    pub numbers: [f64; 3],
}

/// Times of steps, each paired with a step that has everything on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pairs {
    /// The time of a step.
    pub time: Spread,
    /// The median over pairs: this time over the other.
    pub ratio: f64,
}

impl Pairs {
    /// From at least one pair: the time with everything on, and this variant's.
    fn new(pairs: &[(Duration, Duration)]) -> Pairs {
        let mut ratios: Vec<f64> =
            pairs.iter().map(|(base, t)| t.as_secs_f64() / base.as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        Pairs { time: Spread::of(pairs.iter().map(|p| p.1).collect()), ratio: ratios[ratios.len() / 2] }
    }
}

/// A variant's place in the series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Everything is on.
    All,
    /// Everything but this.
    Without(Optimisation),
    /// Nothing is on.
    Nothing,
    /// This one and all before it are on.
    Added(Optimisation),
}

/// All variants: everything on, each optimisation off in turn, then none on, and one more each time.
pub fn variants() -> Vec<(What, Vec<Optimisation>)> {
    let all = Optimisation::ALL;
    let without = |o: Optimisation| (What::Without(o), all.into_iter().filter(|&x| x != o).collect());
    let added = |i: usize| (What::Added(all[i]), all[..=i].to_vec());
    let first = [(What::All, all.to_vec())].into_iter().chain(all.into_iter().map(without));
    first.chain([(What::Nothing, Vec::new())]).chain((0..all.len()).map(added)).collect()
}

/// Times a step of `workload`, of `batch` windows, with each of [`variants`].
///
/// The machine's speed drifts, so `options.samples` steps of a variant alternate with as many that have everything on.
///
/// # Errors
/// If the engine cannot be opened, refuses a kernel, or fails.
pub fn ablation(
    workload: &Workload,
    options: &StepBenchOptions,
    batch: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<(DeviceInfo, Vec<Ablation>), BenchError> {
    let bench = |on: &[Optimisation]| {
        StepBench::with(workload, options, &Optimisation::build(options.storage, on), batch)
    };
    let variants = &variants()[1..];
    let (mut rows, mut base_times, mut base_numbers) = (Vec::new(), Vec::new(), [f64::NAN; 3]);
    let mut device = None;
    for (what, on) in variants {
        // Both are built anew, so that both have taken equally many steps.
        let (mut base, mut variant) = (bench(&Optimisation::ALL)?, bench(on)?);
        base_numbers = base.warm_up(&mut |_| {})?;
        let numbers = variant.warm_up(&mut |_| {})?;
        let mut pairs = Vec::new();
        for i in 0..options.samples {
            let pair = if i % 2 == 0 {
                let before = base.timed()?;
                (before, variant.timed()?)
            } else {
                let after = variant.timed()?;
                (base.timed()?, after)
            };
            pairs.push(pair);
        }
        base_times.extend(pairs.iter().map(|p| p.0));
        rows.push(Ablation { on: on.clone(), what: *what, time: Pairs::new(&pairs), numbers });
        device = Some(base.device().clone());
        progress(rows.len(), variants.len());
    }
    let alone: Vec<_> = base_times.into_iter().map(|t| (t, t)).collect();
    let all = Optimisation::ALL.to_vec();
    rows.insert(0, Ablation { on: all, what: What::All, time: Pairs::new(&alone), numbers: base_numbers });
    Ok((device.ok_or(BenchError::Nothing)?, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_between_the_steps_of_a_pair() {
        let ms = Duration::from_millis;
        // The machine was three times slower during the second pair; the variant always takes twice as long.
        let pairs = Pairs::new(&[(ms(10), ms(20)), (ms(30), ms(60)), (ms(11), ms(22))]);
        assert_eq!((pairs.ratio, pairs.time.median), (2.0, ms(22)));
    }

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
        let all = Optimisation::build(Precision::F16, &Optimisation::ALL);
        assert_eq!((all.host.gradient_lane(), all.host.waits_for_each_layer()), (flow::Lane::Cpu, false));
        assert_eq!(all.plan.kernels().len(), 6);
        let none = Optimisation::build(Precision::F16, &[]);
        assert_eq!((none.host.gradient_lane(), none.host.waits_for_each_layer()), (flow::Lane::Engine, true));
        assert_eq!(none.plan.kernels().len(), 7);
    }
}
