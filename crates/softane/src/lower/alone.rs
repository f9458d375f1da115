//! One operation as a program of its own.

use super::Given;
use mil::ir::{Arg, Block};
use mil::op::Role;
use mil::{ArgValue, Function, Literal, Operation, Program, Report, TensorType, ValueId, Verified};
use std::collections::{HashMap, HashSet};

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
            (ArgValue::Value(v), Role::Const | Role::Known) => match literals[v.index()] {
                Some(literal) => ArgValue::Value(constant(&mut alone, literal)),
                None => continue,
            },
            // Type rules may read the elements of any constant in the program.
            (ArgValue::Value(v), Role::Tensor | Role::Bound)
                if let Some(literal) = small(literals[v.index()]) =>
            {
                ArgValue::Value(constant(&mut alone, literal))
            }
            (ArgValue::Value(v), _) => {
                ArgValue::Value(parameter(&mut alone, function.ty(*v), Given::Value(*v)))
            }
            (ArgValue::List(vs), _) => ArgValue::List(
                vs.iter()
                    .map(|&v| match small(literals[v.index()]) {
                        Some(literal) => constant(&mut alone, literal),
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
    // Errors name results: as they are called, unless other values here may be called so.
    let name = |r: &ValueId| function.value(*r).name.as_str();
    let own = operation.results.iter().all(|r| !is_made_up(name(r)));
    let results: Vec<ValueId> = operation
        .results
        .iter()
        .enumerate()
        .map(|(i, r)| {
            let name = if own { name(r).to_owned() } else { format!("y{i}") };
            alone.add_value(name, function.ty(*r).clone())
        })
        .collect();
    alone.outputs.clone_from(&results);
    let mut inside = HashMap::new();
    let used: HashSet<ValueId> = operation.uses().collect();
    for v in operation.captures().into_iter().filter(|v| !used.contains(v)) {
        let id = match literals[v.index()] {
            Some(literal) if literal.data().is_some() => constant(&mut alone, literal),
            _ => {
                let id = alone.add_value(format!("x{}", given.len()), function.ty(v).clone());
                alone.inputs.push(id);
                given.push(Given::Value(v));
                id
            }
        };
        inside.insert(v, id);
    }
    for (arg, copy) in operation.args.iter().zip(&args) {
        match (&arg.value, &copy.value) {
            (ArgValue::Value(v), ArgValue::Value(id)) => drop(inside.insert(*v, *id)),
            (ArgValue::List(vs), ArgValue::List(ids)) => {
                inside.extend(vs.iter().copied().zip(ids.iter().copied()))
            }
            _ => {}
        }
    }
    let blocks = operation.blocks.iter().map(|b| block(function, b, &mut alone, &mut inside)).collect();
    alone.ops.push(Operation { args, results, blocks, ..operation.clone() });
    Ok((mil::verify::verify(Program::of(alone))?, given))
}

/// Whether `name` may be that of a parameter, constant or inner value of a program made here.
fn is_made_up(name: &str) -> bool {
    let rest = name.strip_prefix(['x', 'c', 'v']);
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

/// A constant that stands in the program and is no burden to copy.
fn small(literal: Option<&Literal>) -> Option<&Literal> {
    literal.filter(|l| l.data().is_some() && l.ty.elements() <= SMALL)
}

/// Constants up to this size are copied.
const SMALL: usize = 1 << 12;

/// `block` of `function` in `alone`, whose values are those that `names` says.
fn block(
    function: &Function,
    block: &Block,
    alone: &mut Function,
    names: &mut HashMap<ValueId, ValueId>,
) -> Block {
    let define = |alone: &mut Function, names: &mut HashMap<ValueId, ValueId>, ids: &[ValueId]| {
        let mut own = Vec::new();
        for &v in ids {
            let id = alone.add_value(format!("v{}", alone.values.len()), function.ty(v).clone());
            names.insert(v, id);
            own.push(id);
        }
        own
    };
    let inputs = define(alone, names, &block.inputs);
    let mut ops = Vec::new();
    for operation in &block.ops {
        let named = |v: &ValueId| names.get(v).copied().unwrap_or(*v);
        let args = operation.args.iter().map(|arg| {
            let value = match &arg.value {
                ArgValue::Value(v) => ArgValue::Value(named(v)),
                ArgValue::List(vs) => ArgValue::List(vs.iter().map(named).collect()),
                ArgValue::Literal(l) => ArgValue::Literal(l.clone()),
            };
            Arg { param: arg.param, value }
        });
        let args = args.collect();
        let blocks = operation.blocks.iter().map(|b| self::block(function, b, alone, names)).collect();
        let results = define(alone, names, &operation.results);
        ops.push(Operation { args, results, blocks, ..operation.clone() });
    }
    let outputs = block.outputs.iter().map(|v| names.get(v).copied().unwrap_or(*v)).collect();
    Block { inputs, ops, outputs }
}

/// Defines `literal` in `function`.
fn constant(function: &mut Function, literal: &Literal) -> ValueId {
    let id = function.add_value(format!("c{}", function.ops.len()), literal.ty.clone());
    function.ops.push(Operation::constant(literal.clone(), id));
    id
}
