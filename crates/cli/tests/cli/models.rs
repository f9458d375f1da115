//! Models of others and what becomes of them: folders, llama2.c's files, tokenizers, tokens that end a text.

use crate::bad_input::{Row, each_is_refused};
use crate::place::Place;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A place with the files of `tests/models/NAME` in `NAME`, or with that file.
fn with(names: &[&str]) -> Place {
    let place = Place::new();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    for name in names {
        let from = models.join(name);
        if from.is_dir() {
            for entry in fs::read_dir(&from).expect("a folder") {
                let path = entry.expect("an entry").path();
                let file = path.file_name().expect("a name").to_string_lossy().into_owned();
                place.write(&format!("{name}/{file}"), fs::read(&path).expect("a file"));
            }
        } else {
            place.write(name, fs::read(&from).expect("a file"));
        }
    }
    place
}

fn json_of(place: &Place, name: &str) -> Value {
    serde_json::from_slice(&place.read(name)).expect("JSON")
}

/// Writes a JSON file with some keys set, or removed where they are null.
fn edit(place: &Place, name: &str, keys: Value) {
    let mut file = json_of(place, name);
    for (key, value) in keys.as_object().expect("an object") {
        match value {
            Value::Null => drop(file.as_object_mut().expect("an object").remove(key)),
            value => file[key] = value.clone(),
        }
    }
    place.write(name, file.to_string());
}

const TRAIN: &str = "train --threads 1 --steps 1 --batch 1 --quiet";

/// The loss as it is meant, for every reader of the folder: the private key of earlier folders is not needed.
#[test]
fn a_llama2c_file_becomes_a_folder_that_means_the_same_to_all() {
    let place = with(&["interleaved.bin", "interleaved-tokens.bin"]);
    let loss = |model: &str| {
        let outcome = place.succeed(&format!("eval --model {model} --data interleaved-tokens.bin --json"));
        outcome.json()["loss"].as_f64().expect("a loss")
    };
    place.succeed(&format!(
        "{TRAIN} --model interleaved.bin --data interleaved-tokens.bin --lr 1e-12 --warmup 0 --out run"
    ));
    for model in ["interleaved.bin", "run"] {
        // fp16 storage; float64 has 5.0883, and 4.8152 with rows in the other order.
        assert!((loss(model) - 5.0883).abs() < 2e-3, "{model}: {}", loss(model));
    }
    let config = json_of(&place, "run/config.json");
    assert_eq!(config["model_type"], "llama");
    assert_eq!((&config["bos_token_id"], &config["eos_token_id"]), (&json!(1), &json!(2)));
    assert_eq!(config["backpropane"], json!({"seq": 32, "task": "language"}));
    // With an earlier version's key, rows are what it says: the loss is another one.
    edit(
        &place,
        "run/config.json",
        json!({"backpropane": {"rope": "interleaved", "seq": 32, "task": "language"}}),
    );
    assert!((loss("run") - 5.0883).abs() > 0.05);
    let kernels = place.succeed("kernels --model interleaved.bin").stdout;
    assert!(kernels.starts_with("interleaved.bin: 1 layer, dim 16"), "{kernels}");
}

/// What others would misread has a type that they refuse.
#[test]
fn a_model_without_positions_is_no_llama() {
    let place = Place::new();
    place.write("none.toml", "preset = \"tiny\"\nrope = \"none\"\nqk_norm = true\n");
    place.write("other.toml", "preset = \"tiny\"\nrope = \"interleaved\"\nqk_norm = true\n");
    for (name, want) in [("none", "backpropane"), ("other", "qwen3")] {
        place.succeed(&format!("{TRAIN} --model {name}.toml --data text.txt --out {name}"));
        assert_eq!(json_of(&place, &format!("{name}/config.json"))["model_type"], want);
        let outcome =
            place.succeed(&format!("eval --model {name} --data text.txt --windows 2 --json")).json();
        assert!(outcome["loss"].as_f64().is_some_and(|loss| (5.0..6.5).contains(&loss)), "{outcome}");
        place.succeed(&format!("train --resume --out {name} --steps 2 --quiet"));
    }
    // As an earlier version wrote it, and a run that starts from it.
    let ours = json!({"rope": "none", "seq": 32, "task": "language", "qk_norm": true});
    edit(&place, "none/config.json", json!({"model_type": "llama", "backpropane": ours}));
    place.succeed(&format!("{TRAIN} --model none --data text.txt --out again"));
    assert_eq!(json_of(&place, "again/config.json")["model_type"], "backpropane");
}

