//! Classes of tied axes: a change along one axis of a class must be applied along all.
//!
//! Along a *free* class of axes each element is computed only from those at the same place: it can be padded,
//! whatever the padding holds, and it can be cut. Along a *tied* one, elements meet: they are summed, moved, counted.

use mil::op::{Axes, Role, resolve_axis};
use mil::{ArgValue, Data, Function, Literal, Operation, ValueId};
use std::collections::HashMap;

/// An axis of a value.
pub(super) type Axis = (ValueId, usize);

/// The axes of a function, and which belong together.
pub(super) struct AxisGroups<'f> {
    function: &'f Function,
    literals: Vec<Option<&'f Literal>>,
    /// Where the axes of each value begin in `parent`.
    first: Vec<usize>,
    parent: Vec<usize>,
    /// Why an axis is tied; by axis.
    tied: HashMap<usize, String>,
    /// The current operation, for reasons.
    at: String,
    /// Whether a literal among its arguments is computed with, not as a scalar: it has no axes here.
    has_literals: bool,
}

/// Axes that belong together.
pub(super) struct Class {
    /// Which.
    pub members: Vec<Axis>,
    /// Why they are tied, if they are.
    pub tied: Option<String>,
}

impl Class {
    /// The axis of `value` that is a member; none of a free class has two.
    pub fn axis(&self, value: ValueId) -> Option<usize> {
        self.members.iter().find(|m| m.0 == value).map(|m| m.1)
    }
}

