//! Against files of `tests/gguf`, which its `record.py` makes with the `gguf`, `tokenizers` and `sentencepiece` packages.

mod gemma;

use std::fs;
use std::path::PathBuf;

use super::blocks::{BlockFormat, Kept};
use super::header::MetadataValue;
use super::values::KeyError;
use super::*;
use crate::config::RopeScaling;
use crate::formats::WeightType;
use crate::fs::TensorFile;
use serde_json::Value as Json;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/gguf").join(name)
}

#[test]
fn every_block_format_decodes_to_the_bits_of_ggml() {
    let data = fs::read(file("blocks.bin")).unwrap();
    let word = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
    let (mut at, mut seen, mut coded) = (0, 0, 0);
    while at < data.len() {
        let (format, blocks) = (BlockFormat::find(word(at)).unwrap(), word(at + 4) as usize);
        at += 8;
        let mut got = vec![0.0; blocks * format.elements];
        let mut kept = Kept::default();
        format.decode_all(&data[at..at + blocks * format.bytes], &mut got, &mut kept);
        at += blocks * format.bytes;
        for (i, x) in got.iter().enumerate() {
            assert_eq!(x.to_bits(), word(at + 4 * i), "{} at {i}", format.name);
        }
        at += 4 * got.len();
        seen += 1;
        // Kept as codes, they are the same numbers rounded to half precision.
        let Some(matrix) = format.matrix([1, got.len()], kept) else { continue };
        let mut values = vec![0.0; got.len()];
        matrix.values(0, &mut values);
        for (x, kept) in got.iter().zip(&values) {
            assert_eq!(half::f16::from_f32(*x).to_f32().to_bits(), kept.to_bits(), "{}", format.name);
        }
        coded += 1;
    }
    assert_eq!(coded, 13, "all quantised formats");
    assert_eq!(seen, 14, "BF16 and all quantised formats");
}

#[test]
fn numbers_are_encoded_to_the_bits_of_ggml() {
    let data = fs::read(file("encoded.bin")).unwrap();
    let word = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().unwrap());
    let (mut at, mut seen) = (0, 0);
    while at < data.len() {
        let (id, count) = (word(at), word(at + 4) as usize);
        let kind = WeightType::ALL.into_iter().find(|kind| kind.ggml_id() == id).unwrap();
        let numbers: Vec<f32> = (0..count).map(|i| f32::from_bits(word(at + 8 + 4 * i))).collect();
        at += 8 + 4 * count;
        let mut got = Vec::new();
        encode::encode(kind, &numbers, &mut got);
        let want = &data[at..at + got.len()];
        let differs = got.iter().zip(want).position(|(a, b)| a != b);
        assert_eq!(differs, None, "{} in a block of {} bytes", kind.name(), got.len());
        assert_eq!(BlockFormat::find(id).unwrap().size(count), Some(got.len()));
        at += got.len();
        seen += 1;
    }
    assert_eq!(seen, WeightType::ALL.len());
}

#[test]
fn every_pre_tokenizer_gives_the_ids_of_its_library() {
    let recorded: Json = serde_json::from_slice(&fs::read(file("pre.json")).unwrap()).unwrap();
    let texts = |key: &str| {
        let texts = recorded[key].as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned());
        texts.collect::<Vec<_>>()
    };
    let tokens = texts("tokens");
    let types = (0..tokens.len()).map(|id| if id < 3 { 3 } else { 1 }).collect();
    let by_name = recorded["ids"].as_object().unwrap();
    assert_eq!(by_name.len(), tokenizer::PRE_NAMES.len());
    for (name, want) in by_name {
        let json = with_keys(&[
            ("tokenizer.ggml.model", MetadataValue::Str("gpt2".to_owned())),
            ("tokenizer.ggml.pre", MetadataValue::Str(name.clone())),
            ("tokenizer.ggml.tokens", MetadataValue::Strs(tokens.clone())),
            ("tokenizer.ggml.token_type", MetadataValue::Ints(Vec::clone(&types))),
            ("tokenizer.ggml.merges", MetadataValue::Strs(texts("merges"))),
            ("tokenizer.ggml.add_bos_token", MetadataValue::Bool(false)),
        ]);
        let tokenizer =
            Tokenizer::from_json_in(Path::new("pre.json"), json.unwrap().unwrap().as_bytes()).unwrap();
        for (text, want) in texts("texts").iter().zip(want.as_array().unwrap()) {
            let want: Vec<u32> =
                want.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            assert_eq!(tokenizer.encode(text).unwrap(), want, "{name}: {text:?}");
        }
    }
}

