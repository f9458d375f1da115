//! N19 to N31: numbers in training, and forms whose numbers come out wrong.

use super::evidence::says;
use super::matches::Matches;
use super::peers::*;
use super::rule::{Check, Confidence, Consequence, Rule};
use super::subject::Subject;
use mil::text::tree::{Item, Statement, Value};
use mil::{DType, Data};

pub(super) const RULES: &[Rule] = &[N19, N20, N21, N22, N23, N24, N25, N26, N27, N28, N29, N30, N31];

const N19: Rule = Rule {
    id: "N19",
    title: "The same program on the same data gives the same bits.",
    consequence: Consequence::Informative,
    confidence: Confidence::A,
    source: &[says(M6_STUDY)],
    repair: "Treat a difference between runs as a bug of the host.",
    check: Check::Never("it is how the engine computes"),
    ..Rule::DEFAULT
};

const N20: Rule = Rule {
    id: "N20",
    title: "Chips differ in how slices saturate, which reductions are fused, and how sums are tiled.",
    consequence: Consequence::Informative,
    confidence: Confidence::B,
    source: &[says(GUIDE)],
    repair: "Compare across chips with a tolerance.",
    check: Check::Never("the compiler decides it"),
    ..Rule::DEFAULT
};

const N21: Rule = Rule {
    id: "N21",
    title: "Gradients of language models vanish in fp16 beyond the second matrix unless the loss is scaled.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::A,
    source: &[says(SLAVKO), says(ANE), says(ANEFORGE)],
    repair: "Scale the loss by 256 to 1024.",
    check: Check::Never("it depends on the values"),
    ..Rule::DEFAULT
};

const N22: Rule = Rule {
    id: "N22",
    title: "A step whose gradients are not finite is skipped.",
    consequence: Consequence::Informative,
    confidence: Confidence::A,
    source: &[says(ANEFORGE)],
    repair: "Skip the step; the learning rate need not follow the scale.",
    check: Check::Never("it is the trainer's matter"),
    ..Rule::DEFAULT
};

const N23: Rule = Rule {
    id: "N23",
    title: "Large values are scaled down by powers of two before they meet: the residual, the norm's input, the gate.",
    consequence: Consequence::Informative,
    confidence: Confidence::A,
    source: &[says(H3)],
    repair: "Scale by a power of two and undo it afterwards.",
    check: Check::Never("it depends on the values"),
    ..Rule::DEFAULT
};

const N24: Rule = Rule {
    id: "N24",
    title: "Long runs need a small learning rate and clamped activations.",
    consequence: Consequence::Informative,
    confidence: Confidence::B,
    source: &[says(SLAVKO)],
    repair: "Start with a learning rate of 1e-4 and a clamp of 100.",
    check: Check::Never("it is the trainer's matter"),
    ..Rule::DEFAULT
};

const N25: Rule = Rule {
    id: "N25",
    title: "In RMSNorm's gradient the weight multiplies only the term of dy.",
    consequence: Consequence::Informative,
    confidence: Confidence::A,
    source: &[says(SLAVKO)],
    repair: "Derive the gradient instead of writing it.",
    check: Check::Never("a text does not say what it is the gradient of"),
    ..Rule::DEFAULT
};

const N26: Rule = Rule {
    id: "N26",
    title: "Training in fp16 on the engine may lag behind fp32.",
    consequence: Consequence::Informative,
    confidence: Confidence::C,
    source: &[says(SLAVKO)],
    conflict: Some("the settings of the two runs differ, so the comparison says little"),
    repair: "Compare loss curves of equal settings.",
    check: Check::Never("it is the trainer's matter"),
    ..Rule::DEFAULT
};

const N27: Rule = Rule {
    id: "N27",
    title: "A product of two axes does not go straight into hardswish, `sigmoid_hard` times itself.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::B,
    source: &[says(COREAI)],
    repair: "Reshape the product to `[1, 1, M, N]` first.",
    check: Check::Text(flat_hardswish),
    ..Rule::DEFAULT
};

fn flat_hardswish(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("mul") {
        for (value, gate) in [("x", "y"), ("y", "x")] {
            let Some(gate) = call.maker(gate).filter(|op| op.op.text == "sigmoid_hard") else { continue };
            let Some(Item::Name(z)) = call.item(value) else { continue };
            let product = call.maker(value).is_some_and(|op| ["matmul", "linear"].contains(&op.op.text));
            let flat = call.shape(value).is_some_and(|shape| shape.rank() == 2);
            if product && flat && given(gate, "x") == Some(z.text) {
                matches.at(call.span(), || {
                    format!("`{}` is the hardswish of `{z}`, a product of two axes", call.name())
                });
            }
        }
    }
}

