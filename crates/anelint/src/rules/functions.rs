//! T16 to T23: roots, logarithms, reductions.

use super::chip::{Chip, Chips};
use super::evidence::{ran, says};
use super::matches::Matches;
use super::peers::*;
use super::rule::{Check, Confidence, Consequence, Route, Rule};
use super::subject::{Subject, is_reduction};

pub(super) const RULES: &[Rule] = &[T16, T17, T18, T19, T20, T21, T22, T23];

const T16: Rule = Rule {
    id: "T16",
    title: "`gelu` is not accepted in memory.",
    route: Route::InMemory,
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(ORION), says(IPHONE), ran(MIL_SPEC)],
    conflict: Some("mil_spec: valid if `mode` is stated"),
    repair: "Write it with `erf` or `tanh`.",
    check: Check::Text(gelu),
    ..Rule::DEFAULT
};

/// Sure without a mode, disputed with one.
fn gelu(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("gelu") {
        let text = || format!("`{}` is a `gelu`", call.name());
        match call.arg("mode") {
            None => matches.at(call.span(), text),
            Some(_) => matches.disputed(call.span(), "mil_spec compiles it with a mode", text),
        }
    }
}

const T17: Rule = Rule {
    id: "T17",
    title: "`rsqrt` is not accepted everywhere, least of all without its epsilon.",
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[
        says(H3),
        says(ESPRESSO),
        says(ANE_TRAIN),
        says(ANE),
        says(RUSTANE),
        says(IPHONE),
        says(PREFILL),
        ran(MIL_SPEC),
    ],
    conflict: Some(
        "unsupported on M4 for h3.c-ane, on M3 Max for Espresso, on M1 for ane-train; mil_spec compiles it with a stated epsilon",
    ),
    repair: "Write `pow(x + epsilon, -0.5)`, which ran on M1 to M5 for maderix/ANE.",
    check: Check::Text(rsqrt),
    ..Rule::DEFAULT
};

fn rsqrt(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("rsqrt") {
        match call.arg("epsilon") {
            None => matches
                .at(call.span(), || format!("`{}` is an `rsqrt` that does not state `epsilon`", call.name())),
            Some(_) => matches.disputed(call.span(), "mil_spec compiles it with a stated epsilon", || {
                format!("`{}` is an `rsqrt`", call.name())
            }),
        }
    }
}

const T18: Rule = Rule {
    id: "T18",
    title: "`pow(x, -0.5)` does not run everywhere, though it does where `rsqrt` is refused.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::B,
    source: &[says(LUENGNAT), says(ANE_TRAIN), ran(ANE), ran(FSPECII), ran(IPHONE), ran(H3)],
    conflict: Some(
        "runs on M1 to M5 for maderix/ANE, for ane-trainer and h3.c-ane on M4, and on A17 Pro; NaN for luengnat/rustane; not taken on M1 for ane-train",
    ),
    repair: "Compare one result with the expected one; `rsqrt` is refused more often (T17).",
    check: Check::Text(pow_half),
    ..Rule::DEFAULT
};

fn pow_half(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("pow").filter(|t| t.number("y") == Some(-0.5)) {
        matches.at(call.span(), || format!("`{}` is `pow(x, -0.5)`", call.name()));
    }
}

const T19: Rule = Rule {
    id: "T19",
    title: "`log` states its epsilon.",
    chips: Chips::Only(&[Chip::A17]),
    consequence: Consequence::Refused,
    confidence: Confidence::C,
    source: &[says(IPHONE), ran(ANEFORGE), ran(MIL_SPEC)],
    conflict: Some("fails on A17 Pro; runs for ANEForge and mil_spec when spelled exactly"),
    repair: "Pass `epsilon` as a `const`.",
    check: Check::Text(log),
    ..Rule::DEFAULT
};

fn log(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("log").filter(|t| t.arg("epsilon").is_none()) {
        matches.at(call.span(), || format!("`{}` does not state `epsilon`", call.name()));
    }
}

const T20: Rule = Rule {
    id: "T20",
    title: "No `sqrt` or `rsqrt` directly follows a reduction.",
    consequence: Consequence::Refused,
    confidence: Confidence::C,
    source: &[says(RUSTANE)],
    repair: "Add an epsilon in between.",
    check: Check::Text(root_of_reduction),
    ..Rule::DEFAULT
};

fn root_of_reduction(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each_of(&["rsqrt", "sqrt"]).filter(|t| is_reduction(t.maker_name("x"))) {
        matches.at(call.span(), || {
            format!("`{}` is the root of a `{}`", call.name(), call.maker_name("x").unwrap_or_default())
        });
    }
}

const T21: Rule = Rule {
    id: "T21",
    title: "`inverse` is not accepted.",
    consequence: Consequence::Refused,
    confidence: Confidence::C,
    source: &[says(PREFILL), ran(ANEFORGE)],
    repair: "Write `real_div(x = one, y = x)`.",
    check: Check::Text(inverse),
    ..Rule::DEFAULT
};

fn inverse(s: &Subject<'_>, matches: &mut Matches) {
    matches.every(s, &["inverse"]);
}

const T22: Rule = Rule {
    id: "T22",
    title: "`reduce_mean` is not accepted everywhere.",
    consequence: Consequence::Refused,
    confidence: Confidence::C,
    source: &[says(ESPRESSO), says(H3), ran(MIL_SPEC), ran(GUIDE), ran(IPHONE), ran(ORION), ran(ANEFORGE)],
    conflict: Some(
        "unsupported on M4 for h3.c-ane, an invalid program on M3 Max for Espresso; runs on M4 Max for Orion, through e5rt for ANEForge, for mil_spec and ane-guide, and on A17 Pro with outputs of 16 KB",
    ),
    repair: "Write `reduce_sum` and `mul`, if the sum fits into fp16 (N10).",
    check: Check::Text(reduce_mean),
    ..Rule::DEFAULT
};

fn reduce_mean(s: &Subject<'_>, matches: &mut Matches) {
    matches.every(s, &["reduce_mean"]);
}

const T23: Rule = Rule {
    id: "T23",
    title: "`softmax` runs over an axis whose size is a power of two.",
    chips: Chips::Only(&[Chip::M3]),
    consequence: Consequence::Refused,
    confidence: Confidence::C,
    source: &[says(ESPRESSO)],
    repair: "Pad the axis with the lowest value to a power of two.",
    check: Check::Text(softmax_size),
    ..Rule::DEFAULT
};

fn softmax_size(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("softmax") {
        let axis = call.ints("axis").and_then(|a| a.first().copied()).unwrap_or(-1);
        let Some(n) = call.shape("x").and_then(|x| x.axis(axis)) else { continue };
        if !n.is_power_of_two() {
            matches.at(call.span(), || format!("`{}` runs over {n} elements, no power of two", call.name()));
        }
    }
}
