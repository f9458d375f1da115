//! Padding of the last axis.

use super::axes::AxisGroups;
use super::call::{constant, ints};
use super::ports::{PortMap, width};
use super::{Apply, EXACT, Repair, Rewritten};
use crate::facts::LAST_AXIS_UNIT;
use mil::ir::Arg;
use mil::tensor::{flatten, strides, unflatten};
use mil::{ArgValue, Data, Function, Literal, Operation, Tensor, TensorType, ValueId};

/// Last axes that engines read or write wrongly.
pub(super) const PAD: Repair = Repair {
    rules: &["S6"],
    name: "pad-last-axis",
    does: "Pads the last axis of inputs and outputs to a multiple of 16, where elements along it never meet; outputs have to be cropped.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Function(pad),
};

/// Constants that would become larger than this stay.
const LARGEST_CONSTANT: usize = 1 << 24;

fn pad(function: &Function) -> Result<Option<Rewritten>, String> {
    let step = LAST_AXIS_UNIT.value;
    let ports: Vec<ValueId> = function.inputs.iter().chain(&function.outputs).copied().collect();
    // A scalar is no surface of its own width.
    let unfit = |v: &ValueId| {
        let ty = function.ty(*v);
        ty.rank() > 0 && !(width(ty) > 0 && width(ty).is_multiple_of(step))
    };
    if !ports.iter().any(unfit) {
        return Ok(None);
    }
    let (mut axes, literals) = (AxisGroups::of(function), function.literals());
    let mut new = function.clone();
    let mut changes = Vec::new();
    // All or nothing: padding some of them does not help.
    for v in ports.iter().copied().filter(unfit) {
        let (old, to) = (width(function.ty(v)), width(function.ty(v)).max(1).next_multiple_of(step));
        if width(new.ty(v)) == to {
            continue;
        }
        let class = axes.class((v, function.ty(v).rank() - 1));
        let refuse = |why: &str| {
            Err(format!("the last axis of `{}`, {old}, cannot be padded: {why}", function.value(v).name))
        };
        if let Some(why) = &class.tied {
            return refuse(why);
        }
        if let Some(at) =
            ports.iter().find(|&&p| class.axis(p).is_some_and(|a| a + 1 != function.ty(p).rank()))
        {
            return refuse(&format!("`{}` has it as an inner axis", function.value(*at).name));
        }
        for &(member, axis) in &class.members {
            new.values[member.index()].ty.shape[axis] = to;
            if new.ty(member).elements() > LARGEST_CONSTANT && literals[member.index()].is_some() {
                return refuse(&format!("`{}` would be too large", function.value(member).name));
            }
        }
        let port = ports.iter().filter(|&&p| class.axis(p).is_some());
        let mut named: Vec<String> = port.map(|&p| format!("`{}`", function.value(p).name)).collect();
        named.dedup();
        changes.push(format!("the last axis of {} is padded from {old} to {to}", named.join(", ")));
    }
    if changes.is_empty() {
        return Ok(None);
    }
    let fit = Fit::of(function);
    for (was, mut operation) in function.ops.iter().zip(std::mem::take(&mut new.ops)) {
        fit.operation(was, &mut new, &mut operation, 0);
        new.ops.push(operation);
    }
    Ok(Some(Rewritten { ports: PortMap::moved(function, &new), function: new, changes }))
}

/// Makes operations fit their values, some axes of which have another size than they had.
pub(super) struct Fit<'f> {
    old: &'f Function,
    literals: Vec<Option<&'f Literal>>,
}