#[test]
fn weights_configuration_and_metadata_are_those_of_the_folder() {
    let model = Gguf.open(&file("bpe.gguf"), None).unwrap();
    let config = &model.config;
    assert_eq!((config.dim, config.layers, config.kv_heads, config.vocab, config.seq), (32, 2, 2, 320, 64));
    assert_eq!((config.rms_eps, config.rope.theta, config.tied), (1e-5, 50_000.0, true));
    assert_eq!(config.rope.kind, RopeKind::RotateHalf);
    let want =
        super::super::load_params_from(&TensorFile::open(&file("bpe.safetensors")).unwrap(), config, "");
    let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert!(bits(&model.params) == bits(&want.unwrap()), "weights differ");
    assert_eq!(model.metadata.ends(), [2]);
    let json = model.metadata.config_json(config, model.tokenizer.as_ref());
    assert!(json.contains("\"max_position_embeddings\": 64"), "{json}");
}

#[test]
fn tokenizers_give_the_ids_of_their_libraries() {
    let ids: Json = serde_json::from_slice(&fs::read(file("ids.json")).unwrap()).unwrap();
    for (name, key) in [("bpe.gguf", "bpe"), ("spm.gguf", "spm")] {
        let path = file(name);
        let tokenizer = Open::new(&path).unwrap().tokenizer().unwrap().unwrap();
        for (text, want) in ids["texts"].as_array().unwrap().iter().zip(ids[key].as_array().unwrap()) {
            let text = text.as_str().unwrap();
            let want: Vec<u32> =
                want.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            assert_eq!(tokenizer.encode(text).unwrap(), want, "{name}: {text:?}");
            if !text.contains("<|") {
                let own = want.strip_prefix(&[1]).filter(|_| key == "spm").unwrap_or(&want);
                assert_eq!(tokenizer.decode(own), text, "{name}");
            }
        }
    }
}

/// What is said of `bpe.gguf` after `change`.
fn refusal(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let mut bytes = fs::read(file("bpe.gguf")).unwrap();
    change(&mut bytes);
    fs::write(&path, bytes).unwrap();
    let error = Gguf.open(&path, None).unwrap_err().to_string();
    error.replace(&path.display().to_string(), "m.gguf")
}

fn find(bytes: &[u8], text: &str) -> usize {
    bytes.windows(text.len()).position(|w| w == text.as_bytes()).unwrap()
}

