//! Half precision to single and back, to nearest, ties to even.

use crate::pool::for_each;
use crate::simd::strips::strips;
use half::f16;
use rayon::prelude::*;

/// An element type that kernels widen to f32 and round from it.
pub(crate) trait Element: bytemuck::Pod + Send + Sync {
    /// Widens; both slices are equally long.
    fn widen(from: &[Self], to: &mut [f32]);
    /// Rounds; both slices are equally long.
    fn narrow(from: &[f32], to: &mut [Self]);
    /// One element widened.
    fn get(self) -> f32;
}

impl Element for f32 {
    fn widen(from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }
    fn narrow(from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }
    fn get(self) -> f32 {
        self
    }
}

impl Element for f16 {
    fn widen(from: &[f16], to: &mut [f32]) {
        widen(from, to);
    }
    fn narrow(from: &[f32], to: &mut [f16]) {
        narrow(from, to);
    }
    fn get(self) -> f32 {
        f32::from_bits(widened(self.to_bits()))
    }
}

/// Elements per task: enough to amortise the cost of a task, few enough for load balancing.
const TASK: usize = 1 << 15;

/// Widens as [`widen`] does, on the current rayon pool.
pub fn par_widen(from: &[f16], to: &mut [f32]) {
    for_each(from.par_chunks(TASK).zip(to.par_chunks_mut(TASK)), |(from, to)| widen(from, to));
}

/// Rounds as [`narrow`] does, on the current rayon pool.
pub fn par_narrow(from: &[f32], to: &mut [f16]) {
    for_each(from.par_chunks(TASK).zip(to.par_chunks_mut(TASK)), |(from, to)| narrow(from, to));
}

/// Copies bytes, on the current rayon pool; both slices are equally long.
pub fn par_copy(from: &[u8], to: &mut [u8]) {
    let task = 4 * TASK;
    for_each(from.par_chunks(task).zip(to.par_chunks_mut(task)), |(from, to)| to.copy_from_slice(from));
}

/// Rounds rows of `columns` elements to rows of `to` with stride `stride`, on the current rayon pool.
///
/// # Panics
/// If `to` ends before the last row does.
pub fn par_narrow_rows(from: &[f32], columns: usize, to: &mut [f16], stride: usize) {
    rows(from, columns, to, stride).for_each(|(from, to)| narrow(from, to));
}

/// Copies rows of `columns` elements to rows of `to` with stride `stride`, on the current rayon pool.
///
/// # Panics
/// If `to` ends before the last row does.
pub fn par_copy_rows<T: Copy + Send + Sync>(from: &[T], columns: usize, to: &mut [T], stride: usize) {
    rows(from, columns, to, stride).for_each(|(from, to)| to.copy_from_slice(from));
}

/// Contiguous rows, each with its target; a task moves about [`TASK`] elements.
fn rows<'a, T: Sync, U: Send>(
    from: &'a [T],
    columns: usize,
    to: &'a mut [U],
    stride: usize,
) -> impl ParallelIterator<Item = (&'a [T], &'a mut [U])> {
    let columns = columns.max(1);
    let count = from.len() / columns;
    assert!(
        columns <= stride && to.len() + stride >= count * stride + columns,
        "{count} rows with stride {stride}"
    );
    let at_once = (TASK / columns).max(1);
    let from = from.par_chunks_exact(columns).with_min_len(at_once);
    let to = to.par_chunks_mut(stride).with_min_len(at_once);
    from.zip(to).map(move |(from, to)| (from, &mut to[..columns]))
}

/// Rows and columns of a block that is transposed at a time: one column of it is a cache line of the result.
const BLOCK: usize = 32;

/// Rounds `from`, `[rows, columns]`, to half precision and writes its transpose to `to`, on the current rayon pool.
///
/// # Panics
/// If a slice does not have `rows · columns` elements.
pub fn par_narrow_transposed(from: &[f32], rows: usize, columns: usize, to: &mut [f16]) {
    assert!(to.len() == from.len(), "[{rows}, {columns}] and its transpose");
    par_narrow_transposed_rows(from, rows, columns, to, rows);
}

