//! What a finding says, how bad it is, and that one stands for many.

use super::check;
use anelint::rules::{self, Chip, Confidence, Consequence, Route, Stance, Violation};
use mil::diag::{Diagnostic, Place, Severity};
use std::collections::BTreeSet;

fn program(params: &str, body: &str, results: &str) -> String {
    format!(
        "program(1.3)\n[buildInfo = dict<string, string>({{}})]\n{{\n    func main<ios18>({params}) {{\n{body}\n    }} -> ({results});\n}}\n"
    )
}

/// The findings of rule `id` in a program, for `chips`.
fn of(id: &str, [params, body, results]: [&str; 3], chips: &[Chip]) -> Vec<Violation> {
    let found = check(&program(params, body, results), chips);
    found.into_iter().filter(|f| f.rule.id == id).collect()
}

fn said(id: &str, program: [&str; 3]) -> Diagnostic {
    of(id, program, &[Chip::M4]).first().expect("found").diagnostic()
}

const NARROW: [&str; 3] =
    ["tensor<fp16, [1, 64, 1, 24]> a", "tensor<fp16, [1, 64, 1, 24]> b = relu(x = a);", "b"];

#[test]
fn a_finding_says_the_numbers_the_consequence_and_the_repair() {
    let narrow = said("S6", NARROW);
    assert_eq!(
        narrow.message,
        "input `a` has a last axis of 24, no multiple of 16 (and 1 more place): error 0x1d at evaluation, on M4"
    );
    assert_eq!(narrow.help.as_deref(), Some("Pad the last axis to a multiple of 16."));
    let text = program(NARROW[0], NARROW[1], NARROW[2]);
    let report = mil::Report { diagnostics: vec![narrow] }.render("narrow.mil", &text);
    assert!(report.starts_with("error[S6]: input `a`"), "{report}");
    assert!(report.contains("narrow.mil:4:51"), "{report}");
}

#[test]
fn doubt_makes_errors_warnings() {
    let severity = |id, program| said(id, program).severity;
    let wide = ["tensor<fp32, [1, 64, 1, 24]> a", "tensor<fp32, [1, 64, 1, 24]> b = relu(x = a);", "b"];
    assert_eq!(severity("S6", NARROW), Severity::Error);
    assert_eq!(severity("S6", wide), Severity::Warning);
    assert!(said("S6", wide).help.is_some_and(|h| h.contains("Reports differ")));
    // Wrong numbers, asserted only, reports differ, slow.
    let sum = ["fp16 a", "fp16 b = tile(x = a); fp16 c = gelu(x = b);", "c"];
    assert_eq!((severity("T27", sum), severity("T16", sum)), (Severity::Warning, Severity::Warning));
    assert_eq!(severity("P1", NARROW), Severity::Warning);
}

#[test]
fn chips_with_the_same_finding_share_it_and_others_have_their_own() {
    let long = ["tensor<fp16, [1, 64, 1, 20000]> a", "tensor<fp16, [1, 64, 1, 20000]> b = relu(x = a);", "b"];
    let all = of("S12", long, &Chip::ALL);
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].chips, [Chip::A13, Chip::A14, Chip::A15, Chip::M1, Chip::M2]);
    // Reports differ on the engines from A16 on.
    assert_eq!(all[1].chips, [Chip::A16, Chip::A17, Chip::M3, Chip::M4, Chip::M5, Chip::M6]);
    assert!(all[0].disputed.is_none() && all[1].disputed.is_some());
    assert_eq!(all[0].message, all[1].message);
    let small = ["tensor<fp16, [1, 8, 1, 64]> a", "tensor<fp16, [1, 8, 1, 64]> b = relu(x = a);", "b"];
    let all = of("S4", small, &Chip::ALL);
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all[0].message.ends_with("fewer than 16384"), "{}", all[0].message);
}

#[test]
fn routes_and_chips_that_are_not_asked_for_are_left_alone() {
    let gelu =
        program("tensor<fp16, [1, 64, 1, 64]> a", "tensor<fp16, [1, 64, 1, 64]> b = gelu(x = a);", "b");
    let read = mil::text::read(&gelu);
    let ids = |chips: &[Chip], route| {
        rules::check(&read, chips, route).iter().map(|f| f.rule.id).collect::<Vec<_>>()
    };
    assert!(ids(&[Chip::M4], Route::InMemory).contains(&"T16"));
    assert!(!ids(&[Chip::M4], Route::E5rt).contains(&"T16"));
    assert!(ids(&[], Route::Both).is_empty());
}

#[test]
fn nested_blocks_and_unknown_operations_are_looked_at() {
    let body = "tensor<fp16, [1, 64, 1, 64]> b = cond(pred = p, _true_fn = f)(tensor<fp16, [1]> q) {\
        tensor<fp16, [1, ?, 1, 64]> d = inverse(x = a); } -> (d);";
    let text = program("tensor<fp16, [1, 64, 1, 64]> a, bool p", body, "b");
    let read = mil::text::read(&text);
    if read.report.has_errors() {
        panic!("{}", read.report.render("nested", &text));
    }
    let ids: Vec<_> = rules::check(&read, &[Chip::M4], Route::Both).iter().map(|f| f.rule.id).collect();
    assert!(ids.contains(&"T21") && ids.contains(&"T34"), "{ids:?}");
}