impl<'f> Fit<'f> {
    pub fn of(old: &'f Function) -> Fit<'f> {
        Fit { old, literals: old.literals() }
    }

    /// Makes `operation`, which was `was` and has its values in `new`, fit them: literals, which hold the elements from
    /// `start` on, and arguments that speak of sizes, which get constants of their own.
    pub fn operation(&self, was: &Operation, new: &mut Function, operation: &mut Operation, start: usize) {
        let Some(&result) = operation.results.first() else { return };
        if let (true, [Arg { value: ArgValue::Literal(literal), .. }]) =
            (was.const_literal().is_some(), &mut operation.args[..])
        {
            if literal.ty != *new.ty(result) {
                *literal = part(literal, new.ty(result), start);
            }
            return;
        }
        let lists = match was.op.name() {
            "reshape" => self.reshaped(was, new.ty(result)),
            "slice_by_size" => self.sliced(was, operation, new, "size"),
            "slice_by_index" => self.sliced(was, operation, new, "end"),
            _ => return,
        };
        for (name, list) in lists {
            let Some(param) = operation.op.param(name) else { continue };
            let stem = format!("{}_{name}", new.value(result).name);
            let (id, literal) = constant(new, &stem, ints(list));
            new.ops.push(literal);
            operation.args.retain(|a| a.param != param);
            operation.args.push(Arg { param, value: ArgValue::Value(id) });
        }
    }

    /// The shape of a reshape, if it differs from that of `ty`.
    fn reshaped(&self, was: &Operation, ty: &TensorType) -> Vec<(&'static str, Vec<i64>)> {
        let said = self.list(was, "shape").unwrap_or_default();
        let sizes: Vec<i64> = ty.shape.iter().map(|&d| d as i64).collect();
        let fits = said.len() == sizes.len() && said.iter().zip(&sizes).all(|(&s, &d)| s <= 0 || s == d);
        if fits { Vec::new() } else { vec![("shape", sizes)] }
    }

    /// The bounds of a slice, which selects all of each resized axis.
    fn sliced(
        &self,
        was: &Operation,
        is: &Operation,
        new: &Function,
        end: &'static str,
    ) -> Vec<(&'static str, Vec<i64>)> {
        let (Some(old), Some(x)) = (was.arg_value("x"), is.arg_value("x")) else { return Vec::new() };
        let (old, sizes) = (&self.old.ty(old).shape, &new.ty(x).shape);
        let (Some(mut begin), Some(mut ends)) = (self.list(was, "begin"), self.list(was, end)) else {
            return Vec::new();
        };
        if old == sizes {
            return Vec::new();
        }
        for (i, (was, is)) in old.iter().zip(sizes).enumerate() {
            if let (true, Some(b), Some(e)) = (was != is, begin.get_mut(i), ends.get_mut(i)) {
                (*b, *e) = (0, *is as i64);
            }
        }
        vec![("begin", begin), (end, ends)]
    }

    fn list(&self, operation: &Operation, name: &str) -> Option<Vec<i64>> {
        let literal = match operation.arg(name)? {
            ArgValue::Value(v) => self.literals[v.index()]?,
            ArgValue::Literal(l) => l,
            ArgValue::List(_) => return None,
        };
        match literal.data()? {
            Data::Int(v) => Some(v.clone()),
            _ => None,
        }
    }
}

/// The part of `literal` that has type `ty`: from `start` on along the axes whose sizes differ; zeros where it ends.
fn part(literal: &Literal, ty: &TensorType, start: usize) -> Literal {
    let Some(data) = literal.data() else { return literal.clone() };
    let (old, steps) = (&literal.ty.shape, strides(&literal.ty.shape));
    let mut index = vec![0; ty.rank()];
    let from: Vec<Option<usize>> = (0..ty.elements())
        .map(|n| {
            unflatten(n, &ty.shape, &mut index);
            for (i, at) in index.iter_mut().enumerate() {
                *at += if old[i] == ty.shape[i] { 0 } else { start };
            }
            index.iter().zip(old).all(|(at, d)| at < d).then(|| flatten(&index, &steps))
        })
        .collect();
    fn pick<T: Clone + Default>(v: &[T], from: &[Option<usize>]) -> Vec<T> {
        from.iter().map(|at| at.and_then(|i| v.get(i)).cloned().unwrap_or_default()).collect()
    }
    let data = match data {
        Data::Float(v) => Data::Float(pick(v, &from)),
        Data::Int(v) => Data::Int(pick(v, &from)),
        Data::Bool(v) => Data::Bool(pick(v, &from)),
        Data::Str(v) => Data::Str(pick(v, &from)),
    };
    Literal::inline(Tensor { ty: ty.clone(), data })
}
