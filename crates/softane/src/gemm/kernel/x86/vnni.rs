//! Scaled integers with AVX-512 VNNI: `vpdpwssd` multiplies pairs of 16 bits and sums them in 32.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use super::super::record::{Lhs, MicroKernel, Panel, RowMajor, Tile};
use super::super::x86_format::{SCALED, SCALED_BLOCK, scaled_blocks, scaled_steps};
use super::avx512::AVX512_F32;
use super::pack::fits_rows;
use super::tile512::{COLS, Left, ROW_STRIDE, ROWS, Sums, operands, prefetch};
use crate::buffer::Elements;
use crate::numerics::MatmulPrecision;
use crate::simd::x86::has_avx512;
use crate::simd::x86::lanes::{Lanes, transposed};
use half::f16;
use std::arch::x86_64::*;
use std::sync::LazyLock;

/// Integers of 16 bits in pairs, summed exactly in blocks of 128.
pub(crate) const AVX512_INT16: MicroKernel = MicroKernel {
    name: "avx512-int16",
    numerics: MatmulPrecision::Int16.numerics(),
    tile: Tile { k_step: 2, ..AVX512_F32.tile },
    lhs: SCALED,
    rhs: SCALED,
    available: has_vnni,
    pack_lhs: pack::<ROWS>,
    pack_rhs: pack::<COLS>,
    row_major: Some(RowMajor { stride: ROW_STRIDE, pack: pack_rows }),
    run,
    ..AVX512_F32
};

/// Whether the processor has AVX-512 with VNNI.
fn has_vnni() -> bool {
    static HAS: LazyLock<bool> = LazyLock::new(|| has_avx512() && is_x86_feature_detected!("avx512vnni"));
    *HAS
}

/// Packs a panel, `W` wide.
fn pack<const W: usize>(panel: &Panel<'_>, to: &mut [f32]) {
    assert!(panel.width <= W);
    match panel.from {
        Elements::F32(from) => pack_of::<f32, W>(from, panel, to),
        Elements::F16(from) => pack_of::<f16, W>(from, panel, to),
    }
}

/// Packs rows.
fn pack_rows(panel: &Panel<'_>, to: &mut [f32]) {
    assert!(fits_rows(panel, scaled_steps(panel.depth)));
    match panel.from {
        Elements::F32(from) => pack_rows_of(from, panel, to),
        Elements::F16(from) => pack_rows_of(from, panel, to),
    }
}

fn run(depth: usize, lhs: Lhs<'_>, rhs: &[f32], tile: &mut [f32]) {
    assert!(has_vnni());
    let steps = scaled_steps(depth);
    let (lhs, rhs, tile) = operands(steps, lhs, rhs, tile);
    // SAFETY: the instructions exist; `operands` has checked that the steps are there.
    unsafe {
        match lhs {
            Left::Packed(lhs) => multiply::<1, ROWS>(steps, lhs, rhs, tile),
            Left::RowMajor(lhs) => multiply::<ROW_STRIDE, 1>(steps, lhs, rhs, tile),
        }
    }
}

fn pack_of<T: Lanes, const W: usize>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    assert!(has_avx512());
    for (first, part) in blocks(panel) {
        let to = &mut to[scaled_steps(first) * W..];
        for lane in (0..W).step_by(16) {
            let rows = 16.min(W - lane).min(part.width.saturating_sub(lane));
            let part = Panel { at: part.at + lane * part.across, width: rows, ..part };
            // SAFETY: the instructions exist.
            unsafe {
                match (part.along, part.across) {
                    (1, _) => pack_transposed::<T, W>(from, &part, &mut to[lane..]),
                    (_, 1) => pack_lines::<T, W>(from, &part, &mut to[lane..]),
                    _ => pack_scattered::<T, W>(from, &part, &mut to[lane..]),
                }
            }
        }
    }
}

