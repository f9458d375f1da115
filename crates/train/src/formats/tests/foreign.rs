//! Models of other programs, quantised folders, and the later versions of llama2.c.

use serde_json::json;

use super::*;

#[test]
fn models_of_other_programs_are_refused_with_what_converts_them() {
    let dir = tempdir().unwrap();
    let weights = b"\x20\0\0\0\0\0\0\0{\"__metadata__\":{\"format\":\"pt\"}}".to_vec();
    let zip = |name: &str| [b"PK\x03\x04\0\0\0\0\0\0", &[0; 16][..], name.as_bytes(), &[0; 40]].concat();
    fs::create_dir(dir.path().join("beside")).unwrap();
    fs::write(dir.path().join("beside").join(CONFIG), "{}").unwrap();
    // The name says nothing.
    for (name, bytes, what, remedy) in [
        ("pytorch_model.bin", zip("archive/data.pkl"), "a pickle of PyTorch", "save_file"),
        ("model.gguf", zip("archive/data.pkl"), "a pickle of PyTorch", "torch.load('"),
        (
            "old.pt",
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.".to_vec(),
            "a pickle of PyTorch",
            "'model.safetensors'",
        ),
        ("new.json", b"\x80\x04\x95\x10\0\0\0\0\0\0\0}".to_vec(), "a pickle of PyTorch", "save_file"),
        ("a.zip", zip("readme.txt"), "a zip archive", "Unpack it"),
        ("tokens.npz", zip("arr_0.npy"), "a NumPy archive", "`--data`"),
        ("m.onnx", b"\x08\x07\x12\x07pytorch\x1a\x052.1.0".to_vec(), "a model of ONNX", "hf download"),
        ("m.safetensors", weights.clone(), "weights alone, in safetensors", "Name a folder with it"),
        ("beside/m.bin", weights, "weights alone, in safetensors", "beside`."),
        ("m.h5", b"\x89HDF\r\n\x1a\n\0".to_vec(), "weights in HDF5, as of Keras", "Hugging Face"),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = open_model(&path, None).unwrap_err();
        assert_eq!(error.to_string(), format!("`{}` is {what}, which is not read", path.display()));
        assert!(error.hint().unwrap().contains(remedy), "{name}: {:?}", error.hint());
        assert!(matches!(info(&path), Err(TrainError::Foreign { .. })), "{name}");
    }
}

#[test]
fn quantised_folders_are_refused_by_the_key() {
    let dir = tempdir().unwrap();
    let config = small();
    save_model(&dir.path().join(WEIGHTS), &config, &init_params(&config, 1)).unwrap();
    let mut keys: serde_json::Value = serde_json::from_str(&config.to_hugging_face()).unwrap();
    let mut refusal = |key: &str, value: serde_json::Value| {
        keys[key] = value;
        fs::write(dir.path().join(CONFIG), keys.to_string()).unwrap();
        keys.as_object_mut().unwrap().remove(key);
        open_model(dir.path(), None).map(drop)
    };
    for (key, value, remedy) in [
        ("quantization", json!({"group_size": 64, "bits": 4}), "mlx_lm.convert --hf-path"),
        (
            "quantization_config",
            json!({"quant_method": "awq", "modules": "x".repeat(200)}),
            "a GGUF file of it",
        ),
    ] {
        let error = refusal(key, value).unwrap_err();
        assert!(error.to_string().contains(&format!("config.json`: `{key}` = {{")), "{error}");
        assert!(error.to_string().ends_with(": quantised weights are not read"), "{error}");
        assert!(error.to_string().len() < 300 && error.hint().unwrap().contains(remedy), "{error}");
    }
    assert!(refusal("quantization_config", json!(null)).is_ok());
}

/// A checkpoint of llama2.c's version 1 or 2, whose weights count up in the order of the file; scales are 0.5.
fn later(version: i32, tied: bool) -> Vec<u8> {
    let (dim, hidden, layers, heads, kv_heads, vocab, seq) = (8, 12, 2, 2, 1, 6, 4);
    let mut bytes: Vec<u8> = [0x616b_3432, version, dim, hidden, layers, heads, kv_heads, vocab, seq]
        .iter()
        .flat_map(|word: &i32| word.to_le_bytes())
        .collect();
    bytes.push(tied.into());
    bytes.extend(4i32.to_le_bytes());
    bytes.resize(256, 0);
    let norms = (2 * layers * dim + dim) as usize;
    let (d, h, kv) = (dim as usize, hidden as usize, (dim / heads * kv_heads) as usize);
    let mut matrices = vec![6 * d];
    for size in [d * d, kv * d, kv * d, d * d, h * d, h * d, h * d] {
        matrices.extend([size; 2]);
    }
    matrices.extend((!tied).then_some(6 * d));
    if version == 1 {
        let all = norms + matrices.iter().sum::<usize>();
        bytes.extend((0..all).flat_map(|i| (i as f32).to_le_bytes()));
        return bytes;
    }
    bytes.extend((0..norms).flat_map(|i| (i as f32).to_le_bytes()));
    for (i, size) in matrices.into_iter().enumerate() {
        bytes.extend(std::iter::repeat_n(i as u8, size));
        bytes.extend(0.5f32.to_le_bytes().repeat(size / 4));
    }
    bytes
}

