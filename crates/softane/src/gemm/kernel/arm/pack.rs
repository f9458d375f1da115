//! Packing of panels of f32, and of pairs of bf16.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::arm_format::bf16_bits;
use super::super::generic;
use super::super::record::Panel;
use super::tile::{COLS, ROW_STRIDE, ROWS};
use crate::buffer::Elements;
use crate::convert::Element;
use crate::simd::neon::transposed;
use half::f16;
use std::arch::aarch64::*;

/// Packs a panel of f32, `W` wide.
pub(super) fn pack<const W: usize>(panel: &Panel<'_>, to: &mut [f32]) {
    assert!(panel.width <= W, "a panel of {} for {W}", panel.width);
    let packed = match panel.from {
        Elements::F32(from) => pack_of::<f32, W>(from, panel, to),
        Elements::F16(from) => pack_of::<f16, W>(from, panel, to),
    };
    if !packed {
        generic::pack::<W>(panel, to);
    }
}

/// Packs rows of f32.
pub(super) fn pack_rows(panel: &Panel<'_>, to: &mut [f32]) {
    let Panel { at, across, width, depth, .. } = *panel;
    assert!(width <= ROWS && panel.along == 1 && depth <= ROW_STRIDE, "rows that do not fit");
    for (i, to) in to.chunks_mut(ROW_STRIDE).enumerate().take(ROWS) {
        let to = &mut to[..depth];
        let row = at + i * across..at + i * across + depth;
        match panel.from {
            _ if i >= width => to.fill(0.0),
            Elements::F32(from) => Element::widen(&from[row], to),
            Elements::F16(from) => Element::widen(&from[row], to),
        }
    }
}

/// Elements of the inner dimension that are packed as f32 before they are rounded: 8 KiB of the widest panel.
const ROUNDED_TOGETHER: usize = 64;

/// Packs a panel of pairs of bf16, `W` wide and up to a whole instruction of four elements deep.
pub(super) fn pairs<const W: usize>(panel: &Panel<'_>, to: &mut [f32]) {
    let mut single = [0.0; ROUNDED_TOGETHER * COLS];
    let words = &mut to[..panel.depth.next_multiple_of(4) / 2 * W];
    for (block, to) in words.chunks_mut(ROUNDED_TOGETHER / 2 * W).enumerate() {
        let first = block * ROUNDED_TOGETHER;
        let depth = (panel.depth - first).min(ROUNDED_TOGETHER);
        let single = &mut single[..2 * to.len()];
        pack::<W>(&Panel { at: panel.at + first * panel.along, depth, ..*panel }, single);
        single[depth * W..].fill(0.0);
        for (to, two) in to.chunks_exact_mut(W).zip(single.chunks_exact(2 * W)) {
            let (low, high) = two.split_at(W);
            for ((to, &low), &high) in to.iter_mut().zip(low).zip(high) {
                *to = f32::from_bits(bf16_bits(low) | bf16_bits(high) << 16);
            }
        }
    }
}

/// Packs a panel that is contiguous along one of its axes; `false` if it is not.
fn pack_of<T: Lanes, const W: usize>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) -> bool {
    let Panel { at, across, along, width, depth, .. } = *panel;
    if across == 1 && width == W {
        for (step, to) in to.chunks_exact_mut(W).enumerate().take(depth) {
            Element::widen(&from[at + step * along..][..W], to);
        }
        return true;
    }
    if along != 1 || depth < 4 {
        return false;
    }
    for lane in (0..W).step_by(4) {
        // Blocks of 4 × 4; the last one overlaps the one before it.
        for first in (0..depth).step_by(4).map(|first| first.min(depth - 4)) {
            let rows = std::array::from_fn(|i| match lane + i < width {
                true => {
                    let row = &from[at + (lane + i) * across + first..][..4];
                    // SAFETY: every arm64 processor has NEON, and the row has four elements.
                    unsafe { T::load(row.as_ptr()) }
                }
                // SAFETY: every arm64 processor has NEON.
                false => unsafe { vdupq_n_f32(0.0) },
            });
            // SAFETY: every arm64 processor has NEON.
            for (i, column) in unsafe { transposed(rows) }.into_iter().enumerate() {
                let to = &mut to[(first + i) * W + lane..][..4];
                // SAFETY: the slice has four elements.
                unsafe { vst1q_f32(to.as_mut_ptr(), column) };
            }
        }
    }
    true
}

/// Elements of an operand.
trait Lanes: Element {
    /// Four elements from `from` on.
    ///
    /// # Safety
    /// The processor has NEON, and `from` points to four elements.
    unsafe fn load(from: *const Self) -> float32x4_t;
}

impl Lanes for f32 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: *const f32) -> float32x4_t {
        // SAFETY: the caller vouches for four elements.
        unsafe { vld1q_f32(from) }
    }
}

impl Lanes for f16 {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn load(from: *const f16) -> float32x4_t {
        // SAFETY: the caller vouches for four elements, 8 bytes.
        vcvt_f32_f16(vreinterpret_f16_u16(unsafe { vld1_u16(from.cast()) }))
    }
}
