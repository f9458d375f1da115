//! Matrix products of views, batch by batch.

use crate::arena::Workers;
use crate::buffer::{Buffer, Slice};
use crate::convert::Element;
use crate::gemm::{Matrix, MatrixMut, Store, matmul_serial};
use crate::memory::Reader;
use crate::view::{View, Walk};
use mil::DType;
use rayon::prelude::*;

/// Multiplications of one block of rows, about: long enough to hide what a task costs, short enough to share.
const BLOCK: usize = 1 << 21;

/// Rows of a block, at least: with fewer, reading the right side would cost too much.
const ROWS: usize = 48;

/// Rows of a block are a multiple of this where possible.
const GRAIN: usize = 16;

/// From this many matrices on, each is one task, and widens its right side for itself.
pub(crate) const MANY: usize = 8;

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
    /// Rows of a block.
    rows: usize,
}

/// One operand: where it begins, and its steps along its rows and columns.
#[derive(Clone, Debug)]
struct Side {
    buffer: usize,
    offset: usize,
    down: usize,
    across: usize,
    /// Whether the product reads it where it is.
    in_place: bool,
}

impl Side {
    fn new(v: &View, dtype: DType) -> Side {
        let r = v.shape.len();
        let (rows, columns) = (v.shape[r - 2], v.shape[r - 1]);
        // Steps of axes of size 1 do not matter.
        let across = if columns == 1 { 1 } else { v.strides[r - 1] };
        let down = if rows == 1 { columns * across } else { v.strides[r - 2] };
        let gapless = across == 1 && down >= columns || down == 1 && across >= rows;
        Side { buffer: v.buffer, offset: v.offset, down, across, in_place: dtype == DType::F32 && gapless }
    }
}

impl Matmul {
    /// `left` is `[…, M, K]`, `right` `[…, K, N]`, `bias` `[…, M, 1]`; all batch axes are equal (broadcast).
    /// Their element types are `dtypes`.
    pub fn new(left: &View, right: &View, bias: Option<&View>, dtypes: (DType, DType)) -> Matmul {
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
        let (m, k, n) = (left.shape[rank - 2], left.shape[rank - 1], right.shape[rank - 1]);
        let wanted = (BLOCK / (n * k).max(1)).max(ROWS);
        let blocks = m.div_ceil(wanted).max(1);
        let rows = m.div_ceil(blocks).next_multiple_of(GRAIN).min(m).max(1);
        Matmul {
            left: Side::new(left, dtypes.0),
            right: Side::new(right, dtypes.1),
            // Its type does not matter: it is read number by number.
            bias: bias.map(|b| Side::new(b, DType::F16)),
            batch: walk,
            m,
            n,
            k,
            batches: batch.iter().product(),
            rows,
        }
    }

    /// f32 in each bank it needs: a block of the left side, the right side, a block of the result.
    pub fn banks(&self) -> Vec<usize> {
        let bank = |side: &Side, rows: usize, columns: usize| if side.in_place { 0 } else { rows * columns };
        vec![bank(&self.left, self.rows, self.k), bank(&self.right, self.k, self.n), self.rows * self.n]
    }

    pub fn run<T: Element>(&self, reader: &Reader<'_, '_>, out: &mut [T], workers: &Workers) {
        let (plane, block) = (self.m * self.n, self.rows * self.n);
        if self.batches >= MANY {
            out.par_chunks_mut(plane).enumerate().for_each(|(b, out)| {
                self.blocks(reader, b, 0, out, &mut workers.mine());
            });
        } else {
            out.par_chunks_mut(plane).enumerate().for_each(|(b, out)| {
                out.par_chunks_mut(block).enumerate().for_each(|(i, out)| {
                    self.blocks(reader, b, i * self.rows, out, &mut workers.mine());
                });
            });
        }
    }

    /// Computes rows from `first` on of matrix `b`.
    fn blocks<T: Element>(
        &self,
        reader: &Reader<'_, '_>,
        b: usize,
        first: usize,
        out: &mut [T],
        banks: &mut [Buffer],
    ) {
        let [left_bank, right_bank, out_bank, ..] = banks else { return };
        let at = |side: &Side, t: usize| side.offset + self.batch.row(t, b);
        let (l, r) = (&self.left, &self.right);
        let right = matrix(r, reader.read(r.buffer), at(r, 1), (self.k, self.n), right_bank.f32s_mut());
        for (i, out) in out.chunks_mut(self.rows * self.n).enumerate() {
            let (rows, row) = (out.len() / self.n, first + i * self.rows);
            let start = at(l, 0) + row * l.down;
            let left = matrix(l, reader.read(l.buffer), start, (rows, self.k), left_bank.f32s_mut());
            let product = &mut out_bank.f32s_mut()[..out.len()];
            matmul_serial(MatrixMut::new(product, rows, self.n), Store::Replace, 1.0, left, right);
            if let Some(bias) = &self.bias {
                let from = reader.read(bias.buffer);
                for (r, line) in product.chunks_exact_mut(self.n).enumerate() {
                    let mut x = [0.0];
                    super::pointwise::load(from, at(bias, 2) + (row + r) * bias.down, 0, &mut x);
                    line.iter_mut().for_each(|y| *y += x[0]);
                }
            }
            T::narrow(product, out);
        }
    }
}

/// Sees `[rows, columns]` elements of `from` as a matrix: in place if `side` allows it, otherwise widened into `bank`.
fn matrix<'a>(
    side: &Side,
    from: Slice<'a>,
    at: usize,
    (rows, columns): (usize, usize),
    bank: &'a mut [f32],
) -> Matrix<'a> {
    let (down, across) = (side.down, side.across);
    if let (Slice::F32(from), true) = (from, side.in_place) {
        return if across == 1 {
            Matrix::strided(&from[at..at + (rows - 1) * down + columns], rows, columns, down)
        } else {
            Matrix::strided(&from[at..at + (columns - 1) * across + rows], columns, rows, across).t()
        };
    }
    let bank = &mut bank[..rows * columns];
    if across == 1 || down != 1 {
        for (r, to) in bank.chunks_exact_mut(columns).enumerate() {
            super::pointwise::load(from, at + r * down, across, to);
        }
        Matrix::new(bank, rows, columns)
    } else {
        for (c, to) in bank.chunks_exact_mut(rows).enumerate() {
            super::pointwise::load(from, at + c * across, down, to);
        }
        Matrix::new(bank, columns, rows).t()
    }
}
