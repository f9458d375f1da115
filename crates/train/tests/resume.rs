//! Runs that were stopped, damaged, or taken from under their feet: what is good is kept, and they go on with it.
#![expect(clippy::result_large_err, reason = "tests hand errors on as the library has them")]

use std::fs;
use std::path::Path;
use train::checkpoint::{Checkpoint, RunFolder, Snapshot, load_checkpoint, save_checkpoint};
use train::config::ModelConfig;
use train::error::TrainError;
use train::formats::load_model;
use train::optim::LossScale;
use train::run::{Metrics, Notice, OptimizerKind, Options, Overrides, Run, RunError, Saved, ScheduleKind};

mod small_run;
use small_run::Place;

/// 4000 tokens below 64.
fn tokens() -> Vec<u8> {
    let mut x = 1u64;
    let token = |i: u64| {
        x = (x * 1_103_515_245 + 12_345) & 0x7fff_ffff;
        (((x >> 16) % 8 + i) % 64) as u16
    };
    (0..4000).map(token).flat_map(u16::to_le_bytes).collect()
}

fn open(options: &Options) -> Result<(Run, Vec<String>), RunError> {
    let mut warnings = Vec::new();
    let run = Run::open(options, &mut |notice| {
        if let Notice::Warning(line) = notice {
            warnings.push(line.to_owned());
        }
    })?;
    Ok((run, warnings))
}

/// Trains to the end, or to the error.
fn train(run: &mut Run) -> Result<(), RunError> {
    while !run.is_done() {
        run.step()?;
        if run.save_due() {
            run.save()?;
        }
    }
    run.save_last()
}

fn finish(options: &Options) -> Vec<String> {
    let (mut run, warnings) = open(options).expect("opens");
    train(&mut run).expect("it goes on");
    warnings
}

fn model(dir: &Path) -> Vec<u8> {
    fs::read(dir.join("model.safetensors")).expect("a model")
}

