//! Splits a product into tasks by its shape only, so that the number of threads does not change the bits.

use super::product::GemmKernel;

/// Approximate multiplications per task: enough to amortise the task and packing, few enough for load balancing.
const TASK: usize = 32 << 20;

/// Multiplications that are not worth a second thread: a few microseconds.
const SMALL: usize = 2 << 20;

/// Elements of the right side, at most, that each of two tasks packs for itself: waiting for the other thread, and
/// reading back its result would take longer.
const OWN: usize = 1 << 18;

/// Rows of a task: whole tiles of `kernel`, and a number of tasks that two, four or eight threads share evenly.
pub(super) fn task_rows((m, n, k): (usize, usize, usize), kernel: GemmKernel) -> usize {
    let wanted = (TASK / (n * k).max(1)).max(kernel.least_rows());
    let blocks = match m.div_ceil(wanted) {
        0 | 1 if m * n * k < SMALL => 1,
        0 | 1 => 2,
        n if n <= 4 => n.next_multiple_of(2),
        n => n.next_multiple_of(8),
    };
    m.div_ceil(blocks).next_multiple_of(kernel.rows())
}

/// Elements of a matrix that a task reads at least, if it is multiplied by a few vectors: some microseconds.
const READ: usize = 3 << 15;

/// Rows of a task that multiplies a matrix by a few vectors: reading the matrix takes its time. With few rows there is one task.
pub(super) fn vector_rows((m, n, k): (usize, usize, usize)) -> usize {
    if n > m {
        return m;
    }
    let blocks = (m * k / READ).clamp(1, 16);
    m.div_ceil(1 << blocks.ilog2()).next_multiple_of(4)
}

/// Whether each task of `rows` rows packs the right side for itself.
pub(super) fn with_own_right((m, n, k): (usize, usize, usize), rows: usize) -> bool {
    m.div_ceil(rows) <= 2 && n * k <= OWN
}
