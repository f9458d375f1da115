//! Concatenation.

use super::TASK;
use crate::memory::Reader;
use crate::pool::for_each;
use crate::view::{View, Walk};
use rayon::prelude::*;

/// Writes several views one after another along an axis.
#[derive(Clone, Debug)]
pub(crate) struct Concat {
    /// For each view: buffer, offset, strides, and the elements it contributes to each chunk of the result.
    parts: Vec<(usize, usize, Walk, usize)>,
    chunk: usize,
}

impl Concat {
    /// The parts' axes from `axis` on follow each other in the result.
    pub fn new(parts: &[View], axis: usize) -> Concat {
        let part = |v: &View| {
            let walk = Walk::new(&v.shape, &[&v.strides], v.shape.len() - axis);
            (v.buffer, v.offset, walk, v.shape[axis..].iter().product())
        };
        let parts: Vec<_> = parts.iter().map(part).collect();
        Concat { chunk: parts.iter().map(|p| p.3).sum(), parts }
    }

    pub fn run(&self, reader: &Reader<'_, '_>, size: usize, out: &mut [u8]) {
        let chunks = (TASK / self.chunk.max(1)).max(1);
        for_each(out.par_chunks_mut(chunks * self.chunk * size).enumerate(), |(task, out)| {
            for (i, mut out) in out.chunks_exact_mut(self.chunk * size).enumerate() {
                for (buffer, offset, walk, elements) in &self.parts {
                    let (here, rest) = out.split_at_mut(elements * size);
                    out = rest;
                    let from = reader.read(*buffer).bytes();
                    let (inner, step) = (walk.inner(), walk.inner_step(0));
                    let rows = elements / inner;
                    for (r, here) in here.chunks_exact_mut(inner * size).enumerate() {
                        let at = offset + walk.row(0, (task * chunks + i) * rows + r);
                        if step == 1 {
                            here.copy_from_slice(&from[at * size..(at + inner) * size]);
                            continue;
                        }
                        for (k, here) in here.chunks_exact_mut(size).enumerate() {
                            here.copy_from_slice(&from[(at + k * step) * size..][..size]);
                        }
                    }
                }
            }
        });
    }
}
