//! The entries of the op table, and the views of an operation that their rules receive.
//!
//! Circle because an entry holds all of an operation: its gradient rule sees the builder, the checker, and programs,
//! which are made of operations.

mod axes;
mod param;

pub use axes::Axes;
pub use param::*;

use crate::diag::Reject;
use crate::grad::GradCall;
use crate::ir::{ArgValue, Function, Literal, Operation};
use crate::tensor::{Data, Tensor};
use crate::ty::{Opset, TensorType};
use std::fmt;
use std::ops::Deref;

/// An entry of the op table.
#[derive(Debug)]
pub struct OpDef {
    /// The name in MIL text.
    pub name: &'static str,
    /// The first opset that has it.
    pub since: Opset,
    /// Parameters, in the order of coremltools' documentation.
    pub params: &'static [Param],
    /// How it treats the axes of its operands.
    pub axes: Axes,
    /// The count of its floating-point operations.
    pub work: Work,
    /// The type rule: the types of the results. Required arguments are present, parameters that must be
    /// constant are, and dtypes are among those listed.
    pub infer: fn(&Call<'_>) -> Result<Vec<TensorType>, Reject>,
    /// The evaluation: exact in `f64`; the caller rounds the results once to their element type.
    pub eval: fn(&Eval<'_>) -> Vec<Tensor>,
    /// The gradient.
    pub grad: Grad,
}

/// How the floating-point operations of an operation are counted.
#[derive(Debug)]
pub enum Work {
    /// They count as none: it moves data, or works element by element.
    Free,
    /// Multiply-adds of a call with a result of this type; `None` if an argument is missing.
    MulAdds(fn(&Call<'_>, &TensorType) -> Option<u64>),
}

/// How an operation is differentiated.
#[derive(Debug)]
pub enum Grad {
    /// Writes the cotangents of the arguments as MIL.
    Rule(fn(&mut GradCall<'_, '_>)),
    /// Has none, for this reason.
    None(&'static str),
}

/// An operation of the table.
#[derive(Clone, Copy)]
pub struct Op(pub(crate) &'static OpDef);

impl Op {
    /// Every operation.
    pub fn all() -> impl Iterator<Item = Op> {
        crate::ops::TABLE.iter().map(|d| Op(d))
    }

    /// The operation called `name`, in its newest form.
    pub fn find(name: &str) -> Option<Op> {
        Op::find_in(name, Opset::NEWEST)
    }

    /// The form of operation `name` in `opset`; its oldest form if `opset` is older.
    pub fn find_in(name: &str, opset: Opset) -> Option<Op> {
        let forms = crate::ops::forms(name);
        forms.iter().rev().find(|op| op.since <= opset).or(forms.first()).copied()
    }

    /// The name in MIL text.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The position of parameter `name`.
    pub fn param(self, name: &str) -> Option<usize> {
        self.0.params.iter().position(|p| p.name == name)
    }
}

impl Deref for Op {
    type Target = OpDef;
    fn deref(&self) -> &OpDef {
        self.0
    }
}

impl PartialEq for Op {
    fn eq(&self, other: &Op) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for Op {}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Op({})", self.0.name)
    }
}

/// An argument as a rule sees it.
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// The type.
    pub ty: &'a TensorType,
    /// The elements, if they are constant.
    pub data: Option<&'a Data>,
}

/// An operation with its arguments, as a type rule sees it.
///
/// The accessors take the name of a parameter. They panic if the entry has no such parameter, or if the rule asks for
/// the elements of a parameter that need not be constant: such a rule is always wrong, and the test that
/// loops over the table finds it.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The entry.
    pub op: Op,
    /// Arguments with the positions of their parameters.
    operands: Vec<(usize, Operand<'a>)>,
    /// The parameter and result types of the blocks, for `cond` and `while_loop`.
    pub(crate) blocks: Vec<BlockTypes>,
}

/// The parameter and result types of a block.
#[derive(Clone, Debug)]
pub(crate) struct BlockTypes {
    pub inputs: Vec<TensorType>,
    pub outputs: Vec<TensorType>,
}

impl<'a> Call<'a> {
    /// The call of `operation` in `function` with the literals `literals`.
    pub fn new(
        function: &'a Function,
        literals: &[Option<&'a Literal>],
        operation: &'a Operation,
    ) -> Call<'a> {
        Call::with(function, |v| literals[v.index()], operation)
    }

    /// The call of `operation` in `function`; `literal` maps values to literals.
    pub(crate) fn with(
        function: &'a Function,
        literal: impl Fn(crate::ValueId) -> Option<&'a Literal>,
        operation: &'a Operation,
    ) -> Call<'a> {
        let of =
            |v: &crate::ValueId| Operand { ty: function.ty(*v), data: literal(*v).and_then(Literal::data) };
        let types = |ids: &[crate::ValueId]| ids.iter().map(|&v| function.ty(v).clone()).collect();
        let blocks = operation.blocks.iter();
        let blocks = blocks.map(|b| BlockTypes { inputs: types(&b.inputs), outputs: types(&b.outputs) });
        Call { op: operation.op, operands: Call::operands(operation, of), blocks: blocks.collect() }
    }

    /// The call of `op` on `operands`, each with the position of its parameter.
    pub(crate) fn of(op: Op, operands: Vec<(usize, Operand<'a>)>, blocks: Vec<BlockTypes>) -> Call<'a> {
        Call { op, operands, blocks }
    }

    /// The operands of `operation`; `of` maps values to operands.
    pub(crate) fn operands(
        operation: &'a Operation,
        of: impl Fn(&crate::ValueId) -> Operand<'a>,
    ) -> Vec<(usize, Operand<'a>)> {
        let mut operands = Vec::with_capacity(operation.args.len());
        for arg in &operation.args {
            match &arg.value {
                ArgValue::Value(v) => operands.push((arg.param, of(v))),
                ArgValue::List(vs) => operands.extend(vs.iter().map(|v| (arg.param, of(v)))),
                ArgValue::Literal(l) => operands.push((arg.param, Operand { ty: &l.ty, data: l.data() })),
            }
        }
        operands
    }

    /// The argument of parameter `name`.
    fn given(&self, name: &str) -> impl Iterator<Item = Operand<'a>> + '_ {
        let at = self.at(name);
        self.operands.iter().filter(move |(param, _)| *param == at).map(|(_, operand)| *operand)
    }

    fn at(&self, name: &str) -> usize {
        match self.op.param(name) {
            Some(at) => at,
            None => panic!("op table: `{}` has no parameter `{name}`", self.op.name()),
        }
    }

    /// The elements of parameter `name`, if they are known at compile time.
    pub fn data(&self, name: &str) -> Option<&'a Data> {
        self.given(name).next()?.data
    }

    /// Whether parameter `name` has an argument.
    pub fn has(&self, name: &str) -> bool {
        self.given(name).next().is_some()
    }

    /// The type of parameter `name`.
    pub fn ty(&self, name: &str) -> &'a TensorType {
        match self.given(name).next() {
            Some(o) => o.ty,
            None => panic!("op table: `{}` reads the absent parameter `{name}`", self.op.name()),
        }
    }

    /// The shape of the argument of `name`, if any.
    pub fn sizes(&self, name: &str) -> Option<&'a [usize]> {
        self.given(name).next().map(|o| o.ty.shape.as_slice())
    }

    /// The types of variadic parameter `name`.
    pub fn tys(&self, name: &str) -> Vec<&'a TensorType> {
        self.given(name).map(|o| o.ty).collect()
    }

    /// The elements of each value of variadic parameter `name`, if all are known at compile time.
    pub fn datas(&self, name: &str) -> Option<Vec<&'a Data>> {
        self.given(name).map(|o| o.data).collect()
    }

