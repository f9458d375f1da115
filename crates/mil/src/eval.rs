//! The reference evaluator: slow, exact, the standard that every engine is compared with.
//!
//! Types are inferred during evaluation from the actual values, so it also runs programs whose sizes are unknown or
//! depend on computed values.

use crate::blob::{BlobError, Weights};
use crate::diag::Reject;
use crate::ir::{ArgValue, Block, Function, Literal, LiteralData, Operation, Program, ValueId};
use crate::op::{BlockTypes, Call, Eval, Operand};
use crate::tensor::{Data, Tensor};
use crate::ty::TensorType;
use crate::verify::Verified;

/// When floats are rounded to their element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Once after each operation, like an engine that stores every value.
    AsTyped,
    /// Never: all values are `f64`. Used to check gradients.
    Exact,
}

/// The most elements of a value: each takes 8 bytes here.
pub const LARGEST: usize = 1 << 28;

/// Elements of all values that are held at one time, at most. A value is held until the last operation that uses it.
pub const HELD: usize = 1 << 29;

/// The most loop iterations in total; more count as an endless loop.
pub const ITERATIONS: usize = 1 << 20;

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum EvalError {
    #[error("the program has no function")]
    NoFunction,
    #[error("`{function}` takes {want} inputs, but {got} were passed")]
    InputCount { function: String, want: usize, got: usize },
    #[error("input `{name}` is {want}, but {got} was passed")]
    InputType { name: String, want: TensorType, got: TensorType },
    #[error("weights: {0}")]
    Blob(#[from] BlobError),
    #[error("`{value}`, with these inputs: {} ({})", .reject.message, .reject.code)]
    Refused { value: String, reject: Box<Reject> },
    #[error("`{value}` is declared as {want}, but with these inputs it is {got}")]
    ResultType { value: String, want: Box<TensorType>, got: Box<TensorType> },
    #[error("`{value}` would be {ty}; the reference engine holds at most {LARGEST} elements of a value")]
    TooLarge { value: String, ty: TensorType },
    #[error(
        "with `{value}`, {ty}, values of more than {HELD} elements would be held, the most that the reference engine does"
    )]
    TooMuch { value: String, ty: TensorType },
    #[error("the loop that computes `{value}` does not end: loops have run {ITERATIONS} times")]
    Endless { value: String },
}

/// Runs the main function of `program` on `inputs`, in parameter order.
///
/// # Errors
/// If the inputs do not match the parameters, a blob does not match its literal, a value is too large, or
/// a loop does not end.
pub fn run(
    program: &Verified<Program>,
    weights: &Weights,
    inputs: &[Tensor],
    rounding: Rounding,
) -> Result<Vec<Tensor>, EvalError> {
    run_function(program.main().ok_or(EvalError::NoFunction)?, weights, inputs, rounding)
}

/// Runs `function`, whose sizes may be unknown, on `inputs`; what the verifier refuses with these inputs is an
/// error.
///
/// # Errors
/// As [`run`], and if an operation refuses its operands.
pub fn run_function(
    function: &Function,
    weights: &Weights,
    inputs: &[Tensor],
    rounding: Rounding,
) -> Result<Vec<Tensor>, EvalError> {
    if inputs.len() != function.inputs.len() {
        return Err(EvalError::InputCount {
            function: function.name.clone(),
            want: function.inputs.len(),
            got: inputs.len(),
        });
    }
    let values = vec![None; function.values.len()];
    let mut run = Run { function, weights, rounding, values, held: 0, iterations: 0 };
    for (&id, tensor) in function.inputs.iter().zip(inputs) {
        let want = function.value(id);
        if !want.ty.admits(&tensor.ty) {
            return Err(EvalError::InputType {
                name: want.name.clone(),
                want: want.ty.clone(),
                got: tensor.ty.clone(),
            });
        }
        run.hold(id, tensor.clone())?;
    }
    let last = last_uses(function);
    for (operation, last) in function.ops.iter().zip(&last) {
        run.operation(operation)?;
        last.iter().for_each(|&id| run.release(id));
    }
    run.tensors(&function.outputs)
}

