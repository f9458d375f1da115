//! Packing of panels with AVX-512: f32, rounded to bf16, and pairs of bf16.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::record::Panel;
use super::tile512::{ROW_STRIDE, ROWS};
use crate::buffer::Elements;
use crate::simd::x86::lanes::{
    Lanes, PAIRS, ROUNDED, SINGLE, as_words, in_order, paired, take, transposed, whole_rows, words,
};
use crate::simd::x86::{has_avx512, has_avx512_bf16};
use half::f16;
use std::arch::x86_64::*;

/// Packs a panel of f32, `W` wide.
pub(super) fn single<const W: usize>(panel: &Panel<'_>, to: &mut [f32]) {
    assert!(has_avx512() && panel.width <= W);
    // SAFETY: the instructions exist.
    unsafe {
        match panel.from {
            Elements::F32(from) => pack_single::<f32, W>(from, panel, to),
            Elements::F16(from) => pack_single::<f16, W>(from, panel, to),
        }
    }
}

/// Packs rows of f32.
pub(super) fn single_rows(panel: &Panel<'_>, to: &mut [f32]) {
    assert!(has_avx512() && fits_rows(panel, panel.depth));
    // SAFETY: the instructions exist.
    unsafe {
        match panel.from {
            Elements::F32(from) => rows_single(from, panel, to),
            Elements::F16(from) => rows_single(from, panel, to),
        }
    }
}

/// Packs a panel of f32 rounded to bf16, `W` wide.
pub(super) fn rounded<const W: usize>(panel: &Panel<'_>, to: &mut [f32]) {
    bf16::<ROUNDED, W>(panel, to);
}

/// Packs rows of f32 rounded to bf16.
pub(super) fn rounded_rows(panel: &Panel<'_>, to: &mut [f32]) {
    bf16_rows::<ROUNDED>(panel, to);
}

/// Packs a panel of pairs of bf16, `W` wide.
pub(super) fn pairs<const W: usize>(panel: &Panel<'_>, to: &mut [f32]) {
    bf16::<PAIRS, W>(panel, to);
}

/// Packs rows of pairs of bf16.
pub(super) fn pairs_rows(panel: &Panel<'_>, to: &mut [f32]) {
    bf16_rows::<PAIRS>(panel, to);
}

fn bf16<const FORM: u8, const W: usize>(panel: &Panel<'_>, to: &mut [f32]) {
    assert!(has_avx512_bf16() && panel.width <= W);
    // SAFETY: the instructions exist.
    unsafe {
        match panel.from {
            Elements::F32(from) => pack_bf16::<f32, FORM, W>(from, panel, to),
            Elements::F16(from) => pack_bf16::<f16, FORM, W>(from, panel, to),
        }
    }
}

fn bf16_rows<const FORM: u8>(panel: &Panel<'_>, to: &mut [f32]) {
    let steps = if FORM == PAIRS { panel.depth.div_ceil(2) } else { panel.depth };
    assert!(has_avx512_bf16() && fits_rows(panel, steps));
    // SAFETY: the instructions exist.
    unsafe {
        match panel.from {
            Elements::F32(from) => rows_bf16::<_, FORM>(from, panel, to),
            Elements::F16(from) => rows_bf16::<_, FORM>(from, panel, to),
        }
    }
}

/// Whether the panel has contiguous rows that fit in a row-major panel: packing touches up to 16 words past
/// `steps`.
pub(super) fn fits_rows(panel: &Panel<'_>, steps: usize) -> bool {
    panel.width <= ROWS && panel.along == 1 && steps + 16 <= ROW_STRIDE
}

