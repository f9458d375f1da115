//! Activations as large as those of real checkpoints, in each architecture: with default settings loss and gradient are within
//! 1 % of those in fp32, which are float64's to 1e-4 (`architectures.rs`), or they are refused with layer, value and remedy.

use ane::{DeviceKind, Pool, SoftOptions};
use std::path::Path;
use std::sync::Arc;
use train::config::{ModelConfig, ParamKind, ParamSpec};
use train::formats::{Model, open_model};
use train::model::Precision;
use train::step::{Build, Network, StepError, StepGraph, Window};

const NAMES: [&str; 10] = [
    "llama_bias",
    "qwen2",
    "qwen2_window",
    "qwen3_bias",
    "rope_yarn",
    "smollm3",
    "mistral",
    "gemma",
    "gemma2",
    "gemma3",
];

/// The channel of the residual stream that is large.
const CHANNEL: usize = 3;

fn open(name: &str) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/architectures").join(name);
    let mut model = open_model(&folder, None).expect(name);
    model.config.seq = 24;
    model
}

/// The loss of `model` with weights changed by `change`, and the norm of its gradient.
fn measure(
    model: &Model,
    precision: Precision,
    change: &dyn Fn(&ModelConfig, &ParamSpec, &mut [f32]),
) -> Result<[f64; 2], StepError> {
    let cfg = &model.config;
    let mut theta = model.params.clone();
    for spec in cfg.params() {
        change(cfg, &spec, &mut theta[spec.range()]);
    }
    let network = network(cfg, theta, &Build::train(precision))?;
    let tokens = tokens(cfg);
    let loss = network.evaluate(&tokens)?;
    Ok([loss, step(network, Window::Tokens(tokens))?[1]])
}

fn network(cfg: &ModelConfig, theta: Vec<f32>, build: &Build) -> Result<Network, StepError> {
    let pool = Pool::new(1).expect("threads");
    let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("an engine");
    Network::new(cfg, theta, device, pool, build, &mut |_| {})
}

fn tokens(cfg: &ModelConfig) -> Vec<u32> {
    (0..=cfg.seq as u32).map(|i| i * i * 7 % cfg.vocab as u32).collect()
}

/// The loss of a step on `window`, and the norm of its gradient.
fn step(network: Network, window: Window) -> Result<[f64; 2], StepError> {
    let (network, scale) = (Arc::new(network), 256.0);
    network.set_loss_scale(scale);
    let graph = StepGraph::new(Arc::clone(&network), 1)?;
    let loss = graph.run(vec![window], &mut flow::Trace::new())?;
    Ok([loss, network.gradient_norm()? / f64::from(scale)])
}

/// Compares losses, and norms of gradients if told to, in fp16 with those in fp32, for each architecture; returns the refusals.
fn compare(gradients: bool, change: &dyn Fn(&ModelConfig, &ParamSpec, &mut [f32])) -> Vec<String> {
    let mut refusals = Vec::new();
    for name in NAMES {
        let model = open(name);
        let want = measure(&model, Precision::F32, change).expect("fits into fp32");
        match measure(&model, Precision::F16, change) {
            Ok(got) => {
                println!("{name}: {got:?}, fp32 {want:?}");
                let parts = if gradients { 2 } else { 1 };
                is_near(name, &got[..parts], &want[..parts]);
            }
            Err(error) => {
                let said = format!("{name}: {error}");
                println!("{said}");
                assert!(said.contains("layer ") && said.contains('`') && error.hint().is_some(), "{said}");
                refusals.push(said);
            }
        }
    }
    refusals
}

/// Asserts that loss and norm are within 1 %.
fn is_near(name: &str, got: &[f64], want: &[f64]) {
    let near = got.iter().zip(want).all(|(got, want)| (got - want).abs() <= 0.01 * want);
    assert!(near, "{name}: loss and gradient norm {got:?}, in fp32 {want:?}");
}

/// Multiplies what a norm of this kind multiplies with.
fn scale_norm(cfg: &ModelConfig, weight: &mut [f32], factor: f32) {
    let offset = cfg.variant.family.norm_offset() as f32;
    weight.iter_mut().for_each(|w| *w = (*w + offset) * factor - offset);
}

