use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::data::bundled;

/// A byte-level tokenizer of 400 tokens, trained on the first play's beginning.
static TRAINED: LazyLock<Tokenizer> = LazyLock::new(|| train_on(&bundled()[..60_000], 400));

/// A small `tokenizer.bin`, with a token for a two-byte character.
static LLAMA: LazyLock<Tokenizer> = LazyLock::new(|| {
    let pieces = [" ", "a", "b", "é", "ab", " a", " ab", "abab", "éa"];
    Tokenizer::from_llama2c(llama_file(&pieces), None).unwrap()
});

/// A chunk from the middle of a text.
const MIDDLE: Ends = Ends { first: false, last: false };

fn train_on(text: &str, vocab: usize) -> Tokenizer {
    Tokenizer::train(std::iter::once(Ok(text.to_owned())), vocab).unwrap()
}

/// A `tokenizer.bin` with control and byte tokens and these further tokens; later ones have better scores.
fn llama_file(pieces: &[&str]) -> Vec<u8> {
    let mut names: Vec<String> = ["<unk>", "\n<s>\n", "\n</s>\n"].map(str::to_owned).to_vec();
    names.extend((0..256).map(|b| format!("<0x{b:02X}>")));
    names.extend(pieces.iter().map(|&p| p.to_owned()));
    let mut file = 7i32.to_le_bytes().to_vec();
    for (id, name) in names.iter().enumerate() {
        file.extend((id as f32 - 1000.0).to_le_bytes());
        file.extend((name.len() as i32).to_le_bytes());
        file.extend(name.as_bytes());
    }
    file
}

/// A file of the repository's `tests/fixtures`.
fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(name)
}

fn json(tokenizer: &Tokenizer) -> &[u8] {
    match &tokenizer.kind {
        Kind::Library(library) => library.json(),
        Kind::Llama2c(_) => panic!("not a library tokenizer"),
    }
}

fn streamed(tokenizer: &Tokenizer, tokens: &[u32]) -> String {
    let mut decoder = tokenizer.decoder();
    let mut text: String = tokens.iter().map(|&t| decoder.push(t)).collect();
    text.push_str(&decoder.finish());
    text
}

#[test]
fn training_is_a_function_of_the_text_and_the_size() {
    let text = &bundled()[..60_000];
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let one = pool(1).install(|| train_on(text, 400));
    let three = pool(3).install(|| train_on(text, 400));
    assert_eq!(json(&one), json(&three));
    assert_eq!(one.vocab_size(), 400);
    assert_eq!(one.separator(), Some(0));
}

#[test]
fn a_trained_tokenizer_compresses_and_knows_its_bytes() {
    let text = "To be, or not to be: that is the question.\n";
    let tokens = TRAINED.encode(text).unwrap();
    assert!(tokens.len() < text.len() * 2 / 3, "{} tokens for {} bytes", tokens.len(), text.len());
    let lengths = TRAINED.text_lengths();
    assert_eq!(tokens.iter().map(|&t| lengths[t as usize] as usize).sum::<usize>(), text.len());
    assert_eq!(lengths[0], 0);
}

#[test]
fn the_end_of_text_marker_is_one_token_and_decodes_to_itself() {
    let tokens = TRAINED.encode("one<|endoftext|>two").unwrap();
    assert_eq!(tokens.iter().filter(|&&t| t == 0).count(), 1);
    assert!(TRAINED.is_special(0));
    assert_eq!(TRAINED.decode(&tokens), "one<|endoftext|>two");
}

#[test]
fn a_vocabulary_below_the_bytes_is_refused_and_a_short_text_gives_a_small_one() {
    let error = Tokenizer::train(std::iter::empty(), 256).unwrap_err();
    assert_eq!(error.to_string(), "a byte-level vocabulary has at least 257 tokens, `vocab` is 256");
    assert_eq!(train_on("abc", 1000).vocab_size(), MIN_BPE_VOCAB);
}

#[test]
fn an_error_in_the_text_ends_training_with_that_error() {
    let broken = TrainError::NotUtf8 { path: "x.txt".into(), offset: 5 };
    let error = Tokenizer::train([Ok("fine".to_owned()), Err(broken)].into_iter(), 300).unwrap_err();
    assert!(matches!(error, TrainError::NotUtf8 { offset: 5, .. }), "{error}");
}

#[test]
fn an_empty_prompt_still_gives_a_token_to_start_from() {
    assert_eq!(TRAINED.decode(&TRAINED.encode_prompt("").unwrap()), "\n");
    assert_eq!(LLAMA.encode_prompt("").unwrap(), [1]);
}

