//! The tokenizer in a GGUF file, as the text of a `tokenizer.json` that gives the same ids.
//!
//! Byte-level BPE (`gpt2`) by its `pre`, and SentencePiece's BPE (`llama`) with scores and byte fallback.
//! Source: llama.cpp `src/llama-vocab.cpp`; transformers `convert_slow_tokenizer.py` for the order of merges.

use super::header::{Header, printable};
use super::values::{KeyError, flag, integer, missing, numbers, text, texts};
use serde_json::{Map, Value as Json, json};
use std::cmp::Reverse;
use std::collections::HashMap;

/// Token types: normal, unknown, control, user-defined, byte.
const NORMAL: f64 = 1.0;
const UNKNOWN: f64 = 2.0;
const CONTROL: f64 = 3.0;
const USER_DEFINED: f64 = 4.0;
const BYTE: f64 = 6.0;

/// The key that names the pre-tokenizer.
const PRE: &str = "tokenizer.ggml.pre";

/// What llama.cpp takes where the key is missing.
const DEFAULT: [&str; 4] = [
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The text of a `tokenizer.json`; `None` if the file has no tokenizer.
///
/// # Errors
/// The first key that is missing, of another type, or has an unsupported value.
pub fn tokenizer_json(header: &Header) -> Result<Option<String>, KeyError> {
    let Some(model) = text(header, "tokenizer.ggml.model")? else { return Ok(None) };
    let tokens = texts(header, "tokenizer.ggml.tokens")?.ok_or_else(|| missing("tokenizer.ggml.tokens"))?;
    let types = numbers(header, "tokenizer.ggml.token_type")?.unwrap_or_default();
    let escaped: Vec<String>;
    let (mut json, tokens) = match model {
        "gpt2" => (byte_level(header, tokens)?, tokens),
        "llama" => {
            let kinds = types.iter().copied().chain(std::iter::repeat(NORMAL));
            escaped = tokens.iter().zip(kinds).map(|(token, kind)| escape(token, kind)).collect();
            (sentence_piece(header, &escaped, &types)?, escaped.as_slice())
        }
        got => {
            let (key, got) = ("tokenizer.ggml.model".to_owned(), format!("\"{}\"", printable(got)));
            return Err(KeyError::Unsupported { key, got });
        }
    };
    let added = tokens
        .iter()
        .zip(&types)
        .enumerate()
        .filter(|(_, (_, kind))| **kind == CONTROL || **kind == USER_DEFINED);
    let added: Vec<Json> = added
        .map(|(id, (token, &kind))| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": kind == CONTROL,
            })
        })
        .collect();
    json.insert("added_tokens".to_owned(), added.into());
    json.insert("post_processor".to_owned(), post_processor(header, tokens, model)?);
    for (key, value) in [("version", json!("1.0")), ("truncation", Json::Null), ("padding", Json::Null)] {
        json.insert(key.to_owned(), value);
    }
    Ok(Some(Json::from(json).to_string()))
}

fn vocab(tokens: &[String]) -> Json {
    // Of equal tokens, text is encoded as the first one, as in llama.cpp.
    let mut ids = Map::new();
    for (id, token) in tokens.iter().enumerate() {
        ids.entry(token.clone()).or_insert(json!(id));
    }
    ids.into()
}

/// Byte-level BPE, with bytes represented by printable characters.
fn byte_level(header: &Header, tokens: &[String]) -> Result<Map<String, Json>, KeyError> {
    let key = "tokenizer.ggml.merges";
    let merges = texts(header, key)?.ok_or_else(|| missing(key))?;
    let name = text(header, PRE)?.unwrap_or("default");
    let Some(Pre { splits, normalizer, ignore_merges }) = pre_tokenizer(name) else {
        return Err(KeyError::Unsupported { key: PRE.to_owned(), got: format!("\"{}\"", printable(name)) });
    };
    let pairs: Vec<Json> = merges
        .iter()
        .map(|merge| {
            merge.split_once(' ').map_or_else(|| json!([merge, ""]), |(left, right)| json!([left, right]))
        })
        .collect();
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges,
        "vocab": vocab(tokens), "merges": pairs,
    });
    Ok(Map::from_iter([
        ("normalizer".to_owned(), normalizer),
        ("pre_tokenizer".to_owned(), splits),
        ("model".to_owned(), model),
        ("decoder".to_owned(), byte_level_step(true)),
    ]))
}

/// What happens to a text before byte-level BPE.
pub struct Pre {
    /// The splits, as `pre_tokenizer` in `tokenizer.json`.
    pub splits: Json,
    /// The normalizer there, or null.
    pub normalizer: Json,
    /// Whether a piece that is a token is not merged from its bytes.
    pub ignore_merges: bool,
}

/// The names of different splits, those that are written.
pub const PRE_NAMES: [&str; 7] = ["gpt-2", "smollm", "llama-bpe", "smaug-bpe", "qwen2", "tekken", "default"];

fn byte_level_step(use_regex: bool) -> Json {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex })
}

/// What the value of `tokenizer.ggml.pre` stands for.
pub fn pre_tokenizer(name: &str) -> Option<Pre> {
    // Each pattern cuts the pieces that the one before it has left.
    let split = |patterns: &[&str]| {
        let mut steps: Vec<Json> = patterns
            .iter()
            .map(|regex| json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false }))
            .collect();
        steps.push(byte_level_step(false));
        json!({ "type": "Sequence", "pretokenizers": steps })
    };
    let digits = || {
        let digits = json!({ "type": "Digits", "individual_digits": true });
        json!({ "type": "Sequence", "pretokenizers": [digits, byte_level_step(true)] })
    };
    let (splits, normalizer, ignore_merges) = match name {
        "default" => (split(&DEFAULT), Json::Null, false),
        "gpt-2" | "mpt" | "olmo" => (byte_level_step(true), Json::Null, false),
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" => {
            (digits(), Json::Null, false)
        }
        "llama3" | "llama-v3" | "llama-bpe" => (split(&[LLAMA3]), Json::Null, true),
        "smaug-bpe" | "dbrx" => (split(&[LLAMA3]), Json::Null, false),
        "qwen2" | "deepseek-r1-qwen" => (split(&[QWEN2]), json!({ "type": "NFC" }), false),
        "tekken" => (split(&[TEKKEN]), Json::Null, true),
        _ => return None,
    };
    Some(Pre { splits, normalizer, ignore_merges })
}

