//! How often a step asks for memory once everything has grown.

use ane::{DeviceKind, Pool, SoftOptions, WeightMode};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::sync::Arc;
use train::config::{Linear, Lora, ModelConfig, Trainable, init_params};
use train::model::Precision;
use train::optim::{Adafactor, AdamW, Lion, Muon, Optimizer, OptimizerState, Rule, Update};
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

const MUON: Muon = Muon { lr_ratio: 10.0, momentum: 0.95, weight_decay: 0.1, iterations: 3 };

/// Layers, kernels, dispatches and optimizers ask for none.
#[test]
fn a_steady_step_allocates_nothing_but_the_start_of_its_lane() {
    let cases =
        [(WeightMode::Baked, 1), (WeightMode::Dynamic, 1), (WeightMode::Baked, 3), (WeightMode::Baked, 4)];
    let adamw = Optimizer::from(AdamW::default());
    let muon = Optimizer { muon: Some(MUON), ..adamw };
    let adafactor = Optimizer { rule: Rule::Adafactor(Adafactor { weight_decay: 0.1 }), muon: None };
    let lion =
        Optimizer { rule: Rule::Lion(Lion { beta1: 0.9, beta2: 0.99, weight_decay: 0.1 }), muon: None };
    for (model, optimizers) in
        [("tiny", [muon, lion, muon, adafactor]), ("shakespeare", [adamw, muon, adafactor, muon])]
    {
        for ((weights, windows), optimizer) in cases.into_iter().zip(optimizers) {
            let cfg = ModelConfig::preset(model).expect("a preset");
            let counted = allocations(&cfg, &Trainable::default(), (weights, windows), optimizer);
            // Windows side by side run on the pool's threads: no lane's thread is started.
            let left = if windows > 1 { LEFT_SIDE_BY_SIDE } else { LEFT };
            assert!(
                counted <= left * STEPS,
                "{model}, {weights:?}, {windows} windows, {optimizer:?}: {counted} allocations in {STEPS} steps"
            );
        }
    }
    heads_of_large_vocabularies_allocate_nothing();
}

/// The head stores the logits of some positions at a time, or none if the classifier is frozen. Not a test of its own: the
/// allocator counts for the whole process.
fn heads_of_large_vocabularies_allocate_nothing() {
    let tiny = ModelConfig::preset("tiny").expect("a preset");
    let (dim, hidden, heads, kv_heads, head_dim) = (8, 8, 1, 1, 8);
    let cfg =
        ModelConfig { dim, hidden, heads, kv_heads, head_dim, vocab: 262_144, seq: 96, layers: 1, ..tiny };
    let lora = Lora {
        rank: 2,
        alpha: 2.0,
        rank_stabilised: false,
        targets: Linear::ALL.to_vec(),
        first_layer: 0,
        dropout: 0.0,
    };
    for lora in [None, Some(lora)] {
        let what = if lora.is_some() { "adapters" } else { "all weights" };
        let trainable = Trainable { lora, ..Trainable::default() };
        let counted =
            allocations(&cfg, &trainable, (WeightMode::Baked, 1), Optimizer::from(AdamW::default()));
        assert!(counted <= LEFT * STEPS, "{what}: {counted} allocations in {STEPS} steps");
    }
}

/// Allocations of [`STEPS`] steps of forward, backward and update, with `windows` windows a step.
fn allocations(
    cfg: &ModelConfig,
    trainable: &Trainable,
    (weights, windows): (WeightMode, usize),
    optimizer: Optimizer,
) -> usize {
    let pool = Pool::new(2).expect("threads");
    let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("engine");
    let build =
        Build { weights, ..Build::train(Precision::F16).windows(windows).trainable(trainable.clone()) };
    let mut theta = init_params(cfg, 3);
    theta.resize(trainable.table(cfg).last().map_or(0, |spec| spec.range().end), 0.01);
    let network = Arc::new(Network::new(cfg, theta, device, pool, &build, &mut |_| {}).expect("network"));
    let graph = StepGraph::new(Arc::clone(&network), windows).expect("schedule");
    let (mut state, mut trace) = (OptimizerState::new(network.params.trained_count()), flow::Trace::new());
    let tokens: Vec<u32> = (0..=cfg.seq as u32).map(|i| i * i * 7 % cfg.vocab as u32).collect();
    // Windows belong to whoever trains: they are made before anything is counted.
    let mut batches = vec![vec![Window::Tokens(tokens); windows]; WARM_UP + STEPS];
    let mut step = |t: u32| {
        trace.clear();
        graph.run(batches.pop().expect("a batch"), &mut trace).expect("step");
        assert!(network.gradient_norm().expect("a norm").is_finite());
        let update = Update { t, lr: 1e-3, grad_scale: 1.0 / windows as f32 };
        network.apply_update(&optimizer, update, &mut state).expect("update");
    };
    (1..=WARM_UP as u32).for_each(&mut step);
    let region = Region::new(ALLOCATOR);
    (1..=STEPS as u32).for_each(&mut step);
    region.change().allocations
}
