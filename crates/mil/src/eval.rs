//! The reference meaning of a program: slow, exact, the judge of every engine.

use crate::blob::{BlobError, Weights};
use crate::ir::{ArgValue, Function, Literal, LiteralData, Program, ValueId};
use crate::op::{Call, Eval};
use crate::tensor::Tensor;
use crate::ty::TensorType;
use crate::verify::Verified;

/// When floats are rounded to their element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// After each operation, once: what an engine with that storage does.
    AsTyped,
    /// Never, all is `f64`: what the mathematics says. Gradients are checked so.
    Exact,
}

/// Why a program could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum EvalError {
    #[error("the program has no function")]
    NoFunction,
    #[error("`{function}` takes {want} inputs, {got} are given")]
    InputCount { function: String, want: usize, got: usize },
    #[error("input `{name}` is {want}, {got} is given")]
    InputType { name: String, want: TensorType, got: TensorType },
    #[error("weights: {0}")]
    Blob(#[from] BlobError),
}

/// Runs the main function of `program` on `inputs`, in order of its parameters.
///
/// # Errors
/// If number or types of the inputs are not the function's, or a blob is not what a literal says.
pub fn run(
    program: &Verified<Program>,
    weights: &Weights,
    inputs: &[Tensor],
    rounding: Rounding,
) -> Result<Vec<Tensor>, EvalError> {
    let function = program.main().ok_or(EvalError::NoFunction)?;
    let values = run_function(function, weights, inputs, rounding)?;
    Ok(function.outputs.iter().filter_map(|&v| values[v.index()].clone()).collect())
}

/// Runs `function` and returns all its values; those of a verified function are all there.
pub(crate) fn run_function(
    function: &Function,
    weights: &Weights,
    inputs: &[Tensor],
    rounding: Rounding,
) -> Result<Vec<Option<Tensor>>, EvalError> {
    if inputs.len() != function.inputs.len() {
        return Err(EvalError::InputCount {
            function: function.name.clone(),
            want: function.inputs.len(),
            got: inputs.len(),
        });
    }
    let mut values: Vec<Option<Tensor>> = vec![None; function.values.len()];
    for (&id, tensor) in function.inputs.iter().zip(inputs) {
        let want = function.value(id);
        if tensor.ty != want.ty {
            return Err(EvalError::InputType {
                name: want.name.clone(),
                want: want.ty.clone(),
                got: tensor.ty.clone(),
            });
        }
        values[id.index()] = Some(tensor.clone());
    }
    let literals = function.literals();
    for operation in &function.ops {
        let owned = attribute_tensors(operation.args.iter().map(|a| &a.value), weights)?;
        let mut owned = owned.iter();
        let mut tensors = vec![Vec::new(); operation.op.params.len()];
        for arg in &operation.args {
            let slot: &mut Vec<&Tensor> = &mut tensors[arg.param];
            let of = |v: &ValueId| values[v.index()].as_ref();
            match &arg.value {
                ArgValue::Value(v) => slot.extend(of(v)),
                ArgValue::List(vs) => slot.extend(vs.iter().filter_map(of)),
                ArgValue::Literal(_) => slot.extend(owned.next()),
            }
        }
        let out = operation.results.iter().map(|&r| function.ty(r)).collect();
        let call = Call::new(function, &literals, operation);
        let results = (operation.op.eval)(&Eval::new(call, tensors, out));
        for (&id, tensor) in operation.results.iter().zip(results) {
            let tensor = match rounding {
                Rounding::AsTyped => tensor.rounded(),
                Rounding::Exact => tensor,
            };
            values[id.index()] = Some(tensor);
        }
    }
    Ok(values)
}

fn attribute_tensors<'a>(
    args: impl Iterator<Item = &'a ArgValue>,
    weights: &Weights,
) -> Result<Vec<Tensor>, BlobError> {
    args.filter_map(|a| match a {
        ArgValue::Literal(l) => Some(load(l, weights)),
        _ => None,
    })
    .collect()
}

/// The elements of a literal, wherever they are.
///
/// # Errors
/// If they are in a blob that is missing, or is not what the literal says.
pub fn load(literal: &Literal, weights: &Weights) -> Result<Tensor, BlobError> {
    match &literal.data {
        LiteralData::Inline(data) => Ok(Tensor { ty: literal.ty.clone(), data: (**data).clone() }),
        LiteralData::Blob { path, offset } => weights.read(path, *offset, &literal.ty),
    }
}
