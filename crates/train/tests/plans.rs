//! A plan decides which kernel computes what, never what is computed: other plans give the same gradients.

use ane::{DeviceKind, Pool, SoftOptions};
use mil::Scope;
use mil::ir::Phase;
use mil::pass::Selection;
use std::sync::Arc;
use train::config::{ModelConfig, init_params};
use train::model::{KernelPlan, Precision};
use train::step::{Build, Network, StepGraph, Window};

fn kernel(name: &str, forward: &[&str], backward: &[&str]) -> Selection {
    let scope = |phase| move |name: &&str| Scope { name: (*name).into(), phase };
    let scopes = forward.iter().map(scope(Phase::Forward)).chain(backward.iter().map(scope(Phase::Backward)));
    Selection { name: name.to_owned(), scopes: scopes.collect() }
}

/// Loss, dispatches and all gradients of one window.
fn gradients(cfg: &ModelConfig, plan: KernelPlan) -> (f64, u64, Vec<Vec<f32>>) {
    let pool = Pool::new(2).expect("threads");
    let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("engine");
    let build = Build { plan, ..Build::train(Precision::F32) };
    let theta = init_params(cfg, 3);
    let network = Arc::new(Network::new(cfg, theta, device, pool, &build, &mut |_| {}).expect("network"));
    let graph = StepGraph::new(Arc::clone(&network), 1).expect("schedule");
    let tokens = (0..=cfg.seq as u32).map(|i| i * i * 7 % cfg.vocab as u32).collect();
    let loss = graph.run(vec![Window::Tokens(tokens)], &mut flow::Trace::new()).expect("step");
    let gradients = network.params.specs().map(|p| network.gradient(&p.name).expect("gradient")).collect();
    (loss, network.take_engine_time().1, gradients)
}

#[test]
fn windows_of_another_length_are_refused() {
    let cfg = ModelConfig::preset("tiny").expect("a preset");
    let pool = Pool::new(1).expect("threads");
    let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("engine");
    let theta = init_params(&cfg, 3);
    let build = Build::train(Precision::F16);
    let network = Network::new(&cfg, theta, device, pool, &build, &mut |_| {}).expect("network");
    let graph = StepGraph::new(Arc::new(network), 1).expect("schedule");
    let run = |windows| graph.run(windows, &mut flow::Trace::new()).expect_err("refused").to_string();
    assert!(run(vec![Window::Tokens(vec![1; cfg.seq])]).contains("windows of 33 values, one of 32"));
    assert!(run(vec![]).contains("for 1 windows, 0"));
    let sample = Window::Sample { x: vec![0.0; cfg.dim * cfg.seq], target: vec![0.0] };
    assert!(run(vec![sample]).contains("one of 1 is given"));
}

#[test]
fn other_plans_give_the_same_gradients() {
    let cfg = ModelConfig { qk_norm: true, ..ModelConfig::preset("tiny").expect("a preset") };
    let six = KernelPlan::six();
    let fused = KernelPlan {
        backward: vec![
            six.backward[0].clone(),
            kernel(
                "sdpaBwd",
                &["scale", "scores", "softmax"],
                &["out", "mix", "softmax", "scores", "scale", "rope"],
            ),
            six.backward[3].clone(),
        ],
        ..six.clone()
    };
    let finer = KernelPlan {
        forward: vec![
            kernel("qkv", &["norm1", "qkv", "qk_norm", "rope"], &[]),
            kernel("attention", &["scale", "scores", "softmax", "mix", "out"], &[]),
            kernel("up", &["norm2", "up"], &[]),
            kernel("down", &["silu", "gate", "down"], &[]),
        ],
        ..six.clone()
    };
    // Nothing is computed again: probabilities and SiLU are tapped.
    let tapped = KernelPlan {
        backward: vec![
            kernel("ffnBwd", &[], &["down", "gate", "silu", "up"]),
            kernel("sdpaBwd1", &[], &["out", "mix"]),
            six.backward[2].clone(),
            six.backward[3].clone(),
        ],
        ..six.clone()
    };
    let (loss, dispatches, want) = gradients(&cfg, six);
    assert_eq!(dispatches, 6 * cfg.layers as u64);
    for (name, plan, kernels) in [("fused", fused, 5), ("finer", finer, 8), ("tapped", tapped, 6)] {
        let (other_loss, dispatches, got) = gradients(&cfg, plan);
        assert_eq!(dispatches, kernels * cfg.layers as u64, "{name}");
        assert!((loss - other_loss).abs() < 1e-6, "{name}: loss {other_loss}, with six kernels {loss}");
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let size = |v: &[f32]| v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let off: Vec<f32> = got.iter().zip(want).map(|(a, b)| a - b).collect();
            // f32: what differs is the order of some sums.
            assert!(size(&off) <= 1e-5 * size(want), "{name}: gradient {i} differs");
        }
    }
}