/// Each rule whose breach is an error, wherever it is sure of the form.
const ERRORS: &str = "W3 W4 W6 W16 S6 S13 S16 S17 S19 T1 T2 T3 T4 T6 T8 T24 T25 T32 T33 T34 T35 T37 T38 T39";

/// Two independent reports, or one with a published test, and none of success.
#[test]
fn an_error_has_evidence_enough() {
    let fails = |c: Consequence| {
        matches!(
            c,
            Consequence::Refused | Consequence::LoadFailure | Consequence::Evaluation | Consequence::Crash
        )
    };
    let mut errors = Vec::new();
    for rule in rules::all() {
        let finding = Violation {
            rule,
            chips: vec![Chip::M4],
            place: Place::Nowhere,
            message: String::new(),
            count: 1,
            disputed: None,
            measured: None,
        };
        let holds = || rule.source.iter().filter(|r| r.says != Stance::Ran);
        assert!(holds().count() > 0, "{}: nobody reports it", rule.id);
        if finding.severity() != Severity::Error {
            assert!(!fails(rule.consequence) || !rule.is_sure(), "{}", rule.id);
            continue;
        }
        let owners: BTreeSet<&str> =
            holds().map(|r| r.by.split(['/', ' ']).next().unwrap_or_default()).collect();
        let tested = holds().any(|r| r.says == Stance::Tested);
        assert!(owners.len() > 1 || tested, "{}: {:?} is one report", rule.id, rule.source);
        assert!(holds().count() == rule.source.len(), "{}: it ran for somebody", rule.id);
        assert!(rule.conflict.is_none() && rule.confidence != Confidence::C, "{}", rule.id);
        errors.push(rule.id);
        // A form that somebody disputes is no error.
        assert!(
            Violation { disputed: Some("it ran"), ..finding }.severity() < Severity::Error,
            "{}",
            rule.id
        );
    }
    assert_eq!(errors.join(" "), ERRORS);
}

/// Programs that ran on engines with right numbers, and were called errors. Source: ironmill's matrix of operations (run
/// and compared on M3 Pro, in memory), maderix/ANE's W8A8 benchmark (M4), ANEForge, issue 73.
#[test]
fn narrow_integers_and_truths_that_ran_are_no_errors() {
    let x = "tensor<fp16, [1, 768, 1, 64]>";
    let of = |dtype: &str| format!("tensor<{dtype}, [1, 768, 1, 64]>");
    let [i8, u8, i32, bool] = ["int8", "uint8", "int32", "bool"].map(of);
    let half = "dtype = string(\"fp16\")";
    let cast = |ty: &str, name: &str| {
        format!("{ty} c = cast(dtype = string(\"{name}\"), x = a); {x} out = cast({half}, x = c);")
    };
    let scale = "scale = fp16(0.125)";
    let quantized = |ty: &str, name: &str| {
        format!(
            "{ty} c = quantize(input = a, output_dtype = string(\"{name}\"), {scale}); {x} out = dequantize(input = c, {scale});"
        )
    };
    let select = format!("{x} out = select(a = a, b = b, cond = c);");
    let compare = |op: &str| format!("{bool} c = {op}(x = a, y = b); {select}");
    let mut bodies = vec![
        quantized(&i8, "int8"),
        quantized(&u8, "uint8"),
        cast(&i8, "int8"),
        cast(&u8, "uint8"),
        format!("{bool} g = greater(x = a, y = b); {bool} c = logical_not(x = g); {select}"),
    ];
    bodies.extend(["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"].map(compare));
    bodies.extend(["reduce_argmax", "reduce_argmin"].map(|op| {
        format!(
            "tensor<int32, [1, 1, 1, 64]> m = {op}(axis = int32(1), keep_dims = bool(true), x = a); \
             tensor<fp16, [1, 1, 1, 64]> f = cast({half}, x = m); {x} out = add(x = a, y = f);"
        )
    }));
    let errors = |body: &str| -> Vec<&str> {
        let text = program(&format!("{x} a, {x} b"), body, "out");
        let read = mil::text::read(&text);
        assert!(!read.report.has_errors(), "{}", read.report.render("case", &text));
        let found = rules::check(&read, &[Chip::M3, Chip::M4], Route::E5rt).into_iter();
        found.filter(|f| f.severity() == Severity::Error).map(|f| f.rule.id).collect()
    };
    for body in &bodies {
        assert!(errors(body).is_empty(), "{:?} in {body}", errors(body));
    }
    // 32-bit integers are refused by all.
    assert_eq!(errors(&cast(&i32, "int32")), ["T25"]);
    let sum = format!("{i32} c = cast(dtype = string(\"int32\"), x = a); {x} out = add(x = a, y = b);");
    assert_eq!(errors(&sum), ["T25"]);
    assert_eq!(errors(&format!("{bool} c = logical_and(x = a, y = b); {select}")), ["T34"]);
}
