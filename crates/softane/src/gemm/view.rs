//! Matrix views of slices.

use crate::buffer::Elements;
use half::f16;

/// A read-only matrix view.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    pub(super) from: Elements<'a>,
    /// The index of its first element.
    pub(super) at: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Row stride and column stride.
    pub(super) down: usize,
    pub(super) across: usize,
}

impl<'a> Matrix<'a> {
    /// Views `data` as a contiguous row-major matrix `[rows, cols]`.
    ///
    /// # Panics
    /// If `data` does not hold exactly `rows·cols` values.
    pub fn new(data: impl Into<Elements<'a>>, rows: usize, cols: usize) -> Self {
        let from = data.into();
        assert_eq!(from.len(), rows * cols, "values of a matrix [{rows}, {cols}]");
        Self { from, at: 0, rows, cols, down: cols, across: 1 }
    }

    /// Views `data` as a row-major matrix `[rows, cols]` with row stride `stride`.
    ///
    /// # Panics
    /// If `stride < cols`, or if `data` is too short for that.
    pub fn strided(data: impl Into<Elements<'a>>, rows: usize, cols: usize, stride: usize) -> Self {
        assert!(stride >= cols, "row stride {stride} is below {cols} columns");
        Self::at(data.into(), 0, (rows, cols), (stride, 1))
    }

    /// Views `rows` × `cols` elements of `from`, the first at `at`, with row stride `down` and column stride `across`.
    ///
    /// # Panics
    /// If `from` is too short for that.
    pub(crate) fn at(
        from: Elements<'a>,
        at: usize,
        (rows, cols): (usize, usize),
        (down, across): (usize, usize),
    ) -> Self {
        let last = at + rows.saturating_sub(1) * down + cols.saturating_sub(1) * across;
        assert!(rows * cols == 0 || last < from.len(), "a matrix reaches to {last} of {} values", from.len());
        Self { from, at, rows, cols, down, across }
    }

    /// The transpose, `[cols, rows]`, as a view of the same memory.
    #[must_use]
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, down: self.across, across: self.down, ..self }
    }

    /// The largest magnitude; infinite or NaN if some element is.
    pub(super) fn largest(&self) -> f32 {
        // Contiguous rows, of the matrix or of its transpose.
        let m = if self.across == 1 { *self } else { self.t() };
        let line = |i: usize| m.at + i * m.down..m.at + i * m.down + m.cols;
        let lines = 0..if m.cols == 0 { 0 } else { m.rows };
        // Magnitudes are ordered as their bits are.
        match (m.from, m.across) {
            (Elements::F16(v), 1) => {
                let largest = |v: &[f16]| v.iter().fold(0, |most: u16, x| most.max(x.to_bits() & 0x7FFF));
                f16::from_bits(lines.map(|i| largest(&v[line(i)])).max().unwrap_or(0)).to_f32()
            }
            (Elements::F32(v), 1) => {
                let largest =
                    |v: &[f32]| v.iter().fold(0, |most: u32, x| most.max(x.to_bits() & 0x7FFF_FFFF));
                f32::from_bits(lines.map(|i| largest(&v[line(i)])).max().unwrap_or(0))
            }
            _ => f32::INFINITY,
        }
    }

    /// Rows `from` to `to`.
    pub(super) fn part(self, from: usize, to: usize) -> Self {
        Self { at: self.at + from * self.down, rows: to.saturating_sub(from), ..self }
    }
}

/// A matrix to write: a slice of rows, the columns of each side by side.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    pub(super) data: &'a mut [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) stride: usize,
    /// Whether it is a transposed view.
    pub(super) transposed: bool,
}

impl<'a> MatrixMut<'a> {
    /// Views `data` as a contiguous row-major matrix `[rows, cols]`.
    ///
    /// # Panics
    /// If `data` does not hold exactly `rows·cols` values.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "values of a matrix [{rows}, {cols}]");
        Self { data, rows, cols, stride: cols, transposed: false }
    }

    /// Views `data` as a row-major matrix `[rows, cols]` with row stride `stride`.
    ///
    /// # Panics
    /// If `stride < cols`, or if `data` is too short for that.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(stride >= cols, "row stride {stride} is below {cols} columns");
        let len = if rows == 0 { 0 } else { (rows - 1) * stride + cols };
        Self { data: &mut data[..len], rows, cols, stride, transposed: false }
    }

    /// The transpose, `[cols, rows]`, as a view of the same memory.
    #[must_use]
    pub fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }
}
