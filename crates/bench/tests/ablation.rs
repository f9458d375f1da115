//! Whatever is switched off, the step computes the same.

use bench::{Optimisation, StepBench, StepBenchOptions, Workload, variants};
use std::time::Duration;
use train::config::ModelConfig;
use train::model::{Norms, Precision};

/// Loss, norm of the gradient, and loss after three steps.
fn numbers(cfg: &ModelConfig, storage: Precision, on: &[Optimisation], batch: usize) -> [f64; 3] {
    let device = ane::DeviceOptions::from(ane::DeviceKind::Soft);
    let options = StepBenchOptions {
        threads: 2,
        start: Norms::Engine.into(),
        device,
        storage,
        batch: 1,
        samples: 1,
        budget: Duration::ZERO,
    };
    let workload = Workload::new(cfg.clone());
    let bench =
        StepBench::with(&workload, &options, &Optimisation::build(storage, on), batch).expect("compiles");
    let times = bench.run(&options, &mut |_, _| {}).expect("runs");
    [times.loss0, times.gradient_norm, times.loss3]
}

/// Models of text and one of activations alone; sizes that no block divides.
fn models() -> [ModelConfig; 3] {
    let tiny = ModelConfig::preset("tiny").expect("a preset");
    let layer = ModelConfig {
        dim: 48,
        hidden: 80,
        heads: 3,
        kv_heads: 3,
        head_dim: 16,
        seq: 24,
        ..ModelConfig::preset("layer768").expect("a preset")
    };
    [ModelConfig { qk_norm: true, ..tiny.clone() }, tiny, layer]
}

/// Layout, loops, lanes, waits and the cut at Woᵀ change no number: the same products and sums in the same order, and
/// what crosses from kernel to kernel is rounded to fp16 inside a kernel as well. So these agree bit by bit.
#[test]
fn what_changes_no_arithmetic_changes_no_bit() {
    for (cfg, batch) in models().into_iter().zip([1, 2, 2]) {
        for fused in [true, false] {
            let same = variants().into_iter().filter(|v| v.1.contains(&Optimisation::FusedNorms) == fused);
            let mut want = None;
            for (what, on) in same {
                let got = numbers(&cfg, Precision::F16, &on, batch).map(f64::to_bits);
                assert_eq!(got, *want.get_or_insert(got), "{what:?} of {cfg:?}");
            }
        }
    }
}

/// A norm on the host is f32 and is rounded once, in a kernel each of its operations is: in fp16 that is some 2⁻¹¹ of a
/// value, of which losses keep less; with f32 programs only the order of sums differs.
#[test]
fn norms_on_the_host_change_no_more_than_roundings() {
    for cfg in models() {
        for (storage, tolerance) in [(Precision::F16, 2e-3), (Precision::F32, 2e-5)] {
            let [want, got] = [&Optimisation::ALL[..], &[]].map(|on| numbers(&cfg, storage, on, 1));
            for (got, want) in got.into_iter().zip(want) {
                assert!((got / want - 1.0).abs() < tolerance, "{storage:?}: {got}, not {want}");
            }
        }
    }
}
