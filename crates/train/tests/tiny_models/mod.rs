//! The tiny models of `tests/architectures`, one of each architecture and scaling of RoPE.

use std::path::{Path, PathBuf};

/// Their names.
pub const NAMES: [&str; 15] = [
    "llama_bias",
    "qwen2",
    "qwen3_bias",
    "rope_linear",
    "rope_dynamic",
    "rope_llama3",
    "rope_yarn",
    "rope_longrope",
    "rope_longrope_long",
    "smollm3",
    "mistral",
    "qwen2_window",
    "gemma",
    "gemma2",
    "gemma3",
];

/// The folder of the model called `name`.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/architectures").join(name)
}
