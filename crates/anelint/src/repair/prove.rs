//! Whether two programs mean the same: both are run on random inputs, and their results compared.
//!
//! ```text
//! exact     |b − a| ≤ 1e-9 · max |a|               in f64, nothing rounded: the mathematics is the same
//! as typed  |b − a*| ≤ 4·e + 8 ulp,  e = max |a − a*|   rounded after each operation; a* is exact, e the error of
//!                                                  the program before, ulp that of the largest element in the
//!                                                  coarsest type of the program
//! ```
//!
//! A repair that leaves something out may differ more in exact arithmetic: [`Repair::exact`](super::Repair::exact) says how
//! much. A repair may round elsewhere, and more often: so it may be some times as wrong as the program was, plus a few units
//! in the last place where that had almost no error. Integers and booleans are equal, and so are infinities; what is
//! not a number stays so.

use super::EXACT;
use super::call::rounded;
use super::ports::{MovedPort, PortMap};
use super::proof::{MOST_ELEMENTS, MOST_FLOPS, Proof, ProveError};
use super::repaired::Repaired;
use mil::eval::{Rounding, run_function};
use mil::stats::Stats;
use mil::verify::verify;
use mil::{DType, Data, Function, Operation, Program, Tensor, TensorType, Verified, Weights};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How many times as wrong as before a repaired program may be.
const TIMES: f64 = 4.0;
/// Units in the last place of the largest element that a repaired program may be off in any case.
const ULPS: f64 = 8.0;

/// The ranges that random floats are from: positive ones, for roots and logarithms, and any.
const RANGES: [(f64, f64); 2] = [(0.5, 2.0), (-2.0, 2.0)];

/// Runs all functions of `before` and `after` on random inputs, once each with positive ones and with any, and compares
/// the results. Padding of inputs holds random numbers too: it must not matter.
///
/// `after` is `repaired.program`, or a later one with the same parameters and results; `weights` are those of both.
///
/// # Errors
/// If they differ, cannot be run, or are too large to try.
pub fn prove(
    before: &Verified<Program>,
    after: &Verified<Program>,
    repaired: &Repaired,
    weights: &Weights,
    seed: u64,
) -> Result<Proof, ProveError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let typed = [verify(rounded((**before).clone()))?, verify(rounded((**after).clone()))?];
    // The exact program is that of `repaired`, if its program is compared.
    let exact = if *after == repaired.program { &repaired.exact } else { after };
    let mut proof = Proof::default();
    let tolerance = repaired.applied.iter().map(|a| a.repair.exact).fold(EXACT, f64::max);
    for (at, function) in before.functions.iter().enumerate() {
        let missing = || ProveError::Missing { function: function.name.clone() };
        let ports = repaired.ports.get(at).ok_or_else(missing)?;
        let of = |p| find(p, &function.name);
        let (Some(after), Some(a_typed), Some(b_typed)) = (of(exact), of(&typed[0]), of(&typed[1])) else {
            return Err(missing());
        };
        let pair = FunctionPair { exact: [function, after], typed: [a_typed, b_typed], ports, tolerance };
        pair.compare(weights, &mut rng, &mut proof)?;
    }
    Ok(proof)
}

fn find<'p>(program: &'p Program, name: &str) -> Option<&'p Function> {
    program.functions.iter().find(|f| f.name == name)
}

