//! Tokenizers: a byte-pair tokenizer trained from the text, any byte-level or SentencePiece-like `tokenizer.json`, or
//! llama2.c's `tokenizer.bin`.
//!
//! In all of them every token has known bytes ([`Tokenizer::bytes_of`]), so decoding concatenates bytes, streaming never splits
//! a character, and bits per byte can be computed.

mod assemble;
mod contain;
mod decode;
mod growth;
mod kinds;
mod library;
mod limits;
mod llama2c;
mod outline;
mod refusal;
mod sentencepiece;
mod sizes;
mod style;
mod words;

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use contain::catches_panics;
pub use decode::Decoder;
pub use library::MIN_BPE_VOCAB;
pub(crate) use words::{Ends, last_cut};

use crate::error::TrainError;
use crate::fs::write_atomically;
use decode::TokenTable;
use library::Library;
use llama2c::Llama2c;
use refusal::Refusal;
use xxhash_rust::xxh3::xxh3_64;

/// A tokenizer of any supported kind.
pub struct Tokenizer {
    kind: Kind,
    table: TokenTable,
    /// The file it was read from.
    path: Option<PathBuf>,
}

enum Kind {
    Library(Box<Library>),
    Llama2c(Box<Llama2c>),
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("file", &self.file_name())
            .field("vocab", &self.vocab_size())
            .finish()
    }
}

impl Tokenizer {
    /// Trains a byte-level byte-pair tokenizer of `vocab` tokens from `texts`.
    ///
    /// Token 0 is `<|endoftext|>`, followed by the 256 bytes and merges of pairs that occur at least twice; a short text can
    /// yield fewer than `vocab` tokens. The result depends on text and `vocab` alone, and decoding inverts encoding for
    /// any text.
    ///
    /// # Errors
    /// [`TrainError::VocabTooSmall`] below [`MIN_BPE_VOCAB`], and whatever `texts` yields.
    pub fn train(
        texts: impl Iterator<Item = Result<String, TrainError>> + Send,
        vocab: usize,
    ) -> Result<Self, TrainError> {
        let json = library::train_bpe(texts, vocab)?;
        Self::from_json(json).map_err(|refusal| refusal.of_file(Path::new("tokenizer.json")))
    }