fn pack_rows_of<T: Lanes>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    assert!(has_avx512());
    for (i, to) in to.chunks_exact_mut(ROW_STRIDE).enumerate().take(ROWS) {
        for (first, part) in blocks(panel) {
            let at = scaled_steps(first);
            let words = part.depth.div_ceil(2);
            let to = &mut to[at..][..words.next_multiple_of(16) + 1];
            if i >= part.width {
                to[..words + 1].fill(0.0);
                continue;
            }
            // SAFETY: the instructions exist.
            unsafe { pack_row(&from[part.at + i * part.across..][..part.depth], to) };
        }
    }
}

/// The panel in blocks that have a scale for each row (or column), and where each begins.
fn blocks<'a>(panel: &Panel<'a>) -> impl Iterator<Item = (usize, Panel<'a>)> {
    let panel = *panel;
    (0..panel.depth).step_by(SCALED_BLOCK).map(move |first| {
        let depth = SCALED_BLOCK.min(panel.depth - first);
        (first, Panel { at: panel.at + first * panel.along, depth, ..panel })
    })
}

/// Of 16 elements the first `count`.
fn first(count: usize) -> __mmask16 {
    if count >= 16 { !0 } else { (1 << count) - 1 }
}

/// The scales of 16 rows (or columns) and their inverses.
struct Scales {
    scale: __m512,
    inverse: __m512,
    /// Rows that hold neither infinities nor NaN.
    finite: __mmask16,
}

/// The scales of 16 blocks from the bits of their largest magnitudes, as the plain loop of the test frame computes them.
#[inline]
#[target_feature(enable = "avx512f")]
fn scales(largest: __m512i) -> Scales {
    let exponent = _mm512_srli_epi32::<23>(_mm512_add_epi32(largest, _mm512_set1_epi32(1 << 11)));
    let finite = _mm512_cmplt_epi32_mask(exponent, _mm512_set1_epi32(255));
    let some = _mm512_mask_cmpgt_epi32_mask(finite, exponent, _mm512_set1_epi32(11));
    let power = |x| _mm512_castsi512_ps(_mm512_maskz_slli_epi32::<23>(some, x));
    let scale = power(_mm512_sub_epi32(exponent, _mm512_set1_epi32(11)));
    let inverse = power(_mm512_sub_epi32(_mm512_set1_epi32(265), exponent));
    Scales { scale: _mm512_mask_blend_ps(finite, _mm512_set1_ps(f32::NAN), scale), inverse, finite }
}

/// The bits of magnitudes.
#[inline]
#[target_feature(enable = "avx512f")]
fn magnitudes(x: __m512) -> __m512i {
    _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(i32::MAX))
}

/// The largest of all lanes, in each.
#[inline]
#[target_feature(enable = "avx512f")]
fn largest(x: __m512i) -> __m512i {
    let x = _mm512_max_epi32(x, _mm512_shuffle_i32x4::<0b01_00_11_10>(x, x));
    let x = _mm512_max_epi32(x, _mm512_shuffle_i32x4::<0b10_11_00_01>(x, x));
    let x = _mm512_max_epi32(x, _mm512_shuffle_epi32::<0b01_00_11_10>(x));
    _mm512_max_epi32(x, _mm512_shuffle_epi32::<0b10_11_00_01>(x))
}

/// Integers, of the lanes of a mask, and zeros.
#[inline]
#[target_feature(enable = "avx512f")]
fn integers(mask: __mmask16, x: __m512, inverse: __m512) -> __m512i {
    _mm512_maskz_cvtps_epi32(mask, _mm512_mul_ps(x, inverse))
}

/// 32 consecutive integers of 16 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn in_order(low: __m512i, high: __m512i) -> __m512 {
    // Groups of four alternate between the two sources until they are reordered.
    let order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    _mm512_castsi512_ps(_mm512_permutexvar_epi64(order, _mm512_packs_epi32(low, high)))
}

