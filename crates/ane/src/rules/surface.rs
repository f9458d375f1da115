//! S: surfaces, slots, shapes.

use super::forms::{ELEMENTWISE, conv_values};
use super::peers::*;
use super::{Check, Chip, Chips, Confidence, Consequence, Hits, Port, Route, Rule, Subject};
use crate::facts;
use mil::DType;
use mil::text::tree::Value;
use std::fmt::Display;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "S1",
        title: "Inputs and outputs are bound in alphabetical order of their names.",
        route: Route::InMemory,
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::A,
        source: &[ORION, H3, ESPRESSO],
        repair: "Declare them in alphabetical order, or bind surfaces in that order.",
        check: Check::Text(alphabetical),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S2",
        title: "More than eight inputs may be bound to the wrong names.",
        route: Route::InMemory,
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::C,
        source: &[H3, ANE_TRAIN, FSPECII],
        conflict: Some(
            "h3.c-ane saw wrong bindings; ane-train ran 98 sorted inputs on M1, ane-trainer ran 10",
        ),
        repair: "Pack inputs as channels of one surface.",
        check: Check::Text(many_inputs),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S3",
        title: "All inputs have one size in bytes, and all outputs one.",
        route: Route::InMemory,
        consequence: Consequence::Evaluation,
        confidence: Confidence::B,
        source: &[ORION, ANE_TRAIN],
        conflict: Some(
            "Orion: one size for all, else error 0x1d; ane-train on M1: inputs ascending and outputs descending by size, else zeros",
        ),
        repair: "Pad to the largest, or pack values as channels of one surface.",
        check: Check::Text(equal_sizes),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S4",
        title: "A surface has a smallest size.",
        route: Route::InMemory,
        consequence: Consequence::Evaluation,
        confidence: Confidence::B,
        source: &[ORION, ESPRESSO, IPHONE, ANE_TRAIN],
        conflict: Some("49,152 bytes on M4 and M3 Max, 16,384 on A17 Pro, about 2,048 on M1"),
        repair: "Add channels until the surface is large enough.",
        check: Check::Chip(small_surface),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S5",
        title: "A surface is read densely from its first byte, whatever its own strides say.",
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::A,
        source: &[ORION],
        repair: "Write `[1, C, 1, S]` densely, from byte 0.",
        check: Check::Never("it is about how a surface is filled"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S6",
        title: "The last axis of every surface is a multiple of 16, and at least 16.",
        consequence: Consequence::Evaluation,
        confidence: Confidence::A,
        source: &[LORA, LUENGNAT, RUSTANE, H3],
        repair: "Pad the last axis to a multiple of 16.",
        check: Check::Text(last_axis),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S7",
        title: "The last axis of an input is at least 32.",
        chips: Chips::Only(&[Chip::M3]),
        consequence: Consequence::Refused,
        confidence: Confidence::B,
        source: &[FIELD_GUIDE],
        repair: "Pad the last axis to 32.",
        check: Check::Text(input_width),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S8",
        title: "Rows of the last axis are padded to 64 bytes.",
        consequence: Consequence::Slow,
        confidence: Confidence::A,
        source: &[TRANSFORMERS, TINYGRAD, SLAVKO],
        repair: "Let the last axis take a multiple of 64 bytes.",
        check: Check::Text(row_bytes),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S9",
        title: "A surface's size is a multiple of 128 bytes.",
        chips: Chips::Only(&[Chip::M5]),
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::C,
        source: &[ANE],
        repair: "Round sizes up to 128 bytes.",
        check: Check::Text(surface_alignment),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S10",
        title: "Some very small kernels fail.",
        chips: Chips::Only(&[Chip::M3, Chip::M4]),
        consequence: Consequence::Evaluation,
        confidence: Confidence::B,
        source: &[SLAVKO],
        repair: "Make kernels of at least 64 channels and 32 columns.",
        check: Check::Never("which ones is not known: one of 64 channels, 128 hidden and 16 columns did"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S11",
        title: "Widths from 14593 to 14622 fail in large programs.",
        chips: Chips::Only(&[Chip::M4]),
        consequence: Consequence::Evaluation,
        confidence: Confidence::B,
        source: &[PREFILL],
        repair: "Use 14592 or 14624.",
        check: Check::Text(narrow_gap),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S12",
        title: "Each axis has a largest size.",
        consequence: Consequence::Refused,
        confidence: Confidence::B,
        source: &[GUIDE, LIBANE, ORION, ANE],
        conflict: Some(
            "channels of convolutions are exempt; libane keeps C to 16384; Orion saw convolutions of more than 32 k channels refused, maderix/ANE compiled one",
        ),
        repair: "Split the axis, and join the results outside.",
        check: Check::Chip(axis_sizes),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S13",
        title: "Tensors have at most five axes, operands of `matmul` and `linear` fewer than five.",
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[GUIDE, ANEFORGE],
        repair: "Reshape to four axes or fewer.",
        check: Check::Text(ranks),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S14",
        title: "Element-wise operations on a flat tensor of more than 16384 elements hang.",
        chips: Chips::Only(&[Chip::M1]),
        consequence: Consequence::Crash,
        confidence: Confidence::C,
        source: &[ANE_TRAIN],
        repair: "Reshape to `[1, C, 1, S]` first.",
        check: Check::Text(flat_elementwise),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S15",
        title: "Surfaces in fp32 cost a conversion each way.",
        consequence: Consequence::Slow,
        confidence: Confidence::A,
        source: &[ANE],
        repair: "Let surfaces be fp16.",
        check: Check::Text(wide_surfaces),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S16",
        title: "An output is a floating-point tensor that an operation makes, and no input.",
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[ORION, ANEFORGE, MIL_SPEC],
        repair: "Cast it to fp16, or pass it through an operation that changes it.",
        check: Check::Text(outputs),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S17",
        title: "A program has a largest size: operations, and bytes of weights.",
        consequence: Consequence::LoadFailure,
        confidence: Confidence::B,
        source: &[ANEFORGE, OMLX, MIL_SPEC, M6_STUDY, SLAVKO, LUENGNAT],
        repair: "Cut the program into kernels, one for each layer.",
        check: Check::Text(program_size),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S18",
        title: "Each procedure of a program is evaluated with its own symbol indices.",
        consequence: Consequence::Evaluation,
        confidence: Confidence::B,
        source: &[ANE_INFER],
        repair: "Take the indices of the procedure that runs.",
        check: Check::Never("it is about the call"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S19",
        title: "Sizes are known: symbolic ones and ranges of shapes are refused.",
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[GUIDE, MIL_SPEC],
        repair: "Write the sizes, or enumerate the shapes.",
        check: Check::Text(symbolic),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S20",
        title: "One surface can stand at two places: by shared buffers, or by two requests that swap.",
        consequence: Consequence::Informative,
        confidence: Confidence::B,
        source: &[ANEFORGE, ANE_TRAIN, MIL_SPEC],
        repair: "Swap two surfaces to update weights without copying.",
        check: Check::Never("it is about the calls"),
        ..Rule::DEFAULT
    },
];

/// "input `x`" and "is …".
fn says(port: &Port<'_>, what: impl Display) -> String {
    format!("{} `{}` {what}", port.side, port.name)
}

/// S1.
fn alphabetical(s: &Subject<'_>, hits: &mut Hits) {
    let mut look = |ports: Vec<Port<'_>>| {
        if let Some((a, b)) = ports.windows(2).find_map(|w| match w {
            [a, b] if a.name > b.name => Some((*a, *b)),
            _ => None,
        }) {
            hits.at(b.span, || says(&b, format!("is declared behind `{}`, and bound before it", a.name)));
        }
    };
    for scene in &s.scenes {
        look(scene.inputs().collect());
        look(scene.outputs().collect());
    }
}

