//! Factors rounded to bf16, in one product of tiles.
#![expect(unsafe_code, reason = "inline assembly; each block states why it is sound")]

use super::super::super::record::{Lhs, MicroKernel};
use super::super::super::x86_format::{PAIR_RUNS, PAIR_TILES};
use super::pack::pack;
use super::tiles::{K, TILES, add_steps, operands};
use crate::numerics::MatmulPrecision;
use std::arch::asm;

/// Factors rounded to bf16, summed in f32.
///
/// Numerics: sums are those of the instruction: for each 32 elements two chains and one add.
/// Source: Intel SDM volume 2, TDPBF16PS.
pub(crate) const AMX_BF16: MicroKernel = MicroKernel {
    name: "amx-bf16",
    numerics: MatmulPrecision::Bf16.numerics(),
    lhs: PAIR_RUNS,
    rhs: PAIR_TILES,
    pack_lhs: pack::<1, true>,
    pack_rhs: pack::<1, false>,
    run,
    ..TILES
};

fn run(depth: usize, lhs: Lhs<'_>, rhs: &[f32], tile: &mut [f32]) {
    let steps = depth.div_ceil(K);
    let (left, right, tile) = operands(steps * 512, lhs, rhs, tile);
    if steps == 0 {
        return;
    }
    // SAFETY: the unit is configured, or this would fault. Each step reads 2 KiB of either panel, which `operands` has
    // checked: on the left 32 rows of 64 bytes, on the right 16 pairs of rows, 128 bytes each. The tile has 32 rows of
    // 128 bytes.
    unsafe {
        add_steps!(steps of 2048 bytes, left, right, tile:
            "tileloadd tmm4, [{a} + {near}]"
            "tileloadd tmm6, [{b} + {wide}]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "tileloadd tmm7, [{b} + {wide} + 64]"
            "tdpbf16ps tmm1, tmm4, tmm7"
            "tileloadd tmm5, [{a} + {near} + 1024]"
            "tdpbf16ps tmm2, tmm5, tmm6"
            "tdpbf16ps tmm3, tmm5, tmm7"
        );
    }
}
