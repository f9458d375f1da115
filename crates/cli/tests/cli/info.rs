//! `info` says what a model is, of any format and size.

use crate::place::Place;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::Path;

#[test]
fn a_model_is_described_the_same_in_every_format() {
    let place = Place::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    for (from, to) in [("stories260K.bin", "m.bin"), ("tok512.bin", "tokenizer.bin")] {
        place.write(to, fs::read(fixtures.join(from)).expect("a fixture"));
    }
    place.succeed("export m.bin folder --to hf --dtype bf16 --shard-size 300KB");
    place.write("folder/README.md", "---\ntags: [x]\nlicense: \"mit\"\n---\n# A model\n");
    place.write("folder/chat_template.jinja", "{{ messages }}");
    place.succeed("export m.bin m.gguf --to gguf --dtype q8_0");
    place.succeed("export m.bin two.bin --to llama2c --dtype q8_0");
    let said = |path: &str| place.succeed(&format!("info {path} --json")).json();
    for (path, format, number, licence) in [
        ("m.bin", "a llama2.c checkpoint", "F32", Value::Null),
        ("two.bin", "a llama2.c checkpoint", "int8/4", Value::Null),
        ("folder", "a folder with `config.json`", "BF16", json!("mit")),
        ("m.gguf", "a GGUF file", "Q8_0", Value::Null),
    ] {
        let info = said(path);
        assert_eq!(info["format"], format);
        assert_eq!(info["architecture"], "llama");
        assert_eq!((&info["parameters"], &info["context"]), (&json!(260_032), &json!(512)));
        assert_eq!(info["numbers"][0]["name"], number, "{info}");
        let numbers = info["numbers"].as_array().expect("a list").iter().map(|n| n["numbers"].as_u64());
        assert_eq!(numbers.sum::<Option<u64>>(), Some(260_032), "{info}");
        assert_eq!(info["tokenizer"]["tokens"], 512, "{info}");
        assert_eq!(info["licence"], licence);
        assert_eq!(info["chat_template"], path == "folder");
        let [generate, tune, train] =
            ["generate", "tune", "train"].map(|key| info["memory"][key].as_u64().expect("bytes"));
        assert!(4 * 260_032 < generate && generate < tune && tune < train, "{info}");
    }
    let text = place.succeed("info folder").stdout;
    for line in [
        "model      llama: 260k parameters, 5 layers, dim 64, 8 on 4 heads, vocabulary 512\n",
        "numbers    260k BF16 in 47 tensors, 508 KiB\n",
        "context    512 tokens\n",
        "tokenizer  BPE, 512 tokens, with a chat template\n",
        "licence    mit\n",
    ] {
        assert!(text.contains(line), "{text}\n  should have: {line}");
    }
    let outcome = place.run("info text.txt");
    assert!(outcome.code == Some(2) && outcome.stderr.contains("text.txt"), "{}", outcome.stderr);
}

/// Makes `name` a file of `bytes`, behind which nothing is written.
fn sparse(place: &Place, name: &str, head: &[u8], bytes: u64) {
    place.write(name, head);
    let file = File::options().write(true).open(place.path(name)).expect("opened");
    file.set_len(head.len() as u64 + bytes).expect("the system has sparse files");
}

/// Reading them would take longer than any test may.
#[test]
fn files_of_a_hundred_gigabytes_are_described_from_their_headers() {
    const BYTES: u64 = 128 << 30;
    let place = Place::new();
    let config = json!({
        "model_type": "llama", "hidden_size": 2048, "intermediate_size": 4096, "num_hidden_layers": 2,
        "num_attention_heads": 16, "vocab_size": 65_536, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
    });
    place.write("large/config.json", config.to_string());
    let header = format!(r#"{{"x":{{"dtype":"BF16","shape":[1048576,65536],"data_offsets":[0,{BYTES}]}}}}"#);
    let head = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    sparse(&place, "large/model.safetensors", &head, BYTES);

    let mut gguf = b"GGUF\x03\0\0\0".to_vec();
    let text = |text: &str, to: &mut Vec<u8>| {
        to.extend((text.len() as u64).to_le_bytes());
        to.extend(text.as_bytes());
    };
    let sizes = [
        ("embedding_length", 2048u32),
        ("feed_forward_length", 4096),
        ("block_count", 2),
        ("attention.head_count", 16),
        ("context_length", 8192),
    ];
    gguf.extend(1u64.to_le_bytes());
    gguf.extend((sizes.len() as u64 + 2).to_le_bytes());
    text("general.architecture", &mut gguf);
    gguf.extend(8u32.to_le_bytes());
    text("llama", &mut gguf);
    for (key, size) in sizes {
        text(&format!("llama.{key}"), &mut gguf);
        gguf.extend(4u32.to_le_bytes());
        gguf.extend(size.to_le_bytes());
    }
    text("llama.attention.layer_norm_rms_epsilon", &mut gguf);
    gguf.extend(6u32.to_le_bytes());
    gguf.extend(1e-5f32.to_le_bytes());
    text("token_embd.weight", &mut gguf);
    gguf.extend(3u32.to_le_bytes());
    // 2048 · 65536 numbers, 256 times.
    [2048u64, 256, 65_536].iter().for_each(|n| gguf.extend(n.to_le_bytes()));
    gguf.extend([0u8; 12]);
    gguf.resize(gguf.len().next_multiple_of(32), 0);
    sparse(&place, "large.gguf", &gguf, BYTES);
    for (path, format) in [("large", "BF16"), ("large.gguf", "F32")] {
        let info = place.succeed(&format!("info {path} --json")).json();
        assert_eq!(info["numbers"][0]["name"], format, "{info}");
        assert_eq!(info["numbers"][0]["bytes"], BYTES, "{info}");
        assert_eq!((&info["context"], &info["vocab"]), (&json!(8192), &json!(65_536)));
    }
}

#[cfg(not(feature = "fetch"))]
#[test]
fn a_build_without_a_network_says_how_a_model_is_fetched() {
    let place = Place::new();
    let outcome = place.run("fetch org/name --file m.gguf");
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("error: this build cannot fetch"), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("curl -L --create-dirs -o models/name/m.gguf https://"),
        "{}",
        outcome.stderr
    );
    let outcome = place.run("fetch name");
    assert!(outcome.code == Some(2) && outcome.stderr.contains("an owner and a name"), "{}", outcome.stderr);
}