/// S2.
fn many_inputs(s: &Subject<'_>, hits: &mut Hits) {
    let limit = facts::SAFE_INPUTS.value;
    for scene in &s.scenes {
        let n = scene.inputs().count();
        if n > limit {
            hits.at(scene.func.name.span, || {
                format!("`{}` has {n} inputs, more than {limit}", scene.func.name)
            });
        }
    }
}

/// S3.
fn equal_sizes(s: &Subject<'_>, hits: &mut Hits) {
    let mut look = |ports: Vec<Port<'_>>| {
        let sized: Vec<_> = ports.iter().filter_map(|p| Some((p, p.shape.bytes()?))).collect();
        let Some(((first, want), rest)) = sized.split_first() else { return };
        if let Some((port, got)) = rest.iter().find(|(_, got)| got != want) {
            let text = format!("takes {got} bytes, `{}` takes {want}", first.name);
            hits.at(port.span, || says(port, text));
        }
    };
    for scene in &s.scenes {
        look(scene.inputs().collect());
        look(scene.outputs().collect());
    }
}

/// S4.
fn small_surface(s: &Subject<'_>, chip: Chip, hits: &mut Hits) {
    let least = match chip {
        Chip::M1 => facts::MIN_SURFACE_BYTES_M1,
        c if c.name().starts_with('A') => facts::MIN_SURFACE_BYTES_PHONE,
        _ => facts::MIN_SURFACE_BYTES,
    }
    .value;
    for port in s.surfaces() {
        if let Some(bytes) = port.shape.bytes().filter(|&b| b < least) {
            hits.at(port.span, || says(&port, format!("takes {bytes} bytes, fewer than {least}")));
        }
    }
}

