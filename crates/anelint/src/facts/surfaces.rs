//! Sizes of surfaces, tensors and their axes.

use ane::facts::{Fact, reported};

/// The last axis of a surface's tensor is a multiple of this, in elements, or evaluations fail or lose elements.
pub const LAST_AXIS_UNIT: Fact<usize> = reported(
    16,
    "jmanhype/ane-lora-training; luengnat/rustane; h3.c-ane",
    "M4; M3 Ultra",
    "16, 32, 64 and 2048 run; 4, 8, 12, 20, 24 and 28 compile and fail when evaluated; rows that are not multiples of \
     16 are rejected or lose their tail",
    "run `identity` of [1, 768, 1, N] for N from 1 to 64",
);

/// The narrowest last axis of an input.
pub const MIN_INPUT_WIDTH: Fact<usize> = reported(
    32,
    "apple-neural-engine-field-guide",
    "M3 Max",
    "narrower inputs are refused",
    "compile `identity` of [1, 768, 1, N] around N = 32",
);

/// Rows of the last axis are padded to this, in bytes.
pub const ROW_BYTES: Fact<usize> = reported(
    64,
    "ml-ane-transformers; tinygrad; ANE-Training",
    "all",
    "unaligned rows cost up to 32 times the traffic",
    "time `add` of [1, 4096, 1, N] for N = 1, 31, 32",
);

/// The smallest surface on M1, in bytes.
pub const MIN_SURFACE_BYTES_M1: Fact<usize> =
    reported(2048, "ane-train", "M1", "2 KB works", "run `identity` of [1, C, 1, 32] in fp16 for falling C");

/// The smallest surface on phones, in bytes.
pub const MIN_SURFACE_BYTES_PHONE: Fact<usize> = reported(
    16384,
    "ANE-Training-iPhone",
    "A17 Pro",
    "16 KB; smaller ones fail without an error",
    "run `identity` of [1, C, 1, 32] in fp16 for falling C",
);

/// Inputs, and outputs, that one execution can bind.
pub const BOUND_SURFACES: Fact<usize> = reported(
    32,
    "ANE-Training",
    "M4",
    "derived from a structure of the driver: 32 and 32 slots, 128 surfaces in all",
    "dispatch a program of 33 inputs",
);

/// Widths, from and to, that fail in large programs.
pub const FAILING_WIDTHS: Fact<(usize, usize)> = reported(
    (14593, 14622),
    "ane-prefill-bench",
    "M4",
    "14592 and 14624 pass",
    "run a large program with widths around them",
);

/// The largest width, height or depth on engines up to [`OLD_GENERATION`].
pub const MAX_AXIS_OLD: Fact<usize> = reported(
    16384,
    "ane-guide",
    "A13 to A15 class",
    "65536 on A16 and later",
    "compile `identity` of [1, 64, 1, N] around N = 16384",
);

/// The last generation of engines with [`MAX_AXIS_OLD`], without doubt.
pub const OLD_GENERATION: Fact<u8> = reported(
    15,
    "ane-guide; against it rustane, issue 13, and pytorch/executorch, issue 7907",
    "A13 to A15 class; M3 Ultra; A16",
    "A16 and later take more; but a width of 17920 is refused on M3 Ultra, one of 32000 on A16",
    "as `MAX_AXIS_OLD`, on M2 and M3",
);

/// The most axes of a tensor; operands of products have fewer.
pub const MAX_RANK: Fact<usize> = reported(
    5,
    "ane-guide; ANEForge",
    "all",
    "rank 5 is taken, `matmul` and `linear` of rank 5 are refused",
    "compile `relu` of rank 5 and 6",
);

/// Elements along the only axis of an element-wise operation.
pub const MAX_FLAT_ELEMENTS: Fact<usize> =
    reported(16384, "ane-train", "M1", "more hang", "run `add` of [N] around N = 16384");

/// The last axis of a state is a multiple of this, in elements.
pub const STATE_WIDTH_UNIT: Fact<usize> = reported(
    32,
    "apple/coremltools, issue 2631",
    "M4",
    "256 runs, 270 fails",
    "run a program with a state of [1, 8, 64, N] for N from 256 to 288",
);
