//! Models of every architecture as GGUF files: the same models again, or refused by the key that llama.cpp cannot express.

use std::fs;
use std::path::{Path, PathBuf};

use super::stored::difference;
use crate::config::{LayerKind, LayerRope, ModelConfig, RopeScaling};
use crate::formats::export::{ExportOptions, Exported, Target, export};
use crate::formats::{WeightType, open_model};
use crate::testing::moments;
use serde_json::{Value as Json, json};

/// A change of a configuration.
type Change = fn(&mut ModelConfig);

fn architectures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/architectures")
}

fn write(from: &Path, to: &Path, target: Target) -> Result<Exported, String> {
    let options = ExportOptions { to: target, dtype: WeightType::F32, shard_size: None, tokenizer: None };
    export(from, to, &options).map_err(|error| format!("{error} | {}", error.hint().unwrap_or_default()))
}

/// The model `name` of `tests/architectures` in `dir`, with these keys of its configuration replaced.
fn model(dir: &Path, name: &str, keys: &Json) -> PathBuf {
    let (from, to) = (architectures().join(name), dir.join(name));
    fs::create_dir_all(&to).unwrap();
    fs::copy(from.join("model.safetensors"), to.join("model.safetensors")).unwrap();
    let mut config: Json = serde_json::from_slice(&fs::read(from.join("config.json")).unwrap()).unwrap();
    for (key, value) in keys.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    fs::write(to.join("config.json"), config.to_string()).unwrap();
    to
}

/// Writes `folder` as a GGUF file, reads it back into a folder, and compares that with what a plain copy of the folder has.
fn goes_round(dir: &Path, folder: &Path, name: &str) -> Vec<String> {
    let at = |end: &str| dir.join(format!("{name}.{end}"));
    let notes = write(folder, &at("gguf"), Target::Gguf).unwrap().notes;
    write(&at("gguf"), &at("back"), Target::HuggingFace).unwrap();
    write(folder, &at("copy"), Target::HuggingFace).unwrap();
    for file in ["config.json", "model.safetensors"] {
        let [back, copy] = ["back", "copy"].map(|end| fs::read(at(end).join(file)).unwrap());
        assert!(back == copy, "{name}: {file} differs");
    }
    let [own, read] = [folder, &at("gguf")].map(|path| open_model(path, None).unwrap().config);
    assert_eq!(own.difference(&read), None, "{name}");
    notes
}

#[test]
fn every_architecture_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let window = "llama.cpp ignores `llama.attention.sliding_window`: there, texts of more than 7 tokens give other results";
    let qwen = "llama.cpp ignores `qwen2.attention.sliding_window`: there, texts of more than 5 tokens give other results";
    for (name, keys, notes) in [
        ("llama_bias", json!({}), vec![]),
        ("qwen2", json!({}), vec![]),
        ("rope_linear", json!({}), vec![]),
        ("rope_llama3", json!({}), vec![]),
        ("rope_yarn", json!({}), vec![]),
        ("rope_longrope", json!({}), vec![]),
        ("rope_longrope_long", json!({}), vec![]),
        ("smollm3", json!({ "no_rope_layers": [1, 1], "no_rope_layer_interval": 4 }), vec![]),
        ("mistral", json!({}), vec![window]),
        ("qwen2_window", json!({}), vec![qwen]),
        ("gemma", json!({}), vec![]),
        ("gemma2", json!({ "query_pre_attn_scalar": 8 }), vec![]),
        ("gemma3", json!({ "query_pre_attn_scalar": 8 }), vec![]),
    ] {
        let folder = model(dir.path(), name, &keys);
        assert_eq!(goes_round(dir.path(), &folder, name), notes, "{name}");
    }
}

