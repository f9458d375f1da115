//! Runs that need more compiles than a process has: `tiny` has 12 kernels, of which 10 hold weights.

use crate::place::{Outcome, Place, start, wait_for};
use serde_json::Value;
use std::process::Command;

/// What `metrics.jsonl` says without timings, bit for bit: step, loss, learning rate, norm, bits per byte.
fn course(place: &Place, run: &str) -> Vec<String> {
    const KEYS: [&str; 8] =
        ["kind", "step", "loss", "lr", "grad_norm", "dispatches", "bits_per_byte", "windows"];
    let line = |line: &Value| KEYS.map(|key| line[key].to_string()).join(" ");
    place.metrics(&format!("{run}/metrics.jsonl")).iter().map(line).collect()
}

/// Two runs came to the same weights by the same way.
fn assert_same(place: &Place, a: &str, b: &str) {
    assert_eq!(course(place, a), course(place, b));
    let model = |run: &str| place.read(&format!("{run}/model.safetensors"));
    assert!(model(a) == model(b), "the weights of `{a}` and `{b}` differ");
}

/// 52 programs: 12 at first, then 10 for each of 4 steps; the fifth leaves its weights to the next process.
#[test]
fn restarts_change_no_bit_and_show_no_seam() {
    let place = Place::new();
    let args = "train --device soft --model tiny --data text.txt --batch 2 --warmup 2 --steps 55 --json";
    let whole = place.succeed(&format!("{args} --out whole"));
    let cut = place.succeed(&format!("{args} --out cut --compile-budget 52"));
    assert_same(&place, "whole", "cut");
    assert!(
        course(&place, "cut").iter().any(|line| line.starts_with("\"validation\" 50 ")),
        "one on the way"
    );
    assert!(place.exists("cut/loss.svg"));

    let (whole, report) = (whole.json(), cut.json());
    for key in ["model", "steps", "loss", "validation", "sample", "kernels_per_layer", "files"] {
        assert_eq!(whole[key], report[key], "{key}");
    }
    for key in ["steps", "skipped", "tokens", "dispatches"] {
        assert_eq!(whole["work"][key], report["work"][key], "{key}");
    }
    assert_eq!((&whole["work"]["restarts"], &report["work"]["restarts"]), (&0.into(), &11.into()));
    assert!(report["work"]["restart_s"].as_f64().is_some_and(|s| s > 0.0), "{report}");

    let said = cut.stderr;
    let line = "a new process every 5 steps: one may compile 52 programs, 12 at first and 10 a step";
    assert!(said.contains(&format!("restarts {line}\n")), "{said}");
    for once in ["model    tiny", "compiling\n", "step 50/55  loss", "folder   cut"] {
        assert_eq!(said.matches(once).count(), 1, "`{once}` in\n{said}");
    }
    assert!(!said.contains("resumed"), "{said}");
}

/// The budget ends at optimizer steps alone: micro-batches compile nothing.
#[test]
fn restarts_between_accumulated_steps_change_no_bit() {
    let place = Place::new();
    let args =
        "train --device soft --model tiny --data text.txt --batch 1 --accum 3 --warmup 2 --steps 5 --quiet";
    place.succeed(&format!("{args} --out whole"));
    let outcome = place.succeed(&format!("{args} --out cut --compile-budget 12 --trace steps.json --json"));
    assert_same(&place, "whole", "cut");
    assert_eq!((outcome.json()["work"]["restarts"].as_u64(), outcome.stderr.as_str()), (Some(5), ""));
    // The last process took no step, so the trace is of the one before it.
    let trace: Value = serde_json::from_slice(&place.read("steps.json")).expect("JSON");
    let trace = trace.to_string();
    assert!(trace.contains("update, new weights"), "{trace}");
}

