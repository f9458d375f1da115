//! Keys of a GGUF file for a tokenizer.

use std::collections::HashSet;

use serde_json::Value as Json;

use super::tokenizer::{PRE_NAMES, Pre, pre_tokenizer, tokenizer_json};
use super::write::{Key, Value, as_read};
use crate::formats::vocabulary::{Kind, UNKNOWN, Vocabulary, merges};
use crate::tokenizer::Tokenizer;

/// The key with the text of the whole `tokenizer.json`. Source: ggml `docs/gguf.md`.
pub const WHOLE: &str = "tokenizer.huggingface.json";

/// Text with which a tokenizer is compared with what readers of the keys rebuild.
const PROBE: &str = "Once upon a time, in 1984, there  were 12 dogs.\n\n\tThey'd said: \"don't STOP42x!\" caf\u{e9} \
                     \u{6771}\u{4eac} \u{1f600} x=3*(y+1); // \r\n  end ";

/// The keys for `tokenizer` in a model of `vocab` tokens; `ids` are the tokens that start and end a text, and the one that
/// fills.
///
/// # Errors
/// What the keys cannot express.
pub fn vocab_keys(tokenizer: &Tokenizer, vocab: usize, ids: [Option<u32>; 3]) -> Result<Vec<Key>, String> {
    let own = Vocabulary::of(tokenizer, vocab)?;
    let json: Json =
        tokenizer.json().map_or(Ok(Json::Null), serde_json::from_slice).map_err(|e| e.to_string())?;
    let unknown = own.types.iter().position(|&kind| kind == UNKNOWN);
    let mut keys: Vec<Key> = Vec::new();
    let mut put = |key: &str, value: Value| keys.push((format!("tokenizer.ggml.{key}"), value));
    match own.kind {
        Kind::ByteLevel { merges } => {
            put("model", Value::Str("gpt2".to_owned()));
            put("pre", Value::Str(pre_name(&json)?.to_owned()));
            put("tokens", Value::Strs(own.tokens));
            put("token_type", Value::I32s(own.types));
            put(
                "merges",
                Value::Strs(merges.into_iter().map(|(left, right)| format!("{left} {right}")).collect()),
            );
        }
        Kind::SentencePiece { scores, prefix } => {
            put("model", Value::Str("llama".to_owned()));
            put("pre", Value::Str("default".to_owned()));
            put("tokens", Value::Strs(own.tokens));
            put("scores", Value::F32s(scores));
            put("token_type", Value::I32s(own.types));
            put("add_space_prefix", Value::Bool(prefix));
        }
    }
    let (before, after) = tokenizer.around();
    let single = |added: &[u32], at: &str| match *added {
        [] => Ok(None),
        [id] => Ok(Some(id)),
        _ => Err(format!("it adds {} tokens {at} a text", added.len())),
    };
    let (start, end) = (single(before, "before")?, single(after, "after")?);
    let [bos, eos, pad] = ids;
    let known = |id: &u32| (*id as usize) < vocab;
    for (name, id) in [
        ("bos", start.or(bos).or(tokenizer.start())),
        ("eos", end.or(eos).or(tokenizer.end())),
        ("padding", pad),
        ("unknown", unknown.map(|id| id as u32)),
    ] {
        if let Some(id) = id.filter(known) {
            put(&format!("{name}_token_id"), Value::U32(id));
        }
    }
    put("add_bos_token", Value::Bool(start.is_some()));
    put("add_eos_token", Value::Bool(end.is_some()));
    check(tokenizer, &keys)?;
    if let Some(text) = tokenizer.json() {
        keys.push((WHOLE.to_owned(), Value::Str(String::from_utf8_lossy(text).into_owned())));
    }
    Ok(keys)
}

/// The text of a `tokenizer.json` that gives the ids of a tokenizer without one, in a model of `vocab` tokens.
///
/// # Errors
/// What it cannot express.
pub fn rebuilt_json(tokenizer: &Tokenizer, vocab: usize) -> Result<String, String> {
    let keys = vocab_keys(tokenizer, vocab, [None; 3])?;
    Ok(tokenizer_json(&as_read(&keys, &[])).map_err(|e| e.to_string())?.unwrap_or_default())
}

/// Refuses keys from which a reader rebuilds another tokenizer.
fn check(tokenizer: &Tokenizer, keys: &[Key]) -> Result<(), String> {
    let json = tokenizer_json(&as_read(keys, &[])).map_err(|e| e.to_string())?.unwrap_or_default();
    let rebuilt =
        Tokenizer::from_json_in(std::path::Path::new(""), json.as_bytes()).map_err(|e| e.to_string())?;
    let all = |json: &[u8]| {
        let json: Json = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        Ok::<_, String>(merges(&json["model"]["merges"])?.into_iter().collect::<HashSet<_>>())
    };
    if let Some(own) = tokenizer.json()
        && all(own)? != all(json.as_bytes())?
    {
        return Err("its merges are not all pairs of tokens that make a token".to_owned());
    }
    for text in PROBE.split_inclusive(' ').chain([PROBE]) {
        let [got, want] = [&rebuilt, tokenizer].map(|t| t.encode(text).map_err(|e| e.to_string()));
        let (got, want) = (got?, want?);
        if got != want {
            return Err(format!("{text:?} would become the tokens {got:?} instead of {want:?}"));
        }
    }
    Ok(())
}

/// The name of the splits before byte-level BPE.
fn pre_name(json: &Json) -> Result<&'static str, String> {
    let own = Pre {
        splits: plain(&json["pre_tokenizer"]),
        normalizer: plain(&json["normalizer"]),
        ignore_merges: json["model"]["ignore_merges"] == true,
    };
    let is_own = |pre: Pre| {
        plain(&pre.splits) == own.splits
            && plain(&pre.normalizer) == own.normalizer
            && pre.ignore_merges == own.ignore_merges
    };
    PRE_NAMES.into_iter().find(|name| pre_tokenizer(name).is_some_and(is_own)).ok_or_else(|| {
        format!(
            "no name is known for its pre-tokenizer {} with its normalizer {}",
            own.splits, own.normalizer
        )
    })
}

/// A step without what changes no token: offsets, defaults, and sequences of one step.
fn plain(step: &Json) -> Json {
    for list in ["pretokenizers", "normalizers"] {
        if let Some(steps) = step[list].as_array() {
            let steps: Vec<Json> = steps.iter().map(plain).collect();
            return match <[Json; 1]>::try_from(steps) {
                Ok([only]) => only,
                Err(steps) => Json::from(steps),
            };
        }
    }
    let mut step = step.clone();
    if let Some(keys) = step.as_object_mut() {
        keys.shift_remove("trim_offsets");
        if keys.get("use_regex").is_some_and(|on| *on == true) {
            keys.shift_remove("use_regex");
        }
        if keys.get("invert").is_some_and(|on| *on == false) {
            keys.shift_remove("invert");
        }
    }
    step
}
