//! Which operation becomes which kernel or view.

use super::{Argument, LazyValue, Lowering};
use crate::kernels::group::Group;
use crate::kernels::reduce::Reduce;
use crate::kernels::tile_program::{Binary, Function, Unary};
use crate::plan::{CpuKernel, FloatKernel};
use crate::rows::Fold;
use crate::view::View;
use mil::op::{Call, Role, resolve_axis};
use mil::{DType, Operation, ValueId};
use std::ops::Range;

/// The longest row whose sum is computed where it is used: the values of a tile stay in the second-level cache.
const LONGEST: usize = 4096;

impl<'f> Lowering<'f> {
    /// Lowers `operation` to kernels; `false` if there is none and the reference evaluator runs it.
    pub(super) fn fast(&mut self, operation: &'f Operation) -> bool {
        let is_empty = |v: ValueId| self.function.ty(v).elements() == 0;
        if operation.uses().chain(operation.results.iter().copied()).any(is_empty) {
            return false;
        }
        let call = Call::new(self.function, &self.literals, operation);
        match Unary::of(&call) {
            Some(unary) => self.unary(operation, unary),
            None => self.fast_rest(operation, &call),
        }
    }

    fn fast_rest(&mut self, operation: &'f Operation, call: &Call<'f>) -> bool {
        let x = self.given(operation, "x");
        let (_, out) = self.result(operation);
        // Compute kernels support floats only; integers run on the reference evaluator.
        let computes =
            matches!(operation.op.name(), "matmul" | "linear") || operation.op.name().starts_with("reduce_");
        if computes && !out.dtype.is_float() {
            return false;
        }
        if let Some(binary) = Binary::of(operation.op.name()) {
            return self.binary(operation, binary);
        }
        match (operation.op.name(), x) {
            ("softmax", Some(x)) => {
                let axis = resolve_axis(call.int("axis"), out.rank()).unwrap_or(0);
                if axis + 1 == out.rank() {
                    self.softmax_rows(operation, x)
                } else {
                    self.softmax_columns(operation, x, axis)
                }
            }
            ("layer_norm", Some(_)) => {
                let last = out.rank().checked_sub(1);
                let axes: Vec<_> = call.ints("axes").iter().map(|&a| resolve_axis(a, out.rank())).collect();
                axes == [last] && last.is_some() && self.layer_norm(operation, call.float("epsilon") as f32)
            }
            ("reduce_sum", Some(x)) => self.reduce(operation, call, x, (Fold::Sum, false), None),
            ("reduce_mean", Some(x)) => self.reduce(operation, call, x, (Fold::Sum, true), None),
            ("reduce_max", Some(x)) => self.reduce(operation, call, x, (Fold::Max, false), None),
            ("reduce_min", Some(x)) => self.reduce(operation, call, x, (Fold::Min, false), None),
            ("reduce_sum_square", Some(x)) => {
                self.reduce(operation, call, x, (Fold::Sum, false), Some(Unary::Square))
            }
            ("reduce_l1_norm", Some(x)) => {
                self.reduce(operation, call, x, (Fold::Sum, false), Some(Unary::Abs))
            }
            ("matmul", Some(x)) => self.matmul(operation, call, x),
            ("linear", Some(x)) => self.linear(operation, x),
            ("conv", Some(x)) => self.conv(operation, call, x),
            _ => self.rearranged(operation, call, x),
        }
    }

