//! Metadata of a Hugging Face folder besides configuration and weights, which is copied to the folders of runs.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::config::{ModelConfig, unknown_keys};
use crate::error::TrainError;
use crate::fs::{read_limited, write_atomically};
use crate::tokenizer::Tokenizer;

/// Files that are copied with a model.
pub(crate) const COMPANIONS: [&str; 11] = [
    ROPE_TABLES,
    GENERATION,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
];

const GENERATION: &str = "generation_config.json";

/// The tables of RoPE in a llama2.c checkpoint where their last bits are not those that this program computes: without them
/// the checkpoint would not come back as it was.
pub(super) const ROPE_TABLES: &str = "llama2c-rope.bin";

/// Keys of the weights' number format: the older and the newer.
const DTYPE: [&str; 2] = ["torch_dtype", "dtype"];

/// Metadata of a model that is not in [`ModelConfig`].
#[derive(Clone, Debug, Default)]
pub struct FolderMetadata {
    /// The object in `config.json`, if it has Hugging Face's keys; else empty.
    config: Map<String, Value>,
    ends: Vec<u32>,
    companions: Vec<(&'static str, Vec<u8>)>,
}

impl FolderMetadata {
    /// Reads the folder `dir`.
    ///
    /// # Errors
    /// [`TrainError::Io`] for a file that cannot be read, [`TrainError::ConfigSyntax`] for one that is no JSON,
    /// [`TrainError::ConfigValue`] for an `eos_token_id` that is no token.
    pub fn read(dir: &Path) -> Result<Self, TrainError> {
        let mut origin = Self::default();
        let path = dir.join("config.json");
        let config = object(&path, &read_limited(&path, "configuration", LARGEST_PARSED)?)?;
        origin.add_ends(&path, &config)?;
        if config.contains_key("hidden_size") {
            origin.config = config;
        }
        let mut left = LARGEST_TOGETHER;
        for name in COMPANIONS {
            let path = dir.join(name);
            if !path.is_file() {
                continue;
            }
            let most = if name == GENERATION { LARGEST_PARSED } else { LARGEST };
            let bytes = read_limited(&path, "model's", most)?;
            if name == GENERATION {
                origin.add_ends(&path, &object(&path, &bytes)?)?;
            }
            left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
                let problem = format!(
                    "it and the files before it ({}) have more than {} MiB",
                    origin.companions.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
                    LARGEST_TOGETHER >> 20
                );
                TrainError::FileFormat { path: path.clone(), kind: "model's", problem }
            })?;
            origin.companions.push((name, bytes));
        }
        Ok(origin)
    }

    /// The metadata of a model without a folder whose texts start with token `start` and end with `end`.
    pub(super) fn with_ids(config: &ModelConfig, start: u32, end: u32) -> Self {
        let mut keys = config.folder_keys();
        keys.insert("bos_token_id".to_owned(), json!(start));
        keys.insert("eos_token_id".to_owned(), json!(end));
        Self { config: keys, ends: vec![end], companions: Vec::new() }
    }

    /// The metadata of a model without a folder whose file `path` has these keys of `config.json`.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] for an `eos_token_id` that is no token.
    pub(super) fn from_keys(
        path: &Path,
        config: Map<String, Value>,
        chat_template: Option<&str>,
    ) -> Result<Self, TrainError> {
        let mut metadata = Self::default();
        metadata.add_ends(path, &config)?;
        metadata.config = config;
        metadata.companions.extend(chat_template.map(|text| ("chat_template.jinja", text.into())));
        Ok(metadata)
    }

    /// Tokens that end a text, besides those of the tokenizer.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Removes files and token ids of a tokenizer that is not used.
    pub(crate) fn without_tokenizer(mut self) -> Self {
        self.companions.clear();
        self.ends.clear();
        for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
            self.config.shift_remove(key);
        }
        self
    }

    fn add_ends(&mut self, path: &Path, config: &Map<String, Value>) -> Result<(), TrainError> {
        let value = config.get("eos_token_id").unwrap_or(&Value::Null);
        let several = match value {
            Value::Null => &[][..],
            Value::Array(several) => several,
            one => std::slice::from_ref(one),
        };
        for one in several {
            let id = one.as_u64().and_then(|id| u32::try_from(id).ok()).ok_or_else(|| {
                let key = "eos_token_id".to_owned();
                let problem = format!("`{key}` = {} is neither a token's id nor a list of ids", shown(value));
                let remedy = format!("Set `{key}` to the id of the token that ends a text.");
                TrainError::ConfigValue { file: Some(path.to_owned()), key, problem, remedy }
            })?;
            self.ends.push(id);
        }
        Ok(())
    }

    /// Text files that are kept in files of other formats.
    pub(super) const KEPT: [&'static str; 5] = [
        GENERATION,
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.json",
    ];

    /// The text of the companion file `name`, if it is text.
    pub(crate) fn companion(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.companion_bytes(name)?).ok()
    }

    /// The bytes of the companion file `name`.
    pub(crate) fn companion_bytes(&self, name: &str) -> Option<&[u8]> {
        self.companions.iter().find(|(own, _)| *own == name).map(|(_, bytes)| bytes.as_slice())
    }

    /// Adds a companion file that is kept in the file `path`.
    ///
    /// # Errors
    /// As [`FolderMetadata::read`].
    pub(super) fn keep(&mut self, path: &Path, name: &'static str, text: &str) -> Result<(), TrainError> {
        if name == GENERATION {
            self.add_ends(path, &object(path, text.as_bytes())?)?;
        }
        self.add_companion(name, text.into());
        Ok(())
    }

    /// Makes `text` the chat template.
    pub(crate) fn set_chat_template(&mut self, text: &str) {
        self.companions.retain(|(name, _)| !name.starts_with("chat_template"));
        self.companions.push(("chat_template.jinja", text.into()));
    }

    /// Adds a companion file, unless there is one of this name.
    pub(super) fn add_companion(&mut self, name: &'static str, bytes: Vec<u8>) {
        if self.companion_bytes(name).is_none() {
            self.companions.push((name, bytes));
        }
    }

    /// The longest text that the model is made for, in tokens.
    pub(super) fn context(&self, config: &ModelConfig) -> usize {
        self.context_length().unwrap_or(config.seq)
    }

    /// As [`FolderMetadata::context`], if it is known.
    pub(super) fn context_length(&self) -> Option<usize> {
        let most = self.config.get("max_position_embeddings").and_then(Value::as_u64);
        most.and_then(|most| usize::try_from(most).ok())
    }

    /// Keys of `config.json` that nothing is known of.
    pub(super) fn unknown_keys(&self) -> Vec<String> {
        unknown_keys(&self.config).into_iter().map(str::to_owned).collect()
    }

    /// The token's id under a key of `config.json`.
    pub(crate) fn token_id(&self, key: &str) -> Option<u32> {
        self.config.get(key)?.as_u64().and_then(|id| u32::try_from(id).ok())
    }

    /// The text under a key of `config.json`.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.config.get(key).and_then(Value::as_str).map(str::to_owned)
    }

    /// The text of `config.json` for a model trained from this one with windows of `config.seq` tokens. All keys stay;
    /// the number format is that of [`super::save_model`].
    pub fn config_json(&self, config: &ModelConfig, tokenizer: Option<&Tokenizer>) -> String {
        self.config_json_as(config, tokenizer, "float32")
    }

    /// As [`FolderMetadata::config_json`], for weights whose number format PyTorch calls `dtype`.
    pub(super) fn config_json_as(
        &self,
        config: &ModelConfig,
        tokenizer: Option<&Tokenizer>,
        dtype: &str,
    ) -> String {
        let own = config.folder_keys();
        let is_new = self.config.is_empty();
        let mut keys = if is_new { own.clone() } else { self.config.clone() };
        // Without these keys, other programs assume tokens 1 and 2.
        for (key, id) in [
            ("bos_token_id", tokenizer.and_then(Tokenizer::start)),
            ("eos_token_id", tokenizer.and_then(Tokenizer::end)),
        ] {
            if !keys.contains_key(key) && (is_new || id.is_some()) {
                keys.insert(key.to_owned(), json!(id));
            }
        }
        let mut formats: Vec<&str> = DTYPE.into_iter().filter(|&key| keys.contains_key(key)).collect();
        if formats.is_empty() {
            formats.push(DTYPE[0]);
        }
        for key in formats {
            keys.insert(key.to_owned(), json!(dtype));
        }
        if let Some(most) = keys.get("max_position_embeddings").and_then(Value::as_u64)
            && (config.seq as u64) > most
        {
            // The frequencies of scaled RoPE may depend on the length that the model had before.
            for key in ["max_position_embeddings", "rope_theta", "rope_scaling"] {
                let kept = if own.contains_key("rope_scaling") { own.get(key).cloned() } else { None };
                keys.extend(kept.map(|value| (key.to_owned(), value)));
            }
            if config.can_grow() {
                keys.insert("max_position_embeddings".to_owned(), json!(config.seq));
            }
        }
        // Other programs must refuse such a model.
        if own.get("model_type").is_some_and(|kind| kind == "backpropane") {
            for key in ["model_type", "architectures"] {
                keys.extend(own.get(key).map(|value| (key.to_owned(), value.clone())));
            }
        }
        let mut ours = keys.get("backpropane").and_then(Value::as_object).cloned().unwrap_or_default();
        ours.shift_remove("rope");
        ours.extend(own.get("backpropane").and_then(Value::as_object).cloned().unwrap_or_default());
        keys.insert("backpropane".to_owned(), ours.into());
        format!("{:#}\n", Value::from(keys))
    }

    /// Writes the model's companion files into the folder `dir`, each atomically, and returns their paths.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn write_companions(&self, dir: &Path) -> Result<Vec<PathBuf>, TrainError> {
        let write = |(name, bytes): &(&'static str, Vec<u8>)| {
            let path = dir.join(name);
            write_atomically(&path, bytes)?;
            Ok(path)
        };
        self.companions.iter().map(write).collect()
    }
}

/// The largest companion file that is kept: the largest in use are vocabularies of 10 MB.
const LARGEST: u64 = 16 << 20;

/// The largest companion files that are kept, together.
const LARGEST_TOGETHER: u64 = 48 << 20;

/// The largest file that is parsed, which takes 16 times as much memory.
const LARGEST_PARSED: u64 = 4 << 20;

/// A value as a message shows it: at most 80 characters.
pub(super) fn shown(value: &Value) -> String {
    let mut shown = value.to_string();
    if let Some((cut, _)) = shown.char_indices().nth(80) {
        shown.truncate(cut);
        shown.push('…');
    }
    shown
}

/// The JSON object in the file `path`.
fn object(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>, TrainError> {
    serde_json::from_slice(bytes).map_err(|error| TrainError::ConfigSyntax {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
        problem: error.to_string(),
    })
}