/// Like [`par_narrow_transposed`], with stride `stride` between the rows of the transpose.
///
/// # Panics
/// If `from` does not have `rows · columns` elements, or `to` ends before the last row does.
pub fn par_narrow_transposed_rows(from: &[f32], rows: usize, columns: usize, to: &mut [f16], stride: usize) {
    assert!(from.len() == rows * columns, "[{rows}, {columns}] transposed");
    // A task reads rows contiguously, and writes a cache line at a time.
    for_each(strips(to, (columns, rows, stride), BLOCK).enumerate(), |(i, mut to)| {
        let from = &from[i * BLOCK * columns..][..to.width() * columns];
        let by_vectors =
            if to.width() == BLOCK { crate::simd::narrow_transposed(from, columns, &mut to) } else { 0 };
        for column in by_vectors..columns {
            for (row, to) in to.row(column).iter_mut().enumerate() {
                *to = f16::from_bits(narrowed(from[row * columns + column].to_bits()));
            }
        }
    });
}

/// Copies the transpose of `from`, `[rows, columns]`, to rows of `to` with stride `stride`, in blocks, on the current
/// rayon pool.
///
/// # Panics
/// If `from` does not have `rows · columns` elements, or `to` ends before the last row does.
pub fn par_transpose_rows(from: &[f32], rows: usize, columns: usize, to: &mut [f32], stride: usize) {
    assert!(from.len() == rows * columns && rows <= stride, "[{rows}, {columns}] transposed");
    if from.is_empty() {
        return;
    }
    let to = &mut to[..(columns - 1) * stride + rows];
    to.par_chunks_mut(BLOCK * stride).enumerate().for_each(|(i, to)| {
        let first = i * BLOCK;
        for start in (0..rows).step_by(BLOCK) {
            for (x, to) in to.chunks_mut(stride).enumerate() {
                for row in start..rows.min(start + BLOCK) {
                    to[row] = from[row * columns + first + x];
                }
            }
        }
    });
}

/// Widens `from`; exact.
pub fn widen(from: &[f16], to: &mut [f32]) {
    let from: &[u16] = bytemuck::cast_slice(from);
    #[cfg(target_arch = "x86_64")]
    let (from, to) = crate::simd::x86::half::widen(from, to);
    #[cfg(target_arch = "aarch64")]
    let (from, to) = crate::simd::neon::widen(from, to);
    crate::simd::vectorised(
        #[inline(always)]
        || {
            for (to, &h) in to.iter_mut().zip(from) {
                *to = f32::from_bits(widened(h));
            }
        },
    );
}

/// Rounds `from`.
pub fn narrow(from: &[f32], to: &mut [f16]) {
    let to: &mut [u16] = bytemuck::cast_slice_mut(to);
    #[cfg(target_arch = "x86_64")]
    let (from, to) = crate::simd::x86::half::narrow(from, to);
    #[cfg(target_arch = "aarch64")]
    let (from, to) = crate::simd::neon::narrow(from, to);
    crate::simd::vectorised(
        #[inline(always)]
        || {
            for (h, x) in to.iter_mut().zip(from) {
                *h = narrowed(x.to_bits());
            }
        },
    );
}

/// Rounds each value to the nearest that half precision can represent.
pub fn round(values: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    let values = crate::simd::x86::half::round(values);
    #[cfg(target_arch = "aarch64")]
    let values = crate::simd::neon::round(values);
    crate::simd::vectorised(
        #[inline(always)]
        || {
            for x in values.iter_mut() {
                *x = f32::from_bits(widened(narrowed(x.to_bits())));
            }
        },
    );
}

/// The bits of an f32 equal to the f16 with bits `h`.
#[inline(always)]
fn widened(h: u16) -> u32 {
    let h = u32::from(h);
    let magnitude = (h & 0x7FFF) << 13;
    // The exponent's bias differs by 112; multiplying also normalises subnormals.
    let scaled = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    let special = if magnitude >= 0x7C00 << 13 { 0x7F80_0000 } else { 0 };
    scaled.to_bits() | special | (h & 0x8000) << 16
}

