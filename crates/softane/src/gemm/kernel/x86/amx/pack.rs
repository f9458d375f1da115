//! Packing of panels 32 wide for the tile unit: bf16 in pairs, rounded factors or both terms of split ones.
//!
//! 16 words of 16 rows (or columns) are packed at once. Where the layout of the matrix is not that of the panel, the
//! block is transposed in registers.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::super::record::Panel;
use super::tiles::{K, SIDE};
use crate::buffer::Elements;
use crate::simd::x86::has_avx512_bf16;
use crate::simd::x86::lanes::{Lanes, in_order, transposed};
use half::{bf16, f16};
use std::arch::x86_64::*;

/// Words of 16 steps of a panel.
const BLOCK: usize = 16 * SIDE;

/// Packs a panel as `TERMS` terms of bf16 each; `RUNS`: each 16 steps row by row, as the left side of tiles needs them.
///
/// # Panics
/// If the panel reaches outside of its elements, or the packed one does not fit.
pub(super) fn pack<const TERMS: usize, const RUNS: bool>(panel: &Panel<'_>, to: &mut [f32]) {
    assert!(panel.width <= SIDE);
    let steps = panel.depth.div_ceil(K);
    let to = &mut to[..steps * TERMS * BLOCK];
    if !has_avx512_bf16() {
        return plain::<TERMS, RUNS>(panel, to);
    }
    // SAFETY: the instructions exist.
    unsafe {
        match panel.from {
            Elements::F32(from) => vectors::<f32, TERMS, RUNS>(from, panel, to),
            Elements::F16(from) => vectors::<f16, TERMS, RUNS>(from, panel, to),
        }
    }
}

/// Packs with plain loops, for a processor that hides AVX-512 with BF16.
fn plain<const TERMS: usize, const RUNS: bool>(panel: &Panel<'_>, to: &mut [f32]) {
    let element = |i: usize, k: usize| match i < panel.width && k < panel.depth {
        true => panel.from.get(panel.at + i * panel.across + k * panel.along),
        false => 0.0,
    };
    for (block, to) in to.chunks_exact_mut(BLOCK).enumerate() {
        let (step, term) = (block / TERMS, block % TERMS);
        for (at, to) in to.iter_mut().enumerate() {
            let (i, pair) = if RUNS { (at / 16, at % 16) } else { (at % SIDE, at / SIDE) };
            let half = |k: usize| {
                let x = element(i, step * K + k);
                let high = rounded(x);
                u32::from(if term == 0 { high } else { rounded(x - high.to_f32()) }.to_bits())
            };
            *to = f32::from_bits(half(2 * pair) | half(2 * pair + 1) << 16);
        }
    }
}

/// `x` rounded as the instruction rounds it: a subnormal number is 0.
fn rounded(x: f32) -> bf16 {
    bf16::from_f32(if x.is_subnormal() { 0f32.copysign(x) } else { x })
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn vectors<T: Lanes, const TERMS: usize, const RUNS: bool>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    let Panel { at, across, along, width, depth, .. } = *panel;
    for (step, to) in to.chunks_exact_mut(TERMS * BLOCK).enumerate() {
        for lane in [0, 16] {
            let rows = width.saturating_sub(lane).min(16);
            let depth = if rows == 0 { 0 } else { (depth - step * K).min(K) };
            let start = at + lane * across + step * K * along;
            let block = Block { start, across, along, rows, depth };
            match (along, across) {
                (1, _) => block.pack::<T, TERMS, RUNS, true>(from, lane, to),
                (_, 1) => block.pack::<T, TERMS, RUNS, false>(from, lane, to),
                _ => block.gathered(from).pack_near::<TERMS, RUNS>(lane, to),
            }
        }
    }
}

/// Up to 16 rows of up to 32 elements.
#[derive(Clone, Copy)]
struct Block {
    start: usize,
    across: usize,
    along: usize,
    rows: usize,
    depth: usize,
}

