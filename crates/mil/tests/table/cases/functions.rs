//! Functions of single elements, alone and in pairs.

use super::{Case, case};
use mil::{DType, Data, TensorType};

/// The cases: both sides of each kink, each constant, and the edges of integers.
pub fn cases() -> Vec<Case> {
    let channels =
        |values: &[f64]| (TensorType::new(DType::F32, [values.len()]), Data::Float(values.to_vec()));
    let with = |case: Case, name: &'static str, values: &[f64]| {
        let (ty, data) = channels(values);
        case.literal(name, ty, data)
    };
    let mut out = vec![
        // rectifiers
        case("leaky_relu").x(&[2, 3]).float("alpha", 0.125),
        case("leaky_relu").x(&[]).float("alpha", -0.5),
        case("clamped_relu").x(&[3, 4]).float("alpha", 0.25).float("beta", 0.75),
        case("clamped_relu").x(&[3, 4]).float("alpha", -1.5).float("beta", 0.7),
        case("thresholded_relu").x(&[2, 5]).float("alpha", 0.625),
        case("thresholded_relu").x(&[2, 5]).float("alpha", -0.625),
        case("elu").x(&[2, 3]).float("alpha", 0.5),
        case("linear_activation").x(&[2, 3]).float("alpha", -0.5).float("beta", 2.0),
        case("sigmoid_hard").x(&[3, 4]).float("alpha", 0.5).float("beta", 0.4375),
        case("scaled_tanh").x(&[2, 3]).float("alpha", 1.5).float("beta", 0.625),
        with(case("prelu").x(&[2, 2, 3, 1]), "alpha", &[0.25, -0.5]),
        with(case("prelu").x(&[2, 2, 3]), "alpha", &[0.25, 0.25]),
        with(case("prelu").x(&[1, 1, 2, 1, 2]), "alpha", &[0.25]),
        with(with(case("softplus_parametric").x(&[2, 2, 3]), "alpha", &[0.5, 2.0]), "beta", &[1.5, -0.5]),
        with(with(case("softplus_parametric").x(&[1, 1, 2, 2]), "alpha", &[0.5]), "beta", &[1.5]),
        // pairs
        case("floor_div").x(&[2, 3]).y(&[3]),
        case("mod").x(&[2, 3]).y(&[3]),
        case("mod").x(&[2, 1]).y(&[3]),
        case("mod").positive().x(&[4]).float("y", -0.4375),
        // integers
        case("exp2").integers("x", DType::I32, &[6], &[-1, 0, 1, 30, 31, i32::MAX as i64]),
        case("threshold").integers("x", DType::I32, &[3], &[-2, 0, 3]).int("alpha", 1),
        case("threshold").x(&[2, 4]).float("alpha", -0.625),
    ];
    for op in ["floor_div", "mod"] {
        let x = [7, -7, 7, -7, 5, i32::MIN as i64, i32::MIN as i64];
        let x = case(op).integers("x", DType::I32, &[7], &x);
        out.push(x.integers("y", DType::I32, &[7], &[3, 3, -3, -3, 0, -1, 1]));
    }
    out.extend(["relu6", "softsign", "exp2", "sinh", "cosh", "atan"].map(|op| case(op).x(&[2, 3])));
    out.push(case("relu6").scaled(6.0).x(&[3, 4]));
    out.extend(["tan", "asin", "acos", "atanh"].map(|op| case(op).scaled(0.5).x(&[2, 3])));
    out
}
