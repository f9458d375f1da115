//! What is done with a trained model, and with none: generate, eval, grads, kernels.

use crate::place::{Place, binary, trained};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::io::Read;
use std::process::{Command, Stdio};

/// A safetensors file with a row of tokens.
pub fn tokens(ids: &[i32]) -> Vec<u8> {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::I32, vec![1, ids.len()], &bytes).expect("a tensor");
    safetensors::serialize([("tokens", view)], None).expect("a file")
}

#[test]
fn text_is_generated_the_same_for_the_same_seed() {
    let place = trained();
    let args = "generate --model run --prompt whether --tokens 20 --seed";
    let first = place.succeed(&format!("{args} 1"));
    assert!(first.stdout.starts_with("whether") && first.stdout.ends_with('\n'), "{}", first.stdout);
    assert!(first.stdout.len() > "whether\n".len() + 10, "{}", first.stdout);
    assert_eq!(first.stderr, "");
    assert_eq!(first.stdout, place.succeed(&format!("{args} 1 --threads 1")).stdout);
    assert_ne!(first.stdout, place.succeed(&format!("{args} 2")).stdout);
}

#[test]
fn generation_ends_quietly_when_nobody_reads() {
    let place = trained();
    let mut child = Command::new(binary())
        // Without a seed, one run in a hundred ends before it has written four letters.
        .args([
            "generate", "--model", "run", "--prompt", "to", "--tokens", "100000", "--slide", "--seed", "1",
        ])
        .current_dir(place.path(""))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut some = [0; 4];
    child.stdout.take().expect("a pipe").read_exact(&mut some).expect("text");
    let output = child.wait_with_output().expect("it ended");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn a_model_is_evaluated_on_text() {
    let place = trained();
    let shown = place.succeed("eval --model run --data text.txt --windows 8").stdout;
    assert!(shown.contains("perplexity") && shown.contains("8 windows"), "{shown}");
    let json = place.succeed("eval --model run --data text.txt --windows 8 --json").json();
    let (loss, perplexity) =
        (json["loss"].as_f64().expect("loss"), json["perplexity"].as_f64().expect("one"));
    assert!(loss > 0.5 && loss < 5.0, "{json}");
    // Both come from the same f64.
    assert!((perplexity.ln() - loss).abs() < 1e-9, "{json}");
}

#[test]
fn gradients_are_written_for_every_weight() {
    let place = trained();
    place.write("tokens.safetensors", tokens(&[5, 6, 7, 8, 9, 10, 11, 12, 13]));
    let shown = place.succeed("grads --model run --tokens tokens.safetensors --out g.safetensors").stdout;
    assert!(shown.starts_with("loss "), "{shown}");
    let (model, grads) = (place.read("run/model.safetensors"), place.read("g.safetensors"));
    let model = SafeTensors::deserialize(&model).expect("a model");
    let grads = SafeTensors::deserialize(&grads).expect("gradients");
    assert_eq!(grads.tensor("logits").expect("logits").shape(), [1, 8, 320]);
    assert_eq!(grads.len(), model.len() + 2);
    for (name, weight) in model.tensors() {
        let grad = grads.tensor(&format!("grad.{name}")).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(grad.shape(), weight.shape(), "{name}");
        assert!(grad.data().iter().any(|&byte| byte != 0), "the gradient of {name} is zero");
    }
}

#[test]
fn the_seeds_layer_has_exactly_six_kernels() {
    let place = Place::new();
    let json = place.succeed("kernels --model layer768 --json").json();
    let kernels = json["kernels"].as_array().expect("kernels");
    let names: Vec<&str> = kernels.iter().filter_map(|k| k["name"].as_str()).collect();
    assert_eq!(names, ["fwdAttn", "fwdFFN", "ffnBwd", "sdpaBwd1", "sdpaBwd2", "qkvBwd"]);
    let taps: Vec<&str> = kernels[0]["output"]["values"]
        .as_array()
        .expect("taps")
        .iter()
        .filter_map(|v| v["name"].as_str())
        .collect();
    assert_eq!(taps, ["xn", "q_proj", "k_proj", "v", "attn", "o"]);
    // dim 768 = four projections of 768², two flops a multiply-add; two products of scores, 12 heads of 512²; the norm's
    // sum of squares.
    let flops = 2u64 * 512 * (4 * 768 * 768 + 2 * 512 * 768 + 768);
    assert_eq!(kernels[0]["flops"], flops);
    for kernel in kernels {
        for surface in ["input", "output"] {
            let (shape, bytes) = (&kernel[surface]["shape"], &kernel[surface]["bytes"]);
            let elements: u64 =
                shape.as_array().expect("a shape").iter().filter_map(|n| n.as_u64()).product();
            assert_eq!(bytes.as_u64(), Some(2 * elements), "{kernel}");
        }
    }
    let shown = place.succeed("kernels --model layer768").stdout;
    assert!(shown.contains("fwdAttn") && shown.contains("[1, 4608, 1, 512] 4.5 MiB"), "{shown}");
}

#[test]
fn emitted_programs_are_read_again_with_their_weights() {
    let place = Place::new();
    place.succeed("kernels --model tiny --seq 16 --emit out");
    for kernel in ["fwdAttn", "fwdFFN", "ffnBwd", "sdpaBwd1", "sdpaBwd2", "qkvBwd"] {
        let text = String::from_utf8(place.read(&format!("out/{kernel}/model.mil"))).expect("text");
        let program = mil::text::load(&text).unwrap_or_else(|report| panic!("{kernel}: {report}"));
        let mut weights = mil::Weights::new();
        let mut files = 0;
        for entry in std::fs::read_dir(place.path(&format!("out/{kernel}/weights"))).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            weights.insert(format!("@model_path/weights/{name}"), std::fs::read(&path).expect("a file"));
            files += 1;
        }
        assert_eq!(text.matches("BLOBFILE").count(), files, "{kernel}");
        let pool = ane::Pool::new(1).expect("a thread");
        let device = ane::open(ane::DeviceKind::Soft, ane::SoftOptions { pool }).expect("an engine");
        device.compile(kernel, &program, &weights).unwrap_or_else(|e| panic!("{kernel}: {e}"));
    }
}

