//! The memory of values while a program runs: one buffer or two are written, all others are read.

use crate::buffer::{Buffer, Slice, SliceMut};
use crate::quant::QuantMatrix;
use mil::DType;
use std::ops::Range;
use std::sync::Arc;

/// The memory that a value is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// The caller's input, by position.
    Input(usize),
    /// The caller's output, by position.
    Output(usize),
    /// The program's constant, by position.
    Constant(usize),
    /// The arena.
    Scratch,
}

/// Where a buffer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub space: Space,
    pub bytes: Range<usize>,
    pub dtype: DType,
}

/// All memory of one run.
pub(crate) struct RunBuffers<'m, 's> {
    pub places: &'m [Place],
    pub inputs: &'m [Slice<'m>],
    pub outputs: &'m mut [SliceMut<'s>],
    pub constants: &'m [Arc<Buffer>],
    pub scratch: &'m mut [u8],
}

/// All memory of one run except the buffers that are being written.
pub(crate) struct Reader<'r, 's> {
    places: &'r [Place],
    inputs: &'r [Slice<'r>],
    constants: &'r [Arc<Buffer>],
    /// The space being written, without the buffers that are: parts of it, and the offset of each.
    here: Space,
    parts: [(usize, &'r [u8]); 3],
    /// The other spaces that could be written.
    outputs_before: &'r [SliceMut<'s>],
    outputs_behind: &'r [SliceMut<'s>],
    scratch: &'r [u8],
}

impl<'s> RunBuffers<'_, 's> {
    /// Buffer `target` to write, and everything else to read.
    ///
    /// # Panics
    /// If `target` is an input or a constant; no plan writes those.
    pub fn write(&mut self, target: usize) -> (Reader<'_, 's>, SliceMut<'_>) {
        let Place { space, bytes, dtype } = &self.places[target];
        let (mut reader, all) = self.space(*space, target);
        let (low, rest) = all.split_at_mut(bytes.start);
        let (out, high) = rest.split_at_mut(bytes.len());
        reader.parts = [(0, low), (bytes.end, high), (usize::MAX, &[])];
        (reader, SliceMut::of(*dtype, out))
    }

    /// Two buffers to write, and everything else to read; `None` if they are not in the same space.
    ///
    /// # Panics
    /// As [`RunBuffers::write`], and if they overlap.
    pub fn write_two(&mut self, targets: [usize; 2]) -> Option<(Reader<'_, 's>, [SliceMut<'_>; 2])> {
        let [a, b] = targets.map(|target| &self.places[target]);
        if a.space != b.space {
            return None;
        }
        let swap = a.bytes.start > b.bytes.start;
        let (first, last) = if swap { (b, a) } else { (a, b) };
        let (mut reader, all) = self.space(a.space, targets[0]);
        let (low, rest) = all.split_at_mut(first.bytes.start);
        let (out, rest) = rest.split_at_mut(first.bytes.len());
        let (middle, rest) = rest.split_at_mut(last.bytes.start - first.bytes.end);
        let (other, high) = rest.split_at_mut(last.bytes.len());
        reader.parts = [(0, low), (first.bytes.end, middle), (last.bytes.end, high)];
        let outs = if swap { [other, out] } else { [out, other] };
        let [x, y] = outs;
        Some((reader, [SliceMut::of(a.dtype, x), SliceMut::of(b.dtype, y)]))
    }

    /// All of `space`, in which `target` is, and a reader of the other spaces.
    fn space(&mut self, space: Space, target: usize) -> (Reader<'_, 's>, &mut [u8]) {
        let (before, all, behind, scratch): (_, &mut [u8], _, &[u8]) = match space {
            Space::Output(i) => {
                let (before, rest) = self.outputs.split_at_mut(i);
                let (this, behind) = rest.split_at_mut(1);
                (&*before, this[0].bytes_mut(), &*behind, &*self.scratch)
            }
            Space::Scratch => (&*self.outputs, &mut *self.scratch, &[], &[]),
            Space::Input(_) | Space::Constant(_) => panic!("buffer {target} is written, but only to be read"),
        };
        let reader = Reader {
            places: self.places,
            inputs: self.inputs,
            constants: self.constants,
            here: space,
            parts: [(0, &[]); 3],
            outputs_before: before,
            outputs_behind: behind,
            scratch,
        };
        (reader, all)
    }
}

impl Reader<'_, '_> {
    /// The element type of buffer `id`.
    pub fn dtype(&self, id: usize) -> DType {
        self.places[id].dtype
    }

    /// The quantised matrix that buffer `id` is, if it is one.
    pub fn quant(&self, id: usize) -> Option<&QuantMatrix> {
        match self.places[id].space {
            Space::Input(i) => match self.inputs[i] {
                Slice::Quant(matrix) => Some(matrix),
                _ => None,
            },
            _ => None,
        }
    }

    /// The elements of buffer `id`.
    ///
    /// # Panics
    /// If they are quantised, or it overlaps the buffer being written; no plan reads that.
    pub fn read(&self, id: usize) -> Slice<'_> {
        let Place { space, bytes, dtype } = &self.places[id];
        let all = match *space {
            here if here == self.here => {
                let inside = |(at, part): &&(usize, &[u8])| {
                    bytes.start.checked_sub(*at).is_some_and(|start| start + bytes.len() <= part.len())
                };
                let Some((at, part)) = self.parts.iter().find(inside) else {
                    panic!("buffer {id} is read where it is written");
                };
                return Slice::of(*dtype, &part[bytes.start - at..bytes.end - at]);
            }
            Space::Input(i) => self.inputs[i].bytes(),
            Space::Constant(i) => self.constants[i].bytes(),
            Space::Scratch => self.scratch,
            Space::Output(i) => match i.checked_sub(self.outputs_before.len()) {
                None => self.outputs_before[i].bytes(),
                Some(behind) => self.outputs_behind[behind - 1].bytes(),
            },
        };
        Slice::of(*dtype, &all[bytes.clone()])
    }
}
