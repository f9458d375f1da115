//! Circular and hyperbolic functions besides `sin`, `cos` and `tanh`, and their inverses.

use super::unary::{apply, map, unary};
use crate::op::{Grad, OpDef};

/// `tan(x)`, in radians.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `tan`.
pub static TAN: OpDef = unary(
    "tan",
    |a| map(a, f64::tan),
    Grad::Rule(|g| {
        // dx = dy·(1 + y²)
        let (y, dy) = (g.output(), g.cotangent());
        g.give("x", dy * (y * y + 1.0));
    }),
);

/// `asin(x)`: the angle in `[−π/2, π/2]` whose sine is `x`; NaN beyond ±1.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `asin`.
pub static ASIN: OpDef = unary(
    "asin",
    |a| map(a, f64::asin),
    Grad::Rule(|g| {
        // dx = dy / √(1 − x²)
        let (x, dy) = (g.arg("x"), g.cotangent());
        g.give("x", dy / apply("sqrt", 1.0 - x * x));
    }),
);

/// `acos(x)`: the angle in `[0, π]` whose cosine is `x`; NaN beyond ±1.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `acos`.
pub static ACOS: OpDef = unary(
    "acos",
    |a| map(a, f64::acos),
    Grad::Rule(|g| {
        // dx = −dy / √(1 − x²)
        let (x, dy) = (g.arg("x"), g.cotangent());
        g.give("x", -(dy / apply("sqrt", 1.0 - x * x)));
    }),
);

/// `atan(x)`: the angle in `[−π/2, π/2]` whose tangent is `x`.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `atan`.
pub static ATAN: OpDef = unary(
    "atan",
    |a| map(a, f64::atan),
    Grad::Rule(|g| {
        // dx = dy / (1 + x²)
        let (x, dy) = (g.arg("x"), g.cotangent());
        g.give("x", dy / (x * x + 1.0));
    }),
);

/// `sinh(x)`: `½·(eˣ − e⁻ˣ)`.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `sinh`.
pub static SINH: OpDef = unary(
    "sinh",
    |a| map(a, f64::sinh),
    Grad::Rule(|g| {
        let (x, dy) = (g.arg("x"), g.cotangent());
        g.give("x", dy * apply("cosh", x));
    }),
);

/// `cosh(x)`: `½·(eˣ + e⁻ˣ)`.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `cosh`.
pub static COSH: OpDef = unary(
    "cosh",
    |a| map(a, f64::cosh),
    Grad::Rule(|g| {
        let (x, dy) = (g.arg("x"), g.cotangent());
        g.give("x", dy * apply("sinh", x));
    }),
);

/// `atanh(x)`: `½·log((1 + x) / (1 − x))`; infinite at ±1, not a number beyond.
/// Source: coremltools `iOS15/elementwise_unary.py`, class `atanh`.
pub static ATANH: OpDef = unary(
    "atanh",
    |a| map(a, f64::atanh),
    Grad::Rule(|g| {
        // dx = dy / (1 − x²)
        let (x, dy) = (g.arg("x"), g.cotangent());
        g.give("x", dy / (1.0 - x * x));
    }),
);
