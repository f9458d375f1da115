//! Random numbers: a pure function of the seed and of the position in the result.
//!
//! The generator is ours. Core ML draws other numbers, and new ones in each run without a seed; what is promised
//! there and here is the distribution. Seed −1 and an absent one count as 0.

use super::fill::wanted_shape;
use super::unary::equal_dtypes;
use crate::diag::Reject;
use crate::op::{Absent, Axes, Call, Eval, FLOATS, Grad, I32, OpDef, STR, Work, constant, known, tensor};
use crate::tensor::{Data, Tensor, round_float};
use crate::ty::{DType, Opset, TensorType};

/// `random_uniform(shape, low, high, seed)`: from `low` up to, not including, `high`; `low` if they are equal.
/// Source: coremltools `iOS15/random.py`, class `random_uniform`.
pub static RANDOM_UNIFORM: OpDef = OpDef {
    name: "random_uniform",
    since: Opset::Ios15,
    params: &[
        known("shape", I32),
        constant("low", FLOATS).or(Absent::Float(0.0)),
        constant("high", FLOATS).or(Absent::Float(1.0)),
        constant("seed", I32).or(Absent::Int(-1)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let (low, high) = (a.float("low"), a.float("high"));
        if low <= high {
            return drawn_type(a, &["low", "high"]);
        }
        Err(Reject::new("random-range", "`random_uniform` finds nothing between `low` and `high`")
            .label("low", low.to_string())
            .label("high", high.to_string()))
    },
    eval: |a| {
        let (low, high, dtype) = (a.float("low"), a.float("high"), a.out().dtype);
        drawn(a, |random, n| {
            let x = round_float(low + random.unit(n) * (high - low), dtype);
            if x < high { x } else { low } // It was rounded up to `high`.
        })
    },
    grad: Grad::None(DRAWN),
};

/// `random_normal(shape, mean, stddev, seed)`: from the normal distribution.
/// Source: coremltools `iOS15/random.py`, class `random_normal`; drawn by Box and Muller's method, 1958.
pub static RANDOM_NORMAL: OpDef = OpDef {
    name: "random_normal",
    since: Opset::Ios15,
    params: &[
        known("shape", I32),
        constant("mean", FLOATS).or(Absent::Float(0.0)),
        constant("stddev", FLOATS).or(Absent::Float(1.0)),
        constant("seed", I32).or(Absent::Int(-1)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        if a.float("stddev") >= 0.0 {
            return drawn_type(a, &["mean", "stddev"]);
        }
        Err(Reject::new("random-range", "`random_normal` needs a deviation that is not negative")
            .label("stddev", a.float("stddev").to_string()))
    },
    eval: |a| {
        let (mean, stddev) = (a.float("mean"), a.float("stddev"));
        drawn(a, |random, n| {
            let (u, v) = (random.unit(2 * n), random.unit(2 * n + 1));
            let radius = (-2.0 * (1.0 - u).ln()).sqrt();
            mean + stddev * radius * (std::f64::consts::TAU * v).cos()
        })
    },
    grad: Grad::None(DRAWN),
};

/// `random_bernoulli(shape, prob, seed)`: 1 with probability `prob`, else 0.
/// Source: coremltools `iOS15/random.py`, class `random_bernoulli`.
pub static RANDOM_BERNOULLI: OpDef = OpDef {
    name: "random_bernoulli",
    since: Opset::Ios15,
    params: &[
        known("shape", I32),
        constant("prob", FLOATS).or(Absent::Float(0.5)),
        constant("seed", I32).or(Absent::Int(-1)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        if (0.0..=1.0).contains(&a.float("prob")) {
            return drawn_type(a, &["prob"]);
        }
        Err(Reject::new("random-range", "`random_bernoulli` needs a probability")
            .label("prob", a.float("prob").to_string())
            .help("use a number from 0 to 1"))
    },
    eval: |a| {
        let prob = a.float("prob");
        drawn(a, |random, n| f64::from(u8::from(random.unit(n) < prob)))
    },
    grad: Grad::None(DRAWN),
};

/// `random_categorical(x, mode, size, seed)`: for each line of `x` along the last axis `size` places in it, drawn with
/// the probabilities that it holds; `x` are their logarithms, or themselves if `mode` is `probs`.
///
/// They need not sum to 1; negative values and NaN count as 0.
/// Source: coremltools `iOS15/random.py`, class `random_categorical`; the places are floats, as there.
pub static RANDOM_CATEGORICAL: OpDef = OpDef {
    name: "random_categorical",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        constant("mode", STR).or(Absent::Str("logits")),
        constant("size", I32).or(Absent::Int(1)),
        constant("seed", I32).or(Absent::Int(-1)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let x = a.ty("x");
        if !matches!(a.str("mode"), "logits" | "probs") {
            return Err(Reject::new(
                "random-mode",
                format!("`random_categorical` has no mode `{}`", a.str("mode")),
            )
            .help("use `logits` or `probs`"));
        }
        match (x.shape.split_last(), usize::try_from(a.int("size"))) {
            (Some((1.., lines)), Ok(size)) => Ok(vec![TensorType::new(x.dtype, [lines, &[size]].concat())]),
            _ => Err(Reject::new("random-size", "`random_categorical` cannot draw so")
                .label("x", x.to_string())
                .label("size", a.int("size").to_string())
                .help("the last axis must not be empty, and `size` must not be negative")),
        }
    },
    eval: categorical,
    grad: Grad::None("its result is an index"),
};

const DRAWN: &str = "its result is random";

/// A counter-based generator: the `n`-th number is `mix(start + (n + 1)·γ)`, so each is independent of the others.
/// Source: splitmix64; Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
struct Random {
    start: u64,
    /// Bits of a number that every float type represents exactly.
    digits: u32,
}

impl Random {
    const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

    /// The numbers of the seed of `a`, for elements of type `dtype`.
    fn of(a: &Call<'_>, dtype: DType) -> Random {
        let seed = a.int("seed");
        let seed = if seed == -1 { 0 } else { seed };
        Random { start: mix(seed as u64 ^ Self::GAMMA), digits: if dtype == DType::F16 { 11 } else { 24 } }
    }

    /// The `n`-th number, from 0 up to 1, which is not reached.
    fn unit(&self, n: u64) -> f64 {
        let bits = mix(self.start.wrapping_add(n.wrapping_add(1).wrapping_mul(Self::GAMMA)));
        (bits >> (64 - self.digits)) as f64 / (1u64 << self.digits) as f64
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The type of a result whose parameters are `names`.
fn drawn_type(a: &Call<'_>, names: &[&'static str]) -> Result<Vec<TensorType>, Reject> {
    equal_dtypes(a, names)?;
    let given = names.iter().find(|n| a.has(n));
    let dtype = given.map_or(DType::F32, |n| a.ty(n).dtype);
    Ok(vec![TensorType::new(dtype, wanted_shape(a)?)])
}

/// The result whose `n`-th element is `f(random, n)`.
fn drawn(a: &Eval<'_>, f: impl Fn(&Random, u64) -> f64) -> Vec<Tensor> {
    let random = Random::of(a, a.out().dtype);
    let data = (0..a.out().elements() as u64).map(|n| f(&random, n)).collect();
    vec![Tensor { ty: a.out().clone(), data: Data::Float(data) }]
}

fn categorical(a: &Eval<'_>) -> Vec<Tensor> {
    let (x, out, logits) = (a.tensor("x"), a.out(), a.str("mode") == "logits");
    let random = Random::of(a, DType::F32);
    let (Some(&choices), Some(&size)) = (x.ty.shape.last(), out.shape.last()) else { return Vec::new() };
    let mut data = Vec::with_capacity(out.elements());
    for (line, values) in x.as_floats().chunks(choices.max(1)).enumerate() {
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weight = |x: f64| match (logits, x == largest) {
            (true, true) => 1.0, // Also of infinities.
            (true, false) => (x - largest).exp().max(0.0),
            (false, _) => x.max(0.0),
        };
        let mut sum = 0.0;
        let sums: Vec<f64> = values
            .iter()
            .map(|&x| {
                sum += weight(x);
                sum
            })
            .collect();
        for i in 0..size {
            let at = random.unit((line * size + i) as u64) * sum;
            let place = sums.partition_point(|&s| s <= at);
            data.push(place.min(choices - 1) as f64);
        }
    }
    vec![Tensor { ty: out.clone(), data: Data::Float(data) }]
}
