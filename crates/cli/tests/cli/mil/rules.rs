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
    assert_eq!(all.as_array().map(Vec::len), Some(anelint::rules::all().count()));
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

/// A program of fp16 from `a` to `z`, with a `buildInfo`.
fn sound(body: &str) -> String {
    format!(
        "program(1.3)
[buildInfo = dict<string, string>({{{{\"coremlc-version\", \"3505.4.1\"}}}})]
{{
    func main<ios18>(tensor<fp16, [1, 768, 1, 64]> a) {{
        {}
    }} -> (z);
}}",
        body.replace("TY", "tensor<fp16, [1, 768, 1, 64]>")
    )
}

#[test]
fn the_output_is_written_where_nothing_is_to_repair() {
    let place = Place::new();
    // Spaces as nobody prints them: the text stays as it was.
    for (name, body) in [
        ("relu", "TY z  =  relu(x = a)[name = string(\"z\")];"),
        ("add", "TY z = add(x=a, y=a)[name = string(\"z\")];"),
        (
            "mask",
            "fp16 low = const()[val = fp16(-inf)]; fp16 no = const()[val = fp16(0)]; TY d = mul(x = a, y = no); TY z = mul(x = d, y = low);",
        ),
    ] {
        let text = sound(body);
        place.write("model.mil", &text);
        let outcome = place.succeed(&format!("mil check model.mil --chip m4 --fix --out {name}.mil"));
        assert!(outcome.stderr.contains("as it was, is in"), "{}", outcome.stderr);
        assert_eq!(place.read(&format!("{name}.mil")), text.as_bytes());
        let verdict = if name == "mask" { "`z` multiplies with infinity" } else { "nothing to repair" };
        assert!(outcome.stdout.contains(verdict), "{}", outcome.stdout);
    }
    // Without --out the file is left alone.
    let before = place.read("model.mil");
    place.succeed("mil check model.mil --chip m4 --fix");
    assert_eq!(place.read("model.mil"), before);
}

/// `rsqrt` is refused on M3 Max and M4, the power -½ ran on M1 to M5.
#[test]
fn a_power_becomes_no_rsqrt_and_rsqrt_a_power() {
    let place = Place::new();
    let half = "fp16 h = const()[name = string(\"h\"), val = fp16(-0.5)]; TY z = pow(x = a, y = h)[name = string(\"z\")];";
    place.write("pow.mil", sound(half));
    let rsqrt = "fp16 e = const()[name = string(\"e\"), val = fp16(0x1p-10)]; TY z = rsqrt(x = a, epsilon = e)[name = string(\"z\")];";
    place.write("rsqrt.mil", sound(rsqrt));
    for name in ["pow", "rsqrt"] {
        for chips in ["m1", "m3", "m4", "all"] {
            place.succeed(&format!("mil check {name}.mil --chip {chips} --fix --out out.mil"));
            let text = String::from_utf8(place.read("out.mil")).expect("a text");
            assert!(text.contains("= pow(") && !text.contains("rsqrt("), "{name} for {chips}: {text}");
        }
    }
}

#[test]
fn a_rule_says_who_saw_it_and_for_whom_it_ran() {
    let place = Place::new();
    let text = place.succeed("mil rules T22").stdout;
    for part in ["source      christopherkarani/Espresso; maderix/h3.c-ane", "ran for", "mechramc/Orion"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = place.succeed("mil rules T22 T34 T26 --json").json();
    assert_eq!(json[0]["sure"], false);
    assert_eq!((&json[1]["sure"], json[1]["against"].as_array().map(Vec::len)), (&true.into(), Some(0)));
    // One report, and no published test.
    assert_eq!((&json[2]["sure"], json[2]["source"].as_array().map(Vec::len)), (&false.into(), Some(1)));
}
