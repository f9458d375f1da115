//! f32 with AVX2, FMA and F16C: a tile of 6 × 16 summed in 12 of 16 registers.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::epilogue;
use super::super::format::SINGLE;
use super::super::record::{Blocks, Epilogue, Lhs, MicroKernel, Panel, RowMajor, Tile};
use crate::buffer::Elements;
use crate::numerics::MatmulPrecision;
use crate::simd::x86::lanes256::Eight;
use crate::simd::x86::{has_avx2, transposed256 as transposed};
use half::f16;
use std::arch::x86_64::*;

/// Rows of the tile.
const ROWS: usize = 6;

/// Columns of the tile: two registers.
const COLS: usize = 16;

/// Elements of a register.
const LANES: usize = 8;

/// Row stride of a row-major panel, in words: 1024 steps and the words that packing writes past them.
const ROW_STRIDE: usize = 1040;

/// Steps that the right side is prefetched ahead of its use.
const AHEAD: usize = 32;

/// Multiply-adds in f32.
pub(crate) const AVX2_F32: MicroKernel = MicroKernel {
    name: "avx2-f32",
    numerics: MatmulPrecision::F32.numerics(),
    tile: Tile { mr: ROWS, nr: COLS, k_step: 1 },
    lhs: SINGLE,
    rhs: SINGLE,
    alignment: 32,
    blocks: Blocks::VECTORS,
    unit: None,
    available: has_avx2,
    preferred: || true,
    pack_lhs: pack::<ROWS>,
    pack_rhs: pack::<COLS>,
    row_major: Some(RowMajor { stride: ROW_STRIDE, pack: pack_rows }),
    run,
    store_f32,
    store_f16,
};

fn run(depth: usize, lhs: Lhs<'_>, rhs: &[f32], tile: &mut [f32]) {
    assert!(tile.len() == ROWS * COLS, "a tile of {} words for {ROWS} × {COLS}", tile.len());
    let tile = tile.as_chunks_mut::<COLS>().0;
    assert!(has_avx2() && rhs.len() >= depth * COLS, "a panel is too short");
    // SAFETY: the instructions exist; the lengths are checked before each pointer is taken.
    unsafe {
        match lhs {
            Lhs::Packed(lhs) => {
                assert!(lhs.len() >= depth * ROWS, "a panel is too short");
                multiply::<1, ROWS>(depth, lhs.as_ptr(), rhs.as_ptr(), tile);
            }
            Lhs::RowMajor(lhs) => {
                assert!(depth == 0 || lhs.len() >= (ROWS - 1) * ROW_STRIDE + depth, "a panel is too short");
                multiply::<ROW_STRIDE, 1>(depth, lhs.as_ptr(), rhs.as_ptr(), tile);
            }
        }
    }
}

/// Multiplies panels; the left side has row stride `ROW` and step stride `STEP`, in words.
///
/// # Safety
/// AVX2 and FMA exist, and the pointers lead to `steps` steps each.
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply<const ROW: usize, const STEP: usize>(
    steps: usize,
    mut lhs: *const f32,
    mut rhs: *const f32,
    tile: &mut [[f32; COLS]],
) {
    let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
    for _ in 0..steps {
        // SAFETY: this step is one of `steps`; a prefetch reads nothing.
        unsafe {
            let columns = [_mm256_loadu_ps(rhs), _mm256_loadu_ps(rhs.add(LANES))];
            _mm_prefetch::<_MM_HINT_T0>(rhs.wrapping_add(AHEAD * COLS).cast());
            for (i, sum) in sums.iter_mut().enumerate() {
                let x = _mm256_broadcast_ss(&*lhs.add(i * ROW));
                sum[0] = _mm256_fmadd_ps(x, columns[0], sum[0]);
                sum[1] = _mm256_fmadd_ps(x, columns[1], sum[1]);
            }
            lhs = lhs.add(STEP);
            rhs = rhs.add(COLS);
        }
    }
    for (sum, to) in sums.iter().zip(tile) {
        // SAFETY: a row of the tile has 16 elements.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), sum[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(LANES), sum[1]);
        }
    }
}

/// Loads eight elements from `from[at]` on with stride `step`: the first `count`, then zeros.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn take<T: Eight>(from: &[T], at: usize, step: usize, count: usize) -> __m256 {
    if step == 1
        && count >= LANES
        && let Some(from) = from.get(at..at + LANES)
    {
        // SAFETY: the slice has eight elements.
        return unsafe { T::load(from.as_ptr()) };
    }
    let mut lanes = [0.0; LANES];
    for (i, lane) in lanes.iter_mut().enumerate().take(count) {
        *lane = from[at + i * step].one();
    }
    // SAFETY: the array has eight elements.
    unsafe { _mm256_loadu_ps(lanes.as_ptr()) }
}

/// Packs a panel of f32, `W` wide.
fn pack<const W: usize>(panel: &Panel<'_>, to: &mut [f32]) {
    assert!(has_avx2() && panel.width <= W);
    // SAFETY: the instructions exist.
    unsafe {
        match panel.from {
            Elements::F32(from) => pack_of::<f32, W>(from, panel, to),
            Elements::F16(from) => pack_of::<f16, W>(from, panel, to),
        }
    }
}