#[test]
fn a_resumed_run_restarts_in_its_own_folder() {
    let place = Place::new();
    let args = "train --device soft --model tiny --data text.txt --batch 1 --steps 3 --quiet";
    // The same run twice, in `runs/tiny` and `runs/tiny-2`; a third folder must not attract its later processes.
    for _ in 0..2 {
        place.succeed(args);
    }
    place.succeed("train --device soft --resume --quiet --steps 8 --out runs/tiny");
    let third = place.succeed(&format!("{args} --compile-budget 22"));
    assert_eq!(third.stderr, "");
    let before = place.snapshot();
    place.succeed("train --device soft --resume --quiet --steps 8 --out runs/tiny-2 --compile-budget 22");
    assert_same(&place, "runs/tiny", "runs/tiny-2");
    let after = place.snapshot();
    let changed: Vec<_> = before.iter().filter(|(path, bytes)| after.get(*path) != Some(bytes)).collect();
    assert!(
        changed.iter().all(|(path, _)| path.starts_with(place.path("runs/tiny-2"))),
        "others have changed"
    );
    assert_eq!(course(&place, "runs/tiny-3").len(), 4, "3 steps and a validation, in one folder");
}

#[test]
fn a_budget_below_one_set_of_kernels_is_refused_at_once() {
    let place = Place::new();
    let outcome = place.run("train --device soft --model tiny --data text.txt --out run --compile-budget 11");
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (
            Some(2),
            "error: the kernels of this model are 12 programs, and this process may compile 11\n\
             hint: Give `--compile-budget 12` or more, or none: the software engine needs none.\n"
        )
    );
    assert!(!place.exists("run"), "nothing is written");
    // One set is enough for a process, which takes one step.
    place.succeed(
        "train --device soft --model tiny --data text.txt --out run --compile-budget 12 --steps 2 --quiet",
    );
}

#[test]
fn what_no_process_left_is_no_handover() {
    let place = Place::new();
    let mut command = place.command("train --device soft --model tiny --data text.txt --out run");
    let outcome = Outcome::of(command.env("BACKPROPANE_GOES_ON", "{}"));
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("environment variable `BACKPROPANE_GOES_ON`"), "{}", outcome.stderr);
    assert!(!place.exists("run"), "nothing is written");
}

/// Where every step is followed by a new process, Ctrl-C meets one at any point of its life.
#[cfg(unix)]
#[test]
fn an_interrupt_between_processes_loses_nothing() {
    let place = Place::new();
    for round in 1..=4 {
        let run = format!("run{round}");
        let args =
            format!("train --device soft --model tiny --data text.txt --batch 1 --steps 100000 --out {run}");
        let mut child = start(&place, &format!("{args} --compile-budget 12"));
        wait_for(&mut child, &place.path(&format!("{run}/model.safetensors")));
        // Any moment will do, and each round another.
        std::thread::sleep(std::time::Duration::from_millis(37 * round));
        let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
        assert!(killed.success());
        let output = child.wait_with_output().expect("it ended");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{:?}: {said}", output.status);
        let steps = course(&place, &run);
        let last = steps.iter().filter(|line| line.starts_with("\"step\"")).count();
        assert!(last > 0, "{steps:?}");
        let newest = format!("{run}/checkpoints/step-{last:08}.safetensors");
        assert!(place.exists(&newest), "step {last} is not saved: {said}");
        place.succeed(&format!("train --device soft --resume --quiet --out {run} --steps {}", last + 1));
    }
}

/// A program that has been replaced goes on as it was.
#[cfg(target_os = "linux")]
#[test]
fn a_program_that_is_gone_goes_on() {
    let place = Place::new();
    let copy = place.path("backpropane");
    std::fs::copy(crate::place::binary(), &copy).expect("a copy");
    let args = "train --device soft --model tiny --data text.txt --batch 1 --steps 30 --quiet --out run --compile-budget 12";
    let mut child = Command::new(&copy)
        .args(args.split_whitespace())
        .current_dir(place.path(""))
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    wait_for(&mut child, std::path::Path::new(&place.path("run/model.safetensors")));
    std::fs::remove_file(&copy).expect("removed");
    assert!(child.wait().expect("it ended").success());
    assert_eq!(course(&place, "run").len(), 31);
}
