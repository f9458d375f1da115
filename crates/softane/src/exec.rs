//! A compiled program, and how it runs.

use crate::arena::Arena;
use crate::buffer::{Buffer, Slice, SliceMut};
use crate::constants;
use crate::error::{CompileError, RunError};
use crate::gemm::{GemmKernel, MatmulPrecision};
use crate::lefts::lefts;
use crate::lower;
use crate::memory::RunBuffers;
use crate::plan::{Constant, ConstantSource, Plan};
use crate::pool::{self, Pool};
use crate::shared::SharedConstants;
use mil::ir::LiteralData;
use mil::{ArgValue, DType, Function, Literal, Program, TensorType, Verified, Weights};
use rayon::prelude::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes a compiled program needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Weights and other constants, in the layout that kernels read; of those that programs share, a part each.
    pub constants: usize,
    /// The most that intermediate values take at one time; shared with other programs.
    pub scratch: usize,
}

/// A program compiled for this engine, weights baked in.
#[derive(Debug)]
pub struct Executable {
    plan: Plan,
    /// Of each input, the shape that it may be quantised in without being widened.
    lefts: Vec<Option<[usize; 2]>>,
    constants: Vec<Arc<Buffer>>,
    inputs: Vec<(String, TensorType)>,
    outputs: Vec<(String, TensorType)>,
}

impl Executable {
    /// Compiles the main function of `program`.
    ///
    /// # Errors
    /// `Weights`, if one is missing or does not match the program; `TooLarge` and `Memory`, if it needs more than there
    /// is; `Strings`, if it computes some.
    pub fn compile(program: &Verified<Program>, weights: &Weights) -> Result<Executable, CompileError> {
        Executable::compile_with(program, weights, MatmulPrecision::F32)
    }

    /// Compiles as [`Executable::compile`] does, with matrix products computed by `gemm`.
    ///
    /// # Errors
    /// As there.
    pub fn compile_with(
        program: &Verified<Program>,
        weights: &Weights,
        gemm: impl Into<GemmKernel>,
    ) -> Result<Executable, CompileError> {
        let function = program.entry();
        sizes(function)?;
        let plan = lower::lower(program, gemm.into())?;
        plan.constants.iter().try_for_each(|c| constants::check(c, weights))?;
        reserve(&plan)?;
        let mut constants: Vec<Arc<Buffer>> =
            plan.constants.iter().map(|c| Arc::new(Buffer::zeroed(constants::size(c)))).collect();
        plan.constants
            .par_iter()
            .zip(&mut constants)
            .try_for_each(|(c, to)| constants::fill(c, weights, Arc::make_mut(to)))?;
        let side = |ids: &[mil::ValueId]| -> Vec<(String, TensorType)> {
            ids.iter().map(|&v| (function.value(v).name.clone(), function.ty(v).clone())).collect()
        };
        let lefts = lefts(&plan, function.inputs.len());
        let (inputs, outputs) = (side(&function.inputs), side(&function.outputs));
        Ok(Executable { plan, lefts, constants, inputs, outputs })
    }

