//! Factors as the sum of two bf16, in three products of tiles.
#![expect(unsafe_code, reason = "inline assembly; each block states why it is sound")]

use super::super::super::record::{Blocks, Lhs, MicroKernel};
use super::super::super::x86_format::{SPLIT, SPLIT_RUNS};
use super::pack::pack;
use super::tiles::{K, TILES, add_steps, operands};
use crate::numerics::MatmulPrecision;
use std::arch::asm;

/// Each factor is `high + low`, two bf16; a product is `high·low + high·high + low·high`, summed in f32.
///
/// Numerics: f16 factors are exact, f32 factors are off by at most 2⁻¹⁷; `low·low` is left out, at most 2⁻¹⁶ of a product
/// (2⁻¹⁸·⁵ in the root mean square). Sums are those of the instruction: for each 32 elements two chains, one add for each
/// of the three products.
/// Source: Intel SDM volume 2, TDPBF16PS; the splitting: Henry, Tang, Heinecke, arXiv:1904.06376.
pub(crate) const AMX_F16X3: MicroKernel = MicroKernel {
    name: "amx-f16x3",
    numerics: MatmulPrecision::F16x3.numerics(),
    lhs: SPLIT_RUNS,
    rhs: SPLIT,
    // A panel of the right side is 32 KiB.
    blocks: Blocks { depth: 256, ..TILES.blocks },
    pack_lhs: pack::<2, true>,
    pack_rhs: pack::<2, false>,
    run,
    ..TILES
};

fn run(depth: usize, lhs: Lhs<'_>, rhs: &[f32], tile: &mut [f32]) {
    let steps = depth.div_ceil(K);
    let (left, right, tile) = operands(steps * 1024, lhs, rhs, tile);
    if steps == 0 {
        return;
    }
    // SAFETY: the unit is configured, or this would fault. Each step reads 4 KiB of either panel, which `operands` has
    // checked: on the left high terms of 32 rows, 64 bytes each, then low ones; on the right high terms of 16 pairs of
    // rows, 128 bytes each, then low ones. The tile has 32 rows of 128 bytes.
    unsafe {
        add_steps!(steps of 4096 bytes, left, right, tile:
            "tileloadd tmm4, [{a} + {near}]"
            "tileloadd tmm6, [{b} + {wide} + 2048]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tileloadd tmm7, [{b} + {wide} + 2112]"
            "tdpbf16ps tmm1, tmm4, tmm7"
            "tileloadd tmm5, [{a} + {near} + 1024]"
            "tdpbf16ps tmm2, tmm5, tmm6"
            "tdpbf16ps tmm3, tmm5, tmm7"
            "tileloadd tmm6, [{b} + {wide}]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tileloadd tmm7, [{b} + {wide} + 64]"
            "tdpbf16ps tmm1, tmm4, tmm7"
            "tdpbf16ps tmm2, tmm5, tmm6"
            "tdpbf16ps tmm3, tmm5, tmm7"
            "tileloadd tmm4, [{a} + {near} + 2048]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tdpbf16ps tmm1, tmm4, tmm7"
            "tileloadd tmm5, [{a} + {near} + 3072]"
            "tdpbf16ps tmm2, tmm5, tmm6"
            "tdpbf16ps tmm3, tmm5, tmm7"
        );
    }
}
