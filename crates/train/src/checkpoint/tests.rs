use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;
use tempfile::tempdir;

use super::*;
use crate::config::{ModelConfig, init_params};
use crate::error::TrainError;
use crate::formats::{FolderMetadata, open_model, save_model};
use crate::testing::{bits, moments, small};

fn state(step: u64) -> TrainState {
    TrainState {
        step,
        seed: u64::MAX,
        loss_scale: 256.0,
        good_steps: 3,
        idle_steps: None,
        tokens_seen: 1 << 60,
        last_val: Some(2.0f64.sqrt()),
        best_val: None,
        data: Some(DataMark { tokens: 77, fingerprint: u64::MAX - 1, examples: None }),
        settings: json!({"lr": 0.1 + 0.2, "schedule": "cosine", "steps": 400}),
        launch: Launch { model: Some("tiny".to_owned()), ..Launch::default() },
        measured: true,
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn checkpoints_go_round_bit_for_bit() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("c.safetensors");
    let config = small();
    let (params, m, v) = (moments(&config, 1), moments(&config, 2), moments(&config, 3));
    let state = state(123);
    save_checkpoint(&path, &config, Snapshot { state: &state, params: &params, average: None, m: &m, v: &v })
        .unwrap();
    let loaded = load_checkpoint(&path, &config).unwrap();
    assert_eq!(loaded.state, state);
    assert_eq!(bits(&loaded.params), bits(&params));
    assert_eq!(bits(&loaded.m), bits(&m));
    assert_eq!(bits(&loaded.v), bits(&v));

    let other = ModelConfig { hidden: 13, ..config };
    let error = load_checkpoint(&path, &other).unwrap_err().to_string();
    let want = format!("`{}` belongs to a model with hidden = 12, this run has hidden = 13", path.display());
    assert_eq!(error, want);
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("c.safetensors");
    let config =
        ModelConfig { dim: 2, hidden: 2, layers: 1, heads: 1, kv_heads: 1, head_dim: 2, vocab: 2, ..small() };
    let params = init_params(&config, 1);
    let state = state(1);
    save_checkpoint(
        &path,
        &config,
        Snapshot { state: &state, params: &params, average: None, m: &params, v: &params },
    )
    .unwrap();
    let mut longer = fs::read(&path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for length in (0..longer.len()).rev() {
        file.set_len(length as u64).unwrap();
        let error = load_checkpoint(&path, &config).unwrap_err();
        assert!(
            matches!(error, TrainError::FileFormat { .. }),
            "{length} of {} bytes: {error}",
            longer.len()
        );
    }
    longer.push(0);
    fs::write(&path, &longer).unwrap();
    assert!(matches!(load_checkpoint(&path, &config), Err(TrainError::FileFormat { .. })));
}

#[test]
fn foreign_files_are_refused_with_what_is_wrong() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("f");
    let refusal = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = load_checkpoint(&path, &small()).unwrap_err();
        error.to_string().replace(&path.display().to_string(), "f")
    };
    assert_eq!(
        refusal(b"abc"),
        "`f` is not a complete safetensors file: it has 3 bytes, too few for a header"
    );
    assert_eq!(
        refusal(b"\x89PNG\r\n\x1a\n and an image"),
        "`f` is not a complete safetensors file: its header would have 727905341920923785 bytes, the file has 21"
    );
    assert_eq!(
        refusal(b"\x04\0\0\0\0\0\0\0[1] "),
        "`f` is not a complete safetensors file: its header cannot be read: invalid type: sequence, expected struct \
         HashMetadata at line 1 column 0"
    );
    let config = small();
    save_model(&path, &config, &init_params(&config, 1)).unwrap();
    let weights = fs::read(&path).unwrap();
    assert_eq!(refusal(&weights), "`f` is not a complete checkpoint file: it holds no training state");
}

#[test]
fn a_run_keeps_its_two_newest_checkpoints_and_resumes_from_the_last() {
    let dir = tempdir().unwrap();
    let run = RunFolder::create(&dir.path().join("a/run")).unwrap();
    let config = small();
    let error = run.load_newest(&config).unwrap_err();
    assert!(matches!(error, TrainError::NoCheckpoint { .. }), "{error}");
    run.save_metadata(&FolderMetadata::default(), &config, None).unwrap();

    let checkpoints = run.dir().join("checkpoints");
    // What a killed process leaves behind.
    fs::write(checkpoints.join("step-00000005.safetensors.tmp"), "half").unwrap();
    for step in [100, 200, 300] {
        let params = init_params(&config, step);
        let state = state(step);
        run.save(&config, Snapshot { state: &state, params: &params, average: None, m: &params, v: &params })
            .unwrap();
        let (newest, damaged) = run.load_newest(&config).unwrap();
        assert!(damaged.is_empty(), "{damaged:?}");
        assert_eq!((newest.state.step, newest.params), (step, params.clone()));
        assert_eq!(open_model(run.dir(), None).unwrap().params, params);
    }
    assert_eq!(names_in(&checkpoints), ["step-00000200.safetensors", "step-00000300.safetensors"]);
    assert_eq!(names_in(run.dir()), ["checkpoints", "config.json", "model.safetensors"]);

    // A new run in the same folder takes it over.
    let params = init_params(&config, 50);
    let state = state(50);
    run.save(&config, Snapshot { state: &state, params: &params, average: None, m: &params, v: &params })
        .unwrap();
    assert_eq!(names_in(&checkpoints), ["step-00000050.safetensors"]);
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_with_its_path() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    let error = RunFolder::create(&file).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot create `{}", file.display())), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

proptest! {
    #[test]
    fn a_damaged_header_is_refused_or_harmless_but_never_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let dir = tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        let config = small();
        let params = init_params(&config, 1);
        let state = state(1);
        save_checkpoint(&path, &config, Snapshot { state: &state, params: &params, average: None, m: &params, v: &params }).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        for (at, byte) in edits {
            bytes[at.index(header)] = byte;
        }
        fs::write(&path, &bytes).unwrap();
        // An edit inside a number of the state goes unnoticed; everything else is an error.
        let _ = load_checkpoint(&path, &config);
    }
}
