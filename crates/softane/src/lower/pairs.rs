//! Kernels of clusters.

use super::clusters::Cluster;
use super::{Argument, LazyValue, Lowering};
use crate::kernels::pair::Pair;
use crate::kernels::tile_program::{Binary, Function, Source, Unary};
use crate::plan::CpuKernel;
use mil::op::Call;
use mil::{DType, ValueId};
use std::collections::HashMap;

impl<'f> Lowering<'f> {
    /// Whether the operation at position `at` is part of a cluster, which computes it later.
    pub(super) fn is_clustered(&mut self, at: usize) -> bool {
        let Some(&number) = self.clusters.of.get(&at) else { return false };
        for result in self.clusters.all[number].results {
            if self.function.ops[at].results[0] == result {
                self.values[result.index()] = Some(LazyValue::Cluster(number));
            }
        }
        true
    }

    /// Computes both results of cluster `number` into their own buffers.
    pub(super) fn store_cluster(&mut self, number: usize) {
        let function = self.function;
        let Cluster { operations, results } = self.clusters.all[number].clone();
        let ty = function.ty(results[0]);
        let mut group = self.group(&ty.shape);
        let mut sources: HashMap<ValueId, Source> = HashMap::new();
        for at in operations {
            let operation = &function.ops[at];
            let mut source = |this: &mut Self, name: &str| match this.given(operation, name) {
                Some(Argument::Value(v)) if sources.contains_key(&v) => sources[&v],
                Some(given) => match this.number(given) {
                    Some(number) => Source::Number(number),
                    None => {
                        let view = this.view(given);
                        this.operand(&mut group, view)
                    }
                },
                None => unreachable!("verified: `{}` has an argument `{name}`", operation.op.name()),
            };
            let x = source(self, "x");
            let function = match Binary::of(operation.op.name()) {
                Some(f) => Function::of_pair(f, x, source(self, "y")),
                None => {
                    let unary = Unary::of(&Call::new(function, &self.literals, operation));
                    Function::Unary(unary.unwrap_or(Unary::Copy), x)
                }
            };
            let result = operation.results[0];
            let source = self.add(&mut group, function, self.function.ty(result).dtype);
            sources.insert(result, source);
        }
        let outs = results.map(|_| self.scratch(ty.dtype, &ty.shape));
        let reads = group.operands.iter().map(|v| v.buffer).collect();
        let kernel = Pair::new(&group, results.map(|v| sources[&v]), ty.dtype == DType::F16);
        let label = results.map(|v| function.value(v).name.as_str()).join(", ");
        let writes = outs.iter().map(|v| v.buffer).collect();
        self.push_step(label, CpuKernel::Pair(Box::new(kernel)), reads, writes);
        for (id, out) in results.into_iter().zip(outs) {
            self.define(id, out);
        }
    }
}
