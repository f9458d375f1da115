//! Commands on the stand-in for the Neural Engine: `cargo xtask apple standin`.

use assert_cmd::Command;
use std::path::{Path, PathBuf};

/// The stand-ins, one folder each; `framework` is the whole one.
fn built() -> PathBuf {
    PathBuf::from(std::env::var_os("BACKPROPANE_STANDIN").expect("set by `cargo xtask apple standin`"))
}

/// The binary, with a variant of the stand-in.
fn backpropane(variant: &str) -> Command {
    let mut command = Command::cargo_bin("backpropane").expect("built");
    let libraries = format!("{}:{}", built().join(variant).display(), built().join("libraries").display());
    command.env("LD_LIBRARY_PATH", libraries).env("STANDIN_COMPILES", "100000");
    command
}

fn train(out: &Path, engine: &[&str]) -> Command {
    train_model(&["tiny", "--steps", "12"], out, engine)
}

fn train_model(model: &[&str], out: &Path, engine: &[&str]) -> Command {
    let mut command = backpropane("framework");
    command.args(["train", "--threads", "2", "--model"]).args(model).arg("--out").arg(out).args(engine);
    command
}

/// The losses of a run, to the bit.
fn losses(out: &Path) -> Vec<String> {
    let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).expect("metrics");
    let field = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        value.get("loss").map(ToString::to_string)
    };
    metrics.lines().filter_map(field).collect()
}

/// Trains on both engines; losses and weights must be the same to the bit. `count` is how many losses there are.
fn learns_the_same(model: &[&str], count: usize) {
    let dir = tempfile::tempdir().expect("folder");
    let (soft, ane) = (dir.path().join("soft"), dir.path().join("ane"));
    train_model(model, &soft, &["--device", "soft"]).assert().success();
    train_model(model, &ane, &["--device", "ane", "--compile-budget", "1000"]).assert().success();
    assert_eq!(losses(&soft).len(), count, "{:?}", losses(&soft));
    assert_eq!(losses(&soft), losses(&ane));
    let weights = |out: &Path| std::fs::read(out.join("model.safetensors")).expect("weights");
    assert!(weights(&soft) == weights(&ane), "the weights are the same to the bit");
}

#[test]
fn a_model_learns_as_on_the_software_engine() {
    learns_the_same(&["tiny", "--steps", "12"], 13); // with a validation
}

/// The layer of the large models, with windows of 64 tokens instead of 256.
#[test]
fn a_layer_of_width_768_learns_as_on_the_software_engine() {
    learns_the_same(&["layer768", "--seq", "64", "--steps", "4"], 5);
}

#[test]
fn a_process_that_compiled_enough_stops_before_the_engine_does() {
    let dir = tempfile::tempdir().expect("folder");
    let output = train(&dir.path().join("run"), &["--device", "ane"]).assert().code(1).get_output().clone();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("would be compiled program 101, this process may compile 100"), "{said}");
    assert!(said.contains("last checkpoint"), "{said}");
}

#[test]
fn a_changed_system_is_refused_by_the_name_of_what_changed() {
    for (variant, name) in [
        ("wrong-type", "-[_ANEInMemoryModel evaluateWithQoS:options:request:error:]"),
        ("no-method", "-[_ANEInMemoryModel unloadWithQoS:error:]"),
        ("no-class", "_ANERequest"),
    ] {
        let dir = tempfile::tempdir().expect("folder");
        let mut command = backpropane(variant);
        command.args(["train", "--model", "tiny", "--steps", "1", "--device", "ane", "--out"]);
        let output = command.arg(dir.path().join("run")).assert().code(1).get_output().clone();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(name), "{variant}: {said}");
    }
}

#[test]
fn doctor_tells_a_whole_system_from_a_changed_one() {
    let json = |variant: &str, code: i32| -> serde_json::Value {
        let output = backpropane(variant).args(["doctor", "--json"]).assert().code(code).get_output().clone();
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let whole = json("framework", 0);
    assert_eq!((&whole["healthy"], &whole["neural_engine"]), (&true.into(), &true.into()));
    assert!(whole["members"].as_array().is_some_and(|m| m.iter().all(|m| m["problem"].is_null())));
    let changed = json("wrong-type", 1);
    assert_eq!((&changed["healthy"], &changed["neural_engine"]), (&false.into(), &false.into()));
    let wrong = changed["members"].as_array().and_then(|m| m.iter().find(|m| !m["problem"].is_null()));
    let wrong = wrong.expect("a member that is wrong");
    assert_eq!(wrong["name"], "-[_ANEInMemoryModel evaluateWithQoS:options:request:error:]");
    assert!(wrong["problem"].as_str().is_some_and(|p| p.contains("argument at index 0")), "{wrong}");
    assert_eq!(changed["tried"]["engine"], "soft");
    let absent = json("no-class", 1);
    assert!(absent["problem"].as_str().is_some_and(|p| p.contains("_ANERequest")), "{absent}");
}

#[test]
fn doctor_says_which_trial_failed() {
    let mut command = backpropane("framework");
    let output =
        command.arg("doctor").env("STANDIN_FAULT", "evaluate=1").assert().code(1).get_output().clone();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("trial     product: FAILED") && said.contains("status=0x1d"), "{said}");
    assert!(said.contains("trial     weights: ok"), "{said}");
}

/// `tiny` has 12 kernels: 24 programs for one step, 36 for two; the header of a run says what computes.
#[test]
fn auto_takes_the_engine_that_survives_the_run() {
    for (variant, steps, engine) in [
        ("framework", "1", "stand-in for the Neural Engine h0: "),
        (
            "framework",
            "8",
            "software engine (this compiles 108 programs, on the Neural Engine a process can compile 100): ",
        ),
        ("no-class", "1", "software engine (no Neural Engine here: _ANERequest: there is no such class): "),
        (
            "wrong-type",
            "1",
            "software engine (this system's Neural Engine is not the one this version knows: ",
        ),
    ] {
        let dir = tempfile::tempdir().expect("folder");
        let mut command = backpropane(variant);
        command.args(["train", "--model", "tiny", "--steps", steps, "--out"]).arg(dir.path().join("run"));
        let output = command.assert().success().get_output().clone();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("engine   {engine}")), "{variant}, {steps}: {said}");
    }
}