impl Block {
    /// Packs the block as rows `lane` to `lane + 15` of a panel. `BY_ROWS`: its rows are contiguous, else its steps.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    #[expect(clippy::needless_range_loop, reason = "`i` is a place in `kept` of each term, and in the panel")]
    fn pack<T: Lanes, const TERMS: usize, const RUNS: bool, const BY_ROWS: bool>(
        self,
        from: &[T],
        lane: usize,
        to: &mut [f32],
    ) {
        let count = if BY_ROWS { self.rows } else { self.depth.div_ceil(2) };
        let mut kept = [[_mm512_setzero_ps(); 16]; TERMS];
        for i in 0..16 {
            let terms = match i < count {
                true if BY_ROWS => self.row::<T, TERMS>(from, i),
                true => self.pair::<T, TERMS>(from, i),
                false => [_mm512_setzero_ps(); TERMS],
            };
            for (term, x) in terms.into_iter().enumerate() {
                match BY_ROWS == RUNS {
                    true => put::<RUNS>(x, (lane, i), &mut to[term * BLOCK..][..BLOCK]),
                    false => kept[term][i] = x,
                }
            }
        }
        if BY_ROWS != RUNS {
            for (term, to) in kept.into_iter().zip(to.chunks_exact_mut(BLOCK)) {
                for (i, x) in transposed(term).into_iter().enumerate() {
                    put::<RUNS>(x, (lane, i), to);
                }
            }
        }
    }

    /// The terms of row `i`, which is contiguous: 32 bf16 each.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn row<T: Lanes, const TERMS: usize>(self, from: &[T], i: usize) -> [__m512; TERMS] {
        let row = &from[self.start + i * self.across..][..self.depth];
        let (low, high) = (load(row, 0), load(row, 16));
        let first = in_order(low, high);
        let mut terms = [first; TERMS];
        if TERMS == 2 {
            let bits = _mm512_castps_si512(first);
            let wide = |x: __m256i| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(x)));
            let a = wide(_mm512_castsi512_si256(bits));
            let b = wide(_mm512_extracti64x4_epi64::<1>(bits));
            terms[1] = in_order(_mm512_sub_ps(low, a), _mm512_sub_ps(high, b));
        }
        terms
    }

    /// The terms of a pair of steps, which are contiguous: 16 words of two bf16 each.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn pair<T: Lanes, const TERMS: usize>(self, from: &[T], pair: usize) -> [__m512; TERMS] {
        let line = |k: usize| load(&from[self.start + k * self.along..][..self.rows], 0);
        let low = line(2 * pair);
        let high = if 2 * pair + 1 < self.depth { line(2 * pair + 1) } else { _mm512_setzero_ps() };
        let first = interleaved(low, high);
        let mut terms = [first; TERMS];
        if TERMS == 2 {
            let bits = _mm512_castps_si512(first);
            let a = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits));
            let b = _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(!0xFFFF)));
            terms[1] = interleaved(_mm512_sub_ps(low, a), _mm512_sub_ps(high, b));
        }
        terms
    }

    /// The block with contiguous steps, copied from elements that are contiguous along neither axis.
    fn gathered<T: Lanes>(self, from: &[T]) -> Near {
        let mut near = [0.0f32; 16 * K];
        for (k, line) in near.as_chunks_mut::<16>().0.iter_mut().enumerate().take(self.depth) {
            for (i, x) in line.iter_mut().enumerate().take(self.rows) {
                *x = from[self.start + i * self.across + k * self.along].one();
            }
        }
        Near(near, Block { start: 0, across: 1, along: 16, ..self })
    }
}

/// A block and its elements.
struct Near([f32; 16 * K], Block);

impl Near {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn pack_near<const TERMS: usize, const RUNS: bool>(&self, lane: usize, to: &mut [f32]) {
        self.1.pack::<f32, TERMS, RUNS, false>(&self.0, lane, to);
    }
}

/// Writes 16 words of row `lane + i`, or of step `i` from row `lane` on.
#[inline]
#[target_feature(enable = "avx512f")]
fn put<const RUNS: bool>(x: __m512, (lane, i): (usize, usize), to: &mut [f32]) {
    let to = &mut to[if RUNS { (lane + i) * 16 } else { i * SIDE + lane }..][..16];
    // SAFETY: the slice has 16 words.
    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) };
}