impl<'f> AxisGroups<'f> {
    pub fn of(function: &'f Function) -> AxisGroups<'f> {
        let mut first = Vec::with_capacity(function.values.len());
        let mut count = 0;
        for value in &function.values {
            first.push(count);
            count += value.ty.rank();
        }
        let parent = (0..count).collect();
        let (literals, tied) = (function.literals(), HashMap::new());
        let mut axes =
            AxisGroups { function, literals, first, parent, tied, at: String::new(), has_literals: false };
        function.ops.iter().for_each(|op| axes.operation(op));
        for state in &function.states {
            axes.at = format!("state `{}`", state.name);
            axes.tie_all(&[state.input, state.output], "keeps its value between runs");
        }
        axes
    }

    /// The class of `axis`.
    pub fn class(&mut self, (value, axis): Axis) -> Class {
        let root = self.root(self.first[value.index()] + axis);
        let mut class = Class { members: Vec::new(), tied: None };
        let ids = self.function.inputs.iter().chain(self.function.ops.iter().flat_map(|op| &op.results));
        for &id in ids {
            for i in 0..self.function.ty(id).rank() {
                let at = self.first[id.index()] + i;
                if self.root(at) == root {
                    class.tied = class.tied.or_else(|| self.tied.get(&at).cloned());
                    if class.members.last().is_some_and(|m| m.0 == id) {
                        let name = &self.function.value(id).name;
                        class.tied = class.tied.or_else(|| Some(format!("`{name}` has it twice")));
                    }
                    if self.literals[id.index()].is_some_and(|l| l.data().is_none()) {
                        let name = &self.function.value(id).name;
                        let text = || format!("`{name}` has its elements in a weight file");
                        class.tied = class.tied.or_else(|| Some(text()));
                    }
                    class.members.push((id, i));
                }
            }
        }
        class
    }

    fn root(&mut self, mut at: usize) -> usize {
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    fn size(&self, (value, axis): Axis) -> usize {
        self.function.ty(value).shape[axis]
    }

    fn join(&mut self, a: Axis, b: Axis) {
        let (a, b) = (self.first[a.0.index()] + a.1, self.first[b.0.index()] + b.1);
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }

    fn tie(&mut self, (value, axis): Axis, why: &str) {
        let at = self.first[value.index()] + axis;
        let text = format!("{} {why}", self.at);
        self.tied.entry(at).or_insert(text);
    }

    fn tie_all(&mut self, values: &[ValueId], why: &str) {
        for &v in values {
            (0..self.function.ty(v).rank()).for_each(|i| self.tie((v, i), why));
        }
    }

    fn operation(&mut self, op: &'f Operation) {
        let (name, Some(&result)) = (op.op.name(), op.results.first()) else { return };
        if op.const_literal().is_some() {
            return;
        }
        self.at = format!("`{name}`, which gives `{}`,", self.function.value(result).name);
        // Literals have no value, and arguments read by rules are not computed with.
        let operands: Vec<ValueId> = op
            .args
            .iter()
            .filter(|a| matches!(op.op.params[a.param].role, Role::Tensor | Role::Variadic))
            .flat_map(|a| match &a.value {
                ArgValue::Value(v) => vec![*v],
                ArgValue::List(vs) => vs.clone(),
                ArgValue::Literal(_) => Vec::new(),
            })
            .collect();
        self.has_literals = op.args.iter().any(|a| match &a.value {
            ArgValue::Literal(l) => l.ty.rank() > 0 && op.op.params[a.param].role == Role::Tensor,
            _ => false,
        });
        let done = match op.op.axes {
            Axes::Elementwise => self.elementwise(&operands, result),
            Axes::Along(parameter) => self.along(op, parameter, &operands),
            Axes::Reshape => self.reshape(op, result),
            Axes::Transpose => self.transpose(op, result),
            Axes::Slice => self.slice(op, result),
            Axes::Tile => self.tile(op, result),
            Axes::Matmul => self.matmul(op, result),
            Axes::Linear => self.linear(op, result),
            Axes::Conv => self.conv(op, result),
            Axes::Attention => self.attention(op, result),
            Axes::Tied => None,
        };
        if done.is_none() {
            let values = [op.captures(), op.results.clone()].concat();
            self.tie_all(&values, "is not known to keep axes independent");
        }
    }

    fn ints(&self, op: &'f Operation, name: &str) -> Option<Vec<i64>> {
        let literal = match op.arg(name)? {
            ArgValue::Value(v) => self.literals[v.index()]?,
            ArgValue::Literal(l) => l,
            ArgValue::List(_) => return None,
        };
        match literal.data()? {
            Data::Int(v) => Some(v.clone()),
            Data::Bool(v) => Some(v.iter().map(|&b| i64::from(b)).collect()),
            _ => None,
        }
    }

    fn rank(&self, v: ValueId) -> usize {
        self.function.ty(v).rank()
    }

    /// Axis `i` of `operand` is axis `j` of `result`, stretched if it is smaller.
    fn align(&mut self, operand: Axis, result: Axis, alone: bool) {
        let (a, b) = (self.size(operand), self.size(result));
        if a != b {
            self.tie(operand, "stretches it");
        } else if a != 1 || alone || self.literals[operand.0.index()].is_none() {
            self.join(operand, result);
        }
        // A constant of size 1 stays and is stretched.
    }

    fn elementwise(&mut self, operands: &[ValueId], result: ValueId) -> Option<()> {
        let rank = self.rank(result);
        let alone = operands.iter().all(|v| self.literals[v.index()].is_some());
        if self.has_literals {
            return None;
        }
        for &v in operands {
            let lead = rank.checked_sub(self.rank(v))?;
            (0..self.rank(v)).for_each(|i| self.align((v, i), (result, i + lead), alone));
        }
        Some(())
    }

    fn along(&mut self, op: &'f Operation, parameter: &str, operands: &[ValueId]) -> Option<()> {
        let main = op.arg_value("x").or(operands.first().copied())?;
        let rank = self.rank(main);
        let mut named = vec![op.arg(parameter).is_none() && parameter == "axes"; rank];
        let axes = match self.ints(op, parameter) {
            Some(axes) => axes,
            None if op.arg(parameter).is_some() => return None,
            None if parameter == "axes" => Vec::new(),
            None => match op.op.params[op.op.param(parameter)?].absent {
                mil::op::Absent::Int(axis) => vec![axis],
                _ => return None,
            },
        };
        for axis in axes {
            named[resolve_axis(axis, rank)?] = true;
        }
        let variadic = op.arg("values").is_some();
        for &v in operands {
            if v != main && !variadic {
                self.tie_all(&[v], "uses it along the axes that it reduces"); // γ and β
                continue;
            }
            for &result in &op.results {
                let kept = self.rank(result) == rank;
                let mut to = 0;
                for (i, &met) in named.iter().enumerate() {
                    if met {
                        self.tie((v, i), "joins elements along it");
                        if kept {
                            self.tie((result, to), "joins elements along it");
                        }
                    } else {
                        self.join((v, i), (result, to));
                    }
                    to += usize::from(kept || !met);
                }
            }
        }
        Some(())
    }

    /// An axis with as many elements before it, and of the same size, is the same.
    fn reshape(&mut self, op: &'f Operation, result: ValueId) -> Option<()> {
        let x = op.arg_value("x")?;
        let before = |shape: &[usize]| -> Vec<(usize, usize)> {
            let mut n = 1usize;
            let place = |&d: &usize| {
                let before = n;
                n = n.saturating_mul(d);
                (before, d)
            };
            shape.iter().map(place).collect()
        };
        let (from, to) = (before(&self.function.ty(x).shape), before(&self.function.ty(result).shape));
        let mut matched = vec![false; to.len()];
        for (i, place) in from.iter().enumerate() {
            match to.iter().position(|p| p == place).filter(|_| place.1 > 1) {
                Some(j) => {
                    matched[j] = true;
                    self.join((x, i), (result, j));
                }
                None => self.tie((x, i), "splits it"),
            }
        }
        for j in (0..to.len()).filter(|&j| !matched[j]) {
            self.tie((result, j), "puts it together");
        }
        Some(())
    }

    fn transpose(&mut self, op: &'f Operation, result: ValueId) -> Option<()> {
        let x = op.arg_value("x")?;
        for (j, axis) in self.ints(op, "perm")?.into_iter().enumerate() {
            let i = resolve_axis(axis, self.rank(x))?;
            self.join((x, i), (result, j));
        }
        Some(())
    }

    fn slice(&mut self, op: &'f Operation, result: ValueId) -> Option<()> {
        let x = op.arg_value("x")?;
        let rank = self.rank(x);
        let squeezed = self.ints(op, "squeeze_mask").unwrap_or_default();
        let strides = self.ints(op, "stride").unwrap_or_default();
        let mut to = 0;
        for i in 0..rank {
            if squeezed.get(i) == Some(&1) {
                self.tie((x, i), "selects one element of it");
                continue;
            }
            // All of it, forwards.
            if self.size((x, i)) == self.size((result, to)) && strides.get(i).is_none_or(|&s| s == 1) {
                self.join((x, i), (result, to));
            } else {
                self.tie((x, i), "selects a part of it");
                self.tie((result, to), "selects a part of it");
            }
            to += 1;
        }
        Some(())
    }

    fn tile(&mut self, op: &'f Operation, result: ValueId) -> Option<()> {
        let x = op.arg_value("x")?;
        for (i, reps) in self.ints(op, "reps")?.into_iter().enumerate() {
            if reps == 1 {
                self.join((x, i), (result, i));
            } else {
                self.tie((x, i), "repeats it");
                self.tie((result, i), "repeats it");
            }
        }
        Some(())
    }

    fn matmul(&mut self, op: &'f Operation, result: ValueId) -> Option<()> {
        let (x, y) = (op.arg_value("x")?, op.arg_value("y")?);
        let rank = self.rank(result);
        if self.rank(x) < 2 || self.rank(y) < 2 {
            return None;
        }
        for (v, name, at) in [(x, "transpose_x", 2), (y, "transpose_y", 1)] {
            let transposed = match op.arg(name) {
                Some(_) => self.ints(op, name)?.first() == Some(&1),
                None => false,
            };
            let own = self.rank(v);
            // x is [rows, inner], y is [inner, columns]
            let kept = if (at == 2) != transposed { own - 2 } else { own - 1 };
            let inner = 2 * own - 3 - kept;
            self.join((v, kept), (result, rank - at));
            self.tie((v, inner), "sums over it");
            let lead = rank - own;
            (0..own - 2).for_each(|i| self.align((v, i), (result, i + lead), false));
        }
        Some(())
    }

    fn linear(&mut self, op: &'f Operation, result: ValueId) -> Option<()> {
        let (x, weight) = (op.arg_value("x")?, op.arg_value("weight")?);
        let last = self.rank(x).checked_sub(1)?;
        (0..last).for_each(|i| self.join((x, i), (result, i)));
        self.tie((x, last), "sums over it");
        self.tie((weight, 1), "sums over it");
        self.join((weight, 0), (result, last));
        match op.arg("bias") {
            Some(ArgValue::Value(bias)) => self.join((*bias, 0), (result, last)),
            Some(_) => self.tie((result, last), "adds a literal to it"),
            None => {}
        }
        Some(())
    }

    fn conv(&mut self, op: &'f Operation, result: ValueId) -> Option<()> {
        let (x, weight) = (op.arg_value("x")?, op.arg_value("weight")?);
        let strides = self.ints(op, "strides").unwrap_or_default();
        self.tie_all(&[weight], "multiplies by it");
        if let Some(bias) = op.arg_value("bias") {
            self.tie_all(&[bias], "adds it");
        }
        self.join((x, 0), (result, 0));
        self.tie((x, 1), "sums over it");
        self.tie((result, 1), "has one element for each filter");
        for i in 2..self.rank(x) {
            let single = self.size((weight, i)) == 1 && strides.get(i - 2).is_none_or(|&s| s == 1);
            if single && self.size((x, i)) == self.size((result, i)) {
                self.join((x, i), (result, i));
            } else {
                self.tie((x, i), "moves a window along it");
                self.tie((result, i), "moves a window along it");
            }
        }
        Some(())
    }

    fn attention(&mut self, op: &'f Operation, result: ValueId) -> Option<()> {
        let [query, key, value] = ["query", "key", "value"].map(|name| op.arg_value(name));
        let (query, key, value) = (query?, key?, value?);
        let rank = self.rank(result);
        if let Some(mask) = op.arg_value("attn_mask") {
            self.tie_all(&[mask], "adds it to its scores");
            return None;
        }
        for v in [query, key, value] {
            (0..rank - 2).for_each(|i| self.join((v, i), (result, i)));
        }
        self.join((query, rank - 2), (result, rank - 2));
        self.join((value, rank - 1), (result, rank - 1));
        for axis in [(query, rank - 1), (key, rank - 2), (key, rank - 1), (value, rank - 2)] {
            self.tie(axis, "sums over it");
        }
        Some(())
    }
}
