//! Inputs that are too wide.

use super::axes::{AxisGroups, Class};
use super::call::{boolean, constant, int, unused};
use super::pad::Fit;
use super::ports::{MovedPort, Piece, PortMap, width};
use super::{Apply, EXACT, Repair, Rewritten};
use crate::facts::{LAST_AXIS_MULTIPLE, MAX_AXIS, MAX_INPUT_WIDTH};
use mil::ir::Arg;
use mil::{ArgValue, Function, Op, Operation, ValueId};
use std::collections::HashMap;

/// Inputs whose last axis exceeds the engine's limit.
pub(super) const SPLIT: Repair = Repair {
    rules: &["S12"],
    name: "split-width",
    does: "Splits inputs that are too wide: into parts that are computed separately if elements along the axis are independent, otherwise into parts that are joined again inside.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(split),
};

fn split(function: &Function) -> Result<Option<Rewritten>, String> {
    let mut done: Option<Rewritten> = None;
    loop {
        let now = done.as_ref().map_or(function, |d| &d.function);
        let Some(next) = split_one(now)? else { return Ok(done) };
        done = Some(match done {
            None => next,
            Some(before) => Rewritten {
                function: next.function,
                changes: [before.changes, next.changes].concat(),
                ports: before.ports.then(&next.ports),
            },
        });
    }
}

fn split_one(function: &Function) -> Result<Option<Rewritten>, String> {
    let limit = MAX_INPUT_WIDTH.value;
    let Some(&input) = function.inputs.iter().find(|&&v| width(function.ty(v)) > limit) else {
        return Ok(None);
    };
    let wide = width(function.ty(input));
    let sizes = parts(wide, limit);
    let class = AxisGroups::of(function).class((input, function.ty(input).rank() - 1));
    let mut ports = function.inputs.iter().chain(&function.outputs);
    let last = ports.all(|&p| class.axis(p).is_none_or(|axis| axis + 1 == function.ty(p).rank()));
    let name = &function.value(input).name;
    if class.tied.is_none() && last {
        return Ok(Some(split_independent(function, &class, &sizes)));
    }
    if wide > MAX_AXIS.value {
        let why = class.tied.unwrap_or_else(|| "a result has it as an inner axis".to_owned());
        return Err(format!("the {wide} columns of `{name}` cannot be computed separately: {why}"));
    }
    joined(function, input, &sizes).map(Some)
}

/// The sizes of the parts of an axis of size `wide`: equal, but for the last, and of whole rows of bytes.
fn parts(wide: usize, limit: usize) -> Vec<usize> {
    let each = wide.div_ceil(wide.div_ceil(limit)).next_multiple_of(LAST_AXIS_MULTIPLE.value).min(limit);
    (0..wide).step_by(each).map(|start| each.min(wide - start)).collect()
}

