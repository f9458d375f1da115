//! P: what is slow.

use super::chip::{Chip, Chips};
use super::evidence::says;
use super::matches::Matches;
use super::peers::*;
use super::rule::{Check, Confidence, Consequence, Rule};
use super::subject::Subject;
use crate::facts;
use mil::DType;

pub(super) const RULES: &[Rule] = &[P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15];

const P1: Rule = Rule {
    id: "P1",
    title: "Kernels of less than about a billion operations cost mostly their dispatch.",
    consequence: Consequence::Slow,
    confidence: Confidence::A,
    source: &[says(SLAVKO), says(ANE), says(ANEFORGE)],
    repair: "Join kernels, or compute more columns in one dispatch.",
    check: Check::Text(small_work),
    ..Rule::DEFAULT
};

fn small_work(s: &Subject<'_>, matches: &mut Matches) {
    let least = facts::DISPATCH_WORK.value;
    for function in &s.functions {
        if let Some(n) = function.work().filter(|&n| n < least) {
            let name = function.func.name;
            matches.at(name.span, || {
                format!("`{name}` does {n} multiplications and additions, fewer than {least}")
            });
        }
    }
}

const P2: Rule = Rule {
    id: "P2",
    title: "Compiling takes 11 to 60 ms a kernel, loading a compiled one 2 to 10 ms.",
    consequence: Consequence::Informative,
    confidence: Confidence::A,
    source: &[says(ANE), says(RUSTANE), says(ANEFORGE)],
    repair: "Compile beside evaluation.",
    check: Check::Never("it is about the calls"),
    ..Rule::DEFAULT
};

const P3: Rule = Rule {
    id: "P3",
    title: "One program a layer compiles in a fraction of the time that one for all layers takes.",
    consequence: Consequence::Slow,
    confidence: Confidence::A,
    source: &[says(ANEFORGE)],
    repair: "Compile one layer and use it for all.",
    check: Check::Never("a text does not say what its layers are"),
    ..Rule::DEFAULT
};

const P4: Rule = Rule {
    id: "P4",
    title: "A 1×1 convolution is about three times as fast as a product with the same constant matrix.",
    consequence: Consequence::Slow,
    confidence: Confidence::A,
    source: &[says(ORION), says(ANE), says(SLAVKO)],
    repair: "Write a 1×1 `conv`.",
    check: Check::Text(constant_product),
    ..Rule::DEFAULT
};

fn constant_product(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each_of(&["linear", "matmul"]) {
        let param = if call.statement.op.text == "linear" { "weight" } else { "y" };
        let constant = |p| call.is_constant(p) == Some(true);
        if constant(param) || call.statement.op.text == "matmul" && constant("x") {
            matches.at(call.span(), || format!("`{}` is a product with a constant matrix", call.name()));
        }
    }
}

const P5: Rule = Rule {
    id: "P5",
    title: "Layers that add channels are faster than layers that take them away.",
    consequence: Consequence::Slow,
    confidence: Confidence::A,
    source: &[says(RUSTANE), says(SLAVKO)],
    conflict: Some(
        "M4 Max: 768 to 3072 channels 7.3 TFLOPS, 3072 to 768 3.2; on M4 weights of 2048 by 768 reach 3.3, of 768 by 2048 5.9",
    ),
    repair: "Join narrowing convolutions of the same input, so that they give more channels.",
    check: Check::Text(narrowing),
    ..Rule::DEFAULT
};

/// Convolutions that at most halve the channels.
fn narrowing(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("conv") {
        let Some((x, y)) = call.shape("x").and_then(|x| x.dim(1)).zip(call.out().and_then(|y| y.dim(1)))
        else {
            continue;
        };
        if y <= x / 2 {
            matches.at(call.span(), || format!("`{}` makes {y} channels of {x}", call.name()));
        }
    }
}

const P6: Rule = Rule {
    id: "P6",
    title: "Stacked convolutions are fastest with 384 to 640 channels on M3 Pro, and far slower from 768 on.",
    chips: Chips::Only(&[Chip::M3]),
    consequence: Consequence::Slow,
    confidence: Confidence::B,
    source: &[says(SLAVKO)],
    conflict: Some("not so on M4 Pro and M4 Max"),
    repair: "Split the channels into groups of at most 640.",
    check: Check::Text(wide_channels),
    ..Rule::DEFAULT
};

fn wide_channels(s: &Subject<'_>, matches: &mut Matches) {
    let limit = facts::SLOW_CHANNELS.value;
    for call in s.each("conv") {
        let Some(x) = call.shape("x").and_then(|x| x.dim(1)).filter(|&c| c >= limit) else { continue };
        matches.at(call.span(), || format!("`{}` takes {x} channels, {limit} or more", call.name()));
    }
}

