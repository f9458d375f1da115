//! Each fault of an engine is told by the probe that is for it: a probe can fail.

use super::fake::{Fake, Fault};
use super::find;
use anelint::probe::{Finding, Observed, Prober, Verdict};
use anelint::rules::{Chip, Consequence};

/// What probe `id` finds of `about` on an engine with this fault.
fn on(fault: Fault, id: &str, about: &str) -> Finding {
    find(&Fake::with(fault), id, about)
}

/// Checks what was seen, what came of it, and words of the sentence.
fn check(f: &Finding, seen: Observed, consequence: Option<Consequence>, words: &[&str]) {
    assert_eq!((f.seen, f.consequence), (seen, consequence), "{f:?}");
    for word in words {
        assert!(f.says.contains(word), "no `{word}`: {}", f.says);
    }
}

#[test]
fn binding_by_declaration_differs_from_the_table() {
    let f = on(Fault::DeclarationOrder, "binding", "S1");
    let words = ["inputs are bound in the order of their declaration", "outputs are bound in the order"];
    check(&f, Observed::HoldsNot, Some(Consequence::WrongNumbers), &words);
    assert_eq!(f.verdict(Some(Chip::M4)), Verdict::Differs);
    let f = on(Fault::Zeros, "binding", "S1");
    check(&f, Observed::HoldsNot, Some(Consequence::WrongNumbers), &["only zeros"]);
}

#[test]
fn sizes_that_are_refused_are_found() {
    let evaluation = Some(Consequence::Evaluation);
    check(&on(Fault::OneSize, "slot-sizes", "S3"), Observed::Holds, evaluation, &["0x1d"]);
    let f = on(Fault::SmallestSurface(49152), "surface-bytes", "S4");
    check(
        &f,
        Observed::Holds,
        evaluation,
        &["the smallest surface that runs has 49152 bytes", "one of 32768"],
    );
    assert_eq!(f.numbers, [("least_bytes".to_owned(), 49152.0)]);
    let f = on(Fault::SmallestSurface(1 << 20), "surface-bytes", "S4");
    check(&f, Observed::Unclear, None, &["no size runs"]);
    let f = on(Fault::Sixteens, "last-axis", "S6");
    check(&f, Observed::Holds, evaluation, &["16, 32, 48 run, 4, 8, 12, 20, 24, 28 fail"]);
    check(&on(Fault::Sixteens, "last-axis", "S7"), Observed::HoldsNot, None, &[]);
}

#[test]
fn an_ignored_mask_is_told_from_other_wrong_numbers() {
    let wrong = Some(Consequence::WrongNumbers);
    check(&on(Fault::NoMask, "attention-mask", "T15"), Observed::Holds, wrong, &["the mask is ignored"]);
    check(&on(Fault::Zeros, "attention-mask", "T15"), Observed::Holds, wrong, &["only zeros"]);
}

#[test]
fn numbers_that_vanish_or_overflow_are_found() {
    let wrong = Some(Consequence::WrongNumbers);
    check(&on(Fault::NoSubnormals, "subnormals", "N9"), Observed::HoldsNot, wrong, &["are wrong"]);
    let f = on(Fault::NoSubnormals, "small-products", "N2");
    check(&f, Observed::Holds, wrong, &["products down to 2^-20 are kept, those of 2^-21 vanish"]);
    let f = on(Fault::Saturates, "saturation", "N8");
    check(&f, Observed::Holds, wrong, &["32752: 32752, 32768: inf, 33024: inf"]);
    assert_eq!(f.numbers[0], ("largest_right_sum".to_owned(), 32752.0));
    // The fault is of results, not of sums on their way.
    check(&on(Fault::Saturates, "saturation", "N1"), Observed::HoldsNot, None, &["gives 512"]);
}

#[test]
fn zeros_are_the_verdict_of_no_correct_engine() {
    let device = Fake::with(Fault::Zeros);
    let wrong = Some(Consequence::WrongNumbers);
    for (id, about, seen) in [
        ("dense", "S5", Observed::HoldsNot),
        ("many-inputs", "S2", Observed::Holds),
        ("gelu", "T16", Observed::Holds),
        ("concat", "T9", Observed::Holds),
        ("int8", "N16", Observed::HoldsNot),
        ("conv-channels", "T6", Observed::HoldsNot),
        ("fp32-surfaces", "fp32-surfaces", Observed::Holds),
    ] {
        check(&find(&device, id, about), seen, wrong, &["only zeros"]);
    }
}

