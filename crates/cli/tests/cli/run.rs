//! Training from beginning to end, stopped, killed and resumed.

use crate::place::{Outcome, Place, binary, start, wait_for};
use serde_json::Value;
use std::process::Command;

/// The small run of these tests: 12 dispatches a step for each of 2 windows.
const SMALL: &str = "train --model tiny --data text.txt --batch 2 --warmup 2";

#[test]
fn a_run_leaves_a_model_its_metrics_and_a_picture() {
    let place = Place::new();
    let outcome = place.succeed(&format!("{SMALL} --steps 40 --accum 2 --save-every 20 --out run --json"));
    for file in ["config.json", "tokenizer.json", "model.safetensors", "metrics.jsonl", "loss.svg"] {
        assert!(place.exists(&format!("run/{file}")), "{file} is missing");
    }
    let report = outcome.json();
    assert_eq!(report["kernels_per_layer"], 6);
    assert_eq!(report["steps"], 40);
    assert!(report["sample"].as_str().is_some_and(|sample| !sample.is_empty()), "{report}");
    assert!(report["validation"]["bits_per_byte"].as_f64().is_some_and(|bits| bits > 0.0), "{report}");

    let metrics = place.metrics("run/metrics.jsonl");
    let steps: Vec<&Value> = metrics.iter().filter(|line| line["kind"] == "step").collect();
    assert_eq!(steps.len(), 40);
    for step in &steps {
        for key in
            ["step", "loss", "lr", "grad_norm", "ms", "tokens_per_s", "engine_ms", "host_ms", "dispatches"]
        {
            assert!(step[key].is_number(), "{key} is missing in {step}");
        }
        let part = |key: &str| step[key].as_f64().unwrap_or_else(|| panic!("{key} is missing in {step}"));
        let parts = ["convert_ms", "update_ms", "compile_ms"].map(part);
        assert!(parts[0] > 0.0 && parts[1] > 0.0 && parts[2] == 0.0 && part("wait_ms") >= 0.0, "{step}");
        assert!(parts.iter().sum::<f64>() <= part("host_ms") && step["restart_ms"].is_null(), "{step}");
        let (layers, batch, accum) = (2, 2, 2);
        assert_eq!(step["dispatches"], 6 * layers * batch * accum);
    }
    let loss = |i: usize| steps[i]["loss"].as_f64().expect("a number");
    // ln 320 = 5.77 for a uniform guess; the words repeat, so even 40 steps halve it.
    assert!(loss(0) > 5.0 && loss(39) < 3.5, "the loss goes from {} to {}", loss(0), loss(39));
    let picture = String::from_utf8(place.read("run/loss.svg")).expect("text");
    assert!(picture.contains("nats per token") && picture.trim_end().ends_with("</svg>"));
}

#[test]
fn talk_is_on_stderr_and_results_are_on_stdout() {
    let place = Place::new();
    let outcome = place.succeed(&format!("{SMALL} --steps 4 --out talk"));
    for word in ["model", "software engine", "6 a layer", "4/4", "loss"] {
        assert!(outcome.stderr.contains(word), "{word} is missing in\n{}", outcome.stderr);
    }
    for word in ["a sample", "validation", "bits per byte", "tokens/s", "memory", "generate --model talk"] {
        assert!(outcome.stdout.contains(word), "{word} is missing in\n{}", outcome.stdout);
    }
    assert!(!outcome.stderr.contains("\x1b[") && !outcome.stdout.contains("\x1b["), "colours on a pipe");
    assert_eq!(place.succeed(&format!("{SMALL} --steps 4 --out quiet --quiet")).stderr, "");
}

