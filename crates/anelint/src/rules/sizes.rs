//! S12 to S22: sizes of axes, programs and states.

use super::chip::{Chip, Chips};
use super::evidence::{ran, says, tested};
use super::matches::Matches;
use super::peers::*;
use super::rule::{Check, Confidence, Consequence, Rule};
use super::subject::{Subject, TensorShape, is_elementwise};
use crate::facts;
use mil::DType;
use mil::text::tree::{Type, Value};

pub(super) const RULES: &[Rule] = &[S12, S13, S14, S15, S16, S17, S18, S19, S20, S21, S22];

const S12: Rule = Rule {
    id: "S12",
    title: "Each axis has a largest size.",
    consequence: Consequence::Refused,
    confidence: Confidence::B,
    source: &[
        says(GUIDE),
        says(LIBANE),
        says(ORION),
        says(EXECUTORCH),
        says(RUSTANE),
        ran(ANE),
        ran(ANEFORGE),
    ],
    conflict: Some(
        "16384 up to A15 and 65536 from A16 on, say ane-guide and ANEForge; but on M3 Ultra 17920 is refused and 16384 passes (rustane, issue 13), and on A16 32000 is refused with `W[1-16384]` (pytorch/executorch, issue 7907); channels of convolutions are exempt; libane keeps C to 16384; Orion saw convolutions of more than 32 k channels refused, maderix/ANE compiled one",
    ),
    repair: "Split the axis, and join the results outside.",
    check: Check::Chip(axis_sizes),
    ..Rule::DEFAULT
};

/// Axes but the batch and the channels of what convolutions take and give; constants that are no operand of an
/// engine, such as tables, are not looked at. On new engines reports differ on the last axis.
fn axis_sizes(s: &Subject<'_>, chip: Chip, matches: &mut Matches) {
    let wide = facts::MAX_AXIS.value;
    let narrow =
        if chip.generation() <= facts::OLD_GENERATION.value { facts::MAX_AXIS_OLD.value } else { wide };
    for function in &s.functions {
        let exempt = function.conv_values();
        let params = function.inputs().map(|p| (p.name, p.shape, p.span));
        let made = function.calls().filter(|t| !t.makes_constant());
        let made = made.filter_map(|t| Some((t.name(), t.out()?, t.statement.outputs.first()?.name.span)));
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
                    matches.at(span, || text(limit));
                    break;
                } else if i + 1 == shape.rank() && i >= leading && size > doubtful {
                    matches
                        .disputed(span, "ane-guide and ANEForge give 65536 from A16 on", || text(doubtful));
                }
            }
        }
    }
}

const S13: Rule = Rule {
    id: "S13",
    title: "Tensors have at most five axes, operands of `matmul` and `linear` fewer than five.",
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(GUIDE), tested(ANEFORGE)],
    repair: "Reshape to four axes or fewer.",
    check: Check::Text(ranks),
    ..Rule::DEFAULT
};

/// Constants and what unpacks them are not looked at: tables of `constexpr_lut_to_dense` have six axes and run.
fn ranks(s: &Subject<'_>, matches: &mut Matches) {
    let limit = facts::MAX_RANK.value;
    let params = s.inputs().map(|p| (p.name, p.shape, p.span));
    let made = s
        .calls()
        .filter(|t| !t.makes_constant())
        .filter_map(|t| Some((t.name(), t.out()?, t.statement.outputs.first()?.name.span)));
    for (name, shape, span) in params.chain(made) {
        if shape.rank() > limit {
            matches.at(span, || format!("`{name}` has {} axes, more than {limit}", shape.rank()));
        }
    }
    for call in s.each_of(&["matmul", "linear"]) {
        for param in ["x", "y"] {
            if let Some(rank) = call.shape(param).map(|s| s.rank()).filter(|&r| r >= limit) {
                matches.at(call.span(), || {
                    format!(
                        "`{}` takes an operand `{param}` of {rank} axes, not fewer than {limit}",
                        call.statement.op
                    )
                });
            }
        }
    }
}