/// A function before and after, as mathematics has it and rounded.
pub(super) struct FunctionPair<'f> {
    pub exact: [&'f Function; 2],
    pub typed: [&'f Function; 2],
    pub ports: &'f PortMap,
    /// The largest relative difference in exact arithmetic.
    pub tolerance: f64,
}

impl FunctionPair<'_> {
    /// Runs both and compares.
    pub fn compare(
        &self,
        weights: &Weights,
        rng: &mut ChaCha8Rng,
        proof: &mut Proof,
    ) -> Result<(), ProveError> {
        let [before, after] = self.exact;
        feasible(before)?;
        feasible(after)?;
        let mut numbers = vec![0; self.ports.outputs.len()];
        // A result may be fp32 where all before it was fp16.
        let coarsest = coarsest(self.typed[0]);
        for range in RANGES {
            let (given, fed) = inputs(before, after, self.ports, range, rng);
            let run = |which, f: &Function, inputs: &[Tensor], rounding| {
                run_function(f, weights, inputs, rounding).map_err(|source| ProveError::Run { which, source })
            };
            let want = run("before", before, &given, Rounding::Exact)?;
            let got = run("after", after, &fed, Rounding::Exact)?;
            let want_typed = run("before", self.typed[0], &given, Rounding::AsTyped)?;
            let got_typed = run("after", self.typed[1], &fed, Rounding::AsTyped)?;
            proof.runs += 2;
            for (n, port) in self.ports.outputs.iter().enumerate() {
                let (Some(want), Some(want_typed)) = (want.get(n), want_typed.get(n)) else { continue };
                let pair = Pair { port, want, got: &port.gather(&got), coarsest };
                let (count, exact) = pair.exactly(self.tolerance)?;
                numbers[n] += count;
                proof.exact = proof.exact.max(exact);
                let pair = Pair { port, want: want_typed, got: &port.gather(&got_typed), coarsest };
                proof.typed_ulps = proof.typed_ulps.max(pair.as_typed(want)?);
            }
        }
        for (port, &count) in self.ports.outputs.iter().zip(&numbers) {
            if count == 0 && port.ty.elements() > 0 {
                let (function, output) = (before.name.clone(), port.name.clone());
                return Err(ProveError::Nothing { function, output });
            }
        }
        proof.elements += numbers.iter().sum::<usize>();
        Ok(())
    }
}

/// Whether the reference evaluator can run `function` a few times.
fn feasible(function: &Function) -> Result<(), ProveError> {
    let name = || function.name.clone();
    if !function.states.is_empty() {
        return Err(ProveError::Unsteady { function: name(), what: "keeps state between runs" });
    }
    if function.ops.iter().any(|op| op.op.name() == "while_loop") {
        return Err(ProveError::Unsteady { function: name(), what: "has loops" });
    }
    let others = function.ops.iter().map(|op| uncounted(function, op));
    let flops = others.fold(Stats::of(function).flops, u64::saturating_add);
    let elements = function.values.iter().fold(0usize, |n, v| n.saturating_add(v.ty.elements()));
    if flops > MOST_FLOPS || elements > MOST_ELEMENTS {
        return Err(ProveError::TooLarge { function: name(), flops, elements });
    }
    Ok(())
}

/// Floating-point operations of matrix products that [`Stats`] does not count.
fn uncounted(function: &Function, op: &Operation) -> u64 {
    let shape = |name| op.arg_value(name).map(|v| function.ty(v).shape.as_slice()).unwrap_or_default();
    let count = |shape: &[usize]| shape.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64));
    let (first, second) = match op.op.name() {
        "linear" => (shape("x"), shape("weight").first().copied().unwrap_or(0)),
        // Each query meets each key, and then each value.
        "scaled_dot_product_attention" => {
            (shape("query"), 2 * shape("key").iter().rev().nth(1).copied().unwrap_or(0))
        }
        _ => return 0,
    };
    count(first).saturating_mul(second as u64).saturating_mul(2)
}

/// Random inputs of `before`, and the same for `after`.
fn inputs(
    before: &Function,
    after: &Function,
    ports: &PortMap,
    range: (f64, f64),
    rng: &mut ChaCha8Rng,
) -> (Vec<Tensor>, Vec<Tensor>) {
    let inputs: Vec<Tensor> = before.inputs.iter().map(|&v| random(before.ty(v), range, rng)).collect();
    let mut fed: Vec<Tensor> = after.inputs.iter().map(|&v| random(after.ty(v), range, rng)).collect();
    for (port, input) in ports.inputs.iter().zip(&inputs) {
        for (at, tensor) in port.scatter(input, |ty| random(ty, range, rng)) {
            if let Some(slot) = fed.get_mut(at) {
                *slot = tensor;
            }
        }
    }
    (inputs, fed)
}

/// Integers are small, as indices are.
const INTS: i64 = 8;