/// Of each kind of layers the kernels differ in their constants.
#[test]
fn every_kind_of_layers_is_listed_and_emitted() {
    let place = Place::new();
    let model = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/architectures/gemma3");
    place.write("gemma3/config.json", std::fs::read(model.join("config.json")).expect("a file"));
    let json = place.succeed("kernels --model gemma3 --seq 24 --json").json();
    let kinds = json["kinds"].as_array().expect("a list");
    let of: Vec<(&serde_json::Value, &serde_json::Value)> =
        kinds.iter().map(|kind| (&kind["layers"], &kind["rope"])).collect();
    assert_eq!(
        of,
        [(&serde_json::json!([0, 1]), &"local".into()), (&serde_json::json!([2]), &"global".into())]
    );
    let shown = place.succeed("kernels --model gemma3 --seq 24 --emit out").stdout;
    assert!(shown.contains("  layers 0, 1: see 6 tokens, RoPE of local layers\n"), "{shown}");
    assert!(shown.contains("  layer 2: see all before, the model's RoPE\n"), "{shown}");
    let mask = |layer: usize| place.read(&format!("out/layer-{layer}/fwdAttn/weights/mask.bin"));
    assert!(mask(0) != mask(2), "the window is in the mask");
    assert!(!place.succeed("kernels --model tiny").stdout.contains("Kinds of layers"));
}

#[test]
fn a_step_is_measured_and_shows_that_it_was_the_step_meant() {
    let place = Place::new();
    let args = "bench step --model tiny --samples 3 --threads 1";
    let json: serde_json::Value =
        serde_json::from_str(&place.succeed(&format!("{args} --json")).stdout).expect("JSON");
    let of = |key: &str| json[0][key].as_f64().unwrap_or_else(|| panic!("{key} in {json}"));
    assert!(of("min_ms") > 0.0 && of("min_ms") <= of("median_ms") && of("median_ms") <= of("max_ms"));
    assert_eq!((of("samples"), of("threads"), json[0]["math"].as_str()), (3.0, 1.0, Some("f32")));
    // Random weights know nothing: the loss is about ln 320.
    assert!((of("loss0") - 320f64.ln()).abs() < 0.1 && of("loss3") < of("loss0"), "{json}");
    let line = place.succeed(&format!("{args} --line")).stdout;
    assert!(line.starts_with("tiny backpropane f32 1 ") && line.trim_end().ends_with(" ok"), "{line}");
    let kernels = place.succeed("bench kernel --model tiny --samples 1 --threads 1").stdout;
    assert!(kernels.contains("fwdAttn: ") && kernels.contains("conv"), "{kernels}");
}
