//! Tests of damaged, foreign and leftover files: errors name each, and a run resumes from an undamaged checkpoint.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use super::*;
use crate::config::{ModelConfig, init_params};
use crate::error::TrainError;
use crate::formats::load_model;
use crate::fs::{AtomicFile, RunLock, write_atomically};

/// A model whose two layers have the same shapes.
fn small() -> ModelConfig {
    ModelConfig {
        dim: 8,
        hidden: 12,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 4,
        vocab: 10,
        ..ModelConfig::preset("tiny").unwrap()
    }
}

fn state(step: u64) -> TrainState {
    TrainState {
        step,
        seed: 42,
        loss_scale: 256.0,
        good_steps: 3,
        idle_steps: None,
        tokens_seen: 64 * step,
        last_val: None,
        best_val: None,
        data: None,
        settings: json!({ "steps": 400 }),
        launch: Launch::default(),
        measured: true,
    }
}

/// A run with checkpoints of steps 100 and 200.
fn run() -> (TempDir, RunFolder) {
    let dir = tempdir().unwrap();
    let run = RunFolder::create(&dir.path().join("run")).unwrap();
    for step in [100, 200] {
        let [params, m, v] = [0, 1, 2].map(|i| init_params(&small(), 10 * step + i));
        let state = state(step);
        run.save(&small(), Snapshot { state: &state, params: &params, average: None, m: &m, v: &v }).unwrap();
    }
    (dir, run)
}

fn checkpoint(run: &RunFolder, step: u64) -> PathBuf {
    run.dir().join(format!("checkpoints/step-{step:08}.safetensors"))
}

/// The parts of a safetensors file.
struct Parts {
    header: Value,
    data: Vec<u8>,
}

impl Parts {
    fn of(path: &Path) -> Parts {
        let bytes = fs::read(path).unwrap();
        let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
        Parts { header: serde_json::from_slice(header).unwrap(), data: data.to_vec() }
    }

    fn write(&self, path: &Path) {
        let header = serde_json::to_vec(&self.header).unwrap();
        let length = (header.len() as u64).to_le_bytes();
        fs::write(path, [&length[..], &header, &self.data].concat()).unwrap();
    }

    /// The byte range of a tensor.
    fn range(&self, name: &str) -> std::ops::Range<usize> {
        let at = |i: usize| self.header[name]["data_offsets"][i].as_u64().unwrap() as usize;
        at(0)..at(1)
    }

    /// A tensor's bytes.
    fn bytes(&mut self, name: &str) -> &mut [u8] {
        let range = self.range(name);
        &mut self.data[range]
    }

    fn swap(&mut self, a: &str, b: &str) {
        let (x, y) = (self.header[a].take(), self.header[b].take());
        (self.header[a], self.header[b]) = (y, x);
    }

    /// Edits the checksums' own entry.
    fn edit_sums(&mut self, edit: impl FnOnce(&mut Value)) {
        let text = self.header["__metadata__"][crate::fs::CHECKSUMS_KEY].as_str().unwrap();
        let mut sums = serde_json::from_str(text).unwrap();
        edit(&mut sums);
        self.header["__metadata__"][crate::fs::CHECKSUMS_KEY] = sums.to_string().into();
    }
}

/// Either of the two: both are in the wrong place.
const Q: &str = "self_attn.q_proj.weight` is damaged";
const Q0: &str = "param.model.layers.0.self_attn.q_proj.weight";
const Q1: &str = "param.model.layers.1.self_attn.q_proj.weight";
const M: &str = "adamw.m.model.layers.1.mlp.up_proj.weight";
const V: &str = "adamw.v.model.norm.weight";

/// The damage in words; what the error must name besides the file; the damage as code.
type Damage = (&'static str, &'static str, fn(&mut Parts, &Parts));

