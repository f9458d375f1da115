//! The same elements in other places and shapes.

use super::{Case, case};
use mil::{DType, Data, TensorType};

pub fn cases() -> Vec<Case> {
    let borders = |case: Case, name, values: [i64; 4]| {
        case.literal(name, TensorType::new(DType::I32, [2, 2]), Data::Int(values.to_vec()))
    };
    vec![
        // arrange
        case("reverse").x(&[2, 3]),
        case("reverse").x(&[2, 3, 2]).axes(&[-1, 0]),
        case("reverse").x(&[]),
        case("reverse_sequence")
            .x(&[3, 4, 2])
            .integers("lengths", DType::I32, &[3], &[4, 0, 2])
            .int("seq_axis", 1)
            .int("batch_axis", 0),
        case("reverse_sequence")
            .x(&[4, 3])
            .integers("lengths", DType::I8, &[3], &[3, 1, 9])
            .int("seq_axis", 0)
            .int("batch_axis", -1),
        case("band_part").x(&[3, 4]).int("lower", 1).int("upper", 0),
        case("band_part").x(&[2, 4, 3]).int("lower", -1).int("upper", 1),
        case("band_part").truths("x", &[3, 3]).int("lower", 0),
        case("sliding_windows").x(&[2, 7]).axis(1).int("size", 3).int("stride", 2),
        case("sliding_windows").x(&[5, 2]).axis(-2).int("size", 2),
        // shape
        case("flatten2d").x(&[2, 3, 2]).axis(-1),
        case("flatten2d").x(&[3]).axis(1),
        case("flatten2d").x(&[]).axis(0),
        case("reshape").x(&[2, 6]).ints("shape", &[1, 0, -1, 0]),
        case("reshape").x(&[0, 2]).ints("shape", &[2, -1]),
        case("reshape_like")
            .x(&[6, 10])
            .list("ref_tensors", &[&[2, 3, 4], &[1, 5, 2]])
            .numbers("begins", &[0, -2])
            .numbers("ends", &[2, 0])
            .flags("end_masks", &[false, true]),
        // space
        case("depth_to_space").x(&[1, 8, 2, 1]).int("block_size", 2),
        case("space_to_depth").x(&[2, 2, 2, 4]).int("block_size", 2),
        case("pixel_shuffle").x(&[1, 8, 2, 1]).int("upscale_factor", 2),
        case("pixel_unshuffle").x(&[1, 2, 4, 2]).literal(
            "downscale_factor",
            TensorType::scalar(DType::U32),
            Data::Int(vec![2]),
        ),
        borders(
            case("space_to_batch").x(&[2, 1, 3, 4]).ints("block_shape", &[2, 3]),
            "paddings",
            [1, 0, 0, 2],
        ),
        borders(case("batch_to_space").x(&[12, 1, 2, 2]).ints("block_shape", &[2, 3]), "crops", [1, 0, 0, 2]),
        // slice
        case("slice_by_size").x(&[3, 4]).ints("begin", &[1, 4]).ints("size", &[2, 0]),
        case("slice_by_index").x(&[3, 4]).ints("begin", &[1, 2]).ints("end", &[3, 2]),
        case("slice_by_index").x(&[3]).ints("begin", &[0]).ints("end", &[2]).ints("stride", &[-1]),
        case("slice_update")
            .x(&[3, 4])
            .floats("update", &[2, 2])
            .ints("begin", &[1, -3])
            .ints("end", &[3, -1]),
        case("slice_update")
            .x(&[2, 7])
            .floats("update", &[2])
            .ints("begin", &[0, 5])
            .ints("end", &[1, 0])
            .ints("stride", &[1, -3])
            .masks("begin_mask", &[true, false])
            .masks("end_mask", &[false, false])
            .masks("squeeze_mask", &[true, false]),
        case("slice_update").x(&[3]).floats("update", &[0]).ints("begin", &[1]).ints("end", &[1]),
        // join
        case("concat").list("values", &[&[], &[], &[]]).axis(0),
        case("concat").list("values", &[&[], &[]]).axis(-1).flag("interleave", true),
        case("concat").list("values", &[&[2, 0], &[2, 3]]).axis(1),
        case("gather").x(&[0, 3]).integers("indices", DType::I32, &[0], &[]).axis(0),
        case("split").x(&[3, 2]).ints("split_sizes", &[0, 2, 1]).axis(0),
    ]
}
