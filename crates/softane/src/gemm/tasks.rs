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

/// Whether each task of `rows` rows packs the right side for itself.
pub(super) fn with_own_right((m, n, k): (usize, usize, usize), rows: usize) -> bool {
    m.div_ceil(rows) <= 2 && n * k <= OWN
}
