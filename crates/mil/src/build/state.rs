//! The state of a builder.

use super::{Input, SHARED_CONSTANT};
use crate::diag::{Diagnostic, Place, Report};
use crate::ir::{Arg, ArgValue, Function, Literal, LiteralData, Operation, Scope, ValueId};
use crate::op::{Call, Op, Role};
use crate::tensor::Data;
use crate::ty::{DType, TensorType};
use std::collections::{HashMap, HashSet};
use std::panic::Location;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct State {
    pub(super) function: Function,
    pub(super) scope: Scope,
    pub(super) counts: HashMap<String, usize>,
    pub(super) names: HashSet<String>,
    pub(super) report: Report,
    pub(super) broken: HashSet<ValueId>,
    /// Small constants among the first `indexed` operations, by content.
    pub(super) constants: HashMap<String, ValueId>,
    pub(super) indexed: usize,
}

impl State {
    pub(super) fn refuse(&mut self, code: &'static str, text: String, at: &'static Location<'static>) {
        self.report.diagnostics.push(Diagnostic::new(code, text, Place::Rust(at)));
    }

    pub(super) fn claim(&mut self, name: &str, at: &'static Location<'static>) {
        if !self.names.insert(name.to_owned()) {
            self.refuse("duplicate-name", format!("`{name}` is defined more than once"), at);
        }
    }

    pub(super) fn rename(&mut self, id: ValueId, name: &str, at: &'static Location<'static>) {
        if self.function.value(id).name == name {
            return;
        }
        self.claim(name, at);
        let old = std::mem::replace(&mut self.function.values[id.index()].name, name.to_owned());
        self.names.remove(&old);
    }

    pub(super) fn fresh(&mut self, stem: &str) -> String {
        loop {
            let n = self.counts.entry(stem.to_owned()).or_default();
            let name = format!("{stem}_{n}");
            *n += 1;
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }

    pub(super) fn broken_value(&mut self) -> ValueId {
        let name = self.fresh("broken");
        let id = self.function.add_value(name, TensorType::scalar(DType::F16));
        self.broken.insert(id);
        id
    }

    pub(super) fn add_const(
        &mut self,
        name: &str,
        literal: Literal,
        at: &'static Location<'static>,
    ) -> ValueId {
        let id = self.function.add_value(name, literal.ty.clone());
        self.function.ops.push(Operation { place: Place::Rust(at), ..Operation::constant(literal, id) });
        id
    }

    pub(super) fn shared_const(&mut self, literal: Literal, at: &'static Location<'static>) -> ValueId {
        let small = |l: &Literal| l.ty.elements() <= SHARED_CONSTANT;
        for op in &self.function.ops[self.indexed..] {
            if let (Some(held), Some(&id)) = (op.const_literal().filter(|l| small(l)), op.results.first()) {
                self.constants.entry(format!("{held:?}")).or_insert(id);
            }
        }
        self.indexed = self.function.ops.len();
        if small(&literal)
            && let Some(&id) = self.constants.get(&format!("{literal:?}"))
        {
            return id;
        }
        let name = self.fresh("const");
        self.add_const(&name, literal, at)
    }

    pub(super) fn input(&mut self, input: Input<'_>, role: Role, at: &'static Location<'static>) -> ArgValue {
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

    pub(super) fn push(&mut self, op: Op, args: Vec<Arg>, at: &'static Location<'static>) -> Vec<ValueId> {
        let mut operation = Operation {
            scope: self.scope.clone(),
            place: Place::Rust(at),
            ..Operation::new(op, args, Vec::new())
        };
        // Consequential errors are not reported.
        if operation.uses().any(|v| self.broken.contains(&v)) {
            return vec![self.broken_value()];
        }
        for (i, param) in op.params.iter().enumerate() {
            let given = operation.args.iter().find(|a| a.param == i);
            let text = match (given, param.role) {
                (None, _) if param.absent == crate::op::Absent::Refused => {
                    format!("`{}` needs `{}`", op.name(), param.name)
                }
                (Some(Arg { value: ArgValue::Value(v), .. }), Role::Const | Role::Known)
                    if !self.is_inline_const(*v) =>
                {
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
                self.report.push(Diagnostic::refusal(reject, Place::Rust(at)));
                vec![self.broken_value()]
            }
        }
    }

    pub(super) fn is_inline_const(&self, id: ValueId) -> bool {
        self.function
            .ops
            .iter()
            .any(|o| o.results.first() == Some(&id) && o.const_literal().is_some_and(|l| l.data().is_some()))
    }
}
