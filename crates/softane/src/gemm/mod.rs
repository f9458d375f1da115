//! Matrix products: `C ← αAB` or `C ← C + αAB` on strided views of slices, of f32 and f16 alike.
//!
//! `blocking` packs operands straight from their element type and multiplies tiles by a micro-kernel of `kernel`; `vector`
//! computes products with few rows or columns, `library` calls the system's library, which is Accelerate on macOS.
//! Work is split into tasks for the current rayon pool, by shape only and never along the inner dimension, so
//! the number of threads does not change a bit.

mod blocking;
mod kernel;
mod library;
mod product;
mod quant;
mod scratch;
mod target;
mod tasks;
#[cfg(test)]
mod tests;
mod vector;
mod view;

pub use crate::buffer::Elements;
pub use crate::numerics::MatmulPrecision;
use crate::pool::for_each;
use blocking::Blocked;
pub(crate) use kernel::record::Lhs;
use kernel::record::MicroKernel;
use kernel::registry;
use product::Method;
pub(crate) use product::Product;
pub use product::{GemmKernel, Store, auto, saves_time, supports};
pub use quant::matmul_quant;
pub(crate) use quant::parallel_quant;
use rayon::prelude::*;
use scratch::Shared;
pub(crate) use target::Target;
use tasks::{task_rows, vector_rows, with_own_right};
pub use view::{Matrix, MatrixMut};

/// Computes `c ← α·a·b` (or adds it to `c`) on the current rayon pool.
///
/// Shapes: `c` `[M, N]`, `a` `[M, K]`, `b` `[K, N]`; every one row-major, strided or transposed.
/// Numerics: `kernel` sets the precision of factors; sums over K are f32, in blocks of a fixed length, so the last bits differ
/// between instruction sets but not between runs, machines of one kind, or numbers of threads. With fewer than four rows
/// or columns, factors are f32 whatever the kernel.
///
/// # Panics
/// If the shapes do not fit together.
pub fn matmul(
    kernel: impl Into<GemmKernel>,
    c: MatrixMut<'_>,
    store: Store,
    alpha: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
) {
    let p = Product { kernel: kernel.into(), store, alpha, left: a, right: b, bias: &[] };
    in_parts(c, &p, |c, stride, p, _| parallel(c, stride, p));
}

