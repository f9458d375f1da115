//! Elementwise operations gathered into groups.

use super::{Argument, LazyValue, Lowering};
use crate::kernels::group::Group;
use crate::kernels::tile_program::{Binary, Code, Function, Instruction, Row, Source, Unary};
use crate::plan::is_native;
use crate::view::View;
use mil::ir::LiteralData;
use mil::{DType, Operation, ValueId};

/// Operands and instructions of a group, at most: more would not stay in the first-level cache.
const GROUP: usize = 10;

/// Steps along the last axis that elementwise loops take; with larger ones a copy in blocks is faster.
const STEP: usize = 4;

impl<'f> Lowering<'f> {
    /// An empty group for a result of `shape`.
    pub(super) fn group(&self, shape: &[usize]) -> Group {
        let code = Code { instructions: Vec::new(), result: Source::Number(0.0) };
        Group { shape: shape.to_vec(), operands: Vec::new(), code, rows: false, product: None }
    }

    /// The source of `given` in `group`: a number, an operand, or, if it has no other use, the result of the
    /// instructions that compute it, which `group` absorbs.
    pub(super) fn source(&mut self, group: &mut Group, given: Argument<'f>) -> Source {
        if let Some(number) = self.number(given) {
            return Source::Number(number);
        }
        if let Argument::Value(id) = given
            && let Some(LazyValue::Group(inner)) = &self.values[id.index()]
            && inner.shape == group.shape
            && inner.operands.len()
                + inner.code.instructions.len()
                + group.operands.len()
                + group.code.instructions.len()
                < GROUP
            && (inner.product.is_none() || group.product.is_none())
        {
            let alone = self.has_one_use(id);
            // Computing it twice costs less than storing it and reading it twice.
            if alone || is_cheap(inner) && self.uses[id.index()].len() == 2 {
                let inner = inner.clone();
                if alone {
                    self.values[id.index()] = None;
                }
                return absorb(group, inner);
            }
        }
        if let Argument::Value(id) = given
            && let Some(LazyValue::Product(product)) = &self.values[id.index()]
            && product.out.shape == group.shape
            && group.product.is_none()
            && let Some(LazyValue::Product(product)) = self.values[id.index()].take()
        {
            let operand = add(group, product.out.clone());
            group.product = Some(product);
            return Source::Operand(operand);
        }
        if let Some(sums) = self.row_sums(group, given) {
            return sums;
        }
        let view = self.view(given);
        self.operand(group, view)
    }

    /// The sums of rows that `given` is, computed in `group`, which is of the same rows and their only user.
    fn row_sums(&mut self, group: &mut Group, given: Argument<'f>) -> Option<Source> {
        let Argument::Value(id) = given else { return None };
        let Some(LazyValue::RowSum(inner)) = &self.values[id.index()] else { return None };
        let size = |g: &Group| g.operands.len() + g.code.instructions.len();
        let fits = inner.shape == group.shape && size(inner) + size(group) < GROUP;
        if !fits || !self.has_one_use(id) {
            return None;
        }
        let Some(LazyValue::RowSum(inner)) = self.values[id.index()].take() else { return None };
        let narrow = self.function.ty(id).dtype == DType::F16;
        let rows = absorb(group, inner);
        group.rows = true;
        Some(self.add(group, Function::Row(Row::Sum { narrow }, rows), DType::F32))
    }

    /// The source of the elements of `view` in `group`.
    pub(super) fn operand(&mut self, group: &mut Group, view: View) -> Source {
        let steps = view.shape.iter().zip(&view.strides);
        let inner = steps.rev().find(|(d, _)| **d != 1).map_or(0, |(_, s)| *s);
        let view = if inner > STEP { self.packed(view) } else { view };
        Source::Operand(add(group, view.broadcast(&group.shape)))
    }

    /// The value of an inline constant with one element.
    pub(super) fn number(&self, given: Argument<'f>) -> Option<f32> {
        let literal = match given {
            Argument::Literal(l) => l,
            Argument::Value(id) => self.literals[id.index()]?,
        };
        let LiteralData::Inline(data) = &literal.data else { return None };
        let mil::Data::Float(values) = &**data else { return None };
        match values[..] {
            [x] => Some(mil::tensor::round_float(x, literal.ty.dtype) as f32),
            _ => None,
        }
    }

    /// Whether one operation uses `id`, once, and it is not a result of the function.
    pub(super) fn has_one_use(&self, id: ValueId) -> bool {
        self.uses[id.index()].len() == 1 && !self.function.outputs.contains(&id)
    }

    /// Adds an instruction that rounds to `dtype`; its result.
    pub(super) fn add(&self, group: &mut Group, function: Function, dtype: DType) -> Source {
        group.code.instructions.push(Instruction { function, round: dtype == DType::F16 });
        group.code.result = Source::Result(group.code.instructions.len() - 1);
        group.code.result
    }

    fn finish(&mut self, operation: &Operation, group: Group) -> bool {
        self.values[operation.results[0].index()] = Some(LazyValue::Group(group));
        true
    }

    /// A function of single elements of `x`.
    pub(super) fn unary(&mut self, operation: &'f Operation, f: Unary) -> bool {
        let (_, ty) = self.result(operation);
        let Some(x) = self.given(operation, "x") else { return false };
        if !is_native(ty.dtype) || !self.is_float(x) {
            return false;
        }
        let mut group = self.group(&ty.shape);
        let x = self.source(&mut group, x);
        self.add(&mut group, Function::Unary(f, x), ty.dtype);
        self.finish(operation, group)
    }

