//! Matrix products: `C ← αAB` or `C ← C + αAB` on strided views of slices, of f32 and f16 alike.
//!
//! Where the machine has AVX-512 or NEON, `blocked` packs operands straight from their element type and multiplies
//! tiles; on macOS the arithmetic is Accelerate's, elsewhere `faer`'s (`portable`). Either way work is cut into pieces
//! that run on the current rayon pool, by shape alone and never through the inner dimension, so the number of threads
//! does not change a bit.

mod blocked;
mod portable;
mod scratch;
mod target;
mod tasks;

pub use crate::buffer::Elements;
use crate::pool::for_each;
use crate::simd::blas;
pub use crate::simd::tile::MatmulPrecision;
pub(crate) use crate::simd::tile::ROWS;
use crate::simd::tile::{self, PackFormat};
use half::f16;
use rayon::prelude::*;
use scratch::Shared;
pub(crate) use target::Target;
use tasks::{task_rows, with_own_right};

/// What happens to the values already in an output buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// They are overwritten without being read.
    Replace,
    /// The result is added to them.
    Add,
}

/// A matrix to read: elements seen as rows and columns.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    from: Elements<'a>,
    at: usize,
    rows: usize,
    cols: usize,
    down: usize,
    across: usize,
}

impl<'a> Matrix<'a> {
    /// Sees `data` as `[rows, cols]`, each row contiguous and right behind the one before.
    ///
    /// # Panics
    /// If `data` does not hold exactly `rows·cols` values.
    pub fn new(data: impl Into<Elements<'a>>, rows: usize, cols: usize) -> Self {
        let from = data.into();
        assert_eq!(from.len(), rows * cols, "values of a matrix [{rows}, {cols}]");
        Self { from, at: 0, rows, cols, down: cols, across: 1 }
    }

    /// Sees `data` as `[rows, cols]`, each row contiguous and starting `stride` values after the one before.
    ///
    /// # Panics
    /// If `stride < cols`, or if `data` is too short for that.
    pub fn strided(data: impl Into<Elements<'a>>, rows: usize, cols: usize, stride: usize) -> Self {
        assert!(stride >= cols, "rows of {cols} values cannot start {stride} apart");
        Self::at(data.into(), 0, (rows, cols), (stride, 1))
    }

    /// Sees `rows` × `cols` elements of `from`: the first at `at`, the next of a column `down` behind it, the next of
    /// a row `across` behind it.
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

    /// The transpose, `[cols, rows]`: the same values seen the other way, nothing moves.
    #[must_use]
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, down: self.across, across: self.down, ..self }
    }

    /// The largest magnitude; infinite or NaN if some element is.
    fn largest(&self) -> f32 {
        // Rows that stand side by side, of the matrix or of its transpose.
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
    fn part(self, from: usize, to: usize) -> Self {
        Self { at: self.at + from * self.down, rows: to.saturating_sub(from), ..self }
    }
}

/// A matrix to write: a slice of rows, the columns of each side by side.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    stride: usize,
    /// Whether it is seen as its transpose.
    transposed: bool,
}

impl<'a> MatrixMut<'a> {
    /// Sees `data` as `[rows, cols]`, each row contiguous and right behind the one before.
    ///
    /// # Panics
    /// If `data` does not hold exactly `rows·cols` values.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "values of a matrix [{rows}, {cols}]");
        Self { data, rows, cols, stride: cols, transposed: false }
    }

    /// Sees `data` as `[rows, cols]`, each row contiguous and starting `stride` values after the one before.
    ///
    /// # Panics
    /// If `stride < cols`, or if `data` is too short for that.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(stride >= cols, "rows of {cols} values cannot start {stride} apart");
        let len = if rows == 0 { 0 } else { (rows - 1) * stride + cols };
        Self { data: &mut data[..len], rows, cols, stride, transposed: false }
    }

    /// The transpose, `[cols, rows]`: the same values seen the other way, nothing moves.
    #[must_use]
    pub fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }
}

/// What is computed: `C ← αAB + bias`, or `C ← C + αAB`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    pub math: MatmulPrecision,
    pub store: Store,
    pub alpha: f32,
    /// `[M, K]`
    pub left: Matrix<'a>,
    /// `[K, N]`
    pub right: Matrix<'a>,
    /// Added to each row of the result; empty for none.
    pub bias: &'a [f32],
}

