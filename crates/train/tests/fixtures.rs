//! Losses and gradients beside PyTorch's, in float64, on `tests/fixtures`: see the README there.

use ane::{Choice, Math, SoftOptions, Wanted};
use safetensors::SafeTensors;
use softane::gemm::supports;
use std::path::PathBuf;
use std::sync::Arc;
use train::config::ModelConfig;
use train::model::Precision;
use train::step::{Build, Network, StepGraph, Window};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures")
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).expect(name);
    tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Relative L2 error and cosine.
fn distance(got: &[f32], want: &[f32]) -> (f64, f64) {
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum() };
    let diff: Vec<f32> = got.iter().zip(want).map(|(a, b)| a - b).collect();
    let (gg, ww) = (dot(got, got).sqrt(), dot(want, want).sqrt());
    (dot(&diff, &diff).sqrt() / ww, dot(got, want) / (gg * ww))
}

fn check(name: &str, (precision, math): (Precision, Math), loss_tolerance: f64, l2: f64, cosine: f64) {
    let dir = fixtures();
    let mut cfg = ModelConfig::read(&dir.join(format!("{name}.json"))).expect("config");
    let bytes = std::fs::read(dir.join(format!("{name}.safetensors"))).expect("fixture");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let tokens: Vec<u32> = file
        .tensor("tokens")
        .expect("tokens")
        .data()
        .chunks_exact(4)
        .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect();
    cfg.seq = tokens.len() - 1;
    let theta: Vec<f32> =
        cfg.params().iter().flat_map(|p| floats(&file, &format!("param.{}", p.name))).collect();
    let pool = ane::Pool::new(2).expect("threads");
    let wanted = Wanted { math, ..Choice::Soft.into() };
    let device = ane::open(wanted, SoftOptions { pool: pool.clone() }).expect("engine");
    let network =
        Network::new(&cfg, theta, device, pool, &Build::train(precision), &mut |_| {}).expect("network");
    network.set_loss_scale(256.0);
    let network = Arc::new(network);
    let graph = StepGraph::new(Arc::clone(&network), 1).expect("schedule");
    let loss = graph.run(vec![Window::Tokens(tokens)], &mut flow::Trace::new()).expect("step");
    let want = f64::from(floats(&file, "loss")[0]);
    assert!((loss - want).abs() <= loss_tolerance, "{name}: loss {loss}, PyTorch {want}");
    for p in &cfg.params() {
        let got = network.gradient(&p.name).expect("gradient");
        let (error, cos) = distance(&got, &floats(&file, &format!("grad.{}", p.name)));
        println!("{name} {precision:?} {math:?} {:<50} L2 {error:.2e} cos {cos:.6}", p.name);
        assert!(
            error <= l2 && cos >= cosine,
            "{name}, {}: relative L2 error {error:.3e}, cosine {cos:.6}",
            p.name
        );
    }
}

// fp16 keeps 11 bits: 4.9e-4 a rounding, some dozens of them on the way to a gradient.
#[test]
fn gradients_in_fp16() {
    for name in ["llama_mha", "llama_gqa", "qwen3_tiny"] {
        check(name, (Precision::F16, Math::F32), 2e-3, 2e-2, 0.9995);
    }
}

// f32 keeps 24 bits; what is left is the order of sums.
#[test]
fn gradients_in_f32() {
    for name in ["llama_mha", "llama_gqa", "qwen3_tiny"] {
        check(name, (Precision::F32, Math::F32), 1e-4, 1e-4, 0.999_999);
    }
}

// Factors as integers are off by 2⁻¹² of the largest of 128, where fp16 is off by 2⁻¹¹ of itself.
#[test]
fn gradients_of_integer_products_in_fp16() {
    for name in ["llama_mha", "llama_gqa", "qwen3_tiny"].iter().filter(|_| supports(Math::Int16)) {
        check(name, (Precision::F16, Math::Int16), 2e-3, 2e-2, 0.9995);
    }
}
