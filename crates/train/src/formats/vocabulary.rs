//! The vocabulary of a tokenizer as GGUF and llama2.c have it: texts, types and scores of tokens, or merges.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;

use crate::tokenizer::Tokenizer;

/// ggml's token types.
pub const NORMAL: i32 = 1;
/// The token of what has none.
pub const UNKNOWN: i32 = 2;
/// A mark without text.
pub const CONTROL: i32 = 3;
/// An added token with text.
pub const USER_DEFINED: i32 = 4;
/// An id without a token.
pub const UNUSED: i32 = 5;
/// A byte.
pub const BYTE: i32 = 6;

/// A vocabulary.
pub struct Vocabulary {
    /// The text of each token; `▁` for a space with SentencePiece, a character for a byte with byte-level BPE.
    pub tokens: Vec<String>,
    /// The type of each token.
    pub types: Vec<i32>,
    /// How texts become tokens.
    pub kind: Kind,
}

/// How texts become tokens.
pub enum Kind {
    /// By merges, in this order.
    ByteLevel {
        /// Both sides of each merge.
        merges: Vec<(String, String)>,
    },
    /// By the scores of the tokens, the best first.
    SentencePiece {
        /// The score of each token.
        scores: Vec<f32>,
        /// Whether a space is added before a text.
        prefix: bool,
    },
}

impl Vocabulary {
    /// The vocabulary of `tokenizer`, with unused tokens up to `vocab`.
    ///
    /// # Errors
    /// What cannot be expressed.
    pub fn of(tokenizer: &Tokenizer, vocab: usize) -> Result<Self, String> {
        let mut own = match (tokenizer.scored_pieces(), tokenizer.json()) {
            (Some(pieces), _) => Self::of_pieces(&pieces)?,
            (None, Some(json)) => Self::of_json(&serde_json::from_slice(json).map_err(|e| e.to_string())?)?,
            (None, None) => return Err("it has no vocabulary".to_owned()),
        };
        for id in own.tokens.len()..vocab {
            own.tokens.push(format!("[PAD{id}]"));
            own.types.push(UNUSED);
        }
        if let Kind::SentencePiece { scores, .. } = &mut own.kind {
            scores.resize(vocab.max(scores.len()), WORST);
        }
        Ok(own)
    }

    /// Ids 0, 1, 2 are unknown, start and end, followed by the bytes.
    fn of_pieces(pieces: &[(&[u8], f32)]) -> Result<Self, String> {
        let (mut tokens, mut types) = (Vec::new(), Vec::new());
        for (id, (piece, _)) in pieces.iter().enumerate() {
            let text = std::str::from_utf8(piece).map_err(|_| format!("token {id} is not UTF-8"))?;
            let (token, kind) = match id {
                0 => ("<unk>".to_owned(), UNKNOWN),
                1 => ("<s>".to_owned(), CONTROL),
                2 => ("</s>".to_owned(), CONTROL),
                3..259 => (text.to_owned(), BYTE),
                _ => (text.replace(' ', "▁"), NORMAL),
            };
            tokens.push(token);
            types.push(kind);
        }
        let scores = pieces.iter().map(|(_, score)| *score).collect();
        Ok(Self { tokens, types, kind: Kind::SentencePiece { scores, prefix: true } })
    }

    fn of_json(json: &Json) -> Result<Self, String> {
        let model = &json["model"];
        if model["type"].as_str().is_some_and(|kind| kind != "BPE") {
            return Err(format!("it is {}, not BPE", model["type"]));
        }
        let (mut tokens, types) = tokens(json)?;
        let merges = merges(&model["merges"])?;
        let is_byte_level = json["pre_tokenizer"].to_string().contains("\"ByteLevel\"");
        let kind = match is_byte_level {
            true => Kind::ByteLevel { merges },
            false => {
                let scores = scores(&tokens, &types, &merges)?;
                // As llama.cpp finds them in a text.
                for (token, _) in tokens.iter_mut().zip(&types).filter(|(_, kind)| **kind == USER_DEFINED) {
                    if token.chars().count() > 1 && token.chars().all(|c| c == '▁') {
                        *token = token.replace('▁', " ");
                    }
                }
                Kind::SentencePiece { scores, prefix: space_prefix(json)? }
            }
        };
        Ok(Self { tokens, types, kind })
    }

    /// The file `tokenizer.bin` of llama2.c.
    ///
    /// # Errors
    /// What it cannot express.
    pub fn llama2c_file(&self) -> Result<Vec<u8>, String> {
        let Kind::SentencePiece { scores, prefix: true } = &self.kind else {
            return Err("it is not SentencePiece's BPE with a space before each text".to_owned());
        };
        let first = [(0, UNKNOWN), (1, CONTROL), (2, CONTROL), (3, BYTE), (258, BYTE)];
        if first.iter().any(|&(id, kind)| self.types.get(id) != Some(&kind)) {
            return Err("its first tokens are not unknown, start, end and the 256 bytes".to_owned());
        }
        let piece = |(id, token): (usize, &String)| match id {
            1 => "\n<s>\n".to_owned(),
            2 => "\n</s>\n".to_owned(),
            _ => token.replace('▁', " "),
        };
        let pieces: Vec<String> = self.tokens.iter().enumerate().map(piece).collect();
        let longest = pieces.iter().map(String::len).max().unwrap_or(0);
        let mut bytes = (longest as i32).to_le_bytes().to_vec();
        for (piece, score) in pieces.iter().zip(scores) {
            bytes.extend(score.to_le_bytes());
            bytes.extend((piece.len() as i32).to_le_bytes());
            bytes.extend(piece.as_bytes());
        }
        Ok(bytes)
    }
}

