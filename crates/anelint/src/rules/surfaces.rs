//! S1 to S11: what is bound to surfaces.

use super::chip::{Chip, Chips};
use super::evidence::{ran, says, tested};
use super::matches::Matches;
use super::peers::*;
use super::rule::{Check, Confidence, Consequence, Route, Rule};
use super::subject::{Port, Subject};
use crate::facts;
use mil::DType;

pub(super) const RULES: &[Rule] = &[S1, S2, S3, S4, S5, S6, S7, S8, S9, S10, S11];

const S1: Rule = Rule {
    id: "S1",
    title: "Inputs and outputs are bound in alphabetical order of their names.",
    route: Route::InMemory,
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::A,
    source: &[says(ORION), says(H3), says(ESPRESSO)],
    repair: "Declare them in alphabetical order, or bind surfaces in that order.",
    check: Check::Text(alphabetical),
    ..Rule::DEFAULT
};

fn alphabetical(s: &Subject<'_>, matches: &mut Matches) {
    let mut look = |ports: Vec<Port<'_>>| {
        if let Some((a, b)) = ports.windows(2).find_map(|w| match w {
            [a, b] if a.name > b.name => Some((*a, *b)),
            _ => None,
        }) {
            matches.at(b.span, || b.says(format!("is declared behind `{}`, and bound before it", a.name)));
        }
    };
    for function in &s.functions {
        look(function.inputs().collect());
        look(function.outputs().collect());
    }
}

const S2: Rule = Rule {
    id: "S2",
    title: "More than eight inputs may be bound to the wrong names.",
    route: Route::InMemory,
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::C,
    source: &[says(H3), ran(ANE_TRAIN), ran(FSPECII)],
    conflict: Some("h3.c-ane saw wrong bindings; ane-train ran 98 sorted inputs on M1, ane-trainer ran 10"),
    repair: "Pack inputs as channels of one surface.",
    check: Check::Text(many_inputs),
    ..Rule::DEFAULT
};

fn many_inputs(s: &Subject<'_>, matches: &mut Matches) {
    let limit = facts::SAFE_INPUTS.value;
    for function in &s.functions {
        let n = function.inputs().count();
        if n > limit {
            matches.at(function.func.name.span, || {
                format!("`{}` has {n} inputs, more than {limit}", function.func.name)
            });
        }
    }
}

const S3: Rule = Rule {
    id: "S3",
    title: "All inputs have one size in bytes, and all outputs one.",
    route: Route::InMemory,
    consequence: Consequence::Evaluation,
    confidence: Confidence::B,
    source: &[says(ORION), says(ANE_TRAIN), ran(H3)],
    conflict: Some(
        "Orion: one size for all, else error 0x1d; ane-train on M1: inputs ascending and outputs descending by size, else zeros",
    ),
    repair: "Pad to the largest, or pack values as channels of one surface.",
    check: Check::Text(equal_sizes),
    ..Rule::DEFAULT
};

fn equal_sizes(s: &Subject<'_>, matches: &mut Matches) {
    let mut look = |ports: Vec<Port<'_>>| {
        let sized: Vec<_> = ports.iter().filter_map(|p| Some((p, p.shape.bytes()?))).collect();
        let Some(((first, want), rest)) = sized.split_first() else { return };
        if let Some((port, got)) = rest.iter().find(|(_, got)| got != want) {
            let text = format!("takes {got} bytes, `{}` takes {want}", first.name);
            matches.at(port.span, || port.says(text));
        }
    };
    for function in &s.functions {
        look(function.inputs().collect());
        look(function.outputs().collect());
    }
}

const S4: Rule = Rule {
    id: "S4",
    title: "A surface has a smallest size.",
    route: Route::InMemory,
    consequence: Consequence::Evaluation,
    confidence: Confidence::B,
    source: &[says(ORION), says(ESPRESSO), says(IPHONE), ran(ANE_TRAIN)],
    conflict: Some("49,152 bytes on M4 and M3 Max, 16,384 on A17 Pro, about 2,048 on M1"),
    repair: "Add channels until the surface is large enough.",
    check: Check::Chip(small_surface),
    ..Rule::DEFAULT
};

fn small_surface(s: &Subject<'_>, chip: Chip, matches: &mut Matches) {
    let least = match chip {
        Chip::M1 => facts::MIN_SURFACE_BYTES_M1,
        c if c.name().starts_with('A') => facts::MIN_SURFACE_BYTES_PHONE,
        _ => facts::MIN_SURFACE_BYTES,
    }
    .value;
    for port in s.surfaces() {
        if let Some(bytes) = port.shape.bytes().filter(|&b| b < least) {
            matches.at(port.span, || port.says(format!("takes {bytes} bytes, fewer than {least}")));
        }
    }
}

const S5: Rule = Rule {
    id: "S5",
    title: "A surface is read densely from its first byte, whatever its own strides say.",
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::A,
    source: &[says(ORION)],
    repair: "Write `[1, C, 1, S]` densely, from byte 0.",
    check: Check::Never("it is about how a surface is filled"),
    ..Rule::DEFAULT
};