/// For each operation, the values of which it is the last use.
fn last_uses(function: &Function) -> Vec<Vec<ValueId>> {
    let mut last = vec![Vec::new(); function.ops.len()];
    let mut used = vec![false; function.values.len()];
    function.outputs.iter().for_each(|v| used[v.index()] = true);
    for (operation, last) in function.ops.iter().zip(&mut last).rev() {
        for id in operation.captures().into_iter().chain(operation.results.iter().copied()) {
            if !std::mem::replace(&mut used[id.index()], true) {
                last.push(id);
            }
        }
    }
    last
}

struct Run<'f> {
    function: &'f Function,
    weights: &'f Weights,
    rounding: Rounding,
    values: Vec<Option<Tensor>>,
    /// Elements of all values.
    held: usize,
    /// How often loops have run.
    iterations: usize,
}

impl<'f> Run<'f> {
    /// Sets the elements of value `id`.
    fn hold(&mut self, id: ValueId, tensor: Tensor) -> Result<(), EvalError> {
        self.release(id);
        self.room(&self.function.value(id).name, &tensor.ty)?;
        self.held += tensor.data.len();
        self.values[id.index()] = Some(tensor);
        Ok(())
    }

    fn release(&mut self, id: ValueId) {
        if let Some(before) = self.values[id.index()].take() {
            self.held -= before.data.len();
        }
    }

    /// Checks that a value of type `ty` fits in memory with all others.
    fn room(&self, value: &str, ty: &TensorType) -> Result<(), EvalError> {
        if ty.elements() > LARGEST {
            return Err(EvalError::TooLarge { value: value.to_owned(), ty: ty.clone() });
        }
        if self.held.saturating_add(ty.elements()) > HELD {
            return Err(EvalError::TooMuch { value: value.to_owned(), ty: ty.clone() });
        }
        Ok(())
    }

    fn operations(&mut self, ops: &'f [Operation]) -> Result<(), EvalError> {
        ops.iter().try_for_each(|op| self.operation(op))
    }

