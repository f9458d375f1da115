//! Limits of single operations, and the engines that have them.

use ane::facts::{Fact, reported};

/// The inner size of `matmul` is a multiple of this.
pub const MATMUL_INNER_MULTIPLE: Fact<usize> =
    reported(32, "ane-train", "M1", "other sizes give zeros", "run `matmul` with inner sizes 16, 24, 32");

/// The most queries or keys for which `scaled_dot_product_attention` is reported to be right.
pub const MAX_ATTENTION: Fact<usize> = reported(
    2048,
    "ANEForge",
    "M1 to M5",
    "the native operation is reliable up to 2048, if the shorter side is below 512",
    "compare the operation with its parts for rising lengths",
);

/// The shorter of queries and keys of `scaled_dot_product_attention` stays below this.
pub const ATTENTION_SHORTER_SIDE: Fact<usize> = Fact { value: 512, ..MAX_ATTENTION };

/// The last generation of engines with [`MAX_WINDOW_OLD`].
pub const SMALL_WINDOW_GENERATION: Fact<u8> = reported(
    14,
    "ane-guide; ANEForge",
    "M1",
    "13 wide on M1, 15 or 16 later",
    "as `MAX_WINDOW`, on M1 and M2",
);

/// Height and width of the largest window of a convolution, up to [`SMALL_WINDOW_GENERATION`].
pub const MAX_WINDOW_OLD: Fact<(usize, usize)> =
    reported((29, 13), "ane-guide; ANEForge", "M1", "29 high, 13 wide", "compile `conv` of growing windows");

/// Height and width of the largest window of a convolution.
pub const MAX_WINDOW: Fact<(usize, usize)> = reported(
    (31, 15),
    "ANEForge; the M6 study",
    "M2 to M6",
    "a window of 3 by 16 is refused; 31 high and 15 wide stay on the engine",
    "compile `conv` of growing windows",
);

/// The largest window of a convolution that anybody lists.
pub const MAX_WINDOW_DISPUTED: Fact<(usize, usize)> =
    reported((32, 16), "ane-guide", "M2 and later", "32 high, 15 or 16 wide", "as `MAX_WINDOW`");

/// The length of a window that is one element thin from which it is slow.
pub const THIN_WINDOW: Fact<usize> = reported(
    9,
    "the M6 study",
    "M6",
    "1 by 9 is 1.7 to 1.85 times slower than a square one",
    "time `conv` of 1×9 and 3×3",
);

/// Channels from which on a scale or shift between two reshapes is refused.
pub const AFFINE_CHANNELS: Fact<usize> = reported(
    1024,
    "ANEForge, issues 149 and 162, pull requests 159 and 201",
    "M1 Max, M2 Pro",
    "512 and 768 compile, 1024 and more are refused if the numbers differ; equal ones compile; M5 takes all",
    "compile a layer norm written by hand of growing width, with one of scale and shift uniform",
);

/// Channels from which on a scale and a shift between two reshapes fail when evaluated.
pub const AFFINE_PAIR_CHANNELS: Fact<usize> = reported(
    10_240,
    "ANEForge, issue 149 and pull request 159",
    "M2 Pro, M5 Pro",
    "10240, 12288 and 16384 fail with both terms; M1 Max runs them",
    "run a layer norm written by hand of growing width, with both terms",
);

/// The most elements for `argmax`-like operations.
pub const MAX_ARGUMENT_AXIS: Fact<usize> =
    reported(2048, "ane-guide", "all", "longer axes are refused", "compile `reduce_argmax` around 2048");

/// Operations, and the first generation of engines that has them.
pub const SINCE_GENERATION: Fact<&[(&str, u8)]> = reported(
    &[
        ("affine", 14),
        ("argsort", 14),
        ("cos", 15),
        ("crop_resize", 14),
        ("random_bernoulli", 15),
        ("random_categorical", 15),
        ("random_normal", 15),
        ("random_uniform", 15),
        ("reduce_argmax", 15),
        ("reduce_argmin", 15),
        ("resize", 14),
        ("resize_bilinear", 14),
        ("resize_nearest_neighbor", 14),
        ("sin", 15),
        ("topk", 14),
    ],
    "ane-guide",
    "cross-compiled for 28 targets",
    "resampling and sorting from A14, trigonometry, chance and places of extremes from A15",
    "compile each operation for each target",
);

/// The first generation that pads by reflection and slices where a value says.
pub const REFLECT_AND_DYNAMIC_SLICE: Fact<u8> =
    reported(14, "ane-guide", "cross-compiled for 28 targets", "A14 and later", "compile both for A13");

/// The size of an axis whose reshape crashes the compiler when joined.
pub const MAX_JOINED_RESHAPE: Fact<usize> = reported(
    100_000,
    "ANEForge",
    "e5rt",
    "100,000 and more",
    "compile `concat` of reshapes of growing width",
);

/// The batch from which convolutions take the compiler minutes.
pub const SLOW_CONV_BATCH: Fact<usize> = reported(
    128,
    "ANEForge",
    "M1, e5rt",
    "training compiles in 1.9 s at 4, 79 s at 128, never at 1000",
    "compile `conv` of growing batches",
);

/// The batch with which convolutions do not compile in any time.
pub const HANGING_CONV_BATCH: Fact<usize> = reported(
    1000,
    "ANEForge",
    "M1, e5rt",
    "training at a batch of 1000 never compiles",
    "as `SLOW_CONV_BATCH`",
);

/// Ones that `reduce_sum` counts exactly.
pub const EXACT_SUM: Fact<usize> = reported(
    2048,
    "ane-guide; the M6 study",
    "M1 to M6",
    "it adds in fp16; a product with ones is wide",
    "sum N ones for N around 2048",
);

/// Channels from which stacked convolutions are slow.
pub const SLOW_CHANNELS: Fact<usize> = reported(
    768,
    "ANE-Training",
    "M3 Pro",
    "384 to 640 are best, from 768 on 3 to 7 times slower; not on M4 Pro and M4 Max",
    "time stacks of `conv` of growing channels",
);

/// Forms of compressed weights, and the first generation that streams them.
pub const STREAMED_WEIGHTS: Fact<&[(&str, u8)]> = reported(
    &[("constexpr_affine_dequantize", 15), ("constexpr_blockwise_shift_scale", 16)],
    "ANEForge",
    "M1 to M5",
    "M1 4-bit tables and sparse, M2 adds int8, M3 adds blocks",
    "time a large `conv` in each form",
);
