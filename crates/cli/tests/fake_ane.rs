//! Commands on the fake of the Neural Engine: `cargo xtask apple fake_ane`.

use assert_cmd::Command;
use std::path::{Path, PathBuf};

/// The fake engines, one folder each; `framework` is the whole one.
fn built() -> PathBuf {
    PathBuf::from(std::env::var_os("BACKPROPANE_FAKE_ANE").expect("set by `cargo xtask apple fake_ane`"))
}

/// The binary, with a variant of the fake engine.
fn backpropane(variant: &str) -> Command {
    let mut command = Command::cargo_bin("backpropane").expect("built");
    let libraries = format!("{}:{}", built().join(variant).display(), built().join("libraries").display());
    // No memory of what an engine took, unless a test names a folder.
    command.env("LD_LIBRARY_PATH", libraries).env("FAKE_ANE_COMPILES", "100000").env("BACKPROPANE_CACHE", "");
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

/// Trains on both engines, on the fake engine with baked and with dynamic weights; losses and weights must be the same to
/// the bit. `count` is how many losses there are.
fn learns_the_same(model: &[&str], count: usize) {
    let dir = tempfile::tempdir().expect("folder");
    let [soft, baked, dynamic] = ["soft", "baked", "dynamic"].map(|name| dir.path().join(name));
    train_model(model, &soft, &["--device", "soft"]).assert().success();
    let budget = ["--device", "ane", "--compile-budget"];
    train_model(model, &baked, &[&budget[..], &["1000", "--weights", "baked"]].concat()).assert().success();
    // Dynamic weights, the default: six programs in all.
    train_model(model, &dynamic, &[&budget[..], &["6"]].concat()).assert().success();
    assert_eq!(losses(&soft).len(), count, "{:?}", losses(&soft));
    let weights = |out: &Path| std::fs::read(out.join("model.safetensors")).expect("weights");
    for ane in [&baked, &dynamic] {
        assert_eq!(losses(&soft), losses(ane));
        assert!(weights(&soft) == weights(ane), "the weights are the same to the bit");
    }
}

#[test]
fn a_model_learns_as_on_the_software_engine() {
    learns_the_same(&["tiny", "--steps", "12"], 13); // with a validation
}

/// The layer of the large models, with windows of 512 tokens; each step computes with weights that the one before it
/// changed, and so does the validation.
#[test]
fn a_layer_of_width_768_learns_as_on_the_software_engine() {
    learns_the_same(&["layer768", "--seq", "512", "--steps", "2"], 3);
}

/// `tiny` has 12 kernels, of which 10 hold weights: with the budget of 100 a process takes 9 of the 12 steps.
#[test]
fn a_run_goes_on_in_new_processes_to_the_same_bits() {
    let dir = tempfile::tempdir().expect("folder");
    let (soft, ane) = (dir.path().join("soft"), dir.path().join("ane"));
    train(&soft, &["--device", "soft"]).assert().success();
    let output =
        train(&ane, &["--device", "ane", "--weights", "baked"]).assert().success().get_output().clone();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = "a new process every 9 steps: one may compile 100 programs, 12 at first and 10 a step";
    assert!(said.contains(line), "{said}");
    assert_eq!(losses(&soft), losses(&ane));
    let weights = |out: &Path| std::fs::read(out.join("model.safetensors")).expect("weights");
    assert!(weights(&soft) == weights(&ane), "the weights are the same to the bit");
}

/// An engine that refuses to compile before the budget ends, in the middle of an optimizer step: each process takes
/// two steps.
#[test]
fn a_compiler_that_refuses_early_means_a_new_process() {
    let dir = tempfile::tempdir().expect("folder");
    let (soft, ane) = (dir.path().join("soft"), dir.path().join("ane"));
    train(&soft, &["--device", "soft"]).assert().success();
    let output = train(&ane, &["--device", "ane", "--weights", "baked", "--json"])
        .env("FAKE_ANE_COMPILES", "27")
        .assert()
        .success()
        .get_output()
        .clone();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.matches("the run continues in a new process").count(), 1, "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&report["work"]["restarts"], &report["work"]["steps"]), (&6.into(), &12.into()));
    assert_eq!(losses(&soft), losses(&ane));
    let weights = |out: &Path| std::fs::read(out.join("model.safetensors")).expect("weights");
    assert!(weights(&soft) == weights(&ane), "the weights are the same to the bit");
}

/// The engine compiles nothing any more once there is a checkpoint: three new processes try.
#[test]
fn new_processes_that_cannot_compile_come_to_an_end() {
    let dir = tempfile::tempdir().expect("folder");
    let out = dir.path().join("run");
    let checkpoint = out.join("checkpoints/step-00000001.safetensors");
    let output = train(&out, &["--device", "ane", "--weights", "baked", "--compile-budget", "12"])
        .env("FAKE_ANE_FAULT", "compile=1000")
        .env("FAKE_ANE_FAULT_IF", &checkpoint)
        .assert()
        .code(1)
        .get_output()
        .clone();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("error: 3 new processes in a row could not go on after step 1: "), "{said}");
    assert!(said.contains("does not compile kernel `L0.") && said.contains("--resume --out"), "{said}");
    assert!(checkpoint.exists());
    train(&out, &["--device", "ane", "--weights", "baked", "--compile-budget", "12", "--resume"])
        .assert()
        .success();
    assert_eq!(losses(&out).len(), 13, "12 steps and a validation");
}