    fn constant(&self, name: &str) -> Option<&'a Data> {
        match self.given(name).next()?.data {
            Some(data) => Some(data),
            None => panic!("op table: `{}` reads `{name}`, which need not be constant", self.op.name()),
        }
    }

    fn absent(&self, name: &str) -> Absent {
        self.op.params[self.at(name)].absent
    }

    /// The integer elements of constant `name`; empty if absent.
    pub fn ints(&self, name: &str) -> Vec<i64> {
        match self.constant(name) {
            Some(Data::Int(v)) => v.clone(),
            _ => Vec::new(),
        }
    }

    /// The integer constant `name`, or its default.
    pub fn int(&self, name: &str) -> i64 {
        match (self.constant(name), self.absent(name)) {
            (Some(Data::Int(v)), _) => v.first().copied().unwrap_or(0),
            (_, Absent::Int(x)) => x,
            _ => 0,
        }
    }

    /// The float constant `name`, or its default.
    pub fn float(&self, name: &str) -> f64 {
        match (self.constant(name), self.absent(name)) {
            (Some(Data::Float(v)), _) => v.first().copied().unwrap_or(0.0),
            (_, Absent::Float(x)) => x,
            _ => 0.0,
        }
    }

    /// The boolean constant `name`, or its default.
    pub fn bool(&self, name: &str) -> bool {
        match (self.constant(name), self.absent(name)) {
            (Some(Data::Bool(v)), _) => v.first().copied().unwrap_or(false),
            (_, Absent::Bool(x)) => x,
            _ => false,
        }
    }

    /// The boolean elements of constant `name`; empty if absent.
    pub fn bools(&self, name: &str) -> Vec<bool> {
        match self.constant(name) {
            Some(Data::Bool(v)) => v.clone(),
            _ => Vec::new(),
        }
    }

    /// Whether the elements of parameter `name` are inline; for attributes, which may be in a blob.
    pub fn is_inline(&self, name: &str) -> bool {
        self.given(name).all(|o| o.data.is_some())
    }

    /// The string constant `name`, or its default.
    pub fn str(&self, name: &str) -> &'a str {
        match (self.constant(name), self.absent(name)) {
            (Some(Data::Str(v)), _) => v.first().map_or("", String::as_str),
            (_, Absent::Str(x)) => x,
            _ => "",
        }
    }

    /// Axis `value` of a tensor of rank `rank`, negative ones counted from the end.
    ///
    /// # Errors
    /// `axis-out-of-range`, labelled with parameter `name`.
    pub fn check_axis(&self, name: &'static str, value: i64, rank: usize) -> Result<usize, Reject> {
        resolve_axis(value, rank).ok_or_else(|| {
            Reject::new("axis-out-of-range", format!("`{}` has no axis {value} to work on", self.op.name()))
                .label(name, format!("axis {value}, the tensor has {rank}"))
                .help(format!("use an axis from {} to {}", -(rank as i64), rank as i64 - 1))
        })
    }
}

