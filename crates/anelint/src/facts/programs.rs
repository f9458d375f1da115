//! Sizes of programs, of their weights, and of the work of one dispatch.

use ane::facts::{Fact, reported};

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

/// Operations of one dispatch that timed out.
pub const TIMED_OUT_WORK: Fact<u64> = reported(
    8_796_093_022_208,
    "pytorch/pytorch, issue 110975",
    "M1 and M2, macOS 14",
    "a product of two matrices of 16384 by 16384: `Program Inference timeout`, status 0xf, NaN",
    "dispatch products of growing size",
);

/// Operations of a kernel below which its dispatch is most of its time.
pub const DISPATCH_WORK: Fact<u64> = reported(
    1_000_000_000,
    "ANE-Training; maderix/ANE; ANEForge",
    "M3 Pro, M4",
    "1 GFLOP a dispatch for half of the efficiency",
    "time products of growing size",
);

/// Bytes of weights and surfaces from which on throughput falls: the least and the most that are reported.
pub const WORKING_SET_KNEE: Fact<(usize, usize)> = reported(
    (2_390_000, 32 << 20),
    "ane-guide; ANEForge; maderix/ANE and its pull request 40",
    "M1, M5; M4, M4 Max",
    "2.28 MiB on M1 and 4.72 MiB on M5 by the guide, 24 to 32 MB on M4 by the others, none up to 73 MB on M3 Pro",
    "backpropane bench sram",
);
