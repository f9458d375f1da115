//! bf16 with BFMMLA (FEAT_BF16): four elements of two rows times those of two columns are four sums in f32.
//!
//! Products and sums are rounded to odd and subnormal numbers are 0: [`arm_format`](super::super::arm_format) has the arithmetic.
#![expect(unsafe_code, reason = "intrinsics and one instruction; each block states why it is sound")]

use super::super::arm_format::BF16_PAIRS;
use super::super::record::{Lhs, MicroKernel, Tile};
use super::neon::NEON_F32;
use super::pack;
use super::tile::{COLS, ROWS};
use crate::numerics::MatmulPrecision;
use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

/// Pairs of bf16 in a word, two words of each row and column an instruction.
pub(crate) const NEON_BF16: MicroKernel = MicroKernel {
    name: "neon-bf16",
    numerics: MatmulPrecision::Bf16.numerics(),
    tile: Tile { k_step: K_STEP, ..NEON_F32.tile },
    lhs: BF16_PAIRS,
    rhs: BF16_PAIRS,
    available: has_bf16,
    pack_lhs: pack::pairs::<ROWS>,
    pack_rhs: pack::pairs::<COLS>,
    row_major: None,
    run,
    ..NEON_F32
};

/// Elements of the inner dimension an instruction.
const K_STEP: usize = 4;

/// Columns of a strip: with 12 rows, 24 registers of sums.
const STRIP: usize = 8;

/// The sums of a strip: blocks of two rows by two columns, row by row.
type Blocks = [[float32x4_t; STRIP / 2]; ROWS / 2];

/// Whether this processor has BFMMLA.
fn has_bf16() -> bool {
    is_aarch64_feature_detected!("bf16")
}

fn run(depth: usize, lhs: Lhs<'_>, rhs: &[f32], tile: &mut [f32]) {
    let Lhs::Packed(lhs) = lhs else { unreachable!("`row_major` is `None`") };
    let steps = (BF16_PAIRS.steps)(depth.next_multiple_of(K_STEP));
    assert!(lhs.len() >= steps * ROWS && rhs.len() >= steps * COLS, "a panel is too short");
    assert!(tile.len() == ROWS * COLS && has_bf16());
    for strip in (0..COLS).step_by(STRIP) {
        let rhs = &rhs[strip.min(rhs.len())..];
        // SAFETY: the instruction exists; `steps` is even; both panels have as many steps, and the strip begins within each.
        let blocks = unsafe { strip_of(steps, lhs.as_ptr(), rhs.as_ptr()) };
        for (i, row) in blocks.iter().enumerate() {
            for (j, &block) in row.iter().enumerate() {
                let at = 2 * i * COLS + strip + 2 * j;
                // SAFETY: every arm64 processor has NEON; each slice has two elements.
                unsafe {
                    vst1_f32(tile[at..at + 2].as_mut_ptr(), vget_low_f32(block));
                    vst1_f32(tile[at + COLS..at + COLS + 2].as_mut_ptr(), vget_high_f32(block));
                }
            }
        }
    }
}

/// Computes one strip.
///
/// # Safety
/// The processor has BFMMLA; `steps` is even; the pointers lead to `steps` steps of 12 and of 32 words, of which eight are
/// read.
#[target_feature(enable = "neon,bf16")]
unsafe fn strip_of(steps: usize, left: *const f32, right: *const f32) -> Blocks {
    let mut sums = [[vdupq_n_f32(0.0); STRIP / 2]; ROWS / 2];
    for step in (0..steps).step_by(2) {
        // SAFETY: this step and the next are two of `steps`.
        unsafe {
            let (left, right) = (left.add(step * ROWS), right.add(step * COLS));
            let [first, second] = [0, 4].map(|at| zipped(right.add(at), COLS));
            let columns = [first[0], first[1], second[0], second[1]];
            for (quad, sums) in sums.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                for (sums, row) in sums.iter_mut().zip(zipped(left.add(4 * quad), ROWS)) {
                    for (sum, column) in sums.iter_mut().zip(columns) {
                        *sum = multiply_add(*sum, row, column);
                    }
                }
            }
        }
    }
    sums
}

/// Four rows or columns: two registers of two each, with the words of two steps, which are `stride` words apart.
///
/// # Safety
/// `from` points to four words, and to four more `stride` further.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn zipped(from: *const f32, stride: usize) -> [float32x4_t; 2] {
    // SAFETY: the caller vouches for the words.
    let (x, y) = unsafe { (vld1q_f32(from), vld1q_f32(from.add(stride))) };
    [vzip1q_f32(x, y), vzip2q_f32(x, y)]
}

/// Adds the products of two rows, of four bf16 each, and two columns.
#[inline]
#[target_feature(enable = "neon,bf16")]
fn multiply_add(mut sums: float32x4_t, rows: float32x4_t, columns: float32x4_t) -> float32x4_t {
    // SAFETY: the instruction exists where this function may be called; it reads and writes these registers alone. Rust has
    // no stable intrinsic for it.
    unsafe {
        asm!(
            "bfmmla {sums:v}.4s, {rows:v}.8h, {columns:v}.8h",
            sums = inout(vreg) sums,
            rows = in(vreg) rows,
            columns = in(vreg) columns,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::super::arm_format::bf16_bits;
    use super::*;

    /// Words of pairs of bf16, all kinds of numbers among them.
    fn words(seed: u64, count: usize, kind: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            // Knuth's linear congruential generator, MMIX; the upper bits are the better ones.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let bits = (state >> 32) as u32;
            match kind {
                // From 2⁻¹⁶ to 2¹⁵, of both signs.
                0 => bf16_bits(f32::from_bits(bits & 0x8FFF_FFFF | 0x3800_0000)),
                // Products and sums about the smallest normal number.
                1 => bf16_bits(f32::from_bits(bits & 0x83FF_FFFF | 0x1E00_0000)),
                // Products and sums about the largest number.
                2 => bf16_bits(f32::from_bits(bits & 0x80FF_FFFF | 0x5F00_0000)),
                // Any bits: subnormal factors, infinities and NaN.
                _ => bits >> 16,
            }
        };
        (0..count).map(|_| f32::from_bits(next() | next() << 16)).collect()
    }

    #[test]
    fn every_bit_is_that_of_the_architecture() {
        if !has_bf16() {
            println!("bf16: not run, this processor has no BFMMLA");
            return;
        }
        for kind in 0..4 {
            for depth in [4, 8, 60, 256] {
                let steps = depth / 2;
                let lhs = words(1 + u64::from(kind), steps * ROWS, kind);
                let rhs = words(99 + u64::from(kind), steps * COLS, kind);
                let mut tile = vec![f32::NAN; ROWS * COLS];
                run(depth, Lhs::Packed(&lhs), &rhs, &mut tile);
                for (at, got) in tile.iter().enumerate() {
                    let (i, j) = (at / COLS, at % COLS);
                    let product = BF16_PAIRS.plain.product;
                    let want = product(&|s| lhs[s * ROWS + i], &|s| rhs[s * COLS + j], steps);
                    let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
                    assert!(same, "kind {kind}, {depth} elements, row {i}, column {j}: {got}, not {want}");
                }
            }
        }
    }
}
