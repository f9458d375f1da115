//! Matrix tiles with AVX-512: packing of operands, and the loop that multiplies what is packed.
//!
//! A *panel* is a strip of an operand, as wide as a tile: 12 rows of the left side or 32 columns of the right, laid
//! down step by step along the inner dimension. A step is one f32, or, for [`Math::Bf16`], two bf16 in one word, of
//! which `vdpbf16ps` sums the products in f32.
#![expect(unsafe_code, reason = "intrinsics: each block says what makes it sound")]

use super::tile::{COLS, Drain, Left, Math, PITCH, Panel, ROWS, TILE};
use crate::gemm::Elements;
use half::f16;
use std::arch::x86_64::*;
use std::sync::LazyLock;

/// Whether this machine has what [`Math::F32`] and [`Math::Bf16`] need here.
static HAS: LazyLock<[bool; 2]> = LazyLock::new(|| {
    let base = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq");
    [base, base && is_x86_feature_detected!("avx512bf16")]
});

/// Whether this machine can do `math` here.
pub(super) fn has(math: Math) -> bool {
    HAS[match math {
        Math::F32 => 0,
        Math::Bf16 => 1,
    }]
}

/// Packs a panel; see [`super::tile::pack`].
pub(super) fn pack<const W: usize>(math: Math, panel: &Panel<'_>, to: &mut [f32]) {
    assert!(has(math));
    // SAFETY: `has` says that the instructions exist.
    unsafe {
        match (math, panel.from) {
            (Math::F32, Elements::F32(from)) => pack_with::<f32, false, W>(from, panel, to),
            (Math::F32, Elements::F16(from)) => pack_with::<f16, false, W>(from, panel, to),
            (Math::Bf16, Elements::F32(from)) => pack_with::<f32, true, W>(from, panel, to),
            (Math::Bf16, Elements::F16(from)) => pack_with::<f16, true, W>(from, panel, to),
        }
    }
}

/// Multiplies packed panels; see [`super::tile::multiply`].
pub(super) fn multiply(math: Math, steps: usize, left: Left<'_>, right: &[f32], tile: &mut [f32; TILE]) {
    assert!(has(math) && right.len() >= steps * COLS, "a panel is too short");
    // SAFETY: `has` says that the instructions exist; the lengths are checked before each pointer is taken. Steps of
    // one row stand `ROW` words apart, rows `STEP` words.
    unsafe {
        match left {
            Left::Steps(left) => {
                assert!(left.len() >= steps * ROWS, "a panel is too short");
                match math {
                    Math::F32 => multiply_f32::<1, ROWS>(steps, left.as_ptr(), right.as_ptr(), tile),
                    Math::Bf16 => multiply_bf16::<1, ROWS>(steps, left.as_ptr(), right.as_ptr(), tile),
                }
            }
            Left::Rows(left) => {
                assert!(steps == 0 || left.len() >= (ROWS - 1) * PITCH + steps, "a panel is too short");
                match math {
                    Math::F32 => multiply_f32::<PITCH, 1>(steps, left.as_ptr(), right.as_ptr(), tile),
                    Math::Bf16 => multiply_bf16::<PITCH, 1>(steps, left.as_ptr(), right.as_ptr(), tile),
                }
            }
        }
    }
}

