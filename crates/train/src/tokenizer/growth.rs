//! How much longer a tokenizer makes a text, from what its parts say.

use serde_json::Value;

/// How many times longer a normalizer or pre-tokenizer may make a text. SentencePiece's `▁` for a space makes 3 bytes of 1.
const MAX_GROWTH: f64 = 16.0;

/// Longest replacement of a character map, in bytes. Unicode's longest has 33.
const MAX_REPLACEMENT: usize = 64;

/// Most bytes that a normalizer puts before a text. SentencePiece's `▁` has 3.
const MAX_PREPENDED: usize = 64;

/// Refuses a tokenizer that makes texts much longer; returns the most bytes of texts of these lengths when normalized.
pub(super) fn check(parts: &Value, texts: impl Iterator<Item = usize>) -> Result<f64, String> {
    let growth = growth(&parts["normalizer"])?;
    if growth.maps > 1 {
        return Err(format!("its normalizer has {} character maps, this program allows 1", growth.maps));
    }
    if growth.prepended > MAX_PREPENDED as f64 {
        let Growth { prepended, .. } = growth;
        return Err(format!(
            "its normalizer puts {prepended:.0} bytes before a text, this program allows {MAX_PREPENDED}"
        ));
    }
    for (part, factor) in
        [("normalizer", growth.factor), ("pre-tokenizer", split_growth(&parts["pre_tokenizer"]))]
    {
        if factor > MAX_GROWTH {
            return Err(format!(
                "its {part} can make a text {factor:.0} times as long, this program allows {MAX_GROWTH}"
            ));
        }
    }
    Ok(texts.map(|bytes| bytes as f64 * growth.factor + growth.prepended).sum())
}

/// An upper bound of how a text grows.
#[derive(Clone, Copy)]
struct Growth {
    /// How many times as long it becomes.
    factor: f64,
    /// Bytes put before it.
    prepended: f64,
    /// Character maps. One of them counts as no growth, as a Unicode normal form does: repeating it adds little.
    maps: usize,
}

impl Growth {
    const NONE: Self = Self { factor: 1.0, prepended: 0.0, maps: 0 };

    fn by(factor: f64) -> Self {
        Self { factor, ..Self::NONE }
    }

    fn then(self, next: Self) -> Self {
        Self {
            factor: self.factor * next.factor,
            prepended: self.prepended * next.factor + next.prepended,
            maps: self.maps + next.maps,
        }
    }
}

/// An upper bound of how a text grows. Unicode normal forms count as no growth, as repeating them adds nothing.
fn growth(normalizer: &Value) -> Result<Growth, String> {
    match normalizer["type"].as_str() {
        Some("Sequence") => {
            let steps = normalizer["normalizers"].as_array().map_or(&[][..], Vec::as_slice);
            steps.iter().try_fold(Growth::NONE, |all, step| Ok(all.then(growth(step)?)))
        }
        Some("Replace") => {
            let content = normalizer["content"].as_str().map_or(0, str::len) as f64;
            match normalizer["pattern"]["String"].as_str() {
                Some("") => Err("its normalizer replaces an empty text".to_owned()),
                Some(text) => Ok(Growth::by((content / text.len() as f64).max(1.0))),
                // A regular expression may match between any two characters.
                None => Ok(Growth::by(1.0 + content)),
            }
        }
        Some("Prepend") => {
            let prepended = normalizer["prepend"].as_str().map_or(0, str::len) as f64;
            Ok(Growth { prepended, ..Growth::NONE })
        }
        Some("Precompiled") => {
            check_charsmap(normalizer["precompiled_charsmap"].as_str().unwrap_or_default())?;
            Ok(Growth { maps: 1, ..Growth::NONE })
        }
        // A character for each byte, of one or two bytes.
        Some("ByteLevel") => Ok(Growth::by(2.0)),
        // Spaces around each Chinese character, which has three bytes or more.
        Some("BertNormalizer") => Ok(Growth::by(5.0 / 3.0)),
        _ => Ok(Growth::NONE),
    }
}

/// How many times as long a pre-tokenizer makes a text.
fn split_growth(pre_tokenizer: &Value) -> f64 {
    match pre_tokenizer["type"].as_str() {
        Some("Sequence") => {
            let steps = pre_tokenizer["pretokenizers"].as_array().map_or(&[][..], Vec::as_slice);
            steps.iter().map(split_growth).product()
        }
        // A character for each byte, of one or two bytes; before that, a space before each piece of a byte or more.
        Some("ByteLevel") if pre_tokenizer["add_prefix_space"] == false => 2.0,
        Some("ByteLevel") => 4.0,
        // The replacement for a space, or before a piece of a byte or more.
        Some("Metaspace") => 1.0 + pre_tokenizer["replacement"].as_str().map_or(0, str::len) as f64,
        _ => 1.0,
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
        check(&json!({ "normalizer": normalizer }), std::iter::empty()).err()
    }

    #[test]
    fn pre_tokenizers_that_repeat_are_refused() {
        let plain = json!({"type": "ByteLevel", "add_prefix_space": false});
        let level = json!({"type": "ByteLevel"});
        let meta = json!({"type": "Metaspace", "replacement": "▁"});
        for (steps, times) in [(vec![plain; 5], 32), (vec![level; 3], 64), (vec![meta; 3], 64)] {
            let parts =
                |steps: &[Value]| json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}});
            let want =
                format!("its pre-tokenizer can make a text {times} times as long, this program allows 16");
            assert_eq!(check(&parts(&steps), std::iter::empty()), Err(want));
            assert_eq!(check(&parts(&steps[..2]), std::iter::empty()), Ok(0.0));
        }
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
        let level = json!({"type": "ByteLevel"});
        let prefix = |bytes: usize| json!({"type": "Prepend", "prepend": "e".repeat(bytes)});
        let steps = |steps: Vec<Value>| json!({"type": "Sequence", "normalizers": steps});
        let nested = json!({"type": "Sequence", "normalizers": [twice.clone(), {"type": "Sequence", "normalizers": [twice]}]});
        for (normalizer, want) in [
            (nested, "its normalizer can make a text 25 times as long, this program allows 16"),
            (replace(json!({"String": ""}), 1), "its normalizer replaces an empty text"),
            (
                replace(json!({"Regex": "(?=e)"}), 16),
                "its normalizer can make a text 17 times as long, this program allows 16",
            ),
            (prefix(65), "its normalizer puts 65 bytes before a text, this program allows 64"),
            (
                steps(vec![prefix(60), prefix(5)]),
                "its normalizer puts 65 bytes before a text, this program allows 64",
            ),
            (
                steps(vec![level; 5]),
                "its normalizer can make a text 32 times as long, this program allows 16",
            ),
            (
                steps(vec![json!({"type": "BertNormalizer"}); 6]),
                "its normalizer can make a text 21 times as long, this program allows 16",
            ),
            (steps(vec![map(0, b"a"); 3]), "its normalizer has 3 character maps, this program allows 1"),
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
