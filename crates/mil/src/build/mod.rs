//! The builder: programs written as Rust expressions.

mod state;
mod var;

pub use var::Var;

use state::State;

use crate::diag::{Place, Report};
use crate::ir::{Arg, Function, Literal, Operation, Phase, Program, Scope, ValueId};
use crate::op::Op;
use crate::tensor::{Data, Tensor};
use crate::ty::{DType, Opset, TensorType};
use crate::verify::{Verified, verify};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::panic::Location;
use std::sync::Arc;

/// Constants with at most this many elements are written once and shared.
const SHARED_CONSTANT: usize = 64;

/// Writes one function.
///
/// Values are [`Var`]s: copies of a name, with operators. A mistake is noted with the Rust line that made it and
/// reported by [`Builder::finish`], together with all other errors.
#[derive(Debug)]
pub struct Builder {
    state: RefCell<State>,
}

/// An argument: values, or Rust constants that become `const` operations.
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

    /// A builder that appends to `function`.
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
                constants: HashMap::new(),
                indexed: 0,
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

    /// A named constant.
    #[track_caller]
    pub fn constant(&self, name: &str, tensor: Tensor) -> Var<'_> {
        self.literal(name, Literal::inline(tensor))
    }

    /// A named constant from a literal.
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

    /// The constant of these elements: the one that is there, if it is small.
    #[track_caller]
    pub fn shared(&self, literal: Literal) -> Var<'_> {
        let id = self.state.borrow_mut().shared_const(literal, Location::caller());
        self.var(id)
    }

    /// Adds operation `name` and returns its single result.
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

    /// Adds operation `name` and returns all its results.
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
        let Some(op) = Op::find_in(name, s.function.opset) else {
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

    /// Verifies the function with `outputs` as a program. Each output is renamed to its name here.
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

    /// The errors so far.
    pub(crate) fn check(&self) -> Result<(), Report> {
        let s = self.state.borrow();
        if s.report.diagnostics.is_empty() { Ok(()) } else { Err(s.report.clone()) }
    }

    /// The unverified function without outputs, and the errors so far.
    pub(crate) fn into_function(self) -> Result<Function, Report> {
        let s = self.state.into_inner();
        if s.report.diagnostics.is_empty() { Ok(s.function) } else { Err(s.report) }
    }

    /// Adds an operation with results of known types; the verifier checks it at the end. Results keep their names
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

    /// The number of operations so far.
    pub(crate) fn written(&self) -> usize {
        self.state.borrow().function.ops.len()
    }

    /// Adds an operation whose results are existing values of the function.
    pub(crate) fn keep(&self, operation: Operation) {
        self.state.borrow_mut().function.ops.push(operation);
    }

    /// Replaces `operation` by the operations added since there were `before` of them; its first result becomes
    /// `var` from now on.
    pub(crate) fn stand_in(&self, before: usize, var: ValueId, operation: &Operation) {
        let Some(&result) = operation.results.first() else { return };
        let mut s = self.state.borrow_mut();
        let State { function, names, .. } = &mut *s;
        let new = function.ops.get_mut(before..).unwrap_or_default();
        new.iter_mut().for_each(|op| op.place = operation.place.clone());
        match new.iter_mut().find(|op| op.results.first() == Some(&var) && op.const_literal().is_none()) {
            Some(last) => {
                last.results[0] = result;
                last.label.clone_from(&operation.label);
                if var.index() + 1 == function.values.len()
                    && let Some(value) = function.values.pop()
                {
                    names.remove(&value.name);
                }
            }
            // It was there before.
            None => {
                let arg = Arg { param: 0, value: crate::ir::ArgValue::Value(var) };
                let op = Op(&crate::ops::shape::IDENTITY);
                let same = Operation::new(op, vec![arg], vec![result]);
                let (label, scope, place) =
                    (operation.label.clone(), operation.scope.clone(), operation.place.clone());
                function.ops.push(Operation { label, scope, place, ..same });
            }
        }
    }

    /// Renames a result that has a generated name, if the new name is free.
    pub(crate) fn suggest_name(&self, id: ValueId, name: &str) {
        let named = {
            let f = &self.state.borrow().function;
            f.inputs.contains(&id) || f.value(id).name.starts_with("d_")
        };
        if !named {
            self.rename(id, name);
        }
    }

    /// Renames a value, if the name is free.
    pub(crate) fn rename(&self, id: ValueId, name: &str) {
        let mut s = self.state.borrow_mut();
        if s.names.insert(name.to_owned()) {
            let old = std::mem::replace(&mut s.function.values[id.index()].name, name.to_owned());
            s.names.remove(&old);
        }
    }

    pub(crate) fn is_input(&self, id: ValueId) -> bool {
        self.state.borrow().function.inputs.contains(&id)
    }

    pub(crate) fn ty(&self, id: ValueId) -> TensorType {
        self.state.borrow().function.ty(id).clone()
    }
}
