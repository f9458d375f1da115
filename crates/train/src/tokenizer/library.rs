//! Hugging Face's `tokenizers` library: training a byte-level BPE, and reading `tokenizer.json`.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::Value;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::tokenizer::{AddedToken, Encoding, Token, TokenizerBuilder, TokenizerImpl};
use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper, PostProcessorWrapper};

use super::assemble::assemble;
use super::contain::contained;
use super::decode::TokenTable;
use super::kinds;
use super::limits;
use super::outline::Outline;
use super::refusal::Refusal;
use super::style::Style;
use super::words::{Ends, words};
use crate::error::TrainError;

/// The smallest byte-level vocabulary: `<|endoftext|>` and the 256 bytes.
pub const MIN_BPE_VOCAB: usize = 257;

/// The token between documents.
const END_OF_TEXT: &str = "<|endoftext|>";

/// The largest id: the table of bytes has an entry for each id, used or not.
const MAX_ID: u32 = 1 << 20;

/// Names that models use for the end of a text.
const END_NAMES: [&str; 4] = [END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>"];

/// Names that models use for the start of a text.
const START_NAMES: [&str; 5] = ["<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", END_OF_TEXT];

/// Encoded once when a file is read, to detect files on which the library panics.
const PROBE: &str = "Two  words, 3 \u{2581}caf\u{e9}s\n";

/// A tokenizer read from `tokenizer.json`.
pub(super) struct Library {
    tokenizer: tokenizers::Tokenizer,
    json: Vec<u8>,
    splits_at_spaces: bool,
    separator: Option<u32>,
    /// Tokens that the post-processor adds before a text.
    prefix: Vec<u32>,
    /// Tokens that the post-processor adds after a text.
    suffix: Vec<u32>,
    start: Option<u32>,
    end: Option<u32>,
}

/// Trains a byte-level BPE; returns the text of its `tokenizer.json`.
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
    // The separator's name is not text and must not be merged.
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
    /// Parses `tokenizer.json`.
    pub(super) fn parse(json: Vec<u8>) -> Result<(Self, TokenTable), Refusal> {
        let file = Outline::read(&json)?;
        limits::check(&file)?;
        kinds::check(&file.parts)?;
        let tokenizer = contained(|| assemble(&file, &json))?;
        let (decoder, model) = (&file.parts["decoder"], &file.parts["model"]);
        let style = Style::of(decoder)?;
        let mut table = token_table(&tokenizer, &style)?;
        table.set_unknown(unknown(model, &tokenizer));
        let (prefix, suffix) = contained(|| around(&tokenizer))?;
        if let Some(id) = prefix.iter().chain(&suffix).find(|&&id| id as usize >= table.len()) {
            return Err(format!("its post-processor adds token {id}, it has {} tokens", table.len()).into());
        }
        // A vocabulary need not have all characters, so an error is accepted; a panic is not.
        contained(|| {
            let _ = tokenizer.encode_fast(PROBE, false);
            Ok(())
        })?;
        let special = |names: &[&str]| {
            let mut ids = names.iter().filter_map(|name| tokenizer.token_to_id(name));
            ids.find(|&id| table.is_special(id))
        };
        let separator = special(&END_NAMES[..3]).filter(|_| suffix.is_empty());
        let start = prefix.first().copied().or_else(|| special(&START_NAMES));
        let end = suffix.last().copied().or_else(|| special(&END_NAMES));
        let splits_at_spaces = splits_at_spaces(&file);
        let library = Self { tokenizer, json, splits_at_spaces, separator, prefix, suffix, start, end };
        Ok((library, table))
    }

    /// The tokens of `text`, with prefix and suffix at the ends that it has. Where words can be encoded separately, each
    /// distinct word is encoded once.
    pub(super) fn encode(&self, text: &str, ends: Ends) -> Result<Vec<u32>, TrainError> {
        let mut tokens = if ends.first { self.prefix.clone() } else { Vec::new() };
        if self.splits_at_spaces {
            tokens.reserve(text.len() / 3);
            let mut known: HashMap<&str, Range<usize>> = HashMap::new();
            for word in words(text) {
                let start = tokens.len();
                match known.get(word) {
                    Some(place) => tokens.extend_from_within(place.clone()),
                    None => tokens.extend(self.encode_uncut(word)?),
                }
                known.entry(word).or_insert(start..tokens.len());
            }
        } else {
            tokens.extend(self.encode_uncut(text)?);
        }
        if ends.last {
            tokens.extend(&self.suffix);
        }
        Ok(tokens)
    }

    fn encode_uncut(&self, text: &str) -> Result<Vec<u32>, TrainError> {
        let encoding =
            contained(|| self.tokenizer.encode_fast(text, false).map_err(|error| error.to_string()));
        encoding.map(|e| e.get_ids().to_vec()).map_err(|problem| TrainError::Tokenizer { problem })
    }

    /// The tokens of `text` without prefix and suffix, and the byte at which each begins, in order.
    pub(super) fn encode_with_places(&self, text: &str) -> Result<(Vec<u32>, Vec<usize>), TrainError> {
        let encoding = contained(|| self.tokenizer.encode(text, false).map_err(|error| error.to_string()))
            .map_err(|problem| TrainError::Tokenizer { problem })?;
        let mut latest = 0;
        let begins = encoding.get_offsets().iter().map(|&(begin, _)| {
            // Bytes of one character have the same place, and what a normalizer inserts has none.
            latest = begin.max(latest);
            latest
        });
        Ok((encoding.get_ids().to_vec(), begins.collect()))
    }

    /// The token that starts a text.
    pub(super) fn start(&self) -> Option<u32> {
        self.start
    }

    /// The token that ends a text.
    pub(super) fn end(&self) -> Option<u32> {
        self.end
    }

    pub(super) fn json(&self) -> &[u8] {
        &self.json
    }

    /// The tokens added before and after a text.
    pub(super) fn around(&self) -> (&[u32], &[u32]) {
        (&self.prefix, &self.suffix)
    }

    pub(super) fn splits_at_spaces(&self) -> bool {
        self.splits_at_spaces
    }

    pub(super) fn separator(&self) -> Option<u32> {
        self.separator
    }
}

