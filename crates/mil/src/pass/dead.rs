//! Removes operations whose results are not used.

use crate::ir::{Block, Function, Operation, ValueId};
use std::collections::HashSet;

/// Removes the operations of `function` that neither its results nor its states depend on. Parameters and value ids
/// stay.
///
/// Operations without results stay: they have side effects.
pub fn remove_dead(function: &mut Function) {
    let states = function.states.iter().map(|s| s.output);
    let mut live: HashSet<ValueId> = function.outputs.iter().copied().chain(states).collect();
    sweep(&mut function.ops, &mut live);
}

/// Keeps the operations that define a value of `live`, and adds their operands to `live`.
fn sweep(ops: &mut Vec<Operation>, live: &mut HashSet<ValueId>) {
    let mut kept = Vec::with_capacity(ops.len());
    while let Some(mut op) = ops.pop() {
        if !op.results.is_empty() && !op.results.iter().any(|r| live.contains(r)) {
            continue;
        }
        live.extend(op.uses());
        for Block { ops, outputs, .. } in &mut op.blocks {
            live.extend(outputs.iter());
            sweep(ops, live);
        }
        kept.push(op);
    }
    kept.reverse();
    *ops = kept;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    #[test]
    fn only_what_is_asked_for_stays() {
        let source = "program(1.3) { func main<ios18>(tensor<fp16, [2]> x, bool p) {
            fp16 k = const()[val = fp16(2)];
            fp16 unused = const()[val = fp16(3)];
            tensor<fp16, [2]> dead = mul(x = x, y = unused);
            tensor<fp16, [2]> y = cond(pred = p)() {
                tensor<fp16, [2]> inner = mul(x = x, y = k);
                tensor<fp16, [2]> idle = mul(x = x, y = x);
            } -> (inner) () {
                tensor<fp16, [2]> other = add(x = x, y = x);
            } -> (other);
        } -> (y); }";
        let mut program = text::parse(source).expect("a program");
        remove_dead(&mut program.functions[0]);
        let printed = text::print(&program);
        for (name, stays) in
            [("k", true), ("unused", false), ("dead", false), ("inner", true), ("idle", false)]
        {
            assert_eq!(printed.contains(&format!(" {name} = ")), stays, "{name}: {printed}");
        }
        text::load(&printed).expect("a valid program");
    }
}