fn random(ty: &TensorType, (low, high): (f64, f64), rng: &mut ChaCha8Rng) -> Tensor {
    let n = ty.elements();
    let data = match ty.dtype {
        DType::Bool => Data::Bool((0..n).map(|_| rng.random_bool(0.5)).collect()),
        DType::Str => Data::Str(vec![String::new(); n]),
        float if float.is_float() => Data::Float((0..n).map(|_| rng.random_range(low..high)).collect()),
        int => {
            let most = int.int_range().map_or(INTS, |(_, most)| INTS.min(most));
            Data::Int((0..n).map(|_| rng.random_range(0..=most)).collect())
        }
    };
    Tensor { ty: ty.clone(), data }.rounded()
}

/// A result, before and after.
struct Pair<'a> {
    port: &'a MovedPort,
    want: &'a Tensor,
    got: &'a Tensor,
    coarsest: DType,
}

/// The float type of `function`'s values with the fewest digits.
fn coarsest(function: &Function) -> DType {
    let floats = function.values.iter().map(|v| v.ty.dtype).filter(|d| d.is_float());
    floats.min_by_key(|d| d.bits()).unwrap_or(DType::F32)
}

impl Pair<'_> {
    /// The count of numbers, and the largest difference relative to the largest number.
    fn exactly(&self, tolerance: f64) -> Result<(usize, f64), ProveError> {
        let scale = scale(self.want);
        let allowed = tolerance * scale;
        let (mut count, mut most) = (0, 0.0f64);
        for (a, b) in self.elements() {
            if !agree(a, b, allowed) {
                return Err(self.differs("in exact arithmetic", a, b, format!("a relative {tolerance:e}")));
            }
            if a.is_finite() {
                count += 1;
                most = most.max((a - b).abs());
            }
        }
        Ok((count, if scale > 0.0 { most / scale } else { most }))
    }

    /// The largest difference in units in the last place of the largest element of `exact`.
    fn as_typed(&self, exact: &Tensor) -> Result<f64, ProveError> {
        let ulp = ulp(scale(exact), self.coarsest);
        let error = |(a, x): (f64, f64)| if a.is_finite() && x.is_finite() { (a - x).abs() } else { 0.0 };
        let before = self.want.to_floats().into_iter().zip(exact.to_floats()).map(error).fold(0.0, f64::max);
        // Both are off the exact result.
        let allowed = if self.want.ty.dtype.is_float() { TIMES * before + ULPS * ulp } else { 0.0 };
        let mut most = 0.0f64;
        for ((a, b), x) in self.elements().zip(exact.to_floats()) {
            let near =
                if x.is_finite() && b.is_finite() { (b - x).abs() <= allowed } else { agree(a, b, 0.0) };
            if !near {
                let allowed = format!("{allowed:e} from {x}");
                return Err(self.differs("with rounding", a, b, allowed));
            }
            if a.is_finite() && b.is_finite() {
                most = most.max((a - b).abs());
            }
        }
        Ok(most / ulp)
    }

    fn elements(&self) -> impl Iterator<Item = (f64, f64)> {
        self.want.to_floats().into_iter().zip(self.got.to_floats())
    }

    fn differs(&self, how: &'static str, before: f64, after: f64, allowed: String) -> ProveError {
        ProveError::Differs { output: self.port.name.clone(), how, before, after, allowed }
    }
}

/// Whether two numbers are equal up to `allowed`, both the same infinity, or both none.
fn agree(a: f64, b: f64, allowed: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= allowed
}

/// The largest finite element.
fn scale(tensor: &Tensor) -> f64 {
    tensor.to_floats().into_iter().filter(|x| x.is_finite()).fold(0.0, |most, x| most.max(x.abs()))
}

/// The unit in the last place of `x` in type `dtype`, at least that of the smallest normal number.
fn ulp(x: f64, dtype: DType) -> f64 {
    let (digits, lowest) = match dtype {
        DType::F16 => (11, -14),
        DType::BF16 => (8, -126),
        DType::F64 => (53, -1022),
        _ => (24, -126),
    };
    let exponent = if x > 0.0 { x.log2().floor() as i32 } else { lowest };
    2f64.powi(exponent.max(lowest) - (digits - 1))
}
