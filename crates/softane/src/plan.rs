//! The plan: steps in order, with their buffers.

use crate::arena::Workers;
use crate::buffer::{ALIGN, Slice, SliceMut};
use crate::error::{PlanError, RunError};
use crate::gemm::Target;
use crate::kernels::concat::Concat;
use crate::kernels::matmul::Matmul;
use crate::kernels::pair::Pair;
use crate::kernels::pointwise::Pointwise;
use crate::kernels::reduce::Reduce;
use crate::kernels::reference::Reference;
use crate::kernels::rowwise::Rowwise;
use crate::kernels::transpose::{Gather, Transpose};
use crate::memory::{Place, Reader, RunBuffers, Space};
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

/// Whether kernels support this type; operations on other floats run on the reference evaluator.
pub(crate) fn is_native(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::F32)
}

/// The memory that a buffer has to be in.
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
    pub elements: ConstantSource,
    /// As which type its elements are kept.
    pub dtype: DType,
    /// Whether any kernel reads it.
    pub used: bool,
}

/// The source of a constant's elements.
#[derive(Clone, Debug)]
pub(crate) enum ConstantSource {
    Literal(Literal),
    /// The result of a program without parameters: an operation on literals.
    Program(Verified<Program>),
}

/// The kernel of a step.
#[derive(Debug)]
pub(crate) enum CpuKernel {
    /// Computes floats of floats.
    Float(FloatKernel),
    /// Computes two buffers of floats.
    Pair(Box<Pair>),
    /// Moves elements of any type.
    Move(MoveKernel),
    /// Runs an operation on the reference evaluator.
    Reference(Reference),
}

#[derive(Debug)]
pub(crate) enum FloatKernel {
    Pointwise(Pointwise),
    Matmul(Matmul),
    Reduce(Reduce),
    Rowwise(Box<Rowwise>),
}

#[derive(Debug)]
pub(crate) enum MoveKernel {
    /// A compute kernel on fp16 or fp32.
    Transpose(Transpose),
    Gather(Gather),
    Concat(Concat),
}

impl CpuKernel {
    fn name(&self) -> &'static str {
        match self {
            CpuKernel::Float(FloatKernel::Pointwise(_)) => "pointwise",
            CpuKernel::Float(FloatKernel::Matmul(_)) => "matmul",
            CpuKernel::Float(FloatKernel::Reduce(_)) => "reduce",
            CpuKernel::Float(FloatKernel::Rowwise(_)) => "rowwise",
            CpuKernel::Pair(_) => "pair",
            CpuKernel::Move(MoveKernel::Transpose(_)) => "transpose",
            CpuKernel::Move(MoveKernel::Gather(_)) => "gather",
            CpuKernel::Move(MoveKernel::Concat(_)) => "concat",
            CpuKernel::Reference(_) => "reference",
        }
    }

    /// The cost beside reading and writing, as elements that could be read meanwhile.
    fn work(&self) -> usize {
        match self {
            CpuKernel::Float(FloatKernel::Matmul(k)) => k.multiplications() / 64,
            CpuKernel::Float(FloatKernel::Rowwise(k)) => k.multiplications() / 64,
            CpuKernel::Float(FloatKernel::Pointwise(_) | FloatKernel::Reduce(_))
            | CpuKernel::Pair(_)
            | CpuKernel::Move(_) => 0,
            // Unknown: loops, sorting, whatever the operation does.
            CpuKernel::Reference(_) => usize::MAX,
        }
    }

    /// f32 in each bank of a thread.
    fn banks(&self) -> Vec<usize> {
        match self {
            CpuKernel::Float(FloatKernel::Pointwise(k)) => k.banks(),
            CpuKernel::Float(FloatKernel::Reduce(k)) => k.banks(),
            CpuKernel::Float(FloatKernel::Rowwise(k)) => k.banks(),
            CpuKernel::Pair(k) => k.banks(),
            CpuKernel::Float(FloatKernel::Matmul(_)) | CpuKernel::Move(_) | CpuKernel::Reference(_) => {
                Vec::new()
            }
        }
    }
}

impl FloatKernel {
    fn run<T: Target>(&self, reader: &Reader<'_, '_>, out: &mut [T], workers: &Workers) {
        match self {
            FloatKernel::Pointwise(k) => k.run(reader, out, workers),
            FloatKernel::Matmul(k) => k.run(reader, out),
            FloatKernel::Reduce(k) => k.run(reader, out, workers),
            FloatKernel::Rowwise(k) => k.run(reader, out, workers),
        }
    }
}

/// One kernel, the buffers it reads and those it writes.
#[derive(Debug)]
pub(crate) struct PlanStep {
    /// The names of the results that it computes.
    pub label: String,
    pub kernel: CpuKernel,
    pub reads: Vec<usize>,
    pub writes: Vec<usize>,
}

