//! How a vocabulary writes text, and what a token is as bytes: the decoder of `tokenizer.json`, token by token.

use std::collections::HashMap;

use serde_json::Value;

use super::decode::{LeadingSpace, byte_token};

/// How a vocabulary writes text.
pub(super) enum Style {
    /// A printable character for each byte (GPT-2).
    ByteLevel(HashMap<char, u8>),
    /// A mark for a space, `<0x41>` for a byte (SentencePiece).
    Pieces {
        /// The mark, usually `▁`.
        mark: char,
        /// Where a space is not the text's.
        leading_space: LeadingSpace,
    },
    /// A prefix for tokens that go on with a word (BERT).
    Words {
        /// The prefix.
        prefix: String,
        /// Whether spaces before punctuation and English contractions are removed.
        cleanup: bool,
    },
}

impl Style {
    /// The style that `decoder` undoes.
    ///
    /// # Errors
    /// The decoders, if none of them is known.
    pub(super) fn of(decoder: &Value) -> Result<Self, String> {
        let steps = decoder["decoders"].as_array().map_or(std::slice::from_ref(decoder), Vec::as_slice);
        let step = |kind: &str| steps.iter().find(|step| step["type"] == kind);
        if step("ByteLevel").is_some() {
            return Ok(Self::ByteLevel(byte_level_characters()));
        }
        if let Some(words) = step("WordPiece") {
            let prefix = words["prefix"].as_str().unwrap_or("##").to_owned();
            return Ok(Self::Words { prefix, cleanup: words["cleanup"] != false });
        }
        let metaspace = step("Metaspace");
        if metaspace.is_none() && step("ByteFallback").is_none() {
            let kinds: Vec<_> = steps.iter().map(|step| step["type"].as_str().unwrap_or("none")).collect();
            return Err(format!(
                "its decoder is {}, not ByteLevel, ByteFallback, Metaspace or WordPiece",
                kinds.join(", ")
            ));
        }
        let strips = step("Strip").is_some_and(|strip| strip["start"].as_u64() > Some(0));
        // Files of older versions say `add_prefix_space`.
        let puts = |step: &Value| match step["prepend_scheme"].as_str() {
            Some("never") => LeadingSpace::Never,
            Some("first") => LeadingSpace::First,
            None if step["add_prefix_space"] == false => LeadingSpace::Never,
            _ => LeadingSpace::Always,
        };
        let leading_space = match metaspace {
            Some(step) => puts(step),
            None if strips => LeadingSpace::Always,
            None => LeadingSpace::Never,
        };
        let mark = metaspace.and_then(|step| step["replacement"].as_str()?.chars().next());
        Ok(Self::Pieces { mark: mark.unwrap_or('▁'), leading_space })
    }

    /// Where tokens begin with a space that the text does not have.
    pub(super) fn leading_space(&self) -> LeadingSpace {
        match self {
            Self::ByteLevel(_) => LeadingSpace::Never,
            Self::Pieces { leading_space, .. } => *leading_space,
            Self::Words { .. } => LeadingSpace::First,
        }
    }

    /// The bytes of the token that the vocabulary calls `name`.
    pub(super) fn bytes_of(&self, name: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel(byte_of) => {
                let bytes: Option<Vec<u8>> = name.chars().map(|c| byte_of.get(&c).copied()).collect();
                bytes.unwrap_or_else(|| name.as_bytes().to_vec())
            }
            Self::Pieces { mark, .. } => match byte_token(name) {
                Some(byte) => vec![byte],
                None => name.replace(*mark, " ").into_bytes(),
            },
            Self::Words { prefix, cleanup } => {
                let token = match name.strip_prefix(prefix.as_str()) {
                    Some(rest) => rest.to_owned(),
                    None => format!(" {name}"),
                };
                if *cleanup { cleaned(&token).into_bytes() } else { token.into_bytes() }
            }
        }
    }

    /// The bytes of an added token. `normal` is what it stands for in a normalized text, if it is looked for there:
    /// there a mark before it may be part of it.
    pub(super) fn bytes_of_added(&self, content: &str, normal: &str) -> Vec<u8> {
        match self {
            Self::Words { .. } => self.bytes_of(content),
            Self::Pieces { mark, .. } if normal.starts_with(*mark) => self.bytes_of(normal),
            Self::Pieces { mark, .. } => content.replace(*mark, " ").into_bytes(),
            Self::ByteLevel(_) => content.as_bytes().to_vec(),
        }
    }
}

/// A token without the spaces that no English text has.
///
/// Source: huggingface/tokenizers `decoders/wordpiece.rs`, `cleanup`.
fn cleaned(token: &str) -> String {
    const SPACES: [(&str, &str); 11] = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" do not", " don't"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    SPACES.iter().fold(token.to_owned(), |token, (from, to)| token.replace(from, to))
}

/// GPT-2's character for each byte: printable Latin-1 bytes are themselves, the others are the characters from U+0100
/// on. Source: openai/gpt-2 `src/encoder.py`, `bytes_to_unicode`.
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