/// Bytes that splitting all tokens may take, at each of their characters: no vocabulary of text comes near.
const MOST_SPLITS: u64 = 1 << 28;

/// SentencePiece's BPE: neighbours whose joined token has the best score are merged first.
fn sentence_piece(header: &Header, tokens: &[String], types: &[f64]) -> Result<Map<String, Json>, KeyError> {
    let key = "tokenizer.ggml.scores";
    let scores = numbers(header, key)?.ok_or_else(|| missing(key))?;
    let splits =
        tokens.iter().fold(0u64, |sum, token| sum.saturating_add((token.len() as u64).saturating_pow(2)));
    if splits > MOST_SPLITS {
        let longest = tokens.iter().map(String::len).max().unwrap_or(0);
        let (key, got) =
            ("tokenizer.ggml.tokens".to_owned(), format!("a list with a token of {longest} bytes"));
        return Err(KeyError::Unsupported { key, got });
    }
    let first = types.iter().position(|&kind| kind == UNKNOWN).unwrap_or(0);
    let unknown = integer(header, "tokenizer.ggml.unknown_token_id")?.unwrap_or(first as u64);
    let prefix = flag(header, "tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let space = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let normalizer = match prefix {
        true => json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" }, space] }),
        false => space,
    };
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": "▁" }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if prefix {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": tokens.get(unknown as usize), "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
        "vocab": vocab(tokens), "merges": merges(tokens, types, &scores),
    });
    Ok(Map::from_iter([
        ("normalizer".to_owned(), normalizer),
        ("pre_tokenizer".to_owned(), Json::Null),
        ("model".to_owned(), model),
        ("decoder".to_owned(), json!({ "type": "Sequence", "decoders": decoders })),
    ]))
}

/// The token as `tokenizer.json` has it: llama.cpp's converter writes runs of spaces among the tokens of a model's own as they
/// are in a text, and others as SentencePiece does.
fn escape(token: &str, kind: f64) -> String {
    let is_run = kind == USER_DEFINED && token.len() > 1 && token.bytes().all(|b| b == b' ');
    if is_run { token.replace(' ', "▁") } else { token.to_owned() }
}

/// Every pair of tokens whose concatenation is a token, sorted by the score of that token, best first: tokens of the model's own
/// are before all others, whatever their score. Of pairs with one score, those with longer tokens come first.
fn merges(tokens: &[String], types: &[f64], scores: &[f64]) -> Vec<Json> {
    let is_text = |id: usize| types.get(id).is_none_or(|&kind| kind != CONTROL && kind != BYTE);
    let mut ids: HashMap<&str, usize> = HashMap::new();
    for (id, token) in tokens.iter().enumerate().filter(|&(id, _)| is_text(id)) {
        ids.entry(token).or_insert(id);
    }
    let mut found = Vec::new();
    for (id, token) in tokens.iter().enumerate().filter(|&(id, token)| ids.get(token.as_str()) == Some(&id)) {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(&l), Some(&r)) = (ids.get(left), ids.get(right)) {
                let is_own = types.get(id) == Some(&USER_DEFINED);
                let score = scores.get(id).copied().filter(|_| !is_own);
                let score = score.unwrap_or(if is_own { f64::INFINITY } else { f64::NEG_INFINITY });
                let lengths = [left, right].map(|part| Reverse(part.chars().count()));
                found.push((score, lengths, [id, l, r], [left, right]));
            }
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    found.into_iter().map(|(.., pair)| json!(pair)).collect()
}

/// The post-processor, which adds tokens before and after a text.
fn post_processor(header: &Header, tokens: &[String], model: &str) -> Result<Json, KeyError> {
    // Where the key is missing, llama.cpp decides by the kind of tokenizer.
    let pre = text(header, PRE)?.unwrap_or_default();
    let adds_start = model == "llama" || matches!(pre, "llama3" | "llama-v3" | "llama-bpe" | "tekken");
    let mut parts = vec![json!({ "Sequence": { "id": "A", "type_id": 0 } })];
    let mut special = Map::new();
    for (name, at_start, default) in [("bos", true, adds_start), ("eos", false, false)] {
        if !flag(header, &format!("tokenizer.ggml.add_{name}_token"))?.unwrap_or(default) {
            continue;
        }
        let key = format!("tokenizer.ggml.{name}_token_id");
        let id = integer(header, &key)?.ok_or_else(|| missing(&key))?;
        let unsupported =
            || KeyError::Unsupported { key: key.clone(), got: format!("{id}, of {} tokens,", tokens.len()) };
        let token = usize::try_from(id).ok().and_then(|id| tokens.get(id)).ok_or_else(unsupported)?;
        special.insert(token.clone(), json!({ "id": token, "ids": [id], "tokens": [token] }));
        let part = json!({ "SpecialToken": { "id": token, "type_id": 0 } });
        if at_start { parts.insert(0, part) } else { parts.push(part) }
    }
    if special.is_empty() {
        return Ok(Json::Null);
    }
    let pair =
        json!([{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }]);
    Ok(json!({ "type": "TemplateProcessing", "single": parts, "pair": pair, "special_tokens": special }))
}
