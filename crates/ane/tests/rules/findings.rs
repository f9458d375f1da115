//! What a finding says, how bad it is, and that one stands for many.

use super::check;
use ane::rules::{self, Chip, Finding, Route};
use mil::diag::{Diagnostic, Severity};

fn program(params: &str, body: &str, results: &str) -> String {
    format!(
        "program(1.3)\n[buildInfo = dict<string, string>({{}})]\n{{\n    func main<ios18>({params}) {{\n{body}\n    }} -> ({results});\n}}\n"
    )
}

/// The findings of rule `id` in a program, for `chips`.
fn of(id: &str, [params, body, results]: [&str; 3], chips: &[Chip]) -> Vec<Finding> {
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
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].chips, [Chip::A13, Chip::A14, Chip::A15, Chip::M1, Chip::M2]);
    let small = ["tensor<fp16, [1, 8, 1, 64]> a", "tensor<fp16, [1, 8, 1, 64]> b = relu(x = a);", "b"];
    let all = of("S4", small, &Chip::ALL);
    assert_eq!(all.len(), 3, "{all:?}");
    assert!(all[0].message.ends_with("fewer than 16384"), "{}", all[0].message);
    assert!(of("S12", long, &[Chip::M4]).is_empty());
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