// One function for each set of instructions: the loops below are inlined into it, and with them the conversions.

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pack_single<T: Lanes, const W: usize>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    // SAFETY: the instructions exist.
    unsafe { pack_with::<T, SINGLE, W>(from, panel, to) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn rows_single<T: Lanes>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    // SAFETY: the instructions exist.
    unsafe { pack_rows_with::<T, SINGLE>(from, panel, to) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn pack_bf16<T: Lanes, const FORM: u8, const W: usize>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    // SAFETY: the instructions exist, those for bf16 too.
    unsafe { pack_with::<T, FORM, W>(from, panel, to) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn rows_bf16<T: Lanes, const FORM: u8>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    // SAFETY: the instructions exist, those for bf16 too.
    unsafe { pack_rows_with::<T, FORM>(from, panel, to) }
}

/// # Safety
/// The instructions for `FORM` exist.
#[inline(always)]
unsafe fn pack_with<T: Lanes, const FORM: u8, const W: usize>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    let Panel { at, across, along, width, depth, .. } = *panel;
    if along == 1 {
        // SAFETY: the caller vouches for the instructions.
        return unsafe { pack_transposed::<T, FORM, W>(from, panel, to) };
    }
    let pairs = FORM == PAIRS;
    let steps = depth.div_ceil(if pairs { 2 } else { 1 });
    // SAFETY: the caller vouches for the instructions.
    let whole =
        if across == 1 && width == W { unsafe { pack_lines::<T, FORM, W>(from, panel, to) } } else { 0 };
    let mut store = |step: usize, lane: usize, x: __m512| {
        let to = &mut to[step * W + lane..][..16];
        // SAFETY: the slice has 16 elements.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) };
    };
    for step in whole..steps {
        for lane in (0..W).step_by(16) {
            let start = at + lane * across;
            let count = width.saturating_sub(lane);
            // SAFETY: the caller vouches for the instructions.
            let x = unsafe {
                if pairs {
                    let low = take(from, start + 2 * step * along, across, count);
                    let high = match 2 * step + 1 < depth {
                        true => take(from, start + (2 * step + 1) * along, across, count),
                        false => _mm512_setzero_ps(),
                    };
                    paired(low, high)
                } else {
                    as_words::<FORM>(take(from, start + step * along, across, count))
                }
            };
            store(step, lane, x);
        }
    }
}

/// Packs a panel whose steps are contiguous, 16 elements at a time. Returns the number of packed steps: those for which
/// `from` has 16 elements, whether the panel is 12 wide or 32.
///
/// # Safety
/// The instructions for `FORM` exist.
#[inline(always)]
unsafe fn pack_lines<T: Lanes, const FORM: u8, const W: usize>(
    from: &[T],
    panel: &Panel<'_>,
    to: &mut [f32],
) -> usize {
    let Panel { at, along, depth, .. } = *panel;
    let (each, wide) = (if FORM == PAIRS { 2 } else { 1 }, W.next_multiple_of(16));
    let lines = match from.len().checked_sub(at + wide) {
        Some(room) => depth.min(room / along.max(1) + 1),
        None => 0,
    };
    let steps = lines / each;
    if steps == 0 {
        return 0;
    }
    let from = &from[at..at + (steps * each - 1) * along + wide];
    let to = &mut to[..(steps - 1) * W + wide];
    for step in 0..steps {
        for lane in (0..W).step_by(16) {
            // SAFETY: each of the step's lines has 16 elements from lane ≤ wide − 16 on in `from`, and the step as many
            // places in `to`; the caller vouches for the instructions.
            unsafe {
                let line = from.as_ptr().add(step * each * along + lane);
                let x = match FORM {
                    PAIRS => paired(T::load(line), T::load(line.add(along))),
                    _ => words::<T, FORM>(line),
                };
                _mm512_storeu_ps(to.as_mut_ptr().add(step * W + lane), x);
            }
        }
    }
    steps
}

/// Packs a panel whose rows (or columns) are contiguous, in transposed blocks of 16 × 16.
///
/// # Safety
/// The instructions for `FORM` exist.
#[inline(always)]
unsafe fn pack_transposed<T: Lanes, const FORM: u8, const W: usize>(
    from: &[T],
    panel: &Panel<'_>,
    to: &mut [f32],
) {
    let Panel { at, across, width, depth, .. } = *panel;
    let each = if FORM == PAIRS { 2 } else { 1 };
    let steps = depth.div_ceil(each);
    for lane in (0..W).step_by(16) {
        let rows = (W - lane).min(16);
        for first in (0..steps).step_by(16) {
            let (start, left) = (at + lane * across + first * each, depth - first * each);
            let whole = left >= 16 * each && lane + rows <= width;
            let block = match whole {
                true => {
                    let from = &from[start..start + (rows - 1) * across + 16 * each];
                    // SAFETY: every row has 16 steps, the last ends where the slice does.
                    unsafe { whole_rows::<T, FORM>(from.as_ptr(), across, rows) }
                }
                false => {
                    let rows = rows.min(width.saturating_sub(lane));
                    // SAFETY: the caller vouches for the instructions.
                    unsafe { parted_rows::<T, FORM>(from, start, across, rows, left) }
                }
            };
            // SAFETY: the caller vouches for the instructions.
            let block = unsafe { transposed(block) };
            let count = (steps - first).min(16);
            let to = &mut to[first * W + lane..][..(count - 1) * W + 16];
            for (i, column) in block.iter().enumerate() {
                if i < count {
                    // SAFETY: column i < count has 16 places from i·W on.
                    unsafe { _mm512_storeu_ps(to.as_mut_ptr().add(i * W), *column) };
                }
            }
        }
    }
}

/// Up to 16 steps of each of `rows` rows, `left` elements at most; the rest is 0.
///
/// # Safety
/// The instructions for `FORM` exist.
#[inline(always)]
unsafe fn parted_rows<T: Lanes, const FORM: u8>(
    from: &[T],
    start: usize,
    across: usize,
    rows: usize,
    left: usize,
) -> [__m512; 16] {
    // SAFETY: the caller vouches for the instructions.
    unsafe {
        let mut block = [_mm512_setzero_ps(); 16];
        for (i, row) in block.iter_mut().enumerate().take(rows) {
            let at = start + i * across;
            *row = if FORM == PAIRS {
                let low = take(from, at, 1, left.min(16));
                let high = match left > 16 {
                    true => take(from, at + 16, 1, (left - 16).min(16)),
                    false => _mm512_setzero_ps(),
                };
                in_order(low, high)
            } else {
                as_words::<FORM>(take(from, at, 1, left.min(16)))
            };
        }
        block
    }
}

/// # Safety
/// The instructions for `FORM` exist.
#[inline(always)]
unsafe fn pack_rows_with<T: Lanes, const FORM: u8>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    let Panel { at, across, width, depth, .. } = *panel;
    let each = if FORM == PAIRS { 32 } else { 16 };
    for (i, to) in to.chunks_exact_mut(ROW_STRIDE).enumerate().take(ROWS) {
        if i >= width {
            to.fill(0.0);
            continue;
        }
        let from = &from[at + i * across..][..depth];
        let whole = depth / each;
        let to = &mut to[..(whole + 1) * 16];
        for block in 0..whole {
            // SAFETY: a whole block lies within `depth` elements, and its 16 words within `to`; the caller vouches for
            // the instructions.
            unsafe {
                let from = from.as_ptr().add(block * each);
                _mm512_storeu_ps(to.as_mut_ptr().add(block * 16), words::<T, FORM>(from));
            }
        }
        let (start, left) = (whole * each, depth - whole * each);
        // SAFETY: one block more than the whole ones has a place in `to`; the caller vouches for the instructions.
        unsafe {
            let low = take(from, start.min(depth), 1, left.min(16));
            let x = if FORM == PAIRS {
                let high = match left > 16 {
                    true => take(from, start + 16, 1, left - 16),
                    false => _mm512_setzero_ps(),
                };
                in_order(low, high)
            } else {
                as_words::<FORM>(low)
            };
            _mm512_storeu_ps(to.as_mut_ptr().add(whole * 16), x);
        }
    }
}
