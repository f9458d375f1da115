//! Any bytes as a file of a model, of a tokenizer or of tokens: it is read or refused with a reason, and no reader panics.
//!
//! Readers take paths, so each target writes one file into a folder of its own. Used by the fuzzer's targets and by the
//! test `corpus` of `train`.

use std::fs;
use std::panic;
use std::path::Path;
use std::sync::Once;

use tempfile::TempDir;
use train::config::ModelConfig;
use train::data::{Source, TokenFile};
use train::formats::{FolderMetadata, info, open_model};
use train::tokenizer::{Tokenizer, catches_panics};

const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
"num_attention_heads": 2, "vocab_size": 4, "max_position_embeddings": 8, "rms_norm_eps": 1e-5, "tie_word_embeddings": true}"#;

thread_local! {
    static PLACE: TempDir = tempfile::tempdir().expect("a folder");
}

/// Calls `f` with the path of `name` in the thread's folder, which then has `bytes`.
fn with(name: &str, bytes: &[u8], f: impl FnOnce(&Path)) {
    PLACE.with(|place| {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, bytes).expect("written");
        f(&path);
    });
}

/// A model is whole and finite, or there is a reason.
fn is_sound(path: &Path) {
    match open_model(path, None) {
        Ok(model) => {
            assert_eq!(model.params.len(), model.config.param_count());
            assert!(model.params.iter().all(|x| x.is_finite()));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(info) = info(path) {
        assert!(!info.architecture.is_empty());
    }
}

/// A GGUF file.
pub fn gguf(bytes: &[u8]) {
    with("m.gguf", bytes, is_sound);
}

/// A checkpoint of llama2.c or of maderix/ANE, or any other file.
pub fn llama2c(bytes: &[u8]) {
    with("m.bin", bytes, is_sound);
}

/// The weights of a folder.
pub fn safetensors(bytes: &[u8]) {
    with("whole/config.json", CONFIG.as_bytes(), |_| {});
    with("whole/model.safetensors", bytes, |path| is_sound(path.parent().expect("a folder")));
}

/// The index of a folder whose weights are in `a.safetensors`.
pub fn index(bytes: &[u8]) {
    with("parts/config.json", CONFIG.as_bytes(), |_| {});
    let header = r#"{"model.norm.weight":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 16]].concat();
    with("parts/a.safetensors", &file, |_| {});
    with("parts/model.safetensors.index.json", bytes, |path| is_sound(path.parent().expect("a folder")));
}

/// A configuration, in JSON or TOML.
pub fn config(bytes: &[u8]) {
    for name in ["c.json", "c.toml"] {
        with(name, bytes, |path| {
            if let Ok(config) = ModelConfig::read(path) {
                assert!(config.validate().is_ok());
            }
        });
    }
}

/// The metadata of a folder: which tokens end a text.
pub fn metadata(bytes: &[u8]) {
    with("metadata/config.json", CONFIG.as_bytes(), |_| {});
    with("metadata/generation_config.json", bytes, |path| {
        match FolderMetadata::read(path.parent().expect("a folder")) {
            Ok(metadata) => assert!(metadata.ends().len() <= bytes.len()),
            Err(error) => assert!(!error.to_string().is_empty() && error.to_string().len() < 1000, "{error}"),
        }
    });
}

/// A tokenizer of either kind.
pub fn tokenizer(bytes: &[u8]) {
    static QUIET: Once = Once::new();
    // The fuzzer's hook ends the process, but panics of the library are caught.
    QUIET.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !catches_panics() {
                report(info);
            }
        }));
    });
    for name in ["tokenizer.json", "tokenizer.bin"] {
        with(name, bytes, |path| {
            let Ok(tokenizer) = Tokenizer::load(path, None) else { return };
            if let Ok(tokens) = tokenizer.encode("Two  words, 3 caf\u{e9}s\n") {
                assert!(tokens.iter().all(|&token| (token as usize) < tokenizer.vocab_size()));
                let _ = tokenizer.decode(&tokens);
            }
        });
    }
}

/// A file of tokens: bare, of llm.c, NumPy or safetensors.
pub fn tokens(bytes: &[u8]) {
    for (name, vocab) in [("t.bin", 500), ("t.npy", 500), ("t.bin", 70_000)] {
        with(name, bytes, |path| {
            let _ = Source::open(path);
            let Ok(file) = TokenFile::open(path, vocab) else { return };
            let mut last = [0];
            file.window(file.len() - 1, &mut last).expect("it was checked");
            assert!((last[0] as usize) < vocab);
        });
    }
}
