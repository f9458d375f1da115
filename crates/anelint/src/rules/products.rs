//! T8 to T15: convolutions, products, attention.

use super::chip::{Chip, Chips};
use super::evidence::{ran, says, tested};
use super::matches::Matches;
use super::peers::*;
use super::rule::{Check, Confidence, Consequence, Route, Rule};
use super::subject::{Subject, TensorShape};
use crate::facts;
use mil::DType;

pub(super) const RULES: &[Rule] = &[T8, T9, T10, T11, T12, T13, T14, T15];

const T8: Rule = Rule {
    id: "T8",
    title: "`conv` states strides, pad, pad_type, dilations and groups, and has no bias.",
    route: Route::InMemory,
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(ORION), says(LUENGNAT)],
    repair: "State all five, and add the bias with `add`.",
    check: Check::Text(conv_arguments),
    ..Rule::DEFAULT
};

fn conv_arguments(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("conv") {
        let needed = ["strides", "pad", "pad_type", "dilations", "groups"];
        if let Some(absent) = needed.into_iter().find(|p| call.arg(p).is_none()) {
            matches.at(call.span(), || format!("`{}` does not state `{absent}`", call.name()));
        }
        if let Some(bias) = call.arg("bias") {
            matches.at(bias.span(), || format!("`{}` has a bias", call.name()));
        }
    }
}

const T9: Rule = Rule {
    id: "T9",
    title: "`concat` states values, interleave and a scalar int32 axis, if it is accepted at all.",
    consequence: Consequence::Refused,
    confidence: Confidence::B,
    source: &[says(ORION), says(RUSTANE), ran(ANE), ran(H3), ran(ESPRESSO), ran(ANEFORGE), ran(FSPECII)],
    conflict: Some(
        "refused on M4 Max by Orion, on M3 Ultra and M2 Max by users of rustane; runs on M1 to M5 for maderix/ANE, h3.c-ane, Espresso, ANEForge and ane-trainer, with two inputs on e5rt and 13 or more in memory",
    ),
    repair: "State `interleave` and a scalar `axis`; where it is refused, write the parts as outputs.",
    check: Check::Text(concat),
    ..Rule::DEFAULT
};

fn concat(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("concat") {
        let scalar = |t: &TensorShape<'_>| t.dtype == DType::I32 && t.rank() == 0;
        let axis = call.shape("axis").is_some_and(|t| scalar(&t)) && call.is_constant("axis") == Some(true);
        if !axis || call.arg("interleave").is_none() {
            let what = if axis { "`interleave`" } else { "a constant scalar int32 `axis`" };
            matches.at(call.span(), || format!("`{}` does not state {what}", call.name()));
        } else {
            matches.disputed(call.span(), "it runs for most who report on it", || {
                format!("`{}` joins with `concat`", call.name())
            });
        }
    }
}

const T10: Rule = Rule {
    id: "T10",
    title: "The transposes of `matmul` are constants.",
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(ORION)],
    repair: "Define `transpose_x` and `transpose_y` as `const` booleans.",
    check: Check::Text(matmul_transposes),
    ..Rule::DEFAULT
};

fn matmul_transposes(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("matmul") {
        for param in ["transpose_x", "transpose_y"] {
            if let Some(arg) = call.arg(param).filter(|_| call.is_constant(param) == Some(false)) {
                matches.at(arg.span(), || format!("`{param}` of `{}` is computed", call.name()));
            }
        }
    }
}

const T11: Rule = Rule {
    id: "T11",
    title: "Both operands of `matmul` are computed or passed in, not constants.",
    route: Route::InMemory,
    consequence: Consequence::Refused,
    confidence: Confidence::B,
    source: &[says(ANE_TRAIN), says(LUENGNAT), ran(RUSTANE)],
    conflict: Some("rustane turns positions by a product with a constant matrix on M3 Ultra"),
    repair: "Pass the matrix as an input, or write a 1×1 `conv`.",
    check: Check::Text(matmul_constant),
    ..Rule::DEFAULT
};

fn matmul_constant(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("matmul") {
        for param in ["x", "y"] {
            if let Some(arg) = call.arg(param).filter(|_| call.is_constant(param) == Some(true)) {
                matches.at(arg.span(), || format!("operand `{param}` of `{}` is a constant", call.name()));
            }
        }
    }
}

