//! The builder: programs written as Rust expressions.

use crate::diag::{Diagnostic, Place, Report};
use crate::ir::{Arg, ArgValue, Function, Literal, LiteralData, Operation, Phase, Program, Scope, ValueId};
use crate::op::{Call, Op, Role};
use crate::tensor::{Data, Tensor};
use crate::ty::{DType, Opset, TensorType};
use crate::verify::{Verified, verify};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::panic::Location;
use std::sync::Arc;

/// Constants with at most this many elements are written once and shared.
const SHARED_CONSTANT: usize = 64;

/// Writes one function.
///
/// Values are [`Var`]s: copies of a name, with operators. A mistake is noted with the Rust line that made it and
/// reported by [`Builder::finish`], together with all others.
#[derive(Debug)]
pub struct Builder {
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    function: Function,
    scope: Scope,
    counts: HashMap<String, usize>,
    names: HashSet<String>,
    report: Report,
    broken: HashSet<ValueId>,
}

/// A value of the function under construction.
#[derive(Clone, Copy, Debug)]
pub struct Var<'b> {
    builder: &'b Builder,
    id: ValueId,
}

/// What can be passed for a parameter: values, or plain Rust constants that become `const`s.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Input<'b> {
    Var(Var<'b>),
    Vars(Vec<Var<'b>>),
    Int(i64),
    Ints(Vec<i64>),
    Bool(bool),
    Str(String),
    Literal(Literal),
}

impl<'b> From<Var<'b>> for Input<'b> {
    fn from(v: Var<'b>) -> Self {
        Input::Var(v)
    }
}
impl<'b> From<Vec<Var<'b>>> for Input<'b> {
    fn from(v: Vec<Var<'b>>) -> Self {
        Input::Vars(v)
    }
}
impl From<i64> for Input<'_> {
    fn from(v: i64) -> Self {
        Input::Int(v)
    }
}
impl From<Vec<i64>> for Input<'_> {
    fn from(v: Vec<i64>) -> Self {
        Input::Ints(v)
    }
}
impl From<bool> for Input<'_> {
    fn from(v: bool) -> Self {
        Input::Bool(v)
    }
}
impl From<&str> for Input<'_> {
    fn from(v: &str) -> Self {
        Input::Str(v.to_owned())
    }
}
impl From<Literal> for Input<'_> {
    fn from(v: Literal) -> Self {
        Input::Literal(v)
    }
}

impl Builder {
    /// A builder of function `name`.
    pub fn new(name: &str, opset: Opset) -> Builder {
        Builder::resume(Function::empty(name, opset))
    }

    /// A builder that goes on where `function` ends.
    pub fn resume(function: Function) -> Builder {
        let names = function.values.iter().map(|v| v.name.clone()).collect();
        Builder {
            state: RefCell::new(State {
                function,
                scope: Scope::default(),
                counts: HashMap::new(),
                names,
                report: Report::default(),
                broken: HashSet::new(),
            }),
        }
    }

    /// Sets the part of the model that the following operations belong to.
    pub fn enter(&self, scope: &str) {
        self.set_scope(Scope { name: Arc::from(scope), phase: Phase::Forward });
    }

    pub(crate) fn set_scope(&self, scope: Scope) {
        self.state.borrow_mut().scope = scope;
    }

