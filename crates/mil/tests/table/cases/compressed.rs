//! Weights in few bits.

use super::{Case, case};
use mil::{DType, Data, TensorType};

pub fn cases() -> Vec<Case> {
    let halves =
        |shape: &[usize], values: &[f64]| (TensorType::new(DType::F16, shape), Data::Float(values.to_vec()));
    let with = |case: Case, name, (ty, data)| case.literal(name, ty, data);
    vec![
        case("constexpr_blockwise_shift_scale")
            .integers("data", DType::I4, &[2, 4], &[-8, 7, 0, 1, 2, 3, -1, 5])
            .floats("scale", &[2, 2])
            .integers("offset", DType::I4, &[2, 2], &[0, 1, -2, 3])
            .refused(),
        case("constexpr_blockwise_shift_scale")
            .integers("data", DType::U8, &[3], &[0, 128, 255])
            .floats("scale", &[1])
            .refused(),
        with(
            case("constexpr_lut_to_dense").integers("indices", DType::U1, &[2, 2], &[0, 1, 1, 0]),
            "lut",
            halves(&[1, 2, 2, 1], &[1.0, 2.0, 3.0, 4.0]),
        ),
        with(
            case("constexpr_lut_to_dense").integers("indices", DType::U1, &[2, 2], &[0, 1, 1, 0]),
            "lut",
            halves(&[1, 1, 2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        )
        .int("vector_axis", -1),
        with(
            case("constexpr_sparse_to_dense").literal(
                "mask",
                TensorType::new(DType::U1, [2, 2]),
                Data::Int(vec![1, 0, 0, 1]),
            ),
            "nonzero_data",
            halves(&[2], &[1.5, 2.5]),
        ),
        with(
            case("constexpr_lut_to_sparse")
                .literal("indices_mask", TensorType::new(DType::U1, [2, 2]), Data::Int(vec![1, 0, 1, 1]))
                .integers("indices_nonzero_data", DType::U1, &[3], &[0, 1, 1]),
            "lut",
            halves(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]),
        )
        .int("vector_axis", 0),
        case("constexpr_sparse_blockwise_shift_scale")
            .literal("data_mask", TensorType::new(DType::U1, [2, 2]), Data::Int(vec![1, 0, 1, 1]))
            .integers("nonzero_data", DType::I8, &[3], &[10, -11, 3])
            .floats("scale", &[1, 2])
            .integers("offset", DType::I8, &[1, 2], &[1, 2])
            .refused(),
        case("constexpr_cast")
            .literal("source_val", TensorType::new(DType::F16, [2]), Data::Float(vec![0.5, -2.0]))
            .str("output_dtype", "fp32"),
    ]
}
