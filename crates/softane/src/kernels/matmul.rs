//! Matrix products of views, batch by batch.

use super::{MANY, rows_of_each};
use crate::gemm::{self, GemmKernel, Matrix, Product, Store, Target};
use crate::memory::Reader;
use crate::view::{View, Walk};
use std::cell::RefCell;

/// The most multiply-adds of a product whose tasks each pack the right side: waiting until several threads have packed
/// it, one product after the other, would take longer than it saves.
const SMALL: usize = 32 << 20;

/// `out[b] ← left[b] · right[b] + bias[b]`, for every index `b` of the axes before the last two.
#[derive(Clone, Debug)]
pub(crate) struct Matmul {
    left: Side,
    right: Side,
    bias: Option<Side>,
    /// Steps of left, right and bias along the batch axes.
    batch: Walk,
    m: usize,
    n: usize,
    k: usize,
    batches: usize,
    kernel: GemmKernel,
}

/// One operand: where it begins, and its steps along its rows and columns.
#[derive(Clone, Debug)]
struct Side {
    buffer: usize,
    offset: usize,
    down: usize,
    across: usize,
}

impl Side {
    fn new(v: &View) -> Side {
        let r = v.shape.len();
        Side { buffer: v.buffer, offset: v.offset, down: v.strides[r - 2], across: v.strides[r - 1] }
    }
}

thread_local! {
    /// The bias of one matrix, widened.
    static BIAS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Matmul {
    /// `left` is `[…, M, K]`, `right` `[…, K, N]`, `bias` `[…, M, 1]`; all batch axes are equal (broadcast).
    pub fn new(left: &View, right: &View, bias: Option<&View>, kernel: GemmKernel) -> Matmul {
        let rank = left.shape.len();
        let batch = &left.shape[..rank - 2];
        let steps = |v: &View| v.strides[..rank - 2].to_vec();
        // A row of this walk is one matrix: its last axis counts nothing.
        let mut walk = Walk::new(
            batch,
            &[&steps(left), &steps(right), &bias.map_or_else(|| vec![0; rank - 2], steps)],
            0,
        );
        walk.dims.push(1);
        for s in &mut walk.steps {
            s.push(0);
        }
        Matmul {
            left: Side::new(left),
            right: Side::new(right),
            bias: bias.map(Side::new),
            batch: walk,
            m: left.shape[rank - 2],
            k: left.shape[rank - 1],
            n: right.shape[rank - 1],
            batches: batch.iter().product(),
            kernel,
        }
    }

    /// Multiply-adds of all products.
    pub fn multiplications(&self) -> usize {
        [self.batches, self.m, self.n, self.k].into_iter().fold(1, usize::saturating_mul)
    }

    /// The buffer of the left side and its shape `[M, K]`, if it is one matrix that begins the buffer, row after row, and no
    /// other side is in it.
    pub fn whole_left(&self) -> Option<(usize, [usize; 2])> {
        let Side { buffer, offset, down, across } = self.left;
        let is_whole = self.batches == 1 && offset == 0 && down == self.k && across == 1;
        let is_other = |side: &Side| side.buffer != buffer;
        let alone = is_other(&self.right) && self.bias.iter().all(is_other);
        (is_whole && alone).then_some((buffer, [self.m, self.k]))
    }

    pub fn run<T: Target>(&self, reader: &Reader<'_, '_>, out: &mut [T]) {
        if let Some(left) = reader.quant(self.left.buffer) {
            let right = Self::matrix(reader, &self.right, self.batch.row(1, 0), (self.k, self.n));
            return self.with_bias(reader, 0, |bias| {
                gemm::parallel_quant(self.kernel, out, self.n, left, right, bias);
            });
        }
        let is_small = self.multiplications() / self.batches.max(1) <= SMALL;
        if self.batches < 2 || self.batches < MANY && !is_small {
            for (b, out) in out.chunks_mut(self.m * self.n).enumerate() {
                self.with(reader, b, |p| gemm::parallel(out, self.n, p));
            }
            return;
        }
        rows_of_each(out, (self.m, self.n), self.kernel.rows(), |b, first, out| {
            self.with(reader, b, |p| gemm::serial(out, self.n, &p.rows(first, out.len() / self.n)));
        });
    }

    /// Calls `f` with product `b`.
    pub fn with(&self, reader: &Reader<'_, '_>, b: usize, f: impl FnOnce(&Product<'_>)) {
        let matrix = |side: &Side, t: usize, shape| Self::matrix(reader, side, self.batch.row(t, b), shape);
        self.with_bias(reader, b, |bias| {
            f(&Product {
                kernel: self.kernel,
                store: Store::Replace,
                alpha: 1.0,
                left: matrix(&self.left, 0, (self.m, self.k)),
                right: matrix(&self.right, 1, (self.k, self.n)),
                bias,
            });
        });
    }

    /// One side of a product: the matrix that begins `at` elements behind the first.
    fn matrix<'r>(
        reader: &'r Reader<'_, '_>,
        side: &Side,
        at: usize,
        (rows, cols): (usize, usize),
    ) -> Matrix<'r> {
        let from =
            reader.read(side.buffer).floats().expect("steps check that float kernels read only floats");
        Matrix::at(from, side.offset + at, (rows, cols), (side.down, side.across))
    }

    /// Calls `f` with the bias of product `b`, widened; empty if there is none.
    fn with_bias(&self, reader: &Reader<'_, '_>, b: usize, f: impl FnOnce(&[f32])) {
        let mut bias = BIAS.take();
        bias.clear();
        if let Some(side) = &self.bias {
            let from = reader.read(side.buffer);
            bias.resize(self.m, 0.0);
            super::pointwise::load(from, side.offset + self.batch.row(2, b), side.down, &mut bias);
        }
        f(&bias);
        BIAS.set(bias);
    }
}
