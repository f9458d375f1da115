//! What is known of the hardware: one table, each entry with its source.

use mil::TensorType;
use std::fmt;
use std::time::Duration;

/// A number about the hardware, and why we believe it.
#[derive(Clone, Copy, Debug)]
pub struct Fact<T> {
    /// The value to work with.
    pub value: T,
    /// What stands behind it.
    pub basis: Basis,
    /// How it can be measured again.
    pub remeasure: &'static str,
}

/// What stands behind a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Basis {
    /// Somebody says so.
    Reported { by: &'static str, on: &'static str, says: &'static str },
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Basis::Reported { by, on, says } = self;
        write!(f, "{by} ({on}): {says}")
    }
}

/// A reported fact.
const fn reported<T>(
    value: T,
    by: &'static str,
    on: &'static str,
    says: &'static str,
    remeasure: &'static str,
) -> Fact<T> {
    Fact { value, basis: Basis::Reported { by, on, says }, remeasure }
}

/// A limit that a surface does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What is so of the surface.
    pub breach: &'static str,
    /// The limit.
    pub limit: usize,
    /// What stands behind it.
    pub basis: Basis,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.breach, self.limit)
    }
}

/// The limits of real engines that a surface of type `ty` does not keep.
pub fn remarks(ty: &TensorType) -> Vec<Remark> {
    let width = ty.shape.last().copied().unwrap_or(0);
    let largest = ty.shape.iter().copied().max().unwrap_or(0);
    let bytes = ty.bytes().unwrap_or(0);
    let limits = [
        (!width.is_multiple_of(LAST_AXIS_MULTIPLE.value), "the width is no multiple of", LAST_AXIS_MULTIPLE),
        (width > MAX_INPUT_WIDTH.value, "the width is above", MAX_INPUT_WIDTH),
        (largest > MAX_AXIS.value, "an axis is above", MAX_AXIS),
        (bytes < MIN_SURFACE_BYTES.value, "the bytes are below", MIN_SURFACE_BYTES),
    ];
    let remark =
        |(_, breach, fact): (bool, _, Fact<usize>)| Remark { breach, limit: fact.value, basis: fact.basis };
    limits.into_iter().filter(|l| l.0).map(remark).collect()
}

/// The last axis of a surface's tensor is a multiple of this, in elements.
pub const LAST_AXIS_MULTIPLE: Fact<usize> = Fact {
    value: 32,
    basis: Basis::Reported {
        by: "h3 and rustane, projects that build on maderix/ANE",
        on: "M3 Ultra",
        says: "rows are padded to 64 bytes; a width that is not a multiple of 16 corrupts data or is slow",
    },
    remeasure: "write a ramp through an identity program of width 8, 16, 24, 32 and compare",
};

/// The last axis of what an engine reads and writes is a multiple of this, in elements, or it fails or loses elements.
pub const LAST_AXIS_STEP: Fact<usize> = Fact {
    value: 16,
    basis: Basis::Reported {
        by: "jmanhype/ane-lora-training; luengnat/rustane; h3",
        on: "M4; M3 Ultra",
        says: "4, 8, 12, 20, 24 and 28 compile and fail when evaluated, 16, 32, 64 and 2048 pass; rows that are not \
               multiples of 16 are rejected or lose their tail",
    },
    remeasure: "run `identity` of [1, 64, 1, N] for N = 4, 8, 12, 16, 24, 32 and compare",
};

/// Programs that one process compiles before the compiler service stops answering.
pub const COMPILE_BUDGET: Fact<u32> = Fact {
    value: 100,
    basis: Basis::Reported {
        by: "maderix/ANE; Orion; pull request 23",
        on: "M4, macOS 15 and 26",
        says: "about 119, between 119 and 132; pull request 26 counts 169",
    },
    remeasure: "compile `identity` with a constant that differs each time, until it fails",
};

/// How long the compiler service is left alone after it refused a program.
pub const REFUSED_PAUSE: Fact<Duration> = Fact {
    value: Duration::from_secs(15),
    basis: Basis::Reported {
        by: "ane-guide; ANEForge",
        on: "M1 to M5",
        says: "wait about 15 s after a refusal; compiling again at once can wedge the service",
    },
    remeasure: "have a program refused, then compile `identity` after rising times",
};

