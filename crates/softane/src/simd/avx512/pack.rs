//! Packing.
#![expect(unsafe_code, reason = "intrinsics: each block says what makes it sound")]

use super::super::tile::{PackFormat, Panel, ROW_STRIDE, ROWS};
use super::lanes::{
    Lanes, PAIRS, ROUNDED, SINGLE, alone, in_order, paired, take, transposed, whole_rows, words,
};
use super::{has, scaled};
use crate::buffer::Elements;
use half::f16;
use std::arch::x86_64::*;

/// Packs a panel; see [`crate::simd::tile::pack`].
pub(crate) fn pack<const W: usize>(form: PackFormat, panel: &Panel<'_>, to: &mut [f32]) {
    assert!(has(form));
    // SAFETY: `has` says that the instructions exist.
    unsafe {
        match (form, panel.from) {
            (PackFormat::Single, Elements::F32(from)) => pack_single::<f32, W>(from, panel, to),
            (PackFormat::Single, Elements::F16(from)) => pack_single::<f16, W>(from, panel, to),
            (PackFormat::Rounded, Elements::F32(from)) => pack_bf16::<f32, ROUNDED, W>(from, panel, to),
            (PackFormat::Rounded, Elements::F16(from)) => pack_bf16::<f16, ROUNDED, W>(from, panel, to),
            (PackFormat::Pairs, Elements::F32(from)) => pack_bf16::<f32, PAIRS, W>(from, panel, to),
            (PackFormat::Pairs, Elements::F16(from)) => pack_bf16::<f16, PAIRS, W>(from, panel, to),
            (PackFormat::Scaled, Elements::F32(from)) => scaled::pack::<f32, W>(from, panel, to),
            (PackFormat::Scaled, Elements::F16(from)) => scaled::pack::<f16, W>(from, panel, to),
        }
    }
}

/// Packs rows; see [`crate::simd::tile::pack_rows`].
pub(crate) fn pack_rows(form: PackFormat, panel: &Panel<'_>, to: &mut [f32]) {
    assert!(has(form));
    // SAFETY: `has` says that the instructions exist.
    unsafe {
        match (form, panel.from) {
            (PackFormat::Single, Elements::F32(from)) => rows_single(from, panel, to),
            (PackFormat::Single, Elements::F16(from)) => rows_single(from, panel, to),
            (PackFormat::Rounded, Elements::F32(from)) => rows_bf16::<_, ROUNDED>(from, panel, to),
            (PackFormat::Rounded, Elements::F16(from)) => rows_bf16::<_, ROUNDED>(from, panel, to),
            (PackFormat::Pairs, Elements::F32(from)) => rows_bf16::<_, PAIRS>(from, panel, to),
            (PackFormat::Pairs, Elements::F16(from)) => rows_bf16::<_, PAIRS>(from, panel, to),
            (PackFormat::Scaled, Elements::F32(from)) => scaled::pack_rows(from, panel, to),
            (PackFormat::Scaled, Elements::F16(from)) => scaled::pack_rows(from, panel, to),
        }
    }
}

// One function for each set of instructions, into which the loops below are inlined: only so are conversions, too.

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
/// What `FORM` needs exists.
#[inline(always)]
unsafe fn pack_with<T: Lanes, const FORM: u8, const W: usize>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    let Panel { at, across, along, width, depth, .. } = *panel;
    if along == 1 {
        // SAFETY: the caller vouches for the instructions.
        return unsafe { pack_turned::<T, FORM, W>(from, panel, to) };
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
                    alone::<FORM>(take(from, start + step * along, across, count))
                }
            };
            store(step, lane, x);
        }
    }
}

/// Packs steps of which all rows (or columns) stand side by side, 16 elements at a time, and says how many it has: as
/// many as `from` has 16 elements for, of a panel 12 wide as of one 32 wide.
///
/// # Safety
/// What `FORM` needs exists.
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

/// Packs where the elements of one row (or column) of the panel stand side by side: in blocks of 16 × 16.
///
/// # Safety
/// What `FORM` needs exists.
#[inline(always)]
unsafe fn pack_turned<T: Lanes, const FORM: u8, const W: usize>(
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
/// What `FORM` needs exists.
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
                alone::<FORM>(take(from, at, 1, left.min(16)))
            };
        }
        block
    }
}

/// # Safety
/// What `FORM` needs exists.
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
                alone::<FORM>(low)
            };
            _mm512_storeu_ps(to.as_mut_ptr().add(whole * 16), x);
        }
    }
}
