//! Tests: token ids equal those of the `tokenizers` library for any `tokenizer.json`.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A byte-level `tokenizer.json` of 400 tokens.
fn byte_level() -> Value {
    let text = crate::data::bundled()[..60_000].to_owned();
    let json = library::train_bpe(std::iter::once(Ok(text)), 400).unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// Small vocabularies of the other models, with a decoder that this program reads.
fn other_models() -> Vec<Value> {
    let pieces =
        ["<unk>", "<s>", "</s>", "▁", "▁to", "▁be", "to", "be", "t", "o", "b", "e", "▁not", "▁o", "r", "n"];
    let vocab: serde_json::Map<_, _> =
        pieces.iter().zip(0..).map(|(&p, id)| (p.to_owned(), json!(id))).collect();
    let scored: Vec<Value> = pieces.iter().zip(0..).map(|(p, i)| json!([p, -0.5 * f64::from(i)])).collect();
    let file = |model: Value| {
        let metaspace =
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
        let special = |id: u32, name: &str| json!({"id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
        json!({"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
            "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
            "pre_tokenizer": metaspace, "decoder": metaspace, "model": model})
    };
    vec![
        file(json!({"type": "Unigram", "unk_id": 0, "vocab": scored, "byte_fallback": false})),
        file(
            json!({"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "", "max_input_chars_per_word": 100, "vocab": vocab}),
        ),
        file(json!({"type": "WordLevel", "unk_token": "<unk>", "vocab": vocab})),
    ]
}

fn added(id: u32, content: &str, set: &[&str]) -> Value {
    let is = |key: &str| set.contains(&key);
    json!({"id": id, "content": content, "single_word": is("single_word"), "lstrip": is("lstrip"),
        "rstrip": is("rstrip"), "normalized": is("normalized"), "special": is("special")})
}

fn template(single: &[Value]) -> Value {
    json!({"type": "TemplateProcessing", "single": single,
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {
            "<s>": {"id": "<s>", "ids": [7], "tokens": ["<s>"]},
            "</s>": {"id": "</s>", "ids": [8, 9], "tokens": ["</s>", "<x>"]}}})
}

fn post_processors() -> Vec<Value> {
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let special = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let byte_level =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let both = template(&[special("<s>"), text.clone(), special("</s>")]);
    vec![
        Value::Null,
        byte_level.clone(),
        template(&[special("<s>"), text.clone()]),
        template(&[text, special("</s>")]),
        both.clone(),
        json!({"type": "RobertaProcessing", "sep": ["</s>", 8], "cls": ["<s>", 7], "trim_offsets": true, "add_prefix_space": false}),
        json!({"type": "BertProcessing", "sep": ["</s>", 8], "cls": ["<s>", 7]}),
        json!({"type": "Sequence", "processors": [byte_level, both]}),
    ]
}

/// Our tokenizer and the library's, from the same file.
fn pair(file: &Value) -> (Tokenizer, tokenizers::Tokenizer) {
    let bytes = file.to_string().into_bytes();
    let ours = Tokenizer::from_json(bytes.clone()).unwrap_or_else(|problem| panic!("{problem}: {file}"));
    (ours, tokenizers::Tokenizer::from_bytes(&bytes).unwrap())
}

/// Compares the ids of a whole text and of a prompt.
fn check((ours, library): &(Tokenizer, tokenizers::Tokenizer), text: &str) -> Result<(), String> {
    let whole = library.encode_fast(text, true).unwrap().get_ids().to_vec();
    let got = ours.encode(text).unwrap();
    if got != whole {
        return Err(format!("{text:?}: {got:?}, the library has {whole:?}"));
    }
    let bare = library.encode_fast(text, false).unwrap().get_ids().to_vec();
    let ids = |text: &str, special| library.encode_fast(text, special).unwrap().get_ids().to_vec();
    // The start of the text: none of the special tokens contains this letter.
    let (probe, whole_probe) = (ids("Q", false), ids("Q", true));
    let before = (0..whole_probe.len()).find(|&n| whole_probe[n..].starts_with(&probe)).unwrap();
    let prompt = ours.encode_prompt(text).unwrap();
    // An empty prompt without a start token becomes a newline.
    if !text.is_empty() && prompt != whole[..before + bare.len()] {
        return Err(format!("{text:?}: the prompt is {prompt:?}, the text {whole:?}"));
    }
    Ok(())
}

const TEXTS: [&str; 6] = [
    "",
    "First",
    "To be, or not to be: that is the question.",
    "an <x> and a <x>, <two words> or <two  words>",
    " <x><x> end <x>",
    "new\nlines  and\ttabs, caf\u{e9} \u{3000}<x>\u{a0}x",
];

#[test]
fn every_post_processor_and_added_token_gives_the_library_s_ids() {
    let mut problems = Vec::new();
    let mut count = 0;
    let base = byte_level();
    for post in post_processors() {
        for set in [
            &[][..],
            &["special"],
            &["lstrip"],
            &["rstrip"],
            &["lstrip", "rstrip", "special"],
            &["single_word"],
            &["normalized"],
        ] {
            for content in ["<x>", "<two words>", " <x>", "or"] {
                let mut file = base.clone();
                file["post_processor"] = post.clone();
                file["added_tokens"].as_array_mut().unwrap().push(added(400, content, set));
                let pair = pair(&file);
                count += 1;
                problems.extend(
                    TEXTS
                        .iter()
                        .filter_map(|text| check(&pair, text).err())
                        .map(|p| format!("{content} {set:?} {post}: {p}")),
                );
            }
        }
    }
    assert!(problems.is_empty(), "{} of {count}: {}", problems.len(), problems[0]);
}

#[test]
fn every_pre_tokenizer_and_normalizer_gives_the_library_s_ids() {
    let byte_level_of = |prefix: bool, regex: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": regex});
    let pre_tokenizers = [
        byte_level_of(false, true),
        byte_level_of(true, true),
        byte_level_of(false, false),
        json!({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, byte_level_of(false, true)]}),
        json!({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Isolated", "invert": false}, byte_level_of(false, false)]}),
    ];
    let normalizers = [
        Value::Null,
        json!({"type": "NFC"}),
        json!({"type": "Lowercase"}),
        json!({"type": "Replace", "pattern": {"String": "be "}, "content": "be"}),
        json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "x"}, {"type": "Strip", "strip_left": true, "strip_right": true}]}),
    ];
    let (base, post) = (byte_level(), post_processors());
    for pre in pre_tokenizers {
        for normalizer in &normalizers {
            let mut file = base.clone();
            file["pre_tokenizer"] = pre.clone();
            file["normalizer"] = normalizer.clone();
            file["post_processor"] = post[4].clone();
            let pair = pair(&file);
            TEXTS.iter().for_each(|text| check(&pair, text).unwrap());
        }
    }
    for mut file in other_models() {
        for processor in &post {
            file["post_processor"] = processor.clone();
            let pair = pair(&file);
            TEXTS.iter().for_each(|text| check(&pair, text).unwrap());
        }
    }
}

#[test]
fn a_text_in_pieces_has_its_ends_once() {
    let mut file = byte_level();
    file["post_processor"] = post_processors()[4].clone();
    let (ours, library) = pair(&file);
    let dir = tempfile::tempdir().unwrap();
    let (text, out) = (dir.path().join("text.txt"), dir.path().join("tokens.bin"));
    // Three chunks, and one that ends with the file.
    for length in [400_000, 100_000, 7] {
        let content = &crate::data::bundled()[..length];
        std::fs::write(&text, content).unwrap();
        let source = crate::data::TextSource::open(&text).unwrap();
        crate::data::tokenize(&source, &ours, (400, 1), &out, &mut |_| ()).unwrap();
        let got: Vec<u32> = std::fs::read(&out)
            .unwrap()
            .as_chunks::<2>()
            .0
            .iter()
            .map(|&b| u16::from_le_bytes(b).into())
            .collect();
        assert!(got == library.encode_fast(content, true).unwrap().get_ids(), "{length} bytes");
    }
}

#[test]
fn dropout_of_a_vocabulary_does_not_make_tokens_random() {
    let mut file = byte_level();
    let plain = pair(&file).0.encode(TEXTS[2]).unwrap();
    file["model"]["dropout"] = json!(0.9);
    let ours = pair(&file).0;
    assert!((0..20).all(|_| ours.encode(TEXTS[2]).unwrap() == plain));
}

#[test]
fn models_of_old_files_are_known_by_their_keys() {
    let mut files = other_models();
    files.push(byte_level());
    let mut old = byte_level();
    let merges = old["model"]["merges"].as_array_mut().unwrap();
    for merge in merges {
        *merge = format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap()).into();
    }
    files.push(old);
    for mut file in files {
        file["model"].as_object_mut().unwrap().remove("type").unwrap();
        check(&pair(&file), TEXTS[2]).unwrap();
    }
}

#[test]
fn keys_that_no_model_knows_are_passed_over() {
    let mut files = other_models();
    files.push(byte_level());
    for mut file in files {
        file["model"]["no_such_key"] = json!({"type": [1, 2]});
        check(&pair(&file), TEXTS[2]).unwrap();
    }
}

#[test]
fn files_that_the_library_does_not_survive_are_refused() {
    let refusal = |edit: &dyn Fn(&mut Value)| {
        let mut file = byte_level();
        edit(&mut file);
        Tokenizer::from_json(file.to_string().into_bytes()).unwrap_err().to_string()
    };
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    for (want, edit) in [
        (
            "the tokenizer library panicked: start byte index",
            &(|f: &mut Value| f["model"]["continuing_subword_prefix"] = json!("##")) as &dyn Fn(&mut Value),
        ),
        ("the tokenizer library panicked: no entry found", &|f: &mut Value| {
            f["post_processor"] =
                template(&[json!({"SpecialToken": {"id": "[NOPE]", "type_id": 0}}), text.clone()]);
        }),
        ("its post-processor has the text 2 times, not once", &|f: &mut Value| {
            f["post_processor"] = template(&[text.clone(), text.clone()]);
        }),
        ("its post-processor adds token 400, it has 400 tokens", &|f: &mut Value| {
            f["post_processor"] = json!({"type": "BertProcessing", "sep": ["</s>", 400], "cls": ["<s>", 7]});
        }),
        ("its normalizer can make a text 100 times as long", &|f: &mut Value| {
            f["normalizer"] =
                json!({"type": "Replace", "pattern": {"String": "e"}, "content": "e".repeat(100)});
        }),
        ("its character map says it has a trie of 4294967295 bytes, it has 4", &|f: &mut Value| {
            f["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "/////wAAAAA="});
        }),
        ("the tokenizer library panicked: chunk size must be non-zero", &|f: &mut Value| {
            f["pre_tokenizer"] = json!({"type": "FixedLength", "length": 0});
        }),
    ] {
        let problem = refusal(edit);
        assert!(problem.starts_with(want), "{problem}, not {want}");
    }
}

#[test]
fn the_ends_of_a_text_are_what_the_post_processor_says_or_usual_names() {
    let ends = |post: &Value, names: [&str; 2]| {
        let mut file = byte_level();
        file["post_processor"] = post.clone();
        let list = file["added_tokens"].as_array_mut().unwrap();
        list.extend(names.iter().zip(400..).map(|(name, id)| added(id, name, &["special"])));
        let tokenizer = pair(&file).0;
        (tokenizer.start(), tokenizer.end())
    };
    let post = post_processors();
    assert_eq!(ends(&Value::Null, ["<a>", "<b>"]), (Some(0), Some(0)));
    assert_eq!(ends(&post[4], ["<a>", "<b>"]), (Some(7), Some(9)));
    assert_eq!(ends(&post[2], ["<s>", "</s>"]), (Some(7), Some(0)));
    assert_eq!(ends(&Value::Null, ["<s>", "</s>"]), (Some(400), Some(0)));
}

proptest! {
    #[test]
    fn any_text_has_the_library_s_ids(text in "[a-c'1. \\n\u{a0}é,<x>]{0,40}", post in 0usize..8, strip in 0usize..4) {
        thread_local! {
            static PAIRS: Vec<(Tokenizer, tokenizers::Tokenizer)> = {
                let base = byte_level();
                let sets = [&[][..], &["lstrip"], &["rstrip"], &["single_word", "special"]];
                let mut all = Vec::new();
                for post in post_processors() {
                    for set in sets {
                        let mut file = base.clone();
                        file["post_processor"] = post.clone();
                        file["added_tokens"].as_array_mut().unwrap().push(added(400, "x", set));
                        all.push(pair(&file));
                    }
                }
                all
            };
        }
        PAIRS.with(|pairs| check(&pairs[4 * post + strip], &text)).map_err(TestCaseError::fail)?;
    }
}
