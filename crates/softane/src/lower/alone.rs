//! One operation as a program of its own.

use super::Given;
use mil::ir::Arg;
use mil::op::Role;
use mil::{ArgValue, Function, Literal, Op, Operation, Program, Report, TensorType, ValueId, Verified};

/// The program of `operation`, and the arguments that are its parameters, in order: constants that the operation
/// asks for stay, values and weights become parameters.
///
/// # Errors
/// If the verifier refuses the operation alone, which it took among others: a contradiction in the op table.
pub(super) fn alone<'f>(
    function: &'f Function,
    literals: &[Option<&'f Literal>],
    operation: &'f Operation,
) -> Result<(Verified<Program>, Vec<Given<'f>>), Report> {
    let mut alone = Function::empty("main", function.opset);
    let mut given = Vec::new();
    let mut args = Vec::new();
    for arg in &operation.args {
        let role = operation.op.params[arg.param].role;
        let mut parameter = |alone: &mut Function, ty: &TensorType, value: Given<'f>| {
            let id = alone.add_value(format!("x{}", given.len()), ty.clone());
            alone.inputs.push(id);
            given.push(value);
            id
        };
        let value = match (&arg.value, role) {
            (ArgValue::Value(v), Role::Const | Role::Known) => {
                match literals[v.index()].zip(Op::find("const")) {
                    Some((literal, op)) => ArgValue::Value(constant(&mut alone, op, literal)),
                    None => continue,
                }
            }
            // Type rules may read the elements of any constant in the program.
            (ArgValue::Value(v), Role::Tensor) if let Some((literal, op)) = small(literals[v.index()]) => {
                ArgValue::Value(constant(&mut alone, op, literal))
            }
            (ArgValue::Value(v), _) => {
                ArgValue::Value(parameter(&mut alone, function.ty(*v), Given::Value(*v)))
            }
            (ArgValue::List(vs), _) => ArgValue::List(
                vs.iter()
                    .map(|&v| match small(literals[v.index()]) {
                        Some((literal, op)) => constant(&mut alone, op, literal),
                        None => parameter(&mut alone, function.ty(v), Given::Value(v)),
                    })
                    .collect(),
            ),
            (ArgValue::Literal(l), Role::Tensor | Role::Variadic) => {
                ArgValue::Value(parameter(&mut alone, &l.ty, Given::Literal(l)))
            }
            (ArgValue::Literal(l), _) => ArgValue::Literal(l.clone()),
        };
        args.push(Arg { param: arg.param, value });
    }
    let results: Vec<ValueId> = operation
        .results
        .iter()
        .enumerate()
        .map(|(i, &r)| alone.add_value(format!("y{i}"), function.ty(r).clone()))
        .collect();
    alone.outputs.clone_from(&results);
    alone.ops.push(Operation { args, results, ..operation.clone() });
    Ok((mil::verify::verify(Program::of(alone))?, given))
}

/// A constant that stands in the program and is no burden to copy, and the operation that defines it.
fn small(literal: Option<&Literal>) -> Option<(&Literal, Op)> {
    literal.filter(|l| l.data().is_some() && l.ty.elements() <= SMALL).zip(Op::find("const"))
}

/// Constants up to this size are copied.
const SMALL: usize = 1 << 12;

/// Defines `literal` in `function`.
fn constant(function: &mut Function, op: Op, literal: &Literal) -> ValueId {
    let id = function.add_value(format!("c{}", function.ops.len()), literal.ty.clone());
    function.ops.push(Operation {
        op,
        args: vec![Arg { param: 0, value: ArgValue::Literal(literal.clone()) }],
        results: vec![id],
        label: None,
        scope: mil::Scope::default(),
        place: mil::diag::Place::default(),
    });
    id
}
