//! Which engine computes, where there is no Neural Engine.

use crate::place::Place;

#[test]
fn the_neural_engine_is_refused_where_there_is_none() {
    let place = Place::new();
    for flag in ["--device", "--engine"] {
        let args = format!("train --model tiny --data text.txt --steps 1 {flag} ane --out run");
        let outcome = place.run(&args);
        assert_eq!(outcome.code, Some(1));
        assert!(outcome.stderr.contains("no Neural Engine here: this is "), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("`--device soft`"), "{}", outcome.stderr);
        assert!(!place.exists("run"), "nothing is written");
    }
}

#[test]
fn doctor_tries_the_software_engine_and_says_so() {
    let place = Place::new();
    let shown = place.succeed("doctor").stdout;
    assert!(shown.contains("\ninstead   trying the software engine"), "{shown}");
    assert!(
        shown.contains("\nverdict   no Neural Engine here; the software engine is all right\n"),
        "{shown}"
    );
    let found = place.succeed("doctor --json").json();
    assert_eq!((&found["neural_engine"], &found["healthy"]), (&false.into(), &true.into()));
    assert_eq!(found["tried"]["engine"], "soft");
    let trials = found["tried"]["trials"].as_array().expect("a list");
    assert!(trials.iter().all(|t| t["largest_difference"] == 0.0), "{found}");
}

#[test]
fn there_is_nothing_to_explore() {
    let outcome = Place::new().run("explore");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""));
    assert!(outcome.stderr.contains("no Neural Engine here"), "{}", outcome.stderr);
}

/// With a budget the software engine compiles as the hardware does: `tiny` has 12 kernels, of which 10 have weights.
#[test]
fn a_compile_budget_ends_a_run_and_changes_no_bit() {
    let place = Place::new();
    let train = "train --model tiny --data text.txt --batch 1 --steps 2 --quiet --out";
    let outcome = place.run(&format!("{train} short --compile-budget 31"));
    assert_eq!(outcome.code, Some(1));
    assert!(
        outcome.stderr.contains("would be compiled program 32, this process may compile 31"),
        "{}",
        outcome.stderr
    );
    place.succeed(&format!("{train} long --compile-budget 32"));
    place.succeed(&format!("{train} free"));
    assert!(place.read("long/model.safetensors") == place.read("free/model.safetensors"));
}
