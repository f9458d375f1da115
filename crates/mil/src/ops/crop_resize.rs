//! Parts of images, each resized to one size.

use super::grid::{SAMPLING_MODES, grid, tent, written};
use super::resample::{image, positive};
use super::resize::one_of;
use super::unary::{equal_dtypes, one_number};
use crate::build::Var;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::op::{Absent, Axes, BOOL, Call, Eval, FLOATS, Grad, I32, OpDef, STR, Work, constant, tensor};
use crate::tensor::{Data, Tensor};
use crate::ty::{DType, Opset, Shape, TensorType};

/// `crop_resize(x, roi, target_height, target_width, normalized_coordinates, spatial_scale, box_coordinate_mode,
/// sampling_mode, pad_value)`, up to iOS16: the boxes of `roi` cut out of `x` `[B, C, H, W]` and resized linearly.
///
/// With `roi` `[N, 1, 4, 1, 1]` every box is cut out of every image: `[N, B, C, *target]`. With `[N, 1, 5, 1, 1]` the first
/// number selects the image, clamped to the valid range: `[N, 1, C, *target]`, as documented, though coremltools' type
/// rule says `B` for the 1. Boxes and points as in the later form, [`CROP_RESIZE_BOXES`].
/// Source: coremltools `iOS15` and, for `pad_value`, `iOS16/image_resizing.py`, class `crop_resize`.
pub static CROP_RESIZE: OpDef = OpDef {
    name: "crop_resize",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        tensor("roi", FLOATS),
        constant("target_height", I32).or(Absent::Int(1)),
        constant("target_width", I32).or(Absent::Int(1)),
        constant("normalized_coordinates", BOOL).or(Absent::Bool(false)),
        constant("spatial_scale", F32).or(Absent::Float(1.0)),
        constant("box_coordinate_mode", STR).or(Absent::Str("CORNERS_HEIGHT_FIRST")),
        constant("sampling_mode", STR).or(Absent::Str("DEFAULT")),
        constant("pad_value", FLOATS).or(Absent::Float(0.0)).since(Opset::Ios16),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        equal_dtypes(a, &["x", "roi", "pad_value"])?;
        let (x, [h, w]) = cut(a)?;
        let (n, images) = match a.ty("roi").shape.as_slice() {
            &[n, 1, 4, 1, 1] => (n, x.shape[0]),
            &[n, 1, 5, 1, 1] if x.shape[0] > 0 => (n, 1),
            other => {
                return Err(Reject::new(
                    "boxes",
                    "`crop_resize` needs `roi` as [N, 1, 4, 1, 1] or [N, 1, 5, 1, 1]",
                )
                .label("x", Shape(&x.shape).to_string())
                .label("roi", Shape(other).to_string()));
            }
        };
        Ok(vec![TensorType::new(x.dtype, [n, images, x.shape[1], h, w])])
    },
    eval: |a| {
        let roi = a.tensor("roi");
        let each = roi.ty.shape[2];
        let boxes: Vec<&[f64]> = roi.as_floats().chunks_exact(each).collect();
        let all = 0..a.ty("x").shape[0];
        let images = |b: &[f64]| if each == 4 { all.clone() } else { only(b[0], all.end) };
        crops(a, boxes.iter().map(|b| (&b[each - 4..], images(b))))
    },
    grad: Grad::Rule(|g| {
        let roi = g.data("roi").and_then(floats);
        let Some(roi) = roi.filter(|_| !g.wants("roi")) else {
            g.refuse(COMPUTED);
            return;
        };
        let (x, y) = (g.ty("x").clone(), g.output().shape());
        let each = g.ty("roi").shape[2];
        let boxes: Vec<&[f64]> = roi.chunks_exact(each).map(|b| &b[each - 4..]).collect();
        // Images become channels if each box is cropped from all of them.
        let dy = g.cotangent().reshape(&[y[0], y[1] * y[2], y[3], y[4]]);
        let Some(spread) = spread(g, dy, &boxes) else { return };
        let dx = if each == 4 {
            spread.reduce_sum(&[0], false).reshape(&x.shape)
        } else {
            let firsts = roi.chunks_exact(each).map(|b| only(b[0], x.shape[0]).start);
            to_images(spread, &x, firsts.collect())
        };
        g.give("x", dx);
    }),
};