/// Words of a row that is contiguous, [`SCALED_BLOCK`] elements or fewer, and its scale in all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn words<T: Lanes>(from: &[T]) -> ([__m512; SCALED_BLOCK / 32], __m512) {
    let mut x = [_mm512_setzero_ps(); SCALED_BLOCK / 16];
    for (i, x) in x.iter_mut().enumerate() {
        let mask = first(from.len().saturating_sub(16 * i));
        // SAFETY: elements behind the last are not read.
        *x = unsafe { T::load_some(from.as_ptr().wrapping_add(16 * i), mask) };
    }
    let most = x.iter().fold(_mm512_setzero_si512(), |most, &x| _mm512_max_epi32(most, magnitudes(x)));
    let Scales { scale, inverse, finite } = scales(largest(most));
    let mut words = [_mm512_setzero_ps(); SCALED_BLOCK / 32];
    for (words, [low, high]) in words.iter_mut().zip(x.as_chunks().0) {
        *words = in_order(integers(finite, *low, inverse), integers(finite, *high, inverse));
    }
    (words, scale)
}

/// Packs one contiguous row.
///
/// # Safety
/// AVX-512 exists.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_row<T: Lanes>(from: &[T], to: &mut [f32]) {
    let steps = from.len().div_ceil(2);
    let (words, scale) = words(from);
    for (to, words) in to.as_chunks_mut::<16>().0.iter_mut().zip(words).take(steps.div_ceil(16)) {
        // SAFETY: the chunk has 16 words.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), words) };
    }
    to[steps] = _mm512_cvtss_f32(scale);
}

/// Packs up to 16 rows of up to [`SCALED_BLOCK`] elements, each contiguous.
///
/// # Safety
/// AVX-512 exists.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_transposed<T: Lanes, const W: usize>(from: &[T], part: &Panel<'_>, to: &mut [f32]) {
    let (at, steps) = (checked::<T, W>(from, part, to), part.depth.div_ceil(2));
    let mut blocks = [[_mm512_setzero_ps(); 16]; SCALED_BLOCK / 32];
    let mut scales = _mm512_setzero_ps();
    for i in 0..part.width {
        let (words, scale) = words(&from[at + i * part.across..][..part.depth]);
        blocks.iter_mut().zip(words).for_each(|(block, words)| block[i] = words);
        scales = _mm512_mask_mov_ps(scales, 1 << i, scale);
    }
    for (block, first) in blocks.into_iter().zip((0..steps).step_by(16)) {
        for (i, words) in transposed(block).into_iter().enumerate().take(steps - first) {
            // SAFETY: there is place for 16 words in each step.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr().add((first + i) * W), words) };
        }
    }
    // SAFETY: behind the last step there is place for the scales.
    unsafe { _mm512_storeu_ps(to.as_mut_ptr().add(steps * W), scales) };
}

/// Packs up to 16 rows of up to [`SCALED_BLOCK`] elements, whose steps are contiguous.
///
/// # Safety
/// AVX-512 exists.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_lines<T: Lanes, const W: usize>(from: &[T], part: &Panel<'_>, to: &mut [f32]) {
    let (at, steps, mask) = (checked::<T, W>(from, part, to), part.depth.div_ceil(2), first(part.width));
    // SAFETY: of line k < depth the elements of the mask are there, no other is read.
    let line = |k: usize| unsafe { T::load_some(from.as_ptr().wrapping_add(at + k * part.along), mask) };
    let mut most = [_mm512_setzero_si512(); 2];
    for k in 0..part.depth {
        most[k % 2] = _mm512_max_epi32(most[k % 2], magnitudes(line(k)));
    }
    let Scales { scale, inverse, finite } = scales(_mm512_max_epi32(most[0], most[1]));
    for step in 0..steps {
        let low = integers(finite, line(2 * step), inverse);
        let high = match 2 * step + 1 < part.depth {
            true => integers(finite, line(2 * step + 1), inverse),
            false => _mm512_setzero_si512(),
        };
        let words = _mm512_mask_blend_epi16(0xAAAA_AAAA, low, _mm512_slli_epi32::<16>(high));
        // SAFETY: there is place for 16 words in each step.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr().add(step * W), _mm512_castsi512_ps(words)) };
    }
    // SAFETY: behind the last step there is place for the scales.
    unsafe { _mm512_storeu_ps(to.as_mut_ptr().add(steps * W), scale) };
}