const P7: Rule = Rule {
    id: "P7",
    title: "Wide surfaces are more efficient: 4096 columns about three times 256.",
    consequence: Consequence::Slow,
    confidence: Confidence::B,
    source: &[says(SLAVKO)],
    repair: "Let one dispatch compute more columns.",
    check: Check::Never("every program would be told so"),
    ..Rule::DEFAULT
};

const P8: Rule = Rule {
    id: "P8",
    title: "Long thin windows are slower than square ones.",
    chips: Chips::Only(&[Chip::M6]),
    consequence: Consequence::Slow,
    confidence: Confidence::B,
    source: &[says(M6_STUDY)],
    repair: "Use square windows, or move space to channels with `space_to_depth`.",
    check: Check::Text(thin_windows),
    ..Rule::DEFAULT
};

fn thin_windows(s: &Subject<'_>, matches: &mut Matches) {
    let limit = facts::THIN_WINDOW.value;
    for call in s.each("conv") {
        let Some(weight) = call.shape("weight") else { continue };
        let Some((h, w)) = weight.dim(2).zip(weight.dim(3)) else { continue };
        if h.min(w) == 1 && h.max(w) >= limit {
            matches.at(call.span(), || format!("`{}` has a window of {h}×{w}", call.name()));
        }
    }
}

const P9: Rule = Rule {
    id: "P9",
    title: "Writing weights into a surface between other data is nine times slower than in one piece.",
    consequence: Consequence::Slow,
    confidence: Confidence::B,
    source: &[says(RUSTANE), says(GO_PORT)],
    repair: "Give weights a surface of their own.",
    check: Check::Never("it is about how a surface is filled"),
    ..Rule::DEFAULT
};

const P10: Rule = Rule {
    id: "P10",
    title: "Engine and GPU run side by side almost without loss.",
    consequence: Consequence::Informative,
    confidence: Confidence::B,
    source: &[says(RUSTANE)],
    repair: "Use both at the same time.",
    check: Check::Never("it is about the machine"),
    ..Rule::DEFAULT
};

const P11: Rule = Rule {
    id: "P11",
    title: "A classifier on the CPU is most of a step.",
    consequence: Consequence::Slow,
    confidence: Confidence::A,
    source: &[says(SLAVKO), says(FSPECII)],
    repair: "Compact the vocabulary, or move the classifier to the engine.",
    check: Check::Never("it is the trainer's matter"),
    ..Rule::DEFAULT
};

const P12: Rule = Rule {
    id: "P12",
    title: "Conversions between fp16 and fp32 can take half of a pass.",
    consequence: Consequence::Slow,
    confidence: Confidence::B,
    source: &[says(IPHONE)],
    repair: "Stay in fp16, at surfaces too.",
    check: Check::Text(conversions),
    ..Rule::DEFAULT
};

fn conversions(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("cast") {
        let Some((x, y)) = call.shape("x").zip(call.out()) else { continue };
        if matches!((x.dtype, y.dtype), (DType::F16, DType::F32) | (DType::F32, DType::F16)) {
            matches.at(call.span(), || format!("`{}` converts {} to {}", call.name(), x.dtype, y.dtype));
        }
    }
}

const P13: Rule = Rule {
    id: "P13",
    title: "The first evaluation after some seconds of rest is slow.",
    consequence: Consequence::Slow,
    confidence: Confidence::A,
    source: &[says(GUIDE), says(M6_STUDY)],
    repair: "Evaluate once before measuring.",
    check: Check::Never("it is about the calls"),
    ..Rule::DEFAULT
};

const P14: Rule = Rule {
    id: "P14",
    title: "Reductions, transposes and element-wise operations on small tensors cost a whole dispatch.",
    consequence: Consequence::Slow,
    confidence: Confidence::B,
    source: &[says(GUIDE)],
    repair: "Fuse them into larger kernels.",
    check: Check::Never("the compiler decides what stays on the chip"),
    ..Rule::DEFAULT
};

const P15: Rule = Rule {
    id: "P15",
    title: "Formats of compressed weights stream only on newer engines.",
    consequence: Consequence::Slow,
    confidence: Confidence::B,
    source: &[says(ANEFORGE)],
    repair: "Use 4-bit tables on M1, int8 from M2 on, blocks from M3 on.",
    check: Check::Chip(streamed_formats),
    ..Rule::DEFAULT
};

fn streamed_formats(s: &Subject<'_>, chip: Chip, matches: &mut Matches) {
    for (op, since) in facts::STREAMED_WEIGHTS.value {
        if chip.generation() < *since {
            for call in s.each(op) {
                matches.at(call.span(), || format!("`{op}` is unpacked before use"));
            }
        }
    }
}
