//! Costs of a function, counted from its operations.

use crate::bytes::packed_size;
use crate::ir::{ArgValue, Function, Literal, LiteralData, Operation, ValueId};
use crate::op::{Call, Work};
use crate::ty::DType;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Counts of one function, including its blocks, each counted once. Sizes must be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Operations, constants not counted.
    pub ops: usize,
    /// Floating-point operations of matrix products, convolutions, attention and recurrent layers: two for each
    /// multiply-add. Elementwise operations count as nothing.
    pub flops: u64,
    /// Bytes of constants in memory, where sub-byte elements take one byte.
    pub constant_bytes: u64,
    /// Bytes of constants in weight files.
    pub weight_bytes: u64,
    /// Bytes that the inline constants would need in a weight file.
    pub inline_bytes: u64,
    /// Parameters: elements of weights, of compressed ones those they stand for. Weights are constants in weight files,
    /// and float tensors written in the program.
    pub parameters: u64,
    /// Peak bytes of parameters and values if operations run in order and values are dropped after their last use.
    /// Constants and values computed only from them are not counted.
    pub peak_bytes: u64,
}

impl Stats {
    /// Counts `function`.
    pub fn of(function: &Function) -> Stats {
        let mut stats = Stats { peak_bytes: Liveness::peak(function), ..Stats::default() };
        let literals = function.literals();
        let mut compressed: HashSet<ValueId> = HashSet::new();
        for operation in function.operations().filter(|o| is_decompression(o)) {
            compressed.extend(operation.uses());
        }
        for operation in function.operations() {
            let constant = operation.const_literal().is_some();
            let unpacks = is_decompression(operation);
            for arg in &operation.args {
                if let ArgValue::Literal(literal) = &arg.value {
                    stats.literal(literal);
                    let part = unpacks || operation.results.iter().any(|r| compressed.contains(r));
                    if constant && !part && is_weight(literal) {
                        stats.parameters = stats.parameters.saturating_add(literal.ty.elements() as u64);
                    }
                }
            }
            if unpacks && let Some(&r) = operation.results.first() {
                stats.parameters = stats.parameters.saturating_add(function.ty(r).elements() as u64);
            }
            if !constant {
                stats.ops += 1;
                stats.flops = stats.flops.saturating_add(flops(function, &literals, operation));
            }
        }
        stats
    }

    fn literal(&mut self, literal: &Literal) {
        let ty = &literal.ty;
        let packed = packed_size(ty.dtype, ty.elements()).unwrap_or(0) as u64;
        let of = match literal.data {
            LiteralData::Inline(_) => &mut self.inline_bytes,
            LiteralData::Blob { .. } => &mut self.weight_bytes,
        };
        *of = of.saturating_add(packed);
        self.constant_bytes = self.constant_bytes.saturating_add(ty.bytes().unwrap_or(0) as u64);
    }
}

/// The totals of the operations of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpCount {
    /// How many there are.
    pub count: usize,
    /// As [`Stats::flops`].
    pub flops: u64,
}

/// The operations of `function` by name, those of blocks and constants included. Sizes must be known for
/// [`OpCount::flops`] to mean anything.
pub fn kinds(function: &Function) -> BTreeMap<&'static str, OpCount> {
    let literals = function.literals();
    let mut kinds: BTreeMap<&'static str, OpCount> = BTreeMap::new();
    for operation in function.operations() {
        let kind = kinds.entry(operation.op.name()).or_default();
        kind.count += 1;
        kind.flops = kind.flops.saturating_add(flops(function, &literals, operation));
    }
    kinds
}

fn is_decompression(operation: &Operation) -> bool {
    operation.op.name().starts_with("constexpr_")
}

/// Whether a constant looks like a trained weight.
fn is_weight(literal: &Literal) -> bool {
    match literal.data {
        LiteralData::Blob { .. } => true,
        LiteralData::Inline(_) => literal.ty.dtype.is_float() && literal.ty.rank() > 0,
    }
}

/// Two for each multiply-add; 0 for operations without multiply-adds.
fn flops(function: &Function, literals: &[Option<&Literal>], operation: &Operation) -> u64 {
    let Work::MulAdds(count) = operation.op.work else { return 0 };
    let Some(&result) = operation.results.first() else { return 0 };
    let call = Call::new(function, literals, operation);
    count(&call, function.ty(result)).unwrap_or(0).saturating_mul(2)
}

/// Liveness during sequential execution.
struct Liveness<'f> {
    function: &'f Function,
    /// Values that follow from constants alone.
    constant: Vec<bool>,
    now: u64,
    peak: u64,
}

impl<'f> Liveness<'f> {
    fn peak(function: &'f Function) -> u64 {
        let constant = vec![false; function.values.len()];
        let mut memory = Liveness { function, constant, now: 0, peak: 0 };
        function.inputs.iter().for_each(|&v| memory.now = memory.now.saturating_add(memory.size(v)));
        memory.peak = memory.now;
        let states = function.states.iter().map(|s| s.output);
        let outputs: Vec<ValueId> = function.outputs.iter().copied().chain(states).collect();
        memory.run(&function.ops, &function.inputs, &outputs);
        memory.peak
    }

    fn size(&self, v: ValueId) -> u64 {
        let ty = self.function.ty(v);
        let bytes = if ty.dtype == DType::Str { 0 } else { ty.bytes().unwrap_or(0) };
        if self.constant[v.index()] { 0 } else { bytes as u64 }
    }