    /// Operations that only rearrange elements: most become views.
    fn rearranged(&mut self, operation: &'f Operation, call: &Call<'f>, x: Option<Argument<'f>>) -> bool {
        let (id, out) = self.result(operation);
        match (operation.op.name(), x) {
            ("identity", Some(x)) => {
                let view = self.view(x);
                self.define(id, view);
                true
            }
            ("reshape" | "squeeze" | "expand_dims", Some(x)) => {
                let view = self.view(x);
                let view = self.reshaped(view, &out.shape);
                self.define(id, view);
                true
            }
            ("transpose", Some(x)) => {
                let view = self.view(x);
                let perm = call.ints("perm");
                let perm: Vec<usize> = perm.iter().filter_map(|&p| resolve_axis(p, perm.len())).collect();
                self.define(id, view.permuted(&perm));
                true
            }
            // A begin that is computed at run time cannot be the offset of a view.
            ("slice_by_size" | "slice_by_index", _) if is_computed(operation, call) => false,
            ("slice_by_size", Some(x)) => {
                let view = self.view(x);
                let from_end = |(b, &d): (&i64, &usize)| {
                    if *b < 0 { d - b.unsigned_abs() as usize } else { *b as usize }
                };
                let begin: Vec<usize> = call.ints("begin").iter().zip(&view.shape).map(from_end).collect();
                self.define(id, view.part(&begin, &vec![1; begin.len()], &out.shape));
                true
            }
            ("slice_by_index", Some(x)) => self.slice_by_index(operation, call, x),
            ("split", Some(x)) => {
                let view = self.view(x);
                let axis = resolve_axis(call.int("axis"), view.shape.len()).unwrap_or(0);
                let mut begin = vec![0; view.shape.len()];
                for &part in &operation.results {
                    let shape = &self.function.ty(part).shape;
                    self.define(part, view.part(&begin, &vec![1; begin.len()], shape));
                    begin[axis] += shape[axis];
                }
                true
            }
            ("tile", Some(x)) => self.tile(x, call, id),
            ("concat", _) if !call.bool("interleave") => {
                let axis = resolve_axis(call.int("axis"), out.rank()).unwrap_or(0);
                let parts = self.parts(operation);
                self.join(parts, axis, id);
                true
            }
            ("stack", _) => {
                let axis = resolve_axis(call.int("axis"), out.rank()).unwrap_or(0);
                let mut shape = out.shape.clone();
                shape[axis] = 1;
                let parts = self.parts(operation).into_iter().map(|v| self.reshaped(v, &shape)).collect();
                self.join(parts, axis, id);
                true
            }
            _ => false,
        }
    }

    fn parts(&mut self, operation: &'f Operation) -> Vec<View> {
        let ids: Vec<ValueId> = match operation.arg("values") {
            Some(mil::ArgValue::List(vs)) => vs.clone(),
            Some(mil::ArgValue::Value(v)) => vec![*v],
            _ => Vec::new(),
        };
        ids.into_iter().map(|v| self.view(Argument::Value(v))).collect()
    }

    /// Slices with positive strides; others run on the reference evaluator.
    fn slice_by_index(&mut self, operation: &'f Operation, call: &Call<'f>, x: Argument<'f>) -> bool {
        let (id, out) = self.result(operation);
        let shape = &call.ty("x").shape;
        if call.has("squeeze_mask") || call.has("stride") && call.ints("stride").iter().any(|&s| s <= 0) {
            return false;
        }
        let stride = match call.has("stride") {
            true => call.ints("stride").iter().map(|&s| s as usize).collect(),
            false => vec![1; shape.len()],
        };
        let masks = match operation
            .arg_value("begin_mask")
            .and_then(|v| self.literals[v.index()])
            .map(|l| l.data())
        {
            Some(Some(mil::Data::Bool(m))) => m.clone(),
            _ => vec![false; shape.len()],
        };
        let begin: Vec<usize> = call
            .ints("begin")
            .iter()
            .zip(shape)
            .zip(&masks)
            .map(|((&b, &d), &masked)| match b {
                _ if masked => 0,
                b if b < 0 => d.saturating_sub(b.unsigned_abs() as usize),
                b => (b as usize).min(d),
            })
            .collect();
        if begin.len() != shape.len() || out.elements() == 0 {
            return false;
        }
        let view = self.view(x);
        self.define(id, view.part(&begin, &stride, &out.shape));
        true
    }

