//! Rules of engines: explained, checked, repaired.

use crate::place::Place;

/// Masked attention between inputs whose order a real engine changes.
const MASKED: &str = "program(1.3) {
    func main<ios18>(tensor<fp16, [1, 2, 32, 64]> q, tensor<fp16, [1, 2, 32, 64]> k, tensor<fp16, [1, 2, 32, 64]> v, tensor<fp16, [1, 1, 32, 32]> mask) {
        tensor<fp16, [1, 2, 32, 64]> out = scaled_dot_product_attention(query = q, key = k, value = v, attn_mask = mask);
    } -> (out);
}";

#[test]
fn a_rule_is_explained() {
    let place = Place::new();
    let text = place.succeed("mil rules s6").stdout;
    for part in ["S6", "multiple of 16", "error 0x1d", "confidence", "source", "--fix"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let all = place.succeed("mil rules --json").json();
    assert_eq!(all.as_array().map(Vec::len), Some(ane::rules::all().count()));
    let some = place.succeed("mil rules --json --chip m3").json();
    assert!(some.as_array().map(Vec::len) < all.as_array().map(Vec::len));
    let unknown = place.run("mil rules S99");
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("there is no such rule"), "{}", unknown.stderr);
    let unknown = place.run("mil check a.mil --chip m99");
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.stderr.contains("there is no chip `m99`"), "{}", unknown.stderr);
}

#[test]
fn what_breaks_rules_is_told_by_chip() {
    let place = Place::new();
    place.write("masked.mil", MASKED);
    let codes = |args: &str| -> Vec<String> {
        let json = place.run(args).json();
        let list = json[0]["diagnostics"].as_array().expect("a list").clone();
        list.iter().filter_map(|d| d["code"].as_str().map(str::to_owned)).collect()
    };
    assert!(codes("mil check masked.mil --json").is_empty());
    let found = codes("mil check masked.mil --chip m4 --json");
    for id in ["T2", "T15", "S1"] {
        assert!(found.iter().any(|f| f == id), "{id}: {found:?}");
    }
}

#[test]
fn repairs_are_proven_and_written_where_they_are_wanted() {
    let place = Place::new();
    place.write("masked.mil", MASKED);
    let outcome = place.run("mil check masked.mil --chip m4 --fix --out repaired.mil");
    assert!(outcome.stdout.contains("proven: "), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("input `mask` of `main` is now"), "{}", outcome.stdout);
    assert_eq!(place.read("masked.mil"), MASKED.as_bytes());
    let json = place.run("mil check repaired.mil --chip m4 --json").json();
    let left = json[0]["diagnostics"].to_string();
    for id in ["T2", "T15", "S1"] {
        assert!(!left.contains(&format!("\"code\":\"{id}\"")), "{id}: {left}");
    }
    assert_eq!(outcome.code, Some(if json[0]["errors"] == 0 { 0 } else { 1 }));
}

#[test]
fn a_program_with_mistakes_is_not_repaired() {
    let place = Place::new();
    let wrong = MASKED.replace("value = v", "value = w");
    place.write("wrong.mil", &wrong);
    let outcome = place.run("mil check wrong.mil --fix");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("`w` is not defined"), "{}", outcome.stderr);
    assert_eq!(place.read("wrong.mil"), wrong.as_bytes());
    let outcome = place.run("mil check wrong.mil other.mil --fix --out x.mil");
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
}
