//! Bounds on what a `tokenizer.json` may cost, checked before the library reads it.
//!
//! The rule: a file that is refused here has cost its length and at most 32 MiB, whatever it says; one long text with escapes costs its own
//! length twice more. Sizes that pass are somewhat above those of the largest tokenizers in use, which must load whatever the library
//! takes for them: a vocabulary and merges of Gemma's sizes (262,144 and 514,906) take 200 MiB with their file, 250,000 pieces, as XLM-R
//! has, about 300 MiB. So a file at several limits at once can cost more than 256 MiB, and none can cost a multiple of them.

use serde_json::Value;

use super::growth;
use super::outline::Outline;
use super::sizes::{self, MAX_ADDED_BYTES, Sum, most};

/// Largest file that is read: the largest in use take 35 MB.
pub(super) const MAX_FILE: u64 = 64 << 20;

/// Most bytes of all regular expressions, with their repetitions: those in use have at most 2 kB. The library takes 30 kB for
/// `\w`, which are two.
const MAX_REGEX: usize = 1 << 12;

/// Most regular expressions: those in use have at most ten.
const MAX_REGEXES: usize = 16;

/// Most texts that are looked for, and of all of them most bytes: the library makes a regular expression of each.
const MAX_PATTERNS: usize = 1 << 8;
const MAX_PATTERN_BYTES: usize = 1 << 16;

/// Refuses a tokenizer that takes much more time or memory than those in use, makes texts much longer, or whose declared
/// sizes are wrong.
pub(super) fn check(file: &Outline) -> Result<(), String> {
    sizes::check(&file.sizes)?;
    let mut patterns = Patterns::default();
    ["normalizer", "pre_tokenizer", "decoder"].iter().for_each(|key| patterns.count(&file.parts[key]));
    most("it has # regular expressions,", patterns.regexes, MAX_REGEXES)?;
    most("its regular expressions have # bytes, repeated as they say,", patterns.unfolded, MAX_REGEX)?;
    most("it looks for # texts,", patterns.texts.count, MAX_PATTERNS)?;
    most("it looks for texts of # bytes,", patterns.texts.bytes, MAX_PATTERN_BYTES)?;
    let normal = file.added.iter().filter(|token| token.normalized).map(|token| token.content.len());
    let grown = growth::check(&file.parts, normal)?;
    if grown > MAX_ADDED_BYTES as f64 {
        return Err(format!(
            "its normalizer can make {grown:.0} bytes of its added tokens, this program reads {MAX_ADDED_BYTES}"
        ));
    }
    Ok(())
}

/// What is looked for by normalizers, pre-tokenizers and decoders.
#[derive(Default)]
struct Patterns {
    regexes: usize,
    /// Bytes of the regular expressions, each as often as it repeats a part of itself.
    unfolded: usize,
    texts: Sum,
}

impl Patterns {
    /// Counts the patterns in a value, at any depth: the parser of JSON bounds it.
    fn count(&mut self, value: &Value) {
        match value {
            Value::Object(keys) => keys.iter().for_each(|(key, value)| match (&key[..], value.as_str()) {
                ("Regex", Some(regex)) => {
                    self.regexes += 1;
                    let bytes = regex.len().saturating_mul(repetitions(regex));
                    self.unfolded = self.unfolded.saturating_add(bytes);
                }
                ("String", Some(text)) => self.texts.add(text.len()),
                _ => self.count(value),
            }),
            Value::Array(values) => values.iter().for_each(|value| self.count(value)),
            _ => {}
        }
    }
}