#[test]
fn broken_files_are_refused_with_the_reason() {
    let set = |at: usize, with: Vec<u8>| move |b: &mut Vec<u8>| b[at..at + with.len()].copy_from_slice(&with);
    // A key is followed by four bytes of type and its value.
    let value = |key: &'static str, with: Vec<u8>| {
        move |b: &mut Vec<u8>| {
            let at = find(b, key) + key.len() + 4;
            b[at..at + with.len()].copy_from_slice(&with);
        }
    };
    type Damage = Box<dyn FnOnce(&mut Vec<u8>)>;
    let cases: Vec<(Damage, &str)> = vec![
        (Box::new(|b| b.truncate(3)), "it does not begin with `GGUF`"),
        (Box::new(set(4, vec![1, 0, 0, 0])), "its version is 1; versions 2 and 3 can be read"),
        (Box::new(set(4, vec![0, 0, 0, 3])), "its byte order is big-endian"),
        (Box::new(set(8, vec![255; 8])), "the list of tensors has 18446744073709551615 entries"),
        (Box::new(|b| b.truncate(30)), "the list of tensors has 20 entries; at most 0 can be read"),
        (Box::new(|b| b.truncate(2000)), "`tokenizer.ggml.tokens` has 320 entries; at most 178 can be read"),
        (Box::new(|b| b.truncate(b.len() - 1)), "tensor `output_norm.weight` reaches to byte"),
        (Box::new(value("llama.block_count", vec![3, 0, 0, 0])), "has no tensor `blk.2.attn_norm.weight`"),
        (
            Box::new(value("llama.block_count", vec![1, 0, 0, 0])),
            "a tensor `blk.1.attn_norm.weight` that this model",
        ),
        (
            Box::new(value("llama.feed_forward_length", vec![96, 0, 0, 0])),
            "`blk.0.ffn_gate.weight` has shape [64, 32]",
        ),
        (
            Box::new(value(
                "general.architecture",
                [5, 0, 0, 0, 0, 0, 0, 0].into_iter().chain(*b"gpt-2").collect(),
            )),
            "its architecture is `gpt-2`",
        ),
        (
            Box::new(value(
                "tokenizer.ggml.pre",
                [6, 0, 0, 0, 0, 0, 0, 0].into_iter().chain(*b"qwen35").collect(),
            )),
            "cannot be read: `tokenizer.ggml.pre` = \"qwen35\" is not supported",
        ),
        (
            Box::new(value("llama.rope.dimension_count", vec![4, 0, 0, 0])),
            "= 4, of 8 channels of a head, is not supported",
        ),
        (
            Box::new(|b| {
                let at = find(b, "blk.0.attn_v.weight") + 19 + 4 + 16;
                b[at] = 16;
            }),
            "tensor `blk.0.attn_v.weight` is stored as IQ2_XXS, which cannot be read",
        ),
        (
            Box::new(|b| {
                let at = find(b, "blk.0.attn_v.weight") + 19 + 4 + 16;
                b[at] = 12;
            }),
            "tensor `blk.0.attn_v.weight` has rows of 32 numbers, which are not whole blocks of Q4_K (256)",
        ),
    ];
    for (change, want) in cases {
        let got = refusal(change);
        assert!(got.contains(want), "{got}\n  should say: {want}");
    }
}

/// A head with the keys of `spm.gguf`, some of them replaced, and a zero embedding.
fn with_keys(keys: &[(&str, MetadataValue)]) -> Result<Option<String>, KeyError> {
    let path = file("spm.gguf");
    let mut header = Open::new(&path).unwrap().parts.header;
    for (key, value) in keys {
        header.keys.retain(|(k, _)| k != key);
        header.keys.push(((*key).to_owned(), value.clone()));
    }
    let mut found = config_keys(&header)?;
    rope::add_scaling(&header, &rope::Tables::new(), &mut found)?;
    tokenizer::tokenizer_json(&header)
}

#[test]
fn what_would_change_the_results_unseen_is_refused() {
    let float = |x: f64| MetadataValue::Float(x);
    for (key, value) in [
        ("llama.rope.scaling.type", MetadataValue::Str("sinks".to_owned())),
        ("llama.attention.causal", MetadataValue::Bool(false)),
        ("llama.expert_count", MetadataValue::Int(8)),
        ("llama.rope.scaling.yarn_log_multiplier", float(0.1)),
        ("llama.attention.clamp_kqv", float(8.0)),
        ("llama.rope.dimension_sections", MetadataValue::Ints(vec![2, 2])),
        ("llama.logit_scale", float(0.1)),
        // Of other architectures.
        ("llama.attn_logit_softcapping", float(50.0)),
        ("llama.final_logit_softcapping", float(30.0)),
        ("llama.rope.freq_base_swa", float(1e4)),
        ("llama.hidden_activation", MetadataValue::Str("gelu".to_owned())),
        ("llama.attention.value_length", MetadataValue::Int(4)),
    ] {
        let error = with_keys(&[(key, value)]).unwrap_err();
        assert!(matches!(&error, KeyError::Unsupported { key: named, .. } if named == key), "{error}");
    }
    for (key, value) in [
        ("llama.rope.scaling.factor", float(1.0)),
        ("llama.rope.scaling.type", MetadataValue::Str("none".to_owned())),
        ("llama.expert_count", MetadataValue::Int(0)),
    ] {
        assert!(with_keys(&[(key, value)]).is_ok(), "{key}");
    }
}

