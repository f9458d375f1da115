//! The plan: what runs in which order on which memory.

use crate::arena::Workers;
use crate::buffer::{ALIGN, SliceMut};
use crate::exec::RunError;
use crate::kernels::concat::Concat;
use crate::kernels::matmul::Matmul;
use crate::kernels::pointwise::Pointwise;
use crate::kernels::reduce::Reduce;
use crate::kernels::reference::Reference;
use crate::kernels::rowwise::Rowwise;
use crate::kernels::transpose::{Gather, Transpose};
use crate::memory::{Memory, Place, Space};
use mil::{DType, Literal, Program, Verified};
use std::fmt;

/// A buffer: packed elements of one type.
#[derive(Clone, Debug)]
pub(crate) struct BufferInfo {
    pub dtype: DType,
    pub elements: usize,
    pub home: BufferHome,
}

impl BufferInfo {
    pub fn size(&self) -> usize {
        self.elements * self.element()
    }

    /// Bytes of one element; strings stay in constants and have none.
    fn element(&self) -> usize {
        self.dtype.size().unwrap_or(0)
    }
}

/// Whether kernels compute with elements of this type; other floats are moved and run by their meaning.
pub(crate) fn is_native(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::F32)
}

/// Where a buffer has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BufferHome {
    /// Anywhere in the arena.
    Scratch,
    /// In another buffer, from this element on.
    Inside(usize, usize),
    /// The caller's input, by position.
    Input(usize),
    /// The caller's output, by position.
    Output(usize),
    /// The constant, by position.
    Constant(usize),
}

/// A constant of the program in the form that kernels read.
#[derive(Clone, Debug)]
pub(crate) struct Constant {
    pub elements: Elements,
    /// As which type its elements are kept.
    pub dtype: DType,
    /// Whether any kernel reads it.
    pub used: bool,
}

/// Where a constant's elements come from.
#[derive(Clone, Debug)]
pub(crate) enum Elements {
    Literal(Literal),
    /// The result of a program without parameters: an operation on literals alone.
    Program(Verified<Program>),
}

/// What computes a step.
#[derive(Debug)]
pub(crate) enum Kernel {
    Pointwise(Pointwise),
    Matmul(Matmul),
    Reduce(Reduce),
    Transpose(Transpose),
    Gather(Gather),
    Concat(Concat),
    Reference(Reference),
    Rowwise(Box<Rowwise>),
}

impl Kernel {
    fn name(&self) -> &'static str {
        match self {
            Kernel::Pointwise(_) => "pointwise",
            Kernel::Matmul(_) => "matmul",
            Kernel::Reduce(_) => "reduce",
            Kernel::Transpose(_) => "transpose",
            Kernel::Gather(_) => "gather",
            Kernel::Concat(_) => "concat",
            Kernel::Reference(_) => "reference",
            Kernel::Rowwise(_) => "rowwise",
        }
    }

    /// What it does beside reading and writing, as elements that could be read meanwhile.
    fn work(&self) -> usize {
        match self {
            Kernel::Matmul(k) => k.multiplications() / 64,
            Kernel::Rowwise(k) => k.multiplications() / 64,
            // Nobody knows: loops, sorting, whatever there is.
            Kernel::Reference(_) => usize::MAX,
            Kernel::Pointwise(_)
            | Kernel::Reduce(_)
            | Kernel::Transpose(_)
            | Kernel::Gather(_)
            | Kernel::Concat(_) => 0,
        }
    }

    /// f32 in each bank of a thread.
    fn banks(&self) -> Vec<usize> {
        match self {
            Kernel::Pointwise(k) => k.banks(),
            Kernel::Reduce(k) => k.banks(),
            Kernel::Rowwise(k) => k.banks(),
            Kernel::Matmul(_)
            | Kernel::Transpose(_)
            | Kernel::Gather(_)
            | Kernel::Concat(_)
            | Kernel::Reference(_) => Vec::new(),
        }
    }
}

/// One kernel, the buffers it reads and those it writes.
#[derive(Debug)]
pub(crate) struct Step {
    /// The operations it stands for, as their results are called.
    pub label: String,
    pub kernel: Kernel,
    pub reads: Vec<usize>,
    pub writes: Vec<usize>,
}

impl Step {
    /// Runs it on `memory`.
    ///
    /// # Errors
    /// What the reference meaning says; fast kernels have none.
    pub fn run(&self, memory: &mut Memory<'_, '_>, workers: &Workers) -> Result<(), RunError> {
        let target = self.writes[0];
        if let Kernel::Reference(k) = &self.kernel {
            return k.run(memory, &self.writes);
        }
        let (reader, mut out) = memory.write(target);
        if out.as_slice().is_empty() {
            return Ok(());
        }
        match (&self.kernel, &mut out) {
            (Kernel::Pointwise(k), SliceMut::F16(out)) => k.run(&reader, out, workers),
            (Kernel::Pointwise(k), SliceMut::F32(out)) => k.run(&reader, out, workers),
            (Kernel::Matmul(k), SliceMut::F16(out)) => k.run(&reader, out),
            (Kernel::Matmul(k), SliceMut::F32(out)) => k.run(&reader, out),
            (Kernel::Reduce(k), SliceMut::F16(out)) => k.run(&reader, out, workers),
            (Kernel::Reduce(k), SliceMut::F32(out)) => k.run(&reader, out, workers),
            (Kernel::Rowwise(k), SliceMut::F16(out)) => k.run(&reader, out, workers),
            (Kernel::Rowwise(k), SliceMut::F32(out)) => k.run(&reader, out, workers),
            (Kernel::Transpose(k), out) => match reader.read(k.buffer()) {
                crate::Slice::F16(from) => k.run(from, bytemuck::cast_slice_mut(out.bytes_mut())),
                crate::Slice::F32(from) => k.run(from, bytemuck::cast_slice_mut(out.bytes_mut())),
                crate::Slice::Other(..) => {}
            },
            (Kernel::Gather(k), out) => k.run(&reader, out.element(), out.bytes_mut()),
            (Kernel::Concat(k), out) => k.run(&reader, out.element(), out.bytes_mut()),
            // Lowering gives float kernels float results alone.
            (
                Kernel::Pointwise(_)
                | Kernel::Matmul(_)
                | Kernel::Reduce(_)
                | Kernel::Reference(_)
                | Kernel::Rowwise(_),
                _,
            ) => {}
        }
        Ok(())
    }
}