impl Product<'_> {
    /// M, N, K.
    fn shape(&self) -> (usize, usize, usize) {
        (self.left.rows, self.right.cols, self.left.cols)
    }

    /// How its factors are packed.
    fn form(&self) -> PackFormat {
        self.math.form()
    }

    /// What no element of the product is larger than, factors rounded or not; infinite or NaN if some factor is.
    pub fn largest(&self) -> f32 {
        // Each factor may be rounded up by 2⁻⁸, and sums by less than that.
        1.01 * self.alpha.abs() * self.left.cols as f32 * self.left.largest() * self.right.largest()
    }

    /// The rows from `first` on, at most `rows` of them.
    pub fn rows(&self, first: usize, rows: usize) -> Self {
        let left = self.left.part(first, self.left.rows.min(first + rows));
        Self { left, bias: self.bias.get(first..).unwrap_or(&[]), ..*self }
    }

    /// The first `cols` columns.
    fn columns(&self, cols: usize) -> Self {
        Self { right: self.right.t().part(0, cols).t(), ..*self }
    }
}

/// Computes `c ← α·a·b` (or adds it to `c`) on the current rayon pool.
///
/// Shapes: `c` `[M, N]`, `a` `[M, K]`, `b` `[K, N]`; every one row-major, strided or transposed.
/// Numerics: factors as `math` says, sums over K in f32 in blocks of a fixed length, so the last bits differ
/// between instruction sets but not between runs, machines of one kind, or numbers of threads.
///
/// # Panics
/// If the shapes do not fit together.
pub fn matmul(
    math: MatmulPrecision,
    c: MatrixMut<'_>,
    store: Store,
    alpha: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
) {
    in_parts(math, c, store, alpha, a, b, |c, stride, p, _| parallel(c, stride, p));
}

/// Computes the same as [`matmul`]. Calls `done` with rows of `c` that are finished, and the number of the first: on the
/// thread that has computed them, while they are in its cache. Every row is in one call.
///
/// # Panics
/// If the shapes do not fit together, or `c` is seen as its transpose.
pub fn matmul_rows(
    math: MatmulPrecision,
    c: MatrixMut<'_>,
    store: Store,
    alpha: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    done: impl Fn(usize, &[f32]) + Sync,
) {
    assert!(!c.transposed, "rows of a transpose");
    in_parts(math, c, store, alpha, a, b, |c, stride, p, last| {
        parallel_rows(c, stride, p, &|first, rows: &[f32]| {
            if last {
                done(first, rows);
            }
        });
    });
}

/// Computes the same as [`matmul`] on the calling thread, for callers that are one of many tasks already.
///
/// # Panics
/// If the shapes do not fit together.
pub fn matmul_serial(
    math: MatmulPrecision,
    c: MatrixMut<'_>,
    store: Store,
    alpha: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
) {
    in_parts(math, c, store, alpha, a, b, |c, stride, p, _| serial(c, stride, p));
}

/// The right side of several products, packed once for all of them.
#[derive(Debug)]
pub struct Packed<'a> {
    math: MatmulPrecision,
    right: Matrix<'a>,
    /// Panels, where products are computed from them.
    panels: Option<Shared>,
}