#[test]
fn both_kinds_are_saved_and_loaded() {
    let dir = tempfile::tempdir().unwrap();
    for tokenizer in [&*TRAINED, &*LLAMA] {
        let folder = dir.path().join(format!("with-{}", tokenizer.file_name()));
        std::fs::create_dir(&folder).unwrap();
        tokenizer.save_to_folder(&folder).unwrap();
        let loaded = Tokenizer::load_from_folder(&folder, tokenizer.vocab_size()).unwrap().unwrap();
        let text = "abab a élan, to be";
        assert_eq!(loaded.encode(text).unwrap(), tokenizer.encode(text).unwrap());
    }
    assert!(Tokenizer::load_from_folder(dir.path(), 0).unwrap().is_none());
}

#[test]
fn a_truncated_tokenizer_json_is_refused_at_every_length() {
    let whole = json(&TRAINED);
    let end = whole.iter().rposition(|&b| b == b'}').unwrap();
    for length in (0..=end).step_by(7).chain([end]) {
        assert!(
            Tokenizer::from_json(whole[..length].to_vec()).is_err(),
            "{length} bytes of {} pass",
            whole.len()
        );
    }
}

#[test]
fn foreign_json_is_refused_with_what_is_wrong() {
    let refusal = |text: &str| Tokenizer::from_json(text.into()).unwrap_err().to_string();
    assert_eq!(refusal("not json"), "it is not JSON: expected ident at line 1 column 2");
    assert_eq!(refusal("{}"), "it has no model");
    let other = String::from_utf8(json(&TRAINED).to_vec()).unwrap();
    let other: serde_json::Value = serde_json::from_str(&other).unwrap();
    let mut without = other.clone();
    without["decoder"] = serde_json::Value::Null;
    assert_eq!(
        refusal(&without.to_string()),
        "its decoder is none, not ByteLevel, ByteFallback, Metaspace or WordPiece"
    );
    let mut huge = other;
    huge["model"]["vocab"]["a"] = 4_000_000_000u32.into();
    assert_eq!(
        refusal(&huge.to_string()),
        "it has a token with id 4000000000, more than the 1048576 this program handles"
    );
}

#[test]
fn llama_merges_the_best_score_first_and_the_leftmost_of_equals() {
    let id = |piece: &str| {
        259 + [" ", "a", "b", "é", "ab", " a", " ab", "abab", "éa"].iter().position(|&p| p == piece).unwrap()
            as u32
    };
    assert_eq!(LLAMA.encode("abab").unwrap(), [1, id(" ab"), id("ab")]);
    assert_eq!(LLAMA.encode_chunk("abababab", MIDDLE).unwrap(), [id("abab"), id("abab")]);
    assert_eq!(LLAMA.encode_chunk("éab", MIDDLE).unwrap(), [id("éa"), id("b")]);
    // No token for ü: its two bytes, 3 + byte.
    assert_eq!(LLAMA.encode_chunk("ü", MIDDLE).unwrap(), [3 + 0xc3, 3 + 0xbc]);
}

#[test]
fn a_truncated_llama_tokenizer_is_refused_at_every_length() {
    let whole = llama_file(&["a", "bc"]);
    for length in 0..whole.len() {
        let result = Tokenizer::from_llama2c(whole[..length].to_vec(), Some(261));
        assert!(result.is_err(), "{length} bytes of {} pass", whole.len());
    }
    assert!(Tokenizer::from_llama2c(whole.clone(), Some(261)).is_ok());
    assert_eq!(
        Tokenizer::from_llama2c(whole.clone(), Some(260)).unwrap_err(),
        "it holds more than the 260 tokens of the model's vocabulary"
    );
    assert_eq!(
        Tokenizer::from_llama2c(whole.clone(), Some(300)).unwrap_err(),
        "it ends after 261 tokens, the model's vocabulary has 300"
    );
    assert_eq!(
        Tokenizer::from_llama2c(whole[..whole.len() - 1].to_vec(), None).unwrap_err(),
        format!("it ends at byte {} in the middle of a token", whole.len() - 1)
    );
}

#[test]
fn a_wrong_length_in_a_llama_tokenizer_allocates_nothing() {
    let mut file = llama_file(&[]);
    file[0..4].copy_from_slice(&i32::MAX.to_le_bytes());
    file[8..12].copy_from_slice(&i32::MAX.to_le_bytes());
    let error = Tokenizer::from_llama2c(file, None).unwrap_err();
    assert!(error.ends_with("in the middle of a token"), "{error}");
    let error = Tokenizer::from_llama2c(b"\x07\0\0\0PNG and much more that is no tokenizer".to_vec(), None);
    assert!(error.unwrap_err().starts_with("token 0 has length"));
}

