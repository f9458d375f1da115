//! Weights, configurations and headers of models.

use super::Hostile;

const CONFIG: &str = r#""model_type": "llama", "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
"num_attention_heads": 2, "max_position_embeddings": 8, "rms_norm_eps": 1e-5, "tie_word_embeddings": true"#;

/// A valid configuration with further keys.
fn config(more: &str) -> String {
    format!("{{{CONFIG}, {more}}}")
}

fn small() -> String {
    config("\"vocab_size\": 4")
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

/// A safetensors file whose header is this text.
pub fn safetensors(header: &str) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
}

const GIB: u64 = 1 << 30;

pub fn add(to: &mut Hostile) {
    weights(to);
    configurations(to);
    indices(to);
    gguf(to);
    llama2c(to);
    metadata(to);
}

fn weights(to: &mut Hostile) {
    let tensor = |name: &str, shape: &str, end: &str| {
        format!(r#""{name}":{{"dtype":"U8","shape":[{shape}],"data_offsets":[0,{end}]}}"#)
    };
    let many: Vec<String> = (0..220_000).map(|n| tensor(&format!("{n:x}"), "0", "0")).collect();
    let most = u64::MAX.to_string();
    let files: [(&str, Vec<u8>); 7] = [
        ("a header of 2^64 - 1 bytes", u64::MAX.to_le_bytes().to_vec()),
        ("a header of nested lists", safetensors(&nested(1 << 20))),
        ("220,000 tensors", safetensors(&format!("{{{}}}", many.join(",")))),
        ("a tensor of 2^64 - 1 bytes", safetensors(&format!("{{{}}}", tensor("a", &most, &most)))),
        ("a shape beyond 2^64", safetensors(&format!("{{{}}}", tensor("a", &format!("{most},{most}"), "4")))),
        (
            "a million axes",
            safetensors(&format!("{{{}}}", tensor("a", "1,".repeat(1 << 20).trim_end_matches(','), "1"))),
        ),
        ("a long name", safetensors(&format!("{{{}}}", tensor(&"a".repeat(1 << 20), "1", "1")))),
    ];
    for (n, (what, bytes)) in files.into_iter().enumerate() {
        to.write(&format!("weights{n}/config.json"), small());
        to.write(&format!("weights{n}/model.safetensors"), bytes);
        to.refuses(&format!("safetensors: {what}"), &format!("generate --model weights{n} --prompt x"));
    }
    to.write("sparse/config.json", small());
    to.sparse("sparse/model.safetensors", (15 * GIB).to_le_bytes(), 16 * GIB);
    to.refuses("safetensors: a header of 15 GiB of 16", "generate --model sparse --prompt x");
    to.refuses("safetensors: a header of 15 GiB, info", "info sparse");
}

fn configurations(to: &mut Hostile) {
    let list = |value: &str, n: usize| vec![value; n].join(",");
    let rows: [(&str, String); 9] = [
        ("nested lists", nested(1 << 20)),
        ("2^31 layers", small().replace("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2147483648")),
        (
            "2^53 layers",
            small().replace("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 9007199254740992"),
        ),
        ("2^60 tokens", config("\"vocab_size\": 1152921504606846976")),
        (
            "2^40 positions",
            small().replace("\"max_position_embeddings\": 8", "\"max_position_embeddings\": 1099511627776"),
        ),
        ("2^63 channels", small().replace("\"hidden_size\": 4", "\"hidden_size\": 9223372036854775808")),
        (
            "a million kinds of layers",
            config(&format!("\"vocab_size\": 4, \"layer_types\": [{}]", list("\"full_attention\"", 1 << 17))),
        ),
        (
            "a million factors",
            config(&format!(
                "\"vocab_size\": 4, \"rope_scaling\": {{\"rope_type\": \"longrope\", \"factor\": 2.0, \"original_max_position_embeddings\": 4, \"short_factor\": [{0}], \"long_factor\": [{0}]}}",
                list("1.0", 1 << 18)
            )),
        ),
        ("a long architecture", small().replace("\"llama\"", &format!("\"{}\"", "a".repeat(1 << 20)))),
    ];
    for (n, (what, text)) in rows.into_iter().enumerate() {
        to.write(&format!("config{n}/config.json"), text);
        to.refuses(&format!("config: {what}"), &format!("train --model config{n} --steps 1 --out new"));
    }
    to.sparse("sparse.json", "{", 16 * GIB);
    to.refuses("config: 16 GiB of JSON", "train --model sparse.json --steps 1 --out new");
    to.sparse("sparse-config/config.json", "{", 16 * GIB);
    to.refuses("config: a folder with 16 GiB of JSON", "info sparse-config");
    to.write("nested.toml", format!("a = {}", nested(1 << 18)));
    to.refuses("config: nested lists of TOML", "train --model nested.toml --steps 1 --out new");
    to.write("dotted.toml", format!("a{} = 1", ".a".repeat(1 << 18)));
    to.refuses("config: nested tables of TOML", "train --model dotted.toml --steps 1 --out new");
}

fn indices(to: &mut Hostile) {
    let map = |file: &dyn Fn(usize) -> String| {
        let entries: Vec<String> = (0..200_000).map(|n| format!("\"{n:x}\":\"{}\"", file(n))).collect();
        format!("{{\"weight_map\":{{{}}}}}", entries.join(","))
    };
    let rows: [(&str, String); 3] = [
        ("200,000 tensors of a file", map(&|_| "a.safetensors".to_owned())),
        ("200,000 files", map(&|n| format!("{n}.safetensors"))),
        ("nested lists", format!("{{\"weight_map\":{}}}", nested(1 << 20))),
    ];
    for (n, (what, text)) in rows.into_iter().enumerate() {
        to.write(&format!("index{n}/config.json"), small());
        to.write(&format!("index{n}/a.safetensors"), safetensors("{}"));
        to.write(&format!("index{n}/model.safetensors.index.json"), text);
        to.refuses(&format!("index: {what}"), &format!("generate --model index{n} --prompt x"));
    }
    to.write("index3/config.json", small());
    to.sparse("index3/model.safetensors.index.json", "{", 16 * GIB);
    to.refuses("index: 16 GiB of JSON", "generate --model index3 --prompt x");
}

/// A GGUF file with so many tensors and keys, and these bytes behind.
fn head(tensors: u64, keys: u64, rest: &[u8]) -> Vec<u8> {
    [b"GGUF\x03\0\0\0", &tensors.to_le_bytes()[..], &keys.to_le_bytes(), rest].concat()
}

/// A key of GGUF: its name, its type, its value.
fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&(name.len() as u64).to_le_bytes()[..], name.as_bytes(), &kind.to_le_bytes(), value].concat()
}