/// Axis `value` of `rank` as a position, negative ones counted from the end.
pub fn resolve_axis(value: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let at = if value < 0 { value + rank } else { value };
    (0..rank).contains(&at).then_some(at as usize)
}

/// The number of elements of a tensor of these sizes; saturates.
pub fn elements(sizes: &[usize]) -> u64 {
    sizes.iter().fold(1, |n, &d| n.saturating_mul(d as u64))
}

/// A call with the values of its arguments, for evaluation.
#[derive(Debug)]
pub struct Eval<'a> {
    call: Call<'a>,
    tensors: Vec<Vec<&'a Tensor>>,
    out: Vec<&'a TensorType>,
}

impl<'a> Eval<'a> {
    pub(crate) fn new(call: Call<'a>, tensors: Vec<Vec<&'a Tensor>>, out: Vec<&'a TensorType>) -> Eval<'a> {
        Eval { call, tensors, out }
    }

    /// The value of parameter `name`.
    pub fn tensor(&self, name: &str) -> &'a Tensor {
        match self.tensors[self.call.at(name)].first() {
            Some(t) => t,
            None => panic!("op table: `{}` reads the absent parameter `{name}`", self.call.op.name()),
        }
    }

    /// The values of variadic parameter `name`.
    pub fn tensors(&self, name: &str) -> &[&'a Tensor] {
        &self.tensors[self.call.at(name)]
    }

    /// The type of the first result.
    pub fn out(&self) -> &'a TensorType {
        self.out[0]
    }

    /// The types of all results.
    pub fn outs(&self) -> &[&'a TensorType] {
        &self.out
    }

    /// Axis parameter `name`, which the type rule has checked, of a tensor of rank `rank`.
    pub fn axis(&self, name: &str, rank: usize) -> usize {
        resolve_axis(self.int(name), rank).unwrap_or(0)
    }
}

impl<'a> Deref for Eval<'a> {
    type Target = Call<'a>;
    fn deref(&self) -> &Call<'a> {
        &self.call
    }
}