/// The name of what is given for `param` of `op`.
fn given<'t>(op: &'t Statement<'t>, param: &str) -> Option<&'t str> {
    match op.arg(param)?.value.items().first()? {
        Item::Name(name) => Some(name.text),
        Item::Literal(_) => None,
    }
}

const N28: Rule = Rule {
    id: "N28",
    title: "Constants are finite: zero times infinity is no number, and products count infinity as an ordinary one (N5).",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::A,
    source: &[says(CACTUS), says(COREMLTOOLS)],
    repair: "Mask with -10000 or -65504, put in place by `select` rather than by a product.",
    check: Check::Text(infinite_constants),
    ..Rule::DEFAULT
};

/// Constants in weight files are not looked at.
fn infinite_constants(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.calls().filter(|t| !BOUNDED.contains(&t.statement.op.text)) {
        for arg in &call.statement.args {
            for item in arg.value.items() {
                let (literal, name) = match item {
                    Item::Literal(literal) => (Some(literal), arg.name.text),
                    Item::Name(name) => {
                        let maker = call.function.value(name.text).and_then(|v| v.maker);
                        (maker.and_then(Statement::const_literal), name.text)
                    }
                };
                let Some(Value::Tensor { data, .. }) = literal.map(|l| &l.value) else { continue };
                let Data::Float(numbers) = &**data else { continue };
                // What is beyond fp16 becomes infinite when it is cast.
                let narrow =
                    call.statement.op.text == "cast" && call.out().is_some_and(|t| t.dtype == DType::F16);
                let round = |x: f64| if narrow { mil::tensor::round_float(x, DType::F16) } else { x };
                let Some(x) = numbers.iter().copied().find(|&x| !round(x).is_finite()) else { continue };
                let what = match round(x) {
                    r if r.is_nan() => "not a number".to_owned(),
                    r if x.is_finite() => format!("{x:e}, {r} in fp16,"),
                    r => format!("{r}"),
                };
                matches
                    .at(call.span(), || format!("`{}` takes `{name}`, which has {what}", call.statement.op));
            }
        }
    }
}

/// Operations that take a bound that nothing reaches without computing with it.
const BOUNDED: &[&str] = &["clip", "const", "pad"];

const N29: Rule = Rule {
    id: "N29",
    title: "`softplus` falls to 0 above 10.4.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::A,
    source: &[says(COREMLTOOLS), says(GUIDE)],
    repair: "Write `max(x, 0) + log(1 + exp(-|x|))`.",
    check: Check::Text(softplus),
    ..Rule::DEFAULT
};

fn softplus(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each_of(&["softplus", "softplus_parametric"]) {
        matches.at(call.span(), || format!("`{}` is a `{}`", call.name(), call.statement.op));
    }
}

const N30: Rule = Rule {
    id: "N30",
    title: "`reduce_log_sum_exp` does not subtract the largest element: the sum overflows.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::A,
    source: &[says(COREMLTOOLS)],
    repair: "Write `max + log(sum(exp(x - max)))`.",
    check: Check::Text(log_sum_exp),
    ..Rule::DEFAULT
};

fn log_sum_exp(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("reduce_log_sum_exp") {
        let summed = call.shape("x").and_then(|x| match call.ints("axes") {
            Some(axes) => axes.iter().try_fold(1usize, |n, &i| Some(n.saturating_mul(x.axis(i)?))),
            None => x.elements(),
        });
        matches.at(call.span(), || match summed {
            // Equal elements: their sum reaches the end of fp16.
            Some(n) if n > 0 => {
                let most = (65504.0 / n as f64).ln();
                format!("`{}` adds the exponentials of {n} elements, too large above {most:.2}", call.name())
            }
            _ => format!("`{}` is a `reduce_log_sum_exp`", call.name()),
        });
    }
}

const N31: Rule = Rule {
    id: "N31",
    title: "The logarithm of a `softmax` is -infinity where the softmax is below 2⁻²⁴.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::A,
    source: &[says(COREMLTOOLS)],
    repair: "Write `x - max - log(sum(exp(x - max)))`.",
    check: Check::Text(log_of_softmax),
    ..Rule::DEFAULT
};

fn log_of_softmax(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("log").filter(|t| t.maker("x").is_some_and(|op| op.op.text == "softmax")) {
        matches.at(call.span(), || format!("`{}` is the logarithm of a `softmax`", call.name()));
    }
}