    /// Simulates `ops`; `given` are live before, `outputs` stay live. Values from outside stay live.
    fn run(&mut self, ops: &'f [Operation], given: &[ValueId], outputs: &[ValueId]) {
        let mut last: HashMap<ValueId, usize> = HashMap::new();
        // Unused values are dropped at once.
        last.extend(given.iter().map(|&v| (v, 0)));
        for (at, op) in ops.iter().enumerate() {
            let inside: Vec<ValueId> = if op.blocks.is_empty() { Vec::new() } else { op.captures() };
            for v in op.uses().chain(inside) {
                last.entry(v).and_modify(|last| *last = at);
            }
            last.extend(op.results.iter().map(|&r| (r, at)));
        }
        last.retain(|v, _| !outputs.contains(v));
        let mut dying: Vec<Vec<ValueId>> = vec![Vec::new(); ops.len()];
        for (v, at) in last {
            if let Some(dying) = dying.get_mut(at) {
                dying.push(v);
            }
        }
        for (op, dying) in ops.iter().zip(dying) {
            let before = self.now;
            for block in &op.blocks {
                self.now = before;
                block.inputs.iter().for_each(|&v| self.now = self.now.saturating_add(self.size(v)));
                self.run(&block.ops, &block.inputs, &block.outputs);
            }
            self.now = before;
            // Random numbers have no arguments either, but none of an operation's are then weights.
            let weights = op.blocks.is_empty()
                && (op.const_literal().is_some()
                    || is_decompression(op)
                    || (op.uses().next().is_some() && op.uses().all(|v| self.constant[v.index()])));
            for &r in &op.results {
                self.constant[r.index()] = weights;
                self.now = self.now.saturating_add(self.size(r));
            }
            self.peak = self.peak.max(self.now);
            for v in dying {
                self.now = self.now.saturating_sub(self.size(v));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    fn stats(body: &str) -> Stats {
        let source = format!("program(1.3) {{ func main<ios18>{body}; }}");
        let program = text::load(&source).unwrap_or_else(|report| panic!("{report}"));
        Stats::of(program.entry())
    }

    #[test]
    fn multiply_adds_are_counted_twice() {
        let s = stats(
            "(tensor<fp16, [3, 4]> x, tensor<fp16, [5, 4]> y) { bool f = const()[val = bool(false)]; bool t = const()[val = bool(true)]; tensor<fp16, [3, 5]> z = matmul(x = x, y = y, transpose_x = f, transpose_y = t); } -> (z)",
        );
        assert_eq!((s.ops, s.flops), (1, 2 * 3 * 4 * 5));
        let s = stats(
            "(tensor<fp16, [4, 3]> x, tensor<fp16, [4, 5]> y) { tensor<fp16, [3, 5]> z = matmul(x = x, y = y, transpose_x = bool(true), transpose_y = bool(false)); } -> (z)",
        );
        assert_eq!(s.flops, 2 * 3 * 4 * 5);
        let s = stats(
            "(tensor<fp16, [1, 4]> x) { tensor<fp16, [2, 4]> w = const()[val = tensor<fp16, [2, 4]>(BLOBFILE(path = string(\"@model_path/w.bin\"), offset = uint64(64)))]; tensor<fp16, [1, 2]> z = linear(x = x, weight = w); } -> (z)",
        );
        assert_eq!((s.flops, s.weight_bytes, s.inline_bytes, s.parameters), (16, 16, 0, 8));
        let s = stats(
            "(tensor<fp16, [1, 2, 6, 8]> q, tensor<fp16, [1, 2, 7, 8]> k) { tensor<fp16, [1, 2, 6, 8]> z = scaled_dot_product_attention(query = q, key = k, value = k); } -> (z)",
        );
        assert_eq!(s.flops, 2 * 2 * 6 * 7 * 16);
    }

    #[test]
    fn peak_memory_is_what_lives_at_one_time() {
        // x and a; then a and b (x is gone); then b and c.
        let s = stats(
            "(tensor<fp16, [100]> x) { tensor<fp16, [100]> a = exp(x = x); tensor<fp16, [100]> b = exp(x = a); tensor<fp16, [100]> c = exp(x = b); } -> (c)",
        );
        assert_eq!(s.peak_bytes, 400);
        // x lives to the end.
        let s = stats(
            "(tensor<fp16, [100]> x) { tensor<fp16, [100]> a = exp(x = x); tensor<fp16, [100]> b = exp(x = a); tensor<fp16, [100]> c = add(x = b, y = x); } -> (c)",
        );
        assert_eq!(s.peak_bytes, 600);
        // `a` is unused, and constants are not counted.
        let s = stats(
            "(tensor<fp16, [100]> x) { tensor<fp16, [2]> k = const()[val = tensor<fp16, [2]>([1, 2])]; tensor<fp16, [100]> a = exp(x = x); tensor<fp16, [100]> b = exp(x = x); } -> (b)",
        );
        assert_eq!((s.peak_bytes, s.inline_bytes, s.parameters), (400, 4, 2));
        // A block has its own values beside those outside.
        let s = stats(
            "(tensor<fp16, [100]> x, bool p) { tensor<fp16, [100]> y = cond(pred = p)() { tensor<fp16, [100]> a = exp(x = x); tensor<fp16, [100]> b = exp(x = a); } -> (b) () { } -> (x); } -> (y)",
        );
        assert_eq!(s.peak_bytes, 601);
    }
}
