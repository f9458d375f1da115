use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::tempdir;

use super::files::Adapter;
use super::*;
use crate::config::ModelConfig;
use crate::formats::export::{ExportOptions, Target};
use crate::formats::{WeightType, open_model};
use crate::fs::{NamedTensor, TensorFile, write_tensors};
use crate::testing::small;

/// The repository's folder `tests`.
fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests")
}

/// A copy of the recorded adapter of `qwen2` with other keys.
fn with_keys(dir: &Path, change: impl FnOnce(&mut Value)) {
    let from = tests().join("lora/qwen2");
    fs::copy(from.join(ADAPTER), dir.join(ADAPTER)).unwrap();
    let mut keys: Value = serde_json::from_slice(&fs::read(from.join(ADAPTER_CONFIG)).unwrap()).unwrap();
    change(&mut keys);
    fs::write(dir.join(ADAPTER_CONFIG), keys.to_string()).unwrap();
}

#[test]
fn arithmetic_that_is_not_built_is_refused_by_name() {
    let dir = tempdir().unwrap();
    for (key, value) in [
        ("peft_type", json!("LOHA")),
        ("task_type", json!("SEQ_CLS")),
        ("bias", json!("lora_only")),
        ("lora_bias", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("init_lora_weights", json!("pissa")),
        ("init_lora_weights", json!("corda")),
        ("init_lora_weights", json!("eva")),
        ("layer_replication", json!([[0, 2]])),
        ("target_parameters", json!(["mlp.experts"])),
        ("trainable_token_indices", json!([1])),
        ("alora_invocation_tokens", json!([1, 2])),
        ("use_qalora", json!(true)),
        ("arrow_config", json!({"top_k": 2})),
        ("use_something_of_tomorrow", json!(true)),
    ] {
        with_keys(dir.path(), |keys| keys[key] = value.clone());
        let error = Adapter::open(dir.path()).expect_err(key).to_string();
        assert!(error.contains(&format!("`{key}` = {value}: this is not built")), "{error}");
    }
    for (key, value, want) in [
        ("r", json!(0), "`r` is not a number of at least 1"),
        ("lora_alpha", json!("many"), "`lora_alpha` is \"many\", not a number"),
        ("rank_pattern", json!({"(": 3}), "`rank_pattern` has the pattern `(`"),
        ("alpha_pattern", json!({"q_proj": -1}), "`alpha_pattern` of `q_proj` is not a number above 0"),
    ] {
        with_keys(dir.path(), |keys| keys[key] = value);
        let error = Adapter::open(dir.path()).expect_err(key).to_string();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn an_adapter_of_another_model_is_refused_by_tensor_and_shapes() {
    let adapter = Adapter::open(&tests().join("lora/qwen2")).unwrap();
    let config =
        ModelConfig { hidden: 50, ..open_model(&tests().join("architectures/qwen2"), None).unwrap().config };
    let mut params = vec![0.0; config.param_count()];
    let error = adapter.merge(&config, &mut params, 1.0).unwrap_err().to_string();
    let want = "tensor `base_model.model.model.layers.0.mlp.down_proj.lora_A.weight` has shape [3, 48], and the model's \
                `model.layers.0.mlp.down_proj.weight` [32, 50]";
    assert!(error.contains(want), "{error}");
    let fewer = ModelConfig { layers: 1, ..config };
    let error = adapter.merge(&fewer, &mut params, 1.0).unwrap_err().to_string();
    assert!(error.contains("which the model does not have") || error.contains("has shape"), "{error}");
    assert!(adapter.merge(&small(), &mut vec![0.0; small().param_count()], 1.0).is_err());

    // Another rank than the configuration says.
    let dir = tempdir().unwrap();
    with_keys(dir.path(), |keys| keys["r"] = json!(4));
    let error = open_model(dir.path(), None).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("architectures/qwen2`, which is not here"), "{error}");
    let adapters = [AdapterRef { path: dir.path().to_owned(), weight: 1.0 }];
    let base = tests().join("architectures/qwen2");
    let error = ModelRef { path: Some(&base), adapters: &adapters }.open(None).unwrap_err().to_string();
    assert!(error.contains("its factors have rank 3, and `adapter_config.json` says 4"), "{error}");
}

#[test]
fn mlx_adapters_are_transposed_and_have_the_factor_itself() {
    let (dir, from) = (tempdir().unwrap(), tests().join("lora/qwen2"));
    let file = TensorFile::open(&from.join(ADAPTER)).unwrap();
    let mut owned = Vec::new();
    for name in file.names() {
        let [rows, cols] = file.shape(&name).unwrap()[..] else { panic!("{name}") };
        let mut values = vec![0.0; rows * cols];
        file.read(&name, &[rows, cols], &mut values).unwrap();
        let turned: Vec<f32> = (0..rows * cols).map(|i| values[i % rows * cols + i / rows]).collect();
        let name = name.trim_start_matches("base_model.model.").trim_end_matches(".weight").to_owned();
        owned.push((name.replace("lora_A", "lora_a").replace("lora_B", "lora_b"), vec![cols, rows], turned));
    }
    let tensor =
        |(name, shape, data): &'_ (String, Vec<usize>, Vec<f32>)| (name.clone(), shape.clone(), data.clone());
    let copies: Vec<_> = owned.iter().map(tensor).collect();
    let tensors: Vec<NamedTensor<'_>> = copies
        .iter()
        .map(|(name, shape, data)| NamedTensor { name: name.clone(), shape: shape.clone(), data })
        .collect();
    write_tensors(&dir.path().join("adapters.safetensors"), None, &tensors).unwrap();
    let keys = json!({"fine_tune_type": "lora", "num_layers": 2, "model": "somewhere",
        "lora_parameters": {"rank": 3, "scale": 2.0, "dropout": 0.0}});
    fs::write(dir.path().join(ADAPTER_CONFIG), keys.to_string()).unwrap();
    let base = tests().join("architectures/qwen2");
    let merged = |path: &Path, weight| {
        let adapters = [AdapterRef { path: path.to_owned(), weight }];
        ModelRef { path: Some(&base), adapters: &adapters }.open(None).unwrap().params
    };
    // alpha 6 over rank 3.
    assert!(merged(dir.path(), 1.0) == merged(&from, 1.0));

    // Half of it twice is all of it, to a rounding of each addition: 2⁻²⁴ of weights of at most 4.
    let half = AdapterRef { path: from.clone(), weight: 0.5 };
    let adapters = [half.clone(), half];
    let twice = ModelRef { path: Some(&base), adapters: &adapters }.open(None).unwrap().params;
    let whole = merged(&from, 1.0);
    assert!(twice.iter().zip(&whole).all(|(a, b)| (a - b).abs() <= 4.0 / (1 << 23) as f32));
    assert!(whole != open_model(&base, None).unwrap().params);
    fs::write(dir.path().join(ADAPTER_CONFIG), json!({"fine_tune_type": "full"}).to_string()).unwrap();
    assert!(Adapter::open(dir.path()).unwrap_err().to_string().contains("`fine_tune_type` = full"));
}

#[test]
fn an_adapter_is_exported_alone() {
    let dir = tempdir().unwrap();
    let options = |to| ExportOptions { to, dtype: WeightType::F32, shard_size: None, tokenizer: None };
    for name in ["llama_bias", "qwen2"] {
        let from = tests().join("lora").join(name);
        let (folder, file) = (dir.path().join(name), dir.path().join(format!("{name}.gguf")));
        export_adapter(&from, &folder, &options(Target::HuggingFace)).unwrap();
        assert_eq!(fs::read(folder.join(ADAPTER)).unwrap(), fs::read(from.join(ADAPTER)).unwrap());
        let exported = export_adapter(&from, &file, &options(Target::Gguf)).unwrap();
        assert_eq!(exported.files, std::slice::from_ref(&file));
        let text = fs::read(&file).unwrap();
        let has = |what: &str| text.windows(what.len()).any(|w| w == what.as_bytes());
        let arch = if name == "qwen2" { "qwen2" } else { "llama" };
        for what in [arch, "general.type", "adapter", "adapter.lora.alpha", "blk.0.attn_q.weight.lora_a"] {
            assert!(has(what), "{name}: {what}");
        }
        assert!(matches!(
            export_adapter(&from, &file, &options(Target::Gguf)),
            Err(TrainError::Exists { .. })
        ));
        let error = export_adapter(&from, &dir.path().join("l"), &options(Target::Llama2c)).unwrap_err();
        assert!(error.to_string().contains("llama2.c's format has no adapters"), "{error}");
    }
    for (name, want) in [("dora", "changes"), ("whole", "replaces `lm_head.weight`")] {
        let error =
            export_adapter(&tests().join("lora").join(name), &dir.path().join("x"), &options(Target::Gguf));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}
