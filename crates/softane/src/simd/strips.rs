//! Strips of columns of a matrix, which threads write in parallel.
#![expect(
    unsafe_code,
    reason = "slices cannot be split by columns; each block states why strips are disjoint"
)]

use half::f16;
use rayon::prelude::*;
use std::marker::PhantomData;

/// Some columns of all rows of a matrix.
#[derive(Debug)]
pub(crate) struct Strip<'a> {
    to: *mut f16,
    rows: usize,
    width: usize,
    stride: usize,
    matrix: PhantomData<&'a mut [f16]>,
}

// SAFETY: no other strip has its elements, as with a mutable slice.
unsafe impl Send for Strip<'_> {}

impl Strip<'_> {
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The strip's part of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub(crate) fn row(&mut self, row: usize) -> &mut [f16] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: `strips` has checked that all rows are within the matrix, and gives these columns to no other strip;
        // the borrow of the strip keeps a second slice away.
        unsafe { std::slice::from_raw_parts_mut(self.to.add(row * self.stride), self.width) }
    }

    /// Whether every row begins at a multiple of `bytes`, as non-temporal stores need it.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn is_aligned(&self, bytes: usize) -> bool {
        self.to.addr().is_multiple_of(bytes) && (self.stride * size_of::<f16>()).is_multiple_of(bytes)
    }
}

/// Splits a matrix of `rows` rows and `columns` columns with row stride `stride` into strips of `width` columns; the last
/// may be narrower.
///
/// # Panics
/// If `to` ends before the last row does, rows overlap, or strips have no width.
pub(crate) fn strips<'a>(
    to: &'a mut [f16],
    (rows, columns, stride): (usize, usize, usize),
    width: usize,
) -> impl IndexedParallelIterator<Item = Strip<'a>> {
    let len = rows.saturating_sub(1) * stride + columns;
    assert!(columns <= stride && to.len() >= len && width > 0, "{rows} rows of {columns}, {stride} apart");
    let whole = Strip { to: to.as_mut_ptr(), rows, width: columns, stride, matrix: PhantomData };
    let whole = Whole(whole);
    (0..columns.div_ceil(width)).into_par_iter().map(move |i| whole.part(i * width, width))
}

/// All columns; each strip is yielded once.
struct Whole<'a>(Strip<'a>);

// SAFETY: only the address of the matrix is shared; `strips` alone takes parts, each once.
unsafe impl Sync for Whole<'_> {}

impl<'a> Whole<'a> {
    fn part(&self, first: usize, width: usize) -> Strip<'a> {
        let Strip { to, rows, stride, width: columns, .. } = self.0;
        // SAFETY: `first` is a column of the first row, as `strips` counts them.
        let to = unsafe { to.add(first) };
        Strip { to, rows, width: width.min(columns - first), stride, matrix: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_in_one_strip_and_gaps_are_in_none() {
        for (rows, columns, stride, width) in [(1, 1, 1, 1), (3, 10, 12, 4), (5, 8, 8, 8), (4, 7, 9, 2)] {
            let mut to = vec![f16::ZERO; rows * stride];
            strips(&mut to, (rows, columns, stride), width).enumerate().for_each(|(i, mut strip)| {
                for row in 0..strip.rows() {
                    strip.row(row).iter_mut().for_each(|x| *x += f16::from_f32(1.0 + i as f32));
                }
            });
            for (at, x) in to.iter().enumerate() {
                let column = at % stride;
                let want = if column < columns { 1 + column / width } else { 0 };
                assert_eq!(x.to_f32(), want as f32, "{rows} × {columns}, {stride} apart, at {at}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "5 rows of 3, 4 apart")]
    fn a_short_matrix_is_refused() {
        let _ = strips(&mut [f16::ZERO; 18], (5, 3, 4), 1);
    }
}