#[test]
fn a_fine_tuned_folder_says_what_its_base_said() {
    let place = with(&["eos"]);
    edit(
        &place,
        "eos/config.json",
        json!({"bos_token_id": 6, "pad_token_id": 8, "max_position_embeddings": 2048, "dtype": "bfloat16",
            "transformers_version": "5.0.0", "rope_theta": null,
            "rope_parameters": {"rope_theta": 500_000.0, "rope_type": "default"}}),
    );
    let base = json_of(&place, "eos/config.json");
    for (name, text) in
        [("chat_template.jinja", "{{ messages }}"), ("special_tokens_map.json", "{}"), ("merges.txt", "")]
    {
        place.write(&format!("eos/{name}"), text);
    }
    place.write("eos/loss.svg", "another run's");
    place.succeed(&format!("{TRAIN} --model eos --data text.txt --seq 8 --out run"));
    let same = |run: &str| {
        let mut config = json_of(&place, &format!("{run}/config.json"));
        assert_eq!(config["dtype"], "float32");
        assert_eq!(config["backpropane"], json!({"seq": 8, "task": "language"}));
        config["dtype"] = json!("bfloat16");
        config.as_object_mut().expect("an object").remove("backpropane");
        assert_eq!(config, base);
        for name in [
            "generation_config.json",
            "chat_template.jinja",
            "special_tokens_map.json",
            "merges.txt",
            "tokenizer.json",
        ] {
            assert_eq!(place.read(&format!("{run}/{name}")), place.read(&format!("eos/{name}")), "{name}");
        }
    };
    same("run");
    // So does a resumed run, and a run that starts from it.
    place.succeed("train --resume --out run --steps 2 --quiet");
    same("run");
    place.succeed(&format!("{TRAIN} --model run --data text.txt --out again"));
    same("again");
    // Longer windows than the model had are what it has now.
    place.succeed(&format!("{TRAIN} --model eos --data text.txt --seq 2049 --out long"));
    assert_eq!(json_of(&place, "long/config.json")["max_position_embeddings"], 2049);
}

#[test]
fn a_new_model_s_ends_are_its_tokenizer_s() {
    let place = with(&["eos"]);
    place.succeed(&format!("{TRAIN} --model tiny --data text.txt --out own"));
    edit(
        &place,
        "eos/tokenizer.json",
        json!({"post_processor": {"type": "BertProcessing", "sep": ["x", 5], "cls": ["y", 4]}}),
    );
    place
        .succeed(&format!("{TRAIN} --model tiny --data text.txt --tokenizer eos/tokenizer.json --out given"));
    place.succeed(&format!("{TRAIN} --model tiny --data own/tokens.bin --out none"));
    for (run, bos, eos) in
        [("own", json!(0), json!(0)), ("given", json!(4), json!(5)), ("none", Value::Null, Value::Null)]
    {
        let config = json_of(&place, &format!("{run}/config.json"));
        assert_eq!((&config["bos_token_id"], &config["eos_token_id"]), (&bos, &eos), "{run}");
        assert_eq!(config.get("eos_token_id"), Some(&eos), "{run}");
    }
}

#[test]
fn a_text_ends_at_any_token_that_the_model_ends_texts_with() {
    let place = with(&["eos"]);
    let generated = || place.succeed("generate --model eos --prompt First --tokens 3 --temperature 0").stdout;
    let endings = [
        (json!(300), json!(300)),
        (json!([7, 300]), Value::Null),
        (Value::Null, json!([300])),
        (Value::Null, json!(300)),
    ];
    for (config, generation) in endings {
        edit(&place, "eos/config.json", json!({ "eos_token_id": config }));
        place.write("eos/generation_config.json", json!({ "eos_token_id": generation }).to_string());
        assert_eq!(generated(), "First\n", "{config} {generation}");
    }
    edit(&place, "eos/config.json", json!({ "eos_token_id": null }));
    fs::remove_file(place.path("eos/generation_config.json")).expect("removed");
    assert_eq!(generated(), "First</s></s></s>\n");
    // A tokenizer that starts and ends each text: a prompt gets the start alone, and its end is one.
    edit(
        &place,
        "eos/tokenizer.json",
        json!({"post_processor": {"type": "BertProcessing", "sep": ["</s>", 300], "cls": ["<s>", 0]}}),
    );
    assert_eq!(generated(), "First\n");
}