/// At most how often a regular expression repeats a part of itself by numbers in braces: their product, as they may be nested.
fn repetitions(regex: &str) -> usize {
    let mut product = 1usize;
    for (at, _) in regex.match_indices('{') {
        // The number of a character.
        if [r"\x", r"\u", r"\U"].iter().any(|escape| regex[..at].ends_with(escape)) {
            continue;
        }
        let inside = regex[at + 1..].split('}').next().unwrap_or_default();
        let bounds = inside.split(',').map(str::trim);
        let is_number = |bound: &str| bound.bytes().all(|byte| byte.is_ascii_digit());
        if bounds.clone().all(is_number) {
            let times =
                bounds.filter(|bound| !bound.is_empty()).map(|bound| bound.parse().unwrap_or(usize::MAX));
            product = product.saturating_mul(times.max().unwrap_or(1).max(1));
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is said of a file with these keys.
    fn check_file(file: &Value) -> Result<(), String> {
        check(&Outline::read(file.to_string().as_bytes()).unwrap())
    }

    fn added(content: &str, normalized: bool) -> Value {
        json!({"id": 0, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": normalized, "special": true})
    }

    #[test]
    fn tokenizers_that_take_much_time_or_memory_are_refused() {
        let long = "a".repeat(70_000);
        let long_name: String = "e".repeat(1000);
        let triple = json!({"type": "Replace", "pattern": {"String": "e"}, "content": "eee"});
        for (file, want) in [
            (
                json!({"pre_tokenizer": {"pretokenizers": [{"pattern": {"Regex": long}}]}}),
                "its regular expressions have 70000 bytes, repeated as they say, this program reads 4096",
            ),
            (
                json!({"pre_tokenizer": {"pretokenizers": vec![json!({"pattern": {"Regex": "a"}}); 17]}}),
                "it has 17 regular expressions, this program reads 16",
            ),
            (
                json!({"pre_tokenizer": {"pattern": {"Regex": "(a{1,30}b){ 40 }"}}}),
                "its regular expressions have 19200 bytes, repeated as they say, this program reads 4096",
            ),
            (
                json!({"normalizer": {"normalizers": vec![json!({"pattern": {"String": "a"}}); 300]}}),
                "it looks for 300 texts, this program reads 256",
            ),
            (
                json!({"normalizer": {"pattern": {"String": long}}}),
                "it looks for texts of 70000 bytes, this program reads 65536",
            ),
            (
                json!({"added_tokens": [added(&long, true)]}),
                "it adds a token of 70000 bytes, this program reads 1024",
            ),
            (
                json!({"added_tokens": vec![added("a", true); 40_000]}),
                "it adds 40000 tokens, this program reads 32768",
            ),
            (
                json!({"added_tokens": vec![added(&long_name, false); 1100]}),
                "it adds tokens of 1100000 bytes, this program reads 1048576",
            ),
            (
                json!({"added_tokens": vec![added(&long_name, true); 400], "normalizer": triple}),
                "its normalizer can make 1200000 bytes of its added tokens, this program reads 1048576",
            ),
            (
                json!({"model": {"vocab": vec![json!(["", 0]); 600_000]}}),
                "its vocabulary has 600000 tokens, this program reads 393216",
            ),
            (
                json!({"model": {"vocab": {&long[..]: 0}}}),
                "its vocabulary has a token of 70000 bytes, this program reads 4096",
            ),
            (
                json!({"model": {"vocab": [[long, -1.0]]}}),
                "its vocabulary has a token of 70000 bytes, this program reads 4096",
            ),
            (
                json!({"model": {"vocab": vec![json!([long_name, -1.0]); 9000]}}),
                "the names of its vocabulary have 9000000 bytes, this program reads 8388608",
            ),
            (
                json!({"model": {"vocab": (0..300_000).map(|n| json!([format!("{n:06}"), 0])).collect::<Vec<_>>(),
                    "merges": vec!["a b"; 700_000]}}),
                "it has 700000 merges, this program reads 655360",
            ),
            (
                json!({"model": {"vocab": (0..300_000).map(|n| json!([format!("{n:06}abcd"), 0])).collect::<Vec<_>>()}}),
                "its pieces have 1533333 distinct beginnings, this program reads 1310720",
            ),
            (
                json!({"model": {"merges": vec![[&long_name[..], &long_name[..]]; 9000]}}),
                "its merges have 18000000 bytes, this program reads 16777216",
            ),
            (
                json!({"post_processor": {"ids": vec![1; 20_000]}}),
                "its other parts have 20002 values, this program reads 16384",
            ),
            (
                json!({"post_processor": vec![long; 40]}),
                "its other parts have 2800014 bytes of texts, this program reads 2097152",
            ),
        ] {
            assert_eq!(check_file(&file).err().as_deref(), Some(want));
        }
    }

    #[test]
    fn repetitions_are_multiplied() {
        for (regex, times) in [
            (r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)", 3),
            (r"\x{41}\u{1F600}{2,}", 2),
            ("((a{2}){3}b{,4})*", 24),
            ("a{0}{}{", 1),
            ("a{99999999999999999999}", usize::MAX),
        ] {
            assert_eq!(repetitions(regex), times, "{regex}");
        }
    }

    #[test]
    fn beginnings_are_counted_once() {
        let file =
            json!({"model": {"vocab": [["ab", 0], ["abc", 0], ["b", 0], ["ab", 0], ["abd", 0], ["", 0]]}});
        let outline = Outline::read(file.to_string().as_bytes()).unwrap();
        // a, ab, abc, abd, b
        assert_eq!(outline.sizes.beginnings, 5);
    }
}
