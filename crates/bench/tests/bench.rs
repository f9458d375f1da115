//! Measured steps are the steps that other programs take.

use bench::{StepBench, StepBenchOptions, StepTimes, Workload};
use std::time::Duration;
use train::config::ModelConfig;
use train::model::{Norms, Precision};

fn measure(model: &str, threads: usize, math: ane::MatmulPrecision, storage: Precision) -> StepTimes {
    let workload = Workload::new(ModelConfig::preset(model).expect("a preset"));
    let device = ane::DeviceOptions { math, ..ane::DeviceKind::Soft.into() };
    let options = StepBenchOptions {
        threads,
        start: Norms::Engine.into(),
        device,
        storage,
        batch: 1,
        samples: 1,
        budget: Duration::ZERO,
    };
    let bench = StepBench::new(workload, &options, &mut |_| {}).expect("compiles");
    bench.run(&options, &mut |_, _| {}).expect("runs")
}

/// What PyTorch 2.15, JAX 0.10.2, candle 0.11.1 and burn 0.22.1 agree on (benches/peers): loss, norm of the gradient, and
/// loss after three steps of Adam. In fp32 to their six digits; fp16 storage moves the last loss by 4e-4 of itself.
#[test]
fn the_layer_takes_the_steps_that_its_peers_take() {
    let want = [-1.132328, 16.54098, -10.58510];
    for (storage, tolerance) in [(Precision::F32, 2e-6), (Precision::F16, 5e-4)] {
        let times = measure("layer768", 2, ane::MatmulPrecision::F32, storage);
        for (got, want) in [times.loss0, times.gradient_norm, times.loss3].into_iter().zip(want) {
            assert!((got / want - 1.0).abs() < tolerance, "{storage:?}: {got}, not {want}");
        }
    }
}

#[test]
fn threads_do_not_change_a_bit_of_a_step() {
    let run = |threads| {
        let t = measure("tiny", threads, ane::MatmulPrecision::F32, Precision::F16);
        [t.loss0, t.gradient_norm, t.loss3].map(f64::to_bits)
    };
    assert_eq!(run(1), run(2));
    assert_eq!(run(1), run(3));
}

/// bf16 has 8 bits: sums of many rounded products are good to a thousandth, as PyTorch's are (benches/peers). Integers
/// have 12, of the largest of 128.
#[test]
fn rounded_products_take_about_the_same_steps_or_are_refused_by_name() {
    for (math, close) in [(ane::MatmulPrecision::Bf16, 2e-3), (ane::MatmulPrecision::Int16, 2e-4)] {
        let device = ane::DeviceOptions { math, ..ane::DeviceKind::Soft.into() };
        let options = ane::SoftOptions::threads(1).expect("threads");
        match ane::open(device, options) {
            Ok(device) => {
                assert!(device.info().name.contains(math.name()), "{}", device.info().name);
                let [exact, rounded] =
                    [ane::MatmulPrecision::F32, math].map(|math| measure("tiny", 2, math, Precision::F16));
                for (got, want) in [(rounded.loss0, exact.loss0), (rounded.loss3, exact.loss3)] {
                    assert!((got / want - 1.0).abs() < close, "{math:?}: {got} {want}");
                }
                assert_ne!(rounded.loss3.to_bits(), exact.loss3.to_bits());
            }
            Err(refused) => {
                let name = format!("products in {} need AVX-512", math.name());
                assert!(refused.to_string().starts_with(&name), "{refused}");
            }
        }
    }
}
