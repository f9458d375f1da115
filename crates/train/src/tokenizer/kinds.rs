//! The kinds of parts that a `tokenizer.json` may have: an unknown one is named.

use serde_json::Value;

use super::refusal::Refusal;

/// A part of a tokenizer, and the kinds of it that the library knows.
struct Part {
    key: &'static str,
    /// What it is called in a sentence.
    name: &'static str,
    /// The key of the parts of a sequence.
    steps: &'static str,
    kinds: &'static [&'static str],
}

/// Source: huggingface/tokenizers, the `type` of each kind.
const PARTS: [Part; 5] = [
    Part { key: "model", name: "model", steps: "", kinds: &["BPE", "WordPiece", "WordLevel", "Unigram"] },
    Part {
        key: "normalizer",
        name: "normalizer",
        steps: "normalizers",
        kinds: &[
            "BertNormalizer",
            "ByteLevel",
            "Lowercase",
            "NFC",
            "NFD",
            "NFKC",
            "NFKD",
            "Nmt",
            "Precompiled",
            "Prepend",
            "Replace",
            "Sequence",
            "Strip",
            "StripAccents",
        ],
    },
    Part {
        key: "pre_tokenizer",
        name: "pre-tokenizer",
        steps: "pretokenizers",
        kinds: &[
            "BertPreTokenizer",
            "ByteLevel",
            "CharDelimiterSplit",
            "Digits",
            "FixedLength",
            "Metaspace",
            "Punctuation",
            "Sequence",
            "Split",
            "UnicodeScripts",
            "Whitespace",
            "WhitespaceSplit",
        ],
    },
    Part {
        key: "post_processor",
        name: "post-processor",
        steps: "processors",
        kinds: &["BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"],
    },
    Part {
        key: "decoder",
        name: "decoder",
        steps: "decoders",
        kinds: &[
            "BPEDecoder",
            "ByteFallback",
            "ByteLevel",
            "CTC",
            "Fuse",
            "Metaspace",
            "Replace",
            "Sequence",
            "Strip",
            "WordPiece",
        ],
    },
];

/// Refuses a tokenizer with a part of an unknown kind. A part without a kind passes: old files have such.
pub(super) fn check(parts: &Value) -> Result<(), Refusal> {
    PARTS.iter().try_for_each(|part| check_part(part, &parts[part.key], part.key))
}

fn check_part(part: &Part, value: &Value, place: &str) -> Result<(), Refusal> {
    let Some(kind) = value["type"].as_str() else { return Ok(()) };
    if !part.kinds.contains(&kind) {
        let (name, known) = (part.name, part.kinds);
        return Err(Refusal::Unknown { part: name, kind: kind.to_owned(), place: place.to_owned(), known });
    }
    let steps = value[part.steps].as_array().map_or(&[][..], Vec::as_slice);
    let step = |(n, step)| check_part(part, step, &format!("{place}.{}[{n}]", part.steps));
    steps.iter().enumerate().try_for_each(step)
}