    /// Runs once, on the current rayon pool. Inputs and outputs are packed, row-major, in the order of the
    /// function's parameters and results.
    ///
    /// # Errors
    /// If number, type or size of the slices is not the function's.
    pub fn run<'s>(
        &self,
        inputs: &[Slice<'s>],
        outputs: &mut [SliceMut<'s>],
        arena: &mut Arena,
    ) -> Result<(), RunError> {
        self.run_steps(rayon::current_num_threads(), inputs, outputs, arena, |_| ())
    }

    /// Runs once as [`Executable::run`] does, on `pool`. If the calling thread is not one of the pool's, it runs small
    /// programs itself: that takes less time than waking another thread.
    ///
    /// # Errors
    /// As there.
    pub fn run_on<'s>(
        &self,
        pool: &Pool,
        inputs: &[Slice<'s>],
        outputs: &mut [SliceMut<'s>],
        arena: &mut Arena,
    ) -> Result<(), RunError> {
        if self.plan.work <= INLINE_WORK && pool.current().is_none() {
            pool::inline(|| self.run_steps(1, inputs, outputs, arena, |_| ()))
        } else {
            pool.install(|| self.run(inputs, outputs, arena))
        }
    }

    /// Runs once as [`Executable::run`] does. Returns the time of each step, in the order of the lines of
    /// [`Executable::plan`].
    ///
    /// # Errors
    /// As [`Executable::run`].
    pub fn profile<'s>(
        &self,
        inputs: &[Slice<'s>],
        outputs: &mut [SliceMut<'s>],
        arena: &mut Arena,
    ) -> Result<Vec<Duration>, RunError> {
        let mut times = Vec::new();
        self.run_steps(rayon::current_num_threads(), inputs, outputs, arena, |start| {
            times.push(start.elapsed())
        })?;
        Ok(times)
    }

    /// Runs the steps on up to `threads` threads; calls `done` after each, with the time it began.
    fn run_steps<'s>(
        &self,
        threads: usize,
        inputs: &[Slice<'s>],
        outputs: &mut [SliceMut<'s>],
        arena: &mut Arena,
        mut done: impl FnMut(Instant),
    ) -> Result<(), RunError> {
        check("inputs", &self.inputs, inputs.iter().copied())?;
        check("outputs", &self.outputs, outputs.iter().map(SliceMut::as_slice))?;
        arena.make_ready(self, threads);
        let wide = self.widened(inputs);
        let mut all = Vec::new();
        if !wide.is_empty() {
            all.extend_from_slice(inputs);
            wide.iter().for_each(|(i, wide)| all[*i] = Slice::of(DType::F16, wide.bytes()));
        }
        let mut memory = RunBuffers {
            places: &self.plan.places,
            inputs: if wide.is_empty() { inputs } else { &all },
            outputs,
            constants: &self.constants,
            scratch: arena.values.bytes_mut(),
        };
        self.plan.steps.iter().try_for_each(|step| {
            let start = Instant::now();
            step.run(&mut memory, &arena.workers)?;
            done(start);
            Ok(())
        })
    }

    /// The quantised ones of `inputs` that something else reads than products of matrices of their shape, in half precision.
    fn widened(&self, inputs: &[Slice<'_>]) -> Vec<(usize, Buffer)> {
        let widen = |(i, input): (usize, &Slice<'_>)| match input {
            Slice::Quant(matrix) if self.lefts.get(i) != Some(&Some(matrix.shape())) => {
                let mut wide = Buffer::zeroed(2 * matrix.elements());
                matrix.widen(0, bytemuck::cast_slice_mut(wide.bytes_mut()));
                Some((i, wide))
            }
            _ => None,
        };
        inputs.iter().enumerate().filter_map(widen).collect()
    }

    /// Keeps constants that equal those of other programs in `shared` once. Writing to one copies it first.
    pub fn share(&mut self, shared: &mut SharedConstants) {
        self.constants.iter_mut().for_each(|constant| shared.unify(constant));
    }

    /// Replaces the weights in place.
    ///
    /// # Errors
    /// If a weight is missing or does not match the program; the old weights stay.
    pub fn rebake(&mut self, weights: &Weights) -> Result<(), CompileError> {
        let constants = &self.plan.constants;
        constants.iter().try_for_each(|c| constants::check(c, weights))?;
        constants
            .par_iter()
            .zip(&mut self.constants)
            .filter(|(c, _)| constants::is_weight(c))
            .try_for_each(|(c, to)| constants::fill(c, weights, Arc::make_mut(to)))
    }

    /// The memory from which the kernels read the weight at `offset` of file `path`. `None` if writing there does not suffice
    /// all that [`Executable::rebake`] does for it: if the weight is kept twice, in another type than in the file, or
    /// constants are computed from weights.
    pub fn weight_mut(&mut self, path: &str, offset: u64) -> Option<SliceMut<'_>> {
        let constants = &self.plan.constants;
        if constants
            .iter()
            .any(|c| matches!(c.elements, ConstantSource::Program(_)) && constants::is_weight(c))
        {
            return None;
        }
        let is_it = |c: &Constant| match &c.elements {
            ConstantSource::Literal(Literal { ty, data: LiteralData::Blob { path: at, offset: from } }) => {
                at == path && *from == offset && c.used && c.dtype == ty.dtype
            }
            _ => false,
        };
        let mut places = (0..constants.len()).filter(|&i| is_it(&constants[i]));
        let (place, None) = (places.next()?, places.next()) else { return None };
        Some(SliceMut::of(constants[place].dtype, Arc::make_mut(&mut self.constants[place]).bytes_mut()))
    }

    /// Bytes it needs.
    pub fn memory(&self) -> MemoryUse {
        let share = |constant: &Arc<Buffer>| constant.len() / Arc::strong_count(constant);
        MemoryUse { constants: self.constants.iter().map(share).sum(), scratch: self.plan.scratch }
    }

    /// The steps, one per line: kernel, result, buffer. Steps called `reference` have no kernel and are slow.
    pub fn plan(&self) -> String {
        self.plan.to_string()
    }
}

impl Arena {
    /// Grows to the size that `executable` needs on `threads` threads. [`Executable::run`] does this if needed.
    pub fn make_ready(&mut self, executable: &Executable, threads: usize) {
        self.grow(executable.plan.scratch, &executable.plan.banks, threads);
    }
}

/// Elements that a thread processes in the time needed to wake another, 5 to 10 µs.
const INLINE_WORK: usize = 1 << 15;

/// Elements of a value at most, empty axes counted as 1: up to here, sums and products of sizes and offsets do not
/// overflow.
const LARGEST: usize = 1 << 40;

/// Checks that sizes of values do not overflow arithmetic with them.
fn sizes(function: &Function) -> Result<(), CompileError> {
    let check = |name: &str, ty: &TensorType| {
        let elements = ty.shape.iter().fold(1, |n: usize, &d| n.saturating_mul(d.max(1)));
        let (name, ty) = (name.to_owned(), ty.clone());
        if elements <= LARGEST { Ok(()) } else { Err(CompileError::TooLarge { name, ty }) }
    };
    function.values.iter().try_for_each(|v| check(&v.name, &v.ty))?;
    for op in function.operations() {
        let computed = op.results.iter().filter(|_| op.op.name() != "const");
        if let Some(v) = computed.map(|&v| function.value(v)).find(|v| v.ty.dtype == DType::Str) {
            return Err(CompileError::Strings { name: v.name.clone(), ty: v.ty.clone() });
        }
        for arg in &op.args {
            if let ArgValue::Literal(l) = &arg.value {
                check(op.op.params[arg.param].name, &l.ty)?;
            }
        }
    }
    Ok(())
}

/// Reserves all memory that `plan` needs and releases it: a program that needs too much is refused here, and does not
/// abort the process later.
fn reserve(plan: &Plan) -> Result<(), CompileError> {
    let threads = rayon::current_num_threads();
    let constants = plan.constants.iter().map(constants::size);
    let banks = plan.banks.iter().map(|n| n.saturating_mul(4 * threads));
    let bytes = constants.chain(banks).fold(plan.scratch, usize::saturating_add);
    match Vec::<u8>::new().try_reserve_exact(bytes) {
        Ok(()) => Ok(()),
        Err(_) => Err(CompileError::Memory { bytes }),
    }
}

fn check<'s>(
    side: &'static str,
    want: &[(String, TensorType)],
    got: impl ExactSizeIterator<Item = Slice<'s>>,
) -> Result<(), RunError> {
    if want.len() != got.len() {
        return Err(RunError::Count { side, want: want.len(), got: got.len() });
    }
    for ((name, want), got) in want.iter().zip(got) {
        if got.dtype() != want.dtype || got.len() != want.elements() {
            let (got, dtype) = (got.len(), got.dtype());
            return Err(RunError::Elements { name: name.clone(), want: want.clone(), got, dtype });
        }
    }
    Ok(())
}
