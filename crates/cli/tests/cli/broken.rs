//! Broken files of each reader, with exactly what is said of them: the snapshot is the table.

use crate::place::{Place, fixture};

const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
"num_attention_heads": 2, "vocab_size": 8, "max_position_embeddings": 8, "rms_norm_eps": 1e-5, "tie_word_embeddings": true}"#;

/// A table of broken files: each with the command that reads it, and what that said.
struct Table {
    place: Place,
    rows: String,
}

impl Table {
    fn row(&mut self, what: &str, command: &str) {
        let outcome = self.place.run(command);
        assert_eq!(outcome.code, Some(2), "{what}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("\nhint: "), "{what}: {}", outcome.stderr);
        self.rows.push_str(&format!("# {what}\n$ backpropane {command}\n{}\n", outcome.stderr));
    }

    /// A folder with this configuration and these weights.
    fn folder(&mut self, what: &str, config: &str, weights: &[u8]) {
        self.place.write("m/config.json", config);
        self.place.write("m/model.safetensors", weights);
        self.row(what, "generate --model m --prompt x");
    }

    /// A file that is a model.
    fn model(&mut self, what: &str, name: &str, bytes: &[u8]) {
        self.place.write(name, bytes);
        self.row(what, &format!("generate --model {name} --prompt x"));
    }
}

/// `bytes` with those from `at` on replaced.
fn with(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    [&bytes[..at], new, &bytes[at + new.len()..]].concat()
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; data]].concat()
}

/// What is said of broken files, as a snapshot.
fn snapshot(name: &str, fill: impl FnOnce(&mut Table)) {
    let mut table = Table { place: Place::new(), rows: String::new() };
    fill(&mut table);
    insta::assert_snapshot!(name, table.rows);
}

#[test]
fn weights() {
    snapshot("broken_weights", |table| {
        let tensor = |dtype: &str, shape: &str, end: usize| {
            format!(
                r#"{{"model.norm.weight":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#
            )
        };
        for (what, bytes) in [
            ("an empty file", vec![]),
            ("no header", b"to be".to_vec()),
            (
                "a header that is longer than the file",
                safetensors(&tensor("F32", "[4]", 16), 0)[..40].to_vec(),
            ),
            ("a header that is no JSON", safetensors("to be, or not to be", 0)),
            ("tensors that end before the file", safetensors(&tensor("F32", "[4]", 16), 17)),
            ("a shape of other bytes", safetensors(&tensor("F32", "[5]", 16), 16)),
            ("an unknown number format", safetensors(&tensor("F31", "[4]", 16), 16)),
            ("a missing tensor", safetensors(&tensor("F32", "[4]", 16), 16)),
            ("no weights but a web page", b"<!DOCTYPE html><html>".to_vec()),
        ] {
            table.folder(what, CONFIG, &bytes);
        }
    });
}

#[test]
fn configurations() {
    snapshot("broken_configurations", |table| {
        let weights = safetensors("{}", 0);
        let edit = |from: &str, to: &str| {
            assert!(CONFIG.contains(from), "{from}");
            CONFIG.replace(from, to)
        };
        for (what, config) in [
            ("an empty file", String::new()),
            ("no JSON", "to be".to_owned()),
            ("a list", "[1, 2]".to_owned()),
            ("a cut file", CONFIG[..40].to_owned()),
            ("keys of TOML", "dim = 4\nheads = 2\n".to_owned()),
            ("a missing key", edit("\"hidden_size\": 4, ", "")),
            ("a text for a number", edit("\"hidden_size\": 4", "\"hidden_size\": \"4\"")),
            ("a negative number", edit("\"hidden_size\": 4", "\"hidden_size\": -4")),
            ("a fraction", edit("\"hidden_size\": 4", "\"hidden_size\": 4.5")),
            ("zero", edit("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 0")),
            ("too many layers", edit("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 20000")),
            ("heads that do not divide", edit("\"num_attention_heads\": 2", "\"num_attention_heads\": 3")),
            ("an unknown architecture", edit("\"llama\"", "\"mamba\"")),
            (
                "an end that is no token",
                edit("\"vocab_size\": 8", "\"vocab_size\": 8, \"eos_token_id\": \"</s>\""),
            ),
            (
                "quantised weights",
                edit("\"vocab_size\": 8", "\"vocab_size\": 8, \"quantization_config\": {\"bits\": 4}"),
            ),
            (
                "an unknown scaling",
                edit("\"vocab_size\": 8", "\"vocab_size\": 8, \"rope_scaling\": {\"rope_type\": \"spiral\"}"),
            ),
        ] {
            table.folder(what, &config, &weights);
        }
    });
}

