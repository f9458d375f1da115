//! Adapters beside PEFT's, on `tests/lora`: see `record.py` there.

mod tiny_models;

use ane::{DeviceKind, DeviceOptions, SoftOptions, WeightMode};
use host::dropout::Draw;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tiny_models::{NAMES, folder};
use train::config::{Linear, Lora, ModelConfig, ParamKind, Trainable};
use train::formats::{AdapterRef, Model, ModelRef, open_model};
use train::model::Precision;
use train::step::{Build, Network, StepGraph, Window};

/// The folder with the adapters called `name`.
fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/lora").join(name)
}

/// The f32 tensors of a file.
struct Tensors(Vec<u8>);

impl Tensors {
    fn read(path: &Path) -> Tensors {
        Tensors(std::fs::read(path).expect("a file"))
    }

    fn words(&self, name: &str) -> Vec<[u8; 4]> {
        let file = SafeTensors::deserialize(&self.0).expect("safetensors");
        file.tensor(name).expect(name).data().as_chunks::<4>().0.to_vec()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.words(name).into_iter().map(f32::from_le_bytes).collect()
    }
}

fn tokens(model: &str) -> Vec<u32> {
    let file = Tensors::read(&folder(model).join("expected.safetensors"));
    file.words("tokens").into_iter().map(u32::from_le_bytes).collect()
}

/// The relative L2 error.
fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: f32| f64::from(x).powi(2);
    let off: f64 = got.iter().zip(want).map(|(a, b)| square(a - b)).sum();
    (off / want.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
}

fn network(cfg: &ModelConfig, theta: Vec<f32>, build: &Build, weights: WeightMode) -> Arc<Network> {
    let pool = ane::Pool::new(2).expect("threads");
    let wanted = DeviceOptions { weights, ..DeviceKind::Soft.into() };
    let device = ane::open(wanted, SoftOptions { pool: pool.clone() }).expect("an engine");
    let build = Build { weights, ..build.clone() };
    let network = Network::new(cfg, theta, device, pool, &build, &mut |_| {}).expect("a network");
    network.set_loss_scale(256.0);
    Arc::new(network)
}

/// `[1, S, V]`, as transformers has them.
fn logits(network: &Network, tokens: &[u32]) -> Vec<f32> {
    let rows = network.logits(tokens).expect("logits");
    let (seq, vocab) = (network.cfg.seq, network.cfg.vocab);
    (0..seq * vocab).map(|at| rows[at % vocab * seq + at / vocab]).collect()
}

fn adapters() -> Trainable {
    let lora = Lora {
        rank: 3,
        alpha: 6.0,
        rank_stabilised: false,
        dropout: 0.0,
        targets: Linear::ALL.to_vec(),
        first_layer: 0,
    };
    Trainable { lora: Some(lora), ..Trainable::default() }
}

/// The model called `name` for windows of its recorded tokens, with the weights of its recorded adapter last.
fn adapted(name: &str, trainable: &Trainable) -> (ModelConfig, Vec<f32>) {
    let Model { config, mut params, .. } = open_model(&folder(name), None).expect(name);
    let cfg = ModelConfig { seq: tokens(name).len() - 1, ..config };
    let file = Tensors::read(&recorded(name).join("adapter_model.safetensors"));
    for spec in trainable.table(&cfg).iter().filter(|spec| spec.kind.is_adapter()) {
        assert_eq!(params.len(), spec.offset);
        params.extend(file.floats(&format!("base_model.model.{}", spec.name)));
    }
    (cfg, params)
}