#[test]
fn a_llama2c_file_finds_its_tokenizer() {
    let place = with(&["llama2c", "interleaved.bin"]);
    let args = "--prompt once --tokens 4 --temperature 0";
    let beside = place.succeed(&format!("generate --model llama2c/model.bin {args}")).stdout;
    assert!(beside.starts_with("once"), "{beside}");
    place.write("apart/model.bin", place.read("llama2c/model.bin"));
    place.write("unfit/model.bin", place.read("llama2c/model.bin"));
    place.write("unfit/tokenizer.bin", {
        let mut longer = place.read("llama2c/tokenizer.bin");
        longer.extend([0, 0, 0, 0, 1, 0, 0, 0, b'x']);
        longer
    });
    for model in ["apart", "unfit"] {
        let given = format!("generate --model {model}/model.bin --tokenizer llama2c/tokenizer.bin {args}");
        assert_eq!(place.succeed(&given).stdout, beside);
        place.succeed(&format!(
            "eval --model {model}/model.bin --tokenizer llama2c/tokenizer.bin --data text.txt --windows 1"
        ));
    }
    place.succeed("eval --model llama2c/model.bin --data text.txt --windows 1");
    place.succeed(&format!("{TRAIN} --model llama2c/model.bin --data text.txt --out run"));
    assert_eq!(place.read("run/tokenizer.bin"), place.read("llama2c/tokenizer.bin"));
    place.succeed("train --resume --out run --model llama2c/model.bin --steps 2 --quiet");
    // Tokens need no tokenizer.
    place.write("tokens.bin", [3, 0].repeat(400));
    place.succeed(&format!("{TRAIN} --model unfit/model.bin --data tokens.bin --out plain"));

    let version =
        |version: i32| [&0x616b_3432u32.to_le_bytes()[..], &version.to_le_bytes(), &[0; 300]].concat();
    place.write("one.bin", version(1));
    place.write("three.bin", version(3));
    let rows: Vec<Row<'_>> = vec![
        ("generate --model apart/model.bin --prompt x", &["apart/model.bin", "no tokenizer"], "--tokenizer"),
        (
            "generate --model unfit/model.bin --prompt x",
            &["unfit/tokenizer.bin", "vocabulary"],
            "--tokenizer",
        ),
        ("eval --model apart/model.bin --data text.txt", &["apart/model.bin", "no tokenizer"], "--tokenizer"),
        (
            "train --model apart/model.bin --data text.txt --out new",
            &["apart/model.bin", "no tokenizer"],
            "--tokenizer",
        ),
        ("train --model apart/model.bin --out new", &["apart/model.bin", "no tokenizer"], "--tokenizer"),
        ("train --model unfit/model.bin --data text.txt --out new", &["unfit/tokenizer.bin"], "--tokenizer"),
        (
            "generate --model interleaved.bin --tokenizer llama2c/tokenizer.bin --prompt x",
            &["vocabulary has 64"],
            "tokenizer",
        ),
        ("generate --model one.bin --prompt x", &["one.bin", "its header says dim = 0"], "Fetch"),
        ("kernels --model three.bin", &["three.bin", "version 3"], "--version 0"),
        ("train --model three.bin --data text.txt --out new", &["three.bin", "version 3"], "--version 0"),
        ("kernels --model tokens.bin", &["tokens.bin", "llama2.c"], ""),
    ];
    each_is_refused(&place, &rows, |_, _| None);
}

#[test]
fn weights_without_their_tokenizer_and_weights_in_other_files_are_refused() {
    let place = with(&["eos"]);
    let without = "{}";
    for (dir, files) in [("mute", vec!["config.json", "model.safetensors"]), ("sharded", vec!["config.json"])]
    {
        for file in files {
            place.write(&format!("{dir}/{file}"), place.read(&format!("eos/{file}")));
        }
    }
    place.write("sharded/model.safetensors.index.json", without);
    place.write("torch/config.json", place.read("eos/config.json"));
    place.write("torch/pytorch_model.bin", "PK");
    place.write("wrong/config.json", r#"{"hidden_size": 8, "eos_token_id": "</s>"}"#);
    for file in ["model.safetensors", "tokenizer.json", "config.json"] {
        place.write(&format!("named/{file}"), place.read(&format!("eos/{file}")));
    }
    edit(&place, "named/config.json", json!({"eos_token_id": "</s>"}));
    let rows: Vec<Row<'_>> = vec![
        ("train --model mute --data text.txt --out new", &["mute", "no tokenizer"], "--tokenizer"),
        ("train --model mute --out new", &["mute", "no tokenizer"], "--tokenizer"),
        ("eval --model mute --data text.txt", &["mute", "no tokenizer"], "--tokenizer"),
        (
            "train --model sharded --data text.txt --out new",
            &["sharded", "index.json", "weight_map"],
            "Fetch",
        ),
        ("generate --model sharded --prompt x", &["sharded", "index.json", "weight_map"], "Fetch"),
        ("train --model torch --data text.txt --out new", &["torch", "pytorch_model.bin"], "save_pretrained"),
        ("generate --model named --prompt x", &["named/config.json", "eos_token_id"], "eos_token_id"),
    ];
    each_is_refused(&place, &rows, |_, _| None);
    place.succeed(&format!("{TRAIN} --model mute --data text.txt --tokenizer eos/tokenizer.json --out new"));
}

