//! Hugging Face's `tokenizers` behind our door: training a byte-level BPE, and reading `tokenizer.json`.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::Value;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::{AddedToken, TokenizerBuilder, TokenizerImpl};
use tokenizers::{NormalizerWrapper, PostProcessorWrapper};

use super::decode::TokenTable;
use super::words::words;
use crate::error::TrainError;

/// The smallest byte-level vocabulary: `<|endoftext|>` and the 256 bytes.
pub const MIN_BPE_VOCAB: usize = 257;

/// Stands between documents and belongs to none.
const END_OF_TEXT: &str = "<|endoftext|>";

/// Ids a vocabulary may reach: the table of bytes has an entry for each, used or not.
const MAX_ID: u32 = 1 << 22;

/// A tokenizer read from `tokenizer.json`.
pub(super) struct Library {
    tokenizer: tokenizers::Tokenizer,
    json: Vec<u8>,
    splits_at_spaces: bool,
    separator: Option<u32>,
}

/// Trains a byte-level BPE; the result is the text of its `tokenizer.json`.
pub(super) fn train_bpe(
    texts: impl Iterator<Item = Result<String, TrainError>> + Send,
    vocab: usize,
) -> Result<Vec<u8>, TrainError> {
    if vocab < MIN_BPE_VOCAB {
        return Err(TrainError::VocabTooSmall { got: vocab, want: MIN_BPE_VOCAB });
    }
    let failed = |error: tokenizers::Error| TrainError::Tokenizer { problem: error.to_string() };
    type Bpe = TokenizerImpl<BPE, NormalizerWrapper, ByteLevel, PostProcessorWrapper, ByteLevel>;
    let byte_level = ByteLevel::new(false, false, true);
    let mut tokenizer: Bpe = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(byte_level))
        .with_decoder(Some(byte_level))
        .build()
        .map_err(failed)?;
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocab)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();

    let mut failure = None;
    // The marker is no text: merges inside its name would be wasted.
    let pieces = texts
        .map_while(|text| text.map_err(|error| failure = Some(error)).ok())
        .flat_map(|text| text.split(END_OF_TEXT).map(str::to_owned).collect::<Vec<_>>());
    let trained = tokenizer.train(&mut trainer, pieces).map(|_| ());
    if let Some(error) = failure {
        return Err(error);
    }
    trained.map_err(failed)?;
    let mut json = tokenizer.to_string(true).map_err(failed)?;
    json.push('\n');
    Ok(json.into_bytes())
}

impl Library {
    /// Reads `tokenizer.json`; the error is what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<(Self, TokenTable), String> {
        let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes).map_err(|error| error.to_string())?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| error.to_string())?;

        let style = Style::of(&value["decoder"])?;
        let table = token_table(&tokenizer, style)?;
        let separator = [END_OF_TEXT, "<|end_of_text|>", "</s>"]
            .iter()
            .find_map(|name| tokenizer.token_to_id(name))
            .filter(|&id| table.is_special(id));
        let pre = &value["pre_tokenizer"];
        // GPT-2's pattern cuts before every space that a word follows, so the cut changes no token.
        let splits_at_spaces = value["normalizer"].is_null()
            && pre["type"] == "ByteLevel"
            && pre["add_prefix_space"] == false
            && pre["use_regex"] != false;
        Ok((Self { tokenizer, json: bytes.to_vec(), splits_at_spaces, separator }, table))
    }

    /// The tokens of `text`. Where words can be encoded alone, each different one is encoded once.
    pub(super) fn encode(&self, text: &str, first: bool) -> Result<Vec<u32>, TrainError> {
        if !self.splits_at_spaces {
            return self.encode_uncut(text, first);
        }
        let mut known: HashMap<&str, Range<usize>> = HashMap::new();
        let mut tokens = Vec::with_capacity(text.len() / 3);
        for (index, word) in words(text).enumerate() {
            let start = tokens.len();
            match known.get(word) {
                Some(place) => tokens.extend_from_within(place.clone()),
                None => tokens.extend(self.encode_uncut(word, first && index == 0)?),
            }
            // What a tokenizer puts first is not part of the word.
            if index > 0 {
                known.entry(word).or_insert(start..tokens.len());
            }
        }
        Ok(tokens)
    }

    fn encode_uncut(&self, text: &str, first: bool) -> Result<Vec<u32>, TrainError> {
        let encoding = self
            .tokenizer
            .encode_fast(text, first)
            .map_err(|error| TrainError::Tokenizer { problem: error.to_string() })?;
        Ok(encoding.get_ids().to_vec())
    }

    pub(super) fn json(&self) -> &[u8] {
        &self.json
    }

    pub(super) fn splits_at_spaces(&self) -> bool {
        self.splits_at_spaces
    }

    pub(super) fn separator(&self) -> Option<u32> {
        self.separator
    }
}