    /// Loads `tokenizer.json` (a name that ends in `.json`) or llama2.c's `tokenizer.bin`.
    ///
    /// `vocab` is the size the file must have, if known: a `tokenizer.bin` does not store its size, and is otherwise read
    /// to its end.
    ///
    /// # Errors
    /// [`TrainError::Io`], or [`TrainError::TokenizerFormat`] for a truncated or foreign file.
    pub fn load(path: &Path, vocab: Option<usize>) -> Result<Self, TrainError> {
        let refused = |refusal: Refusal| refusal.of_file(path);
        let file = File::open(path).map_err(TrainError::io("read", path))?;
        let length = file.metadata().map_or(0, |data| data.len()).min(limits::MAX_FILE);
        let mut bytes = Vec::with_capacity(length as usize + 1);
        let read = file.take(limits::MAX_FILE + 1).read_to_end(&mut bytes);
        read.map_err(TrainError::io("read", path))?;
        if bytes.len() as u64 > limits::MAX_FILE {
            let most = limits::MAX_FILE >> 20;
            return Err(refused(format!("it has more than {most} MiB").into()));
        }
        if bytes.starts_with(b"GGUF") {
            let problem = "it is a GGUF file, whose tokenizer is used where the file is named as the model";
            return Err(refused(problem.to_owned().into()));
        }
        if sentencepiece::is_model(&bytes) {
            return Err(refused(Refusal::SentencePiece));
        }
        let parsed = if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
            Self::from_json(bytes)
        } else {
            Self::from_llama2c(bytes, vocab).map_err(Refusal::from)
        };
        parsed.map(|tokenizer| Self { path: Some(path.to_owned()), ..tokenizer }).map_err(refused)
    }

    /// Parses the text of a `tokenizer.json` derived from the model file `path`.
    ///
    /// # Errors
    /// [`TrainError::TokenizerFormat`].
    pub(crate) fn from_json_in(path: &Path, json: &[u8]) -> Result<Self, TrainError> {
        let refused = |refusal: Refusal| match refusal {
            // Line and column would be those of a text that no file has.
            Refusal::Problem(problem) => {
                let problem = problem.split(" at line ").next().unwrap_or_default().to_owned();
                TrainError::TokenizerFormat { path: path.to_owned(), problem }
            }
            other => other.of_file(path),
        };
        Self::from_json(json.to_vec())
            .map(|tokenizer| Self { path: Some(path.to_owned()), ..tokenizer })
            .map_err(refused)
    }

    /// Loads the tokenizer of the folder of a model with `vocab` tokens: `tokenizer.json`, else `tokenizer.bin`, else `None`.
    ///
    /// # Errors
    /// As [`Tokenizer::load`] and [`Tokenizer::check_vocab`].
    pub fn load_from_folder(dir: &Path, vocab: usize) -> Result<Option<Self>, TrainError> {
        let mut paths = ["tokenizer.json", "tokenizer.bin"].into_iter().map(|name| dir.join(name));
        let found = paths.find(|path| path.exists());
        let tokenizer = found.map(|path| Self::load(&path, Some(vocab))).transpose()?;
        tokenizer.iter().try_for_each(|tokenizer| tokenizer.check_vocab(vocab))?;
        Ok(tokenizer)
    }

    /// Refuses a tokenizer with tokens that a model of `vocab` tokens has no embedding for.
    ///
    /// # Errors
    /// [`TrainError::TokenizerTooLarge`].
    pub fn check_vocab(&self, vocab: usize) -> Result<(), TrainError> {
        match self.vocab_size() {
            size if size > vocab => {
                Err(TrainError::TokenizerTooLarge { path: self.path.clone(), tokenizer: size, model: vocab })
            }
            _ => Ok(()),
        }
    }

    /// Writes the tokenizer into a model folder, atomically, and returns the file's path.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn save_to_folder(&self, dir: &Path) -> Result<PathBuf, TrainError> {
        let path = dir.join(self.file_name());
        write_atomically(&path, self.file())?;
        Ok(path)
    }

    /// The file it was read from; `None` if it was trained here.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// XXH3 of its file in 16 digits, to check that a resumed run has the same tokenizer.
    pub fn fingerprint(&self) -> String {
        format!("{:016x}", xxh3_64(self.file()))
    }

    /// The text of its `tokenizer.json`; `None` if it is llama2.c's.
    pub(crate) fn json(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::Library(library) => Some(library.json()),
            Kind::Llama2c(_) => None,
        }
    }

    /// The bytes and score of each token of llama2.c's tokenizer; `None` if it is another one.
    pub(crate) fn scored_pieces(&self) -> Option<Vec<(&[u8], f32)>> {
        match &self.kind {
            Kind::Library(_) => None,
            Kind::Llama2c(llama) => Some(llama.scored_pieces()),
        }
    }

    /// The tokens that it adds before and after a text.
    pub(crate) fn around(&self) -> (&[u32], &[u32]) {
        match &self.kind {
            Kind::Library(library) => library.around(),
            Kind::Llama2c(_) => (&[llama2c::START], &[]),
        }
    }

    fn file(&self) -> &[u8] {
        match &self.kind {
            Kind::Library(library) => library.json(),
            Kind::Llama2c(llama) => llama.file(),
        }
    }

    /// `tokenizer.json` or `tokenizer.bin`, depending on its kind.
    pub fn file_name(&self) -> &'static str {
        match self.kind {
            Kind::Library(_) => "tokenizer.json",
            Kind::Llama2c(_) => "tokenizer.bin",
        }
    }

    fn from_json(json: Vec<u8>) -> Result<Self, Refusal> {
        let (library, table) = Library::parse(json)?;
        Ok(Self { kind: Kind::Library(Box::new(library)), table, path: None })
    }

    fn from_llama2c(bytes: Vec<u8>, vocab: Option<usize>) -> Result<Self, String> {
        let (llama, table) = Llama2c::parse(bytes, vocab)?;
        Ok(Self { kind: Kind::Llama2c(Box::new(llama)), table, path: None })
    }

    /// The tokens of a whole text, with those that the tokenizer adds before and after it: none for a trained byte-pair
    /// tokenizer, the start token and a space for llama2.c's, those of the post-processor in a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TrainError::Tokenizer`] if a vocabulary without byte tokens cannot express the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TrainError> {
        self.encode_chunk(text, Ends::BOTH)
    }

    /// The tokens of a prompt: as at the start of a text, without tokens added after it. Never empty: an empty prompt
    /// becomes a start token or a newline.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>, TrainError> {
        let beginning = Ends { first: true, last: false };
        for text in [text, "\n"] {
            let tokens = self.encode_chunk(text, beginning)?;
            if !tokens.is_empty() {
                return Ok(tokens);
            }
        }
        let nothing = || TrainError::Tokenizer { problem: "this prompt has no tokens".to_owned() };
        self.start().map(|start| vec![start]).ok_or_else(nothing)
    }

    /// The tokens of a rendered chat, which has all marks of its own: none are added.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<u32>, TrainError> {
        self.encode_chunk(text, Ends { first: false, last: false })
    }

    /// The tokens of a text without those that the tokenizer adds, and which of them begin within each of `parts`, ranges of bytes
    /// in order.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub(crate) fn encode_parts(
        &self,
        text: &str,
        parts: &[Range<usize>],
    ) -> Result<(Vec<u32>, Vec<Range<u32>>), TrainError> {
        let Kind::Library(library) = &self.kind else { return self.encode_apart(text, parts) };
        let (tokens, begins) = library.encode_with_places(text)?;
        let first = |at: usize| begins.partition_point(|&begin| begin < at) as u32;
        let ranges = parts.iter().map(|part| first(part.start)..first(part.end)).collect();
        Ok((tokens, ranges))
    }

    /// As [`Tokenizer::encode_parts`], with each part encoded apart from the text around it.
    fn encode_apart(
        &self,
        text: &str,
        parts: &[Range<usize>],
    ) -> Result<(Vec<u32>, Vec<Range<u32>>), TrainError> {
        let (mut tokens, mut ranges, mut done) = (Vec::new(), Vec::with_capacity(parts.len()), 0);
        for part in parts {
            tokens.extend(self.encode_rendered(&text[done..part.start])?);
            let start = tokens.len() as u32;
            tokens.extend(self.encode_rendered(&text[part.clone()])?);
            ranges.push(start..tokens.len() as u32);
            done = part.end;
        }
        tokens.extend(self.encode_rendered(&text[done..])?);
        Ok((tokens, ranges))
    }

    /// The tokens of a chunk of a text; tokens are added before or after it only at the text's start or end.
    pub(crate) fn encode_chunk(&self, text: &str, ends: Ends) -> Result<Vec<u32>, TrainError> {
        match &self.kind {
            Kind::Library(library) => library.encode(text, ends),
            Kind::Llama2c(llama) => Ok(llama.encode(text, ends.first)),
        }
    }

    /// The token that starts a text, if there is one: the one the tokenizer adds, or one with a usual name.
    pub fn start(&self) -> Option<u32> {
        match &self.kind {
            Kind::Library(library) => library.start(),
            Kind::Llama2c(_) => Some(llama2c::START),
        }
    }

    /// The token that ends a text, if there is one: the one the tokenizer adds, or one with a usual name.
    pub fn end(&self) -> Option<u32> {
        match &self.kind {
            Kind::Library(library) => library.end(),
            Kind::Llama2c(_) => Some(llama2c::END),
        }
    }

    /// Whether encoding a text in chunks ([`last_cut`]) gives the same tokens as encoding the whole.
    pub(crate) fn splits_at_spaces(&self) -> bool {
        match &self.kind {
            Kind::Library(library) => library.splits_at_spaces(),
            Kind::Llama2c(_) => !self.table.any_crosses_a_space(),
        }
    }

    /// The token between two documents, if the tokenizer has one and does not itself end each document.
    pub fn separator(&self) -> Option<u32> {
        match &self.kind {
            Kind::Library(library) => library.separator(),
            Kind::Llama2c(_) => None,
        }
    }

    /// The text of `tokens`; bytes that form no character become U+FFFD, as do ids beyond the vocabulary.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let mut decoder = self.decoder();
        let mut text: String = tokens.iter().map(|&token| decoder.push(token)).collect();
        text.push_str(&decoder.finish());
        text
    }

    /// A streaming decoder; its concatenated output equals that of [`Tokenizer::decode`]. To decode the continuation of a
    /// prompt, push the prompt's tokens first and ignore their text.
    pub fn decoder(&self) -> Decoder<'_> {
        Decoder::new(&self.table)
    }

    /// Number of tokens: one more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.table.len()
    }

    /// The bytes a token decodes to; none for ids beyond the vocabulary.
    pub fn bytes_of(&self, token: u32) -> &[u8] {
        self.table.bytes(token)
    }

    /// Whether a token is special: it has no text, such as the marks of a text's start and end.
    pub fn is_special(&self, token: u32) -> bool {
        self.table.is_special(token)
    }

    /// For each id, the bytes of its text; 0 for special tokens. The denominator of bits per byte is the sum over the
    /// predicted tokens.
    pub fn text_lengths(&self) -> Vec<u32> {
        (0..self.vocab_size() as u32)
            .map(|id| if self.is_special(id) { 0 } else { self.bytes_of(id).len() as u32 })
            .collect()
    }
}

#[cfg(test)]
mod agree;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;
