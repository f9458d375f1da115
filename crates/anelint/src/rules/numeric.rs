//! N: how engines compute. Most of it depends on values, which a text does not hold.

use super::evidence::says;
use super::hazards::*;
use super::peers::*;
use super::{Check, Chip, Chips, Confidence, Consequence, Matches, Route, Rule, Subject};
use crate::facts::EXACT_SUM;
use mil::DType;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "N1",
        title: "Products are added in fixed point; a sum that once reaches 32768 is infinite and stays so.",
        chips: Chips::Only(&[Chip::M4, Chip::M6]),
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::A,
        source: &[says(M6_STUDY)],
        repair: "Scale the operands down by a power of two.",
        check: Check::Never("it depends on the values"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N2",
        title: "Products below about 2⁻¹⁶ vanish in sums.",
        chips: Chips::Only(&[Chip::M4, Chip::M6]),
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::A,
        source: &[says(M6_STUDY)],
        repair: "Scale the operands up by a power of two.",
        check: Check::Never("it depends on the values"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N3",
        title: "A bias is what the sum begins with, rounded as products are.",
        chips: Chips::Only(&[Chip::M4, Chip::M6]),
        consequence: Consequence::Informative,
        confidence: Confidence::B,
        source: &[says(M6_STUDY)],
        repair: "Expect the bias to count towards N1.",
        check: Check::Never("it is how the engine computes"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N4",
        title: "Products are rounded to fp16 half away from zero.",
        chips: Chips::Only(&[Chip::M4, Chip::M6]),
        consequence: Consequence::Informative,
        confidence: Confidence::A,
        source: &[says(M6_STUDY)],
        repair: "Compare with a tolerance of one unit.",
        check: Check::Never("it is how the engine computes"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N5",
        title: "Infinities and NaN count as large numbers in products, and -0 becomes +0.",
        chips: Chips::Only(&[Chip::M4, Chip::M6]),
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::B,
        source: &[says(M6_STUDY)],
        repair: "Do not rely on NaN to show an error.",
        check: Check::Never("it depends on the values"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N6",
        title: "M1 rounds the sums of tiles to fp16, overflows at 32768 and drops subnormal numbers.",
        chips: Chips::Only(&[Chip::M1]),
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::B,
        source: &[says(GUIDE)],
        repair: "Scale operands into the middle of fp16's range.",
        check: Check::Never("it depends on the values"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N7",
        title: "A 1×1 convolution of one input is exempt from M1's rounding of tiles.",
        chips: Chips::Only(&[Chip::M1]),
        consequence: Consequence::Informative,
        confidence: Confidence::B,
        source: &[says(GUIDE)],
        repair: "Prefer it for long sums.",
        check: Check::Never("it is how the engine computes"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N8",
        title: "Products of matrices overflow at about 32759, not at fp16's end.",
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::A,
        source: &[says(ANEFORGE)],
        repair: "Scale one operand down, and the result up.",
        check: Check::Never("it depends on the values"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N9",
        title: "Element-wise operations use all of fp16, up to 65504 and with subnormal numbers.",
        consequence: Consequence::Informative,
        confidence: Confidence::B,
        source: &[says(M6_STUDY)],
        repair: "Scale by element-wise operations where products would overflow.",
        check: Check::Never("it is how the engine computes"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N10",
        title: "`reduce_sum` adds in fp16: counts are exact only up to 2048.",
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::A,
        source: &[says(GUIDE), says(M6_STUDY)],
        repair: "Write the sum as a product with ones, which is wide.",
        check: Check::Text(narrow_sum),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N11",
        title: "Undefined results are zeros or large numbers: √-1 is 0, log 0 is -45440, exp overflows at 11.094.",
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::B,
        source: &[says(M6_STUDY), says(GUIDE), says(ANEFORGE)],
        repair: "Keep arguments inside the domain.",
        check: Check::Never("it depends on the values"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N12",
        title: "`softmax` subtracts the largest element first.",
        consequence: Consequence::Informative,
        confidence: Confidence::A,
        source: &[says(GUIDE)],
        repair: "Do not subtract it again.",
        check: Check::Never("it is how the engine computes"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N13",
        title: "A slice that begins inside the last axis passes a path of little range: magnitudes above 4094 become infinite.",
        chips: Chips::Only(&[Chip::A13, Chip::A14, Chip::M1, Chip::M2]),
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::B,
        source: &[says(GUIDE), says(ANEFORGE)],
        repair: "Slice another axis, or scale down before.",
        check: Check::Text(width_slice),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N14",
        title: "Activations are tables of 33 points with straight lines between.",
        consequence: Consequence::Informative,
        confidence: Confidence::B,
        source: &[says(M6_STUDY), says(GUIDE)],
        repair: "Allow 1e-2 for gelu and silu, 4e-3 for sigmoid, 2e-3 for tanh.",
        check: Check::Never("it is how the engine computes"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N15",
        title: "`relu`, `abs`, `sign` and `square` are exact.",
        consequence: Consequence::Informative,
        confidence: Confidence::A,
        source: &[says(M6_STUDY)],
        repair: "Prefer them where exactness matters.",
        check: Check::Never("it is how the engine computes"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N16",
        title: "int8 activations with int8 weights are added in int32; int8 weights alone compute in fp16.",
        chips: Chips::Only(&[Chip::M4, Chip::M5, Chip::M6]),
        consequence: Consequence::Informative,
        confidence: Confidence::A,
        source: &[says(M6_STUDY), says(ANE), says(ANEFORGE)],
        repair: "Quantize activations too to leave N1 behind.",
        check: Check::Never("it is how the engine computes"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N17",
        title: "With int8 weights sums overflow at about 30000.",
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::B,
        source: &[says(ANEFORGE)],
        repair: "Scale the operands down by a power of two.",
        check: Check::Text(int8_weights),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N18",
        title: "`round` corrupts magnitudes of 1024 and more, and rounds halves away from zero.",
        route: Route::E5rt,
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::B,
        source: &[says(ANEFORGE)],
        repair: "Round on the host, or keep values below 1024.",
        check: Check::Text(round),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N19",
        title: "The same program on the same data gives the same bits.",
        consequence: Consequence::Informative,
        confidence: Confidence::A,
        source: &[says(M6_STUDY)],
        repair: "Treat a difference between runs as a bug of the host.",
        check: Check::Never("it is how the engine computes"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N20",
        title: "Chips differ in how slices saturate, which reductions are fused, and how sums are tiled.",
        consequence: Consequence::Informative,
        confidence: Confidence::B,
        source: &[says(GUIDE)],
        repair: "Compare across chips with a tolerance.",
        check: Check::Never("the compiler decides it"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N21",
        title: "Gradients of language models vanish in fp16 behind the second matrix unless the loss is scaled.",
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::A,
        source: &[says(SLAVKO), says(ANE), says(ANEFORGE)],
        repair: "Scale the loss by 256 to 1024.",
        check: Check::Never("it depends on the values"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N22",
        title: "A step whose gradients are not finite is left out.",
        consequence: Consequence::Informative,
        confidence: Confidence::A,
        source: &[says(ANEFORGE)],
        repair: "Skip the step; the learning rate need not follow the scale.",
        check: Check::Never("it is the trainer's matter"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N23",
        title: "Large values are scaled down by powers of two before they meet: the residual, the norm's input, the gate.",
        consequence: Consequence::Informative,
        confidence: Confidence::A,
        source: &[says(H3)],
        repair: "Scale by a power of two and undo it behind.",
        check: Check::Never("it depends on the values"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N24",
        title: "Long runs need a small learning rate and clamped activations.",
        consequence: Consequence::Informative,
        confidence: Confidence::B,
        source: &[says(SLAVKO)],
        repair: "Start with a learning rate of 1e-4 and a clamp of 100.",
        check: Check::Never("it is the trainer's matter"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N25",
        title: "In RMSNorm's gradient the weight multiplies the term of dy alone.",
        consequence: Consequence::Informative,
        confidence: Confidence::A,
        source: &[says(SLAVKO)],
        repair: "Derive the gradient instead of writing it.",
        check: Check::Never("a text does not say what it is the gradient of"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N26",
        title: "Training in fp16 on the engine may lag behind fp32.",
        consequence: Consequence::Informative,
        confidence: Confidence::C,
        source: &[says(SLAVKO)],
        conflict: Some("the settings of the two runs differ, so the comparison says little"),
        repair: "Compare loss curves of equal settings.",
        check: Check::Never("it is the trainer's matter"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N27",
        title: "A product of two axes does not go straight into hardswish, `sigmoid_hard` times itself.",
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::B,
        source: &[says(COREAI)],
        repair: "Reshape the product to `[1, 1, M, N]` first.",
        check: Check::Text(flat_hardswish),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N28",
        title: "Constants are finite: zero times infinity is no number, and products count infinity as an ordinary one (N5).",
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::A,
        source: &[says(CACTUS), says(COREMLTOOLS)],
        repair: "Mask with -10000 or -65504, put in place by `select` rather than by a product.",
        check: Check::Text(infinite_constants),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N29",
        title: "`softplus` falls to 0 above 10.4.",
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::A,
        source: &[says(COREMLTOOLS), says(GUIDE)],
        repair: "Write `max(x, 0) + log(1 + exp(-|x|))`.",
        check: Check::Text(softplus),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N30",
        title: "`reduce_log_sum_exp` does not subtract the largest element: the sum overflows.",
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::A,
        source: &[says(COREMLTOOLS)],
        repair: "Write `max + log(sum(exp(x - max)))`.",
        check: Check::Text(log_sum_exp),
        ..Rule::DEFAULT
    },
    Rule {
        id: "N31",
        title: "The logarithm of a `softmax` is -infinity where the softmax is below 2⁻²⁴.",
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::A,
        source: &[says(COREMLTOOLS)],
        repair: "Write `x - max - log(sum(exp(x - max)))`.",
        check: Check::Text(log_of_softmax),
        ..Rule::DEFAULT
    },
];

/// N10: sums of more than one element. Without `axes` all are summed.
fn narrow_sum(s: &Subject<'_>, hits: &mut Matches) {
    let limit = EXACT_SUM.value;
    for step in s.each("reduce_sum") {
        let Some(shape) = step.shape("x").filter(|x| x.dtype == DType::F16) else { continue };
        let summed = match step.ints("axes") {
            Some(axes) => axes.iter().try_fold(1usize, |n, &i| Some(n.saturating_mul(shape.axis(i)?))),
            None => shape.elements(),
        };
        if let Some(n) = summed.filter(|&n| n > 1) {
            let text = || format!("`{}` adds {n} elements in fp16, exact up to {limit}", step.name());
            hits.at(step.span(), text);
        }
    }
}

/// N13.
fn width_slice(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each_of(&["slice_by_size", "slice_by_index"]) {
        let (Some(begin), Some(shape)) = (step.ints("begin"), step.shape("x")) else { continue };
        if begin.len() == shape.rank()
            && let Some(&at) = begin.last().filter(|&&b| b != 0)
        {
            hits.at(step.span(), || format!("`{}` begins at {at} of the last axis", step.name()));
        }
    }
}

/// N17.
fn int8_weights(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("constexpr_affine_dequantize") {
        hits.at(step.span(), || format!("`{}` holds weights in int8", step.name()));
    }
}

/// N18.
fn round(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.each("round") {
        hits.at(step.span(), || format!("`{}` rounds", step.name()));
    }
}
