//! Logits and gradients of each architecture beside those of transformers, on `tests/architectures`: see `record.py` there.

mod tiny_models;

use ane::{DeviceKind, DeviceOptions, SoftOptions, WeightMode};
use safetensors::SafeTensors;
use std::sync::Arc;
use tiny_models::{NAMES, folder};
use train::config::ModelConfig;
use train::formats::{Model, open_model};
use train::model::{LADDER, Precision};
use train::step::{Build, Network, StepGraph, Window};

/// What transformers says of the model called `name`.
struct Expected {
    tokens: Vec<u32>,
    bytes: Vec<u8>,
}

impl Expected {
    fn read(name: &str) -> Expected {
        let bytes = std::fs::read(folder(name).join("expected.safetensors")).expect("a file");
        let words = |data: &[u8]| data.as_chunks::<4>().0.iter().map(|&b| u32::from_le_bytes(b)).collect();
        let tokens = words(
            SafeTensors::deserialize(&bytes).expect("safetensors").tensor("tokens").expect("tokens").data(),
        );
        Expected { tokens, bytes }
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let file = SafeTensors::deserialize(&self.bytes).expect("safetensors");
        let data = file.tensor(name).expect(name);
        data.data().as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
    }
}

/// The relative L2 error.
fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: f32| f64::from(x).powi(2);
    let off: f64 = got.iter().zip(want).map(|(a, b)| square(a - b)).sum();
    (off / want.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
}

fn network(model: &Model, seq: usize, build: &Build, weights: WeightMode) -> Arc<Network> {
    let cfg = ModelConfig { seq, ..model.config.clone() };
    let pool = ane::Pool::new(2).expect("threads");
    let wanted = DeviceOptions { weights, ..DeviceKind::Soft.into() };
    let device = ane::open(wanted, SoftOptions { pool: pool.clone() }).expect("an engine");
    let network = Network::new(&cfg, model.params.clone(), device, pool, build, &mut |_| {});
    let network = network.expect("a network");
    network.set_loss_scale(256.0);
    Arc::new(network)
}

/// Compares the model called `name`, built as `build` says, with what transformers says: relative L2 error of the logits, and
/// of each gradient.
fn check(name: &str, build: &Build, weights: WeightMode, [of_logits, of_gradients]: [f64; 2]) {
    let (model, expected) = (open_model(&folder(name), None).expect(name), Expected::read(name));
    let seq = expected.tokens.len() - 1;
    let network = network(&model, seq, build, weights);
    let rows = network.logits(&expected.tokens).expect("logits");
    let vocab = model.config.vocab;
    let logits: Vec<f32> = (0..seq * vocab).map(|at| rows[at % vocab * seq + at / vocab]).collect();
    let error = distance(&logits, &expected.floats("logits"));
    println!("{name} {:?} logits {error:.2e}", build.precision);
    assert!(error <= of_logits, "{name}: logits are off by {error:.3e}");
    let graph = StepGraph::new(Arc::clone(&network), 1).expect("a schedule");
    let window = vec![Window::Tokens(expected.tokens.clone())];
    graph.run(window, &mut flow::Trace::new()).expect("a step");
    for spec in &model.config.params() {
        let got = network.gradient(&spec.name).expect("a gradient");
        let error = distance(&got, &expected.floats(&format!("grad.{}", spec.name)));
        println!("{name} {:?} {:<50} {error:.2e}", build.precision, spec.name);
        assert!(error <= of_gradients, "{name}: the gradient of {} is off by {error:.3e}", spec.name);
    }
}

// fp16 keeps 11 bits: 4.9e-4 a rounding, some dozens of them on the way to a gradient.
const HALF: [f64; 2] = [2e-3, 2e-2];

// f32 keeps 24 bits; transformers computes norms and angles in f32.
const FULL: [f64; 2] = [1e-5, 1e-4];

#[test]
fn in_fp16() {
    for name in NAMES {
        check(name, &Build::train(Precision::F16), WeightMode::Auto, HALF);
    }
}

#[test]
fn in_f32() {
    for name in NAMES {
        check(name, &Build::train(Precision::F32), WeightMode::Auto, FULL);
    }
}

/// Every plan of the ladder, with weights on surfaces where it allows them.
#[test]
fn by_every_plan() {
    for name in NAMES {
        let model = open_model(&folder(name), None).expect(name);
        for rung in &LADDER {
            for weights in [WeightMode::Baked, WeightMode::Dynamic] {
                let Some(weights) = rung.weight_mode(weights) else { continue };
                let build = Build { weights, ..Build::train(Precision::F32) }.rung(rung, &model.config);
                check(name, &build, weights, FULL);
            }
        }
    }
}

/// Files as llama.cpp's converter makes them: `record_gguf.py`.
#[test]
fn gguf_files_are_the_same_models() {
    for name in ["llama_bias", "qwen2", "rope_yarn", "gemma2", "gemma3"] {
        let [folder, file] =
            [folder(name), folder(name).join("model.gguf")].map(|path| open_model(&path, None).expect(name));
        let mut config = file.config;
        // llama.cpp has the divisor of scores by the number of layers.
        config.variant.query_scalar = folder.config.variant.query_scalar;
        assert_eq!(config.difference(&folder.config), None, "{name}");
        for spec in config.params() {
            let pairs = file.params[spec.range()].iter().zip(&folder.params[spec.range()]);
            // fp16 holds what bfloat16 does, but for the smallest numbers.
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 3e-8), "{name}: {}", spec.name);
        }
    }
}
