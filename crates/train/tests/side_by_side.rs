//! Windows of a step side by side give the bits of windows one after the other.

use ane::{DeviceKind, Pool, SoftOptions, WeightMode};
use std::sync::Arc;
use train::config::{Bias, ModelConfig, Task, Variant, init_params};
use train::model::Precision;
use train::optim::{AdamW, Optimizer, OptimizerState, Update};
use train::step::{Build, Network, StepGraph, Window};

/// A window of tokens, or of activations for a model without a vocabulary; another one for each `seed`.
fn window(cfg: &ModelConfig, seed: usize) -> Window {
    if cfg.task == Task::Language {
        let token = |i: usize| ((i * i * 7 + 31 * seed + i * seed) % cfg.vocab) as u32;
        return Window::Tokens((0..=cfg.seq).map(token).collect());
    }
    let values = |shift: usize| {
        (0..cfg.dim * cfg.seq).map(move |i| ((i * 37 + shift * 101 + seed * 13) % 97) as f32 / 97.0 - 0.5)
    };
    Window::Sample { x: values(1).collect(), target: values(2).collect() }
}

/// What a run of some steps leaves: the bits of each loss, of all gradients of the last step, and of the weights.
#[derive(PartialEq)]
struct Left {
    losses: Vec<u64>,
    gradients: Vec<(String, Vec<u32>)>,
    norm: u64,
    weights: Vec<u32>,
}

fn network(cfg: &ModelConfig, build: &Build, threads: usize) -> Arc<Network> {
    let pool = Pool::new(threads).expect("threads");
    let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("engine");
    Arc::new(Network::new(cfg, init_params(cfg, 3), device, pool, build, &mut |_| {}).expect("network"))
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Three steps of `windows` windows.
fn left(network: &Arc<Network>, windows: usize) -> Left {
    let cfg = &network.cfg;
    let graph = StepGraph::new(Arc::clone(network), windows).expect("schedule");
    let workers = graph.plan().lanes().filter(|lane| matches!(lane, flow::Lane::Worker(_))).count();
    assert!(workers == 0 || workers == graph.plan().lanes().count(), "a lane beside the workers");
    let (mut state, mut trace) = (OptimizerState::new(cfg.param_count()), flow::Trace::new());
    let adamw = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
    let optimizer = Optimizer::from(adamw);
    let mut losses = Vec::new();
    let mut norm = 0.0;
    for t in 1..=3 {
        let batch = (0..windows).map(|i| window(cfg, 10 * t as usize + i)).collect();
        losses.push(graph.run(batch, &mut trace).expect("step").to_bits());
        norm = network.gradient_norm().expect("a norm");
        let update = Update { t, lr: 1e-2, grad_scale: 1.0 / (network.loss_scale() * windows as f32) };
        network.apply_update(&optimizer, update, &mut state).expect("update");
    }
    assert!(norm.is_finite() && norm > 0.0);
    let gradient = |name: &String| bits(&network.gradient(name).expect("a gradient"));
    let names = network.params.specs().map(|spec| spec.name.clone());
    let gradients = names.map(|name| (name.clone(), gradient(&name))).collect();
    let weights = bits(&network.params.theta.read().expect("no run"));
    Left { losses, gradients, norm: norm.to_bits(), weights }
}

fn models() -> Vec<(&'static str, ModelConfig)> {
    let tiny = ModelConfig::preset("tiny").expect("a preset");
    let biased = Variant { bias: Bias { qkv: true, out: true, mlp: true }, ..Variant::default() };
    vec![
        ("tiny", tiny.clone()),
        (
            "norms of queries and keys, an own classifier",
            ModelConfig { qk_norm: true, tied: false, ..tiny.clone() },
        ),
        ("biases", ModelConfig { variant: biased, ..tiny.clone() }),
        ("regression", ModelConfig { task: Task::Regression, vocab: 0, tied: false, ..tiny }),
    ]
}

#[test]
fn side_by_side_leaves_the_bits_of_one_after_the_other() {
    for (name, cfg) in models() {
        for precision in [Precision::F16, Precision::F32] {
            for windows in [2, 3, 9] {
                let alone = network(&cfg, &Build::train(precision).windows(windows), 1);
                assert_eq!(alone.buffers.in_flight(), 1);
                let want = left(&alone, windows);
                for threads in [2, 3, 8] {
                    let beside = network(&cfg, &Build::train(precision).windows(windows), threads);
                    assert_eq!(beside.buffers.in_flight(), threads.min(windows));
                    let got = left(&beside, windows);
                    let at = format!("{name}, {precision:?}, {windows} windows, {threads} threads");
                    assert!(got.losses == want.losses, "{at}: losses");
                    for ((name, got), (_, want)) in got.gradients.iter().zip(&want.gradients) {
                        assert!(got == want, "{at}: gradient of {name}");
                    }
                    assert!(got == want, "{at}: norm or weights");
                }
            }
        }
    }
}

#[test]
fn a_schedule_of_fewer_windows_uses_fewer_workers() {
    let cfg = ModelConfig::preset("tiny").expect("a preset");
    let network = network(&cfg, &Build::train(Precision::F16).windows(4), 3);
    assert_eq!(network.buffers.in_flight(), 3);
    for (windows, workers) in [(1, 1), (2, 2), (3, 3), (7, 3)] {
        let graph = StepGraph::new(Arc::clone(&network), windows).expect("schedule");
        assert_eq!(graph.workers(), workers, "{windows} windows");
        let lanes = graph.plan().lanes().filter(|lane| matches!(lane, flow::Lane::Worker(_))).count();
        assert_eq!(lanes, if workers > 1 { workers } else { 0 }, "{windows} windows");
    }
}

#[test]
fn weights_on_surfaces_keep_one_window_in_flight() {
    let cfg = ModelConfig::preset("tiny").expect("a preset");
    let build = Build { weights: WeightMode::Dynamic, ..Build::train(Precision::F16).windows(4) };
    assert_eq!(
        network(&cfg, &build, 3).buffers.in_flight(),
        1,
        "each set of surfaces would need the weights"
    );
    let alone = network(&cfg, &Build::infer(Precision::F16).windows(4), 3);
    assert_eq!(alone.buffers.in_flight(), 1, "a model that is not trained has no step");
}

#[test]
fn a_pool_that_is_busy_elsewhere_runs_the_same_step() {
    let cfg = ModelConfig::preset("tiny").expect("a preset");
    let build = Build::train(Precision::F16).windows(3);
    let (free, taken) = (network(&cfg, &build, 2), network(&cfg, &build, 2));
    let want = left(&free, 3);
    let got = taken.pool().clone().busy(|| left(&taken, 3));
    assert!(got == want, "within work that keeps the pool's threads awake");
}

#[test]
fn an_error_of_a_window_ends_the_step_and_the_next_one_runs() {
    let cfg = ModelConfig::preset("tiny").expect("a preset");
    let network = network(&cfg, &Build::train(Precision::F16).windows(3), 2);
    let graph = StepGraph::new(Arc::clone(&network), 3).expect("schedule");
    let bad = Window::Tokens(vec![cfg.vocab as u32; cfg.seq + 1]);
    let mut trace = flow::Trace::new();
    let mut loss = |second: Window| graph.run(vec![window(&cfg, 1), second, window(&cfg, 3)], &mut trace);
    let first = loss(window(&cfg, 2)).expect("a step");
    let error = loss(bad).expect_err("a token outside of the vocabulary");
    assert!(error.to_string().contains(&cfg.vocab.to_string()), "{error}");
    assert_eq!(loss(window(&cfg, 2)).expect("a step").to_bits(), first.to_bits());
}
