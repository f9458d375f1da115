//! N1 to N18: range and precision of numbers.

use super::chip::{Chip, Chips};
use super::evidence::says;
use super::matches::Matches;
use super::peers::*;
use super::rule::{Check, Confidence, Consequence, Route, Rule};
use super::subject::Subject;
use crate::facts;
use mil::DType;

pub(super) const RULES: &[Rule] =
    &[N1, N2, N3, N4, N5, N6, N7, N8, N9, N10, N11, N12, N13, N14, N15, N16, N17, N18];

const N1: Rule = Rule {
    id: "N1",
    title: "Products are added in fixed point; a sum that once reaches 32768 is infinite and stays so.",
    chips: Chips::Only(&[Chip::M4, Chip::M6]),
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::A,
    source: &[says(M6_STUDY)],
    repair: "Scale the operands down by a power of two.",
    check: Check::Never("it depends on the values"),
    ..Rule::DEFAULT
};

const N2: Rule = Rule {
    id: "N2",
    title: "Products below about 2⁻¹⁶ vanish in sums.",
    chips: Chips::Only(&[Chip::M4, Chip::M6]),
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::A,
    source: &[says(M6_STUDY)],
    repair: "Scale the operands up by a power of two.",
    check: Check::Never("it depends on the values"),
    ..Rule::DEFAULT
};

const N3: Rule = Rule {
    id: "N3",
    title: "A bias is what the sum begins with, rounded as products are.",
    chips: Chips::Only(&[Chip::M4, Chip::M6]),
    consequence: Consequence::Informative,
    confidence: Confidence::B,
    source: &[says(M6_STUDY)],
    repair: "Expect the bias to count towards N1.",
    check: Check::Never("it is how the engine computes"),
    ..Rule::DEFAULT
};

const N4: Rule = Rule {
    id: "N4",
    title: "Products are rounded to fp16 half away from zero.",
    chips: Chips::Only(&[Chip::M4, Chip::M6]),
    consequence: Consequence::Informative,
    confidence: Confidence::A,
    source: &[says(M6_STUDY)],
    repair: "Compare with a tolerance of one unit.",
    check: Check::Never("it is how the engine computes"),
    ..Rule::DEFAULT
};

const N5: Rule = Rule {
    id: "N5",
    title: "Infinities and NaN count as large numbers in products, and -0 becomes +0.",
    chips: Chips::Only(&[Chip::M4, Chip::M6]),
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::B,
    source: &[says(M6_STUDY)],
    repair: "Do not rely on NaN to show an error.",
    check: Check::Never("it depends on the values"),
    ..Rule::DEFAULT
};

const N6: Rule = Rule {
    id: "N6",
    title: "M1 rounds the sums of tiles to fp16, overflows at 32768 and drops subnormal numbers.",
    chips: Chips::Only(&[Chip::M1]),
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::B,
    source: &[says(GUIDE)],
    repair: "Scale operands into the middle of fp16's range.",
    check: Check::Never("it depends on the values"),
    ..Rule::DEFAULT
};

const N7: Rule = Rule {
    id: "N7",
    title: "A 1×1 convolution of one input is exempt from M1's rounding of tiles.",
    chips: Chips::Only(&[Chip::M1]),
    consequence: Consequence::Informative,
    confidence: Confidence::B,
    source: &[says(GUIDE)],
    repair: "Prefer it for long sums.",
    check: Check::Never("it is how the engine computes"),
    ..Rule::DEFAULT
};

const N8: Rule = Rule {
    id: "N8",
    title: "Products of matrices overflow at about 32759, not at fp16's end.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::A,
    source: &[says(ANEFORGE)],
    repair: "Scale one operand down, and the result up.",
    check: Check::Never("it depends on the values"),
    ..Rule::DEFAULT
};

const N9: Rule = Rule {
    id: "N9",
    title: "Element-wise operations use all of fp16, up to 65504 and with subnormal numbers.",
    consequence: Consequence::Informative,
    confidence: Confidence::B,
    source: &[says(M6_STUDY)],
    repair: "Scale by element-wise operations where products would overflow.",
    check: Check::Never("it is how the engine computes"),
    ..Rule::DEFAULT
};

const N10: Rule = Rule {
    id: "N10",
    title: "`reduce_sum` adds in fp16: counts are exact only up to 2048.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::A,
    source: &[says(GUIDE), says(M6_STUDY)],
    repair: "Write the sum as a product with ones, which is wide.",
    check: Check::Text(narrow_sum),
    ..Rule::DEFAULT
};