#[test]
fn names_are_those_of_llama_cpp() {
    for (hf, gguf) in [
        ("model.embed_tokens.weight", Some("token_embd.weight")),
        ("model.layers.7.self_attn.q_proj.weight", Some("blk.7.attn_q.weight")),
        ("model.layers.7.self_attn.q_proj.bias", Some("blk.7.attn_q.bias")),
        ("model.layers.7.mlp.down_proj.bias", Some("blk.7.ffn_down.bias")),
        ("model.layers.7.self_attn.q_proj.scale", None),
        ("model.layers.7.q_proj.weight", None),
        ("model.layers.7.post_attention_layernorm.weight", Some("blk.7.ffn_norm.weight")),
    ] {
        assert_eq!(tensor_name(hf, false).as_deref(), gguf, "{hf}");
    }
    for (hf, gguf) in [
        ("post_attention_layernorm", "post_attention_norm"),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
    ] {
        let got = tensor_name(&format!("model.layers.7.{hf}.weight"), true);
        assert_eq!(got, Some(format!("blk.7.{gguf}.weight")));
    }
}

#[test]
fn scaled_rope_has_the_keys_of_hugging_face() {
    let path = file("spm.gguf");
    let mut header = Open::new(&path).unwrap().parts.header;
    let mut set = |key: &str, value| header.keys.push((format!("llama.rope.{key}"), value));
    set("scaling.factor", MetadataValue::Float(4.0));
    let scaling = |header: &Header, tables: &rope::Tables| {
        let mut keys = config_keys(header).unwrap();
        rope::add_scaling(header, tables, &mut keys).unwrap();
        ModelConfig::from_json_in(&path, &Json::from(keys).to_string()).unwrap().variant.scaling
    };
    assert_eq!(scaling(&header, &rope::Tables::new()), RopeScaling::Linear { factor: 4.0 });
    header.keys.push(("llama.rope.scaling.type".to_owned(), MetadataValue::Str("yarn".to_owned())));
    let found = scaling(&header, &rope::Tables::new());
    let want = 0.1 * 4f64.ln() + 1.0;
    assert!(
        matches!(found, RopeScaling::Yarn { attention_factor, original_max_position_embeddings: 64, .. }
        if attention_factor == want),
        "{found:?}"
    );
    header.keys.retain(|(key, _)| !key.contains("scaling"));
    let divisors = vec![1.0, 1.5, 2.0, 3.0];
    let tables = rope::Tables::from([("rope_freqs.weight", divisors)]);
    let found = scaling(&header, &tables);
    let want = vec![1.0, 1.5, 2.0, 3.0];
    assert!(matches!(found, RopeScaling::LongRope { short_factor, long_factor, attention_factor: 1.0, .. }
        if short_factor == want && long_factor == want));
}

#[test]
fn a_start_token_is_added_where_llama_cpp_adds_it() {
    let pre = |name: &str| ("tokenizer.ggml.pre", MetadataValue::Str(name.to_owned()));
    let merges = ("tokenizer.ggml.merges", MetadataValue::Strs(Vec::new()));
    let gpt2 = ("tokenizer.ggml.model", MetadataValue::Str("gpt2".to_owned()));
    let adds = |keys: &[(&str, MetadataValue)]| {
        let json = with_keys(keys).unwrap().unwrap();
        serde_json::from_str::<Json>(&json).unwrap()["post_processor"]["type"] == "TemplateProcessing"
    };
    assert!(adds(&[]), "SentencePiece");
    for (name, want) in
        [("llama-bpe", true), ("tekken", true), ("smollm", false), ("qwen2", false), ("default", false)]
    {
        assert_eq!(adds(&[gpt2.clone(), merges.clone(), pre(name)]), want, "{name}");
        let no = ("tokenizer.ggml.add_bos_token", MetadataValue::Bool(false));
        assert!(!adds(&[gpt2.clone(), merges.clone(), pre(name), no]), "{name}");
    }
}

#[test]
fn hostile_texts_are_bounded_and_escaped() {
    let error =
        with_keys(&[("tokenizer.ggml.tokens", MetadataValue::Strs(vec!["a".repeat(100_000)]))]).unwrap_err();
    assert!(error.to_string().contains("a list with a token of 100000 bytes"), "{error}");
    let error = with_keys(&[("general.architecture", MetadataValue::Str("\u{1b}[31m".repeat(30)))])
        .unwrap_err()
        .to_string();
    assert!(!error.contains('\u{1b}') && error.len() < 300, "{error}");
}