/// A fault that passes: the second new process compiles.
#[test]
fn a_new_process_that_cannot_compile_is_tried_again() {
    let dir = tempfile::tempdir().expect("folder");
    let (out, once) = (dir.path().join("run"), dir.path().join("once"));
    std::fs::write(&once, "").expect("written");
    // The first process is not the one that is to fail: it compiles 12 programs, the next one fails at its first.
    train(&out, &["--device", "ane", "--weights", "baked", "--compile-budget", "12", "--json"])
        .env("FAKE_ANE_FAULT", "compile=1")
        .env("FAKE_ANE_FAULT_IF", out.join("checkpoints/step-00000001.safetensors"))
        .env("FAKE_ANE_FAULT_ONCE", &once)
        .assert()
        .success();
    assert!(!once.exists(), "the fault was used");
    assert_eq!(losses(&out).len(), 13, "12 steps and a validation");
}

/// A fault of the first program, which has RMSNorm inside. Where norms were asked for, the remedy is said; where they were
/// not, or are on the host, there is none.
#[test]
fn a_refused_kernel_with_norms_is_followed_by_the_remedy() {
    let dir = tempfile::tempdir().expect("folder");
    let said = |norms: &str| {
        let mut command = train(&dir.path().join(norms), &["--device", "ane", "--norms", norms]);
        let output = command.env("FAKE_ANE_FAULT", "compile=1").assert().code(1).get_output().clone();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (engine, host) = (said("engine"), said("host"));
    assert!(engine.contains("does not compile kernel `L0.fwdAttn`"), "{engine}");
    assert!(engine.contains("hint: Try `--norms host`"), "{engine}");
    assert!(host.contains("does not compile kernel `L0.fwdAttn`") && !host.contains("--norms"), "{host}");
    learns_the_same(&["tiny", "--steps", "3", "--norms", "host"], 4);
}

/// The forms that are refused, the rung that is left, and how many plans come before it.
const REFUSALS: [(&str, &str, usize); 5] = [
    ("", "six", 0),
    ("norms", "norms-out", 1),
    ("norms,dynamic", "baked", 2),
    ("norms,dynamic,slices", "apart", 3),
    ("norms,dynamic,slices,products", "fine", 4),
];

/// A command whose engine refuses `forms`, with a memory in `dir`.
fn refusing(mut command: Command, forms: &str, dir: &Path) -> Command {
    command
        .env("FAKE_ANE_REFUSE", forms)
        .env("FAKE_ANE_PAUSE", "1")
        .env("BACKPROPANE_CACHE", dir.join("cache"));
    command
}

fn stderr(command: &mut Command) -> String {
    let output = command.assert().success().get_output().clone();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Each form is refused in turn: training starts by itself on the rung that is left, and learns the same.
#[test]
fn an_engine_that_refuses_kernels_is_given_others_until_it_takes_them() {
    let model = "preset = \"tiny\"\nqk_norm = true\nkv_heads = 2\n";
    for (name, model) in [("tiny", ""), ("heads.toml", model)] {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::write(dir.path().join("heads.toml"), model).expect("written");
        let name = dir.path().join(name).to_string_lossy().into_owned();
        let model = [if model.is_empty() { "tiny" } else { &name }, "--steps", "4"];
        let soft = dir.path().join("soft");
        train_model(&model, &soft, &["--device", "soft"]).assert().success();
        let want = losses(&soft);
        assert_eq!(want.len(), 5);
        for (forms, rung, refused) in REFUSALS {
            let folder = dir.path().join(if rung == "six" { "first" } else { rung });
            std::fs::create_dir_all(&folder).expect("created");
            let out = folder.join("run");
            let engine = ["--device", "ane", "--compile-budget", "1000"];
            let said = stderr(&mut refusing(train_model(&model, &out, &engine), forms, &folder));
            assert_eq!(said.matches("; next: ").count(), refused, "{rung}: {said}");
            let chosen = format!("as the engine refused {refused} plan");
            assert_eq!(said.matches(&chosen).count(), usize::from(refused > 0), "{rung}: {said}");
            let remembered = std::fs::read_to_string(folder.join("cache/ladder.json")).unwrap_or_default();
            assert_eq!(remembered.contains(&format!("\"{rung}\"")), refused > 0, "{remembered}");
            let got = losses(&out);
            assert_eq!(got.len(), want.len(), "{rung}");
            for (got, want) in got.iter().zip(&want) {
                let [got, want] = [got, want].map(|x| x.parse::<f64>().expect("a number"));
                assert!((got / want - 1.0).abs() < 2e-3, "{rung}: {got}, on the software engine {want}");
            }
        }
    }
}

/// What was learned of an engine is not learned again, by any command; a run has its own plan wherever it goes on.
#[test]
fn a_plan_is_remembered_for_the_engine_and_for_the_run() {
    let dir = tempfile::tempdir().expect("folder");
    let forms = "norms,dynamic";
    let engine = ["--device", "ane", "--compile-budget", "1000"];
    let out = dir.path().join("run");
    let first =
        stderr(&mut refusing(train_model(&["tiny", "--steps", "2"], &out, &engine), forms, dir.path()));
    assert_eq!(first.matches("; next: ").count(), 2, "{first}");
    let again = dir.path().join("again");
    let second =
        stderr(&mut refusing(train_model(&["tiny", "--steps", "2"], &again, &engine), forms, dir.path()));
    assert_eq!(second.matches("; next: ").count(), 0, "{second}");
    assert!(second.contains("weights baked into kernels, as this engine accepted before"), "{second}");
    assert_eq!(losses(&out), losses(&again), "the same plan, the same bits");
    // A run that goes on without the memory, on an engine that would take more.
    let mut resume = backpropane("framework");
    resume.args(["train", "--threads", "2", "--resume", "--steps", "4", "--out"]).arg(&out).args(engine);
    let said = stderr(&mut refusing(resume, "", &dir.path().join("elsewhere")));
    assert!(said.contains("norms on the host") && !said.contains("as this engine accepted"), "{said}");
    let mut generate = backpropane("framework");
    generate
        .args(["generate", "--prompt", "a", "--tokens", "3", "--seed", "1", "--model"])
        .arg(&out)
        .args(engine);
    let said = stderr(&mut refusing(generate, forms, dir.path()));
    assert!(said.contains("as this engine accepted before"), "{said}");
    // A memory that is rubbish is none.
    std::fs::write(dir.path().join("cache/ladder.json"), "{").expect("written");
    let third = dir.path().join("third");
    let said =
        stderr(&mut refusing(train_model(&["tiny", "--steps", "2"], &third, &engine), forms, dir.path()));
    assert_eq!(said.matches("; next: ").count(), 2, "{said}");
}

/// An engine that takes nothing: five plans, five refusals, and what to do then.
#[test]
fn an_engine_that_takes_no_plan_is_reported() {
    let dir = tempfile::tempdir().expect("folder");
    let command = train(&dir.path().join("run"), &["--device", "ane", "--compile-budget", "1000"]);
    let mut command = refusing(command, "", dir.path());
    let output = command.env("FAKE_ANE_FAULT", "compile=1000").assert().code(1).get_output().clone();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("error: the engine accepts none of 5 plans of kernels"), "{said}");
    assert!(said.contains("doctor --kernels --submit-file"), "{said}");
    assert!(!dir.path().join("cache/ladder.json").exists());
}

/// Each rung with its kernels, what the engine said of each, and what a user can send.
#[test]
fn doctor_shows_the_ladder() {
    for (forms, rung, _) in REFUSALS {
        let dir = tempfile::tempdir().expect("folder");
        let file = dir.path().join("kernels.json");
        let mut command = backpropane("framework");
        command.args(["doctor", "--kernels", "--model", "tiny", "--submit-file"]).arg(&file);
        let mut command = refusing(command, forms, dir.path());
        let output = command.assert().success().get_output().clone();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).expect("written")).expect("JSON");
        assert_eq!(json["takes"], rung, "{said}");
        let rungs = json["rungs"].as_array().expect("a list");
        assert_eq!(rungs.len(), 5);
        let kernels = rungs.iter().flat_map(|r| r["kernels"].as_array().expect("a list"));
        let refused = kernels.filter(|k| k["verdict"] == "refused").collect::<Vec<_>>();
        assert_eq!(refused.is_empty(), forms.is_empty(), "{said}");
        assert!(refused.iter().all(|k| k["error"].as_str().is_some_and(|e| e.contains("FAKE_ANE_REFUSE"))));
        assert!(said.contains(&format!("verdict   `{rung}`: ")), "{said}");
    }
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
        command.arg("doctor").env("FAKE_ANE_FAULT", "evaluate=1").assert().code(1).get_output().clone();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("trial     product: FAILED") && said.contains("status=0x1d"), "{said}");
    assert!(said.contains("trial     weights: ok"), "{said}");
}

