//! Elementwise operations, single or in chains, which may include functions of rows.

use super::group::Group;
use super::tile_program::{Source, TileProgram};
use super::{TASK, TILE};
use crate::arena::Workers;
use crate::buffer::{Buffer, Slice};
use crate::convert::Element;
use crate::memory::Reader;
use crate::pool::for_each;
use crate::view::Walk;
use rayon::prelude::*;
use std::ops::Range;

/// Operands and code, and how they are walked.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    operands: Vec<(usize, usize)>,
    pub walk: Walk,
    /// Which operands are row-major without gaps.
    packed: Vec<bool>,
    tile: TileProgram,
}

impl Stream {
    /// Walks `group`; its last `keep` axes are merged only among themselves.
    pub fn new(group: &Group, keep: usize, stored_narrow: bool) -> Stream {
        Stream::of(group, keep, TileProgram::new(&group.code, stored_narrow))
    }

    /// The same with the results of `tile`.
    fn of(group: &Group, keep: usize, tile: TileProgram) -> Stream {
        let strides: Vec<&[usize]> = group.operands.iter().map(|v| v.strides.as_slice()).collect();
        let walk = Walk::new(&group.shape, &strides, keep);
        Stream {
            operands: group.operands.iter().map(|v| (v.buffer, v.offset)).collect(),
            packed: (0..strides.len()).map(|t| walk.is_packed(t)).collect(),
            walk,
            tile,
        }
    }

    pub fn registers(&self) -> usize {
        self.tile.registers
    }

    /// The buffer of operand `operand`, and the index of its first element.
    pub fn operand<'r>(&self, reader: &'r Reader<'_, '_>, operand: usize) -> (Slice<'r>, usize) {
        let (buffer, offset) = self.operands[operand];
        (reader.read(buffer), offset)
    }

    /// The elements of `rows` × `columns`, computed in `registers`; whole rows, or a part of one.
    pub fn run<'b>(
        &self,
        reader: &Reader<'_, '_>,
        registers: &'b mut [Buffer],
        rows: Range<usize>,
        columns: Range<usize>,
    ) -> &'b mut [f32] {
        self.run_with(reader, registers, rows, columns, None)
    }

    /// The same, with the rows of operand `own.0` in `own.1`, with stride `own.2`.
    pub fn run_with<'b>(
        &self,
        reader: &Reader<'_, '_>,
        registers: &'b mut [Buffer],
        rows: Range<usize>,
        columns: Range<usize>,
        own: Option<(usize, Slice<'_>, usize)>,
    ) -> &'b mut [f32] {
        let (width, inner) = (columns.len(), self.walk.inner());
        self.tile.run(registers, rows.len() * width, width, |operand, to| {
            if let Some((own, from, stride)) = own
                && own == operand
            {
                for (i, to) in to.chunks_exact_mut(width).enumerate() {
                    load(from, i * stride + columns.start, 1, to);
                }
                return;
            }
            let (buffer, offset) = self.operands[operand];
            let (from, step) = (reader.read(buffer), self.walk.inner_step(operand));
            if self.packed[operand] && (width == inner || rows.len() == 1) {
                return load(from, offset + rows.start * inner + columns.start, 1, to);
            }
            for (row, to) in rows.clone().zip(to.chunks_exact_mut(width)) {
                load(from, offset + self.walk.row(operand, row) + columns.start * step, step, to);
            }
        })
    }
}

/// Widens elements of `from`, from `at` on, with stride `step`.
pub(super) fn load(from: Slice<'_>, at: usize, step: usize, to: &mut [f32]) {
    match from {
        Slice::F16(from) => gather(from, at, step, to),
        Slice::F32(from) => gather(from, at, step, to),
        Slice::Other(dtype, _) => {
            unreachable!("{dtype}: steps check that float kernels read only floats")
        }
        Slice::Quant(_) => unreachable!("an input that others than products read is widened first"),
    }
}

fn gather<T: Element>(from: &[T], at: usize, step: usize, to: &mut [f32]) {
    match step {
        0 => to.fill(from[at].get()),
        1 => T::widen(&from[at..at + to.len()], to),
        _ => {
            for (to, x) in to.iter_mut().zip(from[at..].iter().step_by(step)) {
                *to = x.get();
            }
        }
    }
}