/// How a vocabulary spells bytes.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    /// One stand-in character for each byte (GPT-2).
    ByteLevel,
    /// `▁` for a space, `<0x41>` for a byte (SentencePiece).
    SentencePiece,
}

impl Style {
    fn of(decoder: &Value) -> Result<Self, String> {
        let kind = |value: &Value| value["type"].as_str().unwrap_or("none").to_owned();
        let kinds: Vec<_> = match decoder["decoders"].as_array() {
            Some(steps) => steps.iter().map(kind).collect(),
            None => vec![kind(decoder)],
        };
        if kinds.iter().any(|k| k == "ByteLevel") {
            Ok(Self::ByteLevel)
        } else if kinds.iter().any(|k| k == "ByteFallback" || k == "Metaspace") {
            Ok(Self::SentencePiece)
        } else {
            Err(format!("its decoder is {}, not ByteLevel, ByteFallback or Metaspace", kinds.join(", ")))
        }
    }
}

/// The bytes of every token of a library tokenizer.
fn token_table(tokenizer: &tokenizers::Tokenizer, style: Style) -> Result<TokenTable, String> {
    let vocab = tokenizer.get_vocab(true);
    let added = tokenizer.get_added_tokens_decoder();
    let Some(&largest) = vocab.values().chain(added.keys()).max() else {
        return Err("it has no tokens".to_owned());
    };
    if largest >= MAX_ID {
        return Err(format!("it has a token with id {largest}, more than the {MAX_ID} this program handles"));
    }
    let mut names = vec![None; largest as usize + 1];
    for (name, &id) in &vocab {
        names[id as usize] = Some(name.as_str());
    }
    let byte_of: HashMap<char, u8> = byte_level_characters();
    let mut table = TokenTable::new(style == Style::SentencePiece);
    for (id, name) in (0..=largest).zip(names) {
        if let Some(token) = added.get(&id) {
            table.push(token.content.as_bytes(), token.special);
            continue;
        }
        let name = name.unwrap_or("");
        let bytes = match style {
            Style::ByteLevel => name.chars().map(|c| byte_of.get(&c).copied()).collect::<Option<Vec<_>>>(),
            Style::SentencePiece => byte_token(name).map(|byte| vec![byte]),
        };
        table.push(&bytes.unwrap_or_else(|| name.replace('▁', " ").into_bytes()), false);
    }
    Ok(table)
}

/// The byte of a `<0x41>` token.
pub(super) fn byte_token(name: &str) -> Option<u8> {
    let hex = name.strip_prefix("<0x")?.strip_suffix('>')?;
    if hex.len() == 2 { u8::from_str_radix(hex, 16).ok() } else { None }
}

/// GPT-2's stand-in character of each byte: printable Latin-1 bytes stand for themselves, the others for the
/// characters from U+0100 on. Source: openai/gpt-2 `src/encoder.py`, `bytes_to_unicode`.
fn byte_level_characters() -> HashMap<char, u8> {
    let mut next = 0x100;
    (0..=255u8)
        .map(|byte| {
            let code = match byte {
                b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => u32::from(byte),
                _ => {
                    next += 1;
                    next - 1
                }
            };
            (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), byte)
        })
        .collect()
}
