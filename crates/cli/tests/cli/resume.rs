//! Runs that ended before their end, in the states in which a kill, a full disk or another process leaves them.

use crate::place::{Outcome, Place, binary};
#[cfg(unix)]
use crate::place::{start, wait_for};
use serde_json::Value;
use std::fs;

const RUN: &str = "train --device soft --threads 1 --model tiny --data text.txt --batch 1 --warmup 2 --steps 8 \
                   --save-every 4 --quiet";

/// The files that a run leaves behind, its metrics without times.
fn left(place: &Place, run: &str) -> Vec<(String, Vec<u8>)> {
    let files = [
        "config.json",
        "tokenizer.json",
        "tokens.bin",
        "model.safetensors",
        "loss.svg",
        "checkpoints/step-00000004.safetensors",
        "checkpoints/step-00000008.safetensors",
    ];
    let mut left: Vec<_> = files.map(|file| (file.to_owned(), place.read(&format!("{run}/{file}")))).into();
    let line = |mut line: Value| {
        let entries = line.as_object_mut().expect("an object");
        entries.retain(|key, _| !key.ends_with("ms") && key != "tokens_per_s");
        line.to_string()
    };
    let metrics: Vec<String> = place.metrics(&format!("{run}/metrics.jsonl")).into_iter().map(line).collect();
    left.push(("metrics.jsonl".to_owned(), metrics.join("\n").into_bytes()));
    left
}

fn copy(place: &Place, from: &str, to: &str) {
    fs::create_dir_all(place.path(&format!("{to}/checkpoints"))).expect("made");
    for folder in ["", "/checkpoints"] {
        for entry in fs::read_dir(place.path(&format!("{from}{folder}"))).expect("a folder") {
            let entry = entry.expect("an entry");
            if entry.path().is_file() {
                let name = entry.file_name().into_string().expect("text");
                fs::copy(entry.path(), place.path(&format!("{to}{folder}/{name}"))).expect("copied");
            }
        }
    }
}

