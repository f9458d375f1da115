//! Proofs in parts, for programs that are too large to run as a whole.
//!
//! A repair that keeps all values of a function, and only replaces operations, is correct if each operation and its
//! replacement agree on all inputs.

use super::EXACT;
use super::call::rounded;
use super::ports::PortMap;
use super::proof::{Proof, ProveError};
use super::prove::FunctionPair;
use super::repaired::Repaired;
use mil::op::Absent;
use mil::{ArgValue, Data, Function, Literal, Operation, Program, ValueId, Verified, Weights};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Compares each operation of `before` that is another in the program of `after`; `None` if parameters, results or
/// values are others too.
pub(super) fn prove(
    before: &Verified<Program>,
    after: &Repaired,
    weights: &Weights,
    seed: u64,
) -> Option<Result<Proof, ProveError>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut proof, mut seen) = (Proof::default(), HashSet::new());
    let tolerance = after.applied.iter().map(|a| a.repair.exact).fold(EXACT, f64::max);
    for (old, new) in before.functions.iter().zip(&after.exact.functions) {
        for replacement in replaced(old, new)? {
            if replacement.says_the_same() {
                proof.stated += 1;
                continue;
            }
            proof.pieces += 1;
            let pair = replacement.functions(old, new).map(Program::of);
            if !seen.insert(pair.each_ref().map(mil::text::print)) {
                continue;
            }
            let typed = pair.clone().map(rounded);
            let [a, b] = [&pair[0].functions[0], &pair[1].functions[0]];
            let ports = PortMap::moved(a, b);
            let functions = FunctionPair {
                exact: [a, b],
                typed: [&typed[0].functions[0], &typed[1].functions[0]],
                ports: &ports,
                tolerance,
            };
            if let Err(e) = functions.compare(weights, &mut rng, &mut proof) {
                return Some(Err(e));
            }
        }
    }
    Some(Ok(proof))
}

/// Where each value is defined.
type Definitions<'f> = HashMap<ValueId, (usize, &'f Operation)>;

fn definitions(function: &Function) -> Definitions<'_> {
    let ops = function.ops.iter().enumerate();
    ops.flat_map(|(at, op)| op.results.iter().map(move |&r| (r, (at, op)))).collect()
}

/// The replaced operations; `None` if anything else changed.
fn replaced<'f>(old: &'f Function, new: &'f Function) -> Option<Vec<Replacement<'f>>> {
    let same = |(a, b): (&mil::ir::Value, &mil::ir::Value)| a.ty == b.ty;
    let kept = old.inputs == new.inputs
        && old.outputs == new.outputs
        && old.states == new.states
        && old.values.len() <= new.values.len()
        && old.values.iter().zip(&new.values).all(same);
    if !kept {
        return None;
    }
    let (before, after) = (definitions(old), definitions(new));
    let mut out = Vec::new();
    for (at, is) in new.ops.iter().enumerate() {
        let Some(&(_, was)) = is.results.first().and_then(|r| before.get(r)) else { continue };
        if was == is {
            continue;
        }
        if was.results != is.results || was.const_literal().is_some() || !is.blocks.is_empty() {
            return None;
        }
        // The new operations that it depends on, down to existing values; in order.
        let (mut todo, mut found) = (vec![(at, is)], BTreeMap::new());
        while let Some((at, op)) = todo.pop() {
            if found.insert(at, op).is_none() {
                let fresh = op.uses().filter(|v| !before.contains_key(v));
                todo.extend(fresh.filter_map(|v| after.get(&v).copied()));
            }
        }
        let is: Vec<&Operation> = found.into_values().collect();
        let constants = [&before, &after].map(|d| -> Constants<'f> {
            let used = is.iter().copied().chain([was]).flat_map(Operation::uses);
            used.filter_map(|v| Some((v, d.get(&v)?.1)))
                .filter(|(_, op)| op.const_literal().is_some())
                .collect()
        });
        out.push(Replacement { was, is, constants });
    }
    Some(out)
}

type Constants<'f> = BTreeMap<ValueId, &'f Operation>;

