//! The checks of N27 to N31: forms whose numbers come out wrong.

use super::{Matches, Step, Subject};
use mil::text::tree::{Item, Statement, Value};
use mil::{DType, Data};

/// What gives the value that goes into `param`.
fn maker<'t>(step: &Step<'_, 't>, param: &str) -> Option<&'t Statement<'t>> {
    step.value(param)?.maker
}

/// The name of what is given for `param` of `op`.
fn given<'t>(op: &'t Statement<'t>, param: &str) -> Option<&'t str> {
    match op.arg(param)?.value.items().first()? {
        Item::Name(name) => Some(name.text),
        Item::Literal(_) => None,
    }
}

/// N27.
pub(super) fn flat_hardswish(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("mul") {
        for (value, gate) in [("x", "y"), ("y", "x")] {
            let Some(gate) = maker(&step, gate).filter(|op| op.op.text == "sigmoid_hard") else { continue };
            let Some(Item::Name(z)) = step.item(value) else { continue };
            let product = maker(&step, value).is_some_and(|op| ["matmul", "linear"].contains(&op.op.text));
            let flat = step.shape(value).is_some_and(|shape| shape.rank() == 2);
            if product && flat && given(gate, "x") == Some(z.text) {
                hits.at(step.span(), || {
                    format!("`{}` is the hardswish of `{z}`, a product of two axes", step.name())
                });
            }
        }
    }
}

/// Operations that take a bound that nothing reaches without computing with it.
const BOUNDED: &[&str] = &["clip", "const", "pad"];

/// N28. Constants in weight files are not looked at.
pub(super) fn infinite_constants(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.steps().filter(|t| !BOUNDED.contains(&t.op.op.text)) {
        for arg in &step.op.args {
            for item in arg.value.items() {
                let (literal, name) = match item {
                    Item::Literal(literal) => (Some(literal), arg.name.text),
                    Item::Name(name) => {
                        let maker = step.scene.value(name.text).and_then(|v| v.maker);
                        (maker.and_then(Statement::const_literal), name.text)
                    }
                };
                let Some(Value::Tensor { data, .. }) = literal.map(|l| &l.value) else { continue };
                let Data::Float(numbers) = &**data else { continue };
                // What is beyond fp16 becomes infinite when it is cast.
                let narrow = step.op.op.text == "cast" && step.out().is_some_and(|t| t.dtype == DType::F16);
                let round = |x: f64| if narrow { mil::tensor::round_float(x, DType::F16) } else { x };
                let Some(x) = numbers.iter().copied().find(|&x| !round(x).is_finite()) else { continue };
                let what = match round(x) {
                    r if r.is_nan() => "not a number".to_owned(),
                    r if x.is_finite() => format!("{x:e}, {r} in fp16,"),
                    r => format!("{r}"),
                };
                hits.at(step.span(), || format!("`{}` takes `{name}`, which has {what}", step.op.op));
            }
        }
    }
}

/// N29.
pub(super) fn softplus(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each_of(&["softplus", "softplus_parametric"]) {
        hits.at(step.span(), || format!("`{}` is a `{}`", step.name(), step.op.op));
    }
}

/// N30.
pub(super) fn log_sum_exp(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("reduce_log_sum_exp") {
        let summed = step.shape("x").and_then(|x| match step.ints("axes") {
            Some(axes) => axes.iter().try_fold(1usize, |n, &i| Some(n.saturating_mul(x.axis(i)?))),
            None => x.elements(),
        });
        hits.at(step.span(), || match summed {
            // Equal elements: their sum reaches the end of fp16.
            Some(n) if n > 0 => {
                let most = (65504.0 / n as f64).ln();
                format!("`{}` adds the exponentials of {n} elements, too large above {most:.2}", step.name())
            }
            _ => format!("`{}` is a `reduce_log_sum_exp`", step.name()),
        });
    }
}

/// N31.
pub(super) fn log_of_softmax(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("log").filter(|t| maker(t, "x").is_some_and(|op| op.op.text == "softmax")) {
        hits.at(step.span(), || format!("`{}` is the logarithm of a `softmax`", step.name()));
    }
}