/// The token that the model gives for what its vocabulary does not have.
fn unknown(model: &Value, tokenizer: &tokenizers::Tokenizer) -> Option<u32> {
    let by_name = || tokenizer.token_to_id(model["unk_token"].as_str()?);
    model["unk_id"].as_u64().and_then(|id| u32::try_from(id).ok()).or_else(by_name)
}

/// The tokens that the post-processor adds before and after every text.
fn around(tokenizer: &tokenizers::Tokenizer) -> Result<(Vec<u32>, Vec<u32>), String> {
    // No vocabulary has this id.
    const TEXT: u32 = u32::MAX;
    let text = Encoding::from_tokens(vec![Token::new(TEXT, "text".to_owned(), (0, 4))], 0);
    let whole = tokenizer.post_process(text, None, true).map_err(|error| error.to_string())?;
    let parts: Vec<_> = whole.get_ids().split(|&id| id == TEXT).map(<[u32]>::to_vec).collect();
    match <[Vec<u32>; 2]>::try_from(parts) {
        Ok([prefix, suffix]) => Ok((prefix, suffix)),
        Err(parts) => Err(format!("its post-processor has the text {} times, not once", parts.len() - 1)),
    }
}

/// Whether words can be encoded separately with the same result.
///
/// GPT-2's pattern splits before every space that a word follows, so a cut there changes no token, unless a normalizer or
/// an added token matches across it.
fn splits_at_spaces(file: &Outline) -> bool {
    let looks_across = |token: &AddedToken| {
        token.content.contains(char::is_whitespace) || token.lstrip || token.rstrip || token.single_word
    };
    let pre = &file.parts["pre_tokenizer"];
    file.parts["normalizer"].is_null()
        && pre["type"] == "ByteLevel"
        && pre["add_prefix_space"] == false
        && pre["use_regex"] != false
        && !file.added.iter().any(looks_across)
}

/// `text` as the tokenizer's normalizer makes it.
fn normalized(tokenizer: &tokenizers::Tokenizer, text: &str) -> Result<String, String> {
    let mut normal = NormalizedString::from(text);
    if let Some(normalizer) = tokenizer.get_normalizer() {
        contained(|| normalizer.normalize(&mut normal).map_err(|error| error.to_string()))?;
    }
    Ok(normal.get().to_owned())
}

/// The bytes of every token of a library tokenizer.
fn token_table(tokenizer: &tokenizers::Tokenizer, style: &Style) -> Result<TokenTable, String> {
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
    let mut table = TokenTable::new(style.leading_space());
    for (id, name) in (0..=largest).zip(names) {
        match added.get(&id) {
            Some(token) => {
                let normal =
                    if token.normalized { normalized(tokenizer, &token.content)? } else { String::new() };
                table.push(&style.bytes_of_added(&token.content, &normal), token.special);
            }
            None => table.push(&style.bytes_of(name.unwrap_or("")), false),
        }
    }
    Ok(table)
}