/// Programs that the compiler service may refuse in a row before it is not asked again.
pub const REFUSED_IN_A_ROW: Fact<u32> = Fact {
    value: 5,
    basis: Basis::Reported {
        by: "ANEForge",
        on: "M1 to M5",
        says: "a circuit breaker stops after a few refusals; the number is ours",
    },
    remeasure: "have programs refused, with pauses, until `identity` does not compile",
};

/// The most queries or keys of `scaled_dot_product_attention` that come out right.
pub const SDPA_LONGEST: Fact<usize> = Fact {
    value: 2048,
    basis: Basis::Reported {
        by: "ANEForge",
        on: "M1 to M5",
        says: "the native operation is reliable up to 2048, if the shorter side is below 512",
    },
    remeasure: "compare the operation with its parts for rising lengths",
};

/// The shorter of queries and keys of `scaled_dot_product_attention` stays below this.
pub const SDPA_SHORTER_SIDE: Fact<usize> = Fact {
    value: 512,
    basis: SDPA_LONGEST.basis,
    remeasure: "compare the operation with its parts for rising lengths",
};

/// The largest size of one axis.
pub const MAX_AXIS: Fact<usize> = Fact {
    value: 65536,
    basis: Basis::Reported {
        by: "maderix/ANE, issue 26; ANEForge",
        on: "M4; A16 and later",
        says: "a vocabulary of 151936 had to be split; older families have smaller limits",
    },
    remeasure: "compile `identity` of [1, N, 1, 32] around N = 65536",
};

/// The widest last axis of an input.
pub const MAX_INPUT_WIDTH: Fact<usize> = Fact {
    value: 16384,
    basis: Basis::Reported {
        by: "rustane, issue 13",
        on: "M3 Ultra",
        says: "16384 passes, 17920 is refused",
    },
    remeasure: "compile `identity` of [1, 64, 1, N] around N = 16384",
};

/// The smallest surface, in bytes.
pub const MIN_SURFACE_BYTES: Fact<usize> = Fact {
    value: 49152,
    basis: Basis::Reported {
        by: "Orion; ane-train says 2048; maderix/ANE uses 64 channels or more",
        on: "M4 Max; M1",
        says: "smaller ones compile, but fail when evaluated",
    },
    remeasure: "run `identity` of [1, C, 1, 32] in fp16 for falling C",
};