impl PlanStep {
    /// Runs it on `memory`.
    ///
    /// # Errors
    /// The error of the reference evaluator; `Plan`, if a kernel gets elements of an unsupported type.
    pub fn run(&self, memory: &mut RunBuffers<'_, '_>, workers: &Workers) -> Result<(), RunError> {
        let target = self.writes[0];
        match &self.kernel {
            CpuKernel::Reference(k) => return k.run(memory, &self.writes),
            CpuKernel::Pair(k) => {
                k.run(memory, [self.writes[0], self.writes[1]], workers);
            }
            CpuKernel::Float(k) => {
                let (reader, mut out) = memory.write(target);
                self.reads.iter().try_for_each(|&id| self.check_float(reader.dtype(id)))?;
                match &mut out {
                    SliceMut::F16([]) | SliceMut::F32([]) => {}
                    SliceMut::F16(out) => k.run(&reader, out, workers),
                    SliceMut::F32(out) => k.run(&reader, out, workers),
                    SliceMut::Other(dtype, _) => return Err(self.not_float(*dtype)),
                }
            }
            CpuKernel::Move(k) => {
                let (reader, mut out) = memory.write(target);
                let (element, out) = (out.element(), out.bytes_mut());
                match k {
                    _ if out.is_empty() => {}
                    MoveKernel::Gather(k) => k.run(&reader, element, out),
                    MoveKernel::Concat(k) => k.run(&reader, element, out),
                    MoveKernel::Transpose(k) => match reader.read(k.buffer()) {
                        Slice::F16(from) => k.run(from, bytemuck::cast_slice_mut(out)),
                        Slice::F32(from) => k.run(from, bytemuck::cast_slice_mut(out)),
                        other => return Err(self.not_float(other.dtype())),
                    },
                }
            }
        }
        Ok(())
    }

    fn check_float(&self, dtype: DType) -> Result<(), RunError> {
        if is_native(dtype) { Ok(()) } else { Err(self.not_float(dtype)) }
    }

    fn not_float(&self, dtype: DType) -> RunError {
        PlanError::NotFloat { step: self.label.clone(), kernel: self.kernel.name(), dtype }.into()
    }
}

/// A compiled program.
#[derive(Debug)]
pub(crate) struct Plan {
    pub steps: Vec<PlanStep>,
    pub places: Vec<Place>,
    pub constants: Vec<Constant>,
    /// Bytes of the arena that values take.
    pub scratch: usize,
    /// f32 in each bank of a thread.
    pub banks: Vec<usize>,
    /// An estimate of the work: elements read and written, and multiplications at a rate.
    pub work: usize,
}

impl Plan {
    /// Assigns memory to every buffer: values of the arena with overlapping lifetimes do not share memory.
    pub fn new(buffers: &[BufferInfo], steps: Vec<PlanStep>, mut constants: Vec<Constant>) -> Plan {
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
        let work = |step: &PlanStep| {
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

/// Places each buffer of the arena, the largest first, at the lowest offset that overlaps no buffer whose lifetime
/// does. Returns the offsets and the total size.
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
    /// One line per step: kernel, results, buffers.
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
    use crate::view::View;

    /// The error names step, kernel and type.
    #[test]
    fn a_kernel_of_floats_refuses_other_types() {
        let kernel = CpuKernel::Move(MoveKernel::Transpose(
            Transpose::new(&View::packed(0, &[64, 64]).permuted(&[1, 0])).expect("a transpose"),
        ));
        let places = [
            Place { space: Space::Input(0), bytes: 0..64 * 64 * 8, dtype: DType::I64 },
            Place { space: Space::Output(0), bytes: 0..64 * 64 * 8, dtype: DType::I64 },
        ];
        let step = PlanStep { label: "y = transpose".into(), kernel, reads: vec![0], writes: vec![1] };
        let (from, mut to) = (vec![1u8; 64 * 64 * 8], vec![7u8; 64 * 64 * 8]);
        let mut memory = RunBuffers {
            places: &places,
            inputs: &[Slice::Other(DType::I64, &from)],
            outputs: &mut [SliceMut::Other(DType::I64, &mut to)],
            constants: &[],
            scratch: &mut [],
        };
        let error = step.run(&mut memory, &Workers::default()).expect_err("integers");
        assert!(error.to_string().contains("step `y = transpose`, transpose"), "{error}");
    }

    #[test]
    fn values_that_live_together_stand_apart() {
        let buffer = |elements| BufferInfo { dtype: DType::F32, elements, home: BufferHome::Scratch };
        let buffers = [buffer(16), buffer(64), buffer(16), buffer(100)];
        // The last is never written, the first and third alternate.
        let lives = [Some((0, 1)), Some((1, 3)), Some((2, 4)), None];
        let (offsets, total) = arrange(&buffers, &lives);
        assert_eq!((offsets, total), (vec![256, 0, 256, 0], 320));
    }
}
