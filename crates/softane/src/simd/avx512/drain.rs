//! Tiles to where they belong.
#![expect(unsafe_code, reason = "intrinsics: each block says what makes it sound")]

use super::super::tile::{COLS, Epilogue, PackFormat, TILE};
use super::has;
use half::f16;
use std::arch::x86_64::*;

/// Writes a tile to where it belongs; see [`crate::simd::tile::drain_f32`].
pub(crate) fn drain_f32(tile: &[f32; TILE], drain: &Epilogue<'_>, to: &mut [f32]) {
    assert!(has(PackFormat::Single));
    // SAFETY: `has` says that the instructions exist.
    unsafe { drain_f32_with(tile, drain, to) }
}

/// As [`drain_f32`], rounded to half precision.
pub(crate) fn drain_f16(tile: &[f32; TILE], drain: &Epilogue<'_>, to: &mut [f16]) {
    assert!(has(PackFormat::Single));
    // SAFETY: `has` says that the instructions exist.
    unsafe { drain_f16_with(tile, drain, to) }
}

/// Row `row` of a whole tile, scaled, with its bias.
#[inline]
#[target_feature(enable = "avx512f")]
fn finished(tile: &[f32; TILE], drain: &Epilogue<'_>, row: usize) -> [__m512; 2] {
    let from = &tile[row * COLS..][..COLS];
    // SAFETY: a row of the tile has 32 elements.
    let row_of = unsafe { [_mm512_loadu_ps(from.as_ptr()), _mm512_loadu_ps(from.as_ptr().add(16))] };
    let (alpha, bias) = (_mm512_set1_ps(drain.alpha), _mm512_set1_ps(drain.bias_of(row)));
    row_of.map(|x| _mm512_fmadd_ps(x, alpha, bias))
}

/// All of 16 columns: storing them needs no mask.
const ALL: __mmask16 = !0;

/// Of 16 columns from `first` on, those that are there.
fn columns(drain: &Epilogue<'_>, first: usize) -> __mmask16 {
    match drain.cols.saturating_sub(first) {
        16.. => ALL,
        some => (1 << some) - 1,
    }
}

#[target_feature(enable = "avx512f")]
fn drain_f32_with(tile: &[f32; TILE], drain: &Epilogue<'_>, to: &mut [f32]) {
    let masks = [columns(drain, 0), columns(drain, 16)];
    for row in 0..drain.rows {
        let to = &mut to[row * drain.stride..][..drain.cols];
        for (i, (x, mask)) in finished(tile, drain, row).into_iter().zip(masks).enumerate() {
            let to = to.as_mut_ptr().wrapping_add(16 * i);
            // SAFETY: of the 16 elements, those of the mask are the row's; others are neither read nor written.
            unsafe {
                let x = if drain.add { _mm512_add_ps(x, _mm512_maskz_loadu_ps(mask, to)) } else { x };
                match mask {
                    ALL => _mm512_storeu_ps(to, x),
                    _ => _mm512_mask_storeu_ps(to, mask, x),
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn drain_f16_with(tile: &[f32; TILE], drain: &Epilogue<'_>, to: &mut [f16]) {
    let masks = [columns(drain, 0), columns(drain, 16)];
    for row in 0..drain.rows {
        let to = &mut to[row * drain.stride..][..drain.cols];
        for (i, (x, mask)) in finished(tile, drain, row).into_iter().zip(masks).enumerate() {
            let half = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT }>(x);
            let to = to.as_mut_ptr().wrapping_add(16 * i);
            // SAFETY: of the 16 elements, those of the mask are the row's; others are not written.
            unsafe {
                match mask {
                    ALL => _mm256_storeu_si256(to.cast(), half),
                    _ => _mm256_mask_storeu_epi16(to.cast(), mask, half),
                }
            };
        }
    }
}
