//! Tokenizers: both kinds of files.

use super::Hostile;
use super::models::safetensors;
use serde_json::{Value, json};
use std::path::Path;

const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
"num_attention_heads": 2, "max_position_embeddings": 8, "rms_norm_eps": 1e-5, "vocab_size": 4000000}"#;

/// A small tokenizer of this kind: see `tests/tokenizers/record.py`.
fn base(kind: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tokenizers/recorded.json");
    let recorded: Value =
        serde_json::from_slice(&std::fs::read(path).expect("it is in the repository")).expect("JSON");
    recorded["bases"][kind].clone()
}

fn edited(kind: &str, edit: impl FnOnce(&mut Value)) -> String {
    let mut file = base(kind);
    edit(&mut file);
    file.to_string()
}

fn replace(pattern: Value, content: &str) -> Value {
    json!({"type": "Replace", "pattern": pattern, "content": content})
}

fn split(regex: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
}

fn added(n: usize, content: &str) -> Value {
    json!({"id": n, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
}

#[expect(clippy::too_many_lines, reason = "a table of files")]
pub fn add(to: &mut Hostile) {
    to.write("tokenizer.txt", "x ".repeat(1000));
    let nested = |key: &str, depth: usize| {
        let begin = format!("{{\"type\":\"Sequence\",\"{key}\":[").repeat(depth);
        begin + &"]}".repeat(depth)
    };
    let files: Vec<(&str, String)> = vec![
        (
            "a normalizer that repeats",
            edited("byte_level", |f| {
                let step = replace(json!({"String": "e"}), &"e".repeat(16));
                f["normalizer"] = json!({"type": "Sequence", "normalizers": vec![step; 8]});
            }),
        ),
        (
            "a normalizer that repeats by a regular expression",
            edited("byte_level", |f| {
                f["normalizer"] = replace(json!({"Regex": ""}), &"e".repeat(1 << 20));
            }),
        ),
        (
            "a prefix that repeats",
            edited("byte_level", |f| {
                let step = json!({"type": "Prepend", "prepend": "e".repeat(1 << 22)});
                f["normalizer"] = json!({"type": "Sequence", "normalizers": vec![step; 12]});
            }),
        ),
        (
            "a character map of 4 GiB",
            edited("byte_level", |f| {
                f["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "/////wAAAAA="});
            }),
        ),
        (
            "a character map that is cut",
            edited("byte_level", |f| {
                f["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAP//////"});
            }),
        ),
        (
            "a prefix of subwords",
            edited("byte_level", |f| {
                f["model"]["continuing_subword_prefix"] = json!("##");
            }),
        ),
        (
            "a template with an unknown token",
            edited("byte_level", |f| {
                f["post_processor"] = json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[NOPE]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {}});
            }),
        ),
        (
            "a template of 262,144 tokens",
            edited("byte_level", |f| {
                let ids = vec![1; 1 << 18];
                f["post_processor"] = json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
                "special_tokens": {"<s>": {"id": "<s>", "ids": ids, "tokens": vec!["<s>"; 1 << 18]}}});
            }),
        ),
        (
            "a template of a million tokens",
            edited("byte_level", |f| {
                f["post_processor"] = json!({"type": "TemplateProcessing", "single": vec![json!({"SpecialToken": {"id": "<s>", "type_id": 0}}); 1_000_000],
                "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}});
            }),
        ),
        (
            "a regular expression that backtracks",
            edited("byte_level", |f| {
                f["pre_tokenizer"] = split("(x+x+)+y");
            }),
        ),
        (
            "a regular expression that repeats repetitions",
            edited("byte_level", |f| {
                f["pre_tokenizer"] = split("(?:(?:(?:x{1000}){1000}){1000}){1000}");
            }),
        ),
        (
            "a regular expression of nested groups",
            edited("byte_level", |f| {
                f["pre_tokenizer"] = split(&("(".repeat(100_000) + &")".repeat(100_000)));
            }),
        ),
        (
            "a long regular expression",
            edited("byte_level", |f| {
                f["pre_tokenizer"] = split(&"(?:a|b)?\\p{L}".repeat(100_000));
            }),
        ),
        (
            "100,000 added tokens",
            edited("byte_level", |f| {
                f["added_tokens"] = (0..100_000).map(|n| added(1000 + n, &format!("<{n:x}>"))).collect();
            }),
        ),
        (
            "300,000 added tokens",
            edited("byte_level", |f| {
                f["added_tokens"] = (0..300_000).map(|n| added(1000 + n, &format!("<{n:x}>"))).collect();
            }),
        ),
        (
            "added tokens of 30 MiB",
            edited("byte_level", |f| {
                f["added_tokens"] = (0..30 << 10).map(|n| added(1000 + n, &format!("{n:01000x}"))).collect();
            }),
        ),
        (
            "an added token of 4 MiB",
            edited("byte_level", |f| {
                f["added_tokens"] = json!([added(1000, &"a".repeat(1 << 22))]);
            }),
        ),
        (
            "a million tokens",
            edited("byte_level", |f| {
                let vocab = f["model"]["vocab"].as_object_mut().expect("an object");
                (0..1 << 20).for_each(|n| _ = vocab.insert(format!("{n:x}"), json!(1000 + n)));
            }),
        ),
        (
            "530,000 pieces",
            edited("unigram", |f| {
                let vocab = f["model"]["vocab"].as_array_mut().expect("a list");
                (0..530_000).for_each(|n| vocab.push(json!([format!("{n:x}"), -1.0])));
            }),
        ),
        (
            "a million pieces",
            edited("unigram", |f| {
                let vocab = f["model"]["vocab"].as_array_mut().expect("a list");
                (0..1_000_000).for_each(|n| vocab.push(json!([format!("{n:x}"), -1.0])));
            }),
        ),
        (
            "60,000 pieces of 1000 bytes",
            edited("unigram", |f| {
                let vocab = f["model"]["vocab"].as_array_mut().expect("a list");
                (0..60_000).for_each(|n| vocab.push(json!([format!("{n:x}").repeat(200), -1.0])));
            }),
        ),
        (
            "pieces of two million beginnings",
            edited("unigram", |f| {
                let vocab = f["model"]["vocab"].as_array_mut().expect("a list");
                (0..250_000_u64).for_each(|n| {
                    // Spread over all numbers of 12 digits, so that few pieces share more than their first digits.
                    vocab.push(json!([format!("{:012x}", n * 1_125_899_907), -1.0]))
                });
            }),
        ),
        (
            "two million merges",
            edited("byte_level", |f| {
                f["model"]["merges"] = json!(vec![json!(["h", "e"]); 2_000_000]);
            }),
        ),
        (
            "merges of 60 MiB",
            edited("byte_level", |f| {
                let long = "e".repeat(1000);
                f["model"]["merges"] = json!(vec![json!(["h", long]); 60_000]);
            }),
        ),
        (
            "a normalizer of 30 byte levels",
            edited("byte_level", |f| {
                f["normalizer"] =
                    json!({"type": "Sequence", "normalizers": vec![json!({"type": "ByteLevel"}); 30]});
            }),
        ),
        (
            "a pre-tokenizer of 30 byte levels",
            edited("byte_level", |f| {
                let step = f["pre_tokenizer"].clone();
                f["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": vec![step; 30]});
            }),
        ),
        (
            "many character maps",
            edited("byte_level", |f| {
                let step = json!({"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAABhYQA="});
                f["normalizer"] = json!({"type": "Sequence", "normalizers": vec![step; 12]});
            }),
        ),
        (
            "many regular expressions",
            edited("byte_level", |f| {
                let step = split(r"\p{L}{200}(?!\p{N})");
                f["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": vec![step; 1000]});
            }),
        ),
        (
            "sixteen large regular expressions",
            edited("byte_level", |f| {
                let step = split(r"\p{L}{200}(?!\p{N})");
                f["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": vec![step; 16]});
            }),
        ),
        (
            "a regular expression of many parts",
            edited("byte_level", |f| {
                f["pre_tokenizer"] = split(&format!("(?={})", r"\w".repeat(200)).repeat(10));
            }),
        ),
        (
            "a regular expression of many parts that repeat",
            edited("byte_level", |f| {
                f["pre_tokenizer"] = split(&r"(?=\w{200})".repeat(500));
            }),
        ),
        (
            "many replaced texts",
            edited("byte_level", |f| {
                let step = |n: usize| replace(json!({"String": format!("{n:0500}")}), "");
                let steps: Vec<Value> = (0..3000).map(step).collect();
                f["normalizer"] = json!({"type": "Sequence", "normalizers": steps});
            }),
        ),
        (
            "a replaced text of 2 MB",
            edited("byte_level", |f| {
                f["normalizer"] = replace(json!({"String": "x".repeat(2_000_000)}), "");
            }),
        ),
        (
            "a million keys",
            edited("byte_level", |f| {
                let keys = f.as_object_mut().expect("an object");
                (0..1_000_000).for_each(|n| _ = keys.insert(format!("{n:x}"), json!(0)));
            }),
        ),
        (
            "a million keys of a model",
            edited("byte_level", |f| {
                let keys = f["model"].as_object_mut().expect("an object");
                (0..1_000_000).for_each(|n| _ = keys.insert(format!("{n:x}"), json!(0)));
            }),
        ),
        ("a token with id 2^32 - 1", edited("byte_level", |f| f["model"]["vocab"]["x"] = json!(u32::MAX))),
        (
            "a token of 60 MiB",
            edited("byte_level", |f| f["model"]["vocab"]["a".repeat(60 << 20)] = json!(1000)),
        ),
        (
            "a token of 60 MiB with an escape",
            edited("byte_level", |f| {
                f["model"]["vocab"][format!("\n{}", "a".repeat(60 << 20))] = json!(1000)
            }),
        ),
        (
            "a piece of 30 MiB of escapes",
            edited("unigram", |f| {
                f["model"]["vocab"]
                    .as_array_mut()
                    .expect("a list")
                    .push(json!(["\n".repeat(30 << 20), -1.0]));
            }),
        ),
        (
            "a piece of 60 MiB",
            edited("unigram", |f| {
                f["model"]["vocab"].as_array_mut().expect("a list").push(json!(["a".repeat(60 << 20), -1.0]));
            }),
        ),
        ("four million values", format!("{{\"model\":[{}0]}}", "[],".repeat(4_100_000))),
        ("nested sequences", format!("{{\"normalizer\":{}}}", nested("normalizers", 50_000))),
        ("sequences nested as deep as JSON may be", {
            let text = edited("byte_level", |f| f["normalizer"] = json!("HERE"));
            text.replace("\"HERE\"", &nested("normalizers", 60))
        }),
        (
            "truncation of a text to nothing",
            edited("byte_level", |f| {
                f["truncation"] =
                    json!({"direction": "Right", "max_length": 0, "strategy": "LongestFirst", "stride": 7});
            }),
        ),
        (
            "padding by 2^63",
            edited("byte_level", |f| {
                f["padding"] = json!({"strategy": {"Fixed": i64::MAX}, "direction": "Right", "pad_to_multiple_of": null,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"});
            }),
        ),
        (
            "pieces of 2^63 characters",
            edited("byte_level", |f| {
                f["pre_tokenizer"] = json!({"type": "FixedLength", "length": i64::MAX});
            }),
        ),
    ];
    for (n, (what, text)) in files.into_iter().enumerate() {
        folder(to, &format!("tokenizer{n}"));
        to.write(&format!("tokenizer{n}/tokenizer.json"), text);
        to.refuses(&format!("tokenizer: {what}"), &format!("eval --model tokenizer{n} --data tokenizer.txt"));
    }
    folder(to, "tokenizer-sparse");
    to.sparse("tokenizer-sparse/tokenizer.json", "{", 16 << 30);
    to.refuses("tokenizer: 16 GiB of JSON", "eval --model tokenizer-sparse --data tokenizer.txt");
    let token = |score: f32, length: i32| [score.to_le_bytes(), length.to_le_bytes()].concat();
    let rows: [(&str, Vec<u8>, u64); 4] = [
        ("16 GiB", vec![], 16 << 30),
        ("8 million empty tokens", [&[0; 4][..], &token(0.0, 0).repeat((8 << 20) - 1)].concat(), 0),
        (
            "a token of 2^31 - 1 bytes",
            [&[0xff, 0xff, 0xff, 0x7f][..], &token(0.0, i32::MAX)].concat(),
            60 << 20,
        ),
        ("a token of -1 bytes", [&[7, 0, 0, 0][..], &token(0.0, -1)].concat(), 60 << 20),
    ];
    for (n, (what, bytes, length)) in rows.into_iter().enumerate() {
        folder(to, &format!("pieces{n}"));
        let length = length.max(bytes.len() as u64);
        to.sparse(&format!("pieces{n}/tokenizer.bin"), bytes, length);
        to.refuses(
            &format!("tokenizer.bin: {what}"),
            &format!("eval --model pieces{n} --data tokenizer.txt"),
        );
    }
}

/// A folder whose weights are refused after its tokenizer was read.
fn folder(to: &Hostile, name: &str) {
    to.write(&format!("{name}/config.json"), CONFIG);
    to.write(&format!("{name}/model.safetensors"), safetensors("{}"));
}