    /// Repetitions: each axis is walked anew for every repetition.
    fn tile(&mut self, x: Argument<'f>, call: &Call<'f>, id: ValueId) -> bool {
        let view = self.view(x);
        let out = self.function.ty(id);
        let mut repeated = View { shape: Vec::new(), strides: Vec::new(), ..view.clone() };
        let axes = view.shape.iter().zip(&view.strides);
        for (&reps, (&d, &s)) in call.ints("reps").iter().zip(axes) {
            repeated.shape.extend([reps as usize, d]);
            repeated.strides.extend([0, s]);
        }
        let view = self.reshaped(repeated, &out.shape);
        self.define(id, view);
        true
    }

    fn reduce(
        &mut self,
        operation: &'f Operation,
        call: &Call<'f>,
        x: Argument<'f>,
        (fold, mean): (Fold, bool),
        each: Option<Unary>,
    ) -> bool {
        let (id, out) = self.result(operation);
        let shape = &call.ty("x").shape;
        let mut reduced = vec![!call.has("axes"); shape.len()];
        for axis in call.ints("axes").iter().filter_map(|&a| resolve_axis(a, shape.len())) {
            reduced[axis] = true;
        }
        // Axes of size 1 count as either.
        let counts = |i: &usize| reduced[*i] && shape[*i] != 1;
        let (Some(first), Some(last)) = ((0..shape.len()).find(counts), (0..shape.len()).rfind(counts))
        else {
            return false;
        };
        if (first..=last).any(|i| !reduced[i] && shape[i] != 1) {
            return false;
        }
        let mut group = self.group(shape);
        group.code.result = self.source(&mut group, x);
        if let Some(f) = each {
            let x = group.code.result;
            self.add(&mut group, Function::Unary(f, x), DType::F32);
        }
        let rows =
            (fold, mean) == (Fold::Sum, false) && first + 1 == shape.len() && out.rank() == shape.len();
        if rows && group.product.is_none() && !group.rows && shape[first] <= LONGEST {
            // The one that uses them may compute them with its own rows.
            self.values[id.index()] = Some(LazyValue::RowSum(group));
            return true;
        }
        let view = self.folded(group, (fold, mean), first..last + 1, out.dtype);
        let view = View::packed(view.buffer, &out.shape);
        self.define(id, view);
        true
    }

    /// Reduces `group` over `axes` into a buffer of `dtype`, in which they have size 1; `mean` divides by the count.
    pub(super) fn folded(
        &mut self,
        mut group: Group,
        (fold, mean): (Fold, bool),
        axes: Range<usize>,
        dtype: DType,
    ) -> View {
        if let Some(product) = group.product.take() {
            self.settled(product);
        }
        let n = group.shape[axes.clone()].iter().product();
        let inner = group.shape[axes.end..].iter().product();
        let mut shape = group.shape.clone();
        shape[axes].fill(1);
        let out = self.scratch(dtype, &shape);
        let reduce = match Reduce::new(&group, fold, mean, n, inner) {
            Some(reduce) => (reduce, group.operands.iter().map(|v| v.buffer).collect()),
            None => {
                // Packed, any group can be walked.
                let to = self.scratch(DType::F32, &group.shape);
                self.store(&group, to.buffer, "operand".into());
                let mut packed = self.group(&group.shape);
                packed.code.result = self.operand(&mut packed, to.clone());
                match Reduce::new(&packed, fold, mean, n, inner) {
                    Some(reduce) => (reduce, vec![to.buffer]),
                    None => unreachable!("rows of packed operands merge"),
                }
            }
        };
        self.push(format!("{fold:?}"), CpuKernel::Float(FloatKernel::Reduce(reduce.0)), reduce.1, out.buffer);
        out
    }
}

/// Whether computed values determine positions in `operation`.
fn is_computed(operation: &Operation, call: &Call<'_>) -> bool {
    let bounds = operation.op.params.iter().filter(|p| p.role == Role::Bound);
    bounds.map(|p| p.name).any(|name| call.has(name) && call.data(name).is_none())
}
