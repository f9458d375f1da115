//! Probes of the engine, where the software engine is all there is, and what their verdicts are good for.

use crate::place::Place;
use anelint::probe;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn probes_are_listed() {
    let place = Place::new();
    let text = place.succeed("probe").stdout;
    assert!(text.contains("binding") && text.contains("S1") && text.ends_with("probes\n"), "{text}");
    let listed = place.succeed("probe --json").json();
    let ids: Vec<&str> = listed.as_array().expect("a list").iter().filter_map(|p| p["id"].as_str()).collect();
    assert_eq!(ids.len(), probe::all().count() + 1, "and `sram`");
    assert!(probe::all().all(|p| ids.contains(&p.id)) && ids.contains(&"sram"));
    assert_eq!(ids.last(), Some(&"compile-budget"), "what wears the engine out comes last");
}

#[test]
fn a_probe_says_that_the_software_engine_answered() {
    let place = Place::new();
    let text = place.succeed("probe attention-mask --threads 1").stdout;
    assert!(text.starts_with("software engine: it breaks no rule"), "{text}");
    assert!(
        text.contains("attention-mask        T15  software engine, differs: with a causal mask it runs"),
        "{text}"
    );
    let json = place.succeed("probe saturation --json").json();
    assert_eq!((&json["engine"], &json["chip_family"]), (&"soft".into(), &Value::Null));
    assert!(json["label"].as_str().is_some_and(|l| l.contains("nothing about hardware")), "{json}");
    let findings = &json["probes"][0]["findings"];
    assert_eq!((&findings[0]["about"], &findings[1]["about"]), (&"N8".into(), &"N1".into()));
    assert_eq!(findings[0]["numbers"]["largest_right_sum"], 65504.0);
    let unknown = place.run("probe nothing");
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown.stderr.contains("no probe `nothing`") && unknown.stderr.contains("hint: "),
        "{}",
        unknown.stderr
    );
    let nowhere = place.run("probe binding --submit-file no/such/file");
    assert_eq!(nowhere.code, Some(2));
    assert!(nowhere.stderr.contains("cannot write `no/such/file`"), "{}", nowhere.stderr);
}