impl<'a> Packed<'a> {
    /// Packs `right`, `[K, N]`, on the current rayon pool.
    pub fn new(math: MatmulPrecision, right: Matrix<'a>) -> Packed<'a> {
        let left = Matrix::new(&[] as &[f32], 0, right.rows);
        let p = Product { math, store: Store::Replace, alpha: 1.0, left, right, bias: &[] };
        let panels = has_tiles(math, right.cols).then(|| blocked::pack(&p));
        Packed { math, right, panels }
    }
}

/// Computes the same as [`matmul_serial`] where `b` is the right side of several products; `c` is not transposed.
///
/// # Panics
/// If the shapes do not fit together, or `c` is seen as its transpose.
pub fn matmul_packed(c: MatrixMut<'_>, store: Store, alpha: f32, a: Matrix<'_>, b: &Packed<'_>) {
    assert!(!c.transposed, "a transpose as the target of a packed product");
    let p = Product { math: b.math, store, alpha, left: a, right: b.right, bias: &[] };
    check((c.rows, c.cols), &p);
    match &b.panels {
        Some(panels) if c.rows * c.cols > 0 => {
            blocked::serial_packed(c.data, c.stride, &p, panels, task_rows(p.shape()));
        }
        _ => serial(c.data, c.stride, &p),
    }
}

/// Calls `run` with what [`matmul`] means for rows in memory, part after part of the inner dimension, and whether it is the
/// last.
fn in_parts(
    math: MatmulPrecision,
    c: MatrixMut<'_>,
    store: Store,
    alpha: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
    run: impl Fn(&mut [f32], usize, &Product<'_>, bool),
) {
    let (rows, cols) = if c.transposed { (c.cols, c.rows) } else { (c.rows, c.cols) };
    let p = Product { math, store, alpha, left: a, right: b, bias: &[] };
    check((rows, cols), &p);
    let p = if c.transposed { Product { left: b.t(), right: a.t(), ..p } } else { p };
    // A long inner dimension goes in parts, so that what is read of both sides stays in the cache between tasks.
    let parts = p.left.cols.div_ceil(LONGEST).max(1);
    let each = p.left.cols.div_ceil(parts).next_multiple_of(2);
    for part in 0..parts {
        let (from, to) = (part * each, p.left.cols.min(part * each + each));
        let store = if part == 0 { store } else { Store::Add };
        let (left, right) = (p.left.t().part(from, to).t(), p.right.part(from, to));
        run(c.data, c.stride, &Product { store, left, right, ..p }, part + 1 == parts);
    }
}

/// The longest inner dimension that is taken at once.
const LONGEST: usize = 2048;

/// Whether this processor has instructions for `math`.
pub fn supports(math: MatmulPrecision) -> bool {
    math == MatmulPrecision::F32 || tile::has(math)
}

/// Whether products in `math` take less time than in f32 here.
pub fn saves_time(math: MatmulPrecision) -> bool {
    match math {
        MatmulPrecision::F32 => false,
        MatmulPrecision::Bf16 => tile::has_quick_pairs(),
        MatmulPrecision::Int16 => tile::has(math),
    }
}

/// Computes `p` into rows that start `stride` elements apart, on the current rayon pool.
pub(crate) fn parallel<T: Target>(c: &mut [T], stride: usize, p: &Product<'_>) {
    parallel_rows(c, stride, p, &|_, _| ());
}

/// The same; `done` hears of rows that are finished, and which is the first.
fn parallel_rows<T: Target>(
    c: &mut [T],
    stride: usize,
    p: &Product<'_>,
    done: &(impl Fn(usize, &[T]) + Sync),
) {
    let rows = task_rows(p.shape());
    if rows >= p.left.rows {
        serial(c, stride, p);
        return done(0, c);
    }
    if with_own_right(p.shape(), rows) {
        return for_each(c.par_chunks_mut(rows * stride).enumerate(), |(i, c)| {
            serial(c, stride, &p.rows(i * rows, rows));
            done(i * rows, c);
        });
    }
    match is_tiled(p) {
        true => blocked::parallel(c, stride, p, rows, done),
        false => portable::parallel(c, stride, p, rows, done),
    }
}

/// Computes `p` into rows that start `stride` elements apart, on the calling thread.
pub(crate) fn serial<T: Target>(c: &mut [T], stride: usize, p: &Product<'_>) {
    let (m, n, _) = p.shape();
    if m == 0 || n == 0 {
        return;
    }
    let rows = task_rows(p.shape());
    match is_tiled(p) {
        true => blocked::serial(c, stride, p, rows),
        false => portable::serial(c, stride, p, rows),
    }
}

/// Columns that are computed together.
pub(crate) const PANEL: usize = tile::COLS;

/// Computes `p` on the calling thread, `rows` rows at a time, each into `block`, where they begin N elements apart; of
/// block `i` only the first `width(i)` columns. `each` hears of every block that is ready, and its number.
pub(crate) fn by_blocks<T: Target>(
    p: &Product<'_>,
    rows: usize,
    width: &dyn Fn(usize) -> usize,
    block: &mut [T],
    each: &mut dyn FnMut(usize, &mut [T]),
) {
    match is_tiled(p) {
        true => blocked::by_blocks(p, rows, width, block, each),
        false => portable::by_blocks(p, rows, width, block, each),
    }
}

/// Whether tiles are worth it: with a vector, packing the matrix beside it is not.
fn is_tiled(p: &Product<'_>) -> bool {
    has_tiles(p.math, p.right.cols) && p.left.rows >= 4
}

/// Whether there are tiles for a right side of so many columns; a library of the system's knows its processor better.
fn has_tiles(math: MatmulPrecision, cols: usize) -> bool {
    !(math == MatmulPrecision::F32 && blas::is_here()) && tile::has(math) && cols >= 4
}

fn check((rows, cols): (usize, usize), p: &Product<'_>) {
    let (a, b) = (p.left, p.right);
    assert!(
        rows == a.rows && a.cols == b.rows && b.cols == cols,
        "matmul of [{}, {}] and [{}, {}] into [{rows}, {cols}]",
        a.rows,
        a.cols,
        b.rows,
        b.cols,
    );
}

#[cfg(test)]
mod tests;