#[test]
fn large_channels_of_the_residual_stream() {
    for size in [2e4, 6e4] {
        let refusals = compare(true, &|cfg, spec, weight| match spec.kind {
            ParamKind::Embedding => {
                let large = size / cfg.embedding_scale();
                weight.chunks_mut(cfg.dim).for_each(|row| row[CHANNEL] = large);
            }
            ParamKind::AttentionNorm | ParamKind::FeedForwardNorm | ParamKind::FinalNorm => {
                // As in real checkpoints: the norms make up for it.
                scale_norm(cfg, weight, 1000.0);
                weight[CHANNEL] = 0.001 - cfg.variant.family.norm_offset() as f32;
            }
            _ => {}
        });
        assert!(refusals.is_empty(), "{refusals:?}");
    }
}

/// Scores have steps of up to 16 then: the gradient of a token whose two largest are nearer is not to be had in fp16.
#[test]
fn large_scores() {
    let refusals = compare(false, &|cfg, spec, weight| match spec.kind {
        ParamKind::QueryNorm | ParamKind::KeyNorm => scale_norm(cfg, weight, 100.0),
        ParamKind::Wq | ParamKind::Wk | ParamKind::Bq | ParamKind::Bk if !cfg.qk_norm => {
            weight.iter_mut().for_each(|w| *w *= 140.0);
        }
        _ => {}
    });
    assert!(refusals.is_empty(), "{refusals:?}");
}

/// Makes scores -42 000 at each token itself, less on one side of it and up to 60 000 on the other: after it if `side` is 1,
/// before it if -1.
fn rising(cfg: &ModelConfig, spec: &ParamSpec, weight: &mut [f32], side: f32) {
    let e = cfg.head_dim;
    // The second pair of channels turns by 0.15 to 0.3 for each token.
    let (size, angle) = ((6e4 * (e as f32).sqrt()).sqrt(), 0.75 * std::f32::consts::PI);
    let [x, y] = match spec.kind {
        ParamKind::Bq => [1.0, 0.0],
        ParamKind::Bk => [angle.cos(), -side * angle.sin()],
        _ => return,
    };
    weight.fill(0.0);
    for head in weight.chunks_mut(e) {
        (head[1], head[1 + e / 2]) = (size * x, size * y);
    }
}

/// Scores of -42 000 at each token itself, less before it and up to 60 000 after it: what the mask hides must stay below
/// what it shows.
#[test]
fn hidden_scores_far_above_visible_ones() {
    for name in ["qwen2", "llama_bias"] {
        let model = open(name);
        let change = |cfg: &ModelConfig, spec: &ParamSpec, weight: &mut [f32]| rising(cfg, spec, weight, 1.0);
        let [want, got] =
            [Precision::F32, Precision::F16].map(|p| measure(&model, p, &change).expect("fits"));
        println!("{name}: {got:?}, fp32 {want:?}");
        is_near(name, &got, &want);
    }
}

#[test]
fn large_gated_products() {
    let by = |factor: f32| {
        compare(true, &|cfg, spec, weight| match spec.kind {
            ParamKind::W1 | ParamKind::W3 if spec.layer == Some(cfg.layers - 1) => {
                weight.iter_mut().for_each(|w| *w *= factor);
            }
            _ => {}
        })
    };
    let refusals = by(60.0);
    assert!(refusals.is_empty(), "{refusals:?}");
    // Beyond fp16: named, never a wrong number.
    let refusals = by(2000.0);
    assert_eq!(refusals.len(), NAMES.len(), "{refusals:?}");
    assert!(refusals.iter().all(|said| said.contains("`gate") && said.contains("fp16")), "{refusals:?}");
}

/// As above before each token, where only the documents of a window hide: what an earlier one has must stay hidden.
#[test]
fn scores_of_earlier_documents_far_above_visible_ones() {
    for name in ["qwen2", "qwen2_window", "llama_bias"] {
        let Model { config: cfg, params, .. } = open(name);
        let of = |precision: Precision, starts: Vec<usize>| {
            let mut theta = params.clone();
            cfg.params().iter().for_each(|spec| rising(&cfg, spec, &mut theta[spec.range()], -1.0));
            let network = network(&cfg, theta, &Build::train(precision).documents(true)).expect("fits");
            let weights = vec![1.0; cfg.seq];
            step(network, Window::Weighted { tokens: tokens(&cfg), starts, weights }).expect("fits")
        };
        let each = || (0..cfg.seq).collect();
        let [want, got, one] =
            [(Precision::F32, each()), (Precision::F16, each()), (Precision::F32, vec![0])]
                .map(|(precision, starts)| of(precision, starts));
        println!("{name}: {got:?}, fp32 {want:?}; as one document {one:?}");
        is_near(name, &got, &want);
        assert!((one[0] - want[0]).abs() > 0.02 * want[0], "{name}: documents change nothing: {one:?}");
    }
}
