use std::fs;
use std::path::{Path, PathBuf};

use tempfile::{TempDir, tempdir};

use super::super::open_model;
use super::*;
use crate::config::{ModelConfig, RopeKind, init_params};
use crate::fs::TensorFile;
use crate::testing::{bits, moments, small};

/// The repository's folder `tests`.
fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests")
}

/// A folder to work in, with llama2.c's checkpoint `m.bin` and its tokenizer.
fn stories() -> TempDir {
    let dir = tempdir().unwrap();
    for (from, to) in [("stories260K.bin", "m.bin"), ("tok512.bin", "tokenizer.bin")] {
        fs::copy(tests().join("fixtures").join(from), dir.path().join(to)).unwrap();
    }
    dir
}

fn to(to: Target) -> ExportOptions<'static> {
    ExportOptions { to, dtype: WeightType::F32, shard_size: None, tokenizer: None }
}

/// Writes a folder with a model without a tokenizer.
fn folder(dir: &Path, config: &ModelConfig, params: &[f32]) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(CONFIG), config.to_hugging_face()).unwrap();
    crate::formats::save_model(&dir.join("model.safetensors"), config, params).unwrap();
}

fn same_files(a: &Path, b: &Path) {
    let names = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(a), names(b));
    for name in names(a) {
        assert!(fs::read(a.join(&name)).unwrap() == fs::read(b.join(&name)).unwrap(), "{name:?}");
    }
}

#[test]
fn a_llama2c_checkpoint_comes_back_from_a_folder_byte_for_byte() {
    let dir = stories();
    let at = |name: &str| dir.path().join(name);
    let exported = export(&at("m.bin"), &at("folder"), &to(Target::HuggingFace)).unwrap();
    assert!(exported.lost.is_empty(), "{:?}", exported.lost);
    fs::create_dir(at("back")).unwrap();
    export(&at("folder"), &at("back/m.bin"), &to(Target::Llama2c)).unwrap();
    for name in ["m.bin", "tokenizer.bin"] {
        assert!(fs::read(at(name)).unwrap() == fs::read(at("back").join(name)).unwrap(), "{name}");
    }
    // Other programs get a tokenizer that they can read, with the same ids.
    let own = Tokenizer::load(&at("tokenizer.bin"), Some(512)).unwrap();
    let other = Tokenizer::load(&at("folder/tokenizer.json"), Some(512)).unwrap();
    for text in ["Once upon a time", "Lily said: \"Hi\"\n\n  12 \u{e9}\u{1f600}", ""] {
        assert_eq!(own.encode(text).unwrap(), other.encode(text).unwrap(), "{text}");
    }
}

#[test]
fn a_folder_comes_back_from_gguf_as_it_was() {
    let dir = stories();
    let at = |name: &str| dir.path().join(name);
    fs::copy(tests().join("gguf/bpe.gguf"), at("source.gguf")).unwrap();
    for (name, source) in [("spm", "m.bin"), ("bpe", "source.gguf")] {
        let [folder, file, back] = ["folder", "gguf", "back"].map(|kind| at(&format!("{name}.{kind}")));
        export(&at(source), &folder, &to(Target::HuggingFace)).unwrap();
        // What only llama2.c has is not kept.
        for other in ["llama2c-rope.bin", "tokenizer.bin"] {
            let _ = fs::remove_file(folder.join(other));
        }
        fs::write(folder.join("generation_config.json"), "{\"eos_token_id\": [2, 1], \"top_k\": 7}").unwrap();
        fs::write(folder.join("chat_template.jinja"), "{{ messages }}").unwrap();
        export(&folder, &file, &to(Target::Gguf)).unwrap();
        export(&file, &back, &to(Target::HuggingFace)).unwrap();
        same_files(&folder, &back);
        let [a, b] = [&folder, &file].map(|path| open_model(path, None).unwrap());
        assert_eq!((a.config, a.metadata.ends()), (b.config, b.metadata.ends()), "{name}");
    }
}

#[test]
fn every_architecture_goes_through_gguf_without_loss() {
    let dir = tempdir().unwrap();
    let small = ModelConfig { qk_norm: false, ..small() };
    for (name, config) in [
        ("llama", small.clone()),
        ("tied", ModelConfig { tied: true, ..small.clone() }),
        ("qwen3", ModelConfig { qk_norm: true, ..small.clone() }),
        (
            "pairs",
            ModelConfig { rope: crate::config::Rope { kind: RopeKind::Interleaved, ..small.rope }, ..small },
        ),
    ] {
        let params = moments(&config, 3);
        folder(&dir.path().join(name), &config, &params);
        let want = open_model(&dir.path().join(name), None).unwrap();
        let file = dir.path().join(format!("{name}.gguf"));
        export(&dir.path().join(name), &file, &to(Target::Gguf)).unwrap();
        let got = open_model(&file, None).unwrap();
        // Norms of queries and keys too; rows are in the order of a folder in both.
        let folder = dir.path().join(format!("{name}.folder"));
        export(&dir.path().join(name), &folder, &to(Target::HuggingFace)).unwrap();
        let saved = open_model(&folder, None).unwrap();
        assert_eq!(bits(&got.params), bits(&saved.params), "{name}");
        assert_eq!(got.config, saved.config, "{name}");
        assert_eq!(want.params.len(), got.params.len());
    }
}