/// With baked weights a process has to compile one set of kernels: 12 of `tiny`, 102 of 17 such layers; with dynamic
/// ones six programs are enough for any. The header of a run says what computes.
#[test]
fn auto_takes_the_engine_that_survives_a_set_of_kernels() {
    for (variant, model, weights, engine) in [
        ("framework", "tiny", "baked", "fake of the Neural Engine h0: "),
        ("framework", "tall.toml", "auto", "fake of the Neural Engine h0: "),
        (
            "framework",
            "tall.toml",
            "baked",
            "software engine (the kernels are 102 programs, on the Neural Engine a process can compile 100): ",
        ),
        ("no-class", "tiny", "auto", "software engine (no Neural Engine here: _ANERequest: no such class): "),
        (
            "wrong-type",
            "tiny",
            "auto",
            "software engine (this system's Neural Engine is not the one this version knows: ",
        ),
    ] {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::write(dir.path().join("tall.toml"), "preset = \"tiny\"\nlayers = 17\n").expect("written");
        let mut command = backpropane(variant);
        command
            .args(["train", "--model", model, "--steps", "2", "--weights", weights, "--out", "run"])
            .current_dir(dir.path());
        let output = command.assert().success().get_output().clone();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("engine   {engine}")), "{variant}, {model}, {weights}: {said}");
    }
}

