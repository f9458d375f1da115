//! From verified MIL to a plan.
//!
//! Operations that only rearrange elements become views. Elementwise operations are gathered into groups that one pass
//! computes. Operations without a kernel run on the reference evaluator; [`rules`] alone decides.

mod argument;
mod clusters;
mod conv;
mod fusion;
mod pairs;
mod products;
mod rules;
mod single_op;

use crate::error::CompileError;
use crate::gemm::GemmKernel;
use crate::kernels::concat::Concat;
use crate::kernels::group::{Deferred, Group};
use crate::kernels::matmul::Matmul;
use crate::kernels::pointwise::Pointwise;
use crate::kernels::reference::Reference;
use crate::kernels::rowwise::Rowwise;
use crate::kernels::tile_program::{Code, Source};
use crate::kernels::transpose::{Gather, Transpose};
use crate::plan::{
    BufferHome, BufferInfo, Constant, ConstantSource, CpuKernel, FloatKernel, MoveKernel, Plan, PlanStep,
    is_native,
};
use crate::rows::Fold;
use crate::view::View;
use argument::Argument;
use clusters::Clusters;
use mil::{ArgValue, DType, Function, Literal, Operation, Program, TensorType, ValueId, Verified};

/// The plan of the main function of `program`.
///
/// # Errors
/// If the op table contradicts itself; weights are read later.
pub(crate) fn lower(program: &Verified<Program>, gemm: GemmKernel) -> Result<Plan, CompileError> {
    let function = program.entry();
    let mut uses = vec![Vec::new(); function.values.len()];
    for (at, op) in function.ops.iter().enumerate() {
        op.captures().into_iter().for_each(|v| uses[v.index()].push(at));
    }
    let literals = function.literals();
    let mut lowering = Lowering {
        function,
        gemm,
        clusters: Clusters::find(function, &literals, &uses),
        literals,
        uses,
        values: vec![None; function.values.len()],
        buffers: Vec::new(),
        steps: Vec::new(),
        constants: Vec::new(),
    };
    for (i, &id) in function.inputs.iter().enumerate() {
        let ty = function.ty(id);
        let buffer = lowering.buffer(ty.dtype, ty.elements(), BufferHome::Input(i));
        lowering.define(id, View::packed(buffer, &ty.shape));
    }
    for (at, operation) in function.ops.iter().enumerate() {
        if lowering.is_clustered(at) {
            continue;
        }
        // An operation without results, such as writing a state, computes nothing.
        let computes = operation.op.name() != "const" && !operation.results.is_empty();
        if computes && !lowering.fast(operation) {
            lowering.reference(operation)?;
        }
    }
    for (i, &id) in function.outputs.iter().enumerate() {
        lowering.output(i, id);
    }
    Ok(Plan::new(&lowering.buffers, lowering.steps, lowering.constants))
}

/// A value whose elements are computed on first use.
#[derive(Clone, Debug)]
enum LazyValue {
    /// Elements of a buffer.
    View(View),
    /// To be computed where it is needed.
    Group(Group),
    /// To be computed where its rows are needed.
    Product(Deferred),
    /// One of the results of this cluster, which are computed together.
    Cluster(usize),
    /// The sums of the rows of a group, kept as an axis of size 1.
    RowSum(Group),
}

struct Lowering<'f> {
    function: &'f Function,
    /// How matrix products are computed.
    gemm: GemmKernel,
    clusters: Clusters,
    literals: Vec<Option<&'f Literal>>,
    /// For each value, the operations that use it, once for each use.
    uses: Vec<Vec<usize>>,
    values: Vec<Option<LazyValue>>,
    buffers: Vec<BufferInfo>,
    steps: Vec<PlanStep>,
    constants: Vec<Constant>,
}

impl<'f> Lowering<'f> {
    fn buffer(&mut self, dtype: DType, elements: usize, home: BufferHome) -> usize {
        self.buffers.push(BufferInfo { dtype, elements, home });
        self.buffers.len() - 1
    }

    fn scratch(&mut self, dtype: DType, shape: &[usize]) -> View {
        let buffer = self.buffer(dtype, shape.iter().product(), BufferHome::Scratch);
        View::packed(buffer, shape)
    }

    fn define(&mut self, id: ValueId, view: View) {
        self.values[id.index()] = Some(LazyValue::View(view));
    }

    fn dtype(&self, view: &View) -> DType {
        self.buffers[view.buffer].dtype
    }

    /// The only result of `operation`, and its type.
    fn result(&self, operation: &Operation) -> (ValueId, &'f TensorType) {
        let id = operation.results[0];
        (id, self.function.ty(id))
    }

