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

/// Products on a tile unit, where there is none, and what `auto` is instead.
#[test]
fn products_are_named_and_refused_where_the_processor_lacks_them() {
    let place = Place::new();
    let auto = softane::gemm::auto().name();
    let shown = place.succeed("doctor").stdout;
    assert!(shown.contains(&format!("\nproducts  --math auto is {auto}\n")), "{shown}");
    let found = place.succeed("doctor --json").json();
    assert_eq!(found["products"]["auto"], auto);
    let kernels = found["products"]["kernels"].as_array().expect("a list");
    assert!(kernels.iter().any(|name| name == "generic-f32"), "{found}");
    let train = "train --model tiny --data text.txt --batch 1 --steps 1";
    let run = place.succeed(&format!("{train} --out run --math auto")).stderr;
    assert!(run.contains(&format!("products {auto}, micro-kernel ")), "{run}");
    let refused = place.run(&format!("{train} --out other --math f16x3"));
    match softane::tile_unit::status() {
        Ok(()) => assert_eq!((refused.code, &found["products"]["no_tile_unit"]), (Some(0), &().into())),
        Err(reason) => {
            assert_eq!(found["products"]["no_tile_unit"], reason.to_string());
            assert!(shown.contains(&format!("\nAMX       not used: {reason}\n")), "{shown}");
            let said = refused.stderr;
            assert_eq!(refused.code, Some(1), "{said}");
            assert!(said.contains("products in f16x3 need AMX with BF16"), "{said}");
            assert!(said.contains(&reason.to_string()) && said.contains("`--math f32`"), "{said}");
            assert!(!place.exists("other"), "nothing is written");
        }
    }
    let bench = place.run("bench step --model tiny --samples 1 --threads 1 --json").json();
    assert_eq!(bench[0]["math"], auto);
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

/// What a model is computed on, and how it becomes kernels, is said with the same flags everywhere.
#[test]
fn every_command_that_computes_has_the_same_flags() {
    let place = Place::new();
    let paragraphs = |command: &str| -> Vec<String> {
        let help = place.succeed(&format!("{command} --help")).stdout;
        let flags = ["--storage", "--math", "--norms", "--device", "--weights", "--threads"];
        let paragraph = |flag: &&str| {
            let from =
                help.find(&format!("      {flag} <")).unwrap_or_else(|| panic!("{command}: no {flag}"));
            let next = ["\n\n      --", "\n\n  -h"].iter().filter_map(|end| help[from..].find(end)).min();
            help[from..from + next.expect("another flag")].to_owned()
        };
        flags.iter().map(paragraph).collect()
    };
    let train = paragraphs("train");
    for command in ["eval", "generate", "chat", "grads", "kernels", "bench step", "bench generate"] {
        assert_eq!(paragraphs(command), train, "{command}");
    }
    place.succeed("train --model tiny --data text.txt --batch 1 --steps 2 --out run");
    for flags in ["--storage f32", "--storage f16 --norms engine", "--norms auto --math int16 --device soft"]
    {
        place.succeed(&format!("eval --model run --data text.txt --windows 2 {flags}"));
        place.succeed(&format!("generate --model run --prompt so --tokens 3 --seed 1 {flags}"));
        place.succeed(&format!("kernels --model run {flags}"));
    }
    let eval = |flags: &str| {
        let args = format!("eval --model run --data text.txt --windows 2 --json {flags}");
        let loss = serde_json::from_str::<serde_json::Value>(&place.succeed(&args).stdout).expect("JSON");
        loss["loss"].as_f64().expect("a loss")
    };
    let (half, whole) = (eval(""), eval("--storage f32"));
    assert!(half != whole && (half / whole - 1.0).abs() < 1e-3, "{half} and {whole}");
}

/// Software takes every plan; the report has each kernel with its program's hash.
#[test]
fn doctor_shows_which_plans_of_kernels_are_taken() {
    let place = Place::new();
    let shown = place.succeed("doctor --kernels --model tiny --submit-file kernels.json").stdout;
    for line in [
        "plan      `six`: ",
        "plan      `fine`: ",
        "          compiled: fwdAttn, fwdFFN",
        "verdict   `six`: ",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let report: serde_json::Value = serde_json::from_slice(&place.read("kernels.json")).expect("JSON");
    assert_eq!(report["takes"], "six");
    let kernels = |rung: usize| report["rungs"][rung]["kernels"].as_array().expect("a list");
    assert_eq!((0..5).map(|rung| kernels(rung).len()).collect::<Vec<_>>(), [6, 6, 6, 6, 20]);
    let hash = |rung: usize, kernel: usize| kernels(rung)[kernel]["mil_fnv1a64"].as_str().expect("a hash");
    assert_eq!(hash(0, 0).len(), 16);
    assert_ne!(hash(0, 0), hash(1, 0), "a norm less");
    assert_eq!(hash(0, 2), hash(1, 2), "the same program");
    let outcome = place.run("doctor --model tiny");
    assert_eq!(outcome.code, Some(2));
    let outcome = place.run("doctor --kernels --model nothing");
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
}
