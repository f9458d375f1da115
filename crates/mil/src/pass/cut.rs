//! Cuts one function into programs that are dispatched one after the other.
//!
//! The function, usually the [`Joint`](crate::grad::Joint) of a layer and its gradient, defines the computation; the
//! selections assign it to programs, by [`Scope`]. The crossing values follow: each value that a part uses and does not
//! compute comes from the nearest earlier part that computes it, or else from the host.

use crate::build::Builder;
use crate::diag::Report;
use crate::ir::{ArgValue, Function, Operation, Program, Scope, ValueId};
use crate::ty::TensorType;
use crate::verify::Verified;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The content of one program.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The name of the program.
    pub name: String,
    /// The scopes that it computes, with their parts. A scope may be in several programs; it is then recomputed, so that its values
    /// need not cross.
    pub scopes: Vec<Scope>,
}

/// How a function is to be cut.
#[derive(Clone, Debug)]
pub struct Cut<'a> {
    /// The function to cut.
    pub function: &'a Function,
    /// Into which programs, in order of dispatch.
    pub selections: &'a [Selection],
    /// Parameters of the function that become constants in weight files, with the name of the file.
    pub baked: &'a BTreeMap<ValueId, String>,
    /// Whether each baked parameter is baked as it is, and transposed by the part that uses its transpose: an engine that reads
    /// constants in any order can then share them between parts.
    pub as_is: bool,
    /// Values that the host needs, if a program computes them.
    pub kept: &'a BTreeSet<ValueId>,
    /// The last axis of values that may cross unchanged, `[1, C, 1, width]`; other values cross before they are reshaped or
    /// transposed, if that helps.
    pub width: usize,
}

/// One program of a cut function.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// The program; parameters are the crossing values that it uses, results those that it provides.
    pub program: Verified<Program>,
    /// Its inputs, in order of its parameters.
    pub inputs: Vec<Crossing>,
    /// Its outputs, in order of its results.
    pub outputs: Vec<Crossing>,
    /// The weight files that it needs from the host.
    pub baked: Vec<Baked>,
}

/// A value that crosses from program to program, or between a program and the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Crossing {
    /// Which value of the function.
    pub value: ValueId,
    /// Its name there, and in the program.
    pub name: String,
    /// The type.
    pub ty: TensorType,
    /// The part that provides it; for results, the part itself.
    pub from: Provider,
}

/// The provider of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// The part at this position.
    Part(usize),
    /// The host.
    Host,
}

/// A weight file of a part.
#[derive(Clone, Debug, PartialEq)]
pub struct Baked {
    /// The path in the program; the tensor is the only one of the file, at offset 64.
    pub path: String,
    /// The type in the program.
    pub ty: TensorType,
    /// The parameter of the function that it holds.
    pub param: ValueId,
    /// Whether it holds it with the first two axes swapped.
    pub transposed: bool,
}

/// Why a function could not be cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CutError {
    #[error("part `{part}` computes no needed value: check its scopes")]
    Empty { part: String },
    #[error("part `{part}` is wrong: {report}")]
    Part { part: String, report: Report },
}

/// The offset of the record of a weight file's only tensor.
const FIRST_ENTRY: u64 = 64;

/// Cuts a function as specified by `cut`.
///
/// # Errors
/// If a part would be empty, or is not a valid program.
pub fn cut(cut: &Cut<'_>) -> Result<Vec<Part>, CutError> {
    let cutter = Cutter::new(cut);
    // The needs of a part are known after all later parts, so parts are walked from last to first.
    let mut needs: Vec<BTreeSet<ValueId>> = vec![BTreeSet::new(); cut.selections.len()];
    for &v in cut.kept {
        if let Some(first) = (0..cut.selections.len()).find(|&p| cutter.holds(p, v)) {
            needs[first].insert(v);
        }
    }
    let mut parts = Vec::new();
    for p in (0..cut.selections.len()).rev() {
        let live = cutter.live(p, &needs[p]);
        for &(value, from) in &live.inputs {
            if let Provider::Part(earlier) = from {
                needs[earlier].insert(value);
            }
        }
        parts.push(cutter.part(p, &needs[p], live)?);
    }
    parts.reverse();
    Ok(parts)
}

struct Cutter<'a> {
    cut: &'a Cut<'a>,
    definitions: Vec<Option<usize>>,
    members: Vec<BTreeSet<usize>>,
}

/// The live operations of a part, and the outside values that they use.
struct Live {
    ops: BTreeSet<usize>,
    inputs: Vec<(ValueId, Provider)>,
}

