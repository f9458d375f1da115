//! The interface of a model format.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::adapter::is_adapter_alone;
use super::contents::Contents;
use super::metadata::FolderMetadata;
use super::shards::gguf_files;
use super::weights::has_safetensors;
use crate::config::ModelConfig;
use crate::error::TrainError;
use crate::tokenizer::Tokenizer;
use softane::QuantMatrix;

/// A model format.
pub(super) trait ModelSource: Sync {
    /// The format's name in a list: a noun with its article.
    fn name(&self) -> &'static str;

    /// Whether `candidate` has this format, by its content.
    fn detect(&self, candidate: &Candidate) -> bool;

    /// Reads the configuration, without the weights.
    ///
    /// # Errors
    /// What is wrong with the file that holds it.
    fn config(&self, path: &Path) -> Result<ModelConfig, TrainError>;

    /// Whether the configuration at `path` comes with readable weights.
    ///
    /// # Errors
    /// [`TrainError::WeightsFormat`] if there are weights in an unsupported format.
    fn has_weights(&self, path: &Path) -> Result<bool, TrainError>;

    /// Reads the tokenizer that is stored with the model.
    ///
    /// # Errors
    /// What is wrong with its file, or [`TrainError::TokenizerTooLarge`].
    fn tokenizer(&self, path: &Path, config: &ModelConfig) -> Result<Option<Tokenizer>, TrainError>;

    /// What else its files hold, from their headers alone.
    ///
    /// # Errors
    /// What is wrong with a header.
    fn contents(&self, path: &Path) -> Result<Contents, TrainError>;

    /// Reads the matrices that are stored in 8 bits or fewer an element, as they are.
    ///
    /// # Errors
    /// What is wrong with a file.
    fn quantised(&self, path: &Path) -> Result<QuantWeights, TrainError> {
        let _ = path;
        Ok(QuantWeights::new())
    }

    /// Reads the whole model. The tokenizer at `tokenizer`, if given, replaces the model's own.
    ///
    /// # Errors
    /// What is wrong with a file, or [`TrainError::TokenizerTooLarge`].
    fn open(&self, path: &Path, tokenizer: Option<&Path>) -> Result<Model, TrainError>;
}

/// The tokenizer at `tokenizer`, which must fit; else the one beside a model of `source`, or why that does not fit.
///
/// # Errors
/// As [`Tokenizer::load`] and [`Tokenizer::check_vocab`].
pub(super) fn open_beside(
    source: &dyn ModelSource,
    path: &Path,
    tokenizer: Option<&Path>,
    config: &ModelConfig,
) -> Result<(Option<Tokenizer>, Option<TrainError>), TrainError> {
    if let Some(given) = tokenizer {
        let given = Tokenizer::load(given, None)?;
        given.check_vocab(config.vocab)?;
        return Ok((Some(given), None));
    }
    Ok(source.tokenizer(path, config).map_or_else(|unfit| (None, Some(unfit)), |found| (found, None)))
}

/// Matrices in 8 bits or fewer an element, by the name of the parameter.
pub type QuantWeights = BTreeMap<String, QuantMatrix>;

/// A model with its weights.
#[derive(Debug)]
pub struct Model {
    /// Its configuration.
    pub config: ModelConfig,
    /// Its weights, `[N]` in checkpoint order ([`ModelConfig::params`]).
    pub params: Vec<f32>,
    /// Its tokenizer, if it has one.
    pub tokenizer: Option<Tokenizer>,
    /// Why the tokenizer beside a llama2.c checkpoint does not fit it.
    pub unfit: Option<TrainError>,
    /// Further metadata of its folder.
    pub metadata: FolderMetadata,
}

/// Bytes of a file that formats are detected from.
const HEAD: u64 = 4096;

/// A file or folder whose format is to be detected.
#[derive(Debug)]
pub(super) struct Candidate {
    /// Whether it is a folder.
    pub(super) is_folder: bool,
    /// The first 4 KiB of a file.
    pub(super) head: Vec<u8>,
    /// Whether the file has no further bytes.
    pub(super) is_whole: bool,
    /// Whether it is a folder with GGUF files and without safetensors.
    pub(super) has_only_gguf: bool,
    /// Whether it is a folder with an adapter and without a model.
    pub(super) is_adapter: bool,
}

impl Candidate {
    /// Reads as much of `path` as detection needs.
    ///
    /// # Errors
    /// [`TrainError::Io`], or [`TrainError::NotAFile`] for a device or a pipe: detection would consume what a pipe holds.
    pub(super) fn read(path: &Path) -> Result<Self, TrainError> {
        let reading = || TrainError::io("read", path);
        let found = path.metadata().map_err(reading())?;
        if !found.is_file() && !found.is_dir() {
            return Err(TrainError::NotAFile { path: path.to_owned() });
        }
        let mut head = Vec::new();
        if found.is_file() {
            File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head)).map_err(reading())?;
        }
        let is_whole = found.is_file() && head.len() as u64 == found.len();
        let is_folder = found.is_dir();
        let has_only_gguf = is_folder && !has_safetensors(path) && !gguf_files(path)?.is_empty();
        let is_adapter = is_folder && is_adapter_alone(path);
        Ok(Self { is_folder, head, is_whole, has_only_gguf, is_adapter })
    }

    /// Whether it is a file that is not empty and begins as UTF-8 text, without control characters of binary files.
    pub(super) fn is_text(&self) -> bool {
        let end = match std::str::from_utf8(&self.head) {
            Ok(_) => self.head.len(),
            // The first bytes may end within a character.
            Err(error) if error.error_len().is_none() && !self.is_whole => error.valid_up_to(),
            Err(_) => return false,
        };
        let is_binary = |b: &u8| matches!(b, 0..=8 | 14..=31);
        !self.is_folder && end > 0 && !self.head[..end].iter().any(is_binary)
    }
}