fn losses(dir: &Path) -> Vec<(u64, u64)> {
    let (steps, _) = Metrics::read(&dir.join("metrics.jsonl")).expect("metrics");
    steps.iter().map(|s| (s.step, s.loss.to_bits())).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry").path();
        let to = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            copy(&entry, &to);
        } else {
            fs::copy(&entry, &to).expect("copied");
        }
    }
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("a folder")
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Files without checksums, as the program wrote them before it knew any: commit c3b40ba, `train --model small.toml
/// --data d.bin --batch 2 --steps 12 --warmup 2 --save-every 6`, on x86_64 with AVX-512.
#[test]
fn a_checkpoint_of_format_1_goes_on() {
    let place = Place::new(&tokens(), 6);
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/format1");
    for run in ["old", "new"] {
        copy(&kept, &place.path(run));
        fs::remove_file(place.path(run).join("step-00000012.safetensors")).expect("it is there");
    }
    let config = ModelConfig::read(&kept.join("config.json")).expect("a configuration");
    let name = "checkpoints/step-00000006.safetensors";
    let read = |run: &str| -> Checkpoint {
        load_checkpoint(&place.path(run).join(name), &config).expect("it is read")
    };
    let old = read("old");
    assert_eq!((old.state.step, old.state.tokens_seen, old.state.measured), (6, 192, true));

    // The same in the form of today goes on with the same bits.
    let snapshot = Snapshot { state: &old.state, params: &old.params, average: None, m: &old.m, v: &old.v };
    save_checkpoint(&place.path("new").join(name), &config, snapshot).expect("saved");
    let new = read("new");
    let bits =
        |c: &Checkpoint| [&c.params, &c.m, &c.v].map(|x| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
    assert_eq!(bits(&old), bits(&new));
    for run in ["old", "new"] {
        // Nobody noted where the data are.
        let told = Options { data: Some(place.path("d.bin")), ..place.resumed(run) };
        assert_eq!(finish(&told), [""; 0]);
    }
    assert!(model(&place.path("old")) == model(&place.path("new")), "the weights differ");
    assert_eq!(losses(&place.path("old")), losses(&place.path("new")));

    // And as it went on then. Kernels may round otherwise on another processor or in another version: 1e-3 of the loss,
    // and the weights a tenth of the way that they go in a step.
    let (then, _) = Metrics::read(&kept.join("metrics.jsonl")).expect("metrics");
    for (now, then) in losses(&place.path("old")).into_iter().zip(&then) {
        let loss = f64::from_bits(now.1);
        assert!((loss - then.loss).abs() < 1e-3 * then.loss, "step {}: {loss}, then {}", now.0, then.loss);
    }
    let weights = |path: &Path| load_model(path, &config).expect("weights");
    let (now, then) = (
        weights(&place.path("old").join("model.safetensors")),
        weights(&kept.join("step-00000012.safetensors")),
    );
    let furthest = now.iter().zip(&then).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(furthest < 3e-4 * 6.0, "a weight is {furthest} away");
}

/// What a kill between the last checkpoint and the model leaves: here the model of the step before, none, half of one.
#[test]
fn a_model_that_is_not_of_the_last_step_is_written_again() {
    let place = Place::new(&tokens(), 6);
    finish(&place.options("whole"));
    let whole = model(&place.path("whole"));
    let stale = {
        finish(&Options {
            overrides: Overrides { steps: Some(6), ..place.options("six").overrides },
            ..place.options("six")
        });
        model(&place.path("six"))
    };
    for (name, left) in
        [("stale", Some(&stale[..])), ("none", None), ("half", Some(&whole[..whole.len() / 2]))]
    {
        copy(&place.path("whole"), &place.path(name));
        let path = place.path(name).join("model.safetensors");
        match left {
            Some(bytes) => fs::write(&path, bytes).expect("written"),
            None => fs::remove_file(&path).expect("removed"),
        }
        let (mut run, warnings) = open(&place.resumed(name)).expect("opens");
        assert!(run.is_done() && !run.is_saved(), "{name}");
        run.save_last().expect("saved");
        assert!(run.is_saved() && warnings.is_empty(), "{name}: {warnings:?}");
        assert!(model(&place.path(name)) == whole, "{name}: the weights differ");
    }
    let (run, _) = open(&place.resumed("whole")).expect("opens");
    assert!(run.is_done() && run.is_saved(), "nothing is missing");
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before_and_the_bits_stay() {
    let place = Place::new(&tokens(), 6);
    finish(&place.options("whole"));
    for (name, at) in [("weights", 0.9), ("state", 0.01), ("cut", 0.0)] {
        copy(&place.path("whole"), &place.path(name));
        let path = place.path(name).join("checkpoints/step-00000012.safetensors");
        let mut bytes = fs::read(&path).expect("a checkpoint");
        let place_of = (at * bytes.len() as f64) as usize;
        match name {
            "cut" => bytes.truncate(bytes.len() / 3),
            _ => bytes[place_of] ^= 2,
        }
        fs::write(&path, bytes).expect("written");
        let warnings = finish(&place.resumed(name));
        assert!(
            matches!(&warnings[..], [line] if line.contains("step-00000012") && line.ends_with("of step 6")),
            "{name}: {warnings:?}"
        );
        assert!(model(&place.path(name)) == model(&place.path("whole")), "{name}: the weights differ");
        assert_eq!(losses(&place.path(name)), losses(&place.path("whole")), "{name}");
    }
}

#[test]
fn a_resumed_run_of_muon_keeps_its_bits_and_its_optimizer() {
    let place = Place::new(&tokens(), 6);
    let mut options = place.options("whole");
    options.overrides.optimizer = Some(OptimizerKind::Muon);
    options.overrides.schedule = Some(ScheduleKind::Linear);
    finish(&options);
    let (mut run, _) = open(&Options { out: place.path("halves"), ..options }).expect("opens");
    while run.step_count() < 6 {
        run.step().expect("a step");
    }
    run.save_last().expect("saved");
    drop(run);

    // One moment of what Muon updates, two of all else.
    let checkpoint = place.path("halves/checkpoints/step-00000006.safetensors");
    let names = train::fs::TensorFile::open(&checkpoint).expect("a checkpoint").names();
    let of = |prefix: &str| names.iter().filter(|name| name.starts_with(prefix)).count();
    assert_eq!(of("adamw.m.") - of("adamw.v."), 2 * 7, "{names:?}");

    let mut other = place.resumed("halves");
    other.overrides.optimizer = Some(OptimizerKind::AdamW);
    let error = open(&other).expect_err("its moments are Muon's");
    assert!(matches!(error, RunError::OtherOptimizer { want: "muon", got: "adamw", .. }), "{error}");
    assert!(error.is_input() && error.hint().is_some_and(|hint| hint.contains("--optimizer")), "{error}");

    finish(&place.resumed("halves"));
    assert!(model(&place.path("halves")) == model(&place.path("whole")), "the weights differ");
    assert_eq!(losses(&place.path("halves")), losses(&place.path("whole")));
}

/// A learning rate, a loss scale and a start that no training survives.
#[test]
fn a_training_that_diverges_leaves_the_last_good_checkpoint() {
    let place = Place::new(&tokens(), 6);
    finish(&place.options("good"));
    let good = model(&place.path("good"));
    let given = |f: fn(&mut Overrides)| {
        let mut given = Overrides {
            steps: Some(60),
            save_every: Some(1),
            warmup: Some(0),
            schedule: Some(ScheduleKind::Constant),
            ..Overrides::default()
        };
        f(&mut given);
        given
    };
    for (name, overrides) in [
        ("rate", given(|o| o.lr = Some(1e5))),
        ("rate beyond f32", given(|o| o.lr = Some(1e30))),
        ("scale", given(|o| o.loss_scale = Some(LossScale::Fixed(1e36)))),
    ] {
        copy(&place.path("good"), &place.path(name));
        let (mut run, _) = open(&Options { overrides, ..place.resumed(name) }).expect("opens");
        let error = train(&mut run).expect_err("it diverges");
        let saved = error.diverged().unwrap_or_else(|| panic!("{name}: {error}")).expect("a checkpoint");
        assert!(!error.is_input() && error.to_string().contains("is kept"), "{name}: {error}");
        drop(run);
        // Whatever was saved on the way: it is whole, and a step with it is finite.
        let folder = RunFolder::at(&place.path(name));
        let config = ModelConfig::read(&folder.config()).expect("a configuration");
        let (checkpoint, damaged) = folder.load_newest(&config).expect("a checkpoint");
        assert_eq!((checkpoint.state.step, damaged.len()), (saved, 0), "{name}");
        assert!(folder.has_model(&config, &checkpoint.state, &checkpoint.params), "{name}");
        if saved == 12 {
            assert!(model(&place.path(name)) == good, "{name}: the model has changed");
        }
        let calm =
            given(|o| (o.lr, o.loss_scale, o.steps) = (Some(1e-4), Some(LossScale::Fixed(256.0)), Some(14)));
        let (mut run, _) = open(&Options { overrides: calm, ..place.resumed(name) }).expect("opens");
        let record = run.step().expect("a step");
        assert!(!record.skipped && record.loss.is_finite(), "{name}: {record:?}");
    }
}

#[test]
fn a_run_that_diverges_at_once_says_that_nothing_was_saved() {
    let place = Place::new(&tokens(), 6);
    let mut options = place.options("run");
    options.overrides.loss_scale = Some(LossScale::Fixed(1e36));
    options.overrides.save_every = Some(1);
    let (mut run, _) = open(&options).expect("opens");
    assert!(run.step().expect("a step").skipped);
    assert!(matches!(run.save().expect("withheld"), Saved::Withheld(_)));
    let error = run.save_last().expect_err("withheld");
    assert_eq!(error.diverged(), Some(None), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("Start again")), "{error}");
    assert_eq!(files(&place.path("run/checkpoints")), [""; 0]);
    assert!(!place.path("run/model.safetensors").exists());
    drop(run);
    // The folder is free for another try.
    finish(&Options { overrides: Overrides { loss_scale: None, ..options.overrides.clone() }, ..options });
}

/// Only a file that is not what was written is passed over: what cannot be read now may be whole.
#[test]
fn a_checkpoint_that_cannot_be_read_is_neither_passed_over_nor_removed() {
    let place = Place::new(&tokens(), 6);
    finish(&place.options("run"));
    let newest = files(&place.path("run/checkpoints")).pop().expect("a checkpoint");
    let newest = place.path("run/checkpoints").join(newest);
    fs::remove_file(&newest).expect("removed");
    fs::create_dir(&newest).expect("a folder");
    let error = open(&place.resumed("run")).expect_err("it cannot be read");
    assert!(error.to_string().contains(&newest.display().to_string()), "{error}");
    assert!(newest.is_dir() && files(&place.path("run/checkpoints")).len() == 2);
}

/// Where each step is the last of its process, weights are saved before a step has measured them.
#[test]
fn a_checkpoint_that_nobody_has_measured_is_taken_back_if_it_is_bad() {
    let place = Place::new(&tokens(), 6);
    let device = ane::DeviceOptions { compile_budget: Some(12), ..ane::DeviceKind::Soft.into() };
    let with = |options: Options| Options { device, ..options };
    let (mut run, _) = open(&with(place.options("run"))).expect("opens");
    run.step().expect("a step");
    run.save_last().expect("saved");
    assert!(run.exhausted().is_some());
    drop(run);
    let good = model(&place.path("run"));
    // Large enough to diverge, small enough for weights to fit into fp16.
    let wild = Overrides { lr: Some(3e4), warmup: Some(0), ..Overrides::default() };
    let (mut run, _) = open(&with(Options { overrides: wild, ..place.resumed("run") })).expect("opens");
    run.step().expect("a step");
    run.save_last().expect("finite weights are saved");
    drop(run);
    assert_eq!(files(&place.path("run/checkpoints")).len(), 2);
    let (mut run, _) = open(&with(place.resumed("run"))).expect("opens");
    let error = (0..20).find_map(|_| run.step().err()).expect("it diverges");
    assert_eq!(error.diverged(), Some(Some(1)), "{error}");
    assert_eq!(files(&place.path("run/checkpoints")), ["step-00000001.safetensors"]);
    assert!(model(&place.path("run")) == good, "the model is not that of step 1");
}

#[test]
fn a_folder_is_trained_in_by_one_process() {
    let place = Place::new(&tokens(), 6);
    let (mut first, _) = open(&place.options("run")).expect("opens");
    let busy = |options: &Options| {
        let error = open(options).expect_err("refused");
        assert!(matches!(&error, RunError::Busy { dir } if *dir == options.out), "{error}");
        assert!(error.is_input() && error.hint().is_some_and(|hint| hint.contains("--out")));
    };
    // Before anything is saved, and after.
    busy(&place.options("run"));
    first.step().expect("a step");
    first.save().expect("saved");
    busy(&place.resumed("run"));
    assert!(matches!(open(&place.options("run")), Err(RunError::Occupied { .. })));
    open(&place.options("other")).expect("another folder is free");
    drop(first);
    finish(&place.resumed("run"));
}

#[test]
fn a_run_knows_its_data_and_its_engine() {
    let place = Place::new(&tokens(), 6);
    let mut options = place.options("run");
    options.device.weights = ane::WeightMode::Dynamic;
    let (mut run, _) = open(&options).expect("opens");
    for _ in 0..3 {
        run.step().expect("a step");
    }
    run.save().expect("saved");
    drop(run);
    let mut resumed = place.resumed("run");
    resumed.device = ane::DeviceOptions::default();
    let (run, _) = open(&resumed).expect("opens");
    assert_eq!(
        (run.device().engine, run.has_dynamic_weights(), run.name()),
        (ane::Engine::Soft, true, "small")
    );
    drop(run);
    // Moved: the error names it and where to say so, and that is remembered too.
    fs::rename(place.path("d.bin"), place.path("moved.bin")).expect("renamed");
    let error = open(&resumed).expect_err("it is gone");
    let said = error.to_string();
    assert!(said.contains("d.bin") && error.hint().is_some_and(|h| h.contains("--data")), "{said}");
    let told = Options { data: Some(place.path("moved.bin")), ..place.resumed("run") };
    let (mut run, _) = open(&told).expect("opens");
    run.step().expect("a step");
    run.save().expect("saved");
    drop(run);
    finish(&resumed);
    let whole = Options { data: told.data, ..place.options("whole") };
    finish(&whole);
    assert!(model(&place.path("run")) == model(&place.path("whole")), "the weights differ");
}

#[test]
fn data_that_change_are_an_error() {
    let place = Place::new(&tokens(), 6);
    let (mut run, _) = open(&place.options("run")).expect("opens");
    for _ in 0..6 {
        run.step().expect("a step");
    }
    run.save().expect("saved");
    let (data, good) = (place.path("d.bin"), tokens());
    // While they are read: other tokens in the same file, which are as valid.
    fs::write(&data, [5, 0].repeat(good.len() / 2)).expect("written");
    let error = (0..2).find_map(|_| run.step().err()).expect("it is noticed");
    assert!(matches!(error, RunError::Train(TrainError::TokenFileChanged { .. })), "{error}");
    drop(run);
    // Between a run and its resumption: all, one bit, one token more.
    let mut bit = good.clone();
    bit[7777 - 1] ^= 1;
    for other in [[5, 0].repeat(good.len() / 2), bit, [&good[..], &[5, 0]].concat()] {
        fs::write(&data, other).expect("written");
        let error = open(&place.resumed("run")).expect_err("it is noticed");
        assert!(matches!(error, RunError::OtherData { .. }) && error.hint().is_some(), "{error}");
    }
    fs::write(&data, good).expect("written");
    finish(&place.resumed("run"));
    finish(&place.options("whole"));
    assert!(model(&place.path("run")) == model(&place.path("whole")), "the weights differ");
}

#[test]
fn files_that_are_no_runs_are_not_overwritten() {
    for file in ["config.json", "tokenizer.json", "merges.txt", "model.safetensors.index.json"] {
        let place = Place::new(&tokens(), 6);
        fs::create_dir(place.path("run")).expect("made");
        fs::write(place.path("run").join(file), "precious").expect("written");
        let error = open(&place.options("run")).expect_err("refused");
        assert!(matches!(&error, RunError::Foreign { file: named, .. } if named == file), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--out")));
        assert_eq!(files(&place.path("run")), [file]);
    }
    // Where a run was stopped before it saved anything, another begins.
    let place = Place::new(&tokens(), 6);
    drop(open(&place.options("run")).expect("opens"));
    finish(&place.options("run"));
}

#[cfg(unix)]
#[test]
fn metrics_are_not_written_through_a_link() {
    use std::os::unix::fs::symlink;
    let place = Place::new(&tokens(), 6);
    fs::write(place.path("victim"), "").expect("written");
    for (run, target) in [("a", "../victim"), ("b", "../nowhere")] {
        // A run that was stopped before its first checkpoint.
        fs::create_dir_all(place.path(run).join("checkpoints")).expect("made");
        symlink(target, place.path(run).join("metrics.jsonl")).expect("linked");
        let error = open(&place.options(run)).expect_err("refused");
        assert!(error.to_string().contains("metrics.jsonl` is a symbolic link"), "{error}");
    }
    assert_eq!(fs::read(place.path("victim")).expect("read"), b"");
    assert!(!place.path("nowhere").exists());
}