/// Stores a [`Group`] to a buffer, or several results of its instructions to as many.
#[derive(Clone, Debug)]
pub(crate) struct Pointwise {
    stream: Stream,
    /// Rows of a tile, and elements per row.
    tile: (usize, usize),
    /// Rows of a task, and elements per row.
    task: (usize, usize),
}

impl Pointwise {
    pub fn new(group: &Group, stored_narrow: bool) -> Pointwise {
        Pointwise::of(group, &[group.code.result], stored_narrow)
    }

    /// The same for these results.
    pub fn of(group: &Group, results: &[Source], stored_narrow: bool) -> Pointwise {
        let tile = TileProgram::several(&group.code.instructions, results, stored_narrow);
        let stream = Stream::of(group, usize::from(group.rows), tile);
        let inner = stream.walk.inner();
        let cut = |size: usize| match (inner >= size, group.rows) {
            (true, false) => (1, size),
            (true, true) => (1, inner),
            (false, _) => (size / inner.max(1), inner),
        };
        Pointwise { tile: cut(TILE), task: cut(TASK), stream }
    }

    /// f32 in each bank it needs.
    pub fn banks(&self) -> Vec<usize> {
        vec![self.tile.0 * self.tile.1; self.stream.registers()]
    }

    pub fn run<T: Element>(&self, reader: &Reader<'_, '_>, out: &mut [T], workers: &Workers) {
        let inner = self.stream.walk.inner();
        let (rows, columns) = self.task;
        for_each(out.par_chunks_mut(rows * inner).enumerate(), |(i, band)| {
            // A band is several rows, or one row in several tasks.
            for_each(band.par_chunks_mut(rows * columns).enumerate(), |(j, out)| {
                let mut banks = workers.mine();
                self.task(reader, [out], (i * rows, j * columns), &mut banks);
            });
        });
    }

    /// Stores two results.
    pub fn run_two<T: Element>(&self, reader: &Reader<'_, '_>, [a, b]: [&mut [T]; 2], workers: &Workers) {
        let inner = self.stream.walk.inner();
        let (rows, columns) = self.task;
        let bands = a.par_chunks_mut(rows * inner).zip(b.par_chunks_mut(rows * inner));
        for_each(bands.enumerate(), |(i, (a, b))| {
            let parts = a.par_chunks_mut(rows * columns).zip(b.par_chunks_mut(rows * columns));
            for_each(parts.enumerate(), |(j, (a, b))| {
                let mut banks = workers.mine();
                self.task(reader, [a, b], (i * rows, j * columns), &mut banks);
            });
        });
    }

    /// Computes `outs`, which are equally long, from element `column` of row `row` on.
    fn task<T: Element, const N: usize>(
        &self,
        reader: &Reader<'_, '_>,
        mut outs: [&mut [T]; N],
        (row, column): (usize, usize),
        banks: &mut [Buffer],
    ) {
        let len = outs[0].len();
        let mut store = |rows: Range<usize>, columns: Range<usize>, at: Range<usize>| {
            self.stream.run(reader, banks, rows, columns);
            for (i, out) in outs.iter_mut().enumerate() {
                T::narrow(self.stream.tile.result(i, banks, at.len()), &mut out[at.clone()]);
            }
        };
        let inner = self.stream.walk.inner();
        let (rows, columns) = self.tile;
        if columns < inner {
            // Rows, or a part of one; each in several tiles.
            for first in (0..len).step_by(inner) {
                let end = len.min(first + inner);
                for at in (first..end).step_by(columns) {
                    let (at, start) = (at..end.min(at + columns), column + at - first);
                    let row = row + first / inner;
                    store(row..row + 1, start..start + at.len(), at);
                }
            }
            return;
        }
        for at in (0..len).step_by(rows * inner) {
            let (at, start) = (at..len.min(at + rows * inner), row + at / inner);
            store(start..start + at.len() / inner, 0..inner, at);
        }
    }
}