/// The last axis of a surface's tensor is a multiple of this, in elements: below [`LAST_AXIS_MULTIPLE`] it is slow, below
/// this it fails.
pub const LAST_AXIS_UNIT: Fact<usize> = reported(
    16,
    "ane-lora-training; luengnat/rustane; h3.c-ane",
    "M4; M3 Ultra",
    "16, 32, 64 and 2048 run; 4, 8, 12, 20, 24 and 28 fail when evaluated",
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

/// A surface's size is a multiple of this, in bytes.
pub const SURFACE_ALIGNMENT: Fact<usize> = reported(
    128,
    "maderix/ANE, pull request 35",
    "M5",
    "a suite on alignment passes with it",
    "write a ramp through surfaces of 64 and 128 times n bytes",
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

/// Inputs of a program that are bound to the right names without doubt.
pub const SAFE_INPUTS: Fact<usize> = reported(
    8,
    "h3.c-ane",
    "M4",
    "more than 8 are bound wrongly; others ran 10 and 98",
    "add N inputs of different values for N around 8",
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

/// Operations of a program that loads.
pub const MAX_OPS: Fact<usize> = reported(
    3164,
    "mil_spec",
    "M4",
    "programs of 3,164 to 3,284 operations and more do not load",
    "load a chain of N `add`",
);

/// Weights of a program, in bytes.
pub const MAX_WEIGHT_BYTES: Fact<u64> = reported(
    2 << 30,
    "ANEForge; omlx",
    "M1 Ultra to M3 Max",
    "about 2 GB; banks of weights 1 GiB on M1 Ultra, 7.86 GiB on M3 Max",
    "load a program of one convolution for each 64 MB",
);

/// Weights of a program that one machine loaded, in bytes.
pub const LOADED_WEIGHT_BYTES: Fact<u64> = reported(
    8_439_610_736,
    "omlx",
    "M3 Max",
    "a bank of 7.86 GiB loads, 15 GiB fail",
    "as `MAX_WEIGHT_BYTES`",
);

/// Where the first record of a weight file is, and the length of a record, in bytes.
pub const FIRST_RECORD: Fact<u64> = reported(
    mil::blob::FIRST_ENTRY,
    "Orion; maderix/ANE; ane-lora-training",
    "M4",
    "a text that names 0 or 128 reads garbage or fails",
    "compile a convolution with each offset",
);

/// The inner size of `matmul` is a multiple of this.
pub const MATMUL_INNER_MULTIPLE: Fact<usize> =
    reported(32, "ane-train", "M1", "other sizes give zeros", "run `matmul` with inner sizes 16, 24, 32");

/// Positions that attention as one operation looks at.
pub const MAX_ATTENTION: Fact<usize> = reported(
    2048,
    "ANEForge",
    "M1 to M5",
    "reliable only up to 2048, and with fewer than 512 queries or keys",
    "run it for growing lengths and compare with its parts",
);

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

/// The last axis of a state is a multiple of this, in elements.
pub const STATE_WIDTH_UNIT: Fact<usize> = reported(
    32,
    "apple/coremltools, issue 2631",
    "M4",
    "256 runs, 270 fails",
    "run a program with a state of [1, 8, 64, N] for N from 256 to 288",
);

/// Operations of one dispatch that timed out.
pub const TIMED_OUT_WORK: Fact<u64> = reported(
    8_796_093_022_208,
    "pytorch/pytorch, issue 110975",
    "M1 and M2, macOS 14",
    "a product of two matrices of 16384 by 16384: `Program Inference timeout`, status 0xf, NaN",
    "dispatch products of growing size",
);

/// Elements among which the place of the largest is found.
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

/// Operations of a kernel below which its dispatch is most of its time.
pub const DISPATCH_WORK: Fact<u64> = reported(
    1_000_000_000,
    "ANE-Training; maderix/ANE; ANEForge",
    "M3 Pro, M4",
    "1 GFLOP a dispatch for half of the efficiency",
    "time products of growing size",
);

/// Channels from which stacked convolutions are slow.
pub const SLOW_CHANNELS: Fact<usize> = reported(
    768,
    "ANE-Training",
    "M3 Pro",
    "384 to 640 are best, from 768 on 3 to 7 times slower; not on M4 Pro and M4 Max",
    "time stacks of `conv` of growing channels",
);

/// Bytes of weights and surfaces from which on throughput falls: the least and the most that are reported.
pub const WORKING_SET_KNEE: Fact<(usize, usize)> = reported(
    (2_390_000, 32 << 20),
    "ane-guide; ANEForge; maderix/ANE and its pull request 40",
    "M1, M5; M4, M4 Max",
    "2.28 MiB on M1 and 4.72 MiB on M5 by the guide, 24 to 32 MB on M4 by the others, none up to 73 MB on M3 Pro",
    "backpropane bench sram",
);

/// The length of a window that is one element thin from which it is slow.
pub const THIN_WINDOW: Fact<usize> = reported(
    9,
    "the M6 study",
    "M6",
    "1 by 9 is 1.7 to 1.85 times slower than a square one",
    "time `conv` of 1×9 and 3×3",
);

/// Forms of compressed weights, and the first generation that streams them.
pub const STREAMED_WEIGHTS: Fact<&[(&str, u8)]> = reported(
    &[("constexpr_affine_dequantize", 15), ("constexpr_blockwise_shift_scale", 16)],
    "ANEForge",
    "M1 to M5",
    "M1 4-bit tables and sparse, M2 adds int8, M3 adds blocks",
    "time a large `conv` in each form",
);

#[cfg(test)]
mod tests {
    use super::*;
    use mil::ty::f16;

    #[test]
    fn each_limit_is_remarked_on_with_its_source() {
        assert!(remarks(&f16([1, 768, 1, 256])).is_empty());
        let said = |shape: [usize; 4]| {
            remarks(&f16(shape)).iter().map(|r| format!("{r}; {}", r.basis)).collect::<Vec<_>>().join("\n")
        };
        assert!(said([1, 768, 1, 100]).starts_with("the width is no multiple of 32; h3"));
        assert!(said([1, 4, 1, 32]).starts_with("the bytes are below 49152; Orion"));
        assert!(said([1, 70_000, 1, 32]).starts_with("an axis is above 65536; maderix/ANE"));
        assert!(said([1, 64, 1, 16_416]).starts_with("the width is above 16384; rustane"));
    }
}