/// All that belongs to `class`, once for each part.
fn split_independent(function: &Function, class: &Class, sizes: &[usize]) -> Rewritten {
    let mut new = Function { ops: Vec::new(), ..function.clone() };
    let mut copies: HashMap<ValueId, Vec<ValueId>> = HashMap::new();
    for &(member, axis) in &class.members {
        let mut copy = |(n, &size): (usize, &usize)| {
            let mut ty = function.ty(member).clone();
            ty.shape[axis] = size;
            let name = unused(&new, &format!("{}_{n}", function.value(member).name));
            new.add_value(name, ty)
        };
        let ids = sizes.iter().enumerate().map(&mut copy).collect();
        copies.insert(member, ids);
    }
    let fit = Fit::of(function);
    for was in &function.ops {
        let touched = was.uses().chain(was.results.iter().copied()).any(|v| copies.contains_key(&v));
        if !touched {
            new.ops.push(was.clone());
            continue;
        }
        let mut start = 0;
        for (n, size) in sizes.iter().enumerate() {
            let of = |v: &ValueId| copies.get(v).map_or(*v, |c| c[n]);
            let mut operation = was.clone();
            for arg in &mut operation.args {
                match &mut arg.value {
                    ArgValue::Value(v) => *v = of(v),
                    ArgValue::List(vs) => vs.iter_mut().for_each(|v| *v = of(v)),
                    ArgValue::Literal(_) => {}
                }
            }
            operation.results.iter_mut().for_each(|r| *r = of(r));
            operation.label = was.label.as_ref().map(|l| format!("{l}_{n}"));
            fit.operation(was, &mut new, &mut operation, start);
            new.ops.push(operation);
            start += size;
        }
    }
    let ports = |ids: &mut Vec<ValueId>| -> Vec<MovedPort> {
        let (old, mut now) = (std::mem::take(ids), Vec::new());
        let port = |&v: &ValueId| {
            let whole = vec![v];
            let parts = copies.get(&v).unwrap_or(&whole);
            let mut start = 0;
            let pieces = parts.iter().map(|&id| {
                let piece = Piece { start, ..Piece::whole(&new, now.len(), id) };
                start += piece.len;
                now.push(id);
                piece
            });
            let pieces = pieces.collect();
            let value = function.value(v);
            MovedPort { name: value.name.clone(), ty: value.ty.clone(), pieces }
        };
        let ports = old.iter().map(port).collect();
        *ids = now;
        ports
    };
    let (mut inputs, mut outputs) = (function.inputs.clone(), function.outputs.clone());
    let ports = PortMap { inputs: ports(&mut inputs), outputs: ports(&mut outputs) };
    (new.inputs, new.outputs) = (inputs, outputs);
    let split = |port: &&MovedPort| port.pieces.len() > 1;
    let names = ports.inputs.iter().chain(&ports.outputs).filter(split).map(|p| format!("`{}`", p.name));
    let names: Vec<String> = names.collect();
    let changes = vec![format!("{} in {} parts, computed separately", names.join(", "), sizes.len())];
    Rewritten { function: new, changes, ports }
}

/// `input` in parts that are joined before anything uses them.
fn joined(function: &Function, input: ValueId, sizes: &[usize]) -> Result<Rewritten, String> {
    let op = Op::find_in("concat", function.opset).ok_or("this build has no `concat`")?;
    let mut new = function.clone();
    let (name, ty) = (function.value(input).name.clone(), function.ty(input).clone());
    let mut ids = Vec::new();
    for (n, &size) in sizes.iter().enumerate() {
        let mut part = ty.clone();
        if let Some(last) = part.shape.last_mut() {
            *last = size;
        }
        let part_name = unused(&new, &format!("{name}_{n}"));
        ids.push(new.add_value(part_name, part));
    }
    let (axis, axis_const) = constant(&mut new, &format!("{name}_axis"), int(ty.rank() as i64 - 1));
    let (turns, turns_const) = constant(&mut new, &format!("{name}_interleave"), boolean(false));
    let args = [
        ("values", ArgValue::List(ids.clone())),
        ("axis", ArgValue::Value(axis)),
        ("interleave", ArgValue::Value(turns)),
    ];
    let args = args.into_iter().filter_map(|(name, value)| Some(Arg { param: op.param(name)?, value }));
    let concat = Operation::new(op, args.collect(), vec![input]);
    new.ops.splice(0..0, [axis_const, turns_const, concat]);
    let mut ports = PortMap::unchanged(function);
    let (mut at, mut inputs) = (0, Vec::new());
    for (port, &v) in ports.inputs.iter_mut().zip(&function.inputs) {
        let parts = if v == input { ids.clone() } else { vec![v] };
        let mut start = 0;
        port.pieces.clear();
        for id in parts {
            let piece = Piece { start, ..Piece::whole(&new, at, id) };
            (at, start) = (at + 1, start + piece.len);
            port.pieces.push(piece);
            inputs.push(id);
        }
    }
    new.inputs = inputs;
    let changes = vec![format!("`{name}` is passed in {} parts and joined inside", sizes.len())];
    Ok(Rewritten { function: new, changes, ports })
}