/// The second file is of another step.
const DAMAGES: [Damage; 19] = [
    ("a flipped bit", Q1, |f, _| f.bytes(Q1)[5] ^= 0x10),
    ("the lowest bit of the last number", V, |f, _| f.bytes(V)[28] ^= 1),
    ("zeros", M, |f, _| f.bytes(M)[64..128].fill(0)),
    ("a tensor of zeros", Q0, |f, _| f.bytes(Q0).fill(0)),
    ("two names that changed places", Q, |f, _| f.swap(Q0, Q1)),
    ("names and checksums that changed places", Q, |f, _| {
        f.swap(Q0, Q1);
        f.edit_sums(|sums| {
            let tensors = &mut sums["xxh3"]["tensors"];
            let (x, y) = (tensors[Q0].take(), tensors[Q1].take());
            (tensors[Q0], tensors[Q1]) = (y, x);
        });
    }),
    ("two tensors that changed places", Q, |f, _| {
        let (a, b) = (f.range(Q0), f.range(Q1));
        let first = f.data[a.clone()].to_vec();
        f.data.copy_within(b.clone(), a.start);
        f.data[b].copy_from_slice(&first);
    }),
    ("weights of another step", Q1, |f, other| {
        let range = f.range(Q1);
        f.data[range.clone()].copy_from_slice(&other.data[range]);
    }),
    ("moments of another step", M, |f, other| {
        let range = f.range(M);
        f.data[range.clone()].copy_from_slice(&other.data[range]);
    }),
    ("all numbers of another step", "param.model.embed_tokens.weight", |f, other| {
        f.data.clone_from(&other.data)
    }),
    ("the state of another step", "training state", |f, other| {
        f.header["__metadata__"]["backpropane.checkpoint"] =
            other.header["__metadata__"]["backpropane.checkpoint"].clone();
    }),
    ("all of another step", "it holds the state of step 100", |f, other| {
        f.header = other.header.clone();
        f.data.clone_from(&other.data);
    }),
    ("a learning state edited by hand", "training state", |f, _| {
        let text = f.header["__metadata__"]["backpropane.checkpoint"].as_str().unwrap();
        f.header["__metadata__"]["backpropane.checkpoint"] =
            text.replace("\"tokens_seen\":12800", "\"tokens_seen\":12801").into();
    }),
    ("a shape that is as large", "param.model.embed_tokens.weight", |f, _| {
        f.header["param.model.embed_tokens.weight"]["shape"] = json!([8, 10]);
    }),
    ("a number format that is as large", Q0, |f, _| f.header[Q0]["dtype"] = "I32".into()),
    ("a checksum that is not the tensor's", V, |f, _| {
        f.edit_sums(|sums| sums["xxh3"]["tensors"][V] = "0000000000000001".into());
    }),
    ("no checksums", "checksums are missing", |f, _| {
        f.header["__metadata__"].as_object_mut().unwrap().remove(crate::fs::CHECKSUMS_KEY);
    }),
    ("checksums under another name", "backpropane.checksum", |f, _| {
        let metadata = f.header["__metadata__"].as_object_mut().unwrap();
        let sums = metadata.remove(crate::fs::CHECKSUMS_KEY).unwrap();
        metadata.insert("backpropane.checksumt".to_owned(), sums);
    }),
    ("a cut", "its tensors end at byte", |f, _| f.data.truncate(f.data.len() - 100)),
];

#[test]
fn each_damage_is_named_and_the_checkpoint_before_is_taken() {
    for (what, named, damage) in DAMAGES {
        let (_dir, run) = run();
        let (path, older) = (checkpoint(&run, 200), checkpoint(&run, 100));
        let mut parts = Parts::of(&path);
        damage(&mut parts, &Parts::of(&older));
        parts.write(&path);
        let (found, passed_over) = run.load_newest(&small()).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(found.state.step, 100, "{what}");
        assert_eq!(found.params, init_params(&small(), 1000), "{what}");
        let said: Vec<String> = passed_over.iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 1, "{what}: {said:?}");
        assert!(
            said[0].contains("step-00000200.safetensors`") && said[0].contains(named),
            "{what}: {said:?}"
        );
        // Without one before it, the error is that of the newest.
        fs::remove_file(older).unwrap();
        let error = run.load_newest(&small()).unwrap_err().to_string();
        assert_eq!(error, said[0], "{what}");
    }
}

