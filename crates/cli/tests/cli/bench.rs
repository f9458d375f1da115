//! What measurements print, and how they are set beside earlier ones. No test looks at a time.

use crate::place::Place;

/// Every command that compares, quick, with its JSON in `name.json`.
const COMMANDS: [(&str, &str); 8] = [
    ("step", "bench step --model tiny --samples 1"),
    ("gemm", "bench gemm --model tiny --samples 1"),
    ("kernel", "bench kernel --model tiny --samples 1"),
    ("dispatch", "bench dispatch --samples 2"),
    ("compile", "bench compile --model tiny --samples 1"),
    ("ablation", "bench ablation --model tiny --samples 1"),
    ("scaling", "bench scaling --over layers --model tiny --sizes 1,2 --samples 1"),
    ("int8", "bench int8 --samples 1"),
];

#[test]
fn every_measurement_is_compared_with_its_own_json() {
    let place = Place::new();
    for (name, command) in COMMANDS {
        let command = format!("{command} --threads 1");
        let outcome = place.succeed(&format!("{command} --json"));
        assert_eq!(outcome.stderr, "", "{command}");
        place.write(&format!("{name}.json"), outcome.stdout.clone());
        let shown = place.succeed(&format!("{command} --compare {name}.json")).stdout;
        let (_, ratios) = shown.split_once("new/old, compared with").unwrap_or_else(|| panic!("{shown}"));
        assert!(ratios.lines().count() > 2, "{shown}");

        let json = place.succeed(&format!("{command} --json --compare {name}.json")).json();
        let first = if json.is_array() { &json[0] } else { &json };
        assert_eq!(first["command"].as_str(), Some(format!("bench {name}").as_str()), "{json}");
        let line = &first["compared"][0];
        let [old, new, ratio] = ["old", "new", "ratio"].map(|key| line[key].as_f64().expect("a number"));
        assert_eq!(ratio, new / old, "{line}");
    }
}

#[test]
fn results_of_another_command_model_or_thread_number_are_refused() {
    let place = Place::new();
    let json = place.succeed("bench gemm --model tiny --samples 1 --threads 1 --json").stdout;
    place.write("old.json", json);
    place.write("text.json", "{\"a\": 1}");
    place.write("broken.json", "{");
    for (args, want) in [
        (
            "kernel --model tiny --threads 1",
            "it is of `backpropane bench gemm`, this is `backpropane bench kernel`",
        ),
        ("gemm --model shakespeare --threads 1", "its model is `tiny`, here it is `shakespeare`"),
        ("gemm --model tiny --threads 2", "it was measured on 1 threads, this on 2"),
    ] {
        let outcome = place.run(&format!("bench {args} --samples 1 --compare old.json"));
        assert_eq!(outcome.code, Some(2), "{args}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(want) && outcome.stderr.contains("hint: "), "{}", outcome.stderr);
    }
    for (file, want) in [
        ("text.json", "is not a result of `backpropane bench gemm`"),
        ("broken.json", "is not a result"),
        ("missing.json", "is not a result"),
    ] {
        let outcome = place.run(&format!("bench gemm --model tiny --samples 1 --threads 1 --compare {file}"));
        assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(want) && outcome.stderr.contains("hint: "), "{}", outcome.stderr);
    }
}

#[test]
fn pictures_and_traces_are_written() {
    let place = Place::new();
    for (command, words) in [
        ("gemm --model tiny --samples 1", &["FLOP a byte", "queries"][..]),
        ("step --model tiny --samples 3", &["step", "ms", "tiny"]),
        ("ablation --model tiny --samples 1", &["all on", "+ deferred waits"]),
        ("scaling --over seq --model tiny --sizes 8,16 --samples 1", &["seq", "ms"]),
        ("int8 --samples 1", &["convolutions", "GFLOP/s", "256 channels, W8A8"]),
    ] {
        place.succeed(&format!("bench {command} --threads 1 --plot out.svg"));
        let svg = String::from_utf8(place.read("out.svg")).expect("text");
        assert!(svg.starts_with("<svg") && words.iter().all(|word| svg.contains(word)), "{command}: {svg}");
    }
    place.succeed("bench step --model tiny --samples 1 --trace out.json");
    let trace = place.read("out.json");
    let trace: serde_json::Value = serde_json::from_slice(&trace).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let is = |category: &str| events.iter().filter(|e| e["cat"] == category).count();
    assert!(is("engine") > 10 && is("cpu") > 10 && is("idle") > 0, "{trace}");
    assert!(events.iter().any(|e| e["name"] == "update, new weights"), "{trace}");
}

