//! T24 to T31: slices, integers, states, broadcasts.

use super::chip::{Chip, Chips};
use super::evidence::{ran, says, tested};
use super::limits::DISPUTED_PATH;
use super::matches::Matches;
use super::peers::*;
use super::rule::{Check, Confidence, Consequence, Route, Rule};
use super::subject::Subject;
use mil::DType;
use mil::text::tree::Type;

pub(super) const RULES: &[Rule] = &[T24, T25, T26, T27, T28, T29, T30, T31];

const T24: Rule = Rule {
    id: "T24",
    title: "Slices have constant bounds and keep something; where they begin can be computed on some engines.",
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(MIL_SPEC), tested(ANEFORGE), tested(M6_STUDY)],
    repair: "Write the bounds as `const`, each extent at least 1.",
    check: Check::Text(slices),
    ..Rule::DEFAULT
};

fn slices(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each_of(&["slice_by_index", "slice_by_size"]) {
        for param in ["begin", "end", "size", "stride"] {
            let Some(arg) = call.arg(param).filter(|_| call.is_constant(param) == Some(false)) else {
                continue;
            };
            let text = || format!("`{param}` of `{}` is computed", call.name());
            if param == "begin" {
                let reason = "ane-guide lists slices that begin where a value says for A14 and later";
                matches.disputed(arg.span(), reason, text);
            } else {
                matches.at(arg.span(), text);
            }
        }
        if call.out().is_some_and(|s| s.dims.contains(&Some(0))) {
            matches.at(call.span(), || format!("`{}` keeps nothing", call.name()));
        }
    }
}

const T25: Rule = Rule {
    id: "T25",
    title: "The engine computes no 32-bit integers, and looks nothing up by `gather` with computed indices.",
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(MIL_SPEC), tested(ANEFORGE), tested(M6_STUDY)],
    repair: "Compute in fp16, and look indices up on the host.",
    check: Check::Text(integers),
    ..Rule::DEFAULT
};

/// Reading indices counts, independent of the result type; what finds places (T34) gives integers that others read.
fn integers(s: &Subject<'_>, matches: &mut Matches) {
    let places = |op: &str| DISPUTED_PATH.iter().any(|(name, _)| *name == op);
    for call in s.calls().filter(|t| !t.makes_constant() && !places(t.statement.op.text)) {
        let op = call.statement.op;
        if op.text.starts_with("gather") {
            let text = || format!("`{}` is a `{op}`", call.name());
            match call.is_constant("indices") {
                Some(true) => {
                    matches.disputed(op.span, "with constant indices the M6 study saw it on the engine", text)
                }
                _ => matches.at(op.span, text),
            }
            continue;
        }
        let Some(dtype) = call.out().map(|s| s.dtype).filter(|d| d.is_int() || *d == DType::Bool) else {
            continue;
        };
        let text = || format!("`{op}` computes `{}` in {dtype}", call.name());
        if dtype.is_int() && dtype.bits().is_none_or(|bits| bits >= 32) {
            matches.at(op.span, text);
        } else if !NARROW_RUN.contains(&op.text) {
            let reason = "other operations on narrow integers and truth values ran for ironmill, maderix/ANE and ANEForge";
            matches.disputed(op.span, reason, text);
        }
    }
}

/// Operations that give or take narrow integers and truth values, and ran: for ironmill on M3 Pro, in memory and compared;
/// quantized weights and activations for maderix/ANE on M4; comparisons, `logical_not` and `select` for ANEForge on M5.
const NARROW_RUN: &[&str] = &[
    "cast",
    "dequantize",
    "equal",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "logical_not",
    "not_equal",
    "quantize",
    "select",
];

const T26: Rule = Rule {
    id: "T26",
    title: "A state is read once, then written once, in `ios18`.",
    consequence: Consequence::Refused,
    confidence: Confidence::B,
    source: &[says(MIL_SPEC)],
    repair: "Read the state once, update the value, write it once.",
    check: Check::Text(states),
    ..Rule::DEFAULT
};

