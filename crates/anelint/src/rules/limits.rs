//! T32 to T37: limits of operations, and operations that no engine has.

use super::chip::Chip;
use super::evidence::{says, tested};
use super::matches::Matches;
use super::peers::*;
use super::rule::{Check, Confidence, Consequence, Route, Rule};
use super::subject::{OpCall, Subject, TensorShape, is_reduction};
use crate::facts;
use mil::Data;
use mil::text::tree::Item;

pub(super) const RULES: &[Rule] = &[T32, T33, T34, T35, T36, T37];

const T32: Rule = Rule {
    id: "T32",
    title: "Windows, strides, groups, reduced axes and `topk` have limits.",
    consequence: Consequence::Refused,
    confidence: Confidence::B,
    source: &[tested(ANEFORGE), tested(M6_STUDY), says(GUIDE)],
    repair: "Use smaller windows and strides, or split the operation.",
    check: Check::Chip(limits),
    ..Rule::DEFAULT
};

fn limits(s: &Subject<'_>, chip: Chip, matches: &mut Matches) {
    let old = chip.generation() <= facts::SMALL_WINDOW_GENERATION.value;
    let (high, wide) = if old { facts::MAX_WINDOW_OLD.value } else { facts::MAX_WINDOW.value };
    let (highest, widest) = if old { (high, wide) } else { facts::MAX_WINDOW_DISPUTED.value };
    for call in s.each("conv") {
        let Some(weight) = call.shape("weight") else { continue };
        if let Some((h, w)) = weight.dim(2).zip(weight.dim(3)).filter(|&(h, w)| h > high || w > wide) {
            let text = || format!("`{}` has a window of {h}×{w}, more than {high}×{wide}", call.name());
            if h > highest || w > widest {
                matches.at(call.span(), text);
            } else {
                matches.disputed(call.span(), "ane-guide lists windows of up to 32×16", text);
            }
        }
        let groups = call.ints("groups").and_then(|g| usize::try_from(*g.first()?).ok()).unwrap_or(1);
        if let Some(c) = call.shape("x").and_then(|x| x.dim(1)).filter(|c| !c.is_multiple_of(groups)) {
            matches.at(call.span(), || format!("`{}` has {c} channels in {groups} groups", call.name()));
        }
    }
    for call in s.each("conv_transpose") {
        if let Some(stride) = call.ints("strides").and_then(|s| s.iter().find(|&&s| s != 1 && s != 2)) {
            matches.at(call.span(), || format!("`{}` has a stride of {stride}, not 1 or 2", call.name()));
        }
    }
    for call in s.each("pad") {
        // Two numbers for each of the last axes.
        let outer = call.ints("pad").and_then(|p| p.get(..p.len().checked_sub(4)?));
        if outer.is_some_and(|p| p.iter().any(|&n| n != 0)) {
            matches.at(call.span(), || format!("`{}` pads other axes than the last two", call.name()));
        }
    }
    let longest = facts::MAX_ARGUMENT_AXIS.value;
    for call in s.each_of(&["reduce_argmax", "reduce_argmin"]) {
        let axis = call.ints("axis").and_then(|a| a.first().copied()).unwrap_or(-1);
        if let Some(n) = call.shape("x").and_then(|x| x.axis(axis)).filter(|&n| n > longest) {
            matches.at(call.span(), || {
                format!("`{}` looks for the place among {n}, more than {longest}", call.name())
            });
        }
    }
    for call in s.each("topk") {
        if let Some(k) = call.number("k").filter(|&k| k == 3.0 || k == 4.0) {
            matches.at(call.span(), || format!("`{}` takes the best {k}", call.name()));
        }
    }
}

const T33: Rule = Rule {
    id: "T33",
    title: "Some operations need a newer engine.",
    consequence: Consequence::Refused,
    confidence: Confidence::B,
    source: &[says(GUIDE), tested(ANEFORGE)],
    repair: "Compute it on the host, or from simpler operations.",
    check: Check::Chip(gates),
    ..Rule::DEFAULT
};

fn gates(s: &Subject<'_>, chip: Chip, matches: &mut Matches) {
    for (op, since) in facts::SINCE_GENERATION.value {
        if chip.generation() < *since {
            matches.every(s, &[op]);
        }
    }
    if chip.generation() < facts::REFLECT_AND_DYNAMIC_SLICE.value {
        for call in s.each("pad").filter(|t| t.text("mode").is_some_and(|m| m.starts_with("refl"))) {
            matches.at(call.span(), || format!("`{}` pads by reflection", call.name()));
        }
        for call in s.each_of(&["slice_by_index", "slice_by_size"]) {
            if call.is_constant("begin") == Some(false) {
                matches.at(call.span(), || format!("`{}` begins where a value says", call.name()));
            }
        }
    }
}

const T34: Rule = Rule {
    id: "T34",
    title: "Some operations have no path to any engine.",
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(GUIDE), tested(ANEFORGE), tested(M6_STUDY), tested(IRONMILL)],
    repair: "Compute it on the host, or from simpler operations.",
    check: Check::Text(no_path),
    ..Rule::DEFAULT
};

fn no_path(s: &Subject<'_>, matches: &mut Matches) {
    matches.every(s, NO_PATH);
    for (op, reason) in DISPUTED_PATH {
        for call in s.each(op) {
            matches.disputed(call.span(), reason, || call.described());
        }
    }
}