/// An operation, and its replacement.
struct Replacement<'f> {
    was: &'f Operation,
    is: Vec<&'f Operation>,
    /// The constants that they use, before and after.
    constants: [Constants<'f>; 2],
}

/// The effective argument of a parameter.
enum Operand<'a> {
    Literal(&'a Literal),
    Values(Vec<ValueId>),
    Default(Absent),
}

impl PartialEq for Operand<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Operand::Literal(a), Operand::Literal(b)) => a == b,
            (Operand::Values(a), Operand::Values(b)) => a == b,
            (Operand::Default(a), Operand::Default(b)) => a == b,
            (Operand::Literal(l), Operand::Default(d)) | (Operand::Default(d), Operand::Literal(l)) => {
                match (l.data(), d) {
                    (Some(Data::Int(v)), Absent::Int(x)) => v[..] == [*x],
                    (Some(Data::Float(v)), Absent::Float(x)) => v[..] == [*x],
                    (Some(Data::Bool(v)), Absent::Bool(x)) => v[..] == [*x],
                    (Some(Data::Str(v)), Absent::Str(x)) => v[..] == [*x],
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

impl Replacement<'_> {
    /// Whether it is the same operation on the same values: new arguments only state defaults.
    fn says_the_same(&self) -> bool {
        let Some(&is) = self.is.iter().rfind(|op| op.const_literal().is_none()) else { return false };
        let alone = self.is.iter().filter(|op| op.const_literal().is_none()).count() == 1;
        alone
            && is.op == self.was.op
            && (0..is.op.params.len()).all(|p| {
                Self::given(self.was, &self.constants[0], p) == Self::given(is, &self.constants[1], p)
            })
    }

    fn given<'a>(op: &'a Operation, constants: &'a Constants<'_>, param: usize) -> Operand<'a> {
        match op.args.iter().find(|a| a.param == param).map(|a| &a.value) {
            None => Operand::Default(op.op.params[param].absent),
            Some(ArgValue::Literal(l)) => Operand::Literal(l),
            Some(ArgValue::List(vs)) => Operand::Values(vs.clone()),
            Some(ArgValue::Value(v)) => match constants.get(v).and_then(|c| c.const_literal()) {
                Some(l) => Operand::Literal(l),
                None => Operand::Values(vec![*v]),
            },
        }
    }

    /// Both as functions of their operands.
    fn functions(&self, old: &Function, new: &Function) -> [Function; 2] {
        let inside: HashSet<ValueId> = self.is.iter().flat_map(|op| op.results.iter().copied()).collect();
        let used = self.is.iter().copied().chain([self.was]).flat_map(Operation::uses);
        let free = |v: &ValueId| !inside.contains(v) && self.constants.iter().all(|c| !c.contains_key(v));
        let inputs: BTreeSet<ValueId> = used.filter(free).collect();
        let one = |function: &Function, constants: &Constants<'_>, ops: &[&Operation]| {
            let mut out = Function::empty(&function.name, function.opset);
            let mut map: HashMap<ValueId, ValueId> = HashMap::new();
            let mut new = |out: &mut Function, v: ValueId| {
                let add = || out.add_value(format!("v{}", out.values.len()), function.ty(v).clone());
                *map.entry(v).or_insert_with(add)
            };
            out.inputs = inputs.iter().map(|&v| new(&mut out, v)).collect();
            for op in constants.values().chain(ops) {
                let mut copy = Operation { label: None, ..(*op).clone() };
                for arg in &mut copy.args {
                    match &mut arg.value {
                        ArgValue::Value(v) => *v = new(&mut out, *v),
                        ArgValue::List(vs) => vs.iter_mut().for_each(|v| *v = new(&mut out, *v)),
                        ArgValue::Literal(_) => {}
                    }
                }
                copy.results.iter_mut().for_each(|r| *r = new(&mut out, *r));
                out.ops.push(copy);
            }
            out.outputs = self.was.results.iter().map(|&r| new(&mut out, r)).collect();
            out
        };
        // Constants among what replaces are there already.
        let after: Vec<&Operation> =
            self.is.iter().copied().filter(|op| op.const_literal().is_none()).collect();
        [one(old, &self.constants[0], &[self.was]), one(new, &self.constants[1], &after)]
    }
}
