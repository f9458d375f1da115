//! Losses and gradients beside PyTorch's, in float64, on `tests/fixtures`: see the README there.

use ane::{DeviceKind, DeviceOptions, MatmulPrecision, SoftOptions};
use safetensors::SafeTensors;
use softane::gemm::supports;
use std::path::PathBuf;
use std::sync::Arc;
use train::config::{ModelConfig, ParamKind};
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

fn check(
    name: &str,
    (precision, math): (Precision, MatmulPrecision),
    loss_tolerance: f64,
    l2: f64,
    cosine: f64,
) {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    with_tiles();
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
    let wanted = DeviceOptions { math, ..DeviceKind::Soft.into() };
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
        check(name, (Precision::F16, MatmulPrecision::F32), 2e-3, 2e-2, 0.9995);
    }
}

// f32 keeps 24 bits; what is left is the order of sums.
#[test]
fn gradients_in_f32() {
    for name in ["llama_mha", "llama_gqa", "qwen3_tiny"] {
        check(name, (Precision::F32, MatmulPrecision::F32), 1e-4, 1e-4, 0.999_999);
    }
}

// Factors as integers are off by 2⁻¹² of the largest of 128, where fp16 is off by 2⁻¹¹ of itself.
#[test]
fn gradients_of_integer_products_in_fp16() {
    for name in ["llama_mha", "llama_gqa", "qwen3_tiny"].iter().filter(|_| supports(MatmulPrecision::Int16)) {
        check(name, (Precision::F16, MatmulPrecision::Int16), 2e-3, 2e-2, 0.9995);
    }
}

/// Makes tile instructions work, before anything computes: emulated where the processor has none.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn with_tiles() {
    fake_amx::install();
    assert!(softane::tile_unit::emulate(), "something has computed before");
}

// As f32: factors in fp16 are exact as two bf16, and products are off by at most 2⁻¹⁶.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn gradients_of_split_products_in_fp16() {
    for name in ["llama_mha", "llama_gqa", "qwen3_tiny"] {
        check(name, (Precision::F16, MatmulPrecision::F16x3), 2e-3, 2e-2, 0.9995);
    }
}

// bf16 keeps 8 bits: 2e-3 a rounding, eight times as much as fp16.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn gradients_of_bf16_products_in_fp16() {
    for name in ["llama_mha", "llama_gqa", "qwen3_tiny"] {
        check(name, (Precision::F16, MatmulPrecision::Bf16), 1e-2, 1e-1, 0.995);
    }
}

/// llama2.c's model beside PyTorch's numbers for it: rows of queries and keys change their order on the way in, so
/// gradients have the same size in every weight.
#[test]
fn stories260k_is_what_pytorch_says() {
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    with_tiles();
    let model = train::formats::open_model(&fixtures().join("stories260K.bin"), None).expect("a model");
    let reference = std::fs::read_to_string(fixtures().join("stories260K.reference.json")).expect("a file");
    let reference: serde_json::Value = serde_json::from_str(&reference).expect("JSON");
    let tokens: Vec<u32> = serde_json::from_value(reference["token_ids"].clone()).expect("tokens");
    let want = reference["loss"].as_f64().expect("a loss");
    let cfg = ModelConfig { seq: tokens.len() - 1, ..model.config };
    for (precision, close) in [(Precision::F16, 1e-2), (Precision::F32, 1e-4)] {
        let pool = ane::Pool::new(2).expect("threads");
        let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("engine");
        let build = Build::train(precision);
        let network =
            Network::new(&cfg, model.params.clone(), device, pool, &build, &mut |_| {}).expect("network");
        network.set_loss_scale(256.0);
        let logits = network.logits(&tokens).expect("logits");
        let network = Arc::new(network);
        let graph = StepGraph::new(Arc::clone(&network), 1).expect("schedule");
        let loss = graph.run(vec![Window::Tokens(tokens.clone())], &mut flow::Trace::new()).expect("step");
        assert!((loss / want - 1.0).abs() < close, "{precision:?}: loss {loss}, PyTorch {want}");
        let first = reference["logits_pos0_first8"].as_array().expect("logits");
        for (v, want) in first.iter().filter_map(serde_json::Value::as_f64).enumerate() {
            let got = f64::from(logits[v * cfg.seq]);
            assert!((got - want).abs() < 10.0 * close, "{precision:?}: logit {v} is {got}, PyTorch {want}");
        }
        let norm = |kind: ParamKind, layer: usize| {
            let spec = cfg.params().into_iter().find(|p| p.kind == kind && p.layer == Some(layer));
            let gradient = network.gradient(&spec.expect("a weight").name).expect("a gradient");
            gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt()
        };
        for (name, kind) in
            [("wq", ParamKind::Wq), ("wk", ParamKind::Wk), ("wo", ParamKind::Wo), ("w2", ParamKind::W2)]
        {
            let list = reference["grad"][name]["l2"].as_array().expect("norms");
            for (layer, want) in list.iter().filter_map(serde_json::Value::as_f64).enumerate() {
                let got = norm(kind, layer);
                assert!(
                    (got / want - 1.0).abs() < 3.0 * close,
                    "{precision:?}, {name} {layer}: {got}, {want}"
                );
            }
        }
    }
}
