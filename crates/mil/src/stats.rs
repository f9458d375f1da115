//! What a function costs, counted from its text.

use crate::ir::{Function, Literal, Operation};

/// Counts of one function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Operations, constants not counted.
    pub ops: usize,
    /// Floating-point operations of matrix products and convolutions: two for each multiply-add.
    pub flops: u64,
    /// Bytes of constants.
    pub constant_bytes: u64,
}

impl Stats {
    /// Counts `function`.
    pub fn of(function: &Function) -> Stats {
        let mut stats = Stats::default();
        for operation in &function.ops {
            match operation.const_literal() {
                Some(Literal { ty, .. }) => stats.constant_bytes += ty.bytes().unwrap_or(0) as u64,
                None => {
                    stats.ops += 1;
                    stats.flops += flops(function, operation);
                }
            }
        }
        stats
    }
}

/// Two for each multiply-add of a matrix product or a convolution; 0 for anything else.
fn flops(function: &Function, operation: &Operation) -> u64 {
    let out = operation.results.first().map_or(0, |&r| function.ty(r).elements()) as u64;
    let shape = |name: &str| operation.arg_value(name).map(|v| function.ty(v).shape.as_slice());
    let terms = match operation.op.name() {
        // [O, I/groups, *K]: each output element sums over all but the first axis.
        "conv" => shape("weight").and_then(|w| w.get(1..)).map(|w| w.iter().product::<usize>()),
        // elements of x / rows of the result, whichever side is transposed
        "matmul" => {
            let last = operation.results.first().and_then(|&r| function.ty(r).shape.iter().rev().nth(1));
            let x = shape("x").map(|x| x.iter().rev().take(2).product::<usize>());
            x.zip(last).map(|(x, &rows)| x / rows.max(1))
        }
        _ => None,
    };
    2 * out * terms.unwrap_or(0) as u64
}
