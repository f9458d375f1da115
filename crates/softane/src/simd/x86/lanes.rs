//! Vectors of 16 words: loading elements, and transposing blocks.
#![expect(unsafe_code, reason = "intrinsics; each block states why it is sound")]

use half::f16;
use std::arch::x86_64::*;

// The content of a word, as a const parameter `FORM`. The last two need BF16 in addition to AVX-512.

/// An f32.
pub(crate) const SINGLE: u8 = 0;
/// A number rounded to bf16, written as f32.
pub(crate) const ROUNDED: u8 = 1;
/// Two bf16.
pub(crate) const PAIRS: u8 = 2;

/// Elements that widen to f32 lanes.
pub(crate) trait Lanes: Copy {
    /// 16 elements from `from` on.
    ///
    /// # Safety
    /// AVX-512F exists, and `from` points to 16 elements.
    unsafe fn load(from: *const Self) -> __m512;
    /// Loads the elements of `mask` among 16 from `from` on, and zeros; the others may be out of bounds.
    ///
    /// # Safety
    /// AVX-512 F, BW and VL exist, and `from` points to the elements of `mask`.
    unsafe fn load_some(from: *const Self, mask: __mmask16) -> __m512;
    /// One element widened.
    fn one(self) -> f32;
}

impl Lanes for f32 {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the caller vouches for 16 elements.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_some(from: *const f32, mask: __mmask16) -> __m512 {
        // SAFETY: the caller vouches for the elements of the mask.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }
    #[inline]
    fn one(self) -> f32 {
        self
    }
}

impl Lanes for f16 {
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(from: *const f16) -> __m512 {
        // SAFETY: the caller vouches for 16 elements, 32 bytes.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(from.cast()) })
    }
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_some(from: *const f16, mask: __mmask16) -> __m512 {
        // SAFETY: the caller vouches for the elements of the mask.
        _mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16(mask, from.cast()) })
    }
    #[inline]
    fn one(self) -> f32 {
        self.to_f32()
    }
}

/// Loads `count` elements from `at` on with stride `step`, then zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(crate) fn take<T: Lanes>(from: &[T], at: usize, step: usize, count: usize) -> __m512 {
    if step == 1
        && count > 0
        && let Some(from) = from.get(at..at + 16)
    {
        let mask = if count >= 16 { !0 } else { (1 << count) - 1 };
        // SAFETY: the slice has 16 elements.
        return _mm512_maskz_mov_ps(mask, unsafe { T::load(from.as_ptr()) });
    }
    let mut lanes = [0f32; 16];
    for (i, lane) in lanes.iter_mut().enumerate().take(count) {
        *lane = from[at + i * step].one();
    }
    // SAFETY: the array has 16 elements.
    unsafe { _mm512_loadu_ps(lanes.as_ptr()) }
}

/// Two vectors as bf16, rounded to nearest even: `low` in the lower half of each word.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(crate) fn paired(low: __m512, high: __m512) -> __m512 {
    // SAFETY: both types are 256 bits of anything.
    let bits = |x: __m512| unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x)) };
    let (low, high) = (_mm512_cvtepu16_epi32(bits(low)), _mm512_cvtepu16_epi32(bits(high)));
    _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32::<16>(high)))
}

/// A vector rounded to bf16, to nearest even, as f32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn rounded(x: __m512) -> __m512 {
    // SAFETY: both types are 256 bits of anything.
    let bits = unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x)) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
}

/// 16 words of a panel from 16 elements from `from` on, or 32.
///
/// # Safety
/// `from` points to them, and the instructions for `FORM` exist; see [`SINGLE`], [`ROUNDED`] and [`PAIRS`].
#[inline(always)]
pub(crate) unsafe fn words<T: Lanes, const FORM: u8>(from: *const T) -> __m512 {
    // SAFETY: the caller vouches for the elements and the instructions.
    unsafe {
        match FORM {
            PAIRS => in_order(T::load(from), T::load(from.add(16))),
            _ => as_words::<FORM>(T::load(from)),
        }
    }
}

/// 16 elements as words of one element each.
///
/// # Safety
/// The instructions for `FORM` exist.
#[inline(always)]
pub(crate) unsafe fn as_words<const FORM: u8>(x: __m512) -> __m512 {
    // SAFETY: the caller vouches for the instructions.
    if FORM == ROUNDED { unsafe { rounded(x) } } else { x }
}

/// 32 consecutive numbers, as bf16 in order.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) fn in_order(low: __m512, high: __m512) -> __m512 {
    // SAFETY: both types are 512 bits of anything.
    unsafe { std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// The transpose of 16 × 16 words.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn transposed(rows: [__m512; 16]) -> [__m512; 16] {
    let zero = _mm512_setzero_ps();
    let (mut a, mut b) = ([zero; 16], [zero; 16]);
    // Pairs of rows, then fours, within each quarter of a register.
    for i in 0..8 {
        a[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    for i in 0..4 {
        let d = |x: __m512| _mm512_castps_pd(x);
        let (p, q) = (4 * i, 4 * i + 2);
        b[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(d(a[p]), d(a[q])));
        b[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(d(a[p]), d(a[q])));
        b[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(d(a[p + 1]), d(a[q + 1])));
        b[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(d(a[p + 1]), d(a[q + 1])));
    }
    // b[4i + j] holds, in quarter q, column 4q + j of rows 4i to 4i + 3: put the four i side by side.
    let mut out = [zero; 16];
    for j in 0..4 {
        let low01 = _mm512_shuffle_f32x4::<0x44>(b[j], b[4 + j]);
        let high01 = _mm512_shuffle_f32x4::<0xEE>(b[j], b[4 + j]);
        let low23 = _mm512_shuffle_f32x4::<0x44>(b[8 + j], b[12 + j]);
        let high23 = _mm512_shuffle_f32x4::<0xEE>(b[8 + j], b[12 + j]);
        out[j] = _mm512_shuffle_f32x4::<0x88>(low01, low23);
        out[4 + j] = _mm512_shuffle_f32x4::<0xDD>(low01, low23);
        out[8 + j] = _mm512_shuffle_f32x4::<0x88>(high01, high23);
        out[12 + j] = _mm512_shuffle_f32x4::<0xDD>(high01, high23);
    }
    out
}

/// 16 steps of each of `rows` rows.
///
/// # Safety
/// `from` points to them, and the instructions for `FORM` exist.
#[inline(always)]
pub(crate) unsafe fn whole_rows<T: Lanes, const FORM: u8>(
    from: *const T,
    across: usize,
    rows: usize,
) -> [__m512; 16] {
    // SAFETY: the caller vouches for the rows and the instructions.
    unsafe {
        let mut block = [_mm512_setzero_ps(); 16];
        for (i, row) in block.iter_mut().enumerate() {
            if i < rows {
                *row = words::<T, FORM>(from.add(i * across));
            }
        }
        block
    }
}
