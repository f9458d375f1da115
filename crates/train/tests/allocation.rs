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

/// Layers, kernels, dispatches and optimizer ask for none.
#[test]
fn a_steady_step_allocates_nothing_but_the_start_of_its_lane() {
    let both = [WeightMode::Baked, WeightMode::Dynamic];
    for (model, weights) in ["tiny", "shakespeare"].into_iter().flat_map(|model| both.map(|w| (model, w))) {
        let counted = allocations(model, weights);
        assert!(counted <= LEFT * STEPS, "{model}, {weights:?}: {counted} allocations in {STEPS} steps");
    }
}

/// Allocations of [`STEPS`] steps of forward, backward and update.
fn allocations(model: &str, weights: WeightMode) -> usize {
    let cfg = ModelConfig::preset(model).expect("a preset");
    let pool = Pool::new(2).expect("threads");
    let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("engine");
    let build = Build { weights, ..Build::train(Precision::F16) };
    let theta = init_params(&cfg, 3);
    let network = Arc::new(Network::new(&cfg, theta, device, pool, &build, &mut |_| {}).expect("network"));
    let graph = StepGraph::new(Arc::clone(&network), 1).expect("schedule");
    let n = cfg.param_count();
    let (mut m, mut v, mut trace) = (vec![0.0; n], vec![0.0; n], flow::Trace::new());
    let optimizer = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0 };
    let tokens: Vec<u32> = (0..=cfg.seq as u32).map(|i| i * i * 7 % cfg.vocab as u32).collect();
    // Windows belong to whoever trains: they are made before anything is counted.
    let mut windows = vec![vec![Window::Tokens(tokens)]; WARM_UP + STEPS];
    let mut step = |t: u32| {
        trace.clear();
        graph.run(windows.pop().expect("a window"), &mut trace).expect("step");
        assert!(network.gradient_norm().expect("a norm").is_finite());
        let update = Update { t, lr: 1e-3, grad_scale: 1.0 };
        network.apply_update(&optimizer, update, &mut m, &mut v).expect("update");
    };
    (1..=WARM_UP as u32).for_each(&mut step);
    let region = Region::new(ALLOCATOR);
    (1..=STEPS as u32).for_each(&mut step);
    region.change().allocations
}
