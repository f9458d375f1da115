//! Gemma in GGUF files: its settings, windows, and tokenizer.

use super::*;
use crate::config::Family;

#[test]
fn gemma_has_the_keys_of_hugging_face() {
    let path = file("spm.gguf");
    let renamed = |architecture: &str| {
        let mut header = Open::new(&path).unwrap().parts.header;
        for (key, _) in &mut header.keys {
            *key = key.replace("llama.", &format!("{architecture}."));
        }
        header.keys.retain(|(key, _)| key != "general.architecture");
        let name = MetadataValue::Str(architecture.to_owned());
        header.keys.push(("general.architecture".to_owned(), name));
        header
    };
    let header = |architecture: &str, more: &[(&str, MetadataValue)]| {
        let mut header = renamed(architecture);
        header.keys.extend(more.iter().map(|(key, value)| (format!("{architecture}.{key}"), value.clone())));
        let mut keys = config_keys(&header).unwrap();
        rope::add_scaling(&header, &rope::Tables::new(), &mut keys).unwrap();
        ModelConfig::from_json_in(&path, &Json::from(keys).to_string()).unwrap()
    };
    let window = ("attention.sliding_window", MetadataValue::Int(16));
    let width = ("attention.key_length", MetadataValue::Int(8));
    let cap = ("attn_logit_softcapping", MetadataValue::Float(20.0));
    let two = header("gemma2", &[window.clone(), width.clone(), cap]).variant;
    assert_eq!((two.query_scalar, two.score_cap, two.logit_cap), (Some(8.0), Some(20.0), Some(30.0)));
    assert_eq!(two.layers.iter().map(|kind| kind.window).collect::<Vec<_>>(), [Some(16), None]);
    let three = header("gemma3", &[window.clone(), width]).variant;
    assert_eq!((three.query_scalar, three.score_cap, three.logit_cap), (Some(8.0), None, None));
    assert!(three.layers.iter().all(|kind| kind.window == Some(16)));
    // Windows of layers that are not named, and a bound that is none.
    let error = |architecture: &str, key: &str, value| {
        let mut header = renamed(architecture);
        header.keys.push((format!("{architecture}.{key}"), value));
        config_keys(&header).unwrap_err().to_string()
    };
    let got = error("qwen2", "attention.sliding_window", MetadataValue::Int(16));
    assert_eq!(got, "`qwen2.attention.sliding_window` = 16 is not supported");
    let got = error("gemma", "attention.sliding_window", MetadataValue::Int(16));
    assert_eq!(got, "`gemma.attention.sliding_window` = 16 is not supported");
    let got = error("gemma3", "attention.sliding_window_pattern", MetadataValue::Ints(vec![1; 3]));
    assert_eq!(
        got,
        "`gemma3.attention.sliding_window_pattern` = a list of 3 values for 2 layers is not supported"
    );
    let got = error("gemma2", "attn_logit_softcapping", MetadataValue::Float(0.0));
    assert_eq!(got, "`gemma2.attn_logit_softcapping` = 0 is not supported");
    // A llama with windows is a Mistral.
    let mistral = header("llama", &[window]).variant;
    assert!(mistral.layers.iter().all(|kind| kind.window == Some(16)) && mistral.family == Family::Mistral);
}

/// A tokenizer of Gemma's kind, as llama.cpp's converter stores it, and as a folder has it: `record_gemma.py`.
#[test]
fn gemma_s_tokenizer_gives_the_ids_of_its_library_and_is_written_back() {
    let recorded: Json = serde_json::from_slice(&fs::read(file("gemma_ids.json")).unwrap()).unwrap();
    let json = fs::read(file("gemma.json")).unwrap();
    let own = Tokenizer::from_json_in(Path::new("gemma.json"), &json).unwrap();
    let path = file("gemma.gguf");
    let read = Open::new(&path).unwrap();
    let rebuilt = read.tokenizer().unwrap().unwrap();
    // Its keys, as an export writes them, and read again.
    let keys = vocab::vocab_keys(&own, read.config.vocab, [None; 3]).unwrap();
    let header = write::as_read(&keys, &[]);
    let again = tokenizer::tokenizer_json(&header).unwrap().unwrap();
    let again = Tokenizer::from_json_in(Path::new("again.json"), again.as_bytes()).unwrap();
    for (text, want) in recorded["texts"].as_array().unwrap().iter().zip(recorded["ids"].as_array().unwrap())
    {
        let text = text.as_str().unwrap();
        let want: Vec<u32> = want.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        for (name, tokenizer) in [("file", &rebuilt), ("folder", &own), ("written", &again)] {
            assert_eq!(tokenizer.encode(text).unwrap(), want, "{name}: {text:?}");
            if !text.contains(['<', '▁']) {
                assert_eq!(tokenizer.decode(&want[1..]), text, "{name}");
            }
        }
    }
    // Tokens, types and order of scores are those of the converter.
    let of = |header: &Header, key: &str| header.get(&format!("tokenizer.ggml.{key}")).cloned().unwrap();
    for key in ["tokens", "token_type", "add_space_prefix", "unknown_token_id", "bos_token_id"] {
        assert_eq!(of(&header, key), of(&read.parts.header, key), "{key}");
    }
}