impl<'a> Cutter<'a> {
    fn new(cut: &'a Cut<'a>) -> Cutter<'a> {
        let members = cut.selections.iter().map(|s| {
            let inside = |scope: &Scope| s.scopes.iter().any(|s| s.covers(scope));
            let ops = cut.function.ops.iter().enumerate();
            ops.filter(|(_, op)| op.const_literal().is_none() && inside(&op.scope)).map(|(i, _)| i).collect()
        });
        Cutter { cut, definitions: cut.function.definitions(), members: members.collect() }
    }

    fn definition(&self, v: ValueId) -> Option<(usize, &'a Operation)> {
        self.definitions[v.index()].map(|i| (i, &self.cut.function.ops[i]))
    }

    fn holds(&self, part: usize, v: ValueId) -> bool {
        self.definitions[v.index()].is_some_and(|i| self.members[part].contains(&i))
    }

    /// The parameter that `v` is, perhaps with its first two axes swapped.
    fn baked(&self, v: ValueId) -> Option<(ValueId, bool)> {
        if self.cut.baked.contains_key(&v) {
            return Some((v, false));
        }
        if self.cut.as_is {
            return None;
        }
        let (_, op) = self.definition(v)?;
        let source = op.arg_value("x").filter(|x| self.cut.baked.contains_key(x))?;
        let (_, perm) = self.definition(op.arg_value("perm")?)?;
        let swap = crate::Data::Int(vec![1, 0, 2, 3]);
        (op.op.name() == "transpose" && perm.const_literal()?.data() == Some(&swap)).then_some((source, true))
    }

    fn crosses_as_it_is(&self, v: ValueId) -> bool {
        matches!(*self.cut.function.ty(v).shape, [1, _, 1, w] if w == self.cut.width)
    }

    fn live(&self, part: usize, needed: &BTreeSet<ValueId>) -> Live {
        let mut live = Live { ops: BTreeSet::new(), inputs: Vec::new() };
        let mut inputs: BTreeMap<ValueId, Provider> = BTreeMap::new();
        let mut todo: Vec<ValueId> = needed.iter().copied().collect();
        while let Some(v) = todo.pop() {
            let Some((at, op)) = self.definition(v) else {
                if !self.cut.baked.contains_key(&v) {
                    inputs.insert(v, Provider::Host);
                }
                continue;
            };
            if op.const_literal().is_some() || self.baked(v).is_some() {
                continue;
            }
            let view = matches!(op.op.name(), "reshape" | "transpose");
            if self.members[part].contains(&at) || (view && !self.crosses_as_it_is(v)) {
                if live.ops.insert(at) {
                    todo.extend(op.uses());
                }
                continue;
            }
            let provider = (0..part).rev().find(|&p| self.holds(p, v));
            inputs.insert(v, provider.map_or(Provider::Host, Provider::Part));
        }
        live.inputs = inputs.into_iter().collect();
        live
    }

    fn part(&self, p: usize, needed: &BTreeSet<ValueId>, live: Live) -> Result<Part, CutError> {
        let selection = &self.cut.selections[p];
        let function = self.cut.function;
        if live.ops.is_empty() || needed.is_empty() {
            return Err(CutError::Empty { part: selection.name.clone() });
        }
        let crossing = |value: ValueId, from| Crossing {
            value,
            name: function.value(value).name.clone(),
            ty: function.ty(value).clone(),
            from,
        };
        let builder = Builder::new("main", function.opset);
        let mut map: HashMap<ValueId, ValueId> = HashMap::new();
        let mut inputs = Vec::new();
        for &(value, from) in &live.inputs {
            let c = crossing(value, from);
            map.insert(value, builder.input(&c.name, c.ty.clone()).id());
            inputs.push(c);
        }
        let mut baked = Vec::new();
        for &at in &live.ops {
            let operation = &function.ops[at];
            for v in operation.uses() {
                self.bring(v, &builder, &mut map, &mut baked);
            }
            builder.replay(function, operation, &mut map);
        }
        let outputs: Vec<Crossing> = needed.iter().map(|&v| crossing(v, Provider::Part(p))).collect();
        let results =
            outputs.iter().filter_map(|c| Some((c.name.as_str(), builder.var(*map.get(&c.value)?))));
        let program = builder
            .finish(results.collect::<Vec<_>>())
            .map_err(|report| CutError::Part { part: selection.name.clone(), report })?;
        Ok(Part { name: selection.name.clone(), program, inputs, outputs, baked })
    }

    /// Makes a constant or a baked parameter available in the part.
    fn bring(
        &self,
        v: ValueId,
        builder: &Builder,
        map: &mut HashMap<ValueId, ValueId>,
        baked: &mut Vec<Baked>,
    ) {
        if map.contains_key(&v) {
            return;
        }
        if let Some((param, transposed)) = self.baked(v) {
            let stem = &self.cut.baked[&param];
            let name = if transposed { format!("{stem}t") } else { stem.clone() };
            let path = format!("@model_path/weights/{name}.bin");
            let ty = self.cut.function.ty(v).clone();
            map.insert(v, builder.weight(&name, ty.clone(), &path, FIRST_ENTRY).id());
            baked.push(Baked { path, ty, param, transposed });
        } else if let Some((_, op)) = self.definition(v)
            && op.const_literal().is_some()
        {
            builder.replay(self.cut.function, op, map);
        }
    }
}

impl Builder {
    /// Adds `operation` of `source` with its values replaced by `map`, and its results' names kept.
    pub fn replay(&self, source: &Function, operation: &Operation, map: &mut HashMap<ValueId, ValueId>) {
        let replaced = |v: &ValueId| map.get(v).copied();
        let args = operation.args.iter().filter_map(|a| {
            let value = match &a.value {
                ArgValue::Value(v) => ArgValue::Value(replaced(v)?),
                ArgValue::List(vs) => ArgValue::List(vs.iter().map(replaced).collect::<Option<_>>()?),
                ArgValue::Literal(l) => ArgValue::Literal(l.clone()),
            };
            Some(crate::ir::Arg { param: a.param, value })
        });
        let copy = Operation { args: args.collect(), results: Vec::new(), ..operation.clone() };
        let results: Vec<(String, TensorType)> =
            operation.results.iter().map(|&r| (source.value(r).name.clone(), source.ty(r).clone())).collect();
        let new = self.append(copy, results);
        map.extend(operation.results.iter().copied().zip(new));
    }
}
