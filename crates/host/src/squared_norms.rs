//! The norm of a gradient: each writer of a row records its squared norm while the row is cached.

use super::{LANES, Store, simd};
use std::sync::atomic::{AtomicU64, Ordering};

/// The destination of a matrix gradient.
#[derive(Debug)]
pub struct Gradient<'a> {
    /// The matrix, row-major.
    pub values: &'a mut [f32],
    /// The squared norms of the rows, recorded by the writer.
    pub squares: &'a RowSquaredNorms,
    /// Whether `values` are replaced or added to.
    pub store: Store,
}

/// The sum of squares of each row of a gradient.
///
/// Numerics: squares and sums in f64. The sum is finite if and only if every element is: squares of finite f32 numbers
/// cannot overflow f64 for any number of elements that fits into memory.
#[derive(Debug)]
pub struct RowSquaredNorms {
    /// Bits of f64, atomic because several threads write rows.
    rows: Vec<AtomicU64>,
    columns: usize,
}

impl RowSquaredNorms {
    /// Zeros, for a matrix `[rows, columns]`.
    pub fn new(rows: usize, columns: usize) -> RowSquaredNorms {
        RowSquaredNorms { rows: (0..rows).map(|_| AtomicU64::default()).collect(), columns }
    }

    /// Records the squared norms of `values`, whole rows of the gradient from row `first` on.
    ///
    /// # Panics
    /// If the matrix has fewer rows.
    pub fn take(&self, first: usize, values: &[f32]) {
        let rows = &self.rows[first..first + values.len() / self.columns.max(1)];
        for (square, row) in rows.iter().zip(values.chunks_exact(self.columns.max(1))) {
            square.store(sum_of_squares(row).to_bits(), Ordering::Relaxed);
        }
    }

    /// Sets all to 0.
    pub fn clear(&self) {
        self.rows.iter().for_each(|row| row.store(0, Ordering::Relaxed));
    }

    /// The sum over all rows, in their order: the same at any number of threads.
    pub fn sum(&self) -> f64 {
        self.rows.iter().map(|row| f64::from_bits(row.load(Ordering::Relaxed))).sum()
    }
}

fn sum_of_squares(row: &[f32]) -> f64 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    simd(
        #[inline(always)]
        || {
            let mut lanes = [0.0; LANES];
            for chunk in chunks {
                for (lane, &g) in lanes.iter_mut().zip(chunk) {
                    *lane += f64::from(g) * f64::from(g);
                }
            }
            lanes.iter().sum::<f64>() + rest.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>()
        },
    )
}

#[cfg(test)]
impl RowSquaredNorms {
    /// Whether they match `grad`.
    pub(super) fn are_of(&self, grad: &[f32]) -> bool {
        let want = RowSquaredNorms::new(self.rows.len(), self.columns);
        want.take(0, grad);
        let bits =
            |s: &RowSquaredNorms| s.rows.iter().map(|row| row.load(Ordering::Relaxed)).collect::<Vec<_>>();
        bits(self) == bits(&want)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::noise;
    use super::*;

    #[test]
    fn the_sum_is_the_definition() {
        for (rows, columns) in [(0, 7), (1, 1), (1, 15), (5, 17), (40, 333)] {
            let grad = noise(rows * columns, 5);
            let squares = RowSquaredNorms::new(rows, columns);
            assert_eq!(squares.sum(), 0.0);
            // In chunks; one of them is recorded twice.
            let half = rows / 2 * columns;
            squares.take(rows / 2, &grad[half..]);
            squares.take(0, &vec![2.0; half]);
            squares.take(0, &grad[..half]);
            let want = grad.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>();
            assert!((squares.sum() - want).abs() <= 1e-13 * want, "{rows}×{columns}");
            squares.clear();
            assert_eq!(squares.sum(), 0.0);
        }
    }

    #[test]
    fn the_sum_is_finite_exactly_if_all_elements_are() {
        let mut grad = vec![f32::MAX; 70_000];
        let squares = RowSquaredNorms::new(70, 1000);
        squares.take(0, &grad);
        assert!(squares.sum().is_finite());
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 40_000, 69_999] {
                let good = std::mem::replace(&mut grad[at], bad);
                squares.take(0, &grad);
                assert!(!squares.sum().is_finite(), "{bad} at {at}");
                grad[at] = good;
            }
        }
    }
}