/// A compiled program.
#[derive(Debug)]
pub(crate) struct Plan {
    pub steps: Vec<Step>,
    pub places: Vec<Place>,
    pub constants: Vec<Constant>,
    /// Bytes of the arena that values take.
    pub scratch: usize,
    /// f32 in each bank of a thread.
    pub banks: Vec<usize>,
    /// How much there is to do: elements that are read and written, with what products weigh as much.
    pub work: usize,
}

impl Plan {
    /// Gives every buffer its place: values of the arena that live at the same time stand apart.
    pub fn new(buffers: &[BufferInfo], steps: Vec<Step>, mut constants: Vec<Constant>) -> Plan {
        let root = |mut id: usize| {
            let mut offset = 0;
            while let BufferHome::Inside(parent, at) = buffers[id].home {
                (id, offset) = (parent, offset + at);
            }
            (id, offset)
        };
        // First and last step that touches each root.
        let mut lives: Vec<Option<(usize, usize)>> = vec![None; buffers.len()];
        for (at, step) in steps.iter().enumerate() {
            for &id in step.reads.iter().chain(&step.writes) {
                let life = lives[root(id).0].get_or_insert((at, at));
                life.1 = at;
                if let BufferHome::Constant(c) = buffers[id].home {
                    constants[c].used = true;
                }
            }
        }
        let (offsets, scratch) = arrange(buffers, &lives);
        let place = |id: usize| {
            let (root, inside) = root(id);
            let info = &buffers[id];
            let start = inside * info.element();
            let (space, start) = match buffers[root].home {
                BufferHome::Input(i) => (Space::Input(i), start),
                BufferHome::Output(i) => (Space::Output(i), start),
                BufferHome::Constant(i) => (Space::Constant(i), start),
                BufferHome::Scratch | BufferHome::Inside(..) => (Space::Scratch, offsets[root] + start),
            };
            Place { space, bytes: start..start + info.size(), dtype: info.dtype }
        };
        let places = (0..buffers.len()).map(place).collect();
        let work = |step: &Step| {
            let touched = step.reads.iter().chain(&step.writes).map(|&id| buffers[id].elements);
            touched.fold(step.kernel.work(), usize::saturating_add)
        };
        let work = steps.iter().map(work).fold(0, usize::saturating_add);
        let mut banks: Vec<usize> = Vec::new();
        for step in &steps {
            let want = step.kernel.banks();
            banks.resize(banks.len().max(want.len()), 0);
            for (have, want) in banks.iter_mut().zip(want) {
                *have = want.max(*have);
            }
        }
        Plan { steps, places, constants, scratch, banks, work }
    }
}

/// Places each buffer of the arena, the largest first, at the lowest offset where it meets no other that lives at the
/// same time. Returns the offsets and the size of the whole.
fn arrange(buffers: &[BufferInfo], lives: &[Option<(usize, usize)>]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..buffers.len())
        .filter(|&i| buffers[i].home == BufferHome::Scratch && lives[i].is_some())
        .collect();
    order.sort_by_key(|&i| std::cmp::Reverse(buffers[i].size()));
    let mut offsets = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for id in order {
        let size = buffers[id].size().next_multiple_of(ALIGN);
        let meets = |other: usize| match (lives[id], lives[other]) {
            (Some(a), Some(b)) => a.0 <= b.1 && b.0 <= a.1,
            _ => false,
        };
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&o| meets(o))
            .map(|&o| (offsets[o], offsets[o] + buffers[o].size().next_multiple_of(ALIGN)))
            .collect();
        taken.sort_unstable();
        let mut at = 0;
        for (from, to) in taken {
            if at + size <= from {
                break;
            }
            at = at.max(to);
        }
        offsets[id] = at;
        total = total.max(at + size);
        placed.push(id);
    }
    (offsets, total)
}

impl fmt::Display for Plan {
    /// One line a step: kernel, what it computes, where that goes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            write!(f, "{i:4} {:<10} {}", step.kernel.name(), step.label)?;
            for &id in &step.writes {
                let place = &self.places[id];
                write!(f, " → {:?}[{}..{}]", place.space, place.bytes.start, place.bytes.end)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_live_together_stand_apart() {
        let buffer = |elements| BufferInfo { dtype: DType::F32, elements, home: BufferHome::Scratch };
        let buffers = [buffer(16), buffer(64), buffer(16), buffer(100)];
        // The last is never touched, the first and third take turns.
        let lives = [Some((0, 1)), Some((1, 3)), Some((2, 4)), None];
        let (offsets, total) = arrange(&buffers, &lives);
        assert_eq!((offsets, total), (vec![256, 0, 256, 0], 320));
    }
}