    /// The value `id` of the function, as a variable.
    pub fn var(&self, id: ValueId) -> Var<'_> {
        Var { builder: self, id }
    }

    /// A parameter of the function.
    #[track_caller]
    pub fn input(&self, name: &str, ty: TensorType) -> Var<'_> {
        let mut s = self.state.borrow_mut();
        s.claim(name, Location::caller());
        let id = s.function.add_value(name, ty);
        s.function.inputs.push(id);
        self.var(id)
    }

    /// A constant with its elements in a weight file.
    #[track_caller]
    pub fn weight(&self, name: &str, ty: TensorType, path: &str, offset: u64) -> Var<'_> {
        self.literal(name, Literal::blob(ty, path, offset))
    }

    /// A constant with a name of its own.
    #[track_caller]
    pub fn constant(&self, name: &str, tensor: Tensor) -> Var<'_> {
        self.literal(name, Literal::inline(tensor))
    }

    /// A constant from a literal, with a name of its own.
    #[track_caller]
    pub fn literal(&self, name: &str, literal: Literal) -> Var<'_> {
        let mut s = self.state.borrow_mut();
        s.claim(name, Location::caller());
        let id = s.add_const(name, literal, Location::caller());
        self.var(id)
    }

    /// A float scalar of type `dtype`, rounded to it.
    #[track_caller]
    pub fn scalar(&self, dtype: DType, value: f64) -> Var<'_> {
        let tensor = Tensor { ty: TensorType::scalar(dtype), data: Data::Float(vec![value]) }.rounded();
        let id = self.state.borrow_mut().shared_const(Literal::inline(tensor), Location::caller());
        self.var(id)
    }

    /// Adds operation `name`; its single result.
    #[track_caller]
    pub fn op<'b>(
        &'b self,
        name: &str,
        args: impl IntoIterator<Item = (&'static str, Input<'b>)>,
    ) -> Var<'b> {
        let at = Location::caller();
        let id = self.add(name, args, at).first().copied();
        match id {
            Some(id) => self.var(id),
            None => self.var(self.state.borrow_mut().broken_value()),
        }
    }

    /// Adds operation `name`; all its results.
    #[track_caller]
    pub fn op_many<'b>(
        &'b self,
        name: &str,
        args: impl IntoIterator<Item = (&'static str, Input<'b>)>,
    ) -> Vec<Var<'b>> {
        self.add(name, args, Location::caller()).into_iter().map(|id| self.var(id)).collect()
    }

    fn add<'b>(
        &'b self,
        name: &str,
        args: impl IntoIterator<Item = (&'static str, Input<'b>)>,
        at: &'static Location<'static>,
    ) -> Vec<ValueId> {
        let mut s = self.state.borrow_mut();
        let Some(op) = Op::find(name) else {
            s.refuse("unknown-op", format!("there is no operation `{name}`"), at);
            return Vec::new();
        };
        let mut out = Vec::new();
        for (param, input) in args {
            let Some(index) = op.param(param) else {
                s.refuse("unknown-parameter", format!("`{name}` has no parameter `{param}`"), at);
                continue;
            };
            let value = s.input(input, op.params[index].role, at);
            out.push(Arg { param: index, value });
        }
        s.push(op, out, at)
    }

    /// The function with `outputs`, as a verified program of its own. Each output gets its name.
    ///
    /// # Errors
    /// All that is wrong with it.
    #[track_caller]
    pub fn finish<'b>(
        &'b self,
        outputs: impl IntoIterator<Item = (&'b str, Var<'b>)>,
    ) -> Result<Verified<Program>, Report> {
        let at = Location::caller();
        let mut s = self.state.borrow_mut();
        s.function.outputs.clear();
        for (name, var) in outputs {
            s.rename(var.id, name, at);
            s.function.outputs.push(var.id);
        }
        if s.report.diagnostics.is_empty() {
            verify(Program::of(s.function.clone()))
        } else {
            Err(s.report.clone())
        }
    }

    /// What went wrong so far.
    pub(crate) fn check(&self) -> Result<(), Report> {
        let s = self.state.borrow();
        if s.report.diagnostics.is_empty() { Ok(()) } else { Err(s.report.clone()) }
    }

    /// The function as it stands, without outputs or checks, and what went wrong so far.
    pub(crate) fn into_function(self) -> Result<Function, Report> {
        let s = self.state.into_inner();
        if s.report.diagnostics.is_empty() { Ok(s.function) } else { Err(s.report) }
    }

    /// Adds an operation whose results are known; the verifier checks it at the end. Results keep their names
    /// where these are free; small constants are shared.
    pub(crate) fn append(
        &self,
        mut operation: Operation,
        results: Vec<(String, TensorType)>,
    ) -> Vec<ValueId> {
        let mut s = self.state.borrow_mut();
        if let (Some(literal), Place::Rust(at)) = (operation.const_literal(), &operation.place)
            && literal.ty.elements() <= SHARED_CONSTANT
            && literal.data().is_some()
        {
            let (literal, at) = (literal.clone(), *at);
            return vec![s.shared_const(literal, at)];
        }
        for (name, ty) in results {
            let name = if s.names.insert(name.clone()) { name } else { s.fresh(&name) };
            let id = s.function.add_value(name, ty);
            operation.results.push(id);
        }
        let ids = operation.results.clone();
        s.function.ops.push(operation);
        ids
    }

    /// Renames a result that nobody has named yet, if the name is free.
    pub(crate) fn suggest_name(&self, id: ValueId, name: &str) {
        let mut s = self.state.borrow_mut();
        let named = s.function.inputs.contains(&id) || s.function.value(id).name.starts_with("d_");
        if !named && s.names.insert(name.to_owned()) {
            let old = std::mem::replace(&mut s.function.values[id.index()].name, name.to_owned());
            s.names.remove(&old);
        }
    }

    pub(crate) fn ty(&self, id: ValueId) -> TensorType {
        self.state.borrow().function.ty(id).clone()
    }
}