#[test]
fn tok512_encodes_as_llama2c_does() {
    let tokenizer = Tokenizer::load(&fixture("tok512.bin"), Some(512)).unwrap();
    assert_eq!(tokenizer.encode("Once upon a time").unwrap(), [1, 403, 407, 261, 378]);
    assert_eq!(tokenizer.decode(&[1, 403, 407, 261, 378]), "Once upon a time");
    assert!(tokenizer.splits_at_spaces());

    let reference = std::fs::read_to_string(fixture("stories260K.reference.json")).unwrap();
    let reference: serde_json::Value = serde_json::from_str(&reference).unwrap();
    let want: Vec<u32> = serde_json::from_value(reference["token_ids"].clone()).unwrap();
    assert_eq!(tokenizer.encode(reference["text"].as_str().unwrap()).unwrap(), want);
}

#[test]
fn a_text_goes_round_through_tok512() {
    let tokenizer = Tokenizer::load(&fixture("tok512.bin"), Some(512)).unwrap();
    let text = &bundled()[..20_000];
    assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()), text);
}

/// llama2.c's own merging, which looks at every pair before each merge.
fn merged_naively(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let find =
        |bytes: &[u8]| (259..tokenizer.vocab_size() as u32).find(|&id| tokenizer.bytes_of(id) == bytes);
    let mut tokens = Vec::new();
    for c in text.chars() {
        let character = c.to_string();
        match find(character.as_bytes()) {
            Some(id) => tokens.push(id),
            None => tokens.extend(character.bytes().map(|b| 3 + u32::from(b))),
        }
    }
    loop {
        // In `LLAMA` a larger id has a better score.
        let mut best: Option<(u32, usize)> = None;
        for at in 1..tokens.len() {
            if tokens[at - 1] < 259 || tokens[at] < 259 {
                continue;
            }
            let joined = [tokenizer.bytes_of(tokens[at - 1]), tokenizer.bytes_of(tokens[at])].concat();
            if let Some(id) = find(&joined).filter(|&id| best.is_none_or(|(other, _)| id > other)) {
                best = Some((id, at));
            }
        }
        let Some((id, at)) = best else { return tokens };
        tokens[at - 1] = id;
        tokens.remove(at);
    }
}

proptest! {
    #[test]
    fn any_text_goes_round(text in any::<String>()) {
        for tokenizer in [&*TRAINED, &*LLAMA] {
            let tokens = tokenizer.encode(&text).unwrap();
            prop_assert!(tokens.iter().all(|&t| (t as usize) < tokenizer.vocab_size()));
            prop_assert_eq!(&tokenizer.decode(&tokens), &text);
            let prompt = tokenizer.encode_prompt(&text).unwrap();
            prop_assert!(!prompt.is_empty());
        }
    }

    #[test]
    fn a_text_cut_into_words_has_the_library_s_tokens(text in "[a-c'1. \\n\\r\\t\u{a0}\u{3000}é,]{0,60}") {
        let library = tokenizers::Tokenizer::from_bytes(json(&TRAINED)).unwrap();
        let whole = library.encode_fast(text.as_str(), false).unwrap();
        prop_assert_eq!(TRAINED.encode(&text).unwrap(), whole.get_ids());
    }

    #[test]
    fn a_damaged_tokenizer_is_refused_or_works_but_never_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        text in "[a-z <0xA>]{0,20}",
    ) {
        let mut llama = llama_file(&["a", "bc", "abc"]);
        let mut library = json(&TRAINED).to_vec();
        for (at, byte) in edits {
            let index = at.index(llama.len());
            llama[index] = byte;
            let index = at.index(library.len());
            library[index] = 0x20 + byte % 0x5f;
        }
        for tokenizer in [Tokenizer::from_json(library).ok(), Tokenizer::from_llama2c(llama, None).ok()].into_iter().flatten() {
            if let Ok(tokens) = tokenizer.encode(&text) {
                tokenizer.decode(&tokens);
            }
        }
    }

    #[test]
    fn any_tokens_decode_alike_at_once_and_streamed(tokens in prop::collection::vec(0u32..420, 0..60)) {
        for tokenizer in [&*TRAINED, &*LLAMA] {
            let text = streamed(tokenizer, &tokens);
            prop_assert_eq!(&text, &tokenizer.decode(&tokens));
            let known = tokens.iter().all(|&t| (t as usize) < tokenizer.vocab_size());
            if known && tokenizer.file_name() == "tokenizer.json" {
                let bytes: Vec<u8> = tokens.iter().flat_map(|&t| tokenizer.bytes_of(t).to_vec()).collect();
                prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
            }
        }
    }

    #[test]
    fn llama_merging_equals_the_naive_one(text in "[abé ü]{0,40}") {
        prop_assert_eq!(LLAMA.encode_chunk(&text, MIDDLE).unwrap(), merged_naively(&LLAMA, &text));
    }
}
