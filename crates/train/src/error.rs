//! Errors of configurations, data, tokenizers and files.
//!
//! Long because it is one enum; its hints are in `hint.rs`.

mod hint;

use std::io;
use std::path::{Path, PathBuf};

/// An error of configurations, data, tokenizers or checkpoints.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The operating system refused to read or write.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// The verb: `read`, `write`, `create`…
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// A model name that is neither a preset nor something on disk.
    #[error("there is no model preset, file or folder `{name}`")]
    UnknownModel {
        /// The requested name.
        name: String,
        /// The names of presets.
        presets: &'static [&'static str],
    },
    /// A file that is not a model in a supported format.
    #[error("`{}` is not a model that this program reads: it is neither {}", path.display(), formats.join(" nor "))]
    ModelFormat {
        /// The file.
        path: PathBuf,
        /// The supported formats, each with its article.
        formats: Vec<&'static str>,
    },
    /// A configuration without weights where weights are needed.
    #[error("`{}` is the configuration of a model and has no weights", path.display())]
    NoWeights {
        /// The file.
        path: PathBuf,
    },
    /// A configuration file that is not valid JSON or TOML, or lacks a key.
    #[error("`{}`, line {line}, column {column}: {problem}", path.display())]
    ConfigSyntax {
        /// The configuration file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// What the parser said.
        problem: String,
    },
    /// An invalid configuration value.
    #[error("{}{problem}", in_file(file.as_deref()))]
    ConfigValue {
        /// The file that contains it, if any.
        file: Option<PathBuf>,
        /// The key as spelled in the file.
        key: String,
        /// The reason why the value is invalid.
        problem: String,
        /// The hint: one imperative sentence.
        remedy: String,
    },

    /// Sizes that need more memory than is available.
    #[error(
        "these sizes take at least {need:.1} GiB of memory, {have:.1} GiB are available; {what} takes {most:.1} GiB"
    )]
    Memory {
        /// Lower bound of the required memory in GiB.
        need: f64,
        /// Memory available to this process in GiB.
        have: f64,
        /// Size of the largest part in GiB.
        most: f64,
        /// The largest part.
        what: &'static str,
        /// The settings that determine its size.
        keys: &'static str,
    },
    /// An empty text file.
    #[error("`{}` is empty", path.display())]
    EmptyText {
        /// The file, or the folder whose files are all empty.
        path: PathBuf,
    },
    /// A device or a pipe where a file is needed, because it is read more than once.
    #[error("`{}` is a device or a pipe, not a file", path.display())]
    NotAFile {
        /// Its path.
        path: PathBuf,
    },
    /// A folder of training text without any `.txt` file.
    #[error("the folder `{}` holds no `.txt` file", path.display())]
    NoTextFiles {
        /// The folder.
        path: PathBuf,
    },
    /// Training text that is not UTF-8.
    #[error("`{}` is not UTF-8 text: byte {offset} starts no valid character", path.display())]
    NotUtf8 {
        /// The text file.
        path: PathBuf,
        /// Offset of the first invalid byte, counted from 0.
        offset: u64,
    },
    /// Training text with bytes that do not occur in text.
    #[error("`{}` is not UTF-8 text: byte {offset} is {byte:#04x}, as in {}", path.display(), if *utf16 { "UTF-16" } else { "a binary file" })]
    NotText {
        /// The text file.
        path: PathBuf,
        /// Offset of the byte, counted from 0.
        offset: u64,
        /// The byte.
        byte: u8,
        /// Whether the file looks like UTF-16.
        utf16: bool,
    },
    /// Data in a format that is neither plain text nor tokens.
    #[error("`{}` holds {what}, not plain text: `.{extension}` is not supported yet", path.display())]
    DataFormat {
        /// The file.
        path: PathBuf,
        /// The content of such files.
        what: &'static str,
        /// The extension of its name.
        extension: String,
        /// The hint: one imperative sentence.
        remedy: &'static str,
    },
    /// A line of JSON that is no record.
    #[error("`{}`, line {line}: {problem}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: u64,
        /// What is wrong, and what is expected.
        problem: String,
    },
    /// A chat, and no template that makes a text of it.
    #[error("`{}`, line {line} is a chat, and the model has no chat template", path.display())]
    NoTemplate {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: u64,
    },
    /// Examples of which none can be trained on.
    #[error("`{}` holds no example to train on{}", path.display(), match empty { 0 => String::new(), empty => format!(": {empty} without anything to learn from") })]
    NoExamples {
        /// The file or folder.
        path: PathBuf,
        /// Records without anything to learn from.
        empty: u64,
    },
    /// Examples of which no window holds a target that counts.
    #[error("no example in `{}` has a target that counts within a window of {seq} tokens", path.display())]
    ExamplesTooLong {
        /// The file or folder.
        path: PathBuf,
        /// Tokens of a window.
        seq: usize,
    },
    /// A file to validate on beside data that are no examples.
    #[error("`{}` cannot validate a run on text or tokens, which hold out their own end", path.display())]
    ValidFile {
        /// The file.
        path: PathBuf,
    },
    /// A chat template with a mistake, or one that refuses a chat.
    #[error("the chat template{}: {problem}", line.map_or(String::new(), |line| format!(", line {line}")))]
    ChatTemplate {
        /// Line of the template, counted from 1.
        line: Option<usize>,
        /// What is wrong.
        problem: String,
    },
    /// A token file that ends within a token.
    #[error("`{}` has {bytes} bytes, which is not a whole number of {width}-byte tokens", path.display())]
    TokenFileSize {
        /// The token file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// Bytes of a token.
        width: u64,
    },
    /// A token file with an unsupported header.
    #[error("`{}` is not a stream of tokens that this program reads: {problem}", path.display())]
    TokenFormat {
        /// The token file.
        path: PathBuf,
        /// Expected and actual content.
        problem: String,
    },
    /// A token file without a header that looks like tokens of another width.
    #[error("`{}` would be read as {bits}-bit tokens for a vocabulary of {vocab}, but it looks like {likely}-bit ones: {}", path.display(), if *bits == 16 { "every second one is 0" } else { "each holds two" })]
    TokenWidth {
        /// The token file.
        path: PathBuf,
        /// The width that the vocabulary needs.
        bits: u32,
        /// The width that the file likely has.
        likely: u32,
        /// The model's vocabulary size.
        vocab: usize,
    },
    /// A token the model has no embedding for.
    #[error("`{}`: token {position} is {id}, the model's vocabulary ends at {}", path.display(), vocab.saturating_sub(1))]
    TokenOutOfRange {
        /// The token file.
        path: PathBuf,
        /// Index of the token in the file, counted from 0.
        position: u64,
        /// The token.
        id: u32,
        /// The model's vocabulary size.
        vocab: usize,
    },
    /// Tokens that the model has no embedding for, of a file that was made with another tokenizer or in another format.
    #[error("`{}`: token {position} is {id}, the model's vocabulary ends at {}: {reason}", path.display(), vocab.saturating_sub(1))]
    TokensOfOther {
        /// The token file.
        path: PathBuf,
        /// Index of the first such token, counted from 0.
        position: u64,
        /// The token.
        id: u32,
        /// The model's vocabulary size.
        vocab: usize,
        /// The likely reason.
        reason: String,
    },
    /// Text or token file shorter than one training window.
    #[error("`{}` holds {got} tokens, one window of {seq} tokens and its targets needs {want}", path.display())]
    TooFewTokens {
        /// The file.
        path: PathBuf,
        /// Number of tokens.
        got: u64,
        /// Tokens needed, `seq + 1`.
        want: u64,
        /// The sequence length.
        seq: usize,
    },
    /// A token file that was truncated while it was in use.
    #[error("`{}` was truncated while in use: tokens {start} to {end} can no longer be read", path.display())]
    TokenFileShrank {
        /// The token file.
        path: PathBuf,
        /// First requested token.
        start: u64,
        /// One past the last requested token.
        end: u64,
    },
    /// A token file that was overwritten while it was in use.
    #[error("`{}` was changed while in use: tokens {start} to {end} are not what they were when it was opened", path.display())]
    TokenFileChanged {
        /// The token file.
        path: PathBuf,
        /// First requested token.
        start: u64,
        /// One past the last requested token.
        end: u64,
    },
    /// A tokenizer with tokens that the model has no embedding for.
    #[error("the tokenizer{} has {tokenizer} tokens, the model's vocabulary has {model}", quoted(path.as_deref()))]
    TokenizerTooLarge {
        /// Its file; `None` if it was trained here.
        path: Option<PathBuf>,
        /// The tokenizer's size.
        tokenizer: usize,
        /// The model's.
        model: usize,
    },

    /// A tokenizer file that is truncated, invalid or of an unsupported kind.
    #[error("`{}` is not a tokenizer this program reads: {problem}", path.display())]
    TokenizerFormat {
        /// The tokenizer file.
        path: PathBuf,
        /// Expected and actual content.
        problem: String,
    },
    /// A byte-level vocabulary smaller than its bytes.
    #[error("a byte-level vocabulary has at least {want} tokens, `vocab` is {got}")]
    VocabTooSmall {
        /// The requested size.
        got: usize,
        /// The smallest possible size.
        want: usize,
    },
    /// A tokenizer with a part of a kind that is not known.
    #[error("`{}` is not a tokenizer this program reads: unknown {part} \"{kind}\" at `{place}`", path.display())]
    TokenizerKind {
        /// The tokenizer file.
        path: PathBuf,
        /// `normalizer`, `decoder`, …
        part: &'static str,
        /// The kind the file names.
        kind: String,
        /// Where in the file.
        place: String,
        /// The kinds that are known.
        known: &'static [&'static str],
    },

    /// A model of SentencePiece given as a tokenizer.
    #[error("`{}` is a model of SentencePiece, not a `tokenizer.json`", path.display())]
    SentencePiece {
        /// The file.
        path: PathBuf,
    },

    /// The tokenizer library refused to train or encode.
    #[error("the tokenizer failed: {problem}")]
    Tokenizer {
        /// The library's reason.
        problem: String,
    },

    /// A checkpoint of an unsupported version.
    #[error("`{}` has version {version}, this program reads versions {oldest} to {newest}", path.display())]
    CheckpointVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The oldest supported version.
        oldest: u32,
        /// The newest supported version.
        newest: u32,
    },
    /// A weight or state file that is truncated, damaged or of another format.
    #[error("`{}` is not a complete {kind} file: {problem}", path.display())]
    FileFormat {
        /// The file.
        path: PathBuf,
        /// The expected format.
        kind: &'static str,
        /// Expected and actual content.
        problem: String,
    },
    /// A model in a format that is read, with something in it that is not.
    #[error("`{}` cannot be read: {problem}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it has, and what can be read.
        problem: String,
    },
    /// A model that a format cannot hold.
    #[error("this model cannot be written as {format}: {problem}")]
    Export {
        /// The format, or the number format.
        format: &'static str,
        /// What it cannot hold.
        problem: String,
        /// The hint: one imperative sentence.
        remedy: String,
    },
    /// A file or folder that an export would replace.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// Its path.
        path: PathBuf,
    },
    /// A model of another program.
    #[error("`{}` is {what}, which is not read", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is, with its article.
        what: &'static str,
        /// The hint: one imperative sentence.
        remedy: String,
    },
    /// A folder with several models.
    #[error("`{}` is no single model: {problem}", path.display())]
    Several {
        /// The folder.
        path: PathBuf,
        /// The models in it.
        problem: String,
    },
    /// A llama2.c checkpoint of an unsupported version.
    #[error("`{}` is a llama2.c checkpoint of version {version}, versions 0 to 2 are read", path.display())]
    Llama2cVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i32,
    },
    /// A model folder with weights in an unsupported format.
    #[error("`{}` has its weights in `{found}`, only safetensors are read", path.display())]
    WeightsFormat {
        /// The folder.
        path: PathBuf,
        /// The file with weights.
        found: &'static str,
    },
    /// A weight the model needs and the file lacks.
    #[error("`{}` has no tensor `{name}`, which this model needs", path.display())]
    TensorMissing {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
    },
    /// A weight in the file that is not part of the model.
    #[error("`{}` has a tensor `{name}` that this model does not know", path.display())]
    TensorUnexpected {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
    },
    /// A weight whose shape does not match the configuration.
    #[error("`{}`: tensor `{name}` has shape {got:?}, this model wants {want:?}", path.display())]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// Shape in the file.
        got: Vec<usize>,
        /// Shape by the configuration.
        want: Vec<usize>,
    },
    /// A weight in an unsupported number format.
    #[error("`{}`: tensor `{name}` holds {got} numbers, only F32, F16 and BF16 are read", path.display())]
    TensorType {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The number format in the file.
        got: String,
    },
    /// A tensor whose checksum does not match.
    #[error("`{}`: tensor `{name}` is damaged: its checksum is {got:016x}, {want:016x} was written", path.display())]
    TensorDamaged {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The checksum of the file's content.
        got: u64,
        /// The stored checksum.
        want: u64,
    },
    /// A file whose header or training state has changed since it was written.
    #[error("`{}` is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Expected and actual content.
        problem: String,
    },
    /// A tensor with infinities or NaNs.
    #[error("`{}`: {count} of {of} numbers of tensor `{name}` are not finite, the first at index {first}", path.display())]
    TensorNotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The number of infinities and NaNs.
        count: usize,
        /// The number of all elements.
        of: usize,
        /// Index of the first of them, row-major, counted from 0.
        first: usize,
    },
    /// A file to append to that is a symbolic link.
    #[error("`{}` is a symbolic link; a run writes only into its own folder", path.display())]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// The training state of a model with another configuration.
    #[error("`{}` belongs to a model with {key} = {got}, this run has {key} = {want}", path.display())]
    StateOfOtherModel {
        /// The state file.
        path: PathBuf,
        /// The first key that differs.
        key: String,
        /// Its value in the file.
        got: String,
        /// Its value in this run.
        want: String,
    },
    /// An adapter that cannot be used.
    #[error("the adapter `{}` cannot be used: {problem}", path.display())]
    Adapter {
        /// Its folder or file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What helps: a sentence.
        remedy: String,
    },
    /// A run folder without any checkpoint.
    #[error("`{}` holds no checkpoint to resume from", dir.display())]
    NoCheckpoint {
        /// The run folder.
        dir: PathBuf,
    },
}

/// ` \`path\`` when there is one, for the middle of a message.
fn quoted(path: Option<&Path>) -> String {
    path.map(|path| format!(" `{}`", path.display())).unwrap_or_default()
}

/// `file: ` when there is one, for the start of a message.
fn in_file(file: Option<&Path>) -> String {
    file.map(|path| format!("`{}`: ", path.display())).unwrap_or_default()
}

impl TrainError {
    /// Whether the error means that a file is truncated, damaged or not finite. Errors of reading and files of newer versions do
    /// not count.
    pub(crate) fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::FileFormat { .. }
                | Self::TensorDamaged { .. }
                | Self::Damaged { .. }
                | Self::TensorNotFinite { .. }
                | Self::TensorMissing { .. }
                | Self::TensorUnexpected { .. }
                | Self::TensorShape { .. }
                | Self::TensorType { .. }
        ) || matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof)
    }

    /// Wraps a system error with operation and path, for `map_err`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}
