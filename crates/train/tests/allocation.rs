//! How often a step asks for memory once everything has grown.

use ane::{DeviceKind, Pool, SoftOptions, WeightMode};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::sync::Arc;
use train::config::{ModelConfig, init_params};
use train::model::Precision;
use train::optim::{AdamW, Update};
use train::step::{Build, Network, StepGraph, Window};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Steps before counting, and while it is counted.
const WARM_UP: usize = 4;
const STEPS: usize = 20;

/// Allocations that are left of a step, at most. Six are std's: each step starts the thread of the cpu's lane (its
/// closure, its name, its handle, its result, its scope), and two more hand it the captured output of a test. Two keep the
/// pool's threads awake, in the step and in the update. The rest is about one: a block of the pool's queue for every
/// few dozen jobs that threads outside of it hand in.
const LEFT: usize = 12;

/// As [`LEFT`], without those of the lane's thread.
const LEFT_SIDE_BY_SIDE: usize = 4;

/// Layers, kernels, dispatches and optimizer ask for none.
#[test]
fn a_steady_step_allocates_nothing_but_the_start_of_its_lane() {
    for model in ["tiny", "shakespeare"] {
        for (weights, windows) in
            [(WeightMode::Baked, 1), (WeightMode::Dynamic, 1), (WeightMode::Baked, 3), (WeightMode::Baked, 4)]
        {
            let counted = allocations(model, weights, windows);
            // Windows side by side run on the pool's threads: no lane's thread is started.
            let left = if windows > 1 { LEFT_SIDE_BY_SIDE } else { LEFT };
            assert!(
                counted <= left * STEPS,
                "{model}, {weights:?}, {windows} windows: {counted} allocations in {STEPS} steps"
            );
        }
    }
}

/// Allocations of [`STEPS`] steps of forward, backward and update, with `windows` windows a step.
fn allocations(model: &str, weights: WeightMode, windows: usize) -> usize {
    let cfg = ModelConfig::preset(model).expect("a preset");
    let pool = Pool::new(2).expect("threads");
    let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("engine");
    let build = Build { weights, ..Build::train(Precision::F16).windows(windows) };
    let theta = init_params(&cfg, 3);
    let network = Arc::new(Network::new(&cfg, theta, device, pool, &build, &mut |_| {}).expect("network"));
    let graph = StepGraph::new(Arc::clone(&network), windows).expect("schedule");
    let n = cfg.param_count();
    let (mut m, mut v, mut trace) = (vec![0.0; n], vec![0.0; n], flow::Trace::new());
    let optimizer = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0 };
    let tokens: Vec<u32> = (0..=cfg.seq as u32).map(|i| i * i * 7 % cfg.vocab as u32).collect();
    // Windows belong to whoever trains: they are made before anything is counted.
    let mut batches = vec![vec![Window::Tokens(tokens); windows]; WARM_UP + STEPS];
    let mut step = |t: u32| {
        trace.clear();
        graph.run(batches.pop().expect("a batch"), &mut trace).expect("step");
        assert!(network.gradient_norm().expect("a norm").is_finite());
        let update = Update { t, lr: 1e-3, grad_scale: 1.0 / windows as f32 };
        network.apply_update(&optimizer, update, &mut m, &mut v).expect("update");
    };
    (1..=WARM_UP as u32).for_each(&mut step);
    let region = Region::new(ALLOCATOR);
    (1..=STEPS as u32).for_each(&mut step);
    region.change().allocations
}