    /// A function of pairs of elements.
    pub(super) fn binary(&mut self, operation: &'f Operation, f: Binary) -> bool {
        let (_, ty) = self.result(operation);
        let (Some(x), Some(y)) = (self.given(operation, "x"), self.given(operation, "y")) else {
            return false;
        };
        if !is_native(ty.dtype) {
            return false;
        }
        let mut group = self.group(&ty.shape);
        let same = match (x, y) {
            (Argument::Value(x), Argument::Value(y)) if x == y => {
                // One operation that uses it twice is one use.
                self.uses[x.index()].dedup();
                true
            }
            _ => false,
        };
        let x = self.source(&mut group, x);
        let y = if same { x } else { self.source(&mut group, y) };
        self.add(&mut group, Function::of_pair(f, x, y), ty.dtype);
        self.finish(operation, group)
    }

    /// `softmax` along the last axis.
    pub(super) fn softmax_rows(&mut self, operation: &'f Operation, x: Argument<'f>) -> bool {
        let (_, ty) = self.result(operation);
        let mut group = self.group(&ty.shape);
        let x = self.source(&mut group, x);
        group.rows = true;
        self.add(&mut group, Function::Row(Row::Softmax, x), ty.dtype);
        self.finish(operation, group)
    }

    /// `softmax` along an axis that others follow: extremes and sums of columns first, in fp32.
    pub(super) fn softmax_columns(&mut self, operation: &'f Operation, x: Argument<'f>, axis: usize) -> bool {
        use crate::rows::Fold;
        let (_, ty) = self.result(operation);
        let x = self.view(x);
        let x = self.packed(x);
        let mut group = self.group(&ty.shape);
        group.code.result = self.operand(&mut group, x.clone());
        let top = self.folded(group, (Fold::Max, false), axis..axis + 1, DType::F32);
        let shifted = |this: &mut Self, round: DType| {
            let mut group = this.group(&ty.shape);
            let x = this.operand(&mut group, x.clone());
            let top = this.operand(&mut group, top.clone());
            let shifted = this.add(&mut group, Function::Binary(Binary::Sub, x, top), DType::F32);
            this.add(&mut group, Function::Unary(Unary::Exp, shifted), round);
            group
        };
        let powers = shifted(self, DType::F32);
        let sum = self.folded(powers, (Fold::Sum, false), axis..axis + 1, DType::F32);
        let mut group = shifted(self, DType::F32);
        let power = group.code.result;
        let sum = self.operand(&mut group, sum);
        self.add(&mut group, Function::Binary(Binary::Div, power, sum), ty.dtype);
        self.finish(operation, group)
    }

    /// `layer_norm` over the last axis.
    pub(super) fn layer_norm(&mut self, operation: &'f Operation, epsilon: f32) -> bool {
        let (_, ty) = self.result(operation);
        let Some(x) = self.given(operation, "x") else { return false };
        let mut group = self.group(&ty.shape);
        let x = self.source(&mut group, x);
        group.rows = true;
        let (gamma, beta) = (self.given(operation, "gamma"), self.given(operation, "beta"));
        let wide = |last: bool| if last { ty.dtype } else { DType::F32 };
        let last = gamma.is_none() && beta.is_none();
        let mut y = self.add(&mut group, Function::Row(Row::Normalize(epsilon), x), wide(last));
        if let Some(gamma) = gamma {
            let gamma = self.source(&mut group, gamma);
            y = self.add(&mut group, Function::Binary(Binary::Mul, y, gamma), wide(beta.is_none()));
        }
        if let Some(beta) = beta {
            let beta = self.source(&mut group, beta);
            self.add(&mut group, Function::Binary(Binary::Add, y, beta), ty.dtype);
        }
        self.finish(operation, group)
    }

    fn is_float(&self, given: Argument<'f>) -> bool {
        match given {
            Argument::Value(id) => is_native(self.function.ty(id).dtype),
            Argument::Literal(l) => is_native(l.ty.dtype),
        }
    }
}

/// Whether `group` is one sum, difference or product of elements.
fn is_cheap(group: &Group) -> bool {
    let [Instruction { function: Function::Binary(f, ..), .. }] = group.code.instructions[..] else {
        return false;
    };
    group.product.is_none() && !group.rows && matches!(f, Binary::Add | Binary::Sub | Binary::Mul)
}

/// Adds an operand, once.
fn add(group: &mut Group, view: View) -> usize {
    match group.operands.iter().position(|v| *v == view) {
        Some(at) => at,
        None => {
            group.operands.push(view);
            group.operands.len() - 1
        }
    }
}

/// Computes `inner` inside `group`.
fn absorb(group: &mut Group, inner: Group) -> Source {
    let operands: Vec<usize> = inner.operands.into_iter().map(|v| add(group, v)).collect();
    let before = group.code.instructions.len();
    let moved = |source: Source| match source {
        Source::Operand(i) => Source::Operand(operands[i]),
        Source::Result(i) => Source::Result(i + before),
        number @ Source::Number(_) => number,
    };
    for i in inner.code.instructions {
        group.code.instructions.push(Instruction { function: i.function.map(moved), round: i.round });
    }
    group.rows |= inner.rows;
    group.product = group.product.take().or(inner.product);
    moved(inner.code.result)
}
