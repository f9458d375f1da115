//! S: surfaces, slots, shapes. The checks are in `ports`.

use super::evidence::{ran, says, tested};
use super::peers::*;
use super::ports::*;
use super::speed::too_much_work;
use super::{Check, Chip, Chips, Confidence, Consequence, Route, Rule};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "S1",
        title: "Inputs and outputs are bound in alphabetical order of their names.",
        route: Route::InMemory,
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::A,
        source: &[says(ORION), says(H3), says(ESPRESSO)],
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
        source: &[says(H3), ran(ANE_TRAIN), ran(FSPECII)],
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
        source: &[says(ORION), says(ANE_TRAIN), ran(H3)],
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
        source: &[says(ORION), says(ESPRESSO), says(IPHONE), ran(ANE_TRAIN)],
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
        source: &[says(ORION)],
        repair: "Write `[1, C, 1, S]` densely, from byte 0.",
        check: Check::Never("it is about how a surface is filled"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S6",
        title: "The last axis of every surface is a multiple of 16, and at least 16.",
        consequence: Consequence::Evaluation,
        confidence: Confidence::A,
        source: &[says(LORA), says(LUENGNAT), says(RUSTANE), says(H3)],
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
        source: &[tested(FIELD_GUIDE), ran(ESPRESSO)],
        repair: "Pad the last axis to 32.",
        check: Check::Text(input_width),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S8",
        title: "Rows of the last axis are padded to 64 bytes.",
        consequence: Consequence::Slow,
        confidence: Confidence::A,
        source: &[says(TRANSFORMERS), says(TINYGRAD), says(SLAVKO)],
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
        source: &[says(ANE)],
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
        source: &[says(SLAVKO)],
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
        source: &[says(PREFILL)],
        repair: "Use 14592 or 14624.",
        check: Check::Text(narrow_gap),
        ..Rule::DEFAULT
    },
    Rule {
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
    },
    Rule {
        id: "S13",
        title: "Tensors have at most five axes, operands of `matmul` and `linear` fewer than five.",
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[says(GUIDE), tested(ANEFORGE)],
        repair: "Reshape to four axes or fewer.",
        check: Check::Text(ranks),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S14",
        title: "Element-wise operations on a flat tensor of more than 16384 elements hang.",
        chips: Chips::Only(&[Chip::M1]),
        consequence: Consequence::Crash,
        confidence: Confidence::B,
        source: &[says(ANE_TRAIN)],
        repair: "Reshape to `[1, C, 1, S]` first.",
        check: Check::Text(flat_elementwise),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S15",
        title: "Surfaces in fp32 cost a conversion each way.",
        consequence: Consequence::Slow,
        confidence: Confidence::A,
        source: &[says(ANE)],
        repair: "Let surfaces be fp16.",
        check: Check::Text(wide_surfaces),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S16",
        title: "An output is a floating-point tensor that an operation makes, and no input.",
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[says(ORION), tested(ANEFORGE), says(MIL_SPEC)],
        repair: "Cast it to fp16, or pass it through an operation that changes it.",
        check: Check::Text(outputs),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S17",
        title: "A program has a largest size: operations, and bytes of weights.",
        consequence: Consequence::LoadFailure,
        confidence: Confidence::B,
        source: &[says(ANEFORGE), says(OMLX), says(MIL_SPEC), says(M6_STUDY), says(SLAVKO), says(LUENGNAT)],
        repair: "Cut the program into kernels, one for each layer.",
        check: Check::Text(program_size),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S18",
        title: "Each procedure of a program is evaluated with its own symbol indices.",
        consequence: Consequence::Evaluation,
        confidence: Confidence::B,
        source: &[says(ANE_INFER)],
        repair: "Take the indices of the procedure that runs.",
        check: Check::Never("it is about the call"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S19",
        title: "Sizes are known: symbolic ones and ranges of shapes are refused.",
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[says(GUIDE), says(MIL_SPEC)],
        repair: "Write the sizes, or enumerate the shapes.",
        check: Check::Text(symbolic),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S20",
        title: "One surface can stand at two places: by shared buffers, or by two requests that swap.",
        consequence: Consequence::Informative,
        confidence: Confidence::B,
        source: &[says(ANEFORGE), says(ANE_TRAIN), says(MIL_SPEC)],
        repair: "Swap two surfaces to update weights without copying.",
        check: Check::Never("it is about the calls"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S21",
        title: "The last axis of a state is a multiple of 32.",
        consequence: Consequence::Evaluation,
        confidence: Confidence::B,
        source: &[says(COREMLTOOLS)],
        repair: "Pad the last axis of the state to a multiple of 32.",
        check: Check::Text(state_widths),
        ..Rule::DEFAULT
    },
    Rule {
        id: "S22",
        title: "One dispatch that computes for too long is cut off.",
        consequence: Consequence::Evaluation,
        confidence: Confidence::B,
        source: &[says(PYTORCH)],
        repair: "Split the product, and dispatch its parts one after the other.",
        check: Check::Text(too_much_work),
        ..Rule::DEFAULT
    },
];