const T12: Rule = Rule {
    id: "T12",
    title: "Operands of `matmul` have no channel or height axis of size 1.",
    consequence: Consequence::Evaluation,
    confidence: Confidence::B,
    source: &[says(IPHONE), says(LORA), ran(ANE)],
    conflict: Some(
        "ane-lora-training found absent weights (W2) to be the cause of its failures; maderix/ANE's dynamic kernels multiply `[1, 1, M, N]`",
    ),
    repair: "Let heads be channels: `[1, H, S, D]`.",
    check: Check::Text(matmul_singletons),
    ..Rule::DEFAULT
};

fn matmul_singletons(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("matmul") {
        for param in ["x", "y"] {
            let Some(shape) = call.shape(param).filter(|s| s.rank() == 4 && s.dim(0) == Some(1)) else {
                continue;
            };
            let text = match (shape.dim(1), shape.dim(2)) {
                (Some(1), _) => "one channel",
                (_, Some(1)) => "a height of 1",
                _ => continue,
            };
            matches.at(call.span(), || format!("operand `{param}` of `{}` has {text}", call.name()));
        }
    }
}

const T13: Rule = Rule {
    id: "T13",
    title: "The inner size of `matmul` is a multiple of 32, and its weight the first input.",
    chips: Chips::Only(&[Chip::M1]),
    route: Route::InMemory,
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::C,
    source: &[says(ANE_TRAIN)],
    repair: "Pad the inner axis to a multiple of 32.",
    check: Check::Text(matmul_inner),
    ..Rule::DEFAULT
};

fn matmul_inner(s: &Subject<'_>, matches: &mut Matches) {
    let unit = facts::MATMUL_INNER_MULTIPLE.value;
    for call in s.each("matmul") {
        let axis = if call.flag("transpose_x").unwrap_or(false) { -2 } else { -1 };
        let Some(n) = call.shape("x").and_then(|x| x.axis(axis)) else { continue };
        if !n.is_multiple_of(unit) {
            matches.at(call.span(), || format!("`{}` sums over {n}, no multiple of {unit}", call.name()));
        }
    }
}

const T14: Rule = Rule {
    id: "T14",
    title: "The weight of `conv` is a constant.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::B,
    source: &[says(FIELD_GUIDE), says(ANE_TRAIN), ran(ANEFORGE), ran(FSPECII), ran(GUIDE)],
    conflict: Some(
        "ignored on M3 Max; refused if grouped on M1; a batch of 2 or more crashes the compiler; a batch of 1 runs for ANEForge, ane-guide and ane-trainer on M4",
    ),
    repair: "Bake the weight in, or write a `matmul`.",
    check: Check::Text(conv_runtime_weight),
    ..Rule::DEFAULT
};

fn conv_runtime_weight(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("conv") {
        if let Some(arg) = call.arg("weight").filter(|_| call.is_constant("weight") == Some(false)) {
            let groups = call.number("groups").filter(|&g| g > 1.0).map_or("", |_| ", and it has groups");
            let batch = call.shape("x").and_then(|x| x.dim(0)).unwrap_or(1);
            matches.at(arg.span(), || {
                format!("the weight of `{}` is no constant (batch {batch}{groups})", call.name())
            });
        }
    }
}

const T15: Rule = Rule {
    id: "T15",
    title: "Attention as one operation ignores its mask, and is right only for short sequences.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::A,
    source: &[says(ANE), says(ORION), tested(ANEFORGE), says(H3)],
    repair: "Write it as `matmul`, `add` of the mask, `softmax`, `matmul`.",
    check: Check::Text(attention),
    ..Rule::DEFAULT
};

fn attention(s: &Subject<'_>, matches: &mut Matches) {
    let longest = facts::MAX_ATTENTION.value;
    for call in s.each("scaled_dot_product_attention") {
        let length = call.shape("key").and_then(|k| k.axis(-2)).filter(|&n| n > longest);
        match (call.arg("attn_mask"), length) {
            (Some(mask), _) => matches.at(mask.span(), || format!("`{}` has a mask", call.name())),
            (None, Some(n)) => matches
                .at(call.span(), || format!("`{}` looks at {n} positions, more than {longest}", call.name())),
            (None, None) => {}
        }
    }
}
