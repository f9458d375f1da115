//! Reverse-mode differentiation: programs in, programs out.
//!
//! The derived operations are appended to the function they are derived from, each in the scope of the operation
//! whose gradient it is part of, with [`Phase::Backward`]. The rules of the op table write the mathematics; this
//! driver walks the program, sums over broadcast axes, adds where paths meet, and drops unused cotangents.

use crate::build::{Builder, Var};
use crate::diag::Report;
use crate::ir::{ArgValue, Function, Operation, Phase, Scope, ValueId};
use crate::op::{Call, Grad, Role};
use crate::ty::{Opset, TensorType};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Deref;

/// A function and its derivative in one.
#[derive(Clone, Debug)]
pub struct Joint {
    /// The forward operations as they were, then the derived ones. Parameters: the forward ones, then one cotangent
    /// `d_NAME` for each seed. It has no outputs: [`cut`](crate::pass::cut) selects them.
    pub function: Function,
    /// The cotangent of each differentiated value that has one.
    pub cotangents: BTreeMap<ValueId, ValueId>,
}

/// Why a function could not be differentiated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum GradError {
    #[error("`{op}` (which defines `{value}`) has no gradient: {reason}")]
    NoGradient { op: &'static str, value: String, reason: String },
    #[error("the derived program is wrong: {0}")]
    Derived(#[from] Report),
    #[error("`{name}` is {ty}; only floats can be differentiated")]
    NotFloat { name: String, ty: TensorType },
    #[error("nothing that can be differentiated leads from `{name}` to a result")]
    Unconnected { name: String },
    #[error("the parameter `{name}` has the name of a cotangent")]
    NameTaken { name: String },
}

/// The backward program of `forward`: its parameters are those of `forward` and a cotangent `d_NAME` for each float
/// result, its results the cotangents `d_NAME` of `wrt`. It recomputes the parts of the forward pass that it needs.
///
/// All sizes must be known. `wrt` are parameters, constants or other values outside of blocks.
///
/// # Errors
/// If an operation on the path has no gradient, a value of `wrt` is not a float, or no result depends on it.
pub fn backward_function(forward: &Function, wrt: &[ValueId]) -> Result<Function, GradError> {
    let mut forward = forward.clone();
    let mut seeds: Vec<ValueId> = Vec::new();
    for &v in &forward.outputs {
        if forward.ty(v).dtype.is_float() && !seeds.contains(&v) {
            seeds.push(v);
        }
    }
    free_names(&mut forward, seeds.iter().chain(wrt))?;
    let Joint { function, cotangents } = backward(&forward, &seeds, wrt)?;
    let builder = Builder::resume(function);
    let mut outputs = Vec::new();
    for v in wrt {
        let name = &forward.value(*v).name;
        let d = cotangents.get(v).ok_or_else(|| GradError::Unconnected { name: name.clone() })?;
        outputs.push((*d, format!("d_{name}")));
    }
    let mut results: Vec<ValueId> = Vec::new();
    for (d, name) in outputs {
        // A cotangent that is a parameter, or that values share, is copied to get a name for each.
        let taken = builder.is_input(d) || results.contains(&d);
        let own = if taken { builder.op("identity", [("x", builder.var(d).into())]).id() } else { d };
        builder.rename(own, &name);
        results.push(own);
    }
    let mut function = builder.into_function()?;
    function.states.clear();
    function.outputs = results;
    crate::pass::remove_dead(&mut function);
    // A rule may use operations that are younger than the program.
    let newest = function.ops.iter().map(|op| op.op.since).max();
    function.opset = newest.map_or(function.opset, |newest| newest.max(function.opset));
    Ok(function)
}

/// Renames values whose names are needed for the cotangents of `values`.
fn free_names<'v>(
    function: &mut Function,
    values: impl Iterator<Item = &'v ValueId>,
) -> Result<(), GradError> {
    let wanted: HashSet<String> = values.map(|&v| format!("d_{}", function.value(v).name)).collect();
    let mut names: HashSet<String> = function.values.iter().map(|v| v.name.clone()).collect();
    for at in 0..function.values.len() {
        let name = &function.values[at].name;
        if !wanted.contains(name) {
            continue;
        }
        if function.inputs.iter().any(|v| v.index() == at) {
            return Err(GradError::NameTaken { name: name.clone() });
        }
        let free = (0..).map(|n| format!("{name}_{n}")).find(|free| !names.contains(free));
        if let Some(free) = free {
            names.insert(free.clone());
            function.values[at].name = free;
        }
    }
    Ok(())
}