/// Two vectors rounded to bf16, `low` in the lower half of each word.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn interleaved(low: __m512, high: __m512) -> __m512 {
    /// Element `i` of the first half, then of the second.
    const ORDER: [u16; 32] = {
        let mut order = [0; 32];
        let mut i = 0;
        while i < 32 {
            order[i] = (i / 2 + i % 2 * 16) as u16;
            i += 1;
        }
        order
    };
    // SAFETY: the array has 64 bytes.
    let order = unsafe { _mm512_loadu_si512(ORDER.as_ptr().cast()) };
    let words = _mm512_castps_si512(in_order(low, high));
    _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, words))
}

/// 16 elements from `first` on, and zeros behind the last.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn load<T: Lanes>(from: &[T], first: usize) -> __m512 {
    let count = from.len().saturating_sub(first);
    let start = from.as_ptr().wrapping_add(first);
    // SAFETY: no element behind the last is read.
    unsafe {
        match count {
            16.. => T::load(start),
            _ => T::load_some(start, (1 << count) - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frame tests the vectors, or the plain loops where there are none; this that both are the same.
    #[test]
    fn vectors_and_plain_loops_pack_the_same_words() {
        let numbers: Vec<f32> = (0..9000).map(|i| ((i * 7919 % 1013) as f32 - 506.0) / 64.0).collect();
        let half: Vec<f16> = numbers.iter().map(|&x| f16::from_f32(x)).collect();
        for (across, along) in [(80, 1), (1, 40), (3, 41)] {
            for from in [Elements::F32(&numbers), Elements::F16(&half)] {
                for (width, depth) in [(32, 64), (5, 33), (17, 31)] {
                    let panel = Panel { from, at: 3, across, along, width, depth };
                    check::<1, true>(&panel);
                    check::<1, false>(&panel);
                    check::<2, true>(&panel);
                    check::<2, false>(&panel);
                }
            }
        }
    }

    fn check<const TERMS: usize, const RUNS: bool>(panel: &Panel<'_>) {
        let words = panel.depth.div_ceil(K) * TERMS * BLOCK;
        let (mut got, mut want) = (vec![7.0; words], vec![7.0; words]);
        pack::<TERMS, RUNS>(panel, &mut got);
        plain::<TERMS, RUNS>(panel, &mut want);
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(&got) == bits(&want), "{TERMS} terms, {} × {}", panel.width, panel.depth);
    }

    /// Every finite half number, subnormal ones too. The low term is at most 2⁻⁸ of it, so what a product of two leaves out
    /// is at most 2⁻¹⁶.
    #[test]
    fn a_half_number_is_exactly_the_sum_of_two_terms() {
        let mut largest = 0.0f32;
        for bits in 0..=u16::MAX {
            let x = f16::from_bits(bits).to_f32();
            if x.is_finite() {
                let high = rounded(x);
                let low = rounded(x - high.to_f32());
                assert_eq!(high.to_f32() + low.to_f32(), x, "{bits:04X}");
                assert!(low.to_f32() == 0.0 || low.is_normal(), "{bits:04X}: the unit takes {low} for 0");
                if x != 0.0 {
                    largest = largest.max((low.to_f32() / x).abs());
                }
            }
        }
        assert!((0.99 / 256.0..=1.0 / 256.0).contains(&largest), "{largest}");
    }

    /// The precision that the documentation promises of f32 factors.
    #[test]
    fn an_f32_factor_is_off_by_at_most_two_to_the_minus_seventeen() {
        let (mut state, mut largest) = (1u32, 0.0f64);
        for _ in 0..100_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Exponents −60 to 67.
            let x = f32::from_bits(state & 0x807F_FFFF | (((state >> 24 & 127) + 67) << 23));
            let high = rounded(x).to_f32();
            let error = f64::from(x) - f64::from(high) - f64::from(rounded(x - high).to_f32());
            largest = largest.max(error.abs() / f64::from(x.abs()));
        }
        let bound = 2f64.powi(-17);
        assert!((0.9 * bound..=bound).contains(&largest), "{largest}");
    }
}
