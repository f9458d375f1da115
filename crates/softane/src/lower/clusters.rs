//! Elementwise operations with two results that one pass computes.
//!
//! Alone, each result would be a pass over the operands, and what both share would be stored between or computed twice.

use crate::kernels::tile_program::{Binary, Unary};
use crate::plan::is_native;
use mil::op::Call;
use mil::{Literal, Operation, ValueId};
use std::collections::{BTreeMap, HashMap};

/// The most operations of a cluster: the values between them stay in the first-level cache.
const LARGEST: usize = 16;

/// Connected elementwise operations of one shape.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    /// By position in the function, in order.
    pub operations: Vec<usize>,
    /// The values that other operations use, or that the function returns.
    pub results: [ValueId; 2],
}

/// The clusters of a function.
#[derive(Debug, Default)]
pub(super) struct Clusters {
    pub all: Vec<Cluster>,
    /// The cluster of an operation, by position.
    pub of: HashMap<usize, usize>,
}

impl Clusters {
    /// Finds those whose results can be computed at one point: after all operands, before all uses.
    pub fn find(function: &mil::Function, literals: &[Option<&Literal>], uses: &[Vec<usize>]) -> Clusters {
        let mut defined = HashMap::new();
        for (at, operation) in function.ops.iter().enumerate() {
            defined.extend(operation.results.iter().map(|&v| (v, at)));
        }
        let is_elementwise: Vec<bool> =
            function.ops.iter().map(|o| is_elementwise(function, literals, o)).collect();
        let shape = |at: usize| &function.ty(function.ops[at].results[0]).shape;
        // Each operation is in the group of the operations of its shape that compute its operands.
        let mut group: Vec<usize> = (0..function.ops.len()).collect();
        for (at, operation) in function.ops.iter().enumerate().filter(|(at, _)| is_elementwise[*at]) {
            for from in operation.uses().filter_map(|v| defined.get(&v).copied()) {
                if is_elementwise[from] && shape(from) == shape(at) {
                    let (old, new) = (group[from], group[at]);
                    group.iter_mut().filter(|g| **g == old).for_each(|g| *g = new);
                }
            }
        }
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for at in (0..group.len()).filter(|&at| is_elementwise[at]) {
            groups.entry(group[at]).or_default().push(at);
        }
        let mut clusters = Clusters::default();
        for operations in groups.into_values().filter(|o| (3..=LARGEST).contains(&o.len())) {
            let inside = |at: &usize| operations.binary_search(at).is_ok();
            let result = |at: usize| function.ops[at].results[0];
            let leaves = |v: &ValueId| function.outputs.contains(v) || !uses[v.index()].iter().all(inside);
            let results: Vec<ValueId> = operations.iter().map(|&at| result(at)).filter(leaves).collect();
            let [a, b] = results[..] else { continue };
            let operands = operations.iter().flat_map(|&at| function.ops[at].uses());
            let last = operands.filter_map(|v| defined.get(&v).copied()).filter(|at| !inside(at)).max();
            let others = |v: ValueId| uses[v.index()].iter().copied().filter(|at| !inside(at));
            let first = others(a).chain(others(b)).min();
            let in_order = last.is_none_or(|last| first.is_none_or(|first| last < first));
            if in_order && function.ty(a).dtype == function.ty(b).dtype {
                let number = clusters.all.len();
                clusters.of.extend(operations.iter().map(|&at| (at, number)));
                clusters.all.push(Cluster { operations, results: [a, b] });
            }
        }
        clusters
    }
}

fn is_elementwise(function: &mil::Function, literals: &[Option<&Literal>], operation: &Operation) -> bool {
    let [result] = operation.results[..] else { return false };
    let is_float = |v: ValueId| is_native(function.ty(v).dtype);
    let computes = Binary::of(operation.op.name()).is_some()
        || Unary::of(&Call::new(function, literals, operation)).is_some();
    let floats = ["x", "y"].into_iter().filter_map(|name| operation.arg_value(name)).all(is_float);
    computes && is_float(result) && floats && function.ty(result).elements() > 0
}
