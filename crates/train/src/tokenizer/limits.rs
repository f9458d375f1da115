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

/// Refuses a normalizer that makes texts much longer, or whose declared size is wrong.
pub(super) fn check(file: &Value) -> Result<(), String> {
    let growth = growth(&file["normalizer"])?;
    if growth > MAX_GROWTH {
        return Err(format!(
            "its normalizer can make a text {growth:.0} times as long, this program allows {MAX_GROWTH}"
        ));
    }
    Ok(())
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