/// S6. The two programs of Espresso with a width of 2 that a real engine compiled have fp32 surfaces.
fn last_axis(s: &Subject<'_>, hits: &mut Hits) {
    let unit = facts::LAST_AXIS_UNIT.value;
    for port in s.surfaces() {
        let Some(width) = port.shape.last().filter(|w| *w == 0 || !w.is_multiple_of(unit)) else { continue };
        let text = || says(&port, format!("has a last axis of {width}, no multiple of {unit}"));
        if port.shape.dtype == DType::F16 {
            hits.at(port.span, text);
        } else {
            hits.disputed(port.span, text);
        }
    }
}

/// S7.
fn input_width(s: &Subject<'_>, hits: &mut Hits) {
    let least = facts::MIN_INPUT_WIDTH.value;
    for port in s.inputs() {
        if let Some(width) = port.shape.last().filter(|&w| w < least) {
            hits.at(port.span, || says(&port, format!("has a last axis of {width}, less than {least}")));
        }
    }
}

/// S8.
fn row_bytes(s: &Subject<'_>, hits: &mut Hits) {
    let unit = facts::ROW_BYTES.value;
    for port in s.surfaces() {
        let Some((width, size)) = port.shape.last().zip(port.shape.dtype.size()) else { continue };
        let bytes = width.saturating_mul(size);
        if !bytes.is_multiple_of(unit) {
            hits.at(port.span, || says(&port, format!("has rows of {bytes} bytes, no multiple of {unit}")));
        }
    }
}

/// S9.
fn surface_alignment(s: &Subject<'_>, hits: &mut Hits) {
    let unit = facts::SURFACE_ALIGNMENT.value;
    for port in s.surfaces() {
        if let Some(bytes) = port.shape.bytes().filter(|b| !b.is_multiple_of(unit)) {
            hits.at(port.span, || says(&port, format!("takes {bytes} bytes, no multiple of {unit}")));
        }
    }
}

/// S11.
fn narrow_gap(s: &Subject<'_>, hits: &mut Hits) {
    let (from, to) = facts::FAILING_WIDTHS.value;
    for port in s.surfaces() {
        if let Some(width) = port.shape.last().filter(|w| (from..=to).contains(w)) {
            hits.at(port.span, || {
                says(&port, format!("has a last axis of {width}, between {from} and {to}"))
            });
        }
    }
}

/// S12: axes but the batch and the channels of what convolutions take and give; constants that are no operand of an
/// engine, such as tables, are not looked at.
fn axis_sizes(s: &Subject<'_>, chip: Chip, hits: &mut Hits) {
    let wide = facts::MAX_AXIS.value;
    let narrow =
        if chip.generation() <= facts::OLD_GENERATION.value { facts::MAX_AXIS_OLD.value } else { wide };
    for scene in &s.scenes {
        let exempt = conv_values(scene);
        let params = scene.inputs().map(|p| (p.name, p.shape, p.span));
        let made = scene.steps().filter(|t| !t.makes_constant());
        let made = made.filter_map(|t| Some((t.name(), t.out()?, t.op.outputs.first()?.name.span)));
        for (name, shape, span) in params.chain(made) {
            // N and C come first where all four axes stand.
            let leading = if shape.rank() >= 4 { 2 } else { 0 };
            for (i, size) in shape.dims.iter().enumerate() {
                let limit = if i < leading { wide } else { narrow };
                let free = leading > 0 && i == 1 && exempt.contains(name);
                if let Some(size) = size.filter(|&n| n > limit && !free) {
                    hits.at(span, || format!("axis {i} of `{name}` has {size} elements, more than {limit}"));
                    break;
                }
            }
        }
    }
}