/// Packs rows; see [`super::tile::pack_rows`].
pub(super) fn pack_rows(math: Math, panel: &Panel<'_>, to: &mut [f32]) {
    assert!(has(math));
    // SAFETY: `has` says that the instructions exist.
    unsafe {
        match (math, panel.from) {
            (Math::F32, Elements::F32(from)) => pack_rows_with::<f32, false>(from, panel, to),
            (Math::F32, Elements::F16(from)) => pack_rows_with::<f16, false>(from, panel, to),
            (Math::Bf16, Elements::F32(from)) => pack_rows_with::<f32, true>(from, panel, to),
            (Math::Bf16, Elements::F16(from)) => pack_rows_with::<f16, true>(from, panel, to),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pack_rows_with<T: Lanes, const BF16: bool>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    let Panel { at, across, width, depth, .. } = *panel;
    let each = if BF16 { 32 } else { 16 };
    for (i, to) in to.chunks_exact_mut(PITCH).enumerate().take(ROWS) {
        if i >= width {
            to.fill(0.0);
            continue;
        }
        let from = &from[at + i * across..][..depth];
        let whole = depth / each;
        let to = &mut to[..(whole + 1) * 16];
        for block in 0..whole {
            // SAFETY: a whole block lies within `depth` elements, and its 16 words within `to`; whoever packs bf16
            // has asked for it.
            unsafe {
                let from = from.as_ptr().add(block * each);
                let x = if BF16 { in_order(T::load(from), T::load(from.add(16))) } else { T::load(from) };
                _mm512_storeu_ps(to.as_mut_ptr().add(block * 16), x);
            }
        }
        let (start, left) = (whole * each, depth - whole * each);
        let low = take(from, start.min(depth), 1, left.min(16));
        let x = if BF16 {
            let high = match left > 16 {
                true => take(from, start + 16, 1, left - 16),
                false => _mm512_setzero_ps(),
            };
            // SAFETY: whoever packs bf16 has asked for it.
            unsafe { in_order(low, high) }
        } else {
            low
        };
        // SAFETY: one block more than the whole ones has a place in `to`.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr().add(whole * 16), x) };
    }
}

/// Elements that widen to f32 lanes.
trait Lanes: Copy {
    /// 16 elements from `from` on.
    ///
    /// # Safety
    /// AVX-512F exists, and `from` points to 16 elements.
    unsafe fn load(from: *const Self) -> __m512;
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
    fn one(self) -> f32 {
        self.to_f32()
    }
}

/// `count` elements from `at` on, each `step` behind the one before, and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn take<T: Lanes>(from: &[T], at: usize, step: usize, count: usize) -> __m512 {
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
fn paired(low: __m512, high: __m512) -> __m512 {
    // SAFETY: both types are 256 bits of anything.
    let bits = |x: __m512| unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x)) };
    let (low, high) = (_mm512_cvtepu16_epi32(bits(low)), _mm512_cvtepu16_epi32(bits(high)));
    _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32::<16>(high)))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pack_with<T: Lanes, const BF16: bool, const W: usize>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    let Panel { at, across, along, width, depth, .. } = *panel;
    if along == 1 {
        return pack_turned::<T, BF16, W>(from, panel, to);
    }
    let steps = if BF16 { depth.div_ceil(2) } else { depth };
    if BF16 && across == 1 && width == W && W.is_multiple_of(16) && depth.is_multiple_of(2) && depth > 0 {
        let (from, to) = (&from[at..at + (depth - 1) * along + W], &mut to[..steps * W]);
        for step in 0..steps {
            for lane in (0..W).step_by(16) {
                // SAFETY: rows 2·step and the next, both below depth, have W elements in `from`, and step < steps as
                // many places in `to`; whoever packs bf16 has asked for it.
                unsafe {
                    let row = from.as_ptr().add(2 * step * along + lane);
                    let x = paired(T::load(row), T::load(row.add(along)));
                    _mm512_storeu_ps(to.as_mut_ptr().add(step * W + lane), x);
                }
            }
        }
        return;
    }
    if across == 1 && width == W && W.is_multiple_of(16) && !BF16 && depth > 0 {
        let (from, to) = (&from[at..at + (depth - 1) * along + W], &mut to[..steps * W]);
        for step in 0..steps {
            for lane in (0..W).step_by(16) {
                // SAFETY: row `step` < depth has W elements in `from`, and as many places in `to`.
                unsafe {
                    let x = T::load(from.as_ptr().add(step * along + lane));
                    _mm512_storeu_ps(to.as_mut_ptr().add(step * W + lane), x);
                }
            }
        }
        return;
    }
    let mut store = |step: usize, lane: usize, x: __m512| {
        let to = &mut to[step * W + lane..][..16];
        // SAFETY: the slice has 16 elements.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) };
    };
    for step in 0..steps {
        for lane in (0..W).step_by(16) {
            let start = at + lane * across;
            let count = width.saturating_sub(lane);
            let x = if BF16 {
                let low = take(from, start + 2 * step * along, across, count);
                let high = match 2 * step + 1 < depth {
                    true => take(from, start + (2 * step + 1) * along, across, count),
                    false => _mm512_setzero_ps(),
                };
                // SAFETY: whoever packs bf16 has asked for it.
                unsafe { paired(low, high) }
            } else {
                take(from, start + step * along, across, count)
            };
            store(step, lane, x);
        }
    }
}

