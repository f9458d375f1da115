//! Runs what fuzzing has found worth keeping: see `fuzz/README.md`.

#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/src/models.rs"]
mod models;

/// Runs `target` on each file of its folder, and on changes of it.
fn each(folder: &str, target: fn(&[u8])) {
    corpus::each(folder, |bytes| {
        target(bytes);
        (0..CHANGES).for_each(|n| target(&changed(bytes, n)));
    });
}

/// Changes of each file.
const CHANGES: usize = 150;

/// The `n`th change of `bytes`, always the same: cut short, or one to three bytes replaced.
fn changed(bytes: &[u8], n: usize) -> Vec<u8> {
    // A linear congruential generator: Knuth, MMIX.
    let mut state = n as u64 + 1;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below.max(1)
    };
    let mut bytes = bytes.to_vec();
    if n.is_multiple_of(5) {
        bytes.truncate(next(bytes.len()));
    }
    for _ in 0..=next(3) {
        let at = next(bytes.len());
        let with = [0, 1, 0x7f, 0x80, 0xff, b'0', b'"', next(256) as u8][next(8)];
        if let Some(byte) = bytes.get_mut(at) {
            *byte = with;
        }
    }
    bytes
}

#[test]
fn gguf() {
    each("gguf", models::gguf);
}

#[test]
fn llama2c() {
    each("llama2c", models::llama2c);
}

#[test]
fn safetensors() {
    each("safetensors", models::safetensors);
}

#[test]
fn index() {
    each("index", models::index);
}

#[test]
fn config() {
    each("config", models::config);
}

#[test]
fn tokenizer() {
    each("tokenizer", models::tokenizer);
}

#[test]
fn tokens() {
    each("tokens", models::tokens);
}

#[test]
fn metadata() {
    each("metadata", models::metadata);
}