#[test]
fn checkpoints() {
    snapshot("broken_checkpoints", |table| {
        let bin = std::fs::read(fixture("fixtures/stories260K.bin")).expect("a fixture");
        for (what, bytes) in [
            ("an empty file", vec![]),
            ("a cut header", bin[..20].to_vec()),
            ("a cut file", bin[..bin.len() - 1].to_vec()),
            ("a longer file", [&bin[..], &[0]].concat()),
            ("no layers", with(&bin, 8, &[0; 4])),
            ("a negative size", with(&bin, 0, &[0xff; 4])),
            ("a number that is none", with(&bin, 28, &f32::NAN.to_le_bytes())),
            ("a version to come", [b"24ka\x09\0\0\0", &bin[..]].concat()),
        ] {
            table.model(what, "m.bin", &bytes);
        }
        let gguf = std::fs::read(fixture("gguf/bpe.gguf")).expect("a fixture");
        for (what, bytes) in [
            ("a mark alone", gguf[..4].to_vec()),
            ("a cut header", gguf[..100].to_vec()),
            ("a cut file", gguf[..gguf.len() - 1].to_vec()),
            ("version 1", with(&gguf, 4, &[1])),
            ("the other byte order", with(&gguf, 4, &[0, 0, 0, 3])),
            ("too many keys", with(&gguf, 16, &[0xff; 8])),
        ] {
            table.model(what, "m.gguf", &bytes);
        }
    });
}

#[test]
fn tokenizers() {
    snapshot("broken_tokenizers", |table| {
        let path = fixture("tokenizers/recorded.json");
        let recorded: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).expect("a fixture")).expect("JSON");
        let edit = |key: &str, value: serde_json::Value| {
            let mut file = recorded["bases"]["byte_level"].clone();
            file[key] = value;
            file.to_string().into_bytes()
        };
        let pieces = std::fs::read(fixture("fixtures/tok512.bin")).expect("a fixture");
        table.place.write("m/config.json", CONFIG.replace("\"vocab_size\": 8", "\"vocab_size\": 400"));
        table.place.write("m/model.safetensors", safetensors("{}", 0));
        use serde_json::json;
        for (what, name, bytes) in [
            ("an empty file", "t.json", vec![]),
            ("no JSON", "t.json", b"to be".to_vec()),
            ("an object without a model", "t.json", b"{}".to_vec()),
            ("a file of Keras", "t.json", b"{\"class_name\": \"Tokenizer\"}".to_vec()),
            ("no decoder", "t.json", edit("decoder", json!(null))),
            ("an unknown normalizer", "t.json", edit("normalizer", json!({"type": "Spiral"}))),
            (
                "an unknown normalizer in a sequence",
                "t.json",
                edit(
                    "normalizer",
                    json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Spiral"}]}),
                ),
            ),
            ("an unknown pre-tokenizer", "t.json", edit("pre_tokenizer", json!({"type": "Spiral"}))),
            ("an unknown post-processor", "t.json", edit("post_processor", json!({"type": "Spiral"}))),
            ("an unknown decoder", "t.json", edit("decoder", json!({"type": "Spiral"}))),
            ("an unknown model", "t.json", edit("model", json!({"type": "Spiral", "vocab": {}}))),
            (
                "a template without its tokens",
                "t.json",
                edit("post_processor", json!({"type": "TemplateProcessing", "single": [], "pair": []})),
            ),
            (
                "a normalizer without its pattern",
                "t.json",
                edit("normalizer", json!({"type": "Replace", "content": "x"})),
            ),
            ("a decoder without a type", "t.json", edit("decoder", json!({"suffix": 1}))),
            (
                "an added token without its flags",
                "t.json",
                edit("added_tokens", json!([{"id": 0, "content": "x"}])),
            ),
            ("a vocabulary that is a number", "t.json", edit("model", json!({"type": "BPE", "vocab": 7}))),
            ("a model without merges", "t.json", edit("model", json!({"type": "BPE", "vocab": {"x": 0}}))),
            ("another version", "t.json", edit("version", json!("2.0"))),
            (
                "a token that is not there",
                "t.json",
                edit(
                    "post_processor",
                    json!({"type": "BertProcessing", "sep": ["x", 900], "cls": ["<s>", 1]}),
                ),
            ),
            (
                "a wrong regular expression",
                "t.json",
                edit(
                    "pre_tokenizer",
                    json!({"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": false}),
                ),
            ),
            ("an empty file of pieces", "t.bin", vec![]),
            ("a cut file of pieces", "t.bin", pieces[..pieces.len() - 1].to_vec()),
            ("more pieces than the model has", "t.bin", pieces.clone()),
            ("a model of SentencePiece", "t.model", b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02".to_vec()),
            ("a model of SentencePiece as JSON", "t.json", b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02".to_vec()),
        ] {
            table.place.write(name, bytes);
            table.row(what, &format!("eval --model m --tokenizer {name} --data text.txt"));
        }
    });
}