/// Source of the order: karpathy/llama2.c `export.py`, `version1_export` and `version2_export`.
#[test]
fn later_versions_of_llama2c_have_norms_first() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("m.bin");
    for (version, tied) in [(1, true), (1, false), (2, true), (2, false)] {
        fs::write(&path, later(version, tied)).unwrap();
        let model = open_model(&path, None).unwrap();
        assert_eq!((model.config.tied, model.config.hidden, model.config.kv_heads), (tied, 12, 1));
        let first = |name: &str| {
            let specs = model.config.params();
            model.params[specs.iter().find(|spec| spec.name == name).unwrap().offset]
        };
        let layer = |n: usize, name: &str| first(&format!("model.layers.{n}.{name}.weight"));
        // Attention norms 0, feed-forward norms 16, final norm 32, then matrices from 40 on.
        assert_eq!(layer(1, "input_layernorm"), 8.0);
        assert_eq!(layer(1, "post_attention_layernorm"), 24.0);
        assert_eq!(first("model.norm.weight"), 32.0);
        // Wq 88 and 152, Wk 216, Wv 280, Wo 344, W1 472, W2 664, W3 856; in version 2 half of the matrix's number.
        let want: [f32; 6] = match version {
            1 => [40.0, 88.0, 216.0, 280.0, 472.0, 856.0],
            _ => [0.0, 0.5, 1.5, 2.5, 4.5, 6.5],
        };
        let got = [
            first("model.embed_tokens.weight"),
            layer(0, "self_attn.q_proj"),
            layer(0, "self_attn.k_proj"),
            layer(0, "self_attn.v_proj"),
            layer(0, "mlp.gate_proj"),
            layer(0, "mlp.up_proj"),
        ];
        assert_eq!(got, want, "version {version}");
        assert_eq!(layer(0, "mlp.down_proj"), if version == 1 { 664.0 } else { 5.5 });
        if !tied {
            assert_eq!(first("lm_head.weight"), if version == 1 { 1048.0 } else { 7.5 });
        }
    }
    // Any other length, and impossible headers, are refused.
    let whole = later(2, true);
    let (shared, group) = (36, 37);
    let edit = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    for (bytes, want) in [
        (whole[..whole.len() - 1].to_vec(), "its header implies 2432 bytes, the file has 2431"),
        (whole[..40].to_vec(), "it has 40 bytes, too few for a header"),
        (edit(shared, 2), "its header says shared_classifier = 2"),
        (edit(group, 0), "its header says group_size = 0, and not all matrices are whole groups"),
        (edit(group, 7), "its header says group_size = 7, and not all matrices are whole groups"),
        (edit(8, 0), "its header says dim = 0"),
        (edit(31, 0x80), "its header says vocab = "),
    ] {
        fs::write(&path, bytes).unwrap();
        let error = open_model(&path, None).unwrap_err().to_string();
        assert!(error.contains(want), "{error}\n  should say: {want}");
    }
}

#[test]
fn groups_of_bytes_are_written_as_llama2c_writes_them() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("m.bin"), later(1, false)).unwrap();
    let options = |dtype| ExportOptions { to: Target::Llama2c, dtype, shard_size: None, tokenizer: None };
    export(&at("m.bin"), &at("q.bin"), &options(WeightType::Q8_0)).unwrap();
    let [exact, got] = ["m.bin", "q.bin"].map(|name| open_model(&at(name), None).unwrap());
    assert_eq!(exact.config, got.config);
    for spec in exact.config.params() {
        let pairs = exact.params[spec.range()].iter().zip(&got.params[spec.range()]);
        // Groups of 4 numbers; half a step of their largest.
        let limit = exact.params[spec.range()].iter().fold(0.0f32, |m, x| m.max(x.abs())) / 253.0;
        for (a, b) in pairs {
            assert!(
                (a - b).abs() <= if spec.shape.len() == 1 { 0.0 } else { limit },
                "{} {a} {b}",
                spec.name
            );
        }
    }
}
