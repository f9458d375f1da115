//! Images under affine maps.

use super::grid::written;
use super::resample::{Scheme, gives_nothing, image, positive, sampled, sampled_gradient, size};
use super::resize::one_of;
use super::unary::{equal_dtypes, one_number};
use crate::build::{Input, Var};
use crate::diag::Reject;
use crate::op::{Axes, BOOL, Call, FLOATS, Grad, I32, OpDef, STR, Work, constant, tensor};
use crate::ty::{DType, Opset, Shape, TensorType};

/// `affine(x, transform_matrix, output_height, output_width, sampling_mode, padding_mode, padding_value,
/// coordinates_mode, align_corners)`: `x` `[B, C, H, W]` at `(a₀·x + a₁·y + a₂, b₀·x + b₁·y + b₂)` for each point
/// `(x, y)` of the result, 0 beyond the image.
///
/// Both images reach from −1 to 1, to the middle of their outermost pixels with `align_corners`, else to their outer
/// edges. `transform_matrix` is `[B, 6]` or `[1, 6]`, in each row `a₀ a₁ a₂ b₀ b₁ b₂`.
/// Source: coremltools `iOS15/image_resizing.py`, class `affine`; as there, other modes of sampling are refused, but not
/// `align_corners = false`, for which PyTorch's `affine_grid` is followed.
pub static AFFINE: OpDef = OpDef {
    name: "affine",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        tensor("transform_matrix", FLOATS),
        constant("output_height", I32),
        constant("output_width", I32),
        constant("sampling_mode", STR),
        constant("padding_mode", STR),
        constant("padding_value", FLOATS),
        constant("coordinates_mode", STR),
        constant("align_corners", BOOL),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: affine_type,
    eval: |a| {
        let (scheme, [h, w]) = (Scheme::of(a), size(a));
        if a.out().elements() == 0 {
            return sampled(a, &scheme, &[]);
        }
        let matrix = a.tensor("transform_matrix");
        let (xs, ys) = (scheme.middles(a.out().shape[3]), scheme.middles(a.out().shape[2]));
        let rows = (0..a.out().shape[0]).map(|b| if matrix.ty.shape[0] == 1 { 0 } else { b });
        let mut points = Vec::new();
        for m in rows.filter_map(|row| matrix.as_floats().get(row * 6..row * 6 + 6)) {
            for y in &ys {
                let to = |x: &f64| {
                    [(m[0] * x + m[1] * y + m[2], w), (m[3] * x + m[4] * y + m[5], h)]
                        .map(|(c, size)| scheme.pixel(c, size))
                };
                points.extend(xs.iter().map(to));
            }
        }
        sampled(a, &scheme, &points)
    },
    grad: Grad::Rule(|g| {
        if gives_nothing(g, "transform_matrix") {
            return;
        }
        // The points are P·Tᵀ with P[p] = (x, y, 1)  ⇒  dT = dcᵀ·P
        let (scheme, y, matrix) = (Scheme::of(g), g.output().shape(), g.arg("transform_matrix"));
        let (h, w, rows, dtype) = (y[2], y[3], matrix.shape()[0], matrix.ty().dtype);
        let wide = matrix.reshape(&[rows, 2, 3]);
        let wide = if dtype == DType::F32 { wide } else { wide.cast(DType::F32) };
        let tiled = |v, reps: [usize; 2]| {
            let reps: Vec<i64> = reps.iter().map(|&n| n as i64).collect();
            g.builder().op("tile", [("x", Input::Var(v)), ("reps", reps.into())]).reshape(&[h * w, 1])
        };
        let xs = tiled(written(wide, &[1, w], scheme.middles(w)), [h, 1]);
        let ys = tiled(written(wide, &[h, 1], scheme.middles(h)), [1, w]);
        let ones = tiled(written(wide, &[1, 1], [1.0]), [h * w, 1]);
        let Some(places) = Var::concat(vec![xs, ys, ones], 1) else { return };
        let places = places.reshape(&[1, h * w, 3]);
        if let Some(d) = sampled_gradient(g, &scheme, places.matmul(wide, false, true), "transform_matrix") {
            let d = d.matmul(places, true, false); // [B, 2, 3]
            let d = if rows == 1 { d.reduce_sum(&[0], true) } else { d };
            let d = d.reshape(&[rows, 6]);
            g.give("transform_matrix", if dtype == DType::F32 { d } else { d.cast(dtype) });
        }
    }),
};

fn affine_type(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    equal_dtypes(a, &["x", "transform_matrix", "padding_value"])?;
    // coremltools compares these without regard to case.
    for (name, only) in [
        ("sampling_mode", "bilinear"),
        ("padding_mode", "constant"),
        ("coordinates_mode", "normalized_minus_one_to_one"),
    ] {
        if !a.str(name).eq_ignore_ascii_case(only) {
            one_of(a, name, &[only])?;
        }
    }
    one_number(a, "padding_value")?;
    if a.float("padding_value") != 0.0 {
        return Err(Reject::new("padding-value", "`affine` pads only with 0")
            .label("padding_value", a.float("padding_value").to_string()));
    }
    let x = image(a)?;
    match a.ty("transform_matrix").shape.as_slice() {
        &[rows, 6] if rows == 1 || rows == x.shape[0] => {}
        other => {
            return Err(Reject::new(
                "transform-matrix",
                "`affine` needs six numbers for each image, or for all",
            )
            .label("x", Shape(&x.shape).to_string())
            .label("transform_matrix", Shape(other).to_string())
            .help("`transform_matrix` is [B, 6] or [1, 6]"));
        }
    }
    let height = positive(a, "output_height")?;
    Ok(vec![TensorType::new(x.dtype, [x.shape[0], x.shape[1], height, positive(a, "output_width")?])])
}
