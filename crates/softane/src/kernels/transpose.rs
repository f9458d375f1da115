//! Copies that change the order of axes.

use super::TASK;
use crate::memory::Reader;
use crate::pool::for_each;
use crate::view::{View, Walk};
use rayon::prelude::*;

/// Rows and columns of a block that is transposed at a time: both sides of it fit the first-level cache.
const BLOCK: usize = 32;

/// Copies a view whose last two axes are transposed: the elements of one column are contiguous.
#[derive(Clone, Debug)]
pub(crate) struct Transpose {
    buffer: usize,
    offset: usize,
    /// All axes but the last two, which are `rows` × `columns` of the result.
    walk: Walk,
    rows: usize,
    columns: usize,
    /// From one element of a row to the next.
    step: usize,
}

impl Transpose {
    /// If `view` can be written so.
    pub fn new(view: &View) -> Option<Transpose> {
        let all = Walk::new(&view.shape, &[&view.strides], 0);
        let last = all.dims.len().checked_sub(2)?;
        if all.steps[0][last] != 1 || all.inner_step(0) < BLOCK {
            return None;
        }
        Some(Transpose {
            buffer: view.buffer,
            offset: view.offset,
            rows: all.dims[last],
            columns: all.inner(),
            step: all.inner_step(0),
            // A row of this walk is one matrix: its last axis counts nothing.
            walk: Walk {
                dims: [&all.dims[..last], &[1]].concat(),
                steps: vec![[&all.steps[0][..last], &[0]].concat()],
            },
        })
    }

    pub fn run<T: Copy + Send + Sync>(&self, from: &[T], out: &mut [T]) {
        let (rows, columns) = (self.rows, self.columns);
        let band =
            (TASK / columns.max(1)).clamp(1, rows).next_multiple_of(BLOCK).min(rows.next_multiple_of(BLOCK));
        for_each(out.par_chunks_mut(rows * columns).enumerate(), |(i, out)| {
            let from = &from[self.offset + self.walk.row(0, i)..];
            for_each(out.par_chunks_mut(band * columns).enumerate(), |(j, out)| {
                for (k, out) in out.chunks_mut(BLOCK * columns).enumerate() {
                    self.block(&from[j * band + k * BLOCK..], out);
                }
            });
        });
    }

    /// Transposes up to [`BLOCK`] rows.
    fn block<T: Copy>(&self, from: &[T], out: &mut [T]) {
        let rows = out.len() / self.columns;
        for first in (0..self.columns).step_by(BLOCK) {
            for column in first..self.columns.min(first + BLOCK) {
                let from = &from[column * self.step..][..rows];
                for (row, &x) in from.iter().enumerate() {
                    out[row * self.columns + column] = x;
                }
            }
        }
    }

    pub fn buffer(&self) -> usize {
        self.buffer
    }
}

/// Copies elements of any type, one at a time.
#[derive(Clone, Debug)]
pub(crate) struct Gather {
    buffer: usize,
    offset: usize,
    walk: Walk,
}

impl Gather {
    pub fn new(view: &View) -> Gather {
        Gather { buffer: view.buffer, offset: view.offset, walk: Walk::new(&view.shape, &[&view.strides], 0) }
    }

    pub fn run(&self, reader: &Reader<'_, '_>, size: usize, out: &mut [u8]) {
        let from = reader.read(self.buffer).bytes();
        let (inner, step) = (self.walk.inner(), self.walk.inner_step(0));
        for (n, out) in out.chunks_exact_mut(size).enumerate() {
            let at = (self.offset + self.walk.row(0, n / inner) + n % inner * step) * size;
            out.copy_from_slice(&from[at..at + size]);
        }
    }
}
