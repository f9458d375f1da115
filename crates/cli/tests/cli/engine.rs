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

/// Dynamic weights: six programs for both layers of `tiny` and for every step.
#[test]
fn six_programs_are_enough_for_any_number_of_steps() {
    let place = Place::new();
    let train = "train --model tiny --data text.txt --batch 1 --steps 4 --quiet --out";
    place.succeed(&format!("{train} baked --weights baked"));
    place.succeed(&format!("{train} dynamic --weights dynamic --compile-budget 6"));
    assert!(place.read("dynamic/model.safetensors") == place.read("baked/model.safetensors"));
    let outcome = place.run(&format!("{train} short --weights dynamic --compile-budget 5"));
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("6 programs"), "{}", outcome.stderr);
    let eval = |weights: &str| {
        place
            .succeed(&format!("eval --model baked --data text.txt --windows 2 --weights {weights} --json"))
            .stdout
    };
    assert_eq!(eval("dynamic"), eval("baked"));
    let generate = |weights: &str| {
        let args = format!("generate --model baked --prompt so --tokens 8 --seed 1 --weights {weights}");
        place.succeed(&args).stdout
    };
    assert_eq!(generate("dynamic"), generate("baked"));
}
