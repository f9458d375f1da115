//! Adapters: small changes of a model's weights, in files of their own.
//!
//! ```text
//! DIR/adapter_config.json   adapter_model.safetensors    PEFT's, read and written
//! DIR/adapter_config.json   adapters.safetensors         mlx-lm's, read
//! FILE.gguf                                              llama.cpp's, written
//! ```
//!
//! To run a model with adapters, they are merged into its weights when it is loaded, in f32.
//! Sources: huggingface/peft `tuners/lora/{config,layer,dora}.py`, ml-explore/mlx-lm `tuner/{lora,dora}.py`.

mod config;
mod export;
mod files;
mod merge;
mod model_ref;
mod save;
mod source;

pub(crate) use config::ADAPTER_CONFIG;
pub use config::is_adapter_alone;
pub use export::export_adapter;
pub(crate) use files::ADAPTER;
pub use files::{AdapterRef, fingerprint};
pub use model_ref::ModelRef;
pub use save::AdapterModel;
pub(crate) use save::{is_adapter_saved, save_adapter};
pub(super) use source::AdapterFolder;

use std::path::Path;

use crate::error::TrainError;

/// The error of an adapter at `path`.
fn refused(path: &Path, problem: impl Into<String>, remedy: impl Into<String>) -> TrainError {
    TrainError::Adapter { path: path.to_owned(), problem: problem.into(), remedy: remedy.into() }
}

#[cfg(test)]
mod tests;