/// S13.
fn ranks(s: &Subject<'_>, hits: &mut Hits) {
    let limit = facts::MAX_RANK.value;
    let params = s.inputs().map(|p| (p.name, p.shape, p.span));
    let made = s.steps().filter_map(|t| Some((t.name(), t.out()?, t.op.outputs.first()?.name.span)));
    for (name, shape, span) in params.chain(made) {
        if shape.rank() > limit {
            hits.at(span, || format!("`{name}` has {} axes, more than {limit}", shape.rank()));
        }
    }
    for step in s.each_of(&["matmul", "linear"]) {
        for param in ["x", "y"] {
            if let Some(rank) = step.shape(param).map(|s| s.rank()).filter(|&r| r >= limit) {
                hits.at(step.span(), || {
                    format!(
                        "`{}` takes an operand `{param}` of {rank} axes, not fewer than {limit}",
                        step.op.op
                    )
                });
            }
        }
    }
}

/// S14.
fn flat_elementwise(s: &Subject<'_>, hits: &mut Hits) {
    let limit = facts::MAX_FLAT_ELEMENTS.value;
    for step in s.each_of(ELEMENTWISE) {
        let Some(shape) = step.out() else { continue };
        let Some(n) = shape.elements().filter(|&n| n > limit && shape.dims.contains(&Some(n))) else {
            continue;
        };
        hits.at(step.span(), || {
            format!("`{}` works on {n} elements along one axis, more than {limit}", step.op.op)
        });
    }
}

/// S15.
fn wide_surfaces(s: &Subject<'_>, hits: &mut Hits) {
    for port in s.surfaces().filter(|p| p.shape.dtype == DType::F32) {
        hits.at(port.span, || says(&port, "is fp32"));
    }
}

/// S16.
fn outputs(s: &Subject<'_>, hits: &mut Hits) {
    for scene in &s.scenes {
        for port in scene.outputs() {
            let maker = scene.value(port.name).and_then(|v| v.maker);
            match maker.map(|op| op.op.text) {
                None => hits.at(port.span, || says(&port, "is an input")),
                Some(op) if op == "const" || op.starts_with("constexpr_") => {
                    hits.at(port.span, || says(&port, "is a constant"));
                }
                Some(_) if !port.shape.dtype.is_float() => {
                    hits.at(port.span, || says(&port, format!("holds {}", port.shape.dtype)));
                }
                Some(_) => {}
            }
        }
    }
}

/// S17.
fn program_size(s: &Subject<'_>, hits: &mut Hits) {
    let (most_ops, most_bytes) = (facts::MAX_OPS.value, facts::MAX_WEIGHT_BYTES.value);
    for scene in &s.scenes {
        let ops = scene.steps().filter(|t| !t.makes_constant()).count();
        if ops > most_ops {
            let name = scene.func.name;
            hits.at(name.span, || format!("`{name}` has {ops} operations, more than {most_ops}"));
        }
        let mut bytes = 0u64;
        for step in scene.each("const") {
            let literal = step.op.const_literal();
            if literal.is_some_and(|l| matches!(l.value, Value::Blob { .. })) {
                bytes = bytes.saturating_add(step.out().and_then(|s| s.bytes()).unwrap_or(0) as u64);
            }
        }
        if bytes > most_bytes {
            let name = scene.func.name;
            hits.at(name.span, || format!("`{name}` has {bytes} bytes of weights, more than {most_bytes}"));
        }
    }
}

/// S19.
fn symbolic(s: &Subject<'_>, hits: &mut Hits) {
    for port in s.inputs().filter(|p| p.shape.dims.contains(&None)) {
        hits.at(port.span, || says(&port, "has an unknown size"));
    }
}
