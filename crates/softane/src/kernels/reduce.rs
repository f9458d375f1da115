//! Sums, means and extremes along adjacent axes.

use super::TILE;
use super::group::Group;
use super::pointwise::Stream;
use crate::arena::Workers;
use crate::convert::Element;
use crate::memory::Reader;
use crate::pool::for_each;
use crate::rows::{self, Fold};
use rayon::prelude::*;

/// Folds the elements of a [`Group`] over its middle axis: `[outer, n, inner]` → `[outer, inner]`.
#[derive(Clone, Debug)]
pub(crate) struct Reduce {
    stream: Stream,
    fold: Fold,
    /// The divisor, for a mean.
    divisor: Option<f32>,
    n: usize,
    inner: usize,
}

/// Columns that one task folds.
const COLUMNS: usize = 64;

impl Reduce {
    /// If the group can be walked so. Rows are then `n` elements if `inner` is 1, otherwise `inner`.
    pub fn new(group: &Group, fold: Fold, mean: bool, n: usize, inner: usize) -> Option<Reduce> {
        let row = if inner == 1 { n } else { inner };
        let mut keep = 0;
        let mut elements = 1;
        while elements < row {
            keep += 1;
            elements *= group.shape[group.shape.len() - keep];
        }
        let stream = Stream::new(group, keep.max(1), false);
        (stream.walk.inner() == row && !group.rows).then_some(Reduce {
            stream,
            fold,
            divisor: mean.then_some(n as f32),
            n,
            inner,
        })
    }

    /// f32 in each bank it needs.
    pub fn banks(&self) -> Vec<usize> {
        let tile = if self.inner == 1 { TILE.max(self.n) } else { TILE.max(COLUMNS) };
        let mut banks = vec![tile; self.stream.registers() + 1];
        banks[self.stream.registers()] = TILE.max(COLUMNS);
        banks
    }

    pub fn run<T: Element>(&self, reader: &Reader<'_, '_>, out: &mut [T], workers: &Workers) {
        if self.inner == 1 {
            let task = (super::TASK / self.n.max(1)).max(1);
            for_each(out.par_chunks_mut(task).enumerate(), |(i, out)| {
                self.rows(reader, i * task, out, &mut workers.mine());
            });
        } else {
            for_each(out.par_chunks_mut(self.inner).enumerate(), |(i, out)| {
                for_each(out.par_chunks_mut(COLUMNS).enumerate(), |(j, out)| {
                    self.columns(reader, i, j * COLUMNS, out, &mut workers.mine());
                });
            });
        }
    }

    fn rows<T: Element>(
        &self,
        reader: &Reader<'_, '_>,
        first: usize,
        out: &mut [T],
        banks: &mut [crate::buffer::Buffer],
    ) {
        let (registers, totals) = banks.split_at_mut(self.stream.registers());
        let at_once = (TILE / self.n.max(1)).clamp(1, TILE);
        for (i, out) in out.chunks_mut(at_once).enumerate() {
            let rows = first + i * at_once..first + i * at_once + out.len();
            let values = &*self.stream.run(reader, registers, rows, 0..self.n);
            let totals = &mut totals[0].f32s_mut()[..out.len()];
            rows::fold(values, self.n, self.fold, totals);
            self.finish(totals);
            T::narrow(totals, out);
        }
    }

    fn columns<T: Element>(
        &self,
        reader: &Reader<'_, '_>,
        outer: usize,
        first: usize,
        out: &mut [T],
        banks: &mut [crate::buffer::Buffer],
    ) {
        let (registers, totals) = banks.split_at_mut(self.stream.registers());
        let width = out.len();
        let totals = &mut totals[0].f32s_mut()[..width];
        totals.fill(self.fold.start());
        let at_once = (TILE / width).max(1);
        for start in (0..self.n).step_by(at_once) {
            let rows = outer * self.n + start..outer * self.n + self.n.min(start + at_once);
            let values = self.stream.run(reader, registers, rows, first..first + width);
            // The rows of a tile are folded into its first, then that into the total: long sums stay accurate.
            let (top, rest) = values.split_at_mut(width);
            for row in rest.chunks_exact(width) {
                self.fold.into(top, row);
            }
            self.fold.into(totals, top);
        }
        self.finish(totals);
        T::narrow(totals, out);
    }

    fn finish(&self, totals: &mut [f32]) {
        if let Some(divisor) = self.divisor {
            totals.iter_mut().for_each(|t| *t /= divisor);
        }
    }
}
