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

/// What is said of a run that new processes go on with: where norms are is among the arguments that they get.
#[test]
fn norms_of_the_host_give_the_same_losses_in_any_process() {
    let place = Place::new();
    let train = "train --model tiny --data text.txt --batch 1 --steps 4 --storage f32 --out";
    let losses = |out: &str| -> Vec<f64> {
        let lines = place.read(&format!("{out}/metrics.jsonl"));
        let lines = String::from_utf8_lossy(&lines).into_owned();
        let line = |line| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
        lines.lines().filter_map(|l| line(l)["loss"].as_f64()).collect()
    };
    place.succeed(&format!("{train} engine"));
    let host = "--norms host --weights";
    let said = place.succeed(&format!("{train} baked {host} baked --compile-budget 12")).stderr;
    assert!(said.contains("kernels  6 a layer, norms on the host, "), "{said}");
    place.succeed(&format!("{train} whole {host} baked"));
    place.succeed(&format!("{train} dynamic {host} dynamic"));
    let [engine, baked, whole, dynamic] = ["engine", "baked", "whole", "dynamic"].map(losses);
    assert!(engine.len() >= 4, "{engine:?}");
    assert_eq!((&baked, &whole), (&whole, &dynamic), "three ways on the host, one of them in many processes");
    for (e, h) in engine.iter().zip(&whole) {
        assert!((e - h).abs() <= 1e-5 * e, "{engine:?} and {whole:?}");
    }
    for command in ["eval --data text.txt --windows 2", "generate --prompt so --tokens 8 --seed 1"] {
        place.succeed(&format!("{command} --model whole --norms host"));
    }
    assert!(place.succeed("kernels --model tiny --norms host").stdout.contains("x2n 64 (host)"));
}