#[test]
fn arrays_and_packages() {
    snapshot("broken_arrays_and_packages", |table| {
        let program = "program(1.3) { func main<ios18>(tensor<fp32, [2]> x) { tensor<fp32, [2]> y = exp(x = x)[name = string(\"y\")]; } -> (y); }";
        table.place.write("a.mil", program);
        let npy = |text: &str, elements: usize| {
            let head = [b"\x93NUMPY\x01\x00", &(text.len() as u16).to_le_bytes()[..]].concat();
            [&head[..], text.as_bytes(), &vec![0; elements]].concat()
        };
        let described = |descr: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")
        };
        for (what, bytes) in [
            ("an empty file", vec![]),
            ("no array", b"to be, or not to be".to_vec()),
            ("a cut header", npy(&described("<f4", "(2,)"), 8)[..30].to_vec()),
            ("missing elements", npy(&described("<f4", "(2,)"), 7)),
            ("objects", npy(&described("|O", "(2,)"), 16)),
            ("records", npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", 8)),
            ("another shape", npy(&described("<f4", "(2, 2)"), 16)),
            ("integers", npy(&described("<i4", "(2,)"), 8)),
        ] {
            table.place.write("x.npy", bytes);
            table.row(what, "mil run a.mil --input x=x.npy");
        }
        let item = |path: &str| {
            format!(
                r#"{{"fileFormatVersion":"1.0.0","itemInfoEntries":{{"a":{{"path":"{path}"}}}},"rootModelIdentifier":"a"}}"#
            )
        };
        for (what, manifest, model) in [
            ("an empty manifest", String::new(), &b""[..]),
            ("a manifest without items", "{}".to_owned(), b""),
            ("a model outside of the package", item("../m.mlmodel"), b""),
            ("a missing model", item("n.mlmodel"), b""),
            ("an empty model", item("m.mlmodel"), b""),
            ("a model that is text", item("m.mlmodel"), b"program(1.3)"),
            ("a classic network", item("m.mlmodel"), &[0x08, 0x04, 0xa2, 0x1f, 0x00]),
        ] {
            table.place.write("p.mlpackage/Manifest.json", manifest);
            table.place.write("p.mlpackage/Data/m.mlmodel", model);
            table.row(what, "mil run p.mlpackage --random 1");
        }
    });
}
