//! Kernels. Each writes one packed buffer, or two, and reads views of others.

pub(crate) mod concat;
mod functions;
pub(crate) mod group;
pub(crate) mod matmul;
pub(crate) mod pair;
pub(crate) mod pointwise;
pub(crate) mod reduce;
pub(crate) mod reference;
pub(crate) mod rowwise;
pub(crate) mod tile_program;
pub(crate) mod transpose;

use crate::pool::for_each;
use rayon::prelude::*;

/// Approximate elements per task: enough to amortise its cost, few enough for load balancing.
const TASK: usize = 1 << 13;

/// Elements of a tile: a few of them fit the first-level cache.
const TILE: usize = 1 << 10;

/// Tasks of several matrices together, at least.
const MANY: usize = 8;

/// The fewest rows of such a task.
const LEAST_ROWS: usize = 48;

/// Cuts the matrices `[m, n]` that `out` holds into tasks of rows, a multiple of `unit` except the last, and calls `f` with
/// the matrix, the first row and the rows of each.
fn rows_of_each<T: Send>(
    out: &mut [T],
    (m, n): (usize, usize),
    unit: usize,
    f: impl Fn(usize, usize, &mut [T]) + Sync,
) {
    let parts = MANY.div_ceil(out.len() / (m * n)).min(m.div_ceil(LEAST_ROWS));
    let rows = m.div_ceil(parts).next_multiple_of(unit);
    for_each(out.par_chunks_mut(m * n).enumerate(), |(b, out)| {
        for_each(out.par_chunks_mut(rows * n).enumerate(), |(part, out)| f(b, part * rows, out));
    });
}