    fn name(&self, operation: &Operation) -> &'f str {
        let first = operation.results.first();
        first.map_or(operation.op.name(), |&r| self.function.value(r).name.as_str())
    }

    fn operation(&mut self, operation: &'f Operation) -> Result<(), EvalError> {
        let results = match operation.op.name() {
            "cond" => self.cond(operation)?,
            "while_loop" => self.while_loop(operation)?,
            _ => self.plain(operation)?,
        };
        for (&id, tensor) in operation.results.iter().zip(results) {
            let want = self.function.value(id);
            if !want.ty.admits(&tensor.ty) {
                let (value, want, got) = (want.name.clone(), Box::new(want.ty.clone()), Box::new(tensor.ty));
                return Err(EvalError::ResultType { value, want, got });
            }
            self.hold(id, tensor)?;
        }
        Ok(())
    }

    fn plain(&self, operation: &'f Operation) -> Result<Vec<Tensor>, EvalError> {
        let literals = operation.args.iter().filter_map(|a| match &a.value {
            ArgValue::Literal(l) => Some(load(l, self.weights)),
            _ => None,
        });
        let literals = literals.collect::<Result<Vec<Tensor>, BlobError>>()?;
        let mut literals = literals.iter();
        let mut tensors = vec![Vec::new(); operation.op.params.len()];
        let mut operands = Vec::with_capacity(operation.args.len());
        for arg in &operation.args {
            let of = |v: &ValueId| self.values[v.index()].as_ref();
            let given: Vec<&Tensor> = match &arg.value {
                ArgValue::Value(v) => of(v).into_iter().collect(),
                ArgValue::List(vs) => vs.iter().filter_map(of).collect(),
                ArgValue::Literal(_) => literals.next().into_iter().collect(),
            };
            operands.extend(given.iter().map(|t| (arg.param, Operand { ty: &t.ty, data: Some(&t.data) })));
            tensors[arg.param].extend(given);
        }
        let call = Call::of(operation.op, operands, Vec::new());
        let types = (operation.op.infer)(&call).map_err(|reject| self.refused(operation, reject))?;
        types.iter().try_for_each(|ty| self.room(self.name(operation), ty))?;
        let results = (operation.op.eval)(&Eval::new(call, tensors, types.iter().collect()));
        Ok(match self.rounding {
            Rounding::AsTyped => results.into_iter().map(Tensor::rounded).collect(),
            Rounding::Exact => results,
        })
    }

    fn refused(&self, operation: &Operation, reject: Reject) -> EvalError {
        EvalError::Refused { value: self.name(operation).to_owned(), reject: Box::new(reject) }
    }

    /// The values of `ids`; in a checked function all are defined.
    fn tensors(&self, ids: &[ValueId]) -> Result<Vec<Tensor>, EvalError> {
        let mut copied = self.held;
        let mut out = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(tensor) = &self.values[id.index()] else { continue };
            copied = copied.saturating_add(tensor.data.len());
            if copied > 2 * HELD {
                let (value, ty) = (self.function.value(*id).name.clone(), tensor.ty.clone());
                return Err(EvalError::TooMuch { value, ty });
            }
            out.push(tensor.clone());
        }
        Ok(out)
    }

    fn block(&mut self, block: &'f Block, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, EvalError> {
        for (&id, tensor) in block.inputs.iter().zip(inputs) {
            self.hold(id, tensor)?;
        }
        self.operations(&block.ops)?;
        self.tensors(&block.outputs)
    }

    fn arguments(&self, operation: &Operation) -> Result<Vec<Tensor>, EvalError> {
        let mut out = Vec::new();
        for arg in &operation.args {
            match &arg.value {
                ArgValue::Value(v) => out.extend(self.tensors(&[*v])?),
                ArgValue::List(vs) => out.extend(self.tensors(vs)?),
                ArgValue::Literal(l) => out.push(load(l, self.weights)?),
            }
        }
        Ok(out)
    }

    fn cond(&mut self, operation: &'f Operation) -> Result<Vec<Tensor>, EvalError> {
        let pred = self.arguments(operation)?.into_iter().next();
        let which = usize::from(!pred.is_some_and(|t| is_true(&t)));
        match operation.blocks.get(which) {
            Some(block) => self.block(block, Vec::new()),
            None => Ok(Vec::new()),
        }
    }

    fn while_loop(&mut self, operation: &'f Operation) -> Result<Vec<Tensor>, EvalError> {
        let [condition, body] = &operation.blocks[..] else { return Ok(Vec::new()) };
        let mut vars = self.arguments(operation)?;
        let types = |t: &[Tensor]| t.iter().map(|t| t.ty.clone()).collect::<Vec<_>>();
        let first = types(&vars);
        while self.iterations < ITERATIONS {
            self.iterations += 1;
            let go_on = self.block(condition, vars.clone())?;
            if !go_on.first().is_some_and(is_true) {
                return Ok(vars);
            }
            vars = self.block(body, vars)?;
            if types(&vars) != first {
                let outputs = types(&vars);
                let given = BlockTypes { inputs: first.clone(), outputs };
                let call = Call::of(operation.op, Vec::new(), vec![given]);
                let text = format!("`{}` changes the types of its loop variables", call.op.name());
                return Err(self.refused(operation, Reject::new("block-results", text)));
            }
        }
        Err(EvalError::Endless { value: self.name(operation).to_owned() })
    }
}

fn is_true(tensor: &Tensor) -> bool {
    matches!(&tensor.data, Data::Bool(v) if v.first() == Some(&true))
}

/// The elements of a literal, wherever they are.
///
/// # Errors
/// If they are in a blob that is missing or does not match the literal.
pub fn load(literal: &Literal, weights: &Weights) -> Result<Tensor, BlobError> {
    match &literal.data {
        LiteralData::Inline(data) => Ok(Tensor { ty: literal.ty.clone(), data: (**data).clone() }),
        LiteralData::Blob { path, offset } => weights.read(path, *offset, &literal.ty),
    }
}