#[test]
fn damages_of_a_model_are_named() {
    let (_dir, run) = run();
    let whole = fs::read(run.model()).unwrap();
    let q = |layer: u32| format!("model.layers.{layer}.self_attn.q_proj.weight");
    let refusal = |edit: &dyn Fn(&mut Parts)| {
        fs::write(run.model(), &whole).unwrap();
        let mut parts = Parts::of(&run.model());
        edit(&mut parts);
        parts.write(&run.model());
        let error = load_model(&run.model(), &small()).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        error.to_string()
    };
    let says = |error: String, what: &str| {
        assert!(error.contains("model.safetensors`") && error.contains(what), "{error}");
    };
    says(refusal(&|f| f.bytes(&q(0))[0] ^= 1), &q(0));
    says(refusal(&|f| f.bytes("model.norm.weight").fill(0)), "model.norm.weight");
    says(refusal(&|f| f.swap(&q(0), &q(1))), Q);
    says(refusal(&|f| f.header["__metadata__"]["format"] = "tf".into()), "header");
}

/// Flips every bit of a file in turn: a file that still loads has the content that was written.
#[test]
fn no_flipped_bit_goes_unnoticed() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("c.safetensors");
    let config = ModelConfig { dim: 2, hidden: 2, layers: 1, heads: 1, head_dim: 2, vocab: 2, ..small() };
    let params = init_params(&config, 1);
    let before = state(1);
    save_checkpoint(
        &path,
        &config,
        Snapshot { state: &before, params: &params, average: None, m: &params, v: &params },
    )
    .unwrap();
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, damaged).unwrap();
        if let Ok(read) = load_checkpoint(&path, &config) {
            // Flips in padding, or between a letter's two cases, do not change the content.
            assert_eq!((&read.state, &read.params), (&before, &params), "byte {at}");
            assert_eq!((&read.m, &read.v), (&params, &params), "byte {at}");
        }
    }
}

/// Files of other programs have no checksums, but their content is checked.
#[test]
fn numbers_that_are_not_finite_are_named_with_their_count() {
    let (_dir, run) = run();
    let mut parts = Parts::of(&run.model());
    parts.header["__metadata__"].as_object_mut().unwrap().remove(crate::fs::CHECKSUMS_KEY);
    parts.write(&run.model());
    let whole = load_model(&run.model(), &small()).unwrap();
    let norm = parts.range("model.layers.1.input_layernorm.weight");
    for (bad, at) in [(f32::NAN, 0), (f32::INFINITY, 3), (f32::NEG_INFINITY, 7)] {
        let place = norm.start + 4 * at;
        let kept = parts.data[place..place + 4].to_vec();
        parts.data[place..place + 4].copy_from_slice(&bad.to_le_bytes());
        parts.write(&run.model());
        let error = load_model(&run.model(), &small()).unwrap_err();
        let want = format!(
            "`{}`: 1 of 8 numbers of tensor `model.layers.1.input_layernorm.weight` are not finite, the first at \
             index {at}",
            run.model().display()
        );
        assert_eq!(error.to_string(), want);
        parts.data[place..place + 4].copy_from_slice(&kept);
    }
    parts.write(&run.model());
    assert_eq!(load_model(&run.model(), &small()).unwrap(), whole);
}

#[test]
fn a_model_of_another_step_is_not_the_runs() {
    let (_dir, run) = run();
    let (old, new) = (init_params(&small(), 1000), init_params(&small(), 2000));
    assert!(run.has_model(&small(), &state(1), &new) && !run.has_model(&small(), &state(1), &old));
    let mut parts = Parts::of(&run.model());
    parts.data[7] ^= 1;
    parts.write(&run.model());
    assert!(!run.has_model(&small(), &state(1), &new), "it is damaged");
    fs::remove_file(run.model()).unwrap();
    assert!(!run.has_model(&small(), &state(1), &new), "it is gone");
}

#[test]
fn a_checkpoint_taken_back_gives_way_to_the_one_before() {
    let (_dir, run) = run();
    run.withdraw(150, &small()).unwrap();
    assert_eq!(run.newest().unwrap().unwrap().0, 200, "there is none of step 150");
    run.withdraw(200, &small()).unwrap();
    assert_eq!(run.newest().unwrap().unwrap().0, 100);
    assert!(run.has_model(&small(), &state(1), &init_params(&small(), 1000)));
    run.withdraw(100, &small()).unwrap();
    assert_eq!(run.newest().unwrap().unwrap().0, 100, "the only one stays");
}

