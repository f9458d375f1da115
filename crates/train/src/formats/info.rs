//! What a model is, from its headers alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::detect;
use crate::config::ModelConfig;
use crate::demand::{self, Use};
use crate::error::TrainError;

/// What a model is.
#[derive(Debug)]
pub struct ModelInfo {
    /// The name of its format, with its article.
    pub format: &'static str,
    /// What it calls its architecture.
    pub architecture: String,
    /// Its configuration.
    pub config: ModelConfig,
    /// The longest text that it is made for, in tokens.
    pub context: usize,
    /// The files with weights.
    pub files: Vec<PathBuf>,
    /// Bytes of these files.
    pub bytes: u64,
    /// Its number formats, the one with the most numbers first.
    pub formats: Vec<NumberFormat>,
    /// Its tokenizer, if it has one, or why it cannot be used.
    pub tokenizer: Result<Option<TokenizerInfo>, TrainError>,
    /// Whether it has a chat template.
    pub has_chat_template: bool,
    /// The licence as the model names it.
    pub licence: Option<String>,
    /// Keys of its configuration that nothing is known of, and that are not read.
    pub unknown_keys: Vec<String>,
    /// The least memory for generating text, in bytes.
    pub to_generate: u64,
    /// The least memory for training adapters with one window a step, in bytes.
    pub to_tune: u64,
    /// The least memory for training with one window a step, in bytes.
    pub to_train: u64,
}

/// How many numbers of a model have a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberFormat {
    /// The format, such as `BF16` or `Q4_K`.
    pub name: String,
    /// Number of tensors.
    pub tensors: usize,
    /// Numbers of these.
    pub numbers: u64,
    /// Bytes of these.
    pub bytes: u64,
}

/// A tokenizer in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerInfo {
    /// Its file's kind.
    pub kind: &'static str,
    /// Number of its tokens.
    pub tokens: usize,
}

/// Reads what the model at `path` is. Of its weights only headers are read.
///
/// # Errors
/// As [`super::open_model`] for what is wrong with headers and configuration.
pub fn info(path: &Path) -> Result<ModelInfo, TrainError> {
    let source = detect(path)?;
    let config = source.config(path)?;
    let contents = source.contents(path)?;
    let tokenizer = source.tokenizer(path, &config).map(|found| {
        found.map(|tokenizer| TokenizerInfo {
            kind: if tokenizer.json().is_some() { "BPE" } else { "llama2.c's" },
            tokens: tokenizer.vocab_size(),
        })
    });
    let mut formats: BTreeMap<&str, NumberFormat> = BTreeMap::new();
    for (name, numbers, bytes) in &contents.tensors {
        let sum = formats.entry(name).or_insert_with(|| NumberFormat {
            name: name.clone(),
            tensors: 0,
            numbers: 0,
            bytes: 0,
        });
        sum.tensors += 1;
        sum.numbers = sum.numbers.saturating_add(*numbers);
        sum.bytes = sum.bytes.saturating_add(*bytes);
    }
    let mut formats: Vec<NumberFormat> = formats.into_values().collect();
    formats.sort_by_key(|format| std::cmp::Reverse(format.numbers));
    let size = |path: &PathBuf| fs::metadata(path).map_err(TrainError::io("read", path)).map(|m| m.len());
    let bytes = contents.files.iter().map(size).sum::<Result<u64, _>>()?;
    let own = || config.folder_keys().get("model_type").and_then(|kind| kind.as_str()).map(str::to_owned);
    let need = |what_for| u64::try_from(demand::needed(&config, what_for)).unwrap_or(u64::MAX);
    Ok(ModelInfo {
        format: source.name(),
        architecture: contents.architecture.or_else(own).unwrap_or_default(),
        context: contents.context.unwrap_or(config.seq),
        files: contents.files,
        bytes,
        formats,
        tokenizer,
        has_chat_template: contents.has_chat_template,
        licence: contents.licence,
        unknown_keys: contents.unknown_keys,
        to_generate: need(Use::Infer),
        to_tune: need(Use::adapt(1)),
        to_train: need(Use::train(1)),
        config,
    })
}
