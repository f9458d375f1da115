//! Steps of a model with a large vocabulary.

use super::super::{Build, Network, StepGraph, Window};
use crate::config::{Linear, Lora, ModelConfig, Trainable, init_params};
use crate::model::Precision;
use ane::{DeviceKind, Pool, SoftOptions};
use flow::Trace;
use std::sync::Arc;

/// As many tokens as Gemma's vocabulary has, and one of the narrowest models.
fn config(tied: bool) -> ModelConfig {
    let (dim, hidden, heads, head_dim) = (8, 8, 1, 8);
    let (vocab, seq, layers, kv_heads) = (262_144, 128, 1, 1);
    let tiny = ModelConfig::preset("tiny").unwrap();
    ModelConfig { dim, hidden, heads, kv_heads, head_dim, vocab, seq, layers, tied, ..tiny }
}

/// Runs a step, and returns the network with its loss.
fn step(cfg: &ModelConfig, trainable: Trainable) -> (Arc<Network>, f64) {
    let pool = Pool::new(2).unwrap();
    let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).unwrap();
    let mut theta = init_params(cfg, 3);
    theta.resize(trainable.table(cfg).last().map_or(0, |spec| spec.range().end), 0.01);
    let build = Build::train(Precision::F16).trainable(trainable);
    let network = Network::new(cfg, theta, device, pool, &build, &mut |_| {}).unwrap();
    let network = Arc::new(network);
    let graph = StepGraph::new(Arc::clone(&network), 1).unwrap();
    let tokens = (0..=cfg.seq).map(|t| (t * 7919 % cfg.vocab) as u32).collect();
    let loss = graph.run(vec![Window::Tokens(tokens)], &mut Trace::new()).unwrap();
    (network, loss)
}

/// Elements of the largest buffer of the head.
fn largest(network: &Network) -> usize {
    let window = network.buffers.first();
    let scratches = window.scratch.read().unwrap().iter().map(|scratch| scratch.bytes() / 4).max().unwrap();
    let logits = window.logits.read().unwrap().len();
    logits.max(scratches).max(window.head_stats.read().unwrap().bytes() / 4)
}

#[test]
fn a_large_vocabulary_is_trained_without_all_logits_of_a_window() {
    for tied in [true, false] {
        let cfg = config(tied);
        let (network, loss) = step(&cfg, Trainable::default());
        // Logits of a new model are near 0.
        assert!((loss - (cfg.vocab as f64).ln()).abs() < 0.1, "{loss}");
        let norm = network.gradient_norm().unwrap();
        assert!(norm.is_finite() && norm > 0.0, "{norm}");
        // Half of the positions at a time.
        assert_eq!(largest(&network), cfg.vocab * cfg.seq / 2, "tied: {tied}");
        let whole =
            network.evaluate(&(0..=cfg.seq).map(|t| (t * 7919 % cfg.vocab) as u32).collect::<Vec<_>>());
        assert!((whole.unwrap() - loss).abs() < 1e-5, "the loss alone");
    }
}

#[test]
fn a_frozen_classifier_stores_no_logits() {
    let cfg = config(true);
    let (targets, rank) = (vec![Linear::ALL[0]], 2);
    let lora = Lora { rank, alpha: 4.0, rank_stabilised: false, targets, first_layer: 0, dropout: 0.0 };
    let (network, loss) = step(&cfg, Trainable { lora: Some(lora), ..Trainable::default() });
    assert!((loss - (cfg.vocab as f64).ln()).abs() < 0.1, "{loss}");
    let norm = network.gradient_norm().unwrap();
    assert!(norm.is_finite() && norm > 0.0, "{norm}");
    // The sums of the gradient of S rows.
    assert!(largest(&network) < cfg.vocab, "{}", largest(&network));
    let embedding = &network.params.iter().find(|param| param.spec.layer.is_none()).unwrap();
    assert!(!embedding.is_in_theta(), "a frozen embedding is in half precision");
    assert_eq!(
        network.params.bytes(),
        2 * cfg.vocab * cfg.dim + 4 * network.params.theta.read().unwrap().len()
    );
}
