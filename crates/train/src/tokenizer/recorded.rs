//! Tests: ids and texts are those that `tests/tokenizers/record.py` recorded of the `tokenizers` library.

use std::path::Path;

use serde_json::Value;

use super::*;

#[test]
fn every_recorded_tokenizer_gives_the_library_s_ids_and_texts() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tokenizers/recorded.json");
    let recorded: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let texts = recorded["texts"].as_array().unwrap();
    let cases = recorded["cases"].as_array().unwrap();
    let mut wrong = Vec::new();
    for case in cases {
        let name = case["base"].as_str().unwrap();
        let title = format!("{name}, {}", case["title"].as_str().unwrap());
        let mut file = recorded["bases"][name].clone();
        for (key, value) in case["keys"].as_object().unwrap() {
            file[key] = value.clone();
        }
        let tokenizer = match Tokenizer::from_json(file.to_string().into_bytes()) {
            Ok(tokenizer) => tokenizer,
            Err(problem) => {
                wrong.push(format!("{title}: {problem}"));
                continue;
            }
        };
        for (n, text) in texts.iter().enumerate() {
            let text = text.as_str().unwrap();
            let want: Vec<u32> = serde_json::from_value(case["ids"][n].clone()).unwrap();
            let got = tokenizer.encode(text).unwrap();
            if got != want {
                wrong.push(format!("{title}: {text:?} is {got:?}, not {want:?}"));
            }
            let (before, after) = tokenizer.around();
            let bare = &want[before.len()..want.len() - after.len()];
            // Special tokens have no text; the library puts their names into it.
            let unknown = tokenizer.table.unknown();
            if bare.iter().any(|&token| tokenizer.is_special(token) && Some(token) != unknown) {
                continue;
            }
            let got = tokenizer.decode(bare);
            if got != case["decoded"][n] {
                wrong.push(format!("{title}: {bare:?} is {got:?}, not {}", case["decoded"][n]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), 2 * texts.len() * cases.len(), wrong.join("\n"));
}