const S6: Rule = Rule {
    id: "S6",
    title: "The last axis of every surface is a multiple of 16, and at least 16.",
    consequence: Consequence::Evaluation,
    confidence: Confidence::A,
    source: &[says(LORA), says(LUENGNAT), says(RUSTANE), says(H3)],
    repair: "Pad the last axis to a multiple of 16.",
    check: Check::Text(last_axis),
    ..Rule::DEFAULT
};

fn last_axis(s: &Subject<'_>, matches: &mut Matches) {
    let unit = facts::LAST_AXIS_UNIT.value;
    for port in s.surfaces() {
        let Some(width) = port.shape.last().filter(|w| *w == 0 || !w.is_multiple_of(unit)) else { continue };
        let text = || port.says(format!("has a last axis of {width}, no multiple of {unit}"));
        if port.shape.dtype == DType::F16 {
            matches.at(port.span, text);
        } else {
            matches.disputed(
                port.span,
                "two programs with fp32 surfaces of width 2 compiled for Espresso",
                text,
            );
        }
    }
}

const S7: Rule = Rule {
    id: "S7",
    title: "The last axis of an input is at least 32.",
    chips: Chips::Only(&[Chip::M3]),
    consequence: Consequence::Refused,
    confidence: Confidence::B,
    source: &[tested(FIELD_GUIDE), ran(ESPRESSO)],
    repair: "Pad the last axis to 32.",
    check: Check::Text(input_width),
    ..Rule::DEFAULT
};

fn input_width(s: &Subject<'_>, matches: &mut Matches) {
    let least = facts::MIN_INPUT_WIDTH.value;
    for port in s.inputs() {
        if let Some(width) = port.shape.last().filter(|&w| w < least) {
            matches.at(port.span, || port.says(format!("has a last axis of {width}, less than {least}")));
        }
    }
}

const S8: Rule = Rule {
    id: "S8",
    title: "Rows of the last axis are padded to 64 bytes.",
    consequence: Consequence::Slow,
    confidence: Confidence::A,
    source: &[says(TRANSFORMERS), says(TINYGRAD), says(SLAVKO)],
    repair: "Let the last axis take a multiple of 64 bytes.",
    check: Check::Text(row_bytes),
    ..Rule::DEFAULT
};

fn row_bytes(s: &Subject<'_>, matches: &mut Matches) {
    let unit = facts::ROW_BYTES.value;
    for port in s.surfaces() {
        let Some((width, size)) = port.shape.last().zip(port.shape.dtype.size()) else { continue };
        let bytes = width.saturating_mul(size);
        if !bytes.is_multiple_of(unit) {
            matches.at(port.span, || port.says(format!("has rows of {bytes} bytes, no multiple of {unit}")));
        }
    }
}

const S9: Rule = Rule {
    id: "S9",
    title: "A surface's size is a multiple of 128 bytes.",
    chips: Chips::Only(&[Chip::M5]),
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::C,
    source: &[says(ANE)],
    repair: "Round sizes up to 128 bytes.",
    check: Check::Text(surface_alignment),
    ..Rule::DEFAULT
};

fn surface_alignment(s: &Subject<'_>, matches: &mut Matches) {
    let unit = facts::SURFACE_ALIGNMENT.value;
    for port in s.surfaces() {
        if let Some(bytes) = port.shape.bytes().filter(|b| !b.is_multiple_of(unit)) {
            matches.at(port.span, || port.says(format!("takes {bytes} bytes, no multiple of {unit}")));
        }
    }
}

const S10: Rule = Rule {
    id: "S10",
    title: "Some very small kernels fail.",
    chips: Chips::Only(&[Chip::M3, Chip::M4]),
    consequence: Consequence::Evaluation,
    confidence: Confidence::B,
    source: &[says(SLAVKO)],
    repair: "Make kernels of at least 64 channels and 32 columns.",
    check: Check::Never("which ones is not known: one of 64 channels, 128 hidden and 16 columns did"),
    ..Rule::DEFAULT
};

const S11: Rule = Rule {
    id: "S11",
    title: "Widths from 14593 to 14622 fail in large programs.",
    chips: Chips::Only(&[Chip::M4]),
    consequence: Consequence::Evaluation,
    confidence: Confidence::B,
    source: &[says(PREFILL)],
    repair: "Use 14592 or 14624.",
    check: Check::Text(narrow_gap),
    ..Rule::DEFAULT
};

fn narrow_gap(s: &Subject<'_>, matches: &mut Matches) {
    let (from, to) = facts::FAILING_WIDTHS.value;
    for port in s.surfaces() {
        if let Some(width) = port.shape.last().filter(|w| (from..=to).contains(w)) {
            matches
                .at(port.span, || port.says(format!("has a last axis of {width}, between {from} and {to}")));
        }
    }
}