#[test]
fn all_verdicts_are_written_for_a_report() {
    let place = Place::new();
    let outcome = place.succeed("probe all --submit-file verdicts.json");
    assert!(outcome.stderr.contains("verdicts are in `verdicts.json`"), "{}", outcome.stderr);
    let file: Value = serde_json::from_slice(&place.read("verdicts.json")).expect("JSON");
    for key in ["format", "version", "system", "chip", "engine_name"] {
        assert!(file[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {file}");
    }
    let probes = file["probes"].as_array().expect("a list");
    let ids: BTreeSet<&str> = probes.iter().filter_map(|p| p["id"].as_str()).collect();
    assert!(probe::all().all(|p| ids.contains(p.id)) && ids.contains("sram") && ids.len() == probes.len());
    let findings: Vec<&Value> = probes.iter().filter_map(|p| p["findings"].as_array()).flatten().collect();
    let count = |verdict: &str| findings.iter().filter(|f| f["verdict"] == verdict).count();
    let said = |key: &str| file[key].as_u64().expect("a number") as usize;
    assert_eq!(count("as-in-the-table"), said("as_in_the_table"));
    assert_eq!(count("differs"), said("differ"));
    assert_eq!(count("could-not-tell"), said("could_not_tell"));
    // This engine has no quality of service, and times after a rest wander on a busy machine.
    let doubtful = findings.iter().filter(|f| f["verdict"] == "could-not-tell");
    let doubtful: BTreeSet<&str> = doubtful.filter_map(|f| f["about"].as_str()).collect();
    assert!(doubtful.contains("W8") && doubtful.is_subset(&["W8", "P13"].into()), "{doubtful:?}");
    assert_eq!(outcome.stdout.matches("software engine, ").count(), findings.len(), "{}", outcome.stdout);
}

#[test]
fn a_budget_leaves_probes_in_doubt_and_none_unanswered() {
    let place = Place::new();
    let json = place.succeed("probe all --json --threads 1 --compile-budget 1").json();
    let probes = json["probes"].as_array().expect("a list");
    assert_eq!(probes.len(), probe::all().count() + 1);
    let of = |id: &str| probes.iter().find(|p| p["id"] == id).unwrap_or_else(|| panic!("{id}"));
    assert_eq!(of("dense")["findings"][0]["verdict"], "as-in-the-table");
    let budget = &of("compile-budget")["findings"][0];
    assert_eq!(budget["verdict"], "could-not-tell");
    assert!(
        budget["says"].as_str().is_some_and(|s| s.contains("1 programs") && s.contains("our own budget")),
        "{budget}"
    );
}

/// A file of verdicts as a Mac would write it.
fn submission(engine: &str, family: Value) -> Value {
    let finding = |about: &str, seen: &str, consequence: Value| json!({ "about": about, "rule": null, "seen": seen, "verdict": "differs", "says": "", "consequence": consequence, "numbers": {} });
    let findings = [
        finding("T15", "holds-not", Value::Null),
        finding("S7", "holds", "refused at compile".into()),
        finding("T16", "unclear", Value::Null),
        finding("S1", "holds", "crash or hang".into()),
    ];
    json!({
        "format": "backpropane verdicts 1", "version": "0", "system": "macOS", "chip": "Apple M4 Pro",
        "chip_family": family, "engine": engine, "engine_name": "", "label": "", "as_in_the_table": 0, "differ": 4,
        "could_not_tell": 0, "probes": [{ "id": "many", "question": "?", "seconds": 1.0, "findings": findings }]
    })
}

#[test]
fn verdicts_of_a_chip_override_the_table() {
    const PROGRAM: &str = "program(1.3) {
    func main<ios18>(tensor<fp16, [1, 768, 32, 16]> q, tensor<fp16, [1, 768, 32, 16]> a, tensor<fp16, [1, 1, 32, 32]> z) {
        tensor<fp16, [1, 768, 32, 16]> y = scaled_dot_product_attention(query = q, key = a, value = q, attn_mask = z);
    } -> (y);
}";
    let place = Place::new();
    place.write("program.mil", PROGRAM);
    place.write("m4.json", submission("apple", "M4".into()).to_string());
    let found = |args: &str| -> Vec<(String, String)> {
        let json = place.run(&format!("mil check program.mil --json {args}")).json();
        let list = json[0]["diagnostics"].as_array().expect("a list").clone();
        let text = |d: &Value, key: &str| d[key].as_str().unwrap_or_default().to_owned();
        list.iter().map(|d| (text(d, "code"), text(d, "message"))).collect()
    };
    let has = |found: &[(String, String)], code: &str| found.iter().any(|(c, _)| c == code);
    let table = found("--chip m4");
    assert!(has(&table, "T15") && has(&table, "S1") && !has(&table, "S7"), "{table:?}");
    let measured = found("--chip m4 --profile m4.json");
    assert!(!has(&measured, "T15") && has(&measured, "S7"), "{measured:?}");
    let order = measured.iter().find(|(code, _)| code == "S1").expect("S1");
    assert!(order.1.contains("crash or hang, on M4 (measured)"), "{order:?}");
    // Of other chips the file says nothing.
    let both = found("--chip m1,m4 --profile m4.json");
    assert!(both.iter().any(|(code, text)| code == "T15" && text.contains("on M1")), "{both:?}");
    assert_eq!(both.iter().filter(|(code, _)| code == "S1").count(), 2, "{both:?}");

    let rules = place.succeed("mil rules T15 S7 T16 --profile m4.json").stdout;
    assert!(rules.contains("it does not hold on this M4"), "{rules}");
    assert!(rules.contains("it holds on this M4: refused at compile"), "{rules}");
    let ids = |args: &str| -> Vec<String> {
        let json = place.succeed(&format!("mil rules --json {args}")).json();
        json.as_array().expect("a list").iter().filter_map(|r| r["id"].as_str().map(str::to_owned)).collect()
    };
    let (table, measured) = (ids("--chip m4"), ids("--chip m4 --profile m4.json"));
    assert!(table.contains(&"T15".to_owned()) && !table.contains(&"S7".to_owned()));
    assert!(!measured.contains(&"T15".to_owned()) && measured.contains(&"S7".to_owned()));
}

#[test]
fn files_that_say_nothing_of_a_chip_are_refused() {
    let place = Place::new();
    place.write("soft.json", submission("soft", Value::Null).to_string());
    place.write("unknown.json", submission("apple", Value::Null).to_string());
    let mut old = submission("apple", "M4".into());
    old["format"] = "something".into();
    place.write("old.json", old.to_string());
    place.write("broken.json", "{");
    for (file, want) in [
        ("soft.json", "its verdicts are of the software engine"),
        ("unknown.json", "`Apple M4 Pro` is not a chip that rules distinguish"),
        ("old.json", "its format is `something`"),
        ("broken.json", "holds no verdicts"),
        ("missing.json", "holds no verdicts"),
    ] {
        let outcome = place.run(&format!("mil rules --profile {file}"));
        assert_eq!(outcome.code, Some(2), "{file}");
        assert!(outcome.stderr.contains(want) && outcome.stderr.contains("hint: "), "{}", outcome.stderr);
    }
}

#[test]
fn a_program_is_not_run_on_an_engine_that_is_not_there() {
    let place = Place::new();
    place.write(
        "double.mil",
        "program(1.3) { func main<ios18>(tensor<fp16, [1, 64, 1, 64]> x) {
            tensor<fp16, [1, 64, 1, 64]> y = add(x = x, y = x);
        } -> (y); }",
    );
    let outcome = place.run("mil run double.mil --random 1 --engine ane");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""));
    assert!(outcome.stderr.contains("no Neural Engine here"), "{}", outcome.stderr);
}