#[test]
fn refused_operations_are_refused_at_compile() {
    let refused = Some(Consequence::Refused);
    for (op, id, about) in
        [("concat", "concat", "T9"), ("gelu", "gelu", "T16"), ("inverse", "inverse", "T21")]
    {
        check(&on(Fault::Without(op), id, about), Observed::Holds, refused, &["refused at compile"]);
    }
}

#[test]
fn the_end_of_a_budget_is_counted() {
    let programs = [("programs".to_owned(), 119.0)];
    let f = on(Fault::Budget(119), "compile-budget", "W6");
    check(&f, Observed::Holds, Some(Consequence::Refused), &["119 programs"]);
    assert_eq!(f.numbers, programs);
    // Programs that are loaded are another matter than programs that are compiled.
    let f = on(Fault::Budget(119), "loaded-programs", "W6c");
    check(&f, Observed::HoldsNot, None, &["119 programs", "rule W6"]);
    assert_eq!(f.numbers, programs);
}

#[test]
fn weights_that_stay_and_bits_that_change_are_found() {
    let wrong = Some(Consequence::WrongNumbers);
    check(
        &on(Fault::OneSize, "weight-reload", "W5"),
        Observed::Holds,
        wrong,
        &["files rewritten, the old weights stay"],
    );
    check(&on(Fault::Drifts, "same-bits", "N19"), Observed::HoldsNot, None, &["of 8 runs 8 give other bits"]);
    let f = on(Fault::Drifts, "two-threads", "W10");
    check(&f, Observed::HoldsNot, wrong, &["wrong numbers"]);
    // Nothing can be told if the door itself says no.
    let prober = Fake::with(Fault::Budget(0));
    let findings = anelint::probe::find("small-products").expect("a probe").ask(&Prober::new(&prober));
    assert!(findings.iter().all(|f| f.seen == Observed::Unclear), "{findings:?}");
}

#[test]
fn texts_that_an_engine_does_not_read_are_found() {
    let refused = Some(Consequence::Refused);
    for (id, about) in [("build-info", "T2"), ("inline-literals", "T3"), ("slices", "T24"), ("states", "T26")]
    {
        check(&on(Fault::Breaks(about), id, about), Observed::Holds, refused, &["refused at compile"]);
    }
    // Another rule's refusal is none of these.
    check(&on(Fault::Breaks("T3"), "build-info", "T2"), Observed::HoldsNot, None, &["right to the bit"]);
    check(
        &on(Fault::Zeros, "inline-literals", "T3"),
        Observed::Holds,
        Some(Consequence::WrongNumbers),
        &["zeros"],
    );
    // Nothing is told of what breaks a rule where what keeps it is refused as well.
    check(
        &on(Fault::Without("matmul"), "computed-transposes", "T10"),
        Observed::Unclear,
        None,
        &["even with"],
    );
}

#[test]
fn operations_of_newer_engines_are_judged_by_the_chip() {
    let refused = Some(Consequence::Refused);
    let without = Fake::with(Fault::Without("sin"));
    let all = Fake::with(Fault::Drifts);
    let seen = |device: &Fake, chip| {
        let probe = anelint::probe::find("newer-operations").expect("a probe");
        let found = probe.ask(&Prober::new(device).on(chip));
        found.into_iter().next().expect("a finding")
    };
    check(
        &seen(&without, None),
        Observed::Holds,
        refused,
        &["sin: refused at compile", "right: topk, cos, argsort"],
    );
    let f = seen(&without, Some(Chip::M4));
    check(&f, Observed::HoldsNot, refused, &["sin: refused at compile", "which the table does not say"]);
    assert!(f.numbers.contains(&("sin".to_owned(), 0.0)) && f.numbers.contains(&("cos".to_owned(), 1.0)));
    check(&seen(&all, Some(Chip::M4)), Observed::Holds, None, &["all run, with the right results"]);
    // M1 is said to have no trigonometry.
    check(&seen(&all, Some(Chip::M1)), Observed::HoldsNot, None, &["all run"]);
}

#[test]
fn an_engine_that_dozes_off_is_found_and_a_quality_that_changes_numbers() {
    let f = on(Fault::Dozes, "rest", "P13");
    check(&f, Observed::Holds, None, &["after two seconds of rest an evaluation takes"]);
    assert!(f.numbers[0].1 >= 30.0, "{f:?}");
    let f = on(Fault::Drifts, "quality-of-service", "W8");
    check(&f, Observed::HoldsNot, Some(Consequence::WrongNumbers), &["with 9 the numbers are wrong"]);
}