/// Derives the cotangents of `wrt` from those of `seeds`.
///
/// # Errors
/// If an operation on the path has no gradient.
pub fn backward(forward: &Function, seeds: &[ValueId], wrt: &[ValueId]) -> Result<Joint, GradError> {
    for &v in seeds.iter().chain(wrt) {
        let value = forward.value(v);
        if !value.ty.dtype.is_float() {
            return Err(GradError::NotFloat { name: value.name.clone(), ty: value.ty.clone() });
        }
    }
    let active = active(forward, wrt);
    let builder = Builder::resume(forward.clone());
    let mut cotangents: HashMap<ValueId, ValueId> = HashMap::new();
    for &seed in seeds {
        let value = forward.value(seed);
        let var = builder.input(&format!("d_{}", value.name), value.ty.clone());
        accumulate(&builder, &mut cotangents, seed, var);
    }
    let literals = forward.literals();
    for operation in forward.ops.iter().rev() {
        let live = operation.results.iter().any(|r| cotangents.contains_key(r) && active[r.index()]);
        // Constants depend on nothing, even if their cotangents are requested.
        if !live || operation.const_literal().is_some() {
            continue;
        }
        let value = || operation.results.first().map_or(String::new(), |&r| forward.value(r).name.clone());
        let rule = match operation.op.grad {
            Grad::Rule(rule) => rule,
            Grad::None(reason) => {
                let op = operation.op.name();
                return Err(GradError::NoGradient { op, value: value(), reason: reason.to_owned() });
            }
        };
        builder.set_scope(Scope { name: operation.scope.name.clone(), phase: Phase::Backward });
        let mut call = GradCall {
            call: Call::new(forward, &literals, operation),
            operation,
            builder: &builder,
            active: &active,
            cotangents: operation.results.iter().map(|r| cotangents.get(r).copied()).collect(),
            given: Vec::new(),
            refused: None,
        };
        if operation.results.iter().all(|&r| forward.ty(r).elements() == 0) {
            // Nothing depends on nothing; rules need not think of it.
            for v in operation.uses().filter(|v| active[v.index()]) {
                call.given.push((v, crate::ops::parts::zeros(&call, forward.ty(v))));
            }
        } else {
            rule(&mut call);
        }
        if let Some(reason) = call.refused {
            return Err(GradError::NoGradient { op: operation.op.name(), value: value(), reason });
        }
        // Rules may rely on the shapes of cotangents, which a broken value does not have.
        builder.check()?;
        for (target, var) in call.given {
            accumulate(&builder, &mut cotangents, target, var);
        }
    }
    builder.set_scope(Scope::default());
    let cotangents: BTreeMap<_, _> = cotangents.into_iter().filter(|(v, _)| active[v.index()]).collect();
    // A cotangent shared by several values is named after the last of them.
    for (&v, &d) in cotangents.iter().rev() {
        builder.suggest_name(d, &format!("d_{}", forward.value(v).name));
    }
    Ok(Joint { function: builder.into_function()?, cotangents })
}

/// For each value, whether it depends on one of `wrt`.
fn active(function: &Function, wrt: &[ValueId]) -> Vec<bool> {
    let mut active = vec![false; function.values.len()];
    for v in wrt {
        active[v.index()] = true;
    }
    for operation in &function.ops {
        if operation.captures().iter().any(|v| active[v.index()]) {
            for r in &operation.results {
                active[r.index()] |= function.ty(*r).dtype.is_float();
            }
        }
    }
    active
}

fn accumulate<'b>(
    builder: &'b Builder,
    cotangents: &mut HashMap<ValueId, ValueId>,
    target: ValueId,
    var: Var<'b>,
) {
    let var = unbroadcast(var, &builder.ty(target));
    let sum = match cotangents.get(&target) {
        Some(&so_far) => builder.var(so_far) + var,
        None => var,
    };
    cotangents.insert(target, sum.id());
}

/// Sums `var` over the axes along which `ty` was stretched.
fn unbroadcast<'b>(var: Var<'b>, ty: &TensorType) -> Var<'b> {
    let shape = var.shape();
    if shape == ty.shape || shape.len() < ty.rank() {
        return var;
    }
    let lead = shape.len() - ty.rank();
    let axes: Vec<i64> = (0..shape.len())
        .filter(|&i| i < lead || (ty.shape[i - lead] == 1 && shape[i] != 1))
        .map(|i| i as i64)
        .collect();
    let summed = if axes.is_empty() { var } else { var.reduce_sum(&axes, true) };
    if summed.shape() == ty.shape { summed } else { summed.reshape(&ty.shape) }
}

/// Values for the arguments of an operation, by the names of its parameters.
pub type Values<'b> = HashMap<&'static str, Var<'b>>;

/// An operation to be differentiated, as a gradient rule sees it.
#[derive(Debug)]
pub struct GradCall<'a, 'b> {
    call: Call<'a>,
    operation: &'a Operation,
    builder: &'b Builder,
    active: &'a [bool],
    cotangents: Vec<Option<ValueId>>,
    given: Vec<(ValueId, Var<'b>)>,
    refused: Option<String>,
}

impl<'a> Deref for GradCall<'a, '_> {
    type Target = Call<'a>;
    fn deref(&self) -> &Call<'a> {
        &self.call
    }
}