#[test]
fn a_profile_says_what_a_steps_time_went_into() {
    let place = Place::new();
    let args = format!("{SMALL} --device soft --steps 4 --profile --quiet --compile-budget 22 --out");
    let shown = place.succeed(&format!("{args} table")).stdout;
    for row in [
        "profile ",
        "  engine ",
        "  conversion ",
        "  host ",
        "  waiting ",
        "  optimizer ",
        "  compiling ",
        "  step ",
        "  restarts ",
    ] {
        assert_eq!(shown.lines().filter(|line| line.starts_with(row)).count(), 1, "`{row}` in\n{shown}");
    }
    let work = &place.succeed(&format!("{args} json --json")).json()["work"];
    // Two processes take two steps each: the first of the two compiles, the second leaves that to the next process.
    let steps: Vec<Value> =
        place.metrics("json/metrics.jsonl").into_iter().filter(|line| line["kind"] == "step").collect();
    let compiled = steps.iter().map(|step| step["compile_ms"].as_f64().is_some_and(|ms| ms > 0.0));
    assert_eq!(compiled.collect::<Vec<_>>(), [true, false, true, false]);
    let restarted = steps.iter().map(|step| step["restart_ms"].as_f64().is_some_and(|ms| ms > 0.0));
    assert_eq!(restarted.collect::<Vec<_>>(), [false, false, true, false]);
    for (total, part) in [("convert_s", "convert_ms"), ("compile_s", "compile_ms"), ("wait_s", "wait_ms")] {
        let sum: f64 = steps.iter().filter_map(|step| step[part].as_f64()).sum();
        let total = work[total].as_f64().expect("a number");
        // Tolerance: a few roundings of f64.
        assert!((sum / 1e3 - total).abs() <= 1e-9 * total, "{part}: {sum} and {total}");
    }
}

#[test]
fn a_run_without_a_folder_takes_the_next_free_one() {
    let place = Place::new();
    place.succeed(&format!("{SMALL} --steps 2"));
    let first = place.snapshot();
    let outcome = place.succeed(&format!("{SMALL} --steps 3"));
    assert!(outcome.stderr.contains("runs/tiny-2"), "{}", outcome.stderr);
    assert_eq!(place.metrics("runs/tiny-2/metrics.jsonl").iter().filter(|l| l["kind"] == "step").count(), 3);
    let now = place.snapshot();
    assert!(first.iter().all(|(path, bytes)| now.get(path) == Some(bytes)), "the first run has changed");
    // To resume means the last of them, and a finished run is left alone.
    let outcome = place.succeed("train --model tiny --resume");
    assert!(
        outcome.stderr.contains("runs/tiny-2") && outcome.stderr.contains("--steps"),
        "{}",
        outcome.stderr
    );
    let outcome = place.succeed("train --model tiny --resume --steps 5");
    assert!(outcome.stderr.contains("resumed at step 3"), "{}", outcome.stderr);
}

#[test]
fn a_layer_alone_trains_on_synthetic_data() {
    let place = Place::new();
    place.write("layer.toml", "preset = \"layer768\"\ndim = 32\nhidden = 64\nheads = 2\nseq = 32\n");
    let outcome = place.succeed("train --model layer.toml --steps 20 --out run --json");
    let report = outcome.json();
    assert_eq!((&report["sample"], &report["model"]), (&Value::Null, &Value::from("layer")));
    let metrics = place.metrics("run/metrics.jsonl");
    let losses: Vec<f64> =
        metrics.iter().filter(|l| l["kind"] == "step").filter_map(|l| l["loss"].as_f64()).collect();
    assert!(losses.len() == 20 && losses[19] < losses[0], "{losses:?}");
}

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let place = Place::new();
    let args = format!("{SMALL} --steps 300 --save-every 20 --quiet");
    place.succeed(&format!("{args} --out whole"));

    let mut child = start(&place, &format!("{args} --out killed"));
    wait_for(&mut child, &place.path("killed/model.safetensors"));
    child.kill().expect("it runs");
    let status = child.wait().expect("it ended");
    assert!(!status.success() && !place.exists("killed/loss.svg"), "it was not killed in time");

    let outcome = place.succeed("train --resume --out killed");
    assert!(outcome.stderr.contains("resumed at step"), "{}", outcome.stderr);
    assert!(
        place.read("whole/model.safetensors") == place.read("killed/model.safetensors"),
        "the weights differ"
    );
    let numbers: Vec<_> = place
        .metrics("killed/metrics.jsonl")
        .iter()
        .filter(|l| l["kind"] == "step")
        .map(|l| l["step"].as_u64())
        .collect();
    assert_eq!(numbers, (1..=300).map(Some).collect::<Vec<_>>());
}