/// The bits of the f16 nearest to the f32 with bits `x`, ties to even.
#[inline(always)]
fn narrowed(x: u32) -> u16 {
    let sign = x & 0x8000_0000;
    let magnitude = x ^ sign;
    // Normal results: rebias, add half a unit less one, and one more if the kept part is odd.
    let odd = magnitude >> 13 & 1;
    let rebias = 15u32.wrapping_sub(127) << 23;
    let normal = magnitude.wrapping_add(rebias.wrapping_add(0xFFF)).wrapping_add(odd) >> 13;
    // Subnormal results: an addition shifts the bits out and rounds to nearest even.
    let magic = (127 - 15 + 23 - 10 + 1) << 23;
    let subnormal = (f32::from_bits(magnitude) + f32::from_bits(magic)).to_bits().wrapping_sub(magic);
    let special = if magnitude > 0x7F80_0000 { 0x7E00 } else { 0x7C00 };
    let finite = if magnitude < 113 << 23 { subnormal } else { normal };
    let out = if magnitude >= (127 + 16) << 23 { special } else { finite };
    (out | sign >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_widens_exactly() {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let mut wide = vec![0.0; all.len()];
        widen(&all, &mut wide);
        for (h, (&x, y)) in all.iter().zip(wide.iter().zip(all.iter().map(|h| h.to_f32()))) {
            let same = |z: f32| z.to_bits() == y.to_bits() || y.is_nan() && z.is_nan();
            assert!(same(x) && same(f32::from_bits(widened(h.to_bits()))), "{h:?}");
        }
    }

    #[test]
    fn transposes_are_narrowed_element_by_element() {
        for (rows, columns) in [(1, 1), (16, 16), (17, 33), (64, 48), (5, 40), (96, 70)] {
            let from: Vec<f32> = (0..rows * columns).map(|i| i as f32 / 3.0).collect();
            let mut memory = vec![f16::ZERO; from.len() + 33];
            let line = memory.as_ptr().align_offset(64);
            // Aligned to a cache line, and not.
            for start in [line, line + 1] {
                let to = &mut memory[start..start + from.len()];
                par_narrow_transposed(&from, rows, columns, to);
                for (at, x) in to.iter().enumerate() {
                    let want = f16::from_f32(from[at % rows * columns + at / rows]);
                    assert_eq!(*x, want, "{rows}×{columns} at {at}");
                }
            }
        }
    }

    #[test]
    fn rows_find_their_places_and_nothing_else_changes() {
        for (rows, columns, gap) in [(1, 1, 0), (3, 5, 2), (64, 48, 16), (40, 33, 7)] {
            let from: Vec<f32> = (1..=rows * columns).map(|i| i as f32 / 4.0).collect();
            let at = |row: usize, column: usize| from[row * columns + column];
            let stride = columns + gap;
            let mut to = vec![0.0; rows * stride];
            par_copy_rows(&from, columns, &mut to, stride);
            let mut half = vec![f16::ZERO; rows * stride];
            par_narrow_rows(&from, columns, &mut half, stride);
            for (i, &x) in to.iter().enumerate() {
                let (row, column) = (i / stride, i % stride);
                let want = if column < columns { at(row, column) } else { 0.0 };
                assert_eq!((x, half[i]), (want, f16::from_f32(want)), "[{rows}, {columns}] at {i}");
            }
            let stride = rows + gap;
            let mut to = vec![0.0; columns * stride];
            par_transpose_rows(&from, rows, columns, &mut to, stride);
            let mut half = vec![f16::ZERO; columns * stride];
            par_narrow_transposed_rows(&from, rows, columns, &mut half, stride);
            for (i, &x) in to.iter().enumerate() {
                let (column, row) = (i / stride, i % stride);
                let want = if row < rows { at(row, column) } else { 0.0 };
                assert_eq!(
                    (x, half[i]),
                    (want, f16::from_f32(want)),
                    "[{rows}, {columns}] transposed, at {i}"
                );
            }
        }
    }

    #[test]
    fn singles_round_as_half_says() {
        // Every exponent with mantissas around ties, and a sample of the rest.
        let edges = (0..512u32)
            .flat_map(|e| [0, 1, 0xFFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x3001].map(|m| e << 23 | m));
        let sample = (0..100_000u32).map(|i| i.wrapping_mul(42_949));
        let from: Vec<f32> = edges.chain(sample).map(f32::from_bits).collect();
        let mut to = vec![f16::ZERO; from.len()];
        narrow(&from, &mut to);
        let mut rounded = from.clone();
        round(&mut rounded);
        for ((&x, &h), &r) in from.iter().zip(&to).zip(&rounded) {
            let want = f16::from_f32(x);
            let same = |h: f16| h.to_bits() == want.to_bits() || want.is_nan() && h.is_nan();
            assert!(same(h) && same(f16::from_bits(narrowed(x.to_bits()))), "{x:e}");
            assert!(r.to_bits() == want.to_f32().to_bits() || r.is_nan() && want.is_nan(), "{x:e}");
        }
    }
}
