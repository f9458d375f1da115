//! Tensors that are made; sums and orders along an axis; sums by the names of axes.

use super::{Case, case};
use mil::{DType, Data, TensorType};

pub fn cases() -> Vec<Case> {
    vec![
        // fill
        case("shape").x(&[2, 3, 0]),
        case("shape").x(&[2, 3]).str("output_dtype", "int16"),
        case("shape").x(&[]).str("output_dtype", "uint16"),
        case("range_1d").int("end", 7).int("start", -2).int("step", 3),
        case("range_1d").int("end", -3).int("start", 2).int("step", -1),
        case("range_1d").float("end", 1.0).float("start", 0.0).float("step", 0.25),
        case("range_1d").int("end", 0).int("start", 5).int("step", 1),
        case("fill").ints("shape", &[2, 3]).float("value", 0.5),
        case("fill").ints("shape", &[4]).int("value", -7),
        case("fill").ints("shape", &[0, 2]).flag("value", true),
        case("fill").ints("shape", &[]),
        case("fill_like").floats("ref_tensor", &[2, 3]).float("value", 0.5),
        case("fill_like").floats("ref_tensor", &[2, 100]).flag("value", true),
        case("one_hot").integers("indices", DType::I32, &[4], &[2, 0, -1, 3]).int("one_hot_vector_size", 3),
        case("one_hot")
            .integers("indices", DType::I32, &[2, 2], &[2, 0, 1, 0])
            .int("one_hot_vector_size", 3)
            .axis(1)
            .float("on_value", 2.0)
            .float("off_value", -1.0),
        case("one_hot")
            .integers("indices", DType::I32, &[], &[1])
            .int("one_hot_vector_size", 2)
            .axis(-1)
            .flag("on_value", false)
            .flag("off_value", true),
        case("non_zero").literal(
            "x",
            TensorType::new(DType::I32, [2, 3]),
            Data::Int(vec![0, 1, 2, 0, 0, -3]),
        ),
        case("non_zero").literal("x", TensorType::new(DType::Bool, [2]), Data::Bool(vec![false, false])),
        // order
        case("cumsum").x(&[2, 4]).axis(1),
        case("cumsum").x(&[3, 2]).axis(0).flag("exclusive", true),
        case("cumsum").x(&[2, 3, 2]).axis(-2).flag("reverse", true),
        case("cumsum").x(&[4]).axis(-1).flag("exclusive", true).flag("reverse", true),
        case("cumsum").integers("x", DType::I32, &[3], &[1, i32::MAX as i64, 3]),
        case("topk").x(&[2, 5]).int("k", 2),
        case("topk").x(&[4, 2, 3]).int("k", 3).axis(0).flag("ascending", true),
        case("topk").x(&[2, 5]).int("k", 2).axis(1).flag("sort", false).flag("return_indices", false),
        case("topk")
            .x(&[3, 4, 2])
            .int("k", -1)
            .axis(-2)
            .flag("return_indices", true)
            .str("output_indices_dtype", "uint16"),
        case("topk").integers("x", DType::U8, &[4], &[7, 255, 7, 0]).int("k", 3),
        case("argsort").x(&[2, 5]),
        case("argsort").x(&[3, 2]).axis(0).flag("ascending", true),
        case("argsort").integers("x", DType::I32, &[4], &[7, -1, 7, 0]),
        // einsum
        case("einsum").list("values", &[&[2, 2, 3, 4], &[2, 4, 3, 2]]).str("equation", "nchw,nwhu->nchu"),
        case("einsum").list("values", &[&[1, 2, 3, 4], &[2, 4, 1, 2]]).str("equation", "bcxw, bwxz -> bcxz"),
        case("einsum").list("values", &[&[2, 3, 4], &[4, 3, 2]]).str("equation", "chw,whr->chr"),
        case("einsum").list("values", &[&[2, 3], &[3, 4]]).str("equation", "ij,jk->ki"),
        case("einsum").list("values", &[&[2, 3], &[2, 3]]).str("equation", "ij,ij->"),
        case("einsum").list("values", &[&[2], &[3]]).str("equation", "i,j->ji"),
        case("einsum").list("values", &[&[2, 3, 2], &[4, 2]]).str("equation", "iaj,bj->ja"),
        case("einsum").list("values", &[&[], &[2]]).str("equation", ",i->i"),
    ]
}
