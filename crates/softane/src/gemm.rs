//! Matrix products in f32: `C ← αAB` or `C ← C + αAB` on strided views of slices.
//!
//! The arithmetic is `faer`'s on one thread (AVX-512, AVX2 or NEON, chosen at run time). This module adds the
//! shapes, and a cut of the result into pieces that run on the current rayon pool. The cut follows from the
//! shape alone and never goes through the inner dimension, so the number of threads does not change a bit.

use faer::linalg::matmul::matmul as product;
use faer::{Accum, MatMut, MatRef, Par};

/// What happens to the values already in an output buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// They are overwritten without being read.
    Replace,
    /// The result is added to them.
    Add,
}

/// A matrix to read: a slice seen as rows and columns.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a>(MatRef<'a, f32>);

impl<'a> Matrix<'a> {
    /// Sees `data` as `[rows, cols]`, each row contiguous and right behind the one before.
    ///
    /// # Panics
    /// If `data` does not hold exactly `rows·cols` values.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self(MatRef::from_row_major_slice(data, rows, cols))
    }

    /// Sees `data` as `[rows, cols]`, each row contiguous and starting `stride` values after the one before.
    ///
    /// # Panics
    /// If `stride < cols`, or if `data` is too short for that.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(stride >= cols, "rows of {cols} values cannot start {stride} apart");
        Self(MatRef::from_row_major_slice_with_stride(data, rows, cols, stride))
    }

    /// The transpose, `[cols, rows]`: the same values seen the other way, nothing moves.
    #[must_use]
    pub fn t(self) -> Self {
        Self(self.0.transpose())
    }
}

/// A matrix to write: a slice seen as rows and columns.
#[derive(Debug)]
pub struct MatrixMut<'a>(MatMut<'a, f32>);

impl<'a> MatrixMut<'a> {
    /// Sees `data` as `[rows, cols]`, each row contiguous and right behind the one before.
    ///
    /// # Panics
    /// If `data` does not hold exactly `rows·cols` values.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self(MatMut::from_row_major_slice_mut(data, rows, cols))
    }

    /// Sees `data` as `[rows, cols]`, each row contiguous and starting `stride` values after the one before.
    ///
    /// # Panics
    /// If `stride < cols`, or if `data` is too short for that.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(stride >= cols, "rows of {cols} values cannot start {stride} apart");
        // faer 0.24's `from_row_major_slice_with_stride_mut` mixes up its strides: see a transpose instead.
        Self(MatMut::from_column_major_slice_with_stride_mut(data, cols, rows, stride).transpose_mut())
    }

    /// The transpose, `[cols, rows]`: the same values seen the other way, nothing moves.
    #[must_use]
    pub fn t(self) -> Self {
        Self(self.0.transpose_mut())
    }
}

/// Computes `c ← α·a·b` (or adds it to `c`) on the current rayon pool.
///
/// Shapes: `c` `[M, N]`, `a` `[M, K]`, `b` `[K, N]`; every one row-major, strided or transposed.
/// Numerics: f32, summed over K with fused multiply-adds in blocks of a fixed length, so the last bits differ
/// between instruction sets but not between runs, machines of one kind, or numbers of threads.
///
/// # Panics
/// If the shapes do not fit together.
pub fn matmul(c: MatrixMut<'_>, store: Store, alpha: f32, a: Matrix<'_>, b: Matrix<'_>) {
    check(&c, a, b);
    pieces(c.0, accum(store), alpha, a.0, b.0);
}

/// Computes the same as [`matmul`] on the calling thread, for callers that are one of many tasks already.
///
/// The last bits may differ from those of [`matmul`] where that cuts the result into pieces.
///
/// # Panics
/// If the shapes do not fit together.
pub fn matmul_serial(c: MatrixMut<'_>, store: Store, alpha: f32, a: Matrix<'_>, b: Matrix<'_>) {
    check(&c, a, b);
    product(c.0, accum(store), a.0, b.0, alpha, Par::Seq);
}

fn accum(store: Store) -> Accum {
    match store {
        Store::Replace => Accum::Replace,
        Store::Add => Accum::Add,
    }
}

fn check(c: &MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>) {
    let (c, a, b) = (&c.0, a.0, b.0);
    assert!(
        c.nrows() == a.nrows() && a.ncols() == b.nrows() && b.ncols() == c.ncols(),
        "matmul of [{}, {}] and [{}, {}] into [{}, {}]",
        a.nrows(),
        a.ncols(),
        b.nrows(),
        b.ncols(),
        c.nrows(),
        c.ncols(),
    );
}

