//! A single operation as a program, for the reference evaluator.

use super::argument::Argument;
use crate::error::{CompileError, PlanError};
use mil::ir::{Arg, Block};
use mil::op::Role;
use mil::{ArgValue, Function, Literal, Operation, Program, TensorType, ValueId, Verified};
use std::collections::{HashMap, HashSet};

/// The program of `operation`, and the arguments that become its parameters, in order. Arguments that must be constant
/// stay constants; values and weights become parameters.
///
/// # Errors
/// `Operation`, if the verifier refuses the operation on its own, although it accepted the program: a contradiction in
/// the op table. `Plan`, if an argument that must be a constant is none.
pub(super) fn single_op<'f>(
    function: &'f Function,
    literals: &[Option<&'f Literal>],
    operation: &'f Operation,
) -> Result<(Verified<Program>, Vec<Argument<'f>>), CompileError> {
    let mut single = Function::empty("main", function.opset);
    let mut given = Vec::new();
    let mut args = Vec::new();
    for arg in &operation.args {
        let role = operation.op.params[arg.param].role;
        let mut parameter = |single: &mut Function, ty: &TensorType, value: Argument<'f>| {
            let id = single.add_value(format!("x{}", given.len()), ty.clone());
            single.inputs.push(id);
            given.push(value);
            id
        };
        let value = match (&arg.value, role) {
            (ArgValue::Value(v), Role::Const | Role::Known) => match literals[v.index()] {
                Some(literal) => ArgValue::Value(constant(&mut single, literal)),
                None => {
                    let (op, param) = (operation.op.name(), operation.op.params[arg.param].name);
                    return Err(PlanError::Constant { op, param }.into());
                }
            },
            // Type rules may read the elements of any constant in the program.
            (ArgValue::Value(v), Role::Tensor | Role::Bound)
                if let Some(literal) = small(literals[v.index()]) =>
            {
                ArgValue::Value(constant(&mut single, literal))
            }
            (ArgValue::Value(v), _) => {
                ArgValue::Value(parameter(&mut single, function.ty(*v), Argument::Value(*v)))
            }
            (ArgValue::List(vs), _) => ArgValue::List(
                vs.iter()
                    .map(|&v| match small(literals[v.index()]) {
                        Some(literal) => constant(&mut single, literal),
                        None => parameter(&mut single, function.ty(v), Argument::Value(v)),
                    })
                    .collect(),
            ),
            (ArgValue::Literal(l), Role::Tensor | Role::Variadic) => {
                ArgValue::Value(parameter(&mut single, &l.ty, Argument::Literal(l)))
            }
            (ArgValue::Literal(l), _) => ArgValue::Literal(l.clone()),
        };
        args.push(Arg { param: arg.param, value });
    }
    let results = define_results(function, operation, &mut single);
    single.outputs.clone_from(&results);
    let mut inside = HashMap::new();
    let used: HashSet<ValueId> = operation.uses().collect();
    for v in operation.captures().into_iter().filter(|v| !used.contains(v)) {
        let id = match literals[v.index()] {
            Some(literal) if literal.data().is_some() => constant(&mut single, literal),
            _ => {
                let id = single.add_value(format!("x{}", given.len()), function.ty(v).clone());
                single.inputs.push(id);
                given.push(Argument::Value(v));
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
    let blocks = operation.blocks.iter().map(|b| block(function, b, &mut single, &mut inside)).collect();
    single.ops.push(Operation { args, results, blocks, ..operation.clone() });
    let refused = |report| CompileError::Operation { name: operation.op.name(), report };
    Ok((mil::verify::verify(Program::of(single)).map_err(refused)?, given))
}

/// Defines the results of `operation` in `single`. Error messages name results, so the names are kept unless they could
/// collide with generated ones.
fn define_results(function: &Function, operation: &Operation, single: &mut Function) -> Vec<ValueId> {
    let name = |r: &ValueId| function.value(*r).name.as_str();
    let own = operation.results.iter().all(|r| !is_generated(name(r)));
    let define = |(i, r): (usize, &ValueId)| {
        let name = if own { name(r).to_owned() } else { format!("y{i}") };
        single.add_value(name, function.ty(*r).clone())
    };
    operation.results.iter().enumerate().map(define).collect()
}

/// Whether `name` has the form of a name generated here for a parameter, constant or inner value.
fn is_generated(name: &str) -> bool {
    let rest = name.strip_prefix(['x', 'c', 'v']);
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

/// A constant written in the program and small enough to copy.
fn small(literal: Option<&Literal>) -> Option<&Literal> {
    literal.filter(|l| l.data().is_some() && l.ty.elements() <= SMALL)
}

/// Constants up to this size are copied.
const SMALL: usize = 1 << 12;

/// Copies `block` of `function` to `single`; `names` maps values of `function` to those of `single`.
fn block(
    function: &Function,
    block: &Block,
    single: &mut Function,
    names: &mut HashMap<ValueId, ValueId>,
) -> Block {
    let define = |single: &mut Function, names: &mut HashMap<ValueId, ValueId>, ids: &[ValueId]| {
        let mut own = Vec::new();
        for &v in ids {
            let id = single.add_value(format!("v{}", single.values.len()), function.ty(v).clone());
            names.insert(v, id);
            own.push(id);
        }
        own
    };
    let inputs = define(single, names, &block.inputs);
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
        let blocks = operation.blocks.iter().map(|b| self::block(function, b, single, names)).collect();
        let results = define(single, names, &operation.results);
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
