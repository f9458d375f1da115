//! Functions of single elements.

use crate::build::Var;
use crate::diag::Reject;
use crate::op::{Absent, Axes, Call, Eval, FLOATS, Grad, NUMBERS, OpDef, Param, Work, constant, tensor};
use crate::tensor::{Data, Tensor};
use crate::ty::{Opset, Shape, TensorType};

/// `sqrt(x)`: `√x`.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `sqrt`.
pub static SQRT: OpDef = unary(
    "sqrt",
    |a| map(a, f64::sqrt),
    Grad::Rule(|g| {
        // dx = dy / 2y
        let (y, dy) = (g.output(), g.cotangent());
        g.give("x", dy * 0.5 / y);
    }),
);

/// `rsqrt(x, epsilon)`: `1 / √(x + ε)`.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `rsqrt`.
pub static RSQRT: OpDef = OpDef {
    name: "rsqrt",
    since: Opset::Ios15,
    params: &[tensor("x", FLOATS), constant("epsilon", FLOATS).or(Absent::Float(1e-12))],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: same_type,
    eval: |a| map(a, |x| 1.0 / (x + a.float("epsilon")).sqrt()),
    grad: Grad::Rule(|g| {
        // y = (x + ε)^−½  ⇒  dx = −½·dy·y³
        let (y, dy) = (g.output(), g.cotangent());
        g.give("x", dy * y * y * y * -0.5);
    }),
};

/// `inverse(x, epsilon)`: `1 / (x + ε)`.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `inverse`.
pub static INVERSE: OpDef = OpDef {
    name: "inverse",
    since: Opset::Ios15,
    params: &[tensor("x", FLOATS), constant("epsilon", FLOATS).or(Absent::Float(1e-4))],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: same_type,
    eval: |a| map(a, |x| 1.0 / (x + a.float("epsilon"))),
    grad: Grad::Rule(|g| {
        // dx = −dy·y²
        let (y, dy) = (g.output(), g.cotangent());
        g.give("x", -(dy * y * y));
    }),
};

/// `exp(x)`: `eˣ`.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `exp`.
pub static EXP: OpDef = unary(
    "exp",
    |a| map(a, f64::exp),
    Grad::Rule(|g| {
        let (y, dy) = (g.output(), g.cotangent());
        g.give("x", dy * y);
    }),
);

/// `exp2(x)`: `2ˣ`; of integers the whole part, of which the lowest 32 bits are kept.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `exp2`.
pub static EXP2: OpDef = unary_number(
    "exp2",
    |a| map_numbers(a, f64::exp2, |x| u32::try_from(x).ok().and_then(|x| 1i64.checked_shl(x)).unwrap_or(0)),
    Grad::Rule(|g| {
        // dx = dy·y·log 2
        let (y, dy) = (g.output(), g.cotangent());
        g.give("x", dy * y * std::f64::consts::LN_2);
    }),
);

/// `log(x, epsilon)`: the natural logarithm of `x + ε`; `ε` is 1e-45, in fp32 the smallest number, unless given.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `log`.
pub static LOG: OpDef = OpDef {
    name: "log",
    since: Opset::Ios15,
    params: &[tensor("x", FLOATS), constant("epsilon", FLOATS).or(Absent::Float(SMALLEST_F32))],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: same_type,
    eval: |a| map(a, |x| (x + a.float("epsilon")).ln()),
    grad: Grad::Rule(|g| {
        // dx = dy / (x + ε)
        let (x, dy) = (g.arg("x"), g.cotangent());
        let epsilon = g.float("epsilon");
        g.give("x", if epsilon > SMALLEST_F32 { dy / (x + epsilon) } else { dy / x });
    }),
};

/// `0x1p-149`, to which 1e-45 rounds in fp32.
const SMALLEST_F32: f64 = f32::from_bits(1) as f64;

/// `erf(x)`: `2/√π · ∫₀ˣ exp(−t²) dt`.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `erf`.
pub static ERF: OpDef = unary(
    "erf",
    |a| map(a, erf),
    Grad::Rule(|g| {
        // dx = dy · 2/√π · exp(−x²)
        let (x, dy) = (g.arg("x"), g.cotangent());
        g.give("x", dy * (-(x * x)).exp() * std::f64::consts::FRAC_2_SQRT_PI);
    }),
);

/// `sin(x)`, in radians.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `sin`.
pub static SIN: OpDef = unary(
    "sin",
    |a| map(a, f64::sin),
    Grad::Rule(|g| {
        let (x, dy) = (g.arg("x"), g.cotangent());
        g.give("x", dy * apply("cos", x));
    }),
);

/// `cos(x)`, in radians.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `cos`.
pub static COS: OpDef = unary(
    "cos",
    |a| map(a, f64::cos),
    Grad::Rule(|g| {
        let (x, dy) = (g.arg("x"), g.cotangent());
        g.give("x", -(dy * apply("sin", x)));
    }),
);

