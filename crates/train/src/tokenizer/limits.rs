//! Bounds on what the library may allocate for a `tokenizer.json`, checked before the library reads it.

use serde_json::Value;

/// Largest file that is read: the largest vocabularies in use take 35 MB.
pub(super) const MAX_FILE: u64 = 64 << 20;

/// The most values of a file: the largest vocabularies with their merges have 3 million, and each takes 32 bytes of memory.
const MAX_VALUES: usize = 4 << 20;

/// Refuses a `tokenizer.json` that would take much more memory than its length.
pub(super) fn check_text(bytes: &[u8]) -> Result<(), String> {
    let values = bytes.iter().filter(|b| matches!(b, b',' | b'[' | b'{')).count();
    match values > MAX_VALUES {
        true => Err(format!("it has {values} values, this program reads {MAX_VALUES}")),
        false => Ok(()),
    }
}

/// How many times longer a normalizer may make a text. SentencePiece's `▁` for a space makes 3 bytes of 1.
const MAX_GROWTH: f64 = 16.0;

/// Longest replacement of a character map, in bytes. Unicode's longest has 33.
const MAX_REPLACEMENT: usize = 64;

/// So many bytes before a text are too many. SentencePiece's `▁` has 3.
const MAX_PREPENDED: usize = 65;

/// Longest regular expression, in bytes: those in use have at most a few hundred.
const MAX_REGEX: usize = 1 << 14;

/// Longest added token, in bytes; the library's time grows with its square.
const MAX_ADDED: usize = 1 << 10;

/// Most added tokens: Gemma 3 has 6,415.
const MAX_ADDED_TOKENS: usize = 1 << 15;

/// Most entries of a vocabulary: twice as many as the largest in use have.
const MAX_VOCABULARY: usize = 1 << 19;

/// Longest name of a vocabulary's token, in bytes.
const MAX_NAME: usize = 1 << 16;

/// Refuses a tokenizer that takes much more time or memory than those in use, makes texts much longer, or whose declared
/// sizes are wrong.
pub(super) fn check(file: &Value) -> Result<(), String> {
    check_vocabulary(&file["model"]["vocab"])?;
    check_added(&file["added_tokens"])?;
    ["normalizer", "pre_tokenizer", "decoder"].into_iter().try_for_each(|key| check_regex(&file[key]))?;
    let growth = growth(&file["normalizer"])?;
    if growth > MAX_GROWTH {
        return Err(format!(
            "its normalizer can make a text {growth:.0} times as long, this program allows {MAX_GROWTH}"
        ));
    }
    Ok(())
}

/// The vocabulary is an object with an id for each name, or a list of names with scores.
fn check_vocabulary(vocab: &Value) -> Result<(), String> {
    let names = vocab.as_object().map_or(0, |names| names.keys().map(String::len).max().unwrap_or(0));
    let scored = vocab.as_array().map_or(&[][..], Vec::as_slice);
    let longest = scored.iter().filter_map(|entry| entry[0].as_str()).map(str::len).fold(names, usize::max);
    let entries = vocab.as_object().map_or(scored.len(), serde_json::Map::len);
    if entries > MAX_VOCABULARY {
        return Err(format!("its vocabulary has {entries} tokens, this program reads {MAX_VOCABULARY}"));
    }
    if longest > MAX_NAME {
        return Err(format!("its vocabulary has a token of {longest} bytes, this program reads {MAX_NAME}"));
    }
    Ok(())
}

fn check_added(added: &Value) -> Result<(), String> {
    let added = added.as_array().map_or(&[][..], Vec::as_slice);
    if added.len() > MAX_ADDED_TOKENS {
        return Err(format!("it adds {} tokens, this program reads {MAX_ADDED_TOKENS}", added.len()));
    }
    let lengths = added.iter().filter_map(|token| token["content"].as_str()).map(str::len);
    match lengths.max() {
        Some(longest) if longest > MAX_ADDED => {
            Err(format!("it adds a token of {longest} bytes, this program reads {MAX_ADDED}"))
        }
        _ => Ok(()),
    }
}

/// Refuses long regular expressions, at any depth: the parser of JSON bounds it.
fn check_regex(value: &Value) -> Result<(), String> {
    match value {
        Value::Object(keys) => keys.iter().try_for_each(|(key, value)| match value.as_str() {
            Some(regex) if key == "Regex" && regex.len() > MAX_REGEX => Err(format!(
                "it has a regular expression of {} bytes, this program reads {MAX_REGEX}",
                regex.len()
            )),
            _ => check_regex(value),
        }),
        Value::Array(values) => values.iter().try_for_each(check_regex),
        _ => Ok(()),
    }
}