    fn given(&self, operation: &'f Operation, name: &str) -> Option<Argument<'f>> {
        match operation.arg(name)? {
            ArgValue::Value(v) => Some(Argument::Value(*v)),
            ArgValue::Literal(l) => Some(Argument::Literal(l)),
            ArgValue::List(vs) => vs.first().map(|&v| Argument::Value(v)),
        }
    }

    fn constant(&mut self, elements: ConstantSource, ty: &TensorType) -> usize {
        self.constants.push(Constant { elements, dtype: ty.dtype, used: false });
        self.buffer(ty.dtype, ty.elements(), BufferHome::Constant(self.constants.len() - 1))
    }

    /// The elements of an argument; computes them if that has not been done.
    fn view(&mut self, given: Argument<'f>) -> View {
        let id = match given {
            Argument::Literal(l) => {
                let buffer = self.constant(ConstantSource::Literal(l.clone()), &l.ty);
                return View::packed(buffer, &l.ty.shape);
            }
            Argument::Value(id) => id,
        };
        let view = match (self.values[id.index()].take(), self.literals[id.index()]) {
            (Some(LazyValue::View(view)), _) => view,
            (Some(LazyValue::Product(product)), _) => self.settled(product),
            (Some(LazyValue::Cluster(number)), _) => {
                self.store_cluster(number);
                return self.view(given);
            }
            (Some(LazyValue::RowSum(group)), _) => {
                let (axis, ty) = (group.shape.len() - 1, self.function.ty(id));
                let sums = self.folded(group, (Fold::Sum, false), axis..axis + 1, ty.dtype);
                View::packed(sums.buffer, &ty.shape)
            }
            (Some(LazyValue::Group(group)), _) => {
                let to = self.scratch(self.function.ty(id).dtype, &group.shape);
                let label = self.function.value(id).name.clone();
                self.store(&group, to.buffer, label);
                to
            }
            (None, literal) => {
                // Verified: each value that is used is defined, by a step or as a constant.
                let ty = self.function.ty(id);
                let buffer = match literal {
                    Some(l) => self.constant(ConstantSource::Literal(l.clone()), ty),
                    None => self.buffer(ty.dtype, ty.elements(), BufferHome::Scratch),
                };
                View::packed(buffer, &ty.shape)
            }
        };
        self.define(id, view.clone());
        view
    }

    fn push(&mut self, label: String, kernel: CpuKernel, reads: Vec<usize>, write: usize) {
        self.push_step(label, kernel, reads, vec![write]);
    }

    fn push_step(&mut self, label: String, kernel: CpuKernel, reads: Vec<usize>, writes: Vec<usize>) {
        self.steps.push(PlanStep { label, kernel, reads, writes });
    }

    /// Computes `product` into its own buffer.
    fn settled(&mut self, product: Deferred) -> View {
        let Deferred { left, right, out, label, .. } = product;
        let kernel = CpuKernel::Float(FloatKernel::Matmul(Matmul::new(&left, &right, None, self.gemm)));
        self.push(label, kernel, vec![left.buffer, right.buffer], out.buffer);
        out
    }

    /// Computes `group` into `buffer`.
    fn store(&mut self, group: &Group, buffer: usize, label: String) {
        let mut reads: Vec<usize> = group.operands.iter().map(|v| v.buffer).collect();
        let narrow = self.buffers[buffer].dtype == DType::F16;
        if let Some(product) = &group.product {
            if let Some(kernel) = Rowwise::new(group, product, self.gemm, narrow) {
                reads.retain(|&b| b != product.out.buffer);
                reads.extend([product.left.buffer, product.right.buffer]);
                return self.push(
                    label,
                    CpuKernel::Float(FloatKernel::Rowwise(Box::new(kernel))),
                    reads,
                    buffer,
                );
            }
            self.settled(product.clone());
        }
        self.push(
            label,
            CpuKernel::Float(FloatKernel::Pointwise(Pointwise::new(group, narrow))),
            reads,
            buffer,
        );
    }

    /// Copies `view` into `buffer`, packed and converted to its type.
    fn copy_to(&mut self, view: &View, buffer: usize) {
        let (from, to) = (self.dtype(view), self.buffers[buffer].dtype);
        let kernel = match Transpose::new(view) {
            Some(transpose) if from == to && is_native(to) => {
                CpuKernel::Move(MoveKernel::Transpose(transpose))
            }
            _ if is_native(to) => {
                let code = Code { instructions: Vec::new(), result: Source::Operand(0) };
                let operands = vec![view.clone()];
                let group = Group { shape: view.shape.clone(), operands, code, rows: false, product: None };
                CpuKernel::Float(FloatKernel::Pointwise(Pointwise::new(&group, to == DType::F16)))
            }
            _ => CpuKernel::Move(MoveKernel::Gather(Gather::new(view))),
        };
        self.push("copy".into(), kernel, vec![view.buffer], buffer);
    }

    /// Copies `view` to its own buffer, as `dtype`.
    fn copied(&mut self, view: &View, dtype: DType) -> View {
        let to = self.scratch(dtype, &view.shape);
        self.copy_to(view, to.buffer);
        to
    }

    /// `view` without gaps.
    fn packed(&mut self, view: View) -> View {
        if view.is_packed() { view } else { self.copied(&view, self.dtype(&view)) }
    }

    /// `view` as `shape`, which has as many elements.
    fn reshaped(&mut self, view: View, shape: &[usize]) -> View {
        match view.reshaped(shape) {
            Some(view) => view,
            None => {
                let packed = self.copied(&view, self.dtype(&view));
                View::packed(packed.buffer, shape)
            }
        }
    }

    /// Whether `view` is all of a buffer that has no fixed place yet.
    fn is_movable(&self, view: &View) -> bool {
        let info = &self.buffers[view.buffer];
        info.home == BufferHome::Scratch
            && view.is_packed()
            && view.offset == 0
            && view.elements() == info.elements
    }

    /// Concatenates `parts` along `axis` into the value `id`; a part that nothing else uses is computed in place.
    fn join(&mut self, parts: Vec<View>, axis: usize, id: ValueId) {
        let (ty, label) = (self.function.ty(id), self.function.value(id).name.clone());
        let out = self.joined(parts, axis, ty, label);
        self.define(id, out);
    }

    /// `parts` along `axis`, as a value of type `ty`.
    fn joined(&mut self, parts: Vec<View>, axis: usize, ty: &TensorType, label: String) -> View {
        let out = self.scratch(ty.dtype, &ty.shape);
        if ty.shape[..axis].iter().product::<usize>() == 1 {
            let mut offset = 0;
            for part in parts {
                let home = BufferHome::Inside(out.buffer, offset);
                offset += part.elements();
                if self.is_movable(&part) {
                    self.buffers[part.buffer].home = home;
                } else {
                    let here = self.buffer(ty.dtype, part.elements(), home);
                    self.copy_to(&part, here);
                }
            }
        } else {
            let reads = parts.iter().map(|v| v.buffer).collect();
            self.push(
                label,
                CpuKernel::Move(MoveKernel::Concat(Concat::new(&parts, axis))),
                reads,
                out.buffer,
            );
        }
        out
    }

    fn output(&mut self, at: usize, id: ValueId) {
        let view = self.view(Argument::Value(id));
        if self.is_movable(&view) {
            self.buffers[view.buffer].home = BufferHome::Output(at);
        } else {
            let buffer = self.buffer(self.dtype(&view), view.elements(), BufferHome::Output(at));
            self.copy_to(&view, buffer);
        }
    }

    /// Emits a step that runs `operation` on the reference evaluator.
    fn reference(&mut self, operation: &'f Operation) -> Result<(), CompileError> {
        let (program, given) = single_op::single_op(self.function, &self.literals, operation)?;
        if given.is_empty() && operation.results.len() == 1 {
            // All arguments are constant, so the result is too.
            let (id, ty) = self.result(operation);
            let buffer = self.constant(ConstantSource::Program(program), ty);
            self.define(id, View::packed(buffer, &ty.shape));
            return Ok(());
        }
        let types: Vec<TensorType> =
            program.entry().inputs.iter().map(|&v| program.entry().ty(v).clone()).collect();
        let mut inputs = Vec::new();
        for (given, ty) in given.iter().zip(types) {
            let view = self.view(*given);
            let view = self.packed(view);
            inputs.push((view.buffer, view.offset, ty));
        }
        let reads = inputs.iter().map(|i| i.0).collect();
        let mut writes = Vec::new();
        for &id in &operation.results {
            let ty = self.function.ty(id);
            let out = self.scratch(ty.dtype, &ty.shape);
            writes.push(out.buffer);
            self.define(id, out);
        }
        let kernel = CpuKernel::Reference(Reference::new(program, inputs));
        self.steps.push(PlanStep { label: self.label(operation), kernel, reads, writes });
        Ok(())
    }

    fn label(&self, operation: &Operation) -> String {
        let name = operation.results.first().map_or("", |&r| self.function.value(r).name.as_str());
        format!("{name} = {}", operation.op.name())
    }
}
