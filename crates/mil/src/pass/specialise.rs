//! Specialises a function with unknown sizes for given input types.
//!
//! Computes everything that the types determine: shapes, and all that follows from constants and shapes by integer
//! arithmetic, become constants, so that elements that determine shapes are known. What depends on the elements of the
//! inputs stays unknown, and is refused by name.

use crate::diag::{Diagnostic, Report};
use crate::ir::{ArgValue, Block, Function, Literal, Operation, ValueId};
use crate::op::{Call, Eval, Role};
use crate::tensor::Tensor;
use crate::ty::TensorType;

/// Constants that are computed have at most so many elements; larger ones stay operations.
const FOLDED: usize = 4096;
/// The most elements that are read and computed in total; later operations are not folded.
const WORK: usize = 1 << 24;

/// Whether `function` has sizes that are not known, or elements that decide shapes or places and are computed: what of
/// them follows from the types becomes constant.
pub fn is_needed(function: &Function) -> bool {
    let literals = function.literals();
    let computed = |op: &Operation| {
        op.args.iter().any(|arg| match (&arg.value, op.op.params[arg.param].role) {
            (ArgValue::Value(v), Role::Known | Role::Bound) => {
                literals[v.index()].and_then(Literal::data).is_none()
            }
            _ => false,
        })
    };
    function.values.iter().any(|v| !v.ty.is_known()) || function.operations().any(computed)
}

/// `function` for inputs of these types.
///
/// # Errors
/// If there are more or fewer of them than parameters, a type is not the parameter's, an operation does not take what
/// it gets, or a size depends on the elements of the inputs.
pub fn specialise(function: &Function, inputs: &[TensorType]) -> Result<Function, Report> {
    let mut report = Report::default();
    let mut special = Special {
        f: function.clone(),
        literals: vec![None; function.values.len()],
        work: 0,
        report: &mut report,
    };
    if inputs.len() != function.inputs.len() {
        let text =
            format!("`{}` takes {} inputs, {} are given", function.name, function.inputs.len(), inputs.len());
        special.report.push(Diagnostic::new("input-count", text, crate::diag::Place::Nowhere));
    }
    for (&id, ty) in function.inputs.iter().zip(inputs) {
        special.settle(id, ty.clone(), None);
    }
    special.f.ops.clear();
    for op in &function.ops {
        if !special.report.diagnostics.is_empty() {
            break;
        }
        let op = special.operation(op.clone());
        special.f.ops.push(op);
    }
    let f = special.f;
    if report.diagnostics.is_empty() { Ok(f) } else { Err(report) }
}

struct Special<'r> {
    f: Function,
    /// Constants so far, by value.
    literals: Vec<Option<Literal>>,
    /// Elements read and computed so far.
    work: usize,
    report: &'r mut Report,
}