/// An upper bound of the factor by which a text grows. Unicode normal forms count as 1, as repeating them adds nothing.
fn growth(normalizer: &Value) -> Result<f64, String> {
    match normalizer["type"].as_str() {
        Some("Sequence") => {
            let steps = normalizer["normalizers"].as_array().map_or(&[][..], Vec::as_slice);
            steps.iter().try_fold(1.0, |product, step| Ok(product * growth(step)?))
        }
        Some("Replace") => {
            let content = normalizer["content"].as_str().map_or(0, str::len) as f64;
            match normalizer["pattern"]["String"].as_str() {
                Some("") => Err("its normalizer replaces an empty text".to_owned()),
                Some(text) => Ok((content / text.len() as f64).max(1.0)),
                // A regular expression may match between any two characters.
                None => Ok(1.0 + content),
            }
        }
        Some("Prepend") => match normalizer["prepend"].as_str().map_or(0, str::len) {
            long @ MAX_PREPENDED.. => Err(format!(
                "its normalizer puts {long} bytes before a text, this program allows {}",
                MAX_PREPENDED - 1
            )),
            _ => Ok(1.0),
        },
        Some("Precompiled") => {
            check_charsmap(normalizer["precompiled_charsmap"].as_str().unwrap_or_default()).map(|()| 1.0)
        }
        _ => Ok(1.0),
    }
}

/// Checks a character map: a u32 with the trie's size in bytes, the trie, and NUL-terminated replacements.
///
/// Source: google/sentencepiece `normalizer.cc`, `Normalizer::DecodePrecompiledCharsMap`.
fn check_charsmap(text: &str) -> Result<(), String> {
    let map = base64::decode(text).map_err(|error| format!("its character map is not base64: {error}"))?;
    let Some((size, rest)) = map.split_first_chunk::<4>() else {
        return Err(format!("its character map has {} bytes, too few for a size", map.len()));
    };
    let size = u32::from_le_bytes(*size) as usize;
    let Some(replacements) = rest.get(size..) else {
        let has = rest.len();
        return Err(format!("its character map says it has a trie of {size} bytes, it has {has}"));
    };
    let longest = replacements.split(|&byte| byte == 0).map(<[u8]>::len).max().unwrap_or(0);
    if longest > MAX_REPLACEMENT {
        return Err(format!(
            "its character map replaces a character by {longest} bytes, this program allows {MAX_REPLACEMENT}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tokenizers_that_take_much_time_or_memory_are_refused() {
        let long = "a".repeat(70_000);
        for (file, want) in [
            (
                json!({"pre_tokenizer": {"pretokenizers": [{"pattern": {"Regex": long}}]}}),
                "it has a regular expression of 70000 bytes, this program reads 16384",
            ),
            (
                json!({"added_tokens": [{"content": long}]}),
                "it adds a token of 70000 bytes, this program reads 1024",
            ),
            (json!({"added_tokens": vec![0; 40_000]}), "it adds 40000 tokens, this program reads 32768"),
            (
                json!({"model": {"vocab": vec![0; 600_000]}}),
                "its vocabulary has 600000 tokens, this program reads 524288",
            ),
            (
                json!({"model": {"vocab": {&long[..]: 0}}}),
                "its vocabulary has a token of 70000 bytes, this program reads 65536",
            ),
            (
                json!({"model": {"vocab": [[long, -1.0]]}}),
                "its vocabulary has a token of 70000 bytes, this program reads 65536",
            ),
        ] {
            assert_eq!(check(&file).err().as_deref(), Some(want));
        }
    }

    fn refusal(normalizer: Value) -> Option<String> {
        check(&json!({ "normalizer": normalizer })).err()
    }

    fn map(size: u32, rest: &[u8]) -> Value {
        let bytes = [&size.to_le_bytes(), rest].concat();
        json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(bytes)})
    }

    #[test]
    fn normalizers_in_use_pass() {
        let underscore = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
        let spaces = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"});
        let quotes = json!({"type": "Replace", "pattern": {"String": "``"}, "content": "\""});
        let nfkc = json!({"type": "NFKC"});
        let steps = [nfkc, quotes, map(4, b"\0\0\0\0ab\0c"), spaces, underscore];
        assert_eq!(refusal(json!({"type": "Sequence", "normalizers": steps})), None);
        assert_eq!(refusal(Value::Null), None);
    }

    #[test]
    fn normalizers_that_fill_memory_are_refused() {
        let replace = |pattern: Value, content: usize| json!({"type": "Replace", "pattern": pattern, "content": "e".repeat(content)});
        let twice = replace(json!({"String": "e"}), 5);
        let nested = json!({"type": "Sequence", "normalizers": [twice.clone(), {"type": "Sequence", "normalizers": [twice]}]});
        for (normalizer, want) in [
            (nested, "its normalizer can make a text 25 times as long, this program allows 16"),
            (replace(json!({"String": ""}), 1), "its normalizer replaces an empty text"),
            (
                replace(json!({"Regex": "(?=e)"}), 16),
                "its normalizer can make a text 17 times as long, this program allows 16",
            ),
            (
                json!({"type": "Prepend", "prepend": "e".repeat(65)}),
                "its normalizer puts 65 bytes before a text, this program allows 64",
            ),
            (
                map(u32::MAX, b"\xff\0\0"),
                "its character map says it has a trie of 4294967295 bytes, it has 3",
            ),
            (
                map(0, &[b'a'; 65]),
                "its character map replaces a character by 65 bytes, this program allows 64",
            ),
            (
                json!({"type": "Precompiled", "precompiled_charsmap": "AAA="}),
                "its character map has 2 bytes, too few for a size",
            ),
        ] {
            assert_eq!(refusal(normalizer).as_deref(), Some(want));
        }
    }
}
