//! P: what is fast.

use super::evidence::says;
use super::peers::*;
use super::{Check, Chip, Chips, Confidence, Consequence, FunctionIndex, Matches, Rule, Step, Subject};
use crate::facts;
use mil::DType;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "P1",
        title: "Kernels of less than about a billion operations cost mostly their dispatch.",
        consequence: Consequence::Slow,
        confidence: Confidence::A,
        source: &[says(SLAVKO), says(ANE), says(ANEFORGE)],
        repair: "Join kernels, or compute more columns in one dispatch.",
        check: Check::Text(small_work),
        ..Rule::DEFAULT
    },
    Rule {
        id: "P2",
        title: "Compiling takes 11 to 60 ms a kernel, loading a compiled one 2 to 10 ms.",
        consequence: Consequence::Informative,
        confidence: Confidence::A,
        source: &[says(ANE), says(RUSTANE), says(ANEFORGE)],
        repair: "Compile beside evaluation.",
        check: Check::Never("it is about the calls"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "P3",
        title: "One program a layer compiles in a fraction of the time that one for all layers takes.",
        consequence: Consequence::Slow,
        confidence: Confidence::A,
        source: &[says(ANEFORGE)],
        repair: "Compile one layer and use it for all.",
        check: Check::Never("a text does not say what its layers are"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "P4",
        title: "A 1×1 convolution is about three times as fast as a product with the same constant matrix.",
        consequence: Consequence::Slow,
        confidence: Confidence::A,
        source: &[says(ORION), says(ANE), says(SLAVKO)],
        repair: "Write a 1×1 `conv`.",
        check: Check::Text(constant_product),
        ..Rule::DEFAULT
    },
    Rule {
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
    },
    Rule {
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
    },
    Rule {
        id: "P7",
        title: "Wide surfaces are more efficient: 4096 columns about three times 256.",
        consequence: Consequence::Slow,
        confidence: Confidence::B,
        source: &[says(SLAVKO)],
        repair: "Let one dispatch compute more columns.",
        check: Check::Never("every program would be told so"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "P8",
        title: "Long thin windows are slower than square ones.",
        chips: Chips::Only(&[Chip::M6]),
        consequence: Consequence::Slow,
        confidence: Confidence::B,
        source: &[says(M6_STUDY)],
        repair: "Use square windows, or move space to channels with `space_to_depth`.",
        check: Check::Text(thin_windows),
        ..Rule::DEFAULT
    },
    Rule {
        id: "P9",
        title: "Writing weights into a surface between other data is nine times slower than in one piece.",
        consequence: Consequence::Slow,
        confidence: Confidence::B,
        source: &[says(RUSTANE), says(GO_PORT)],
        repair: "Give weights a surface of their own.",
        check: Check::Never("it is about how a surface is filled"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "P10",
        title: "Engine and GPU run side by side almost without loss.",
        consequence: Consequence::Informative,
        confidence: Confidence::B,
        source: &[says(RUSTANE)],
        repair: "Use both at the same time.",
        check: Check::Never("it is about the machine"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "P11",
        title: "A classifier on the CPU is most of a step.",
        consequence: Consequence::Slow,
        confidence: Confidence::A,
        source: &[says(SLAVKO), says(FSPECII)],
        repair: "Compact the vocabulary, or move the classifier to the engine.",
        check: Check::Never("it is the trainer's matter"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "P12",
        title: "Conversions between fp16 and fp32 can take half of a pass.",
        consequence: Consequence::Slow,
        confidence: Confidence::B,
        source: &[says(IPHONE)],
        repair: "Stay in fp16, at surfaces too.",
        check: Check::Text(conversions),
        ..Rule::DEFAULT
    },
    Rule {
        id: "P13",
        title: "The first evaluation after some seconds of rest is slow.",
        consequence: Consequence::Slow,
        confidence: Confidence::A,
        source: &[says(GUIDE), says(M6_STUDY)],
        repair: "Evaluate once before measuring.",
        check: Check::Never("it is about the calls"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "P14",
        title: "Reductions, transposes and element-wise operations on small tensors cost a whole dispatch.",
        consequence: Consequence::Slow,
        confidence: Confidence::B,
        source: &[says(GUIDE)],
        repair: "Fuse them into larger kernels.",
        check: Check::Never("the compiler decides what stays on the chip"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "P15",
        title: "Formats of compressed weights stream only on newer engines.",
        consequence: Consequence::Slow,
        confidence: Confidence::B,
        source: &[says(ANEFORGE)],
        repair: "Use 4-bit tables on M1, int8 from M2 on, blocks from M3 on.",
        check: Check::Chip(streamed_formats),
        ..Rule::DEFAULT
    },
];

/// Operations of a product or convolution, two for each multiply-add; `None` if a size is not known.
fn work(step: &Step<'_, '_>) -> Option<u64> {
    let out = step.out()?.elements()?;
    let each = match step.op.op.text {
        "conv" => {
            let weight = step.shape("weight")?;
            weight.elements()?.checked_div(weight.dim(0)?)?
        }
        "linear" => step.shape("weight")?.last()?,
        // Two products; queries are taken to be as long as values.
        "scaled_dot_product_attention" => step.shape("key")?.axis(-2)?.checked_mul(2)?,
        _ => {
            let x = step.shape("x")?;
            x.axis(if step.flag("transpose_x").unwrap_or(false) { -2 } else { -1 })?
        }
    };
    Some((out as u64).saturating_mul(each as u64).saturating_mul(2))
}

/// Operations of all products and convolutions of a function; `None` if a size is not known.
fn work_of(scene: &FunctionIndex<'_>) -> Option<u64> {
    let counted = ["conv", "linear", "matmul", "scaled_dot_product_attention"];
    let mut steps = counted.into_iter().flat_map(|op| scene.each(op));
    steps.try_fold(0u64, |n, step| Some(n.saturating_add(work(&step)?)))
}

/// S22.
pub(super) fn too_much_work(s: &Subject<'_>, hits: &mut Matches) {
    let most = facts::TIMED_OUT_WORK.value;
    for scene in &s.scenes {
        if let Some(n) = work_of(scene).filter(|&n| n >= most) {
            let name = scene.func.name;
            hits.at(name.span, || {
                format!("`{name}` does {n} multiplications and additions, {most} timed out (status 0xf)")
            });
        }
    }
}

/// P1.
fn small_work(s: &Subject<'_>, hits: &mut Matches) {
    let least = facts::DISPATCH_WORK.value;
    for scene in &s.scenes {
        if let Some(n) = work_of(scene).filter(|&n| n < least) {
            let name = scene.func.name;
            hits.at(name.span, || {
                format!("`{name}` does {n} multiplications and additions, fewer than {least}")
            });
        }
    }
}

/// P4.
fn constant_product(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each_of(&["linear", "matmul"]) {
        let param = if step.op.op.text == "linear" { "weight" } else { "y" };
        let constant = |p| step.is_constant(p) == Some(true);
        if constant(param) || step.op.op.text == "matmul" && constant("x") {
            hits.at(step.span(), || format!("`{}` is a product with a constant matrix", step.name()));
        }
    }
}

/// P5: convolutions that at most halve the channels.
fn narrowing(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("conv") {
        let Some((x, y)) = step.shape("x").and_then(|x| x.dim(1)).zip(step.out().and_then(|y| y.dim(1)))
        else {
            continue;
        };
        if y <= x / 2 {
            hits.at(step.span(), || format!("`{}` makes {y} channels of {x}", step.name()));
        }
    }
}

/// P6.
fn wide_channels(s: &Subject<'_>, hits: &mut Matches) {
    let limit = facts::SLOW_CHANNELS.value;
    for step in s.each("conv") {
        let Some(x) = step.shape("x").and_then(|x| x.dim(1)).filter(|&c| c >= limit) else { continue };
        hits.at(step.span(), || format!("`{}` takes {x} channels, {limit} or more", step.name()));
    }
}

/// P8.
fn thin_windows(s: &Subject<'_>, hits: &mut Matches) {
    let limit = facts::THIN_WINDOW.value;
    for step in s.each("conv") {
        let Some(weight) = step.shape("weight") else { continue };
        let Some((h, w)) = weight.dim(2).zip(weight.dim(3)) else { continue };
        if h.min(w) == 1 && h.max(w) >= limit {
            hits.at(step.span(), || format!("`{}` has a window of {h}×{w}", step.name()));
        }
    }
}

/// P12.
fn conversions(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("cast") {
        let Some((x, y)) = step.shape("x").zip(step.out()) else { continue };
        if matches!((x.dtype, y.dtype), (DType::F16, DType::F32) | (DType::F32, DType::F16)) {
            hits.at(step.span(), || format!("`{}` converts {} to {}", step.name(), x.dtype, y.dtype));
        }
    }
}

/// P15.
fn streamed_formats(s: &Subject<'_>, chip: Chip, hits: &mut Matches) {
    for (op, since) in facts::STREAMED_WEIGHTS.value {
        if chip.generation() < *since {
            for step in s.each(op) {
                hits.at(step.span(), || format!("`{op}` is unpacked before use"));
            }
        }
    }
}