/// Computes the same as [`matmul`] of factors `[a, b]`. Calls `done` with finished rows of `c` and the number of the
/// first: on the thread that has computed them, while they are in its cache. Every row is in one call.
///
/// # Panics
/// If the shapes do not match, or `c` is a transposed view.
pub fn matmul_rows(
    kernel: impl Into<GemmKernel>,
    c: MatrixMut<'_>,
    store: Store,
    alpha: f32,
    [a, b]: [Matrix<'_>; 2],
    done: impl Fn(usize, &[f32]) + Sync,
) {
    assert!(!c.transposed, "rows of a transpose");
    let p = Product { kernel: kernel.into(), store, alpha, left: a, right: b, bias: &[] };
    in_parts(c, &p, |c, stride, p, last| {
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
    kernel: impl Into<GemmKernel>,
    c: MatrixMut<'_>,
    store: Store,
    alpha: f32,
    a: Matrix<'_>,
    b: Matrix<'_>,
) {
    let p = Product { kernel: kernel.into(), store, alpha, left: a, right: b, bias: &[] };
    in_parts(c, &p, |c, stride, p, _| serial(c, stride, p));
}

/// The right side of several products, packed once for all of them.
#[derive(Debug)]
pub struct Packed<'a> {
    kernel: GemmKernel,
    right: Matrix<'a>,
    /// Its panels and their kernel, if products are computed from them.
    panels: Option<(&'static MicroKernel, Shared)>,
}

impl<'a> Packed<'a> {
    /// Packs `right`, `[K, N]`, on the current rayon pool.
    pub fn new(kernel: impl Into<GemmKernel>, right: Matrix<'a>) -> Packed<'a> {
        let kernel = kernel.into();
        let left = Matrix::new(&[] as &[f32], 0, right.rows);
        let product = Product { kernel, store: Store::Replace, alpha: 1.0, left, right, bias: &[] };
        let panels = match kernel.0 {
            Method::Tiles(tiles) if right.cols >= THIN => {
                // The rows of the left side are not known: as if they were whole tiles.
                let kernel = registry::suited(tiles, (tiles.tile.mr, right.cols, right.rows));
                Some((kernel, Blocked { kernel, product }.pack()))
            }
            _ => None,
        };
        Packed { kernel, right, panels }
    }

    /// Computes `product`, whose right side this is, on the calling thread.
    fn serial<T: Target>(&self, c: &mut [T], stride: usize, product: &Product<'_>) {
        match &self.panels {
            Some((kernel, panels)) if product.left.rows * product.right.cols > 0 => {
                let rows = task_rows(product.shape(), self.kernel);
                Blocked { kernel, product: *product }.serial_packed(c, stride, panels, rows);
            }
            _ => serial(c, stride, product),
        }
    }
}

/// Computes the same as [`matmul_serial`] where `b` is the right side of several products; `c` is not transposed.
///
/// # Panics
/// If the shapes do not match, or `c` is a transposed view.
pub fn matmul_packed(c: MatrixMut<'_>, store: Store, alpha: f32, a: Matrix<'_>, b: &Packed<'_>) {
    assert!(!c.transposed, "a transpose as the target of a packed product");
    let product = Product { kernel: b.kernel, store, alpha, left: a, right: b.right, bias: &[] };
    check((c.rows, c.cols), &product);
    b.serial(c.data, c.stride, &product);
}

/// Calls `run` with `p` for the rows of `c` in memory: part after part of the inner dimension, and whether it
/// is the last.
fn in_parts(c: MatrixMut<'_>, p: &Product<'_>, run: impl Fn(&mut [f32], usize, &Product<'_>, bool)) {
    let (rows, cols) = if c.transposed { (c.cols, c.rows) } else { (c.rows, c.cols) };
    check((rows, cols), p);
    let p = if c.transposed { Product { left: p.right.t(), right: p.left.t(), ..*p } } else { *p };
    // A long inner dimension is split, so that the parts of both sides stay in the cache between tasks.
    let parts = p.left.cols.div_ceil(LONGEST).max(1);
    let each = p.left.cols.div_ceil(parts).next_multiple_of(2);
    for part in 0..parts {
        let (from, to) = (part * each, p.left.cols.min(part * each + each));
        let store = if part == 0 { p.store } else { Store::Add };
        let (left, right) = (p.left.t().part(from, to).t(), p.right.part(from, to));
        run(c.data, c.stride, &Product { store, left, right, ..p }, part + 1 == parts);
    }
}

/// The longest inner dimension that is not split.
const LONGEST: usize = 2048;

/// With fewer rows or columns, packing the matrix beside them costs more than it saves.
const THIN: usize = 4;

/// Columns on the right, at most, with which a large matrix of half precision is read once, without packing.
const SLIM: usize = 8;

/// Computes `p` into rows with stride `stride`, on the current rayon pool.
pub(crate) fn parallel<T: Target>(c: &mut [T], stride: usize, p: &Product<'_>) {
    parallel_rows(c, stride, p, &|_, _| ());
}

/// The same; `done` is called with finished rows and the number of the first.
fn parallel_rows<T: Target>(
    c: &mut [T],
    stride: usize,
    p: &Product<'_>,
    done: &(impl Fn(usize, &[T]) + Sync),
) {
    let way = way(p);
    let rows = match way {
        Way::Vector => vector_rows(p.shape()),
        _ => task_rows(p.shape(), p.kernel),
    };
    if rows >= p.left.rows {
        serial(c, stride, p);
        return done(0, c);
    }
    let each_alone = |c: &mut [T]| {
        for_each(c.par_chunks_mut(rows * stride).enumerate(), |(i, c)| {
            serial(c, stride, &p.rows(i * rows, rows));
            done(i * rows, c);
        });
    };
    if with_own_right(p.shape(), rows) {
        return each_alone(c);
    }
    match way {
        Way::Tiles(blocked) => blocked.parallel(c, stride, rows, done),
        Way::Library => library::parallel(c, stride, p, rows, done),
        Way::Vector => each_alone(c),
    }
}

/// Computes `p` into rows with stride `stride`, on the calling thread.
pub(crate) fn serial<T: Target>(c: &mut [T], stride: usize, p: &Product<'_>) {
    let (m, n, _) = p.shape();
    if m == 0 || n == 0 {
        return;
    }
    let rows = task_rows(p.shape(), p.kernel);
    match way(p) {
        Way::Tiles(blocked) => blocked.serial(c, stride, rows),
        Way::Library => library::serial(c, stride, p, rows),
        Way::Vector => vector::serial(c, stride, p),
    }
}

/// Computes `p` on the calling thread, `rows` rows at a time into `block` with stride N; of
/// block `i` only the first `width(i)` columns. `each` is called with every finished block and its number.
pub(crate) fn by_blocks<T: Target>(
    p: &Product<'_>,
    rows: usize,
    width: &dyn Fn(usize) -> usize,
    block: &mut [T],
    each: &mut dyn FnMut(usize, &mut [T]),
) {
    match way(p) {
        Way::Tiles(blocked) => blocked.by_blocks(rows, width, block, each),
        Way::Library => library::by_blocks(p, rows, width, block, each),
        Way::Vector => {
            let (m, n, _) = p.shape();
            for i in 0..m.div_ceil(rows) {
                let p = p.rows(i * rows, rows).columns(width(i));
                vector::serial(&mut block[..p.left.rows * n], n, &p);
                each(i, block);
            }
        }
    }
}

/// How a product is computed.
enum Way<'a> {
    Tiles(Blocked<'a>),
    Library,
    Vector,
}

fn way<'a>(p: &Product<'a>) -> Way<'a> {
    let (m, n, _) = p.shape();
    match p.kernel.0 {
        Method::Library if library::takes(p) => Way::Library,
        _ if m < THIN || n < THIN || is_slim(p) => Way::Vector,
        _ => Way::Tiles(Blocked { kernel: registry::suited(p.kernel.tiles(), p.shape()), product: *p }),
    }
}

/// Whether a half-precision matrix on the left, much larger than what is on the right, is better read once than packed.
fn is_slim(p: &Product<'_>) -> bool {
    is_slim_shape(p.shape()) && p.left.across == 1 && matches!(p.left.from, Elements::F16(_))
}

fn is_slim_shape((m, n, _): (usize, usize, usize)) -> bool {
    n <= SLIM && m >= SLIM * 8
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
