//! Images cut, resized and sampled.

use super::{Case, case};
use mil::{DType, Data, TensorType};

/// The cases: larger and smaller, each mode, one element, sizes that no scale divides.
#[expect(clippy::too_many_lines, reason = "a table")]
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
    let modes = ["unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one"];
    for (i, padding) in ["constant", "border", "reflection", "symmetric"].into_iter().enumerate() {
        for sampling in ["bilinear", "nearest"] {
            for (j, mode) in modes.into_iter().enumerate() {
                let case = case("resample").x(&[2, 2, 3, 2 + j]);
                // Nearest pixels jump where differences may fall.
                let case = match sampling {
                    "nearest" => {
                        let places = (0..24).map(|k| 0.3 * f64::from(k) - 3.1).collect();
                        case.literal(
                            "coordinates",
                            TensorType::new(DType::F32, [2, 2, 3, 2]),
                            Data::Float(places),
                        )
                    }
                    _ => case.floats("coordinates", &[2, 2, 1 + i.min(2), 2]),
                };
                let case = case.str("sampling_mode", sampling).str("padding_mode", padding);
                let case = case.float("padding_value", 0.5 * i as f64).str("coordinates_mode", mode);
                out.push(case.flag("align_corners", (i + j) % 2 == 0));
            }
        }
    }
    let still = |case: Case| {
        let case = case.str("sampling_mode", "bilinear").str("padding_mode", "constant");
        case.float("padding_value", 2.0).str("coordinates_mode", "unnormalized").flag("align_corners", true)
    };
    out.extend([
        still(case("resample").x(&[1, 1, 2, 2]).integers(
            "coordinates",
            DType::I8,
            &[1, 1, 2, 2],
            &[1, 0, -1, 2],
        )),
        still(case("resample").x(&[2, 1, 1, 4]).scaled(3.0).floats("coordinates", &[2, 1, 3, 2])),
    ]);
    let nearest = case("resample")
        .x(&[1, 1, 3, 4])
        .floats("coordinates", &[1, 2, 1, 2])
        .str("sampling_mode", "nearest");
    let nearest = nearest.str("padding_mode", "border").float("padding_value", 2.0);
    out.push(nearest.str("coordinates_mode", "unnormalized").flag("align_corners", true));
    for (rows, align) in [(1, true), (2, false), (2, true)] {
        let case = case("affine").x(&[2, 2, 3, 4]).floats("transform_matrix", &[rows, 6]);
        let case = case.int("output_height", 2).int("output_width", 3).str("sampling_mode", "bilinear");
        let case = case.str("padding_mode", "constant").float("padding_value", 0.0);
        out.push(case.str("coordinates_mode", "normalized_minus_one_to_one").flag("align_corners", align));
    }
    // iOS17 is the newest form.
    let boxed = |case: Case, values: &[f64]| {
        let ty = TensorType::new(DType::F32, [values.len() / 4, 4]);
        case.literal("boxes", ty, Data::Float(values.to_vec()))
    };
    let indexed = |case: Case, values: &[i64]| {
        let ty = TensorType::new(DType::I32, [values.len()]);
        case.literal("box_indices", ty, Data::Int(values.to_vec()))
    };
    let boxes = [0.25, 0.0, 2.5, 1.75, 1.0, 3.0, -0.5, 0.5, 0.0, 0.0, 2.0, 9.0];
    for mode in ["DEFAULT", "STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "UNALIGN_CORNERS", "OFFSET_CORNERS"] {
        let case = indexed(boxed(case("crop_resize").x(&[2, 2, 3, 4]), &boxes), &[1, 0, 1]);
        let case = case.int("target_height", 3).int("target_width", 2).str("sampling_mode", mode);
        out.push(case.str("box_coordinate_mode", "CORNERS_WIDTH_FIRST").float("pad_value", 0.75));
    }
    let (scale, scaled) = number(0.75);
    let center = boxed(case("crop_resize").x(&[2, 1, 3, 4]), &[0.5, 0.5, 0.25, 1.0])
        .int("target_width", 3)
        .flag("normalized_coordinates", true);
    out.extend([
        center.clone().str("box_coordinate_mode", "CENTER_SIZE_HEIGHT_FIRST"),
        center.literal("spatial_scale", scale, scaled).str("box_coordinate_mode", "CENTER_SIZE_WIDTH_FIRST"),
        case("crop_resize").x(&[1, 1, 3, 4]).floats("boxes", &[1, 4]).int("target_height", 2).refused(),
        case("crop_resize").x(&[1, 1, 3, 4]).integers("boxes", DType::U16, &[1, 4], &[0, 1, 2, 3]).refused(),
    ]);
    out
}
