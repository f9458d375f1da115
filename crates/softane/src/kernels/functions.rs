//! The functions of instructions, on the elements of a tile.

use crate::convert;
use crate::math;
use crate::rows::{self, Fold};
use crate::simd::vectorised;
use mil::op::Call;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unary {
    Copy,
    Abs,
    Ceil,
    Clip(f32, f32),
    Cos,
    Erf,
    Exp,
    Floor,
    Gelu,
    GeluSigmoid,
    GeluTanh,
    Inverse(f32),
    Log(f32),
    Pow(f32),
    Relu,
    Round,
    Rsqrt(f32),
    Sigmoid,
    Sign,
    Silu,
    Sin,
    Softplus,
    Sqrt,
    Square,
    Tanh,
}

impl Unary {
    /// The function that `call` computes; `None`, if it is none of these.
    pub(crate) fn of(call: &Call<'_>) -> Option<Unary> {
        let float = |name: &str| call.float(name) as f32;
        Some(match call.op.name() {
            "abs" => Unary::Abs,
            "cast" => Unary::Copy,
            "ceil" => Unary::Ceil,
            "clip" => Unary::Clip(float("alpha"), float("beta")),
            "cos" => Unary::Cos,
            "erf" => Unary::Erf,
            "exp" => Unary::Exp,
            "floor" => Unary::Floor,
            "gelu" => match call.str("mode") {
                "TANH_APPROXIMATION" => Unary::GeluTanh,
                "SIGMOID_APPROXIMATION" => Unary::GeluSigmoid,
                _ => Unary::Gelu,
            },
            "inverse" => Unary::Inverse(float("epsilon")),
            "log" => Unary::Log(float("epsilon")),
            "relu" => Unary::Relu,
            "round" => Unary::Round,
            "rsqrt" => Unary::Rsqrt(float("epsilon")),
            "sigmoid" => Unary::Sigmoid,
            "sign" => Unary::Sign,
            "silu" => Unary::Silu,
            "sin" => Unary::Sin,
            "softplus" => Unary::Softplus,
            "sqrt" => Unary::Sqrt,
            "square" => Unary::Square,
            "tanh" => Unary::Tanh,
            _ => return None,
        })
    }
}

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Max,
    Min,
    Pow,
}

impl Binary {
    /// The function that operation `name` computes; `None`, if it is none of these.
    pub(crate) fn of(name: &str) -> Option<Binary> {
        Some(match name {
            "add" => Binary::Add,
            "sub" => Binary::Sub,
            "mul" => Binary::Mul,
            "real_div" => Binary::Div,
            "maximum" => Binary::Max,
            "minimum" => Binary::Min,
            "pow" => Binary::Pow,
            _ => return None,
        })
    }
}

/// A function of a row, the last axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Row {
    /// `exp(x − max x) / Σ exp(x − max x)`
    Softmax,
    /// `(x − mean x) / √(var x + ε)`
    Normalize(f32),
    /// `Σ x` in every element, rounded to half precision if `narrow`.
    Sum { narrow: bool },
}

#[derive(Clone, Copy)]
pub(super) enum PointwiseInput<'a> {
    Many(&'a [f32]),
    One(f32),
}

/// `out[i] ← body` for each `x` of the slice of that name.
macro_rules! each {
    ($out:ident, $x:ident => $body:expr) => {
        vectorised(
            #[inline(always)]
            || {
                for (out, &$x) in $out.iter_mut().zip($x) {
                    *out = $body;
                }
            },
        )
    };
}

/// `out[i] ← body` for the elements `x` and `y` of two values.
macro_rules! pairs {
    ($out:ident, ($a:ident, $b:ident) => |$x:ident, $y:ident| $body:expr) => {
        vectorised(
            #[inline(always)]
            || match ($a, $b) {
                (PointwiseInput::Many(a), PointwiseInput::Many(b)) => {
                    for ((out, &$x), &$y) in $out.iter_mut().zip(a).zip(b) {
                        *out = $body;
                    }
                }
                (PointwiseInput::Many(a), PointwiseInput::One($y)) => {
                    for (out, &$x) in $out.iter_mut().zip(a) {
                        *out = $body;
                    }
                }
                (PointwiseInput::One($x), PointwiseInput::Many(b)) => {
                    for (out, &$y) in $out.iter_mut().zip(b) {
                        *out = $body;
                    }
                }
                (PointwiseInput::One($x), PointwiseInput::One($y)) => $out.fill($body),
            },
        )
    };
}