/// Compares logits and the gradients of all factors with PEFT's: relative L2 errors.
fn check(name: &str, precision: Precision, weights: WeightMode, [of_logits, of_gradients]: [f64; 2]) {
    let (trainable, tokens) = (adapters(), tokens(name));
    let (cfg, theta) = adapted(name, &trainable);
    let build = Build::train(precision).trainable(trainable.clone());
    let network = network(&cfg, theta, &build, weights);
    let expected = Tensors::read(&recorded(name).join("expected.safetensors"));
    let error = distance(&logits(&network, &tokens), &expected.floats("logits"));
    println!("{name} {precision:?} {weights:?} logits {error:.2e}");
    assert!(error <= of_logits, "{name}: logits are off by {error:.3e}");
    let graph = StepGraph::new(Arc::clone(&network), 1).expect("a schedule");
    graph.run(vec![Window::Tokens(tokens)], &mut flow::Trace::new()).expect("a step");
    for spec in trainable.table(&cfg) {
        let got = network.gradient(&spec.name);
        assert_eq!(got.is_some(), spec.kind.is_adapter(), "{name}: {}", spec.name);
        let Some(got) = got else { continue };
        let error = distance(&got, &expected.floats(&format!("grad.{}", spec.name)));
        println!("{name} {precision:?} {:<50} {error:.2e}", spec.name);
        assert!(error <= of_gradients, "{name}: the gradient of {} is off by {error:.3e}", spec.name);
    }
}

// As in `architectures.rs`: fp16 keeps 11 bits, 4.9e-4 a rounding, and some dozens of them are on the way to a gradient.
const HALF: [f64; 2] = [2e-3, 2e-2];

// f32 keeps 24 bits; transformers computes norms and angles in f32.
const FULL: [f64; 2] = [1e-5, 1e-4];

#[test]
fn gradients_are_those_of_peft_in_fp16() {
    for name in NAMES {
        check(name, Precision::F16, WeightMode::Baked, HALF);
    }
}

#[test]
fn gradients_are_those_of_peft_in_f32() {
    for name in NAMES {
        check(name, Precision::F32, WeightMode::Baked, FULL);
    }
}

#[test]
fn gradients_are_those_of_peft_with_weights_on_surfaces() {
    for name in ["qwen3_bias", "gemma3", "llama_bias"] {
        check(name, Precision::F16, WeightMode::Dynamic, HALF);
        check(name, Precision::F32, WeightMode::Dynamic, FULL);
    }
}

/// Adapters that PEFT saved, merged: one of each architecture, and patterns of rank and alpha with rsLoRA, DoRA, and whole modules
/// with an adapter of the embedding.
#[test]
fn merged_adapters_give_the_logits_of_peft() {
    let others = [("patterns", "qwen2"), ("dora", "mistral"), ("whole", "llama_bias")];
    for (name, of) in NAMES.iter().map(|&name| (name, name)).chain(others) {
        let (from, tokens) = (recorded(name), tokens(of));
        let adapters = [AdapterRef { path: from.clone(), weight: 1.0 }];
        let base = folder(of);
        let given = ModelRef { path: Some(&base), adapters: &adapters }.open(None).expect(name);
        // The adapter names its model.
        let Model { config, params, .. } = open_model(&from, None).expect(name);
        assert!(given.params == params, "{name}");
        let cfg = ModelConfig { seq: tokens.len() - 1, ..config };
        let network = network(&cfg, params, &Build::infer(Precision::F32), WeightMode::Baked);
        let expected = Tensors::read(&from.join("expected.safetensors"));
        let error = distance(&logits(&network, &tokens), &expected.floats("logits"));
        println!("{name} logits {error:.2e}");
        assert!(error <= FULL[0], "{name}: logits are off by {error:.3e}");
    }
}

/// The loss changes along a random direction of the factors as its gradient says.
#[test]
fn gradients_are_those_of_finite_differences() {
    compare_with_differences(0.0);
}

#[test]
fn gradients_with_dropout_are_those_of_finite_differences() {
    compare_with_differences(0.3);
}