impl State {
    fn refuse(&mut self, code: &'static str, text: String, at: &'static Location<'static>) {
        self.report.diagnostics.push(Diagnostic::new(code, text, Place::Rust(at)));
    }

    fn claim(&mut self, name: &str, at: &'static Location<'static>) {
        if !self.names.insert(name.to_owned()) {
            self.refuse("duplicate-name", format!("`{name}` is defined more than once"), at);
        }
    }

    fn rename(&mut self, id: ValueId, name: &str, at: &'static Location<'static>) {
        if self.function.value(id).name == name {
            return;
        }
        self.claim(name, at);
        let old = std::mem::replace(&mut self.function.values[id.index()].name, name.to_owned());
        self.names.remove(&old);
    }

    fn fresh(&mut self, stem: &str) -> String {
        loop {
            let n = self.counts.entry(stem.to_owned()).or_default();
            let name = format!("{stem}_{n}");
            *n += 1;
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }

    fn broken_value(&mut self) -> ValueId {
        let name = self.fresh("broken");
        let id = self.function.add_value(name, TensorType::scalar(DType::F16));
        self.broken.insert(id);
        id
    }

    fn add_const(&mut self, name: &str, literal: Literal, at: &'static Location<'static>) -> ValueId {
        let op = Op(&crate::ops::constant::CONST);
        let id = self.function.add_value(name, literal.ty.clone());
        self.function.ops.push(Operation {
            op,
            args: vec![Arg { param: 0, value: ArgValue::Literal(literal) }],
            results: vec![id],
            label: None,
            scope: Scope::default(),
            place: Place::Rust(at),
        });
        id
    }

    fn shared_const(&mut self, literal: Literal, at: &'static Location<'static>) -> ValueId {
        if literal.ty.elements() <= SHARED_CONSTANT {
            let same = self.function.ops.iter().find(|o| o.const_literal() == Some(&literal));
            if let Some(id) = same.and_then(|o| o.results.first()) {
                return *id;
            }
        }
        let name = self.fresh("const");
        self.add_const(&name, literal, at)
    }

    fn input(&mut self, input: Input<'_>, role: Role, at: &'static Location<'static>) -> ArgValue {
        let literal = |ty: TensorType, data: Data| Literal { ty, data: LiteralData::Inline(Arc::new(data)) };
        let literal = match input {
            Input::Var(v) if role == Role::Variadic => return ArgValue::List(vec![v.id]),
            Input::Var(v) => return ArgValue::Value(v.id),
            Input::Vars(vs) => return ArgValue::List(vs.into_iter().map(|v| v.id).collect()),
            Input::Int(x) => literal(TensorType::scalar(DType::I32), Data::Int(vec![x])),
            Input::Ints(x) => literal(TensorType::new(DType::I32, [x.len()]), Data::Int(x)),
            Input::Bool(x) => literal(TensorType::scalar(DType::Bool), Data::Bool(vec![x])),
            Input::Str(x) => literal(TensorType::scalar(DType::Str), Data::Str(vec![x])),
            Input::Literal(l) => l,
        };
        match role {
            Role::Attribute => ArgValue::Literal(literal),
            _ => ArgValue::Value(self.shared_const(literal, at)),
        }
    }

    fn push(&mut self, op: Op, args: Vec<Arg>, at: &'static Location<'static>) -> Vec<ValueId> {
        let mut operation = Operation {
            op,
            args,
            results: Vec::new(),
            label: None,
            scope: self.scope.clone(),
            place: Place::Rust(at),
        };
        // What comes of a mistake is not reported a second time.
        if operation.uses().any(|v| self.broken.contains(&v)) {
            return vec![self.broken_value()];
        }
        for (i, param) in op.params.iter().enumerate() {
            let given = operation.args.iter().find(|a| a.param == i);
            let text = match (given, param.role) {
                (None, _) if param.absent == crate::op::Absent::Refused => {
                    format!("`{}` needs `{}`", op.name(), param.name)
                }
                (Some(Arg { value: ArgValue::Value(v), .. }), Role::Const) if !self.is_inline_const(*v) => {
                    format!("`{}` of `{}` must be a constant", param.name, op.name())
                }
                _ => continue,
            };
            self.refuse("bad-argument", text, at);
            return vec![self.broken_value()];
        }
        let literals = self.function.literals();
        match (op.infer)(&Call::new(&self.function, &literals, &operation)) {
            Ok(types) => {
                for ty in types {
                    let name = self.fresh(op.name());
                    let id = self.function.add_value(name, ty);
                    operation.results.push(id);
                }
                let results = operation.results.clone();
                self.function.ops.push(operation);
                results
            }
            Err(reject) => {
                let labels = reject.labels.iter().map(|(p, t)| (Place::Nowhere, format!("`{p}`: {t}")));
                self.report.diagnostics.push(Diagnostic {
                    code: reject.code,
                    message: reject.message,
                    place: Place::Rust(at),
                    labels: labels.collect(),
                    help: reject.help,
                });
                vec![self.broken_value()]
            }
        }
    }

    fn is_inline_const(&self, id: ValueId) -> bool {
        self.function
            .ops
            .iter()
            .any(|o| o.results.first() == Some(&id) && o.const_literal().is_some_and(|l| l.data().is_some()))
    }
}

impl<'b> Var<'b> {
    /// Which value it is.
    pub fn id(self) -> ValueId {
        self.id
    }