fn states(s: &Subject<'_>, matches: &mut Matches) {
    for function in &s.functions {
        for param in function.func.params.iter().filter(|p| matches!(p.ty, Type::State(_))) {
            let uses = function.value(param.name.text).map_or(&[][..], |v| &v.uses);
            let at = |writes: bool| {
                uses.iter()
                    .enumerate()
                    .filter(move |(_, u)| (u.op.text != "read_state") == writes)
                    .map(|u| u.0)
            };
            let (reads, writes) = (at(false).count(), at(true).count());
            let in_order = at(false).max() < at(true).min();
            if function.func.opset.text != "ios18" {
                matches
                    .at(param.name.span, || format!("state `{}` in `{}`", param.name, function.func.opset));
            } else if (reads, writes) != (1, 1) || !in_order {
                matches.at(param.name.span, || {
                    let order = if in_order { "" } else { ", not in this order" };
                    format!("state `{}` is read {reads} times and written {writes} times{order}", param.name)
                });
            }
        }
    }
}

const T27: Rule = Rule {
    id: "T27",
    title: "`tile` makes every evaluation fail until the process ends.",
    consequence: Consequence::Evaluation,
    confidence: Confidence::C,
    source: &[says(FIELD_GUIDE), ran(ANEFORGE)],
    repair: "Broadcast with `mul` or `add`, or write `concat`.",
    check: Check::Text(tile),
    ..Rule::DEFAULT
};

fn tile(s: &Subject<'_>, matches: &mut Matches) {
    matches.every(s, &["tile"]);
}

const T28: Rule = Rule {
    id: "T28",
    title: "A product does not broadcast the batch, a row of `[1, C, 1]`, or the result of a square root.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::C,
    source: &[says(FIELD_GUIDE), says(ANE_TRAIN)],
    repair: "Give both factors the same leading axes.",
    check: Check::Text(broadcasts),
    ..Rule::DEFAULT
};

fn broadcasts(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("mul") {
        let Some((x, y)) = call.shape("x").zip(call.shape("y")) else { continue };
        let smaller = if x.elements() < y.elements() { ("x", x) } else { ("y", y) };
        if x.dims == y.dims || call.is_constant(smaller.0) == Some(true) {
            continue;
        }
        let same_rank = x.rank() == y.rank();
        let text = if same_rank && x.rank() == 4 && x.dim(0) != y.dim(0) {
            "the batch"
        } else if same_rank && x.rank() == 3 && smaller.1.last() == Some(1) {
            "a row of three axes"
        } else if call.maker_name(smaller.0) == Some("sqrt") {
            "the result of a square root"
        } else {
            continue;
        };
        matches.at(call.span(), || format!("`{}` broadcasts {text}", call.name()));
    }
}

const T29: Rule = Rule {
    id: "T29",
    title: "Tensors of three axes are inputs only if there are two inputs.",
    chips: Chips::Only(&[Chip::M1]),
    route: Route::InMemory,
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::C,
    source: &[says(ANE_TRAIN)],
    repair: "Write `[1, C, 1, S]`.",
    check: Check::Text(three_axes),
    ..Rule::DEFAULT
};

fn three_axes(s: &Subject<'_>, matches: &mut Matches) {
    for function in s.functions.iter().filter(|s| s.inputs().count() != 2) {
        for port in function.inputs().filter(|p| p.shape.rank() == 3) {
            let n = function.inputs().count();
            matches.at(port.span, || format!("input `{}` has three axes and is one of {n}", port.name));
        }
    }
}

const T30: Rule = Rule {
    id: "T30",
    title: "`constexpr_affine_dequantize` gives wrong weights.",
    chips: Chips::Only(&[Chip::M3]),
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::B,
    source: &[says(ESPRESSO), ran(ANE), ran(H3), ran(ANEMLL)],
    conflict: Some("broken on M3 for Espresso; used on M4 by maderix/ANE and h3.c-ane"),
    repair: "Store the weights in fp16.",
    check: Check::Text(affine_weights),
    ..Rule::DEFAULT
};

fn affine_weights(s: &Subject<'_>, matches: &mut Matches) {
    matches.every(s, &["constexpr_affine_dequantize"]);
}

const T31: Rule = Rule {
    id: "T31",
    title: "The compiler can find a cycle in a fused backward pass whose values are saved and used again.",
    consequence: Consequence::Refused,
    confidence: Confidence::B,
    source: &[says(FSPECII)],
    repair: "Cut the pass into two programs where the saved values are used.",
    check: Check::Never("the cycle is made by the compiler; the text has none"),
    ..Rule::DEFAULT
};
