//! Gathers and scatters along axes by indices.

use super::{Case, case};
use mil::{DType, Data, TensorType};

pub fn cases() -> Vec<Case> {
    let known = |case: Case, shape: &[usize], values: &[i64]| {
        case.literal("indices", TensorType::new(DType::I32, shape), Data::Int(values.to_vec()))
    };
    let mut out = vec![
        case("gather_along_axis")
            .x(&[2, 3])
            .integers("indices", DType::I32, &[2, 2], &[2, 0, -1, 1])
            .axis(-1),
        case("gather_along_axis").x(&[3]).integers("indices", DType::U16, &[4], &[2, 0, 2, 9]),
        case("gather_nd").x(&[3, 2]).integers("indices", DType::I32, &[4, 1], &[2, 0, -1, 2]),
        case("gather_nd").x(&[3, 2, 2]).integers("indices", DType::I32, &[2, 2], &[2, 0, 0, 1]),
        case("gather_nd")
            .x(&[2, 3, 2])
            .integers("indices", DType::I32, &[2, 2, 1], &[2, 0, 0, 1])
            .int("batch_dims", 1),
        case("scatter")
            .floats("data", &[2, 3])
            .integers("indices", DType::I32, &[2], &[1, 1])
            .floats("updates", &[2, 3]),
        case("scatter")
            .floats("data", &[2, 4])
            .integers("indices", DType::I32, &[2, 1], &[1, -1])
            .floats("updates", &[2, 2, 1])
            .axis(1)
            .str("mode", "sub"),
        known(case("scatter").floats("data", &[4, 2]), &[2], &[3, 0])
            .floats("updates", &[2, 2])
            .str("mode", "update"),
        case("scatter_along_axis")
            .floats("data", &[2, 3])
            .integers("indices", DType::I32, &[2, 2], &[2, 2, -3, 1])
            .floats("updates", &[2, 2])
            .axis(1),
        known(case("scatter_along_axis").floats("data", &[2, 3]), &[2, 2], &[2, 1, 0, -1])
            .floats("updates", &[2, 2])
            .axis(-1)
            .str("mode", "update"),
        case("scatter_nd")
            .floats("data", &[3, 2])
            .integers("indices", DType::I32, &[2, 1], &[2, 2])
            .floats("updates", &[2, 2]),
        known(case("scatter_nd").floats("data", &[3, 2]), &[2, 2], &[2, 0, 0, 1])
            .floats("updates", &[2])
            .str("mode", "update"),
        case("scatter_nd")
            .integers("data", DType::I32, &[3], &[7, -7, 9])
            .integers("indices", DType::I32, &[3, 1], &[0, 1, 2])
            .integers("updates", DType::I32, &[3], &[2, 2, 0])
            .str("mode", "div"),
    ];
    // Modes without a gradient, on integers; the default mode has one.
    for mode in ["mul", "max", "min"] {
        let indices = case("scatter").integers("data", DType::I32, &[3], &[7, -7, 9]).integers(
            "indices",
            DType::I32,
            &[2],
            &[2, 0],
        );
        out.push(indices.integers("updates", DType::I32, &[2], &[3, -3]).str("mode", mode));
    }
    out
}