/// Texts and types of the tokens of a `tokenizer.json`.
fn tokens(json: &Json) -> Result<(Vec<String>, Vec<i32>), String> {
    let mut found: HashMap<usize, (&str, i32)> = HashMap::new();
    let unknown = json["model"]["unk_token"].as_str();
    let bytes = json["model"]["byte_fallback"] == true;
    let is_byte = |token: &str| bytes && token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
    for (token, id) in json["model"]["vocab"].as_object().into_iter().flatten() {
        let id = id.as_u64().ok_or_else(|| format!("token `{token}` has no id"))?;
        let kind = match token.as_str() {
            token if Some(token) == unknown => UNKNOWN,
            token if is_byte(token) => BYTE,
            _ => NORMAL,
        };
        found.insert(id as usize, (token, kind));
    }
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let (Some(id), Some(token)) = (added["id"].as_u64(), added["content"].as_str()) else { continue };
        let kind = match added["special"] == true {
            true if Some(token) == unknown => UNKNOWN,
            true => CONTROL,
            false => USER_DEFINED,
        };
        found.insert(id as usize, (token, kind));
    }
    let count = found.keys().max().map_or(0, |last| last + 1);
    let at = |id: usize| match found.get(&id) {
        Some((token, kind)) => ((*token).to_owned(), *kind),
        None => (format!("[PAD{id}]"), UNUSED),
    };
    Ok((0..count).map(at).unzip())
}

/// Both sides of each merge of a `tokenizer.json`'s model.
pub fn merges(json: &Json) -> Result<Vec<(String, String)>, String> {
    let pair = |merge: &Json| match (merge.as_str(), merge[0].as_str(), merge[1].as_str()) {
        (Some(text), ..) => text.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned())),
        (_, Some(left), Some(right)) => Some((left.to_owned(), right.to_owned())),
        _ => None,
    };
    let all = json.as_array().map_or(&[][..], Vec::as_slice);
    all.iter().map(|merge| pair(merge).ok_or_else(|| format!("its merge {merge} is no pair"))).collect()
}

/// The score of tokens that no merge makes.
const WORST: f32 = -1e9;

/// The score that llama.cpp's converter gives to tokens of a model's own, which are found before all merges.
const OWN: f32 = -1000.0;

/// Scores with which SentencePiece merges as `merges` do: each token's is the negative place of the merges that make it.
fn scores(tokens: &[String], types: &[i32], merges: &[(String, String)]) -> Result<Vec<f32>, String> {
    let is_own = |id: usize| types.get(id) == Some(&USER_DEFINED);
    let mut scores: Vec<f32> = (0..tokens.len()).map(|id| if is_own(id) { OWN } else { WORST }).collect();
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, t)| (t.as_str(), id)).collect();
    let makes_own = |(left, right): &&(String, String)| {
        ids.get(format!("{left}{right}").as_str()).is_some_and(|&id| is_own(id))
    };
    let others: Vec<_> = merges.iter().filter(|merge| !makes_own(merge)).cloned().collect();
    let made = made(&others).ok_or("the merges of one token are not beside one another")?;
    for (place, token) in made.iter().enumerate() {
        let id =
            ids.get(token.as_str()).ok_or_else(|| format!("a merge makes `{token}`, which is no token"))?;
        scores[*id] = -(place as f32);
    }
    Ok(scores)
}

/// The tokens that merges make, in order; `None` if the merges of one token are not beside one another.
fn made(merges: &[(String, String)]) -> Option<Vec<String>> {
    let mut made: Vec<String> = Vec::new();
    let mut seen = HashSet::new();
    for (left, right) in merges {
        let token = format!("{left}{right}");
        if made.last() == Some(&token) {
            continue;
        }
        if !seen.insert(token.clone()) {
            return None;
        }
        made.push(token);
    }
    Some(made)
}

/// Whether a SentencePiece-like `tokenizer.json` adds a space before a text.
fn space_prefix(json: &Json) -> Result<bool, String> {
    let (normalizer, pre) = (&json["normalizer"], &json["pre_tokenizer"]);
    let is_space =
        |step: &Json| step["type"] == "Replace" && step["pattern"]["String"] == " " && step["content"] == "▁";
    let is_prefix = |step: &Json| step["type"] == "Prepend" && step["prepend"] == "▁";
    let steps: Vec<&Json> = match normalizer["normalizers"].as_array() {
        Some(steps) => steps.iter().collect(),
        None if normalizer.is_null() => Vec::new(),
        None => vec![normalizer],
    };
    match (&steps[..], pre["type"].as_str()) {
        ([first, second], None) if is_prefix(first) && is_space(second) => Ok(true),
        ([only], None) if is_space(only) => Ok(false),
        // Gemma's: after its normalizer, there is no space to split at.
        ([only], Some("Split")) if is_space(only) && pre["pattern"]["String"] == " " => Ok(false),
        ([], Some("Metaspace")) if pre["replacement"] == "▁" && pre["split"] == false => {
            Ok(pre["prepend_scheme"].as_str().is_none_or(|scheme| scheme != "never"))
        }
        _ => Err(format!("its normalizer {normalizer} with its pre-tokenizer {pre} is not SentencePiece's")),
    }
}