#[test]
fn numbers_are_rounded_once_to_the_format_that_is_asked_for() {
    let dir = stories();
    let at = |name: &str| dir.path().join(name);
    let exact = open_model(&at("m.bin"), None).unwrap();
    let most = |range: std::ops::Range<usize>, got: &[f32]| {
        let pairs = exact.params[range.clone()].iter().zip(&got[range]);
        pairs.map(|(a, b)| (a - b).abs() / a.abs().max(1e-3)).fold(0.0, f32::max)
    };
    // Of a number: half the distance to the next; of a block: that of its largest.
    for (dtype, limit) in [(WeightType::F16, 5e-4), (WeightType::BF16, 4e-3)] {
        for kind in [Target::Gguf, Target::HuggingFace] {
            let out = at(&format!("{}-{}", kind.name(), dtype.name()));
            export(&at("m.bin"), &out, &ExportOptions { dtype, ..to(kind) }).unwrap();
            let got = open_model(&out, None).unwrap();
            assert!(most(0..exact.params.len(), &got.params) <= limit, "{dtype:?}");
            assert_ne!(bits(&got.params), bits(&exact.params));
        }
    }
    for (dtype, steps) in [(WeightType::Q8_0, 254.0), (WeightType::Q4_0, 14.0)] {
        let out = at(&format!("m-{}.gguf", dtype.name()));
        export(&at("m.bin"), &out, &ExportOptions { dtype, ..to(Target::Gguf) }).unwrap();
        let got = open_model(&out, None).unwrap();
        let gate = exact.config.params().into_iter().find(|p| p.name.contains("gate_proj")).unwrap();
        for (a, b) in exact.params[gate.range()].chunks(32).zip(got.params[gate.range()].chunks(32)) {
            let largest = a.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            // Half a step, and a rounding of the scale to f16; the end opposite of the largest is cut by a step.
            let limit = largest * (1.0 / steps + if dtype == WeightType::Q4_0 { 1.0 / 14.0 } else { 1e-3 });
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= limit), "{dtype:?}");
        }
        // Rows of 172 numbers are no whole blocks.
        let down = exact.config.params().into_iter().find(|p| p.name.contains("down_proj")).unwrap();
        assert!(most(down.range(), &got.params) <= 5e-4);
    }
    let bf16 = fs::read(at("hf-bf16/config.json")).unwrap();
    assert!(String::from_utf8(bf16).unwrap().contains("\"torch_dtype\": \"bfloat16\""));
    assert!(TensorFile::open(&at("hf-bf16/model.safetensors")).unwrap().has_checksums());
}

#[test]
fn what_a_format_cannot_hold_is_refused_and_nothing_is_replaced() {
    let dir = stories();
    let at = |name: &str| dir.path().join(name);
    let small = small();
    let params = init_params(&small, 3);
    let mut large = params.clone();
    large[0] = 1e5;
    folder(&at("large"), &small, &large);
    folder(&at("small"), &small, &params);
    let qwen = ModelConfig { qk_norm: true, ..small.clone() };
    folder(&at("qwen"), &qwen, &moments(&qwen, 3));
    let none =
        ModelConfig { rope: crate::config::Rope { kind: RopeKind::None, ..small.rope }, ..small.clone() };
    folder(&at("none"), &none, &params);
    let theta = ModelConfig {
        rope: crate::config::Rope { theta: 5e5, ..small.rope },
        rms_eps: 1e-5,
        ..small.clone()
    };
    folder(&at("theta"), &theta, &params);
    let as_dtype = |kind: Target, dtype: WeightType| ExportOptions { dtype, ..to(kind) };
    let f16 = as_dtype(Target::Gguf, WeightType::F16);
    let rows: [(&str, &str, ExportOptions<'_>, &str); 9] = [
        (
            "large",
            "new",
            f16,
            "tensor `model.embed_tokens.weight` has a number of magnitude 100000, which overflows",
        ),
        (
            "large",
            "new",
            as_dtype(Target::HuggingFace, WeightType::F16),
            "written as f16: tensor `model.embed_tokens.weight`",
        ),
        ("small", "new", as_dtype(Target::HuggingFace, WeightType::Q8_0), "its numbers cannot be q8_0"),
        ("small", "new", as_dtype(Target::Llama2c, WeightType::F16), "its numbers cannot be f16"),
        ("small", "new", ExportOptions { shard_size: Some(1), ..to(Target::Llama2c) }, "it is one file"),
        ("qwen", "new", to(Target::Llama2c), "it has head_dim = 4, and the format has head_dim = 2"),
        ("none", "new", to(Target::Gguf), "it has no RoPE"),
        ("theta", "new", to(Target::Llama2c), "it has"),
        ("small", "m.bin", to(Target::Gguf), "m.bin` exists already"),
    ];
    let before = fs::read(at("m.bin")).unwrap();
    for (from, out, options, want) in rows {
        let error = export(&at(from), &at(out), &options).unwrap_err();
        assert!(error.to_string().contains(want), "{error}\n  should say: {want}");
        assert!(error.hint().is_some(), "{error}");
        assert!(!at("new/config.json").exists());
        let _ = fs::remove_dir_all(at("new"));
    }
    assert!(before == fs::read(at("m.bin")).unwrap());
    let error = export(&at("m.bin"), &at("small"), &to(Target::HuggingFace)).unwrap_err();
    assert!(matches!(error, TrainError::Exists { .. }), "{error}");
}