const S14: Rule = Rule {
    id: "S14",
    title: "Element-wise operations on a flat tensor of more than 16384 elements hang.",
    chips: Chips::Only(&[Chip::M1]),
    consequence: Consequence::Crash,
    confidence: Confidence::B,
    source: &[says(ANE_TRAIN)],
    repair: "Reshape to `[1, C, 1, S]` first.",
    check: Check::Text(flat_elementwise),
    ..Rule::DEFAULT
};

fn flat_elementwise(s: &Subject<'_>, matches: &mut Matches) {
    let limit = facts::MAX_FLAT_ELEMENTS.value;
    for call in s.calls().filter(|t| is_elementwise(t.statement.op.text)) {
        let Some(shape) = call.out() else { continue };
        let Some(n) = shape.elements().filter(|&n| n > limit && shape.dims.contains(&Some(n))) else {
            continue;
        };
        matches.at(call.span(), || {
            format!("`{}` works on {n} elements along one axis, more than {limit}", call.statement.op)
        });
    }
}

const S15: Rule = Rule {
    id: "S15",
    title: "Surfaces in fp32 cost a conversion each way.",
    consequence: Consequence::Slow,
    confidence: Confidence::A,
    source: &[says(ANE)],
    repair: "Let surfaces be fp16.",
    check: Check::Text(wide_surfaces),
    ..Rule::DEFAULT
};

fn wide_surfaces(s: &Subject<'_>, matches: &mut Matches) {
    for port in s.surfaces().filter(|p| p.shape.dtype == DType::F32) {
        matches.at(port.span, || port.says("is fp32"));
    }
}

const S16: Rule = Rule {
    id: "S16",
    title: "An output is a floating-point tensor that an operation makes, and no input.",
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(ORION), tested(ANEFORGE), says(MIL_SPEC)],
    repair: "Cast it to fp16, or pass it through an operation that changes it.",
    check: Check::Text(outputs),
    ..Rule::DEFAULT
};

fn outputs(s: &Subject<'_>, matches: &mut Matches) {
    for function in &s.functions {
        for port in function.outputs() {
            let maker = function.value(port.name).and_then(|v| v.maker);
            match maker.map(|op| op.op.text) {
                None => {
                    matches.disputed(port.span, "mil_spec runs such programs", || port.says("is an input"))
                }
                Some(op) if op == "const" || op.starts_with("constexpr_") => {
                    matches.at(port.span, || port.says("is a constant"));
                }
                Some(_) if !port.shape.dtype.is_float() => {
                    matches.at(port.span, || port.says(format!("holds {}", port.shape.dtype)));
                }
                Some(_) => {}
            }
        }
    }
}

const S17: Rule = Rule {
    id: "S17",
    title: "A program has a largest size: operations, and bytes of weights.",
    consequence: Consequence::LoadFailure,
    confidence: Confidence::B,
    source: &[says(ANEFORGE), says(OMLX), says(MIL_SPEC), says(M6_STUDY), says(SLAVKO), says(LUENGNAT)],
    repair: "Cut the program into kernels, one for each layer.",
    check: Check::Text(program_size),
    ..Rule::DEFAULT
};

fn program_size(s: &Subject<'_>, matches: &mut Matches) {
    let (most_ops, most_bytes) = (facts::MAX_OPS.value, facts::MAX_WEIGHT_BYTES.value);
    for function in &s.functions {
        let ops = function.calls().filter(|t| !t.makes_constant()).count();
        if ops > most_ops {
            let name = function.func.name;
            matches.at(name.span, || format!("`{name}` has {ops} operations, more than {most_ops}"));
        }
        let mut bytes = 0u64;
        for call in function.each("const") {
            let literal = call.statement.const_literal();
            if literal.is_some_and(|l| matches!(l.value, Value::Blob { .. })) {
                bytes = bytes.saturating_add(call.out().and_then(|s| s.bytes()).unwrap_or(0) as u64);
            }
        }
        if bytes > most_bytes {
            let name = function.func.name;
            let text = || format!("`{name}` has {bytes} bytes of weights, more than {most_bytes}");
            if bytes > facts::LOADED_WEIGHT_BYTES.value {
                matches.at(name.span, text);
            } else {
                matches.disputed(name.span, "omlx loads 7.86 GiB on M3 Max", text);
            }
        }
    }
}