/// Multiplications in one piece: at least enough to outweigh a task's cost, at most enough to pack the operands
/// rarely.
const PIECE: std::ops::RangeInclusive<usize> = 1 << 22..=20 << 20;

/// Pieces wanted of a product that is neither small nor large.
const PIECES: usize = 8;

/// Multiples of these, along the contiguous side of the result and along the other, suit the microkernels.
const GRAIN: (usize, usize) = (96, 16);

fn pieces(c: MatMut<'_, f32>, accum: Accum, alpha: f32, a: MatRef<'_, f32>, b: MatRef<'_, f32>) {
    let work = c.nrows().saturating_mul(c.ncols()).saturating_mul(a.ncols());
    halve(c, accum, alpha, a, b, (work / PIECES).clamp(*PIECE.start(), *PIECE.end()));
}

/// Cuts the longer side of `c` in two until no piece is more than `most` multiplications.
fn halve(c: MatMut<'_, f32>, accum: Accum, alpha: f32, a: MatRef<'_, f32>, b: MatRef<'_, f32>, most: usize) {
    let (m, n) = (c.nrows(), c.ncols());
    let (row_grain, col_grain) = if c.row_stride() == 1 { GRAIN } else { (GRAIN.1, GRAIN.0) };
    let (half_m, half_n) = ((m / 2).next_multiple_of(row_grain), (n / 2).next_multiple_of(col_grain));
    let by_rows = half_m < m && (m >= n || half_n >= n);
    if m.saturating_mul(n).saturating_mul(a.ncols()) <= most || !(by_rows || half_n < n) {
        product(c, accum, a, b, alpha, Par::Seq);
    } else if by_rows {
        let (c0, c1) = c.split_at_row_mut(half_m);
        let (a0, a1) = a.split_at_row(half_m);
        rayon::join(|| halve(c0, accum, alpha, a0, b, most), || halve(c1, accum, alpha, a1, b, most));
    } else {
        let (c0, c1) = c.split_at_col_mut(half_n);
        let (b0, b1) = b.split_at_col(half_n);
        rayon::join(|| halve(c0, accum, alpha, a, b0, most), || halve(c1, accum, alpha, a, b1, most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value in −1..1 for each index, the same everywhere: differences of a hash.
    fn noise(len: usize, seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    /// f64 product of `a [M, K]` (or its transpose stored) and `b`, elementwise by closures.
    fn reference(
        (m, n, k): (usize, usize, usize),
        a: impl Fn(usize, usize) -> f32,
        b: impl Fn(usize, usize) -> f32,
    ) -> Vec<f64> {
        let dot = |i, j| (0..k).map(|l| f64::from(a(i, l)) * f64::from(b(l, j))).sum();
        (0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| dot(i, j)).collect()
    }

    /// Values of −1..1: K products each within 2⁻²⁴ relative, summed with errors that grow at worst like K.
    fn assert_close(got: &[f32], want: &[f64], k: usize, case: &str) {
        let tolerance = 2.0 * k as f64 * f64::from(f32::EPSILON);
        for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
            assert!((f64::from(g) - w).abs() <= tolerance, "{case}: element {i} is {g}, not {w}");
        }
    }

    const SHAPES: [(usize, usize, usize); 12] = [
        (1, 1, 1),
        (1, 7, 5),
        (9, 1, 33),
        (5, 3, 1),
        (16, 16, 16),
        (17, 31, 65),
        (64, 48, 513),
        (96, 4, 100),
        (97, 101, 1030),
        (200, 300, 40),
        (3, 700, 129),
        (700, 2, 129),
    ];

    #[test]
    fn every_layout_agrees_with_f64() {
        for shape @ (m, n, k) in SHAPES {
            let (a, b, old) = (noise(m * k, 1), noise(k * n, 2), noise(m * n, 3));
            let want_nn = reference(shape, |i, l| a[i * k + l], |l, j| b[l * n + j]);
            let want_nt = reference(shape, |i, l| a[i * k + l], |l, j| b[j * k + l]);
            let want_tn = reference(shape, |i, l| a[l * m + i], |l, j| b[l * n + j]);
            let (nn, nt, tn) = (
                (Matrix::new(&a, m, k), Matrix::new(&b, k, n), want_nn),
                (Matrix::new(&a, m, k), Matrix::new(&b, n, k).t(), want_nt),
                (Matrix::new(&a, k, m).t(), Matrix::new(&b, k, n), want_tn),
            );
            for (layout, (a, b, want)) in [("nn", nn), ("nt", nt), ("tn", tn)] {
                let case = format!("{layout} {shape:?}");
                let mut c = vec![f32::NAN; m * n];
                matmul(MatrixMut::new(&mut c, m, n), Store::Replace, 1.0, a, b);
                assert_close(&c, &want, k, &case);

                let mut c = old.clone();
                matmul(MatrixMut::new(&mut c, m, n), Store::Add, -0.5, a, b);
                let added: Vec<f64> = want.iter().zip(&old).map(|(w, &o)| f64::from(o) - 0.5 * w).collect();
                assert_close(&c, &added, k + 2, &format!("{case} added"));

                let mut c = vec![f32::NAN; m * n];
                matmul_serial(MatrixMut::new(&mut c, n, m).t(), Store::Replace, 1.0, a, b);
                let turned: Vec<f32> = (0..m * n).map(|at| c[at % n * m + at / n]).collect();
                assert_close(&turned, &want, k, &format!("{case} into a transpose"));
            }
        }
    }

    #[test]
    fn strided_views_leave_the_gaps_alone() {
        let (m, n, k, stride) = (20, 24, 30, 37);
        let (a, b) = (noise((m - 1) * stride + k, 1), noise((k - 1) * stride + n, 2));
        let mut c = vec![7.0; (m - 1) * stride + n];
        matmul(
            MatrixMut::strided(&mut c, m, n, stride),
            Store::Replace,
            1.0,
            Matrix::strided(&a, m, k, stride),
            Matrix::strided(&b, k, n, stride),
        );
        let want = reference((m, n, k), |i, l| a[i * stride + l], |l, j| b[l * stride + j]);
        for (i, row) in c.chunks(stride).enumerate() {
            assert_close(&row[..n], &want[i * n..][..n], k, "strided");
            assert!(row[n..].iter().all(|&x| x == 7.0), "row {i} was written past its end");
        }
    }

    #[test]
    fn an_empty_inner_dimension_gives_zeros() {
        let mut c = vec![f32::NAN; 6];
        matmul(
            MatrixMut::new(&mut c, 2, 3),
            Store::Replace,
            1.0,
            Matrix::new(&[], 2, 0),
            Matrix::new(&[], 0, 3),
        );
        assert_eq!(c, [0.0; 6]);
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        for (m, n, k) in [(500, 420, 260), (2000, 128, 96), (96, 1100, 300)] {
            assert!(m * n * k > *PIECE.start(), "this shape is cut into pieces");
            let (a, b) = (noise(m * k, 4), noise(k * n, 5));
            let (a, b) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
            let mut whole = vec![f32::NAN; m * n];
            matmul_serial(MatrixMut::new(&mut whole, m, n), Store::Replace, 1.0, a, b);
            let whole: Vec<f64> = whole.into_iter().map(f64::from).collect();
            for by_columns in [false, true] {
                let run = |threads: usize| {
                    let mut c = vec![f32::NAN; m * n];
                    let view = if by_columns {
                        MatrixMut::new(&mut c, n, m).t()
                    } else {
                        MatrixMut::new(&mut c, m, n)
                    };
                    pool(threads).install(|| matmul(view, Store::Replace, 1.0, a, b));
                    c
                };
                let bits = |c: &[f32]| c.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                let one = run(1);
                let same = bits(&one) == bits(&run(2)) && bits(&one) == bits(&run(3));
                assert!(same, "{m}×{n}×{k} depends on the threads");
                let at = |i: usize| if by_columns { i % n * m + i / n } else { i };
                let rows: Vec<f32> = (0..m * n).map(|i| one[at(i)]).collect();
                assert_close(&rows, &whole, k, "cut into pieces");
            }
        }
    }

    #[test]
    #[should_panic(expected = "matmul of [2, 3] and [2, 3] into [2, 3]")]
    fn shapes_that_do_not_fit_are_named() {
        let a = [0.0; 6];
        let mut c = [0.0; 6];
        matmul(
            MatrixMut::new(&mut c, 2, 3),
            Store::Replace,
            1.0,
            Matrix::new(&a, 2, 3),
            Matrix::new(&a, 2, 3),
        );
    }
}