/// Sums of more than one element. Without `axes` all are summed.
fn narrow_sum(s: &Subject<'_>, matches: &mut Matches) {
    let limit = facts::EXACT_SUM.value;
    for call in s.each("reduce_sum") {
        let Some(shape) = call.shape("x").filter(|x| x.dtype == DType::F16) else { continue };
        let summed = match call.ints("axes") {
            Some(axes) => axes.iter().try_fold(1usize, |n, &i| Some(n.saturating_mul(shape.axis(i)?))),
            None => shape.elements(),
        };
        if let Some(n) = summed.filter(|&n| n > 1) {
            let text = || format!("`{}` adds {n} elements in fp16, exact up to {limit}", call.name());
            matches.at(call.span(), text);
        }
    }
}

const N11: Rule = Rule {
    id: "N11",
    title: "Undefined results are zeros or large numbers: √-1 is 0, log 0 is -45440, exp overflows at 11.094.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::B,
    source: &[says(M6_STUDY), says(GUIDE), says(ANEFORGE)],
    repair: "Keep arguments inside the domain.",
    check: Check::Never("it depends on the values"),
    ..Rule::DEFAULT
};

const N12: Rule = Rule {
    id: "N12",
    title: "`softmax` subtracts the largest element first.",
    consequence: Consequence::Informative,
    confidence: Confidence::A,
    source: &[says(GUIDE)],
    repair: "Do not subtract it again.",
    check: Check::Never("it is how the engine computes"),
    ..Rule::DEFAULT
};

const N13: Rule = Rule {
    id: "N13",
    title: "A slice that begins inside the last axis passes a path of little range: magnitudes above 4094 become infinite.",
    chips: Chips::Only(&[Chip::A13, Chip::A14, Chip::M1, Chip::M2]),
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::B,
    source: &[says(GUIDE), says(ANEFORGE)],
    repair: "Slice another axis, or scale down before.",
    check: Check::Text(width_slice),
    ..Rule::DEFAULT
};

fn width_slice(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each_of(&["slice_by_size", "slice_by_index"]) {
        let (Some(begin), Some(shape)) = (call.ints("begin"), call.shape("x")) else { continue };
        if begin.len() == shape.rank()
            && let Some(&at) = begin.last().filter(|&&b| b != 0)
        {
            matches.at(call.span(), || format!("`{}` begins at {at} of the last axis", call.name()));
        }
    }
}

const N14: Rule = Rule {
    id: "N14",
    title: "Activations are tables of 33 points with straight lines between.",
    consequence: Consequence::Informative,
    confidence: Confidence::B,
    source: &[says(M6_STUDY), says(GUIDE)],
    repair: "Allow 1e-2 for gelu and silu, 4e-3 for sigmoid, 2e-3 for tanh.",
    check: Check::Never("it is how the engine computes"),
    ..Rule::DEFAULT
};

const N15: Rule = Rule {
    id: "N15",
    title: "`relu`, `abs`, `sign` and `square` are exact.",
    consequence: Consequence::Informative,
    confidence: Confidence::A,
    source: &[says(M6_STUDY)],
    repair: "Prefer them where exactness matters.",
    check: Check::Never("it is how the engine computes"),
    ..Rule::DEFAULT
};

const N16: Rule = Rule {
    id: "N16",
    title: "int8 activations with int8 weights are added in int32; with int8 weights only, sums are fp16.",
    chips: Chips::Only(&[Chip::M4, Chip::M5, Chip::M6]),
    consequence: Consequence::Informative,
    confidence: Confidence::A,
    source: &[says(M6_STUDY), says(ANE), says(ANEFORGE)],
    repair: "Quantize activations too to avoid N1.",
    check: Check::Never("it is how the engine computes"),
    ..Rule::DEFAULT
};

const N17: Rule = Rule {
    id: "N17",
    title: "With int8 weights sums overflow at about 30000.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::B,
    source: &[says(ANEFORGE)],
    repair: "Scale the operands down by a power of two.",
    check: Check::Text(int8_weights),
    ..Rule::DEFAULT
};

fn int8_weights(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("constexpr_affine_dequantize") {
        matches.at(call.span(), || format!("`{}` holds weights in int8", call.name()));
    }
}

const N18: Rule = Rule {
    id: "N18",
    title: "`round` corrupts magnitudes of 1024 and more, and rounds halves away from zero.",
    route: Route::E5rt,
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::B,
    source: &[says(ANEFORGE)],
    repair: "Round on the host, or keep values below 1024.",
    check: Check::Text(round),
    ..Rule::DEFAULT
};

fn round(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.each("round") {
        matches.at(call.span(), || format!("`{}` rounds", call.name()));
    }
}