impl Special<'_> {
    /// Sets the type of value `id`, which must match the declared one.
    fn settle(&mut self, id: ValueId, ty: TensorType, at: Option<&Operation>) {
        let value = &mut self.f.values[id.index()];
        if value.ty.admits(&ty) {
            value.ty = ty;
            return;
        }
        let text = format!("`{}` is {}, with these inputs it is {ty}", value.name, value.ty);
        let place = at.map(|op| op.place.clone()).unwrap_or_default();
        self.report.push(Diagnostic::new("input-type", text, place));
    }

    fn operation(&mut self, mut operation: Operation) -> Operation {
        if let (Some(literal), [r]) = (operation.const_literal(), &operation.results[..]) {
            self.literals[r.index()] = Some(literal.clone());
            let (ty, r) = (literal.ty.clone(), *r);
            self.settle(r, ty, Some(&operation));
            return operation;
        }
        self.blocks(&mut operation);
        for arg in &operation.args {
            if let (ArgValue::Value(v), param) = (&arg.value, &operation.op.params[arg.param])
                && param.role == Role::Known
                && self.literals[v.index()].as_ref().and_then(Literal::data).is_none()
            {
                let used = &self.f.value(*v).name;
                let text = format!(
                    "`{}` of `{}` decides a shape, and `{used}` depends on the elements of the inputs",
                    param.name,
                    operation.op.name()
                );
                let refusal = Diagnostic::new("data-dependent", text, operation.place.clone());
                self.report
                    .push(refusal.help("run it with `--engine reference`, which finds sizes out as it goes"));
                return operation;
            }
        }
        let call = Call::with(&self.f, |v| self.literals[v.index()].as_ref(), &operation);
        let types = match (operation.op.infer)(&call) {
            Ok(types) => types,
            Err(reject) => {
                self.report.push(Diagnostic::refusal(reject, operation.place.clone()));
                return operation;
            }
        };
        let folded = self.folded(&operation, call, &types);
        self.work += folded.as_ref().map_or(0, |(work, _)| *work);
        for (&r, ty) in operation.results.iter().zip(types) {
            self.settle(r, ty, Some(&operation));
        }
        match (folded, &operation.results[..]) {
            (Some((_, tensor)), &[r]) => {
                let literal = Literal::inline(tensor);
                self.literals[r.index()] = Some(literal.clone());
                let (label, scope, place) = (operation.label, operation.scope, operation.place);
                Operation { label, scope, place, ..Operation::constant(literal, r) }
            }
            _ => operation,
        }
    }

    /// The result of an operation on constants or shapes, if it is a few integers or truths, and the elements that were
    /// read and computed for it.
    fn folded(&self, operation: &Operation, call: Call<'_>, types: &[TensorType]) -> Option<(usize, Tensor)> {
        let [ty] = types else { return None };
        let mut work = 0;
        let mut copy = |literal: &Literal| -> Option<Tensor> {
            work += literal.data()?.len() + 1;
            let affordable = self.work + work <= WORK;
            affordable.then_some(Tensor { ty: literal.ty.clone(), data: literal.data()?.clone() })
        };
        let of = |v: ValueId| self.literals[v.index()].as_ref();
        if ty.elements() > FOLDED || ty.dtype.is_float() || !operation.blocks.is_empty() {
            return None;
        }
        // A shape is known without the elements.
        let by_type = operation.op.name() == "shape";
        let mut owned: Vec<(usize, Tensor)> = Vec::new();
        for arg in &operation.args {
            match &arg.value {
                ArgValue::Value(v) if by_type => owned.push((
                    arg.param,
                    Tensor { ty: self.f.ty(*v).clone(), data: crate::Data::zeros(self.f.ty(*v).dtype, 0) },
                )),
                ArgValue::Value(v) => owned.push((arg.param, copy(of(*v)?)?)),
                ArgValue::List(vs) => {
                    for v in vs {
                        owned.push((arg.param, copy(of(*v)?)?));
                    }
                }
                ArgValue::Literal(l) => {
                    owned.push((arg.param, copy(l)?));
                }
            }
        }
        let mut tensors = vec![Vec::new(); operation.op.params.len()];
        for (param, tensor) in &owned {
            tensors[*param].push(tensor);
        }
        let results = (operation.op.eval)(&Eval::new(call, tensors, types.iter().collect()));
        let tensor = results.into_iter().next().filter(|t| t.data.len() == ty.elements())?;
        Some((work + tensor.data.len(), tensor))
    }

    /// The blocks of an operation: the parameters of a loop have the types of its variables.
    fn blocks(&mut self, operation: &mut Operation) {
        let vars: Vec<TensorType> = operation.uses().map(|v| self.f.ty(v).clone()).collect();
        let mut blocks = std::mem::take(&mut operation.blocks);
        for Block { inputs, ops, .. } in &mut blocks {
            for (&id, ty) in inputs.iter().zip(&vars) {
                self.settle(id, ty.clone(), Some(operation));
            }
            *ops = std::mem::take(ops).into_iter().map(|op| self.operation(op)).collect();
        }
        operation.blocks = blocks;
    }
}