/// Packs up to 16 rows of up to [`SCALED_BLOCK`] elements, contiguous along neither axis.
///
/// # Safety
/// AVX-512 exists.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn pack_scattered<T: Lanes, const W: usize>(from: &[T], part: &Panel<'_>, to: &mut [f32]) {
    let mut near = [0.0f32; 16 * SCALED_BLOCK];
    for (k, line) in near.as_chunks_mut::<16>().0.iter_mut().enumerate().take(part.depth) {
        for (i, x) in line.iter_mut().enumerate().take(part.width) {
            *x = from[part.at + i * part.across + k * part.along].one();
        }
    }
    // SAFETY: the caller vouches for the instructions.
    unsafe { pack_lines::<f32, W>(&near, &Panel { at: 0, across: 1, along: 16, ..*part }, to) }
}

/// Where the first of 16 rows begins, once it is sure that they and their packed words are inside.
///
/// # Panics
/// If they are not.
fn checked<T, const W: usize>(from: &[T], part: &Panel<'_>, to: &[f32]) -> usize {
    let last = part.at + (part.width.max(1) - 1) * part.across + (part.depth - 1) * part.along;
    assert!(part.width == 0 || last < from.len(), "a panel reaches outside");
    assert!(to.len() >= part.depth.div_ceil(2) * W + 16, "a packed panel is too short");
    part.at
}

/// Multiplies panels; the left side has row stride `ROW` and step stride `STEP`, in words.
///
/// # Safety
/// AVX-512 exists with VNNI, and the pointers lead to `steps` steps each.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn multiply<const ROW: usize, const STEP: usize>(
    steps: usize,
    left: *const f32,
    right: *const f32,
    tile: &mut Sums,
) {
    if steps == 0 {
        *tile = [[0.0; COLS]; ROWS];
    }
    for block in scaled_blocks(steps) {
        let before = if block.start == 0 { 0 } else { !0 };
        // SAFETY: the steps of a block and the one behind it are among `steps`.
        unsafe {
            let (left, right) = (left.add(block.start * STEP), right.add(block.start * COLS));
            multiply_block::<ROW, STEP>(block.len(), left, right, tile, before);
        }
    }
}

/// Multiplies `steps` steps and the scales after them, and adds the lanes `before` of the tile.
///
/// A separate function: inlined, the compiler keeps the tile in registers across blocks and spills the sums.
///
/// # Safety
/// As above, with one step more.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn multiply_block<const ROW: usize, const STEP: usize>(
    steps: usize,
    mut left: *const f32,
    mut right: *const f32,
    tile: &mut Sums,
    before: __mmask16,
) {
    let mut sums = [[_mm512_setzero_si512(); 2]; ROWS];
    // SAFETY: all of these steps are there, and the tile has 32 elements in each of 12 rows.
    unsafe {
        for _ in 0..steps {
            let columns = [_mm512_loadu_si512(right.cast()), _mm512_loadu_si512(right.add(16).cast())];
            prefetch(right);
            for (i, sum) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_epi32(left.add(i * ROW).cast::<i32>().read());
                sum[0] = _mm512_dpwssd_epi32(sum[0], x, columns[0]);
                sum[1] = _mm512_dpwssd_epi32(sum[1], x, columns[1]);
            }
            left = left.add(STEP);
            right = right.add(COLS);
        }
        let columns = [_mm512_loadu_ps(right), _mm512_loadu_ps(right.add(16))];
        for (i, (sum, to)) in sums.iter().zip(tile).enumerate() {
            let x = _mm512_set1_ps(*left.add(i * ROW));
            for (j, sum) in sum.iter().enumerate() {
                let to = to.as_mut_ptr().add(16 * j);
                let product = _mm512_mul_ps(_mm512_cvtepi32_ps(*sum), columns[j]);
                _mm512_storeu_ps(to, _mm512_fmadd_ps(product, x, _mm512_maskz_loadu_ps(before, to)));
            }
        }
    }
}