fn gguf(to: &mut Hostile) {
    /// Types of values.
    const TEXT: u32 = 8;
    const LIST: u32 = 9;
    let list = |kind: u32, n: u64| [&kind.to_le_bytes()[..], &n.to_le_bytes()].concat();
    let empty = |n: u64| key("tokenizer.ggml.tokens", LIST, &list(TEXT, n));
    let architecture = key("general.architecture", TEXT, &[&5u64.to_le_bytes()[..], b"llama"].concat());
    let tokens = [list(TEXT, 1 << 20), vec![0; 8 << 20]].concat();
    let tokens = [architecture, key("tokenizer.ggml.tokens", LIST, &tokens)].concat();
    let nested = (0..100_000).fold(Vec::new(), |all, _| [all, list(LIST, 1)].concat());
    let tensor = |n: u64| {
        [&4u64.to_le_bytes()[..], format!("{n:04x}").as_bytes(), &1u32.to_le_bytes(), &[0; 20]].concat()
    };
    let tensors: Vec<u8> = (0..65_000).flat_map(tensor).collect();
    let rows: [(&str, Vec<u8>, u64); 9] = [
        ("2^64 - 1 tensors", head(u64::MAX, 0, &[]), 0),
        ("2^64 - 1 keys", head(0, u64::MAX, &[]), 0),
        ("a text of 2^64 - 1 bytes", head(0, 1, &u64::MAX.to_le_bytes()), 4096),
        ("a text of 15 GiB of 16", head(0, 1, &(15 * GIB).to_le_bytes()), 16 * GIB),
        ("2^31 empty texts in 17 GiB", head(0, 1, &empty(1 << 31)), 17 * GIB),
        ("2^40 empty texts", head(0, 1, &empty(1 << 40)), 17 * GIB),
        ("a million empty tokens", head(0, 2, &tokens), 0),
        ("nested lists", head(0, 1, &key("a", LIST, &nested)), 0),
        ("65,000 tensors", head(65_000, 0, &tensors), 0),
    ];
    for (n, (what, bytes, length)) in rows.into_iter().enumerate() {
        let length = length.max(bytes.len() as u64);
        to.sparse(&format!("{n}.gguf"), bytes, length);
        to.refuses(&format!("GGUF: {what}"), &format!("generate --model {n}.gguf --prompt x"));
    }
    to.refuses("GGUF: 2^31 empty texts, info", "info 4.gguf");
}