/// `crop_resize(x, boxes, box_indices, target_height, target_width, normalized_coordinates, spatial_scale,
/// box_coordinate_mode, sampling_mode, pad_value)`, since iOS17: box `n` of `boxes` `[N, 4]` cut out of image
/// `box_indices[n]` of `x` `[B, C, H, W]` and resized linearly: `[N, C, *target]`.
///
/// Coordinates are pixels from 0 to `H − 1` and `W − 1`, or from 0 to 1 if normalized, times `spatial_scale`; a box given
/// by its centre reaches half its size to either side. Points lie in a box as those of `resize_bilinear` in an axis of
/// `|end − start| + 1` elements, from start to end even if the end is the smaller. Those outside of the image are
/// `pad_value`. Images that there are not are taken as the nearest.
/// Source: coremltools `iOS17/image_resizing.py`, class `crop_resize`.
pub static CROP_RESIZE_BOXES: OpDef = OpDef {
    name: "crop_resize",
    since: Opset::Ios17,
    params: &[
        tensor("x", FLOATS),
        tensor("boxes", &[DType::F16, DType::F32, DType::U16]),
        tensor("box_indices", &[DType::I32, DType::U16]).optional(),
        constant("target_height", I32).or(Absent::Int(1)),
        constant("target_width", I32).or(Absent::Int(1)),
        constant("normalized_coordinates", BOOL).or(Absent::Bool(false)),
        constant("spatial_scale", F32).or(Absent::Float(1.0)),
        constant("box_coordinate_mode", STR).or(Absent::Str("CORNERS_HEIGHT_FIRST")),
        constant("sampling_mode", STR).or(Absent::Str("DEFAULT")),
        constant("pad_value", FLOATS).or(Absent::Float(0.0)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: boxes_type,
    eval: |a| {
        let (boxes, images) = (a.tensor("boxes").to_floats(), a.ty("x").shape[0]);
        let given = a.has("box_indices").then(|| a.tensor("box_indices").as_ints());
        let image = |n: usize| given.map_or(n as i64, |v| v[n]);
        crops(a, boxes.chunks_exact(4).enumerate().map(|(n, b)| (b, only(image(n) as f64, images))))
    },
    grad: Grad::Rule(|g| {
        let boxes = g.data("boxes").and_then(floats);
        let given = g.has("box_indices");
        let indices = if given { g.data("box_indices") } else { None };
        let (Some(boxes), true) = (boxes, given == indices.is_some() && !g.wants("boxes")) else {
            g.refuse(COMPUTED);
            return;
        };
        let x = g.ty("x").clone();
        let images = match indices {
            Some(Data::Int(v)) => v.iter().map(|&i| only(i as f64, x.shape[0]).start).collect(),
            _ => (0..boxes.len() / 4).collect(),
        };
        let boxes: Vec<&[f64]> = boxes.chunks_exact(4).collect();
        let Some(spread) = spread(g, g.cotangent(), &boxes) else { return };
        g.give("x", to_images(spread, &x, images));
    }),
};

const F32: &[DType] = &[DType::F32];
const COMPUTED: &str = "its boxes must be constant and have no gradient";

const BOX_MODES: [&str; 4] =
    ["CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST"];

/// The type of `x` and the size of the parts, once all but the boxes is checked.
fn cut<'a>(a: &Call<'a>) -> Result<(&'a TensorType, [usize; 2]), Reject> {
    one_of(a, "box_coordinate_mode", &BOX_MODES)?;
    one_of(a, "sampling_mode", &SAMPLING_MODES)?;
    for name in ["spatial_scale", "pad_value"] {
        if a.has(name) {
            one_number(a, name)?;
        }
    }
    Ok((image(a)?, [positive(a, "target_height")?, positive(a, "target_width")?]))
}

fn boxes_type(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    equal_dtypes(a, &["x", "pad_value"])?;
    let (x, [h, w]) = cut(a)?;
    let refuse = |text: &str| {
        let reject = Reject::new("boxes", text.to_owned()).label("x", Shape(&x.shape).to_string());
        let given = ["boxes", "box_indices"].into_iter().filter(|n| a.has(n));
        given.fold(reject, |r, n| r.label(n, Shape(&a.ty(n).shape).to_string()))
    };
    let n = match a.ty("boxes").shape.as_slice() {
        &[n, 4] => n,
        _ => return Err(refuse("`crop_resize` needs `boxes` as [N, 4]")),
    };
    if a.bool("normalized_coordinates") && !a.ty("boxes").dtype.is_float() {
        return Err(refuse("`crop_resize` needs floats for boxes with normalized coordinates"));
    }
    if !a.has("box_indices") {
        if n > x.shape[0] {
            return Err(refuse("`crop_resize` has more boxes than images")
                .help("select the image of each box with `box_indices`"));
        }
    } else {
        let known = match a.data("box_indices") {
            Some(Data::Int(v)) => v.as_slice(),
            _ => &[],
        };
        let inside = |i: &i64| usize::try_from(*i).is_ok_and(|i| i < x.shape[0]);
        if a.ty("box_indices").shape != [n] || !known.iter().all(inside) || (n > 0 && x.shape[0] == 0) {
            return Err(refuse("`crop_resize` needs an image that there is for each box"));
        }
    }
    Ok(vec![TensorType::new(x.dtype, [n, x.shape[1], h, w])])
}

fn floats(data: &Data) -> Option<Vec<f64>> {
    match data {
        Data::Float(v) => Some(v.clone()),
        Data::Int(v) => Some(v.iter().map(|&i| i as f64).collect()),
        _ => None,
    }
}

/// Image `i` of `count`.
fn only(i: f64, count: usize) -> std::ops::Range<usize> {
    let i = (i as usize).min(count.saturating_sub(1));
    i..i + 1
}

/// Rows and columns, between pixels, at which the image is sampled for a box; none where that is outside.
fn points(a: &Call<'_>, of: &[f64], target: [usize; 2]) -> [Vec<Option<f64>>; 2] {
    let (mode, x) = (a.str("box_coordinate_mode"), &a.ty("x").shape);
    let axis = |i: usize| {
        let at = if mode.ends_with("WIDTH_FIRST") { 1 - i } else { i };
        let (first, second) = (of[at], of[at + 2]);
        let (start, end) = match mode.starts_with("CENTER") {
            true => (first - second / 2.0, first + second / 2.0),
            false => (first, second),
        };
        let last = (x[2 + i] - 1) as f64;
        let scale = a.float("spatial_scale") * if a.bool("normalized_coordinates") { last } else { 1.0 };
        let (start, end) = (start * scale, end * scale);
        let place = |p: f64| if end < start { start - p } else { start + p };
        let within = |p: f64| (0.0..=last).contains(&p).then_some(p);
        let each = grid(a.str("sampling_mode"), (end - start).abs() + 1.0, target[i]);
        each.into_iter().map(|p| within(place(p))).collect()
    };
    [axis(0), axis(1)]
}

/// Crops each box from its images.
fn crops<'v>(a: &Eval<'_>, boxes: impl Iterator<Item = (&'v [f64], std::ops::Range<usize>)>) -> Vec<Tensor> {
    let (x, rank) = (a.tensor("x"), a.out().rank());
    let (channels, h, w) = (x.ty.shape[1], x.ty.shape[2], x.ty.shape[3]);
    let (pad, target) = (a.float("pad_value"), [a.out().shape[rank - 2], a.out().shape[rank - 1]]);
    let mut data = Vec::with_capacity(a.out().elements());
    for (of, images) in boxes.take_while(|_| a.out().elements() > 0) {
        let [rows, columns] = points(a, of, target);
        for plane in images.flat_map(|i| i * channels..(i + 1) * channels) {
            let image = &x.as_floats()[plane * h * w..][..h * w];
            for row in &rows {
                data.extend(columns.iter().map(|column| match (row, column) {
                    (Some(y), Some(x)) => between(image, w, *y, *x),
                    _ => pad,
                }));
            }
        }
    }
    vec![Tensor { ty: a.out().clone(), data: Data::Float(data) }]
}

/// `image`, `w` wide, at a point within it.
fn between(image: &[f64], w: usize, y: f64, x: f64) -> f64 {
    let side = |p: f64| [(p as usize, 1.0 - p.fract()), (p as usize + 1, p.fract())];
    let mut sum = 0.0;
    for (row, part) in side(y).into_iter().filter(|t| t.1 != 0.0) {
        for (column, of) in side(x).into_iter().filter(|t| t.1 != 0.0) {
            sum += image[row * w + column] * part * of;
        }
    }
    sum
}

/// The cotangent `dy` `[N, K, *target]` of boxes spread over their images, `[N, K, H, W]`; `None`, with zeros given, if
/// there is nothing to spread.
fn spread<'b>(g: &mut GradCall<'_, 'b>, dy: Var<'b>, boxes: &[&[f64]]) -> Option<Var<'b>> {
    // y = V·x·Uᵀ with the tents of rows and columns  ⇒  dx = Vᵀ·dy·U
    let x = g.ty("x").clone();
    if x.elements() == 0 || g.output().ty().elements() == 0 {
        let none = super::parts::zeros(g, &x);
        g.give("x", none);
        return None;
    }
    let shape = dy.shape();
    let all: Vec<_> = boxes.iter().map(|b| points(g, b, [shape[2], shape[3]])).collect();
    let tents = |axis: usize| {
        // Far outside, where a tent has no pixel.
        let places = all.iter().flat_map(|p| &p[axis]).map(|p| p.unwrap_or(-9.0));
        tent(written(dy, &[shape[0], 1, shape[2 + axis], 1], places), x.shape[2 + axis], x.dtype)
    };
    Some(tents(0).matmul(dy, true, false).matmul(tents(1), false, false))
}

/// The sum of `spread` `[N, C, H, W]` for each image of type `x`, box `n` being of image `images[n]`.
fn to_images<'b>(spread: Var<'b>, x: &TensorType, images: Vec<usize>) -> Var<'b> {
    let chosen = (0..x.shape[0]).flat_map(|b| images.iter().map(move |&i| f64::from(u8::from(i == b))));
    let chosen = written(spread, &[x.shape[0], images.len()], chosen.collect::<Vec<_>>());
    let chosen = if x.dtype == DType::F32 { chosen } else { chosen.cast(x.dtype) };
    let pixels = x.shape[1..].iter().product();
    chosen.matmul(spread.reshape(&[images.len(), pixels]), false, false).reshape(&x.shape)
}
