//! Storing of tiles 32 wide with AVX-512.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::epilogue;
use super::super::record::Epilogue;
use super::tile512::COLS;
use crate::simd::x86::has_avx512;
use half::f16;
use std::arch::x86_64::*;

/// Stores a tile as f32.
pub(super) fn store_f32(tile: &[f32], epilogue: &Epilogue<'_>, to: &mut [f32]) {
    assert!(has_avx512());
    // SAFETY: the instructions exist.
    unsafe { store_f32_with(tile, epilogue, to) }
}

/// Stores a tile rounded to half precision.
pub(super) fn store_f16(tile: &[f32], epilogue: &Epilogue<'_>, to: &mut [f16]) {
    assert!(has_avx512());
    match epilogue.add {
        true => epilogue::store::<f16, COLS>(tile, epilogue, to),
        // SAFETY: the instructions exist.
        false => unsafe { store_f16_with(tile, epilogue, to) },
    }
}

/// Row `row` of a tile, times alpha, plus its bias.
#[inline]
#[target_feature(enable = "avx512f")]
fn finished(tile: &[f32], epilogue: &Epilogue<'_>, row: usize) -> [__m512; 2] {
    let from = &tile[row * COLS..][..COLS];
    // SAFETY: a row of the tile has 32 elements.
    let row_of = unsafe { [_mm512_loadu_ps(from.as_ptr()), _mm512_loadu_ps(from.as_ptr().add(16))] };
    let (alpha, bias) = (_mm512_set1_ps(epilogue.alpha), _mm512_set1_ps(epilogue.bias_of(row)));
    row_of.map(|x| _mm512_fmadd_ps(x, alpha, bias))
}

/// All of 16 columns: a store without a mask.
const ALL: __mmask16 = !0;

/// The store mask of 16 columns from `first` on.
fn columns(epilogue: &Epilogue<'_>, first: usize) -> __mmask16 {
    match epilogue.cols.saturating_sub(first) {
        16.. => ALL,
        some => (1 << some) - 1,
    }
}

#[target_feature(enable = "avx512f")]
fn store_f32_with(tile: &[f32], epilogue: &Epilogue<'_>, to: &mut [f32]) {
    let masks = [columns(epilogue, 0), columns(epilogue, 16)];
    for row in 0..epilogue.rows {
        let to = &mut to[row * epilogue.stride..][..epilogue.cols];
        for (i, (x, mask)) in finished(tile, epilogue, row).into_iter().zip(masks).enumerate() {
            let to = to.as_mut_ptr().wrapping_add(16 * i);
            // SAFETY: of the 16 elements, those of the mask are the row's; others are neither read nor written.
            unsafe {
                let x = if epilogue.add { _mm512_add_ps(x, _mm512_maskz_loadu_ps(mask, to)) } else { x };
                match mask {
                    ALL => _mm512_storeu_ps(to, x),
                    _ => _mm512_mask_storeu_ps(to, mask, x),
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn store_f16_with(tile: &[f32], epilogue: &Epilogue<'_>, to: &mut [f16]) {
    let masks = [columns(epilogue, 0), columns(epilogue, 16)];
    for row in 0..epilogue.rows {
        let to = &mut to[row * epilogue.stride..][..epilogue.cols];
        for (i, (x, mask)) in finished(tile, epilogue, row).into_iter().zip(masks).enumerate() {
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