/// The fake engine has the quirks that are claimed of the engine: there the verdicts are those of the table.
#[test]
fn probes_see_the_claimed_quirks() {
    for (id, about, says) in [
        ("binding", "S1", "inputs are bound by name, outputs are bound by name"),
        ("slot-sizes", "S3", "inputs, the smaller first: error 0x1d at evaluation"),
        ("surface-bytes", "S4", "the smallest surface that runs has 49152 bytes"),
        ("last-axis", "S6", "16, 32, 48 run, 4, 8, 12, 20, 24, 28 fail"),
        ("dense", "S5", "right to the bit"),
        ("weight-reload", "W5", "with weight files rewritten, the old weights stay"),
        ("compile-budget", "W6", "119 programs, each unloaded before the next; the next is refused"),
        ("same-bits", "N19", "the same bits"),
        ("attention-mask", "T15", "the mask is ignored"),
        ("other-spellings", "T4", "names that begin with `%`: refused at compile"),
    ] {
        let mut command = backpropane("framework");
        command.args(["probe", id, "--json", "--device", "ane"]).env("FAKE_ANE_COMPILES", "119");
        let output = command.assert().success().get_output().clone();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(json["engine"], "apple");
        let findings = json["probes"][0]["findings"].as_array().expect("a list");
        let finding = findings.iter().find(|f| f["about"] == about).unwrap_or_else(|| panic!("{id}: {json}"));
        assert_eq!(finding["verdict"], "as-in-the-table", "{finding}");
        assert!(finding["says"].as_str().is_some_and(|s| s.contains(says)), "{finding}");
    }
}

/// The door hands the number on. How long each takes depends on the machine.
#[test]
fn a_quality_of_service_reaches_the_engine() {
    let mut command = backpropane("framework");
    command.args(["probe", "quality-of-service", "--json", "--device", "ane"]);
    let output = command.assert().success().get_output().clone();
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let finding = &json["probes"][0]["findings"][0];
    let says = finding["says"].as_str().expect("a sentence");
    assert!(says.starts_with("all are accepted, with the same numbers; 9: "), "{says}");
    assert!(finding["numbers"]["quality_33_ms"].is_number(), "{finding}");
}

#[test]
fn a_program_gives_the_same_numbers_as_on_the_software_engine() {
    let dir = tempfile::tempdir().expect("folder");
    let text = "program(1.3) { func main<ios18>(tensor<fp16, [1, 64, 1, 64]> x) {
        tensor<fp16, [1, 64, 1, 64]> y = add(x = x, y = x);
    } -> (y); }";
    std::fs::write(dir.path().join("double.mil"), text).expect("written");
    let outputs = |engine: &str| -> serde_json::Value {
        let mut command = backpropane("framework");
        command.args(["mil", "run", "double.mil", "--random", "1", "--json", "--engine", engine]);
        let output = command.current_dir(dir.path()).assert().success().get_output().clone();
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(json["engine"], engine);
        json["outputs"].clone()
    };
    assert_eq!(outputs("ane"), outputs("soft"));
}