#[test]
fn what_interrupted_writes_left_is_removed_and_nothing_else() {
    let (_dir, run) = run();
    let make = |name: &str| fs::write(run.dir().join(name), "half").unwrap();
    let ours = [
        "model.safetensors.tmp",
        "model.safetensors.tmpA1b2C3",
        "metrics.jsonl.tmp000000",
        "checkpoints/step-00000300.safetensors.tmpZZZZZZ",
        "checkpoints/step-00000300.safetensors.tmp",
    ];
    let others = [
        "notes.txt.tmp",
        "model.safetensors.tmpA1b2",
        "novel.json.tmpA1b2C3",
        "checkpoints/mine.tmp",
        ".tmp",
    ];
    ours.iter().chain(&others).for_each(|name| make(name));
    run.clean().unwrap();
    assert!(ours.iter().all(|name| !run.dir().join(name).exists()));
    assert!(others.iter().all(|name| run.dir().join(name).exists()));
}

#[test]
fn a_write_that_is_given_up_leaves_the_earlier_file() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("config.json");
    write_atomically(&path, b"first").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    file.write(b"second").unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "it is written beside the earlier one");
    drop(file);
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    // The folder goes while the file is written.
    let folder = dir.path().join("gone");
    fs::create_dir(&folder).unwrap();
    let file = AtomicFile::create(&folder.join("x")).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let error = file.commit().unwrap_err();
    assert!(
        error.to_string().starts_with("cannot write `") && error.to_string().contains("gone/x`"),
        "{error}"
    );
    let error = write_atomically(&folder.join("x"), b"").unwrap_err();
    assert!(error.to_string().starts_with("cannot create `"), "{error}");
}

#[cfg(unix)]
#[test]
fn no_write_follows_a_link() {
    use std::os::unix::fs::{MetadataExt, symlink};
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("victim"), "precious").unwrap();
    fs::create_dir(at("folder")).unwrap();
    // The temporary name of an earlier version; the file itself; a link to nowhere.
    symlink("victim", at("model.safetensors.tmp")).unwrap();
    symlink("victim", at("model.safetensors")).unwrap();
    symlink("nowhere", at("config.json")).unwrap();
    for name in ["model.safetensors", "config.json"] {
        write_atomically(&at(name), b"new").unwrap();
        assert!(at(name).symlink_metadata().unwrap().is_file(), "{name}");
        assert_eq!(fs::read(at(name)).unwrap(), b"new");
    }
    assert_eq!(fs::read(at("victim")).unwrap(), b"precious");
    assert!(!at("nowhere").exists());
    // Everybody who may read a new file may read these.
    fs::write(at("plain"), "").unwrap();
    let mode = |name: &str| fs::metadata(at(name)).unwrap().mode();
    assert_eq!(mode("config.json"), mode("plain"));
    // A link to a folder is no file to be replaced.
    symlink("folder", at("loss.svg")).unwrap();
    let error = write_atomically(&at("loss.svg"), b"new").unwrap_err();
    assert!(error.to_string().contains("not a regular file"), "{error}");
}

#[test]
fn a_folder_has_one_process() {
    let dir = tempdir().unwrap();
    let first = RunLock::take(dir.path()).unwrap().expect("it is free");
    assert!(RunLock::take(dir.path()).unwrap().is_none(), "it is taken");
    drop(first);
    assert!(RunLock::take(dir.path()).unwrap().is_some(), "it is free again");
    #[cfg(unix)]
    {
        fs::remove_file(dir.path().join(".lock")).unwrap();
        std::os::unix::fs::symlink("elsewhere", dir.path().join(".lock")).unwrap();
        let error = RunLock::take(dir.path()).unwrap_err();
        assert!(matches!(error, TrainError::Link { .. }), "{error}");
        assert!(!dir.path().join("elsewhere").exists());
    }
}