    /// Its type.
    pub fn ty(self) -> TensorType {
        self.builder.ty(self.id)
    }

    /// Its shape.
    pub fn shape(self) -> Vec<usize> {
        self.ty().shape
    }

    /// The builder that it belongs to.
    pub fn builder(self) -> &'b Builder {
        self.builder
    }

    /// Gives it a name.
    #[track_caller]
    pub fn named(self, name: &str) -> Var<'b> {
        self.builder.state.borrow_mut().rename(self.id, name, Location::caller());
        self
    }

    #[track_caller]
    fn unary(self, op: &str) -> Var<'b> {
        self.builder.op(op, [("x", self.into())])
    }

    #[track_caller]
    fn binary(self, op: &str, y: Var<'b>) -> Var<'b> {
        self.builder.op(op, [("x", self.into()), ("y", y.into())])
    }

    /// `1 / (1 + exp(−x))`.
    #[track_caller]
    pub fn sigmoid(self) -> Var<'b> {
        self.unary("sigmoid")
    }

    /// `exp(x)`.
    #[track_caller]
    pub fn exp(self) -> Var<'b> {
        self.unary("exp")
    }

    /// `x` to the power of the constant `y`.
    #[track_caller]
    pub fn pow(self, y: f64) -> Var<'b> {
        let y = self.builder.scalar(self.ty().dtype, y);
        self.binary("pow", y)
    }

    /// `softmax` along `axis`.
    #[track_caller]
    pub fn softmax(self, axis: i64) -> Var<'b> {
        self.builder.op("softmax", [("x", self.into()), ("axis", axis.into())])
    }

    /// The sum over `axes`, which stay with size 1 if `keep_dims`.
    #[track_caller]
    pub fn reduce_sum(self, axes: &[i64], keep_dims: bool) -> Var<'b> {
        self.reduce("reduce_sum", axes, keep_dims)
    }

    /// The mean over `axes`, which stay with size 1 if `keep_dims`.
    #[track_caller]
    pub fn reduce_mean(self, axes: &[i64], keep_dims: bool) -> Var<'b> {
        self.reduce("reduce_mean", axes, keep_dims)
    }

    #[track_caller]
    fn reduce(self, op: &str, axes: &[i64], keep_dims: bool) -> Var<'b> {
        let args = [("x", self.into()), ("axes", axes.to_vec().into()), ("keep_dims", keep_dims.into())];
        self.builder.op(op, args)
    }

    /// The same elements in another shape.
    #[track_caller]
    pub fn reshape(self, shape: &[usize]) -> Var<'b> {
        let shape: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
        self.builder.op("reshape", [("x", self.into()), ("shape", shape.into())])
    }

    /// Axis `i` of the result is axis `perm[i]`.
    #[track_caller]
    pub fn transpose(self, perm: &[i64]) -> Var<'b> {
        self.builder.op("transpose", [("x", self.into()), ("perm", perm.to_vec().into())])
    }

    /// The last two axes swapped.
    #[track_caller]
    pub fn t(self) -> Var<'b> {
        let rank = self.ty().rank() as i64;
        let mut perm: Vec<i64> = (0..rank).collect();
        if rank >= 2 {
            perm.swap(rank as usize - 2, rank as usize - 1);
        }
        self.transpose(&perm)
    }

    /// The matrix product with `y`, either side transposed first if asked for.
    #[track_caller]
    pub fn matmul(self, y: Var<'b>, transpose_x: bool, transpose_y: bool) -> Var<'b> {
        self.builder.op(
            "matmul",
            [
                ("x", self.into()),
                ("y", y.into()),
                ("transpose_x", transpose_x.into()),
                ("transpose_y", transpose_y.into()),
            ],
        )
    }

    /// The convolution with `weight` `[O, I/groups, 1, 1]`, stride 1: a matrix product on channels.
    #[track_caller]
    pub fn conv1x1(self, weight: Var<'b>, groups: usize) -> Var<'b> {
        self.builder.op(
            "conv",
            [
                ("x", self.into()),
                ("weight", weight.into()),
                ("strides", vec![1, 1].into()),
                ("pad_type", "valid".into()),
                ("pad", vec![0, 0, 0, 0].into()),
                ("dilations", vec![1, 1].into()),
                ("groups", (groups as i64).into()),
            ],
        )
    }

    /// The part of `size` that begins at `begin`.
    #[track_caller]
    pub fn slice(self, begin: &[usize], size: &[usize]) -> Var<'b> {
        let ints = |v: &[usize]| -> Vec<i64> { v.iter().map(|&d| d as i64).collect() };
        let args = [("x", self.into()), ("begin", ints(begin).into()), ("size", ints(size).into())];
        self.builder.op("slice_by_size", args)
    }

    /// `parts` behind one another along `axis`.
    #[track_caller]
    pub fn concat(parts: Vec<Var<'b>>, axis: i64) -> Option<Var<'b>> {
        let builder = parts.first()?.builder;
        let args = [("values", parts.into()), ("axis", axis.into()), ("interleave", false.into())];
        Some(builder.op("concat", args))
    }

    /// The same values in type `dtype`.
    #[track_caller]
    pub fn cast(self, dtype: DType) -> Var<'b> {
        self.builder.op("cast", [("x", self.into()), ("dtype", dtype.name().into())])
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $op:literal) => {
        impl<'b> $trait<Var<'b>> for Var<'b> {
            type Output = Var<'b>;
            #[track_caller]
            fn $method(self, y: Var<'b>) -> Var<'b> {
                self.binary($op, y)
            }
        }
        impl<'b> $trait<f64> for Var<'b> {
            type Output = Var<'b>;
            #[track_caller]
            fn $method(self, y: f64) -> Var<'b> {
                let y = self.builder.scalar(self.ty().dtype, y);
                self.binary($op, y)
            }
        }
        impl<'b> $trait<Var<'b>> for f64 {
            type Output = Var<'b>;
            #[track_caller]
            fn $method(self, y: Var<'b>) -> Var<'b> {
                y.builder.scalar(y.ty().dtype, self).binary($op, y)
            }
        }
    };
}
operator!(Add, add, "add");
operator!(Sub, sub, "sub");
operator!(Mul, mul, "mul");
operator!(Div, div, "real_div");

impl<'b> Neg for Var<'b> {
    type Output = Var<'b>;
    #[track_caller]
    fn neg(self) -> Var<'b> {
        self * -1.0
    }
}