impl<'b> GradCall<'_, 'b> {
    fn values(&self, name: &str) -> Vec<ValueId> {
        match self.operation.arg(name) {
            Some(ArgValue::Value(v)) => vec![*v],
            Some(ArgValue::List(vs)) => vs.clone(),
            _ => Vec::new(),
        }
    }

    /// The argument of parameter `name`.
    pub fn arg(&self, name: &str) -> Var<'b> {
        if let Some(ArgValue::Literal(literal)) = self.operation.arg(name) {
            return self.builder.shared(literal.clone());
        }
        match self.values(name).first() {
            Some(&v) => self.builder.var(v),
            None => panic!("op table: the gradient of `{}` reads the absent `{name}`", self.call.op.name()),
        }
    }

    /// The constant of parameter `name`, given as a value or as a literal.
    pub fn constant(&self, name: &str) -> Var<'b> {
        match self.operation.arg(name) {
            Some(ArgValue::Literal(l)) => self.builder.op("const", [("val", l.clone().into())]),
            _ => self.arg(name),
        }
    }

    /// The arguments of variadic parameter `name`.
    pub fn args(&self, name: &str) -> Vec<Var<'b>> {
        self.values(name).iter().map(|&v| self.builder.var(v)).collect()
    }

    /// The first result.
    pub fn output(&self) -> Var<'b> {
        self.builder.var(self.operation.results[0])
    }

    /// All results.
    pub fn outputs(&self) -> Vec<Var<'b>> {
        self.operation.results.iter().map(|&r| self.builder.var(r)).collect()
    }

    /// The cotangent of the first result; zeros if nothing depends on it.
    pub fn cotangent(&self) -> Var<'b> {
        match self.cotangents[0] {
            Some(v) => self.builder.var(v),
            None => self.output() * 0.0,
        }
    }

    /// The cotangent of result `i`, if anything depends on it.
    pub fn cotangent_of(&self, i: usize) -> Option<Var<'b>> {
        self.cotangents.get(i).copied().flatten().map(|v| self.builder.var(v))
    }

    /// The builder, for constants.
    pub fn builder(&self) -> &'b Builder {
        self.builder
    }

    /// Whether the cotangent of parameter `name` is needed; rules may skip the work if not.
    pub fn wants(&self, name: &str) -> bool {
        self.values(name).iter().any(|v| self.active[v.index()])
    }

    /// Sets the cotangent of parameter `name`; it may still have broadcast axes.
    pub fn give(&mut self, name: &str, var: Var<'b>) {
        self.give_nth(name, 0, var);
    }

    /// Sets the cotangent of value `n` of variadic parameter `name`.
    pub fn give_nth(&mut self, name: &str, n: usize, var: Var<'b>) {
        if let Some(&v) = self.values(name).get(n)
            && self.active[v.index()]
        {
            self.given.push((v, var));
        }
    }

    /// Sets the cotangents of all arguments through simpler operations: `write` expresses this operation in a separate
    /// function, which is differentiated.
    pub fn through(&mut self, write: impl for<'p> Fn(&Call<'_>, &Values<'p>) -> Vec<Var<'p>>) {
        let parts = Builder::new("parts", Opset::NEWEST);
        let (mut values, mut map, mut wrt) = (Values::new(), HashMap::new(), Vec::new());
        for name in self.call.op.params.iter().filter(|p| p.role == Role::Tensor).map(|p| p.name) {
            if let Some(&v) = self.values(name).first() {
                let var = parts.input(name, self.builder.ty(v));
                values.insert(name, var);
                map.insert(var.id(), v);
                wrt.extend(self.wants(name).then_some((name, var.id())));
            }
        }
        let given = values.len();
        let results: Vec<ValueId> = write(&self.call, &values).iter().map(|v| v.id()).collect();
        let known = results.iter().zip(&self.cotangents).filter_map(|(&r, &d)| Some((r, d?)));
        let (seeds, cotangents): (Vec<ValueId>, Vec<ValueId>) = known.unzip();
        let names: Vec<ValueId> = wrt.iter().map(|(_, v)| *v).collect();
        let joint = match parts.into_function().map_err(GradError::from) {
            Ok(function) => backward(&function, &seeds, &names),
            Err(e) => Err(e),
        };
        let Joint { function, cotangents: derived } = match joint {
            Ok(joint) => joint,
            Err(e) => return self.refuse(e.to_string()),
        };
        // The parameters of the derived function are those above, then the cotangents of the results.
        map.extend(function.inputs[given..].iter().copied().zip(cotangents));
        let scope = Scope { name: self.operation.scope.name.clone(), phase: Phase::Backward };
        for operation in &function.ops {
            let operation = Operation { scope: scope.clone(), ..operation.clone() };
            self.builder.replay(&function, &operation, &mut map);
        }
        for (name, v) in wrt {
            if let Some(d) = derived.get(&v).and_then(|d| map.get(d)) {
                self.give(name, self.builder.var(*d));
            }
        }
    }

    /// Reports that this form of the operation cannot be differentiated.
    pub fn refuse(&mut self, reason: impl Into<String>) {
        self.refused = Some(reason.into());
    }
}

#[cfg(test)]
mod tests;
