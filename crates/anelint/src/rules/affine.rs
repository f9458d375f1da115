//! The checks of T38 and T39: a scale or shift of each channel between two reshapes, as layer norms written by hand have.

use super::{Matches, Shape, Step, Subject};
use crate::facts;
use foldhash::{HashSet, HashSetExt};
use mil::Data;
use mil::text::tree::{Item, Statement};

/// One constant for each channel, multiplied or added.
struct Term {
    channels: usize,
    /// Whether channels differ; `None` if the elements are in a weight file.
    varied: Option<bool>,
}

/// T38.
pub(super) fn affine_between_reshapes(s: &Subject<'_>, hits: &mut Matches) {
    let least = facts::AFFINE_CHANNELS.value;
    for step in s.each_of(&["mul", "add"]) {
        let Some(term) = term(&step).filter(|t| t.channels >= least && t.varied != Some(false)) else {
            continue;
        };
        if !is_between_reshapes(&step) {
            continue;
        }
        let text = || {
            format!(
                "`{}` takes a number for each of {} channels between two reshapes",
                step.name(),
                term.channels
            )
        };
        if other_term(&step).is_some_and(|t| t.varied != Some(false)) {
            hits.disputed(
                step.span(),
                "with a scale and a shift that both differ, some values compile",
                text,
            );
        } else if term.varied.is_none() {
            hits.disputed(step.span(), "equal numbers are taken, and these are in a weight file", text);
        } else {
            hits.at(step.span(), text);
        }
    }
}

/// T39.
pub(super) fn wide_affine_between_reshapes(s: &Subject<'_>, hits: &mut Matches) {
    let least = facts::AFFINE_PAIR_CHANNELS.value;
    for step in s.each("add") {
        let (Some(shift), Some(scale)) = (term(&step), other_term(&step)) else { continue };
        let wide = shift.channels >= least && shift.varied != Some(false) && scale.varied != Some(false);
        if !wide || !is_between_reshapes(&step) {
            continue;
        }
        let text = || {
            format!(
                "`{}` ends a scale and shift of {} channels between two reshapes",
                step.name(),
                shift.channels
            )
        };
        if shift.varied.is_none() || scale.varied.is_none() {
            hits.disputed(step.span(), "equal numbers are taken, and these are in a weight file", text);
        } else {
            hits.at(step.span(), text);
        }
    }
}

/// The constant `[1, D, 1, 1]` that `step` takes.
fn term(step: &Step<'_, '_>) -> Option<Term> {
    ["x", "y"].into_iter().find_map(|param| {
        let shape: Shape<'_> = step.shape(param).filter(|_| step.is_constant(param) == Some(true))?;
        let ones = shape.rank() == 4 && [0, 2, 3].iter().all(|&i| shape.dim(i) == Some(1));
        let varied = match step.data(param) {
            Some(Data::Float(v)) => Some(v.iter().any(|x| Some(x) != v.first())),
            _ => None,
        };
        ones.then(|| Some(Term { channels: shape.dim(1)?, varied }))?
    })
}

/// The constant of the other kind beside that of `step`: the scale before a shift, the shift behind a scale.
fn other_term(step: &Step<'_, '_>) -> Option<Term> {
    let scene = step.scene;
    if step.op.op.text == "add" {
        let before =
            ["x", "y"].into_iter().find_map(|p| step.value(p)?.maker.filter(|op| op.op.text == "mul"))?;
        return term(&Step { scene, op: before });
    }
    let behind = &scene.value(step.name())?.uses;
    behind.iter().filter(|op| op.op.text == "add").find_map(|op| term(&Step { scene, op }))
}

/// Whether element-wise operations and reductions lead from a reshape to `step`, and from it to another.
fn is_between_reshapes<'t>(step: &Step<'_, 't>) -> bool {
    let scene = step.scene;
    let before = |op: &'t Statement<'t>| -> Vec<&'t Statement<'t>> {
        let items = op.args.iter().flat_map(|a| a.value.items());
        let names = items.filter_map(|item| match item {
            Item::Name(name) => scene.value(name.text)?.maker,
            Item::Literal(_) => None,
        });
        names.collect()
    };
    let behind = |op: &'t Statement<'t>| -> Vec<&'t Statement<'t>> {
        op.outputs
            .iter()
            .filter_map(|o| scene.value(o.name.text))
            .flat_map(|v| v.uses.iter().copied())
            .collect()
    };
    leads_to_reshape(step.op, before) && leads_to_reshape(step.op, behind)
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
        let plain = super::forms::ELEMENTWISE.contains(&op.op.text) || op.op.text.starts_with("reduce_");
        if plain && seen.insert(op.op.span.range().start) {
            waiting.extend(next(op));
        }
    }
    false
}