#[test]
fn threads_change_no_bit() {
    let place = Place::new();
    for threads in [1, 2] {
        place.succeed(&format!("{SMALL} --steps 10 --quiet --threads {threads} --out t{threads}"));
    }
    assert!(place.read("t1/model.safetensors") == place.read("t2/model.safetensors"), "the weights differ");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_is_saved_and_says_how_to_go_on() {
    let place = Place::new();
    let mut child = start(&place, &format!("{SMALL} --steps 1000000 --save-every 10 --out run"));
    wait_for(&mut child, &place.path("run/model.safetensors"));
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    let output = child.wait_with_output().expect("it ended");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("hint: Go on with `backpropane train --resume --out run`."), "{stderr}");
    let metrics = place.metrics("run/metrics.jsonl");
    let last = metrics.iter().filter(|l| l["kind"] == "step").filter_map(|l| l["step"].as_u64()).max();
    let last = last.expect("steps");
    assert!(place.exists(&format!("run/checkpoints/step-{last:08}.safetensors")), "step {last} is not saved");
    place.succeed(&format!("train --resume --quiet --out run --steps {}", last + 1));
}

/// What `nohup` starts outlives its terminal.
#[cfg(unix)]
#[test]
fn a_run_that_ignores_hangups_goes_on() {
    let place = Place::new();
    let script = format!("trap '' HUP; exec \"$0\" {SMALL} --steps 1000000 --out run --quiet");
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .arg(binary())
        .current_dir(place.path(""))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the shell starts");
    wait_for(&mut child, &place.path("run/model.safetensors"));
    let send = |signal: &str| {
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    };
    let steps = || {
        let metrics = String::from_utf8(place.read("run/metrics.jsonl")).expect("UTF-8");
        metrics.lines().count()
    };
    send("-HUP");
    let before = steps();
    let began = std::time::Instant::now();
    while steps() < before + 20 {
        assert!(began.elapsed().as_secs() < 60, "it takes no more steps");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    send("-TERM");
    assert_eq!(child.wait().expect("it ended").code(), Some(130));
}

/// No disk can be filled from a test; a limit on the size of files refuses writes in the same way.
#[cfg(unix)]
#[test]
fn a_refused_write_leaves_the_earlier_checkpoint() {
    let place = Place::new();
    place.succeed(&format!("{SMALL} --steps 2 --quiet --out run"));
    let before = place.snapshot();
    let script = "trap '' XFSZ; ulimit -f 200; exec \"$0\" train --resume --out run --steps 4";
    let mut shell = assert_cmd::Command::new("sh");
    shell.args(["-c", script]).arg(binary()).current_dir(place.path(""));
    let outcome = Outcome::of(&mut shell);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("error: cannot write `run/checkpoints/"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("hint: "), "{}", outcome.stderr);
    let mut after = place.snapshot();
    // It had taken its steps, and said so.
    let metrics = place.path("run/metrics.jsonl");
    assert!(after.insert(metrics.clone(), before[&metrics].clone()).is_some());
    assert!(before == after, "files have changed");
}

/// Each finds a folder that no other has taken, whoever is first.
#[test]
fn runs_that_start_at_once_get_a_folder_each() {
    let place = Place::new();
    let children: Vec<_> = (0..3).map(|_| start(&place, &format!("{SMALL} --steps 3 --quiet"))).collect();
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
    for folder in ["runs/tiny", "runs/tiny-2", "runs/tiny-3"] {
        assert_eq!(
            place.metrics(&format!("{folder}/metrics.jsonl")).iter().filter(|l| l["kind"] == "step").count(),
            3
        );
    }
}
