//! T: what a text may say. The checks are in `written` and `forms`.

use super::affine::*;
use super::evidence::{ran, says, tested};
use super::forms::*;
use super::peers::*;
use super::written::*;
use super::{Check, Chip, Chips, Confidence, Consequence, Route, Rule};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "T1",
        title: "The text is `program(1.3)` with functions for `ios18`; 1.0, `ios16` and `ios17` are taken too.",
        route: Route::InMemory,
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[says(ANE), says(FIELD_GUIDE), says(LORA)],
        repair: "Write `program(1.3)` and `func main<ios18>`.",
        check: Check::Text(header),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T2",
        title: "The program has a `buildInfo` dictionary.",
        route: Route::InMemory,
        consequence: Consequence::Refused,
        confidence: Confidence::B,
        source: &[says(ANE), says(LORA)],
        repair: "Write a `buildInfo` dictionary behind `program(1.3)`.",
        check: Check::Text(build_info),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T3",
        title: "Every argument is the name of a value; constants stand in operations of their own.",
        route: Route::InMemory,
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[says(ORION), says(LUENGNAT), says(LORA)],
        repair: "Give the constant a name with `const`, and pass the name.",
        check: Check::Text(inline_literals),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T4",
        title: "Names are bare words, and every value's type stands before it.",
        route: Route::InMemory,
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[says(LORA), says(LUENGNAT)],
        repair: "Write names without `%`, each behind its type.",
        check: Check::Never("another text cannot be read at all: reading says so"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T5",
        title: "Some short names are taken by the compiler, and values of those names come out as zeros.",
        chips: Chips::Only(&[Chip::M1]),
        route: Route::InMemory,
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::C,
        source: &[says(ANE_TRAIN), ran(ANE)],
        conflict: Some("maderix/ANE and others call their inputs `x` without harm"),
        repair: "Give the value another name.",
        check: Check::Text(reserved_names),
    },
    Rule {
        id: "T6",
        title: "A weight file's first record is at byte 64; the text names records, not data.",
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[says(ORION), says(ANE), says(LORA)],
        repair: "Write `offset = uint64(64)` for the first tensor of a file.",
        check: Check::Text(blob_offsets),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T7",
        title: "Each tensor has a weight file of its own.",
        chips: Chips::Only(&[Chip::M1]),
        route: Route::InMemory,
        consequence: Consequence::Refused,
        confidence: Confidence::B,
        source: &[says(GO_PORT)],
        repair: "Write each tensor into its own file, at offset 64.",
        check: Check::Text(shared_blob),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T8",
        title: "`conv` states strides, pad, pad_type, dilations and groups, and has no bias.",
        route: Route::InMemory,
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[says(ORION), says(LUENGNAT)],
        repair: "State all five, and add the bias with `add`.",
        check: Check::Text(conv_arguments),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T9",
        title: "`concat` states values, interleave and a scalar int32 axis, where it is taken at all.",
        consequence: Consequence::Refused,
        confidence: Confidence::B,
        source: &[says(ORION), says(RUSTANE), ran(ANE), ran(H3), ran(ESPRESSO), ran(ANEFORGE), ran(FSPECII)],
        conflict: Some(
            "refused on M4 Max by Orion, on M3 Ultra and M2 Max by users of rustane; runs on M1 to M5 for maderix/ANE, h3.c-ane, Espresso, ANEForge and ane-trainer, with two inputs on e5rt and 13 or more in memory",
        ),
        repair: "State `interleave` and a scalar `axis`; where it is refused, write the parts as outputs.",
        check: Check::Text(concat),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T10",
        title: "The transposes of `matmul` are constants.",
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[says(ORION)],
        repair: "Define `transpose_x` and `transpose_y` as `const` booleans.",
        check: Check::Text(matmul_transposes),
        ..Rule::DEFAULT
    },
    Rule {
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
    },
    Rule {
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
    },
    Rule {
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
    },
    Rule {
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
    },
    Rule {
        id: "T15",
        title: "Attention as one operation ignores its mask, and is right only for short sequences.",
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::A,
        source: &[says(ANE), says(ORION), tested(ANEFORGE), says(H3)],
        repair: "Write it as `matmul`, `add` of the mask, `softmax`, `matmul`.",
        check: Check::Text(attention),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T16",
        title: "`gelu` is not taken in memory.",
        route: Route::InMemory,
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[says(ORION), says(IPHONE), ran(MIL_SPEC)],
        conflict: Some("mil_spec: valid if `mode` is stated"),
        repair: "Write it with `erf` or `tanh`.",
        check: Check::Text(gelu),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T17",
        title: "`rsqrt` is not taken everywhere, least of all without its epsilon.",
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[
            says(H3),
            says(ESPRESSO),
            says(ANE_TRAIN),
            says(ANE),
            says(RUSTANE),
            says(IPHONE),
            says(PREFILL),
            ran(MIL_SPEC),
        ],
        conflict: Some(
            "unsupported on M4 for h3.c-ane, on M3 Max for Espresso, on M1 for ane-train; mil_spec compiles it with a stated epsilon",
        ),
        repair: "Write `pow(x + epsilon, -0.5)`, which ran on M1 to M5 for maderix/ANE.",
        check: Check::Text(rsqrt),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T18",
        title: "`pow(x, -0.5)` does not run everywhere, though it does where `rsqrt` is refused.",
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::B,
        source: &[says(LUENGNAT), says(ANE_TRAIN), ran(ANE), ran(FSPECII), ran(IPHONE), ran(H3)],
        conflict: Some(
            "runs on M1 to M5 for maderix/ANE, for ane-trainer and h3.c-ane on M4, and on A17 Pro; NaN for luengnat/rustane; not taken on M1 for ane-train",
        ),
        repair: "Compare one result with the expected one; `rsqrt` is refused more often (T17).",
        check: Check::Text(pow_half),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T19",
        title: "`log` states its epsilon.",
        chips: Chips::Only(&[Chip::A17]),
        consequence: Consequence::Refused,
        confidence: Confidence::C,
        source: &[says(IPHONE), ran(ANEFORGE), ran(MIL_SPEC)],
        conflict: Some("fails on A17 Pro; runs for ANEForge and mil_spec when spelled exactly"),
        repair: "Pass `epsilon` as a `const`.",
        check: Check::Text(log),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T20",
        title: "No `sqrt` or `rsqrt` stands directly behind a reduction.",
        consequence: Consequence::Refused,
        confidence: Confidence::C,
        source: &[says(RUSTANE)],
        repair: "Add an epsilon in between.",
        check: Check::Text(root_of_reduction),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T21",
        title: "`inverse` is not taken.",
        consequence: Consequence::Refused,
        confidence: Confidence::C,
        source: &[says(PREFILL), ran(ANEFORGE)],
        repair: "Write `real_div(x = one, y = x)`.",
        check: Check::Text(inverse),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T22",
        title: "`reduce_mean` is not taken everywhere.",
        consequence: Consequence::Refused,
        confidence: Confidence::C,
        source: &[
            says(ESPRESSO),
            says(H3),
            ran(MIL_SPEC),
            ran(GUIDE),
            ran(IPHONE),
            ran(ORION),
            ran(ANEFORGE),
        ],
        conflict: Some(
            "unsupported on M4 for h3.c-ane, an invalid program on M3 Max for Espresso; runs on M4 Max for Orion, through e5rt for ANEForge, for mil_spec and ane-guide, and on A17 Pro with outputs of 16 KB",
        ),
        repair: "Write `reduce_sum` and `mul`, if the sum fits into fp16 (N10).",
        check: Check::Text(reduce_mean),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T23",
        title: "`softmax` runs over an axis whose size is a power of two.",
        chips: Chips::Only(&[Chip::M3]),
        consequence: Consequence::Refused,
        confidence: Confidence::C,
        source: &[says(ESPRESSO)],
        repair: "Pad the axis with the lowest value to a power of two.",
        check: Check::Text(softmax_size),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T24",
        title: "Slices have constant bounds and keep something; where they begin can be computed on some engines.",
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[says(MIL_SPEC), tested(ANEFORGE), tested(M6_STUDY)],
        repair: "Write the bounds as `const`, each extent at least 1.",
        check: Check::Text(slices),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T25",
        title: "The engine computes no 32-bit integers, and looks nothing up by `gather` with computed indices.",
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[says(MIL_SPEC), tested(ANEFORGE), tested(M6_STUDY)],
        repair: "Compute in fp16, and look indices up on the host.",
        check: Check::Text(integers),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T26",
        title: "A state is read once, then written once, in `ios18`.",
        consequence: Consequence::Refused,
        confidence: Confidence::B,
        source: &[says(MIL_SPEC)],
        repair: "Read the state once, update the value, write it once.",
        check: Check::Text(states),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T27",
        title: "`tile` makes every evaluation fail until the process ends.",
        consequence: Consequence::Evaluation,
        confidence: Confidence::C,
        source: &[says(FIELD_GUIDE), ran(ANEFORGE)],
        repair: "Broadcast with `mul` or `add`, or write `concat`.",
        check: Check::Text(tile),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T28",
        title: "A product does not broadcast the batch, a row of `[1, C, 1]`, or the result of a square root.",
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::C,
        source: &[says(FIELD_GUIDE), says(ANE_TRAIN)],
        repair: "Give both factors the same leading axes.",
        check: Check::Text(broadcasts),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T29",
        title: "Tensors of three axes are inputs only if there are two inputs.",
        chips: Chips::Only(&[Chip::M1]),
        route: Route::InMemory,
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::C,
        source: &[says(ANE_TRAIN)],
        repair: "Write `[1, C, 1, S]`.",
        check: Check::Text(three_axes),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T30",
        title: "`constexpr_affine_dequantize` gives wrong weights.",
        chips: Chips::Only(&[Chip::M3]),
        consequence: Consequence::WrongNumbers,
        confidence: Confidence::B,
        source: &[says(ESPRESSO), ran(ANE), ran(H3), ran(ANEMLL)],
        conflict: Some("broken on M3 for Espresso; used on M4 by maderix/ANE and h3.c-ane"),
        repair: "Store the weights in fp16.",
        check: Check::Text(affine_weights),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T31",
        title: "The compiler can find a cycle in a fused backward pass whose values are saved and used again.",
        consequence: Consequence::Refused,
        confidence: Confidence::B,
        source: &[says(FSPECII)],
        repair: "Cut the pass into two programs where the saved values are used.",
        check: Check::Never("the cycle is made by the compiler; the text has none"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T32",
        title: "Windows, strides, groups, reduced axes and `topk` have limits.",
        consequence: Consequence::Refused,
        confidence: Confidence::B,
        source: &[tested(ANEFORGE), tested(M6_STUDY), says(GUIDE)],
        repair: "Use smaller windows and strides, or split the operation.",
        check: Check::Chip(limits),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T33",
        title: "Some operations need a newer engine.",
        consequence: Consequence::Refused,
        confidence: Confidence::B,
        source: &[says(GUIDE), tested(ANEFORGE)],
        repair: "Compute it on the host, or from simpler operations.",
        check: Check::Chip(gates),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T34",
        title: "Some operations have no path to any engine.",
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[says(GUIDE), tested(ANEFORGE), tested(M6_STUDY), tested(IRONMILL)],
        repair: "Compute it on the host, or from simpler operations.",
        check: Check::Text(no_path),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T35",
        title: "Some forms crash the compiler: zero times a reduction, a program that does nothing, joins of very wide reshapes, large batches of convolutions.",
        route: Route::E5rt,
        consequence: Consequence::Crash,
        confidence: Confidence::B,
        source: &[tested(ANEFORGE), says(GUIDE)],
        repair: "Leave the form out; for batches run several windows.",
        check: Check::Text(crashes),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T36",
        title: "Several outputs have one size, and names in alphabetical order.",
        route: Route::InMemory,
        consequence: Consequence::Informative,
        confidence: Confidence::A,
        source: &[says(ORION)],
        repair: "See S1 and S3.",
        check: Check::Never("it is checked as S1 and S3"),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T37",
        title: "`slice_update` has constant bounds.",
        consequence: Consequence::Crash,
        confidence: Confidence::A,
        source: &[says(COREAI), says(MOBIUS)],
        repair: "Write the row where a constant says, or keep the cache on the host and pass it in.",
        check: Check::Text(placed_update),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T38",
        title: "No scale or shift that differs from channel to channel stands between two reshapes, from 1024 channels on.",
        chips: Chips::Only(&[Chip::M1, Chip::M2]),
        route: Route::E5rt,
        consequence: Consequence::Refused,
        confidence: Confidence::A,
        source: &[tested(ANEFORGE)],
        repair: "Reshape back first, and multiply by `[1, D]` on the last axis.",
        check: Check::Text(affine_between_reshapes),
        ..Rule::DEFAULT
    },
    Rule {
        id: "T39",
        title: "No scale and shift that differ from channel to channel stand between two reshapes, from 10240 channels on.",
        chips: Chips::Only(&[Chip::M2, Chip::M5]),
        route: Route::E5rt,
        consequence: Consequence::Evaluation,
        confidence: Confidence::A,
        source: &[tested(ANEFORGE)],
        repair: "Reshape back first, and multiply by `[1, D]` on the last axis.",
        check: Check::Text(wide_affine_between_reshapes),
        ..Rule::DEFAULT
    },
];