/// Packs eight lanes of a step at a time; for a panel 6 wide they overlap the next step, which is packed later.
#[target_feature(enable = "avx2,f16c")]
fn pack_of<T: Eight, const W: usize>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    let Panel { at, across, along, width, depth, .. } = *panel;
    let mut store = |step: usize, lane: usize, x: __m256| {
        let to = &mut to[step * W + lane..][..LANES];
        // SAFETY: the slice has eight elements.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), x) };
    };
    for first in (0..depth).step_by(LANES) {
        let count = LANES.min(depth - first);
        for lane in (0..W).step_by(LANES) {
            let here = width.saturating_sub(lane).min(LANES);
            if along == 1 {
                let mut block = [_mm256_setzero_ps(); LANES];
                for (i, row) in block.iter_mut().enumerate().take(here) {
                    *row = take(from, at + (lane + i) * across + first, 1, count);
                }
                let block = transposed(block);
                for (i, column) in block.into_iter().enumerate().take(count) {
                    store(first + i, lane, column);
                }
            } else {
                for step in first..first + count {
                    // A panel 6 wide: the elements past a row are overwritten or zeroed below.
                    let whole = across == 1 && here == W.min(LANES);
                    let lanes = if whole { from.get(at + step * along + lane..).unwrap_or(&[]) } else { &[] };
                    let x = match lanes.get(..LANES) {
                        // SAFETY: the slice has eight elements.
                        Some(lanes) => unsafe { T::load(lanes.as_ptr()) },
                        None => take(from, at + step * along + lane * across, across, here),
                    };
                    store(step, lane, x);
                }
            }
        }
    }
}

/// Packs rows of f32.
fn pack_rows(panel: &Panel<'_>, to: &mut [f32]) {
    assert!(has_avx2() && panel.width <= ROWS && panel.along == 1 && panel.depth + LANES <= ROW_STRIDE);
    // SAFETY: the instructions exist.
    unsafe {
        match panel.from {
            Elements::F32(from) => pack_rows_of(from, panel, to),
            Elements::F16(from) => pack_rows_of(from, panel, to),
        }
    }
}

#[target_feature(enable = "avx2,f16c")]
fn pack_rows_of<T: Eight>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    let Panel { at, across, width, depth, .. } = *panel;
    for (i, to) in to.chunks_exact_mut(ROW_STRIDE).enumerate().take(ROWS) {
        if i >= width {
            to[..depth].fill(0.0);
            continue;
        }
        let from = &from[at + i * across..][..depth];
        for (block, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate().take(depth.div_ceil(LANES)) {
            let x = take(from, block * LANES, 1, depth - block * LANES);
            // SAFETY: the chunk has eight elements.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), x) };
        }
    }
}

/// Stores a tile as f32.
fn store_f32(tile: &[f32], epilogue: &Epilogue<'_>, to: &mut [f32]) {
    assert!(has_avx2());
    match epilogue.cols {
        // SAFETY: the instructions exist.
        COLS => unsafe { store_whole(tile, epilogue, to) },
        _ => epilogue::store::<f32, COLS>(tile, epilogue, to),
    }
}

/// Stores a tile rounded to half precision.
fn store_f16(tile: &[f32], epilogue: &Epilogue<'_>, to: &mut [f16]) {
    assert!(has_avx2());
    match epilogue.cols {
        // SAFETY: the instructions exist.
        COLS => unsafe { store_whole(tile, epilogue, to) },
        _ => epilogue::store::<f16, COLS>(tile, epilogue, to),
    }
}

/// Elements that f32 lanes are stored as.
trait Stored: Eight {
    /// # Safety
    /// AVX2 and F16C exist, and `to` points to eight elements.
    unsafe fn store(x: __m256, to: *mut Self);
}

impl Stored for f32 {
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn store(x: __m256, to: *mut f32) {
        // SAFETY: the caller vouches for eight elements.
        unsafe { _mm256_storeu_ps(to, x) }
    }
}

impl Stored for f16 {
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn store(x: __m256, to: *mut f16) {
        // SAFETY: the caller vouches for eight elements, 16 bytes.
        unsafe { _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x)) }
    }
}

/// Stores a full-width tile. Multiply and add are not fused, like in the plain loop, so the bits are equal.
#[target_feature(enable = "avx2,f16c")]
fn store_whole<T: Stored>(tile: &[f32], epilogue: &Epilogue<'_>, to: &mut [T]) {
    let alpha = _mm256_set1_ps(epilogue.alpha);
    for (row, sums) in tile.as_chunks::<COLS>().0.iter().enumerate().take(epilogue.rows) {
        let to = &mut to[row * epilogue.stride..][..COLS];
        let bias = _mm256_set1_ps(epilogue.bias_of(row));
        for lane in [0, LANES] {
            // SAFETY: both have 16 elements.
            unsafe {
                let x = _mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(sums[lane..].as_ptr()), alpha), bias);
                let to = to.as_mut_ptr().add(lane);
                T::store(if epilogue.add { _mm256_add_ps(x, T::load(to)) } else { x }, to);
            }
        }
    }
}
