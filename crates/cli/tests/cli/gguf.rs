//! GGUF files in every command that takes a model: `tests/gguf` of the repository has them, with how they were made.

use crate::place::Place;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A place with `bpe.gguf`, and the folder `same` with its weights as transformers has them.
fn place() -> Place {
    let place = Place::new();
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/gguf");
    let copy = |from: &str, to: &str| place.write(to, fs::read(files.join(from)).expect("a file"));
    copy("bpe.gguf", "bpe.gguf");
    copy("bpe.safetensors", "same/model.safetensors");
    let config = json!({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5, "rope_theta": 50_000.0, "tie_word_embeddings": true,
        "bos_token_id": 1, "eos_token_id": 2,
    });
    place.write("same/config.json", config.to_string());
    // A run that starts from the file writes its tokenizer.
    place.succeed("train --threads 1 --steps 1 --batch 1 --quiet --model bpe.gguf --data text.txt --out run");
    place.write("same/tokenizer.json", place.read("run/tokenizer.json"));
    place
}

#[test]
fn a_file_is_the_same_model_as_its_folder_in_every_command() {
    let place = place();
    let tokens: Vec<u8> = (0..65u32).flat_map(|i| (i * 7 % 300 + 5).to_le_bytes()).collect();
    let header = r#"{"tokens":{"dtype":"I32","shape":[1,65],"data_offsets":[0,260]}}"#;
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(tokens);
    place.write("tokens.safetensors", file);
    for command in [
        "eval --threads 1 --data text.txt --windows 3 --model",
        "generate --threads 1 --temperature 0 --tokens 12 --prompt Thou --model",
        "grads --threads 1 --tokens tokens.safetensors --out g.safetensors --model",
    ] {
        let [got, want] =
            ["bpe.gguf", "same"].map(|model| place.succeed(&format!("{command} {model}")).stdout);
        assert_eq!(got.replace("bpe.gguf", "same"), want, "{command}");
        assert!(!want.is_empty(), "{command}");
    }
    place.succeed("kernels --model bpe.gguf");
}

#[test]
fn a_text_shorter_than_the_window_is_evaluated_as_one() {
    let place = place();
    place.write("short.txt", "To be, or not to be: that is the question.");
    let outcome = place.succeed("eval --threads 1 --model bpe.gguf --data short.txt");
    assert!(outcome.stdout.contains("1 window"), "{}", outcome.stdout);
    place.write("one.txt", "T");
    let outcome = place.run("eval --threads 1 --model bpe.gguf --data one.txt");
    assert!(
        outcome.code == Some(2) && outcome.stderr.contains("hint: Give more text."),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_run_from_a_file_keeps_what_the_file_says() {
    let place = place();
    let config: Value = serde_json::from_slice(&place.read("run/config.json")).expect("JSON");
    for (key, want) in [
        ("model_type", json!("llama")),
        ("rope_theta", json!(50_000.0)),
        ("bos_token_id", json!(1)),
        ("eos_token_id", json!(2)),
        ("tie_word_embeddings", json!(true)),
    ] {
        assert_eq!(config[key], want, "{key}");
    }
    assert_eq!(place.read("run/chat_template.jinja"), b"{{ messages[0]['content'] }}");
    place.succeed("generate --model run --tokens 4 --prompt Thou");
}

#[test]
#[ignore = "reads the file BACKPROPANE_SMOLLM2_GGUF: see tests/smollm2/README.md"]
fn a_real_file_is_the_same_model_as_its_folder() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let (file, folder) = (variable("BACKPROPANE_SMOLLM2_GGUF"), variable("BACKPROPANE_SMOLLM2"));
    let place = Place::new();
    let said = |model: &str, prompt: &str| {
        let mut command = place.command("generate --temperature 0 --tokens 4 --model");
        let out = command.args([model, "--prompt", prompt]).output().expect("started");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("UTF-8")
    };
    for prompt in ["The capital of France is", "Water boils at"] {
        assert_eq!(said(&file, prompt), said(&folder, prompt));
    }
    assert!(said(&file, "The capital of France is").starts_with("The capital of France is Paris."));
}
