//! The checks of S: what is bound to surfaces, and sizes.

use super::forms::{ELEMENTWISE, conv_values};
use super::{Chip, Matches, Port, Shape, Subject};
use crate::facts;
use mil::DType;
use mil::text::tree::{Type, Value};
use std::fmt::Display;

/// "input `x`" and "is …".
fn says(port: &Port<'_>, what: impl Display) -> String {
    format!("{} `{}` {what}", port.side, port.name)
}

/// S1.
pub(super) fn alphabetical(s: &Subject<'_>, hits: &mut Matches) {
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
pub(super) fn many_inputs(s: &Subject<'_>, hits: &mut Matches) {
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
pub(super) fn equal_sizes(s: &Subject<'_>, hits: &mut Matches) {
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
pub(super) fn small_surface(s: &Subject<'_>, chip: Chip, hits: &mut Matches) {
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

/// S6.
pub(super) fn last_axis(s: &Subject<'_>, hits: &mut Matches) {
    let unit = facts::LAST_AXIS_UNIT.value;
    for port in s.surfaces() {
        let Some(width) = port.shape.last().filter(|w| *w == 0 || !w.is_multiple_of(unit)) else { continue };
        let text = || says(&port, format!("has a last axis of {width}, no multiple of {unit}"));
        if port.shape.dtype == DType::F16 {
            hits.at(port.span, text);
        } else {
            hits.disputed(
                port.span,
                "two programs with fp32 surfaces of width 2 compiled for Espresso",
                text,
            );
        }
    }
}

/// S7.
pub(super) fn input_width(s: &Subject<'_>, hits: &mut Matches) {
    let least = facts::MIN_INPUT_WIDTH.value;
    for port in s.inputs() {
        if let Some(width) = port.shape.last().filter(|&w| w < least) {
            hits.at(port.span, || says(&port, format!("has a last axis of {width}, less than {least}")));
        }
    }
}

/// S8.
pub(super) fn row_bytes(s: &Subject<'_>, hits: &mut Matches) {
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
pub(super) fn surface_alignment(s: &Subject<'_>, hits: &mut Matches) {
    let unit = facts::SURFACE_ALIGNMENT.value;
    for port in s.surfaces() {
        if let Some(bytes) = port.shape.bytes().filter(|b| !b.is_multiple_of(unit)) {
            hits.at(port.span, || says(&port, format!("takes {bytes} bytes, no multiple of {unit}")));
        }
    }
}

/// S11.
pub(super) fn narrow_gap(s: &Subject<'_>, hits: &mut Matches) {
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
/// engine, such as tables, are not looked at. On new engines reports differ on the last axis.
pub(super) fn axis_sizes(s: &Subject<'_>, chip: Chip, hits: &mut Matches) {
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
                let Some(size) = size.filter(|_| !free) else { continue };
                let text = |limit| format!("axis {i} of `{name}` has {size} elements, more than {limit}");
                let doubtful = facts::MAX_AXIS_OLD.value;
                if size > limit {
                    hits.at(span, || text(limit));
                    break;
                } else if i + 1 == shape.rank() && i >= leading && size > doubtful {
                    hits.disputed(span, "ane-guide and ANEForge give 65536 from A16 on", || text(doubtful));
                }
            }
        }
    }
}

/// S13. Constants and what unpacks them are not looked at: tables of `constexpr_lut_to_dense` have six axes and run.
pub(super) fn ranks(s: &Subject<'_>, hits: &mut Matches) {
    let limit = facts::MAX_RANK.value;
    let params = s.inputs().map(|p| (p.name, p.shape, p.span));
    let made = s
        .steps()
        .filter(|t| !t.makes_constant())
        .filter_map(|t| Some((t.name(), t.out()?, t.op.outputs.first()?.name.span)));
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
pub(super) fn flat_elementwise(s: &Subject<'_>, hits: &mut Matches) {
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
pub(super) fn wide_surfaces(s: &Subject<'_>, hits: &mut Matches) {
    for port in s.surfaces().filter(|p| p.shape.dtype == DType::F32) {
        hits.at(port.span, || says(&port, "is fp32"));
    }
}

/// S16.
pub(super) fn outputs(s: &Subject<'_>, hits: &mut Matches) {
    for scene in &s.scenes {
        for port in scene.outputs() {
            let maker = scene.value(port.name).and_then(|v| v.maker);
            match maker.map(|op| op.op.text) {
                None => {
                    hits.disputed(port.span, "mil_spec runs such programs", || says(&port, "is an input"))
                }
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
pub(super) fn program_size(s: &Subject<'_>, hits: &mut Matches) {
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
            let text = || format!("`{name}` has {bytes} bytes of weights, more than {most_bytes}");
            if bytes > facts::LOADED_WEIGHT_BYTES.value {
                hits.at(name.span, text);
            } else {
                hits.disputed(name.span, "omlx loads 7.86 GiB on M3 Max", text);
            }
        }
    }
}

/// S19.
pub(super) fn symbolic(s: &Subject<'_>, hits: &mut Matches) {
    for scene in &s.scenes {
        let flexible = scene.func.attrs.iter().find(|a| a.name.text == "FlexibleShapeInformation");
        let enumerated = flexible.is_some_and(|a| names_enumerated(&a.literal.value));
        for port in scene.inputs().filter(|p| p.shape.dims.contains(&None)) {
            let text = || says(&port, "has an unknown size");
            if enumerated {
                hits.disputed(port.span, "mil_spec: enumerated shapes are accepted", text);
            } else {
                hits.at(port.span, text);
            }
        }
    }
}

/// Whether the sizes that are possible are written one by one.
fn names_enumerated(value: &Value<'_>) -> bool {
    match value {
        Value::Tuple(items) => items.iter().any(names_enumerated),
        other => other.as_str() == Some("EnumeratedShapes"),
    }
}

/// S21.
pub(super) fn state_widths(s: &Subject<'_>, hits: &mut Matches) {
    let unit = facts::STATE_WIDTH_UNIT.value;
    for param in s.scenes.iter().flat_map(|s| &s.func.params).filter(|p| matches!(p.ty, Type::State(_))) {
        let Some(width) = Shape::of(&param.ty).and_then(|t| t.last()) else { continue };
        if !width.is_multiple_of(unit) {
            hits.at(param.name.span, || {
                format!("state `{}` has a last axis of {width}, no multiple of {unit}", param.name)
            });
        }
    }
}
