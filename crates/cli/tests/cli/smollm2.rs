//! SmolLM2-135M as everybody downloads it: tests/smollm2/README.md says how to get it.

use crate::place::Place;
use serde_json::Value;
use std::path::{Path, PathBuf};
use train::fs::TensorFile;

/// A file of `tests/smollm2`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/smollm2").join(name)
}

/// A place with the model in `smol`, read in windows of `window` tokens.
fn place(window: &Value) -> Place {
    let source =
        std::env::var_os("BACKPROPANE_SMOLLM2").expect("BACKPROPANE_SMOLLM2 names the model's folder");
    let source = Path::new(&source);
    let place = Place::new();
    let config = std::fs::read_to_string(source.join("config.json")).expect("a model's folder");
    let mut config: Value = serde_json::from_str(&config).expect("JSON");
    config["backpropane"] = serde_json::json!({ "seq": window });
    place.write("smol/config.json", config.to_string());
    place.write("smol/tokenizer.json", std::fs::read(source.join("tokenizer.json")).expect("a tokenizer"));
    std::fs::hard_link(source.join("model.safetensors"), place.path("smol/model.safetensors"))
        .or_else(|_| {
            std::fs::copy(source.join("model.safetensors"), place.path("smol/model.safetensors")).map(|_| ())
        })
        .expect("weights");
    place
}

/// A safetensors file with one tensor `tokens`, int32 `[1, N]`.
fn token_file(tokens: &[i32]) -> Vec<u8> {
    let n = tokens.len();
    let header = format!(r#"{{"tokens":{{"dtype":"I32","shape":[1,{n}],"data_offsets":[0,{}]}}}}"#, 4 * n);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(tokens.iter().flat_map(|t| t.to_le_bytes()));
    bytes
}

/// The L2 norm of the difference of all gradients, relative to that of the second.
fn apart(got: &Path, want: &Path) -> f64 {
    let (got, want) = (TensorFile::open(got).expect("gradients"), TensorFile::open(want).expect("gradients"));
    let (mut difference, mut size) = (0.0, 0.0);
    for name in want.names().iter().filter(|n| n.starts_with("grad.")) {
        let shape = want.shape(name).expect("a tensor").to_vec();
        let mut values = [&got, &want].map(|file| {
            let mut values = vec![0.0; shape.iter().product()];
            file.read(name, &shape, &mut values).expect("floats");
            values
        });
        let [got, want] = &mut values;
        difference += got.iter().zip(&*want).map(|(g, w)| f64::from(g - w).powi(2)).sum::<f64>();
        size += want.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>();
    }
    (difference / size).sqrt()
}

/// The cosine of the logits in `file` with those that the reference records: of all rows together, and the lowest of a row.
fn cosines(file: &Path, reference: &Value) -> [f64; 2] {
    let numbers = |of: &Value| -> Vec<f64> {
        of.as_array().expect("a list").iter().filter_map(Value::as_f64).collect()
    };
    let tensors = TensorFile::open(file).expect("logits");
    let shape = tensors.shape("logits").expect("a tensor").to_vec();
    let mut all = vec![0.0; shape.iter().product()];
    tensors.read("logits", &shape, &mut all).expect("floats");
    let stride = reference["stride"].as_u64().expect("a number") as usize;
    // Products of the two, of each with itself.
    let sums = |position: f64, want: &Value| {
        let row = &all[position as usize * shape[2]..][..shape[2]];
        let pairs = row.iter().step_by(stride).map(|&x| f64::from(x)).zip(numbers(want));
        pairs.fold([0.0; 3], |[xy, xx, yy], (x, y)| [xy + x * y, xx + x * x, yy + y * y])
    };
    let cosine = |[xy, xx, yy]: [f64; 3]| xy / (xx * yy).sqrt();
    let rows = reference["logits"].as_array().expect("rows");
    let rows: Vec<[f64; 3]> =
        numbers(&reference["positions"]).into_iter().zip(rows).map(|(at, row)| sums(at, row)).collect();
    let total = rows.iter().fold([0.0; 3], |all, row| [all[0] + row[0], all[1] + row[1], all[2] + row[2]]);
    [cosine(total), rows.into_iter().map(cosine).fold(1.0, f64::min)]
}

#[test]
#[ignore = "reads SmolLM2-135M from the folder BACKPROPANE_SMOLLM2: see tests/smollm2/README.md"]
fn a_real_model_is_right_by_default() {
    let reference = std::fs::read_to_string(file("reference.json")).expect("the reference");
    let reference: Value = serde_json::from_str(&reference).expect("JSON");
    let window = reference["window"].as_u64().expect("a size") as usize;
    let losses: Vec<f64> =
        reference["losses"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
    let place = place(&reference["window"]);

    let tokens: Vec<i32> = reference["tokens"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|t| t.as_i64())
        .map(|t| t as i32)
        .collect();
    place.write("tokens.safetensors", token_file(&tokens[..=window]));
    let grads = |out: &str, more: &str| -> f64 {
        let args = format!("grads --model smol --tokens tokens.safetensors --out {out} {more}");
        let said = place.succeed(&args).stdout;
        said.trim().strip_prefix("loss ").expect("a loss").parse().expect("a number")
    };
    let loss = grads("half.safetensors", "");
    assert!((loss / losses[0] - 1.0).abs() < 5e-4, "loss {loss}, in float64 {}", losses[0]);
    let loss = grads("full.safetensors", "--storage f32");
    assert!((loss / losses[0] - 1.0).abs() < 1e-5, "loss {loss} with fp32 storage, in float64 {}", losses[0]);
    for (name, least) in [("half.safetensors", 0.9999), ("full.safetensors", 0.999_999)] {
        let [all, lowest] = cosines(&place.path(name), &reference);
        println!("{name}: cosine of the logits {all}, lowest of a token {lowest}");
        assert!(all >= least && lowest >= least, "{name}: cosines {all}, {lowest}");
    }
    // 30 layers of fp16 activations: a rounding of 5e-4 in each adds up to some 6e-3.
    let apart = apart(&place.path("half.safetensors"), &place.path("full.safetensors"));
    assert!(apart < 0.01, "gradients differ by {apart}");

    let text = file("text.txt");
    let evaluated = place.succeed(&format!("eval --model smol --data {} --json", text.display())).json();
    let want = losses.iter().sum::<f64>() / losses.len() as f64;
    let got = evaluated["loss"].as_f64().expect("a loss");
    assert_eq!(evaluated["windows"], losses.len());
    assert!((got / want - 1.0).abs() < 5e-4, "loss {got}, in float64 {want}");
    let exact = place.succeed(&format!("eval --model smol --data {} --storage f32 --json", text.display()));
    let exact = exact.json()["loss"].as_f64().expect("a loss");
    println!("eval {got}, with fp32 storage {exact}, in float64 {want}");
    assert!((got / exact - 1.0).abs() < 5e-4, "loss {got}, with fp32 storage {exact}");

    let mut command = place.command("generate --model smol --tokens 2 --temperature 0 --prompt");
    command.arg(reference["prompt"].as_str().expect("a prompt"));
    let said = crate::place::Outcome::of(&mut command);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.starts_with("The capital of France is Paris."), "{}", said.stdout);
}