/// Dropout is part of training alone: logits, and the loss of an evaluation, have the bits that they have without it. The loss of a
/// step depends on seed and step, and on nothing else.
#[test]
fn dropout_is_for_steps_alone() {
    let (name, plain) = ("qwen2", adapters());
    let (cfg, theta) = adapted(name, &plain);
    let mut dropping = plain.clone();
    dropping.lora.as_mut().expect("adapters").dropout = 0.5;
    let of = |trainable: &Trainable, weights| {
        let build = Build::train(Precision::F16).windows(2).trainable(trainable.clone());
        network(&cfg, theta.clone(), &build, weights)
    };
    let step = |network: &Arc<Network>, draw: Draw| {
        let graph = StepGraph::new(Arc::clone(network), 2).expect("a schedule");
        network.set_draw(draw);
        let windows = vec![Window::Tokens(tokens(name)); 2];
        graph.run(windows, &mut flow::Trace::new()).expect("a step")
    };
    let without = of(&plain, WeightMode::Baked);
    let [baked, dynamic] = [WeightMode::Baked, WeightMode::Dynamic].map(|weights| of(&dropping, weights));
    let draw = Draw { seed: 1, step: 2 };
    let first = step(&baked, draw);
    assert_eq!(logits(&baked, &tokens(name)), logits(&without, &tokens(name)));
    let evaluated = |network: &Network| network.evaluate(&tokens(name)).expect("a loss");
    assert_eq!(evaluated(&baked), evaluated(&without));
    assert_eq!(first, step(&baked, draw));
    assert_eq!(first, step(&dynamic, draw));
    for other in [Draw { step: 3, ..draw }, Draw { seed: 2, ..draw }] {
        assert_ne!(first, step(&baked, other));
    }
    assert_ne!(first, step(&without, draw));
}

fn compare_with_differences(dropout: f64) {
    let name = "qwen2";
    let trainable = Trainable {
        lora: adapters().lora.map(|lora| Lora {
            first_layer: 1,
            targets: vec![Linear::V, Linear::Down],
            dropout,
            ..lora
        }),
        embeddings: true,
        ..Trainable::default()
    };
    let (cfg, theta) = {
        let (cfg, all) = adapted(name, &adapters());
        let places = adapters().table(&cfg);
        let mut theta = all[..cfg.param_count()].to_vec();
        for spec in trainable.table(&cfg).iter().filter(|spec| spec.kind.is_adapter()) {
            let from = places.iter().find(|other| other.name == spec.name).expect("the same factor");
            theta.extend_from_slice(&all[from.range()]);
        }
        (cfg, theta)
    };
    let loss = |theta: Vec<f32>| -> (f64, Arc<Network>) {
        let build = Build::train(Precision::F32).trainable(trainable.clone());
        let network = network(&cfg, theta, &build, WeightMode::Baked);
        network.set_draw(Draw { seed: 5, step: 7 });
        let graph = StepGraph::new(Arc::clone(&network), 1).expect("a schedule");
        let tokens = vec![Window::Tokens(tokens(name))];
        (graph.run(tokens, &mut flow::Trace::new()).expect("a step"), network)
    };
    let (_, network) = loss(theta.clone());
    for (seed, kind) in [
        ParamKind::LoraA(Linear::V),
        ParamKind::LoraB(Linear::V),
        ParamKind::LoraA(Linear::Down),
        ParamKind::LoraB(Linear::Down),
        ParamKind::Embedding,
    ]
    .into_iter()
    .enumerate()
    {
        let table = trainable.table(&cfg);
        let spec = table.iter().find(|spec| spec.kind == kind).expect("a factor");
        let gradient = network.gradient(&spec.name).expect("a gradient");
        let step = |at: usize| ((at * 2_654_435_761 + 97 * seed) % 1009) as f32 / 1009.0 - 0.5;
        let along: f64 = gradient.iter().enumerate().map(|(at, &g)| f64::from(g) * f64::from(step(at))).sum();
        let moved = |by: f32| {
            let mut theta = theta.clone();
            theta[spec.range()].iter_mut().enumerate().for_each(|(at, w)| *w += by * step(at));
            loss(theta).0
        };
        let h = 4e-3;
        let want = (moved(h) - moved(-h)) / f64::from(2.0 * h);
        // Losses have 24 bits and a curvature: 1e-3 of the gradient, and what the last bits of two losses come to.
        assert!((along - want).abs() <= 1e-3 * want.abs() + 5e-4, "{kind:?}: {along} and {want}");
    }
}