/// `abs(x)`: `|x|`.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `abs`.
pub static ABS: OpDef = unary_number(
    "abs",
    |a| map_numbers(a, f64::abs, i64::abs),
    Grad::Rule(|g| {
        // dx = dy·sign(x), which is 0 at 0
        let (x, dy) = (g.arg("x"), g.cotangent());
        g.give("x", dy * apply("sign", x));
    }),
);

/// `sign(x)`: −1, 0 or 1.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `sign`.
pub static SIGN: OpDef = unary_number(
    "sign",
    |a| map_numbers(a, |x| if x == 0.0 || x.is_nan() { x } else { x.signum() }, i64::signum),
    Grad::None(STEPS),
);

/// `square(x)`: `x²`.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `square`.
pub static SQUARE: OpDef = unary_number(
    "square",
    |a| map_numbers(a, |x| x * x, |x| x.wrapping_mul(x)),
    Grad::Rule(|g| {
        // dx = 2x·dy
        let (x, dy) = (g.arg("x"), g.cotangent());
        g.give("x", dy * x * 2.0);
    }),
);

/// `floor(x)`: the largest integer that is not larger.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `floor`.
pub static FLOOR: OpDef = unary("floor", |a| map(a, f64::floor), Grad::None(STEPS));

/// `ceil(x)`: the smallest integer that is not smaller.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `ceil`.
pub static CEIL: OpDef = unary("ceil", |a| map(a, f64::ceil), Grad::None(STEPS));

/// `round(x)`: the nearest integer, the even one of two.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `round`.
pub static ROUND: OpDef = unary("round", |a| map(a, f64::round_ties_even), Grad::None(STEPS));

/// `clip(x, alpha, beta)`: `min(max(x, α), β)`.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `clip`; `α < β` is asked for since iOS17.
pub static CLIP: OpDef = OpDef {
    name: "clip",
    since: Opset::Ios15,
    params: &[tensor("x", FLOATS), constant("alpha", FLOATS), constant("beta", FLOATS)],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: |a| {
        equal_dtypes(a, &["x", "alpha", "beta"])?;
        let (alpha, beta) = (a.float("alpha"), a.float("beta"));
        if alpha < beta {
            return same_type(a);
        }
        Err(Reject::new("clip-range", "`clip` leaves no room between `alpha` and `beta`")
            .label("alpha", alpha.to_string())
            .label("beta", beta.to_string())
            .help("`alpha` must be smaller than `beta`"))
    },
    eval: |a| map(a, |x| held(x, a.float("alpha"), a.float("beta"))),
    grad: Grad::Rule(|g| {
        // dx = dy where x is unchanged
        let (x, y, dy) = (g.arg("x"), g.output(), g.cotangent());
        let unchanged = super::parts::compare("equal", x, y);
        g.give("x", super::parts::choose(unchanged, Some(dy), None));
    }),
};

/// `threshold(x, alpha)`: `max(x, α)`.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `threshold`.
pub static THRESHOLD: OpDef = OpDef {
    name: "threshold",
    since: Opset::Ios15,
    params: &[tensor("x", NUMBERS), constant("alpha", NUMBERS)],
    axes: Axes::Elementwise,
    work: Work::Free,
    infer: |a| {
        equal_dtypes(a, &["x", "alpha"])?;
        one_number(a, "alpha")?;
        same_type(a)
    },
    eval: |a| {
        let (float, int) = (a.float("alpha"), a.int("alpha"));
        map_numbers(a, |x| if x < float { float } else { x }, |x| x.max(int))
    },
    grad: Grad::Rule(|g| {
        // dx = dy where x ≥ α
        let (x, dy) = (g.arg("x"), g.cotangent());
        let alpha = g.builder().scalar(g.ty("x").dtype, g.float("alpha"));
        let passes = super::parts::compare("greater_equal", x, alpha);
        g.give("x", super::parts::choose(passes, Some(dy), None));
    }),
};

/// Why functions that only jump have no gradient.
const STEPS: &str = "it is piecewise constant";

const X: &[Param] = &[tensor("x", FLOATS)];
const X_NUMBER: &[Param] = &[tensor("x", NUMBERS)];

/// A function of single floats that keeps the type.
pub(super) const fn unary(name: &'static str, eval: fn(&Eval<'_>) -> Vec<Tensor>, grad: Grad) -> OpDef {
    OpDef {
        name,
        since: Opset::Ios15,
        params: X,
        axes: Axes::Elementwise,
        work: Work::Free,
        infer: same_type,
        eval,
        grad,
    }
}

const fn unary_number(name: &'static str, eval: fn(&Eval<'_>) -> Vec<Tensor>, grad: Grad) -> OpDef {
    OpDef {
        name,
        since: Opset::Ios15,
        params: X_NUMBER,
        axes: Axes::Elementwise,
        work: Work::Free,
        infer: same_type,
        eval,
        grad,
    }
}