/// Packs where the elements of one row (or column) of the panel stand side by side: in blocks of 16 × 16.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn pack_turned<T: Lanes, const BF16: bool, const W: usize>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    let Panel { at, across, width, depth, .. } = *panel;
    let each = if BF16 { 2 } else { 1 };
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
                    unsafe { whole_rows::<T, BF16>(from.as_ptr(), across, rows) }
                }
                false => {
                    let rows = rows.min(width.saturating_sub(lane));
                    parted_rows::<T, BF16>(from, start, across, rows, left)
                }
            };
            let block = turned(block);
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

/// 16 steps of each of `rows` rows.
///
/// # Safety
/// They are there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn whole_rows<T: Lanes, const BF16: bool>(from: *const T, across: usize, rows: usize) -> [__m512; 16] {
    let mut block = [_mm512_setzero_ps(); 16];
    for (i, row) in block.iter_mut().enumerate() {
        if i < rows {
            // SAFETY: the caller vouches for the row; whoever packs bf16 has asked for it.
            *row = unsafe {
                let from = from.add(i * across);
                if BF16 { in_order(T::load(from), T::load(from.add(16))) } else { T::load(from) }
            };
        }
    }
    block
}

/// Up to 16 steps of each of `rows` rows, `left` elements at most; the rest is 0.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn parted_rows<T: Lanes, const BF16: bool>(
    from: &[T],
    start: usize,
    across: usize,
    rows: usize,
    left: usize,
) -> [__m512; 16] {
    let mut block = [_mm512_setzero_ps(); 16];
    for (i, row) in block.iter_mut().enumerate().take(rows) {
        let at = start + i * across;
        *row = if BF16 {
            let low = take(from, at, 1, left.min(16));
            let high = match left > 16 {
                true => take(from, at + 16, 1, (left - 16).min(16)),
                false => _mm512_setzero_ps(),
            };
            // SAFETY: whoever packs bf16 has asked for it.
            unsafe { in_order(low, high) }
        } else {
            take(from, at, 1, left.min(16))
        };
    }
    block
}

/// 32 numbers that follow one another, as bf16 in order.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn in_order(low: __m512, high: __m512) -> __m512 {
    // SAFETY: both types are 512 bits of anything.
    unsafe { std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// Turns and rounds 32 × 32 elements; see [`super::narrow_turned`].
pub(super) fn narrow_turned(from: &[f32], stride: usize, to: &mut [f16], to_stride: usize) {
    let (from, to) = (&from[..31 * stride + 32], &mut to[..31 * to_stride + 32]);
    assert!(has(Math::F32) && stride >= 32 && to_stride >= 32);
    // SAFETY: `has` says that the instructions exist; 32 rows have 32 elements each, in `from` as in `to`.
    unsafe { narrow_turned_with(from.as_ptr(), stride, to.as_mut_ptr(), to_stride) }
}

/// # Safety
/// 32 rows of 32 elements begin `stride` and `to_stride` apart.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn narrow_turned_with(from: *const f32, stride: usize, to: *mut f16, to_stride: usize) {
    for x in [0, 16] {
        // SAFETY: rows 0 to 31 from columns x to x + 15 are there, so are rows x to x + 15 of the result.
        unsafe {
            let high = turned(whole_rows::<f32, false>(from.add(x), stride, 16));
            let low = turned(whole_rows::<f32, false>(from.add(16 * stride + x), stride, 16));
            for (i, (high, low)) in high.into_iter().zip(low).enumerate() {
                let to = to.add((x + i) * to_stride);
                let half = [high, low].map(|x| _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT }>(x));
                _mm256_storeu_si256(to.cast(), half[0]);
                _mm256_storeu_si256(to.add(16).cast(), half[1]);
            }
        }
    }
}

/// The transpose of 16 × 16 words.
#[inline]
#[target_feature(enable = "avx512f")]
fn turned(rows: [__m512; 16]) -> [__m512; 16] {
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

/// # Safety
/// The pointers lead to `steps` steps each.
#[target_feature(enable = "avx512f")]
unsafe fn multiply_f32<const ROW: usize, const STEP: usize>(
    steps: usize,
    mut left: *const f32,
    mut right: *const f32,
    tile: &mut [f32; TILE],
) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for _ in 0..steps {
        // SAFETY: this step is one of `steps`.
        unsafe {
            let columns = [_mm512_loadu_ps(right), _mm512_loadu_ps(right.add(16))];
            for (i, sum) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*left.add(i * ROW));
                sum[0] = _mm512_fmadd_ps(x, columns[0], sum[0]);
                sum[1] = _mm512_fmadd_ps(x, columns[1], sum[1]);
            }
            left = left.add(STEP);
            right = right.add(COLS);
        }
    }
    for (sum, to) in sums.iter().zip(tile.as_chunks_mut::<COLS>().0) {
        // SAFETY: a row of the tile has 32 elements.
        unsafe {
            _mm512_storeu_ps(to.as_mut_ptr(), sum[0]);
            _mm512_storeu_ps(to.as_mut_ptr().add(16), sum[1]);
        }
    }
}

