//! Elementwise operations with two results.

use super::group::Group;
use super::pointwise::Pointwise;
use super::tile_program::Source;
use crate::arena::Workers;
use crate::buffer::SliceMut;
use crate::convert::Element;
use crate::memory::{Reader, RunBuffers};

/// Stores two results of a [`Group`], in one pass if both are in the same memory.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    both: Pointwise,
    /// For each result alone.
    each: [Pointwise; 2],
}

impl Pair {
    pub fn new(group: &Group, results: [Source; 2], stored_narrow: bool) -> Pair {
        let each = results.map(|result| Pointwise::of(group, &[result], stored_narrow));
        Pair { both: Pointwise::of(group, &results, stored_narrow), each }
    }

    /// f32 in each bank it needs.
    pub fn banks(&self) -> Vec<usize> {
        let mut banks = self.both.banks();
        for other in self.each.iter().map(Pointwise::banks) {
            banks.resize(banks.len().max(other.len()), 0);
            banks.iter_mut().zip(other).for_each(|(bank, other)| *bank = other.max(*bank));
        }
        banks
    }

    pub fn run(&self, memory: &mut RunBuffers<'_, '_>, writes: [usize; 2], workers: &Workers) {
        match memory.write_two(writes) {
            Some((reader, [SliceMut::F16(a), SliceMut::F16(b)])) => {
                self.both.run_two(&reader, [a, b], workers)
            }
            Some((reader, [SliceMut::F32(a), SliceMut::F32(b)])) => {
                self.both.run_two(&reader, [a, b], workers)
            }
            _ => {
                for (pass, target) in self.each.iter().zip(writes) {
                    let (reader, out) = memory.write(target);
                    one(pass, &reader, out, workers);
                }
            }
        }
    }
}

fn one(pass: &Pointwise, reader: &Reader<'_, '_>, out: SliceMut<'_>, workers: &Workers) {
    fn run<T: Element>(pass: &Pointwise, reader: &Reader<'_, '_>, out: &mut [T], workers: &Workers) {
        pass.run(reader, out, workers);
    }
    match out {
        SliceMut::F16(out) => run(pass, reader, out, workers),
        SliceMut::F32(out) => run(pass, reader, out, workers),
        SliceMut::Other(dtype, _) => unreachable!("{dtype}: lowering makes pairs of floats only"),
    }
}