/// The type rule of operations that keep the type of `x`.
pub(super) fn same_type(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    Ok(vec![a.ty("x").clone()])
}

/// Refuses arguments of different element types; absent ones do not count.
pub(super) fn equal_dtypes(a: &Call<'_>, names: &[&'static str]) -> Result<(), Reject> {
    let given: Vec<_> = names.iter().filter(|n| a.has(n)).map(|&n| (n, a.ty(n).dtype)).collect();
    if given.windows(2).all(|w| w[0].1 == w[1].1) {
        return Ok(());
    }
    let reject = Reject::new("dtype-mismatch", format!("`{}` needs equal element types", a.op.name()));
    Err(given.iter().fold(reject, |r, (n, d)| r.label(n, d.name())).help("`cast` one of them"))
}

/// Refuses constant `name` with more than one element, or none.
pub(super) fn one_number(a: &Call<'_>, name: &'static str) -> Result<(), Reject> {
    let shape = &a.ty(name).shape;
    if shape.iter().all(|&d| d == 1) {
        return Ok(());
    }
    Err(Reject::new("not-a-scalar", format!("`{name}` of `{}` is one number", a.op.name()))
        .label(name, Shape(shape).to_string()))
}

/// Evaluates elementwise float functions of `x`.
pub(super) fn map(a: &Eval<'_>, f: impl Fn(f64) -> f64) -> Vec<Tensor> {
    // In place, which is less code for each `f` than a new vector.
    let mut data = a.tensor("x").as_floats().to_vec();
    for x in &mut data {
        *x = f(*x);
    }
    vec![Tensor { ty: a.out().clone(), data: Data::Float(data) }]
}

fn map_numbers(a: &Eval<'_>, float: impl Fn(f64) -> f64, int: impl Fn(i64) -> i64) -> Vec<Tensor> {
    match &a.tensor("x").data {
        Data::Int(v) => {
            let data = Data::Int(v.iter().map(|&x| wrap(int(x), a.out().dtype)).collect());
            vec![Tensor { ty: a.out().clone(), data }]
        }
        _ => map(a, float),
    }
}

/// Converts results of integer arithmetic that may be fractional: truncates and saturates; other types pass.
pub(super) fn whole(tensor: Tensor) -> Tensor {
    match (tensor.ty.dtype.int_range(), tensor.data) {
        (Some((lo, hi)), Data::Float(v)) => {
            let data = Data::Int(v.iter().map(|&x| (x as i64).clamp(lo, hi)).collect());
            Tensor { ty: tensor.ty, data }
        }
        (_, data) => Tensor { ty: tensor.ty, data },
    }
}

/// `x` as an integer of type `dtype`, wrapped round as the hardware's integers do.
pub(super) fn wrap(x: i64, dtype: crate::DType) -> i64 {
    use crate::DType;
    match dtype {
        DType::I8 => i64::from(x as i8),
        DType::U8 => i64::from(x as u8),
        DType::I16 => i64::from(x as i16),
        DType::U16 => i64::from(x as u16),
        DType::I32 => i64::from(x as i32),
        DType::U32 => i64::from(x as u32),
        _ => x,
    }
}

/// Applies the unary operation `op` to `x`, for gradient rules.
pub(super) fn apply<'b>(op: &str, x: Var<'b>) -> Var<'b> {
    x.builder().op(op, [("x", x.into())])
}

/// The error function; absolute error below 1e-15.
///
/// `erf x = 2/√π · exp(−x²) · Σ 2ⁿ x²ⁿ⁺¹ / (1·3·5···(2n+1))`: all terms have one sign, so none cancel.
/// Source: Abramowitz and Stegun, 7.1.6.
pub(super) fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum(); // 1 − erf 6 is 2e-17.
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > sum.abs() * f64::EPSILON / 4.0 {
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// The rest, `1 − erf x`; relative error below 1e-12.
///
/// From 2 on, where the 1 would cancel, `exp(−x²)/√π · 1/(x + ½/(x + 1/(x + 1½/(x + …))))`; 60 quotients are enough for 2.
/// Source: Abramowitz and Stegun, 7.1.14.
pub(super) fn erfc(x: f64) -> f64 {
    if x < 2.0 {
        return 1.0 - erf(x);
    }
    let sum = (1..=60).rev().fold(x, |below, n| x + 0.5 * f64::from(n) / below);
    (-x * x).exp() / (std::f64::consts::PI.sqrt() * sum)
}

/// `min(max(x, lo), hi)`, NaN kept.
fn held(x: f64, lo: f64, hi: f64) -> f64 {
    let x = if x < lo { lo } else { x };
    if x > hi { hi } else { x }
}