#[test]
fn files_that_could_not_be_written_are_refused_before_anything_is_measured() {
    let place = Place::new();
    let before = place.snapshot();
    for args in [
        "bench step --model tiny --trace no/such/out",
        "bench step --model tiny --plot no/such/out",
        "bench gemm --plot no/such/out",
        "bench ablation --model stories110m --plot no/such/out",
        "bench scaling --over layers --plot no/such/out",
        "bench peak --plot no/such/out",
        "bench sram --plot no/such/out",
        "train --model tiny --data text.txt --trace no/such/out",
    ] {
        let outcome = place.run(args);
        assert_eq!(outcome.code, Some(2), "{args}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("cannot write `no/such/out`"), "{args}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("hint: "), "{args}: {}", outcome.stderr);
    }
    assert!(before == place.snapshot(), "files have changed");
}

#[test]
fn the_last_steps_of_a_run_are_traced() {
    let place = Place::new();
    let train =
        "train --model tiny --data text.txt --steps 4 --quiet --out run --trace steps.json --trace-steps";
    place.succeed(&format!("{train} 3"));
    let text = String::from_utf8(place.read("steps.json")).expect("text");
    let trace: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("events");
    let count = |name: &str| events.iter().filter(|e| e["name"] == name).count();
    assert_eq!((count("0.L1.fwdAttn"), count("update, new weights")), (3, 3));
    let mut starts = events.iter().filter(|e| e["name"] == "0.embed").filter_map(|e| e["ts"].as_f64());
    let first = starts.next().expect("the first step");
    assert!(first >= 0.0 && starts.all(|start| start > first), "steps follow each other");
}

#[test]
fn a_sweep_of_working_sets_states_its_sizes_and_how_it_was_verified() {
    let place = Place::new();
    let json = place.succeed("bench sram --samples 1 --threads 2 --json").json();
    assert!(json["verified"].as_str().is_some_and(|v| v.contains("known by construction")), "{json}");
    assert_eq!(json["variant"], "small sizes");
    let stacks = json["stacks"].as_array().expect("a list");
    let number = |stack: &serde_json::Value, key: &str| {
        stack[key].as_f64().unwrap_or_else(|| panic!("{key}: {stack}"))
    };
    let mut before = 0.0;
    for stack in stacks {
        let channels = number(stack, "channels");
        assert_eq!(number(stack, "weight_bytes"), 2.0 * channels * channels);
        // An input and an output of 64 columns.
        assert_eq!(number(stack, "working_bytes"), 2.0 * channels * (channels + 2.0 * 64.0));
        assert!(number(stack, "working_bytes") > before, "from small to large");
        before = number(stack, "working_bytes");
        let gflops = number(stack, "flops") / number(stack, "ms") / 1e6;
        assert!(
            (number(stack, "gflops") / gflops - 1.0).abs() < 1e-9 && stack["problem"].is_null(),
            "{stack}"
        );
    }
    assert_eq!(number(&stacks[0], "channels"), 256.0);
}

/// As on a processor without AVX-512, which reports name.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_process_can_be_restricted_to_avx2() {
    let place = Place::new();
    let bench = "bench step --model tiny --samples 1 --threads 1";
    let refused = place.run(&format!("{bench} --isa sse"));
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("one of native, avx2"), "{}", refused.stderr);
    let has = std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma")
        && std::arch::is_x86_feature_detected!("f16c");
    let outcome = place.run(&format!("{bench} --isa avx2"));
    if has {
        assert!(outcome.stdout.contains("x86_64 with AVX2,"), "{}{}", outcome.stdout, outcome.stderr);
    } else {
        assert_eq!(outcome.code, Some(2));
        assert!(outcome.stderr.contains("instructions of `avx2`"), "{}", outcome.stderr);
    }
}

#[test]
fn generation_is_measured() {
    let place = Place::new();
    let args = "bench generate --model tiny --prompt-tokens 20 --tokens 5 --samples 1 --batch 2";
    let result = place.succeed(&format!("{args} --json")).json();
    for key in ["first_ms", "token_ms", "decode_tokens_per_second", "bandwidth", "bandwidth_share"] {
        assert!(result[key].as_f64() > Some(0.0), "{key}: {result}");
    }
    place.write("old.json", result.to_string());
    let compared = place.succeed(&format!("{args} --compare old.json")).stdout;
    assert!(compared.contains("memory bandwidth") && compared.contains("a further token"), "{compared}");
    let refused = place.run("bench generate --model layer768");
    assert!(
        refused.code == Some(2) && refused.stderr.contains("is not trained on text"),
        "{}",
        refused.stderr
    );
}