/// Operations that were refused in ANEForge's sweep through e5rt on M5, and that others compiled.
pub(super) const DISPUTED_PATH: &[(&str, &str)] = &[
    ("argsort", "ane-guide compiles it for A14 and later"),
    ("random_bernoulli", "ane-guide compiles it for A15 and later"),
    ("random_categorical", "ane-guide compiles it for A15 and later"),
    ("random_normal", "ane-guide compiles it for A15 and later"),
    ("random_uniform", "ane-guide compiles it for A15 and later"),
    ("reduce_argmax", "it ran with right numbers for ironmill, in memory on M3 Pro"),
    ("reduce_argmin", "`reduce_argmax` ran with right numbers for ironmill, in memory on M3 Pro"),
];

/// Operations that no engine has. Source: ane-guide and ANEForge; acos and cosh ironmill on M3 Pro; acos, atanh, cosh,
/// cumsum and range_1d the M6 study on M4, and but for the last ANEForge on M5.
const NO_PATH: &[&str] = &[
    "acos",
    "asin",
    "atanh",
    "band_part",
    "cond",
    "cosh",
    "cumsum",
    "gru",
    "logical_and",
    "logical_or",
    "logical_xor",
    "lstm",
    "mod",
    "non_zero",
    "one_hot",
    "range_1d",
    "reduce_prod",
    "reverse_sequence",
    "rnn",
    "scatter",
    "scatter_along_axis",
    "scatter_nd",
    "shape",
    "sinh",
    "sliding_windows",
    "tan",
    "while_loop",
];

const T35: Rule = Rule {
    id: "T35",
    title: "Some forms crash the compiler: zero times a reduction, a program that does nothing, joins of very wide reshapes, large batches of convolutions.",
    route: Route::E5rt,
    consequence: Consequence::Crash,
    confidence: Confidence::B,
    source: &[tested(ANEFORGE), says(GUIDE)],
    repair: "Leave the form out; for batches run several windows.",
    check: Check::Text(crashes),
    ..Rule::DEFAULT
};

fn crashes(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("mul") {
        let by_zero = |zero, other| all_zero(&call, zero) && is_reduction(call.maker_name(other));
        if by_zero("x", "y") || by_zero("y", "x") {
            matches.at(call.span(), || format!("`{}` is zero times a reduction", call.name()));
        }
    }
    for function in &s.functions {
        if function.calls().all(|t| t.makes_constant() || t.statement.op.text == "identity") {
            let name = function.func.name;
            matches.at(name.span, || format!("`{name}` does nothing"));
        }
    }
    let widest = facts::MAX_JOINED_RESHAPE.value;
    for call in s.each("concat") {
        let items = call.arg("values").map_or(&[][..], |a| a.value.items());
        for item in items {
            let Item::Name(name) = item else { continue };
            let Some(value) = call.function.value(name.text) else { continue };
            let reshaped = value.maker.is_some_and(|op| op.op.text == "reshape");
            let size = TensorShape::of(value.ty).and_then(|s| s.dims.iter().copied().flatten().max());
            if let Some(n) = size.filter(|&n| reshaped && n >= widest) {
                matches.at(name.span, || format!("`{}` joins a reshape of {n} elements a row", call.name()));
            }
        }
    }
    let batch = facts::SLOW_CONV_BATCH.value;
    for call in s.each("conv") {
        if let Some(n) = call.shape("x").and_then(|x| x.dim(0)).filter(|&n| n >= batch) {
            let text = || format!("`{}` has a batch of {n}, {batch} or more", call.name());
            if n >= facts::HANGING_CONV_BATCH.value {
                matches.at(call.span(), text);
            } else {
                matches.disputed(call.span(), "it compiles after a minute or more", text);
            }
        }
    }
}

/// Whether `param` is given as zeros that stand in the text.
fn all_zero(call: &OpCall<'_, '_>, param: &str) -> bool {
    match call.data(param) {
        Some(Data::Float(v)) => !v.is_empty() && v.iter().all(|&x| x == 0.0),
        _ => false,
    }
}

const T36: Rule = Rule {
    id: "T36",
    title: "Several outputs have one size, and names in alphabetical order.",
    route: Route::InMemory,
    consequence: Consequence::Informative,
    confidence: Confidence::A,
    source: &[says(ORION)],
    repair: "See S1 and S3.",
    check: Check::Never("it is checked as S1 and S3"),
    ..Rule::DEFAULT
};

const T37: Rule = Rule {
    id: "T37",
    title: "`slice_update` has constant bounds.",
    consequence: Consequence::Crash,
    confidence: Confidence::A,
    source: &[says(COREAI), says(MOBIUS)],
    repair: "Write the row at a constant position, or keep the cache on the host and pass it in.",
    check: Check::Text(placed_update),
    ..Rule::DEFAULT
};

fn placed_update(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("slice_update") {
        for param in ["begin", "end", "stride"] {
            if let Some(arg) = call.arg(param).filter(|_| call.is_constant(param) == Some(false)) {
                matches.at(arg.span(), || format!("`{param}` of `{}` is computed", call.name()));
            }
        }
    }
}
