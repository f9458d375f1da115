//! T38 and T39: a scale or shift of each channel between two reshapes, as layer norms written by hand have.

use super::chip::{Chip, Chips};
use super::evidence::tested;
use super::matches::Matches;
use super::peers::*;
use super::rule::{Check, Confidence, Consequence, Route, Rule};
use super::subject::{OpCall, Subject, TensorShape, is_elementwise};
use crate::facts;
use foldhash::{HashSet, HashSetExt};
use mil::Data;
use mil::text::tree::{Item, Statement};

pub(super) const RULES: &[Rule] = &[T38, T39];

const T38: Rule = Rule {
    id: "T38",
    title: "No scale or shift that differs between channels is between two reshapes, from 1024 channels on.",
    chips: Chips::Only(&[Chip::M1, Chip::M2]),
    route: Route::E5rt,
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[tested(ANEFORGE)],
    repair: "Reshape back first, and multiply by `[1, D]` on the last axis.",
    check: Check::Text(affine_between_reshapes),
    ..Rule::DEFAULT
};

fn affine_between_reshapes(s: &Subject<'_>, matches: &mut Matches) {
    let least = facts::AFFINE_CHANNELS.value;
    for call in s.each_of(&["mul", "add"]) {
        let Some(term) = term(&call).filter(|t| t.channels >= least && t.varied != Some(false)) else {
            continue;
        };
        if !is_between_reshapes(&call) {
            continue;
        }
        let text = || {
            format!(
                "`{}` takes a number for each of {} channels between two reshapes",
                call.name(),
                term.channels
            )
        };
        if other_term(&call).is_some_and(|t| t.varied != Some(false)) {
            matches.disputed(
                call.span(),
                "with a scale and a shift that both differ, some values compile",
                text,
            );
        } else if term.varied.is_none() {
            matches.disputed(call.span(), "equal numbers are taken, and these are in a weight file", text);
        } else {
            matches.at(call.span(), text);
        }
    }
}

/// One constant for each channel, multiplied or added.
struct Term {
    channels: usize,
    /// Whether channels differ; `None` if the elements are in a weight file.
    varied: Option<bool>,
}

const T39: Rule = Rule {
    id: "T39",
    title: "No scale and shift that differ between channels are between two reshapes, from 10240 channels on.",
    chips: Chips::Only(&[Chip::M2, Chip::M5]),
    route: Route::E5rt,
    consequence: Consequence::Evaluation,
    confidence: Confidence::A,
    source: &[tested(ANEFORGE)],
    repair: "Reshape back first, and multiply by `[1, D]` on the last axis.",
    check: Check::Text(wide_affine_between_reshapes),
    ..Rule::DEFAULT
};

fn wide_affine_between_reshapes(s: &Subject<'_>, matches: &mut Matches) {
    let least = facts::AFFINE_PAIR_CHANNELS.value;
    for call in s.each("add") {
        let (Some(shift), Some(scale)) = (term(&call), other_term(&call)) else { continue };
        let wide = shift.channels >= least && shift.varied != Some(false) && scale.varied != Some(false);
        if !wide || !is_between_reshapes(&call) {
            continue;
        }
        let text = || {
            format!(
                "`{}` ends a scale and shift of {} channels between two reshapes",
                call.name(),
                shift.channels
            )
        };
        if shift.varied.is_none() || scale.varied.is_none() {
            matches.disputed(call.span(), "equal numbers are taken, and these are in a weight file", text);
        } else {
            matches.at(call.span(), text);
        }
    }
}

/// The constant `[1, D, 1, 1]` that `call` takes.
fn term(call: &OpCall<'_, '_>) -> Option<Term> {
    ["x", "y"].into_iter().find_map(|param| {
        let shape: TensorShape<'_> = call.shape(param).filter(|_| call.is_constant(param) == Some(true))?;
        let ones = shape.rank() == 4 && [0, 2, 3].iter().all(|&i| shape.dim(i) == Some(1));
        let varied = match call.data(param) {
            Some(Data::Float(v)) => Some(v.iter().any(|x| Some(x) != v.first())),
            _ => None,
        };
        ones.then(|| Some(Term { channels: shape.dim(1)?, varied }))?
    })
}

/// The constant of the other kind next to that of `call`: the scale before a shift, the shift after a scale.
fn other_term(call: &OpCall<'_, '_>) -> Option<Term> {
    let function = call.function;
    if call.statement.op.text == "add" {
        let before =
            ["x", "y"].into_iter().find_map(|p| call.value(p)?.maker.filter(|op| op.op.text == "mul"))?;
        return term(&OpCall { function, statement: before });
    }
    let behind = &function.value(call.name())?.uses;
    behind.iter().filter(|op| op.op.text == "add").find_map(|op| term(&OpCall { function, statement: op }))
}

/// Whether element-wise operations and reductions lead from a reshape to `call`, and from it to another.
fn is_between_reshapes<'t>(call: &OpCall<'_, 't>) -> bool {
    let function = call.function;
    let before = |op: &'t Statement<'t>| -> Vec<&'t Statement<'t>> {
        let items = op.args.iter().flat_map(|a| a.value.items());
        let names = items.filter_map(|item| match item {
            Item::Name(name) => function.value(name.text)?.maker,
            Item::Literal(_) => None,
        });
        names.collect()
    };
    let behind = |op: &'t Statement<'t>| -> Vec<&'t Statement<'t>> {
        op.outputs
            .iter()
            .filter_map(|o| function.value(o.name.text))
            .flat_map(|v| v.uses.iter().copied())
            .collect()
    };
    leads_to_reshape(call.statement, before) && leads_to_reshape(call.statement, behind)
}

fn leads_to_reshape<'t>(
    from: &'t Statement<'t>,
    next: impl Fn(&'t Statement<'t>) -> Vec<&'t Statement<'t>>,
) -> bool {
    let (mut waiting, mut seen) = (next(from), HashSet::new());
    while let Some(op) = waiting.pop() {
        if op.op.text == "reshape" {
            return true;
        }
        let plain = is_elementwise(op.op.text) || op.op.text.starts_with("reduce_");
        if plain && seen.insert(op.op.span.range().start) {
            waiting.extend(next(op));
        }
    }
    false
}
