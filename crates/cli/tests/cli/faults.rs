//! Settings that spoil a run, or have no effect: what is said of them, and that it helps.

use crate::place::{Outcome, Place};

const TINY: &str = "train --model tiny --data text.txt --batch 1 --threads 1 --quiet";

/// The arguments of `train` between the backquotes of a hint.
fn advised(outcome: &Outcome) -> String {
    let hint = outcome.stderr.lines().find_map(|line| line.strip_prefix("hint: ")).expect("a hint");
    let flags = hint.split('`').nth(1).expect("a command");
    flags.rsplit_once("train ").map_or(flags, |(_, flags)| flags).to_owned()
}

#[test]
fn a_hint_names_the_setting_that_is_at_fault_and_it_helps() {
    let place = Place::new();
    for (out, given, flag) in [
        ("lr", "--lr 1e5", "--lr 0.003"),
        ("muon", "--optimizer muon --muon-lr 3000 --warmup 0", "--muon-lr 0.02"),
        ("scale", "--loss-scale 1e30", "--loss-scale 256.0"),
    ] {
        let spoilt = place.run(&format!("{TINY} --steps 60 --save-every 0 {given} --out {out}"));
        assert_eq!(spoilt.code, Some(1), "{given}: {}", spoilt.stderr);
        let advice = advised(&spoilt);
        assert_eq!(advice, flag, "{}", spoilt.stderr);
        // The last flag of a name counts.
        let (name, value) = given.rsplit_once(' ').expect("a flag and a value");
        let given = if given.contains("--warmup") { "--optimizer muon" } else { "" };
        assert!(!name.is_empty() && !value.is_empty());
        let mended = place.succeed(&format!("{TINY} --steps 12 {given} {advice} --out {out}-mended"));
        assert_eq!(mended.stderr, "", "{advice}");
    }
}

#[test]
fn a_resumed_run_is_told_what_to_undo() {
    let place = Place::new();
    place.succeed(&format!("{TINY} --steps 4 --out run"));
    let spoilt = place.run("train --resume --out run --steps 40 --loss-scale 1e30 --threads 1 --quiet");
    assert!(spoilt.stderr.contains("Go on from step 4 with a smaller loss scale"), "{}", spoilt.stderr);
    let mended = place.succeed(&format!("train {} --steps 6 --threads 1", advised(&spoilt)));
    assert!(mended.stderr.contains("; resuming changes steps 4 → 6"), "{}", mended.stderr);
}

#[test]
fn a_loss_that_ends_above_its_start_is_a_warning() {
    let place = Place::new();
    let outcome = place.succeed(&format!("{TINY} --steps 12 --warmup 0 --lr 3 --storage f32 --out run"));
    let said = &outcome.stderr;
    assert!(said.starts_with("warning: the loss ends at ") && said.contains("--lr 0.003"), "{said}");
    assert_eq!(place.succeed(&format!("{TINY} --steps 12 --out calm")).stderr, "");
}

#[test]
fn a_setting_without_effect_is_refused() {
    let place = Place::new();
    let refused = |args: &str, want: &str| {
        let outcome = place.run(args);
        assert_eq!((outcome.code, outcome.stderr.lines().next()), (Some(2), Some(want)), "{args}");
        assert!(outcome.stderr.contains("hint: Leave it out"), "{}", outcome.stderr);
    };
    let adamw = "has no effect: the optimizer of this run is `adamw`";
    refused(&format!("{TINY} --muon-lr 0.1 --out run"), &format!("error: `--muon-lr` {adamw}"));
    let text = "error: `--pack` has no effect: the data are no lines of JSON";
    refused(&format!("{TINY} --pack on --out run"), text);
    refused(&format!("{TINY} --muon-iterations 3 --out run"), &format!("error: `--muon-iterations` {adamw}"));
    assert!(!place.exists("run"));
    place.succeed(&format!("{TINY} --steps 2 --output-init zero --out run"));
    let trained = "error: `--output-init` has no effect: the model has trained weights";
    refused("train --resume --out run --steps 3 --output-init zero", trained);
    refused("train --model run --data text.txt --out next --output-init scaled", trained);
    refused("train --resume --out run --steps 3 --muon-lr 0.1", &format!("error: `--muon-lr` {adamw}"));
}

#[test]
fn resuming_what_is_not_there_says_so() {
    let place = Place::new();
    let outcome = place.run("train --resume --out nowhere");
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome.stderr.contains("error: `nowhere` holds no checkpoint to resume from"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("name the folder of an earlier run with `--out`"), "{}", outcome.stderr);
}

#[test]
fn the_header_names_the_optimizer_its_rates_and_what_resuming_changes() {
    let place = Place::new();
    let loud = TINY.trim_end_matches(" --quiet");
    let said = place.succeed(&format!("{loud} --steps 2 --lr 1e-3 --out run")).stderr;
    assert!(said.contains("update   AdamW, learning rate 0.001, cosine\n"), "{said}");
    let said = place.succeed("train --resume --out run --steps 4 --lr 5e-4 --beta2 0.9 --threads 1").stderr;
    let want = "update   AdamW, learning rate 0.0005, cosine; resuming changes steps 2 → 4, lr 0.001 → 0.0005, \
                beta2 0.95 → 0.9\n";
    assert!(said.contains(want), "{said}");
    let said = place.succeed(&format!("{loud} --steps 2 --optimizer muon --muon-lr 0.01 --out muon")).stderr;
    let want = "update   Muon with learning rate 0.01, AdamW 0.003 for all but layers' matrices, cosine\n";
    assert!(said.contains(want), "{said}");
    let lion = "--optimizer lion --ema 0.9 --loss-scale auto";
    let said = place.succeed(&format!("{loud} --steps 2 {lion} --out lion")).stderr;
    let want =
        "update   Lion, learning rate 0.00075, cosine, average of weights with decay 0.9, loss scale auto\n";
    assert!(said.contains(want), "{said}");
}

#[test]
fn a_number_beyond_its_range_is_told_the_range() {
    let place = Place::new();
    for (flags, want) in [
        ("--beta2 1", "a number from 0 to below 1 is needed"),
        ("--lr 0", "a number above 0 is needed"),
        ("--steps 99999999999999999999", "a whole number of at most 18446744073709551615 is needed"),
    ] {
        let outcome = place.run(&format!("train {flags}"));
        assert!(outcome.code == Some(2) && outcome.stderr.contains(want), "{flags}: {}", outcome.stderr);
    }
}