fn llama2c(to: &mut Hostile) {
    let header = |sizes: [i32; 7]| sizes.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    // The weights, then tables of RoPE with `seq` rows of `dim / heads` numbers.
    let whole = 28 + 4 * (4 * 1024 + 2 * 1024 + 4 * 1024 * 1024 + 3 * 4 * 1024 + 1024) + 4 * (1 << 30);
    let rows: [(&str, [i32; 7], u64); 5] = [
        ("tables of 4 GiB", [1024, 4, 1, 1, 1, 4, 1 << 20], whole),
        ("16,384 layers", [4, 4, 16_384, 2, 2, 4, 8], 1 << 20),
        ("the largest sizes", [i32::MAX; 7], 16 * GIB),
        ("2^31 - 1 layers", [2, 2, i32::MAX, 1, 1, 2, 1], 16 * GIB),
        ("2^31 - 1 tokens", [2, 2, 1, 1, 1, i32::MAX, 1], 16 * GIB),
    ];
    for (n, (what, sizes, length)) in rows.into_iter().enumerate() {
        to.sparse(&format!("l{n}.bin"), header(sizes), length);
        to.refuses(&format!("llama2.c: {what}"), &format!("generate --model l{n}.bin --prompt x"));
    }
    let word = |n: i32| n.to_le_bytes();
    let version =
        [word(0x616b_3432), word(2), word(i32::MAX), word(i32::MAX), word(i32::MAX), word(1), word(1)];
    to.sparse("version2.bin", version.concat(), 16 * GIB);
    to.refuses("llama2.c: the largest sizes of version 2", "generate --model version2.bin --prompt x");
}

fn metadata(to: &mut Hostile) {
    let ids = vec!["-1"; 1 << 20].join(",");
    to.write("metadata/config.json", config(&format!("\"vocab_size\": 4, \"eos_token_id\": [{ids}]")));
    to.write("metadata/model.safetensors", safetensors("{}"));
    to.refuses("metadata: a million ends", "generate --model metadata --prompt x");
    to.write("files/config.json", small());
    to.write("files/model.safetensors", safetensors("{}"));
    for name in [
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "tokenizer.model",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "chat_template.jinja",
        "chat_template.json",
    ] {
        to.sparse(&format!("files/{name}"), "{", 16 << 20);
    }
    to.refuses("metadata: nine files of 16 MiB", "generate --model files --prompt x");
    to.write("template/config.json", small());
    to.write("template/model.safetensors", safetensors("{}"));
    to.sparse("template/chat_template.jinja", "{", 16 * GIB);
    to.refuses("metadata: a template of 16 GiB", "generate --model template --prompt x");
}