pub(super) fn unary(f: Unary, a: PointwiseInput<'_>, out: &mut [f32]) {
    let x = match a {
        PointwiseInput::Many(x) => x,
        PointwiseInput::One(x) => {
            let mut one = [0.0];
            unary(f, PointwiseInput::Many(&[x]), &mut one);
            return out.fill(one[0]);
        }
    };
    match f {
        Unary::Copy => out.copy_from_slice(x),
        Unary::Abs => each!(out, x => x.abs()),
        Unary::Ceil => each!(out, x => x.ceil()),
        Unary::Clip(lo, hi) => each!(out, x => {
            let x = if x < lo { lo } else { x };
            if x > hi { hi } else { x }
        }),
        Unary::Cos => each!(out, x => x.cos()),
        Unary::Erf => each!(out, x => math::erf(x)),
        Unary::Exp => each!(out, x => math::exp(x)),
        Unary::Floor => each!(out, x => x.floor()),
        Unary::Gelu => each!(out, x => x * (0.5 * math::erfc(-x * std::f32::consts::FRAC_1_SQRT_2))),
        Unary::GeluSigmoid => each!(out, x => x * math::sigmoid(1.702 * x)),
        // ½·(1 + tanh u) = sigmoid 2u, without cancellation
        Unary::GeluTanh => each!(out, x => x * math::sigmoid(1.595_769 * (x + 0.044_715 * x * x * x))),
        Unary::Inverse(epsilon) => each!(out, x => 1.0 / (x + epsilon)),
        Unary::Log(epsilon) => each!(out, x => (x + epsilon).ln()),
        Unary::Pow(-0.5) => each!(out, x => 1.0 / x.sqrt()),
        Unary::Pow(0.5) => each!(out, x => x.sqrt()),
        Unary::Pow(1.0) => out.copy_from_slice(x),
        Unary::Pow(2.0) => each!(out, x => x * x),
        Unary::Pow(3.0) => each!(out, x => x * x * x),
        Unary::Pow(-1.0) => each!(out, x => 1.0 / x),
        Unary::Pow(y) => each!(out, x => pow(x, y)),
        Unary::Relu => each!(out, x => if x < 0.0 { 0.0 } else { x }),
        Unary::Round => each!(out, x => x.round_ties_even()),
        Unary::Rsqrt(epsilon) => each!(out, x => 1.0 / (x + epsilon).sqrt()),
        Unary::Sigmoid => each!(out, x => math::sigmoid(x)),
        Unary::Sign => each!(out, x => if x == 0.0 || x.is_nan() { x } else { 1f32.copysign(x) }),
        Unary::Silu => each!(out, x => x * math::sigmoid(x)),
        Unary::Sin => each!(out, x => x.sin()),
        Unary::Softplus => each!(out, x => x.max(0.0) + (-x.abs()).exp().ln_1p()),
        Unary::Sqrt => each!(out, x => x.sqrt()),
        Unary::Square => each!(out, x => x * x),
        Unary::Tanh => each!(out, x => math::tanh(x)),
    }
}

pub(super) fn binary(f: Binary, a: PointwiseInput<'_>, b: PointwiseInput<'_>, out: &mut [f32]) {
    match f {
        Binary::Add => pairs!(out, (a, b) => |x, y| x + y),
        Binary::Sub => pairs!(out, (a, b) => |x, y| x - y),
        Binary::Mul => pairs!(out, (a, b) => |x, y| x * y),
        Binary::Div => pairs!(out, (a, b) => |x, y| x / y),
        // Unlike `f32::max`, NaN stays.
        Binary::Max => pairs!(out, (a, b) => |x, y| if x > y || x.is_nan() { x } else { y }),
        Binary::Min => pairs!(out, (a, b) => |x, y| if x < y || x.is_nan() { x } else { y }),
        Binary::Pow => pairs!(out, (a, b) => |x, y| pow(x, y)),
    }
}

fn pow(x: f32, y: f32) -> f32 {
    f64::from(x).powf(f64::from(y)) as f32
}

pub(super) fn by_row(f: Row, x: PointwiseInput<'_>, out: &mut [f32], row: usize) {
    match (f, x) {
        (Row::Softmax, PointwiseInput::Many(x)) => rows::softmax(x, out, row),
        // Equal numbers: each has its share.
        (Row::Softmax, PointwiseInput::One(x)) => {
            out.fill(if x.is_finite() { 1.0 / row as f32 } else { f32::NAN })
        }
        (Row::Sum { narrow }, x) => {
            for (i, out) in out.chunks_exact_mut(row).enumerate() {
                let mut total = [0.0];
                match x {
                    PointwiseInput::Many(x) => rows::fold(&x[i * row..][..row], row, Fold::Sum, &mut total),
                    PointwiseInput::One(x) => {
                        out.fill(x);
                        rows::fold(out, row, Fold::Sum, &mut total);
                    }
                }
                if narrow {
                    convert::round(&mut total);
                }
                out.fill(total[0]);
            }
        }
        (Row::Normalize(epsilon), x) => {
            unary(Unary::Copy, x, out);
            rows::normalize(out, row, epsilon);
        }
    }
}
