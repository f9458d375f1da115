//! `bench peers` with other programs that only print a line. No test looks at a time of ours.

use crate::place::Place;
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// What PyTorch prints for layer768.
const LINE: &str = "A x y 1 98.50  # min 97.25 n 1 MiB 927 version 2.15.0 loss0 -1.132328 gnorm 16.540979 loss3 -10.585104 ok";

/// A folder of programs in `peers`: each prints with a shell script.
fn place(programs: &[(&str, &str)]) -> Place {
    let place = Place::new();
    place.write("peers/common.py", "");
    for (path, script) in programs {
        place.write(path, format!("#!/bin/sh\n{script}\n"));
        let run = fs::Permissions::from_mode(0o755);
        fs::set_permissions(place.path(path), run).expect("permissions");
    }
    place
}

const BENCH: &str = "bench peers --folder peers --model layer768 --math f32 --threads 1 --samples 1";

#[test]
fn every_program_has_a_row_and_what_is_not_set_up_is_named() {
    let python = format!("echo \"$@\" >> calls\necho '{LINE}'");
    let candle = format!("echo noise\necho '{}'", LINE.replace("98.50", "452.00").replace("97.25", "450.00"));
    let place =
        place(&[("peers/venvs/torch/bin/python", &python), ("peers/target/release/peer-candle", &candle)]);
    let json = place.succeed(&format!("{BENCH} --rounds 2 --json --log rounds.jsonl"));
    let logged = place.metrics("rounds.jsonl");
    assert_eq!((logged.len(), logged[1]["round"].as_u64()), (10, Some(1)), "{logged:?}");
    assert_eq!((&logged[9]["program"], &logged[9]["report"]["min_ms"]), (&"candle".into(), &450.0.into()));
    let rows = json.json()["rows"].as_array().expect("rows").clone();
    assert!(rows.iter().all(|row| row["rounds"].as_array().is_some_and(|r| r.len() == 2)), "{rows:?}");
    place.write("old.json", json.stdout);
    let calls = String::from_utf8(place.read("peers/calls")).expect("text");
    let round = "-B peer_torch.py A --threads 1 --samples 1\n\
        -B peer_torch.py --compile --dtype fp32 A --threads 1 --samples 1\n\
        -B peer_torch.py --compile --dtype bf16 A --threads 1 --samples 1\n";
    assert_eq!(calls, round.repeat(2));

    let shown = place.succeed(&format!("{BENCH} --rounds 1 --compare old.json")).stdout;
    for want in [
        "| 1 thread | layer768 |\n|---|---|\n",
        "\n| **backpropane --math f32** | ",
        "\n| PyTorch 2.15.0, as installed | 97.2 (98.5) |\n",
        "\n| candle 2.15.0 | 450 (452) |\n",
        "\n| PyTorch 2.15.0, compiled | 927 |\n",
        "\n| backpropane --math f32 over bf16 | ",
        "\n- left out: JAX: there is no `",
        "\n- left out: burn: there is no `",
    ] {
        assert!(shown.contains(want), "{want:?} is not in {shown}");
    }
    let ratio = shown.lines().find(|l| l.starts_with("  candle, layer768 ")).expect("a ratio");
    assert!(ratio.ends_with(" 1.000"), "{ratio}");
}

#[test]
fn a_program_that_fails_hangs_or_takes_another_step_is_named_and_the_rest_is_shown() {
    let other = LINE.replace("16.540979", "17.2");
    let torch = format!(
        "case \"$*\" in *bf16*) echo '{LINE}' ;; *--compile*) echo '{other}' ;; \
        *) echo trace >&2; echo 'ImportError: no torch' >&2; exit 1 ;; esac"
    );
    let place = place(&[
        ("peers/venvs/torch/bin/python", &torch),
        ("peers/target/release/peer-candle", "echo nothing"),
        ("peers/target/release/peer-burn", "exec sleep 600"),
    ]);
    let outcome = place.run(&format!("{BENCH} --rounds 1 --limit 10"));
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    for (name, why) in [
        ("PyTorch, as installed", "it ended with exit status: 1: ImportError: no torch"),
        (
            "PyTorch, compiled",
            "its norm of the first gradient is 17.2, that of the others 16.54098: it is another step",
        ),
        ("candle", "`nothing` is no line of a measurement"),
        ("burn", "it took longer than 10 s; `--limit` gives it more time"),
    ] {
        let sentence = format!("{name} did not train layer768: {why}");
        assert_eq!(outcome.stderr.matches(&sentence).count(), 1, "{sentence}: {}", outcome.stderr);
        assert!(outcome.stdout.contains(&format!("\n- {sentence}")), "{}", outcome.stdout);
        assert!(outcome.stdout.contains(&format!("\n| {name} | – |\n")), "{}", outcome.stdout);
    }
    assert!(
        outcome.stdout.contains("\n| PyTorch 2.15.0, compiled, bf16 | 97.2 (98.5) |\n"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn folders_that_are_not_there_are_refused_before_anything_runs() {
    let place = place(&[("peers/venvs/torch/bin/python", "echo run >> calls")]);
    for (args, want) in [
        (
            "bench peers",
            "error: `benches/peers` has no `common.py`: it is not the folder of the other programs",
        ),
        ("bench peers --folder peers --venvs gone", "error: there is no folder `gone`"),
        ("bench peers --folder peers --log no/such/out", "error: cannot write `no/such/out`"),
    ] {
        let outcome = place.run(args);
        assert_eq!(outcome.code, Some(2), "{args}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(want) && outcome.stderr.contains("hint: "), "{}", outcome.stderr);
    }
    assert!(!place.exists("peers/calls"));
}
