//! The memory of values while a program runs: one buffer is written, all others are read.

use crate::buffer::{Buffer, Slice, SliceMut};
use mil::DType;
use std::ops::Range;

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
    pub inputs: &'m [Slice<'s>],
    pub outputs: &'m mut [SliceMut<'s>],
    pub constants: &'m [Buffer],
    pub scratch: &'m mut [u8],
}

/// All memory of one run except the buffer that is being written.
pub(crate) struct Reader<'r, 's> {
    places: &'r [Place],
    inputs: &'r [Slice<'s>],
    constants: &'r [Buffer],
    /// The space of the buffer being written: the bytes before and after that buffer, and the offset of the latter.
    here: Space,
    low: &'r [u8],
    high: &'r [u8],
    high_at: usize,
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
        let place = &self.places[target];
        let (before, all, behind, scratch): (_, &mut [u8], _, &[u8]) = match place.space {
            Space::Output(i) => {
                let (before, rest) = self.outputs.split_at_mut(i);
                let (this, behind) = rest.split_at_mut(1);
                (&*before, this[0].bytes_mut(), &*behind, &*self.scratch)
            }
            Space::Scratch => (&*self.outputs, &mut *self.scratch, &[], &[]),
            Space::Input(_) | Space::Constant(_) => panic!("buffer {target} is written, but only to be read"),
        };
        let (low, rest) = all.split_at_mut(place.bytes.start);
        let (out, high) = rest.split_at_mut(place.bytes.len());
        let reader = Reader {
            places: self.places,
            inputs: self.inputs,
            constants: self.constants,
            here: place.space,
            low,
            high,
            high_at: place.bytes.end,
            outputs_before: before,
            outputs_behind: behind,
            scratch,
        };
        (reader, SliceMut::of(place.dtype, out))
    }
}

impl Reader<'_, '_> {
    /// The element type of buffer `id`.
    pub fn dtype(&self, id: usize) -> DType {
        self.places[id].dtype
    }

    /// The elements of buffer `id`.
    ///
    /// # Panics
    /// If it overlaps the buffer being written; no plan reads that.
    pub fn read(&self, id: usize) -> Slice<'_> {
        let Place { space, bytes, dtype } = &self.places[id];
        let all = match *space {
            here if here == self.here => {
                return if bytes.end <= self.low.len() {
                    Slice::of(*dtype, &self.low[bytes.clone()])
                } else {
                    Slice::of(*dtype, &self.high[bytes.start - self.high_at..bytes.end - self.high_at])
                };
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
