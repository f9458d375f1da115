//! Models in several files.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

const SHARDS: [&str; 3] = [
    "model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors",
    "model-00003-of-00003.safetensors",
];

/// Folder `f` and `m.gguf` of the same model, each in three files.
fn several() -> (TempDir, Vec<f32>) {
    let dir = tempdir().unwrap();
    let whole = dir.path().join("whole");
    fs::create_dir(&whole).unwrap();
    let (config, params) = (small(), init_params(&small(), 5));
    fs::write(whole.join(CONFIG), config.to_hugging_face()).unwrap();
    save_model(&whole.join(WEIGHTS), &config, &params).unwrap();
    let third = Some(4 * params.len() as u64 / 3 + 400);
    for (to, out) in [(Target::HuggingFace, "f"), (Target::Gguf, "m.gguf")] {
        let options = ExportOptions { to, dtype: WeightType::F32, shard_size: third, tokenizer: None };
        let files = export(&whole, &dir.path().join(out), &options).unwrap().files;
        let parts = files.iter().filter(|f| f.to_string_lossy().contains("-of-00003")).count();
        assert_eq!(parts, 3, "{files:?}");
    }
    (dir, params)
}

#[test]
fn a_model_in_several_files_is_the_same_model() {
    let (dir, params) = several();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("only")).unwrap();
    for n in 1..=3 {
        let name = format!("m-{n:05}-of-00003.gguf");
        fs::copy(at(&name), at("only").join(&name)).unwrap();
    }
    // Any part stands for the model, and a folder for the only model in it.
    for name in ["f", "m-00001-of-00003.gguf", "m-00003-of-00003.gguf", "only"] {
        let model = open_model(&at(name), None).unwrap();
        assert_eq!(bits(&model.params), bits(&params), "{name}");
        assert!(find(&at(name).to_string_lossy()).unwrap().1.has_weights(&at(name)).unwrap());
    }
    let index: Value = serde_json::from_slice(&fs::read(at("f").join(INDEX)).unwrap()).unwrap();
    assert_eq!(index["metadata"]["total_size"], 4 * params.len());
    // Number formats may be mixed, as in other programs' files.
    let first = at("f").join(SHARDS[0]);
    let file = TensorFile::open(&first).unwrap();
    let specs = small().params();
    let halves: Vec<ForeignTensor> = file
        .names()
        .into_iter()
        .map(|name| {
            let spec = specs.iter().find(|spec| spec.name == name).unwrap();
            let data = params[spec.range()].iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
            (name, Dtype::BF16, spec.shape.clone(), data)
        })
        .collect();
    write_foreign(&first, &halves);
    let model = open_model(&at("f"), None).unwrap();
    let rounded = |spec: &crate::config::ParamSpec| halves.iter().any(|half| half.0 == spec.name);
    for spec in &specs {
        let want =
            params[spec.range()].iter().map(|&x| if rounded(spec) { bf16::from_f32(x).to_f32() } else { x });
        assert_eq!(model.params[spec.range()], want.collect::<Vec<_>>(), "{}", spec.name);
    }
}

/// What is said of the model at `name` after `change`.
fn refusal(name: &str, change: impl FnOnce(&Path)) -> String {
    let (dir, _) = several();
    change(dir.path());
    let error = open_model(&dir.path().join(name), None).unwrap_err();
    assert!(error.hint().is_some(), "{error}");
    error.to_string().replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn a_broken_index_is_refused_with_the_reason() {
    let index = |edit: &dyn Fn(&mut BTreeMap<String, Value>)| {
        refusal("f", |dir| {
            let path = dir.join("f").join(INDEX);
            let mut all: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let mut map: BTreeMap<String, Value> = serde_json::from_value(all["weight_map"].clone()).unwrap();
            edit(&mut map);
            all["weight_map"] = json!(map);
            fs::write(path, all.to_string()).unwrap();
        })
    };
    let text = |text: &str| refusal("f", |dir| fs::write(dir.join("f").join(INDEX), text).unwrap());
    let norm = "model.norm.weight".to_owned();
    let said = "`f/model.safetensors.index.json` is not a complete safetensors index file: ";
    let rows = [
        (text("{"), "EOF while parsing an object at line 1 column 1"),
        (text("{}"), "missing field `weight_map` at line 1 column 2"),
        (text("{\"weight_map\": {}}"), "its `weight_map` is empty"),
        (text("{\"weight_map\": 7}"), "invalid type: integer `7`, expected a map at line 1 column 16"),
        (
            index(&|map| _ = map.insert(norm.clone(), json!("../whole/model.safetensors"))),
            "it says that tensor `model.norm.weight` is in `../whole/model.safetensors`, which is no file of its folder",
        ),
        (
            text("{\"weight_map\": {\"model.norm.weight\": 3}}"),
            "invalid type: integer `3`, expected a string at line 1 column 38",
        ),
        (
            index(&|map| _ = map.insert(norm.clone(), json!(SHARDS[0]))),
            "it says that tensor `model.norm.weight` is in `model-00001-of-00003.safetensors`, where it is not",
        ),
        (
            index(&|map| _ = map.insert(norm.clone(), json!("other.safetensors"))),
            "it names `other.safetensors`, which is not there",
        ),
        (
            refusal("f", |dir| fs::remove_file(dir.join("f").join(SHARDS[1])).unwrap()),
            "it names `model-00002-of-00003.safetensors`, which is not there",
        ),
        (
            refusal("f", |dir| {
                let at = |shard: usize| dir.join("f").join(SHARDS[shard]);
                fs::copy(at(0), at(2)).map(drop).unwrap();
            }),
            "tensor `model.embed_tokens.weight` is in `model-00001-of-00003.safetensors` and in `model-00003-of-00003.safetensors`",
        ),
    ];
    for (got, want) in rows {
        assert_eq!(got, format!("{said}{want}"));
    }
    let got = refusal("f", |dir| {
        let path = dir.join("f").join(SHARDS[1]);
        let bytes = fs::read(&path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    });
    assert!(
        got.starts_with("`f/model-00002-of-00003.safetensors` is not a complete safetensors file"),
        "{got}"
    );
}

#[test]
fn parts_of_a_gguf_file_that_do_not_belong_together_are_refused() {
    let part = |n: usize| format!("m-{n:05}-of-00003.gguf");
    let said = |n: usize| format!("`{}` is not a complete GGUF file: ", part(n));
    let first = part(1);
    let rows = [
        (
            refusal(&first, |dir| fs::remove_file(dir.join(part(3))).unwrap()),
            said(1) + "it is one of 3 parts, and `m-00003-of-00003.gguf` is not there",
        ),
        (
            refusal("m.gguf", |dir| fs::rename(dir.join(part(1)), dir.join("m.gguf")).unwrap()),
            "`m.gguf` is not a complete GGUF file: it is one of 3 parts, and its name does not end in `-00001-of-00003.gguf`, so the others cannot be found".to_owned(),
        ),
        (
            refusal(&first, |dir| fs::copy(dir.join(part(2)), dir.join(part(3))).map(drop).unwrap()),
            said(3) + "`split.no` is 1, by its name it is 2",
        ),
        (
            refusal("two", |dir| {
                fs::create_dir(dir.join("two")).unwrap();
                for name in ["a.gguf", "b.gguf"] {
                    fs::copy(dir.join(part(1)), dir.join("two").join(name)).unwrap();
                }
            }),
            "`two` is no single model: it is a folder with 2 GGUF files: `a.gguf`, `b.gguf`".to_owned(),
        ),
    ];
    for (got, want) in rows {
        assert_eq!(got, want);
    }
}
