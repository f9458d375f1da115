//! Images cut, resized and sampled.

use super::{Case, case};
use mil::{DType, Data, TensorType};

/// The cases: larger and smaller, each mode, one element, sizes that no scale divides.
pub fn cases() -> Vec<Case> {
    let number = |value: f64| (TensorType::scalar(DType::F32), Data::Float(vec![value]));
    let scales = |case: Case, height: f64, width: f64| {
        let ((ty, h), (_, w)) = (number(height), number(width));
        case.literal("scale_factor_height", ty.clone(), h).literal("scale_factor_width", ty, w)
    };
    let count = |n: i64| (TensorType::scalar(DType::U32), Data::Int(vec![n]));
    let resized = |case: Case, shape: &[i64], n: i64| {
        let (ty, data) = count(n);
        case.ints("shape", shape).literal("resized_dims", ty, data)
    };
    let mut out = vec![
        case("upsample_nearest_neighbor")
            .x(&[1, 2, 3])
            .int("scale_factor_height", 2)
            .int("scale_factor_width", 3),
        scales(case("upsample_nearest_neighbor").x(&[1, 1, 3, 5]), 1.5, 0.67),
        case("upsample_bilinear").x(&[2, 2, 3]).int("scale_factor_height", 2).int("scale_factor_width", 1),
        scales(case("upsample_bilinear").x(&[1, 2, 3, 4]), 0.5, 1.75).flag("align_corners", true),
        scales(case("upsample_bilinear").x(&[1, 1, 3, 4]), 1.5, 0.75)
            .flag("align_corners", false)
            .flag("half_pixel_centers", true),
        scales(case("upsample_bilinear").x(&[1, 1, 3, 2]), 2.0, 2.5)
            .flag("align_corners", false)
            .flag("half_pixel_centers", false),
        case("resize_nearest_neighbor")
            .x(&[1, 2, 3, 4])
            .int("target_size_height", 5)
            .int("target_size_width", 3),
        resized(case("resize").x(&[2, 3, 4]), &[7, 0, 6], 2)
            .str("interpolation_mode", "LINEAR")
            .str("sampling_mode", "DEFAULT"),
        resized(case("resize").x(&[2, 3]), &[3, 2], 2)
            .str("interpolation_mode", "NEAREST_NEIGHBOR")
            .str("sampling_mode", "STRICT_ALIGN_CORNERS"),
        resized(case("resize").x(&[3]), &[7], 0).str("interpolation_mode", "NEAREST_NEIGHBOR"),
        resized(case("resize").integers("x", DType::I32, &[1, 3], &[1, 4, -8]), &[5], 1),
        case("crop").x(&[1, 4, 5]).ints("crop_height", &[1, 0]).ints("crop_width", &[2, 1]),
        case("crop").x(&[2, 1, 3, 3]).ints("crop_height", &[0, 0]).ints("crop_width", &[0, 2]),
    ];
    for mode in ["DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "OFFSET_CORNERS"] {
        let to = |height: i64, width: i64| {
            let x = case("resize_bilinear").x(&[1, 2, 3, 4]);
            x.int("target_size_height", height).int("target_size_width", width).str("sampling_mode", mode)
        };
        out.extend([to(5, 2), to(1, 7)]);
        let nearest = resized(case("resize").x(&[1, 3, 5]), &[4, 3], 2);
        out.push(nearest.str("interpolation_mode", "NEAREST_NEIGHBOR").str("sampling_mode", mode));
    }
    out
}