#[test]
fn a_tokenizer_that_panics_or_fills_memory_is_refused_by_name() {
    let place = with(&["eos"]);
    let mut rows = Vec::new();
    let e = |n: usize| "e".repeat(n);
    let replace = json!({"type": "Replace", "pattern": {"String": "e"}, "content": e(1000)});
    let cases = [
        (
            "prefix",
            "model",
            json!({"type": "BPE", "continuing_subword_prefix": "##", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}),
            "panicked",
        ),
        (
            "template",
            "post_processor",
            json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[NOPE]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {}}),
            "panicked",
        ),
        (
            "huge",
            "normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "/////wAAAAA="}),
            "character map",
        ),
        (
            "half",
            "normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "AAAAgAAAAAA="}),
            "character map",
        ),
        (
            "grows",
            "normalizer",
            json!({"type": "Sequence", "normalizers": [replace, replace, replace]}),
            "normalizer",
        ),
    ];
    for (name, key, value, want) in &cases {
        let file = format!("{name}/tokenizer.json");
        place.write(&file, place.read("eos/tokenizer.json"));
        edit(&place, &file, json!({ *key: value }));
        for other in ["config.json", "model.safetensors"] {
            place.write(&format!("{name}/{other}"), place.read(&format!("eos/{other}")));
        }
        rows.push((format!("eval --model {name} --data text.txt"), [file.clone(), (*want).to_owned()]));
        rows.push((
            format!("train --model tiny --tokenizer {file} --data text.txt --out new"),
            [file, (*want).to_owned()],
        ));
    }
    let named: Vec<[&str; 2]> = rows.iter().map(|(_, [file, want])| [file.as_str(), want.as_str()]).collect();
    let rows: Vec<Row<'_>> =
        rows.iter().zip(&named).map(|((args, _), named)| (args.as_str(), &named[..], "tokenizer")).collect();
    each_is_refused(&place, &rows, |_, outcome| {
        outcome.stderr.contains("stack backtrace").then(|| "a panic is printed".to_owned())
    });
}

#[test]
fn sizes_that_no_memory_holds_are_refused_by_name() {
    let place = Place::new();
    let huge = [
        "seq = 1048576",
        "vocab = 4294967295",
        "head_dim = 1048576",
        "layers = 1048576",
        "heads = 1048576",
        "seq = 4294967296",
        "hidden = 9223372036854775807",
    ];
    for (i, line) in huge.iter().enumerate() {
        place.write(&format!("{i}.toml"), format!("preset = \"tiny\"\n{line}\n"));
    }
    place.write("attention.toml", "preset = \"tiny\"\nseq = 524288\nheads = 4\n");
    let commands: Vec<(String, &str)> = (0..huge.len())
        .map(|i| (format!("train --model {i}.toml --data text.txt --out new"), ""))
        .chain([
            ("train --model attention.toml --data text.txt --out new".to_owned(), "`seq`"),
            ("train --model tiny --seq 1048576 --data text.txt --out new".to_owned(), "`seq`"),
            ("kernels --model 0.toml".to_owned(), "`seq`"),
            ("kernels --model 2.toml".to_owned(), "`head_dim`"),
            ("kernels --model attention.toml --emit new".to_owned(), "`seq`"),
            ("bench step --model 0.toml".to_owned(), "`seq`"),
        ])
        .collect();
    let rows: Vec<Row<'_>> = commands.iter().map(|(args, hint)| (args.as_str(), &[][..], *hint)).collect();
    each_is_refused(&place, &rows, |_, _| None);
}

#[test]
fn gradients_do_not_replace_what_they_are_computed_from() {
    let place = Place::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    place.write("m.bin", fs::read(fixtures.join("stories260K.bin")).expect("a model"));
    let header = br#"{"tokens":{"dtype":"I32","shape":[1,4],"data_offsets":[0,16]}}"#;
    let tokens = [&(header.len() as u64).to_le_bytes()[..], header, &[1, 0, 0, 0].repeat(4)].concat();
    place.write("t.safetensors", &tokens);
    for out in ["m.bin", "t.safetensors"] {
        let before = place.read(out);
        let refused = place.run(&format!("grads --model m.bin --tokens t.safetensors --out {out}"));
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(
            refused.stderr.contains(&format!("`{out}` is an input and cannot be the output too")),
            "{}",
            refused.stderr
        );
        assert!(place.read(out) == before);
    }
    place.succeed("grads --model m.bin --tokens t.safetensors --out g.safetensors");
}