const S18: Rule = Rule {
    id: "S18",
    title: "Each procedure of a program is evaluated with its own symbol indices.",
    consequence: Consequence::Evaluation,
    confidence: Confidence::B,
    source: &[says(ANE_INFER)],
    repair: "Take the indices of the procedure that runs.",
    check: Check::Never("it is about the call"),
    ..Rule::DEFAULT
};

const S19: Rule = Rule {
    id: "S19",
    title: "Sizes are known: symbolic ones and ranges of shapes are refused.",
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(GUIDE), says(MIL_SPEC)],
    repair: "Write the sizes, or enumerate the shapes.",
    check: Check::Text(symbolic),
    ..Rule::DEFAULT
};

fn symbolic(s: &Subject<'_>, matches: &mut Matches) {
    for function in &s.functions {
        let flexible = function.func.attrs.iter().find(|a| a.name.text == "FlexibleShapeInformation");
        let enumerated = flexible.is_some_and(|a| names_enumerated(&a.literal.value));
        for port in function.inputs().filter(|p| p.shape.dims.contains(&None)) {
            let text = || port.says("has an unknown size");
            if enumerated {
                matches.disputed(port.span, "mil_spec: enumerated shapes are accepted", text);
            } else {
                matches.at(port.span, text);
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

const S20: Rule = Rule {
    id: "S20",
    title: "One surface can be bound twice: by shared buffers, or by two requests that swap.",
    consequence: Consequence::Informative,
    confidence: Confidence::B,
    source: &[says(ANEFORGE), says(ANE_TRAIN), says(MIL_SPEC)],
    repair: "Swap two surfaces to update weights without copying.",
    check: Check::Never("it is about the calls"),
    ..Rule::DEFAULT
};

const S21: Rule = Rule {
    id: "S21",
    title: "The last axis of a state is a multiple of 32.",
    consequence: Consequence::Evaluation,
    confidence: Confidence::B,
    source: &[says(COREMLTOOLS)],
    repair: "Pad the last axis of the state to a multiple of 32.",
    check: Check::Text(state_widths),
    ..Rule::DEFAULT
};

fn state_widths(s: &Subject<'_>, matches: &mut Matches) {
    let unit = facts::STATE_WIDTH_UNIT.value;
    for param in s.functions.iter().flat_map(|s| &s.func.params).filter(|p| matches!(p.ty, Type::State(_))) {
        let Some(width) = TensorShape::of(&param.ty).and_then(|t| t.last()) else { continue };
        if !width.is_multiple_of(unit) {
            matches.at(param.name.span, || {
                format!("state `{}` has a last axis of {width}, no multiple of {unit}", param.name)
            });
        }
    }
}

const S22: Rule = Rule {
    id: "S22",
    title: "One dispatch that computes for too long is cut off.",
    consequence: Consequence::Evaluation,
    confidence: Confidence::B,
    source: &[says(PYTORCH)],
    repair: "Split the product, and dispatch its parts one after the other.",
    check: Check::Text(too_much_work),
    ..Rule::DEFAULT
};

fn too_much_work(s: &Subject<'_>, matches: &mut Matches) {
    let most = facts::TIMED_OUT_WORK.value;
    for function in &s.functions {
        if let Some(n) = function.work().filter(|&n| n >= most) {
            let name = function.func.name;
            matches.at(name.span, || {
                format!("`{name}` does {n} multiplications and additions, {most} timed out (status 0xf)")
            });
        }
    }
}