/// # Safety
/// The pointers lead to `steps` steps each.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply_bf16<const ROW: usize, const STEP: usize>(
    steps: usize,
    mut left: *const f32,
    mut right: *const f32,
    tile: &mut [f32; TILE],
) {
    // SAFETY: both types are 512 bits of anything.
    let pairs = |x: __m512| unsafe { std::mem::transmute::<__m512, __m512bh>(x) };
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for _ in 0..steps {
        // SAFETY: this step is one of `steps`.
        unsafe {
            let columns = [pairs(_mm512_loadu_ps(right)), pairs(_mm512_loadu_ps(right.add(16)))];
            for (i, sum) in sums.iter_mut().enumerate() {
                let x = pairs(_mm512_set1_ps(*left.add(i * ROW)));
                sum[0] = _mm512_dpbf16_ps(sum[0], x, columns[0]);
                sum[1] = _mm512_dpbf16_ps(sum[1], x, columns[1]);
            }
            left = left.add(STEP);
            right = right.add(COLS);
        }
    }
    for (sum, to) in sums.iter().zip(tile.as_chunks_mut::<COLS>().0) {
        // SAFETY: a row of the tile has 32 elements.
        unsafe {
            _mm512_storeu_ps(to.as_mut_ptr(), sum[0]);
            _mm512_storeu_ps(to.as_mut_ptr().add(16), sum[1]);
        }
    }
}

/// Writes a tile to where it belongs; see [`super::tile::drain`].
pub(super) fn drain_f32(tile: &[f32; TILE], drain: &Drain<'_>, to: &mut [f32]) {
    assert!(has(Math::F32));
    // SAFETY: `has` says that the instructions exist.
    unsafe { drain_f32_with(tile, drain, to) }
}

/// As [`drain_f32`], rounded to half precision.
pub(super) fn drain_f16(tile: &[f32; TILE], drain: &Drain<'_>, to: &mut [f16]) {
    assert!(has(Math::F32));
    // SAFETY: `has` says that the instructions exist.
    unsafe { drain_f16_with(tile, drain, to) }
}

/// Row `row` of a whole tile, scaled, with its bias.
#[inline]
#[target_feature(enable = "avx512f")]
fn finished(tile: &[f32; TILE], drain: &Drain<'_>, row: usize) -> [__m512; 2] {
    let from = &tile[row * COLS..][..COLS];
    // SAFETY: a row of the tile has 32 elements.
    let row_of = unsafe { [_mm512_loadu_ps(from.as_ptr()), _mm512_loadu_ps(from.as_ptr().add(16))] };
    let (alpha, bias) = (_mm512_set1_ps(drain.alpha), _mm512_set1_ps(drain.bias_of(row)));
    row_of.map(|x| _mm512_fmadd_ps(x, alpha, bias))
}

#[target_feature(enable = "avx512f")]
fn drain_f32_with(tile: &[f32; TILE], drain: &Drain<'_>, to: &mut [f32]) {
    for row in 0..drain.rows {
        let to = &mut to[row * drain.stride..][..COLS];
        for (x, to) in finished(tile, drain, row).into_iter().zip(to.as_chunks_mut::<16>().0) {
            // SAFETY: the chunk has 16 elements.
            unsafe {
                let x = if drain.add { _mm512_add_ps(x, _mm512_loadu_ps(to.as_ptr())) } else { x };
                _mm512_storeu_ps(to.as_mut_ptr(), x);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512vl")]
fn drain_f16_with(tile: &[f32; TILE], drain: &Drain<'_>, to: &mut [f16]) {
    for row in 0..drain.rows {
        let to = &mut to[row * drain.stride..][..COLS];
        for (x, to) in finished(tile, drain, row).into_iter().zip(to.as_chunks_mut::<16>().0) {
            let half = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT }>(x);
            // SAFETY: the chunk has 16 elements, 32 bytes.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), half) };
        }
    }
}