#[test]
fn what_llama_cpp_cannot_express_is_refused_by_its_key() {
    let dir = tempfile::tempdir().unwrap();
    for (name, keys, want) in [
        (
            "rope_dynamic",
            json!({}),
            "`rope_scaling.rope_type` = \"dynamic\", which llama.cpp does not compute in `llama`",
        ),
        (
            "smollm3",
            json!({}),
            "`no_rope_layers` = [1, 0], and llama.cpp computes no RoPE in every 4th layer in `smollm3`",
        ),
        ("gemma2", json!({}), "`query_pre_attn_scalar` = 24, and llama.cpp computes 8 in `gemma2`"),
        ("gemma3", json!({}), "`query_pre_attn_scalar` = 16, and llama.cpp computes 8 in `gemma3`"),
        (
            "qwen3_bias",
            json!({}),
            "`attention_bias` = true, and llama.cpp computes without all of these biases in `qwen3`",
        ),
        (
            "gemma2",
            json!({ "query_pre_attn_scalar": 8, "attn_logit_softcapping": null }),
            "`attn_logit_softcapping` = null, and llama.cpp computes a bound in `gemma2`",
        ),
        (
            "qwen2",
            json!({ "hidden_act": "gelu_pytorch_tanh" }),
            "`hidden_act` = gelu_pytorch_tanh, and llama.cpp computes silu",
        ),
        (
            "qwen2",
            json!({ "rope_parameters": { "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 1e6 } }),
            "`rope_scaling.rope_type` = \"llama3\", which llama.cpp does not compute in `qwen2`",
        ),
        (
            "rope_yarn",
            json!({ "rope_parameters": { "rope_type": "yarn", "factor": 4.0, "truncate": false,
                "original_max_position_embeddings": 16, "rope_theta": 1e4 } }),
            "`rope_scaling.truncate` = false",
        ),
    ] {
        let folder = model(dir.path(), name, &keys);
        let got = write(&folder, &dir.path().join("m.gguf"), Target::Gguf).unwrap_err();
        assert!(got.contains(want) && got.contains("`--to hf`"), "{got}\n  should say: {want}");
        assert!(!got.contains("Some(") && !got.contains(" {"), "{got}");
        assert!(!dir.path().join("m.gguf").exists());
    }
}

/// Settings that no model of `tests/architectures` has, each by what a reader of the file's own keys makes of it.
#[test]
fn keys_say_all_that_a_configuration_says() {
    let dir = tempfile::tempdir().unwrap();
    let of = |name: &str| open_model(&architectures().join(name), None).unwrap().config;
    let cases: [(&str, Change); 9] = [
        ("rope_linear", |c| {
            c.variant.scaling = RopeScaling::Yarn {
                factor: 4.0,
                original_max_position_embeddings: 16,
                attention_factor: 1.3,
                beta_fast: 24.0,
                beta_slow: 2.0,
                truncate: true,
            }
        }),
        ("rope_linear", |c| {
            c.variant.scaling = RopeScaling::LongRope {
                short_factor: vec![1.0, 1.1, 1.3, 1.7],
                long_factor: vec![1.0, 2.0, 3.0, 4.0],
                original_max_position_embeddings: 24,
                attention_factor: 1.19,
            }
        }),
        ("smollm3", |c| {
            c.layers = 4;
            c.variant.layers = vec![LayerKind::PLAIN; 4];
            c.variant.layers[3].rope = LayerRope::None;
        }),
        ("mistral", |c| c.variant.layers = Vec::new()),
        ("mistral", |c| c.variant.layers[0] = LayerKind::PLAIN),
        ("gemma2", |c| {
            c.variant.query_scalar = Some(8.0);
            c.variant.layers.rotate_left(1);
        }),
        ("gemma3", |c| {
            c.variant.query_scalar = Some(8.0);
            c.variant.logit_cap = Some(20.0);
            let last = c.variant.layers.pop();
            c.variant.layers.splice(0..0, last);
        }),
        ("gemma3", |c| {
            c.variant.query_scalar = Some(8.0);
            c.tied = false;
            c.variant.layers = Vec::new();
        }),
        ("rope_linear", |c| c.variant.scaling = RopeScaling::Default),
    ];
    for (number, (name, change)) in cases.into_iter().enumerate() {
        let mut config = of(name);
        change(&mut config);
        let folder = dir.path().join(format!("{number}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.json"), config.to_hugging_face()).unwrap();
        let params = moments(&config, 3);
        crate::formats::save_model(&folder.join("model.safetensors"), &config, &params).unwrap();
        let file = dir.path().join(format!("{number}.gguf"));
        write(&folder, &file, Target::Gguf).unwrap();
        // As a file of another program, without the folder's configuration.
        let mut bytes = fs::read(&file).unwrap();
        let own = b"backpropane.file.config.json";
        let at = bytes.windows(own.len()).position(|w| w == own).unwrap();
        bytes[at] = b'x';
        fs::write(&file, bytes).unwrap();
        let [want, got] = [&folder, &file].map(|path| open_model(path, None).unwrap().config);
        assert_eq!(difference(&want, &got), None, "{name}, number {number}");
    }
}