/// A state: what it is called, and how it comes from the files of a finished run.
type State = (&'static str, fn(&Place, &dyn Fn(&str) -> String));

/// The ends that a run can have after its last step, and earlier.
const STATES: [State; 10] = [
    ("before the model", |p, f| p.write(&f("model.safetensors"), p.read("short/model.safetensors"))),
    ("without a model", |p, f| fs::remove_file(p.path(&f("model.safetensors"))).expect("removed")),
    ("before the validation", |p, f| {
        let metrics = String::from_utf8(p.read(&f("metrics.jsonl"))).expect("text");
        let steps: String =
            metrics.lines().filter(|l| l.contains("\"step\",")).map(|l| format!("{l}\n")).collect();
        p.write(&f("metrics.jsonl"), steps);
        fs::remove_file(p.path(&f("loss.svg"))).expect("removed");
    }),
    ("within the validation's line", |p, f| {
        let mut metrics = p.read(&f("metrics.jsonl"));
        metrics.truncate(metrics.len() - 20);
        p.write(&f("metrics.jsonl"), metrics);
    }),
    ("before the picture", |p, f| fs::remove_file(p.path(&f("loss.svg"))).expect("removed")),
    ("with the picture of an earlier end", |p, f| p.write(&f("loss.svg"), p.read("short/loss.svg"))),
    ("within writing the last checkpoint", |p, f| {
        let half = p.read(&f("checkpoints/step-00000008.safetensors"));
        fs::remove_file(p.path(&f("checkpoints/step-00000008.safetensors"))).expect("removed");
        p.write(&f("checkpoints/step-00000008.safetensors.tmpa1B2c3"), &half[..half.len() / 2]);
        p.write(&f("model.safetensors"), p.read("short/model.safetensors"));
    }),
    ("with a checkpoint cut by a broken disk", |p, f| {
        let half = p.read(&f("checkpoints/step-00000008.safetensors"));
        p.write(&f("checkpoints/step-00000008.safetensors"), &half[..half.len() / 2]);
    }),
    ("with damaged tokens", |p, f| {
        let mut tokens = p.read(&f("tokens.bin"));
        tokens[1000] ^= 1;
        p.write(&f("tokens.bin"), tokens);
        fs::remove_file(p.path(&f("loss.svg"))).expect("removed");
    }),
    ("with all but the checkpoints", |p, f| {
        for file in ["model.safetensors", "loss.svg", "tokens.bin"] {
            fs::remove_file(p.path(&f(file))).expect("removed");
        }
    }),
];

#[test]
fn whatever_is_missing_at_the_end_of_a_run_is_written() {
    let place = Place::new();
    place.succeed(&format!("{RUN} --out whole"));
    place.succeed(&format!("{} --out short", RUN.replace("--steps 8", "--steps 4")));
    let whole = left(&place, "whole");
    for (i, (state, make)) in STATES.iter().enumerate() {
        let run = format!("run{i}");
        copy(&place, "whole", &run);
        make(&place, &|file| format!("{run}/{file}"));
        let remade = ["with damaged tokens", "with all but the checkpoints"].contains(state);
        let data = if remade { " --data text.txt" } else { "" };
        let resumed = place.succeed(&format!("train --resume --out {run}{data}"));
        assert!(!resumed.stderr.contains("more with --steps"), "{state}: {}", resumed.stderr);
        assert!(resumed.stdout.contains("validation"), "{state}: {}", resumed.stdout);
        for (here, there) in left(&place, &run).iter().zip(&whole) {
            assert!(here == there, "{state}: {} is another one", here.0);
        }
        let count = fs::read_dir(place.path(&format!("{run}/checkpoints"))).expect("a folder").count();
        assert_eq!(count, 2, "{state}: something is left over");
        // Now nothing is missing, and nothing is done.
        let before = place.snapshot();
        let again = place.succeed(&format!("train --resume --out {run}"));
        assert!(
            again.stderr.contains("all 8 steps are done; for more, give --steps"),
            "{state}: {}",
            again.stderr
        );
        assert!(before == place.snapshot(), "{state}: files have changed");
    }
}

#[test]
fn damage_is_said_aloud_and_the_run_goes_on_before_it() {
    let place = Place::new();
    place.succeed(&format!("{RUN} --out whole"));
    let whole = left(&place, "whole");
    for (run, at, named) in
        [("a", 0.6, "tensor `adamw."), ("b", 0.97, "tensor `adamw.v."), ("c", 0.0, "header")]
    {
        copy(&place, "whole", run);
        let name = format!("{run}/checkpoints/step-00000008.safetensors");
        let mut bytes = place.read(&name);
        let at = match at {
            // Within the state: `"tokens_seen\":`.
            0.0 => bytes.windows(11).position(|w| w == b"tokens_seen").expect("a state") + 14,
            share => (share * bytes.len() as f64) as usize,
        };
        bytes[at] ^= 1;
        place.write(&name, bytes);
        let outcome = place.succeed(&format!("train --resume --quiet --out {run}"));
        let said: Vec<&str> = outcome.stderr.lines().collect();
        assert!(
            matches!(said[..], [line] if line.starts_with("warning: ") && line.contains(named)
                && line.contains("step-00000008") && line.ends_with("resuming from the checkpoint of step 4")),
            "{said:?}"
        );
        assert!(left(&place, run) == whole, "{run}: other files");
    }
    // A model that is used, and not resumed, is refused.
    for (command, file) in [
        ("eval --model a --data text.txt", "a/model.safetensors"),
        ("generate --model b --prompt to", "b/model.safetensors"),
        ("train --model c --data text.txt --out new", "c/model.safetensors"),
    ] {
        let mut bytes = place.read(file);
        let at = bytes.len() - 3;
        bytes[at] ^= 4;
        place.write(file, bytes);
        let outcome = place.run(command);
        assert_eq!(outcome.code, Some(2), "{command}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(&format!("`{file}`: tensor `")) && outcome.stderr.contains("is damaged"),
            "{}",
            outcome.stderr
        );
    }
}

/// Without its tokenizer, or with another, a run would go on and its texts would mean something else.
#[test]
fn a_run_without_its_tokenizer_is_not_resumed() {
    let place = Place::new();
    place.succeed(&format!("{RUN} --out run"));
    let tokenizer = place.read("run/tokenizer.json");
    let refused = |command: &str, named: &str| {
        let before = place.snapshot();
        let outcome = place.run(command);
        assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains(named) && outcome.stderr.contains("--tokenizer"),
            "{}",
            outcome.stderr
        );
        assert!(before == place.snapshot(), "files have changed");
    };
    let resume = "train --resume --out run --steps 9 --quiet";
    place.write("run/tokenizer.json", [&tokenizer[..], b" "].concat());
    refused(resume, "`run/tokenizer.json` is not the tokenizer that the run in `run` was started with");
    fs::remove_file(place.path("run/tokenizer.json")).expect("removed");
    refused(resume, "`run` has lost the tokenizer");
    place.write("kept.json", &tokenizer);
    place.succeed(&format!("{resume} --tokenizer kept.json"));
    assert!(place.read("run/tokenizer.json") == tokenizer, "it is back");
}

/// What is printed is taken by a shell as it stands, whatever the folder is called.
#[cfg(unix)]
#[test]
fn the_command_of_a_stopped_run_works_as_printed() {
    let place = Place::new();
    place.succeed(&format!("{RUN} --out tk"));
    place.write("my stories.bin", place.read("tk/tokens.bin"));
    for (out, data) in
        [("plain", "text.txt"), ("it's a run", "my stories.bin"), ("$HOME;x", "my stories.bin")]
    {
        let mut command = std::process::Command::new(binary());
        command.args([
            "train",
            "--device",
            "soft",
            "--threads",
            "1",
            "--model",
            "tiny",
            "--steps",
            "1000000",
        ]);
        command.args(["--tokenizer", "tk/tokenizer.json", "--batch", "1", "--save-every", "5"]);
        command.args(["--out", out, "--data", data]).current_dir(place.path("")).env_remove("CARGO");
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        wait_for(&mut child, &place.path(&format!("{out}/model.safetensors")));
        let stop = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(stop.expect("kill").success());
        let output = child.wait_with_output().expect("it ended");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{stderr}");
        let (_, hint) = stderr.split_once("hint: Go on with `").expect("a hint");
        let command = hint.trim_end().strip_suffix("`.").expect("its end");
        let last = place.metrics(&format!("{out}/metrics.jsonl")).len() as u64;
        // From elsewhere on the disk it would be another folder, but the data are found: they are remembered.
        let script = format!("backpropane() {{ \"$BIN\" \"$@\"; }}; {command} --quiet --steps {}", last + 2);
        let mut shell = assert_cmd::Command::new("sh");
        shell.args(["-c", &script]).env("BIN", binary()).env_remove("CARGO").current_dir(place.path(""));
        let outcome = Outcome::of(&mut shell);
        assert_eq!(outcome.code, Some(0), "{script}\n{}", outcome.stderr);
    }
}

#[test]
fn a_run_that_diverges_fails_and_prints_how_to_go_on() {
    let place = Place::new();
    place.succeed(&format!("{RUN} --out run"));
    let good = left(&place, "run");
    for (given, flag) in [
        ("--lr 1e9", "--lr "),
        ("--loss-scale 1e36", "--loss-scale 256"),
        ("--lr 1e30 --save-every 3", "--lr "),
    ] {
        let wild =
            format!("train --resume --out run --quiet --steps 60 --schedule constant --warmup 0 {given}");
        let outcome = place.run(&wild);
        assert_eq!(outcome.code, Some(1), "{given}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("the checkpoint of step 8 is kept"), "{given}: {}", outcome.stderr);
        let hint = outcome.stderr.lines().find(|l| l.starts_with("hint: ")).expect("a hint");
        let command = format!("`backpropane train --resume --out run {flag}");
        assert!(hint.contains("Go on from step 8") && hint.contains(&command), "{hint}");
        for (here, there) in
            left(&place, "run").iter().zip(&good).filter(|(here, _)| here.0 != "metrics.jsonl")
        {
            assert!(here == there, "{given}: {} has changed", here.0);
        }
    }
    place.succeed("train --resume --out run --quiet --steps 9 --lr 1e-4");
}

#[cfg(unix)]
#[test]
fn a_second_process_is_refused_by_the_name_of_the_folder() {
    let place = Place::new();
    let mut first = start(&place, &format!("{} --out run", RUN.replace("--steps 8", "--steps 1000000")));
    wait_for(&mut first, &place.path("run/model.safetensors"));
    for command in
        ["train --resume --out run", "train --resume --out run --steps 3", "train --resume --out ./run/"]
    {
        let outcome = place.run(command);
        assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("error: another process is training in `"), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("hint: Wait for it or stop it"), "{}", outcome.stderr);
    }
    first.kill().expect("it runs");
    first.wait().expect("it ended");
    // A kill gives the folder back.
    let steps = place.metrics("run/metrics.jsonl").len() + 1;
    place.succeed(&format!("train --resume --out run --quiet --steps {steps}"));
}

/// What `--max-time` stops ends in order, and goes on with the same bits.
#[test]
fn a_run_that_ran_out_of_time_goes_on() {
    let place = Place::new();
    let run = "train --model tiny --data text.txt --batch 2 --warmup 2 --steps 3";
    // A step takes longer than a nanosecond, and one step is always taken.
    let outcome = place.succeed(&format!("{run} --out short --max-time 1ns --json"));
    assert_eq!(outcome.json()["steps"], 1);
    assert!(outcome.json()["validation"]["loss"].is_number());
    let said = "stopped after step 1 of 3 by `--max-time 1ns`; go on with `";
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    place.succeed("train --resume --out short --max-time 2h");
    place.succeed(&format!("{run} --out whole"));
    assert!(place.read("short/model.safetensors") == place.read("whole/model.safetensors"));
    for wrong in ["0s", "soon", "5"] {
        let outcome = place.run(&format!("{run} --out no --max-time {wrong}"));
        assert!(outcome.code == Some(2) && outcome.stderr.contains("is needed"), "{}", outcome.stderr);
    }
}
