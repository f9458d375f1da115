//! Images cut and resized along their axes.
//!
//! Resizing works along one axis after another: sample `i` of an axis is the nearest element to a point, or an
//! interpolation of the two elements around it.

use super::grid::{SAMPLING_MODES, Sampling, Tap, tent, written};
use super::parts::{between_zeros, zeros};
use super::unary::{equal_dtypes, one_number};
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::op::{
    Absent, Axes, BOOL, Call, Eval, FLOATS, Grad, I32, NUMBERS, OpDef, STR, Work, constant, known, tensor,
};
use crate::tensor::{Data, Tensor, flatten, strides};
use crate::ty::{DType, Opset, Shape, TensorType};

/// `upsample_nearest_neighbor(x, scale_factor_height, scale_factor_width)`: element `⌊i·X/N⌋` along the last two axes,
/// where `X` elements become `N = ⌊X·scale⌋`; the product in fp32.
/// Source: coremltools `iOS15/image_resizing.py`, class `upsample_nearest_neighbor`; which element from its tests with
/// fractional scales and from PyTorch's `nearest`, which its frontend gives to it.
pub static UPSAMPLE_NEAREST_NEIGHBOR: OpDef = OpDef {
    name: "upsample_nearest_neighbor",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        constant("scale_factor_height", SCALES).or(Absent::Int(1)),
        constant("scale_factor_width", SCALES).or(Absent::Int(1)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| Ok(vec![Plan::of(a)?.out]),
    eval: resized,
    grad: Grad::Rule(resized_gradient),
};

/// `upsample_bilinear(x, scale_factor_height, scale_factor_width, align_corners, half_pixel_centers)`: linear between
/// elements, along the last two axes; `X` elements become `N = ⌊X·scale⌋`, the product in fp32.
///
/// ```text
/// align_corners                             i·(X − 1)/(N − 1)
/// half_pixel_centers (iOS16), else assumed  (i + ½)·X/N − ½
/// neither                                   i·X/N
/// ```
/// Source: coremltools `iOS15` and, for `half_pixel_centers`, `iOS16/image_resizing.py`, class `upsample_bilinear`.
pub static UPSAMPLE_BILINEAR: OpDef = OpDef {
    name: "upsample_bilinear",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        constant("scale_factor_height", SCALES).or(Absent::Int(1)),
        constant("scale_factor_width", SCALES).or(Absent::Int(1)),
        constant("align_corners", BOOL).or(Absent::Bool(true)),
        constant("half_pixel_centers", BOOL).optional().since(Opset::Ios16),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| Ok(vec![Plan::of(a)?.out]),
    eval: resized,
    grad: Grad::Rule(resized_gradient),
};

/// `resize_nearest_neighbor(x, target_size_height, target_size_width)`: element `⌊(i + ½)·X/N⌋` of `X` along the last two
/// axes, for `N` results.
/// Source: coremltools `iOS15/image_resizing.py`, class `resize_nearest_neighbor`; which element from its TensorFlow
/// frontend, which uses it for `half_pixel_centers`.
pub static RESIZE_NEAREST_NEIGHBOR: OpDef = OpDef {
    name: "resize_nearest_neighbor",
    since: Opset::Ios15,
    params: &[tensor("x", FLOATS), constant("target_size_height", I32), constant("target_size_width", I32)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| Ok(vec![Plan::of(a)?.out]),
    eval: resized,
    grad: Grad::Rule(resized_gradient),
};

/// `resize_bilinear(x, target_size_height, target_size_width, sampling_mode)`: linear between the `X` elements along the
/// last two axes, at `N` points within them.
///
/// ```text
/// STRICT_ALIGN_CORNERS  i·(X − 1)/(N − 1)
/// ALIGN_CORNERS         the same, but (X − 1)/2 if N = 1
/// UNALIGN_CORNERS       (i + ½)·X/N − ½
/// DEFAULT               i·X/N
/// OFFSET_CORNERS        (i + ½)·max(1, X − 1)/N
/// ```
/// Source: coremltools `iOS15/image_resizing.py`, class `resize_bilinear`.
pub static RESIZE_BILINEAR: OpDef = OpDef {
    name: "resize_bilinear",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        constant("target_size_height", I32).or(Absent::Int(1)),
        constant("target_size_width", I32).or(Absent::Int(1)),
        constant("sampling_mode", STR).or(Absent::Str("DEFAULT")),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| Ok(vec![Plan::of(a)?.out]),
    eval: resized,
    grad: Grad::Rule(resized_gradient),
};

/// `resize(x, shape, resized_dims, interpolation_mode, sampling_mode)`: the last `resized_dims` axes get the sizes at the
/// end of `shape`, 0 for the size they have.
///
/// `LINEAR` takes the points of `resize_bilinear`, and rounds integers to the nearest, halves to even;
/// `NEAREST_NEIGHBOR` takes element `⌊(i + ½)·X/N⌋` in modes `DEFAULT` and `UNALIGN_CORNERS`, in the others the one
/// nearest to the point, the later of two.
/// Source: coremltools `iOS17/image_resizing.py`, class `resize`; the nearest as for `resize_nearest_neighbor`.
pub static RESIZE: OpDef = OpDef {
    name: "resize",
    since: Opset::Ios17,
    params: &[
        tensor("x", NUMBERS),
        known("shape", &[DType::I32, DType::I16, DType::U16, DType::U32]),
        constant("resized_dims", &[DType::U32]),
        constant("interpolation_mode", STR).or(Absent::Str("LINEAR")),
        constant("sampling_mode", STR).or(Absent::Str("DEFAULT")),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| Ok(vec![Plan::of(a)?.out]),
    eval: resized,
    grad: Grad::Rule(resized_gradient),
};

/// `crop(x, crop_height, crop_width)`: `x` without as many rows above and below, columns left and right.
/// Source: coremltools `iOS15/image_resizing.py`, class `crop`.
pub static CROP: OpDef = OpDef {
    name: "crop",
    since: Opset::Ios15,
    params: &[tensor("x", FLOATS), constant("crop_height", I32), constant("crop_width", I32)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| Ok(vec![TensorType::new(a.ty("x").dtype, cropped(a)?.1)]),
    eval: |a| {
        let (x, (begin, _)) = (a.tensor("x"), cropped(a).unwrap_or_default());
        let steps = strides(&x.ty.shape);
        let start = flatten(&begin, &steps);
        vec![x.gathered(a.out().clone(), |index| start + flatten(index, &steps))]
    },
    grad: Grad::Rule(|g| {
        // dx is dy between zeros
        let (begin, size) = cropped(g).unwrap_or_default();
        let dx = between_zeros(g, g.cotangent(), &begin, size);
        g.give("x", dx);
    }),
};

const SCALES: &[DType] = &[DType::I32, DType::F32];

/// Sizes from 1 to this keep the arithmetic of points exact.
const LONGEST_AXIS: usize = i32::MAX as usize;

/// Which axes are resized, and how.
struct Plan<'a> {
    sampling: Sampling<'a>,
    first: usize,
    out: TensorType,
}

impl<'a> Plan<'a> {
    fn of(a: &Call<'a>) -> Result<Plan<'a>, Reject> {
        let (sampling, sizes) = match a.op.name() {
            "resize" => return Plan::of_shape(a),
            "upsample_nearest_neighbor" => (Sampling::Repeated, scaled(a)?),
            "upsample_bilinear" => {
                let align = a.bool("align_corners");
                let half = if a.has("half_pixel_centers") { a.bool("half_pixel_centers") } else { !align };
                let mode = match (align, half) {
                    (true, true) => {
                        return Err(Reject::new(
                            "pixel-centers",
                            "`upsample_bilinear` cannot keep both corners and centres",
                        )
                        .label("align_corners", "true")
                        .label("half_pixel_centers", "true")
                        .help("set one of them to false"));
                    }
                    (true, false) => "STRICT_ALIGN_CORNERS",
                    (false, true) => "UNALIGN_CORNERS",
                    (false, false) => "DEFAULT",
                };
                (Sampling::Linear(mode), scaled(a)?)
            }
            "resize_bilinear" => {
                one_of(a, "sampling_mode", &SAMPLING_MODES)?;
                (Sampling::Linear(a.str("sampling_mode")), targets(a)?)
            }
            _ => (Sampling::Nearest("DEFAULT"), targets(a)?),
        };
        Plan::to(a, sampling, &sizes)
    }

    fn of_shape(a: &Call<'a>) -> Result<Plan<'a>, Reject> {
        one_of(a, "interpolation_mode", &["LINEAR", "NEAREST_NEIGHBOR"])?;
        one_of(a, "sampling_mode", &SAMPLING_MODES)?;
        one_number(a, "resized_dims")?;
        let (x, ty, shape) = (a.ty("x"), a.ty("shape"), a.ints("shape"));
        let count = usize::try_from(a.int("resized_dims")).ok().filter(|&n| n <= shape.len());
        let Some(count) = count.filter(|_| ty.rank() == 1 && shape.len() <= x.rank()) else {
            return Err(Reject::new("resized-axes", "`resize` needs one size for each resized axis")
                .label("x", format!("{} axes", x.rank()))
                .label("shape", Shape(&ty.shape).to_string())
                .label("resized_dims", a.int("resized_dims").to_string())
                .help("`shape` is a list, no longer than `x` has axes and no shorter than `resized_dims`"));
        };
        let kept = &x.shape[x.rank() - count..];
        let asked = &shape[shape.len() - count..];
        let sizes: Vec<i64> =
            kept.iter().zip(asked).map(|(&d, &n)| if n == 0 { d as i64 } else { n }).collect();
        let mode = a.str("sampling_mode");
        let linear = a.str("interpolation_mode") == "LINEAR";
        Plan::to(a, if linear { Sampling::Linear(mode) } else { Sampling::Nearest(mode) }, &sizes)
    }

    /// The last axes get `sizes`.
    fn to(a: &Call<'a>, sampling: Sampling<'a>, sizes: &[i64]) -> Result<Plan<'a>, Reject> {
        let x = a.ty("x");
        let first = x.rank() - sizes.len();
        let mut shape = x.shape.clone();
        for (axis, &n) in (first..).zip(sizes) {
            let fits = |d: &usize| (1..=LONGEST_AXIS).contains(d);
            match usize::try_from(n).ok().filter(fits).filter(|_| fits(&shape[axis])) {
                Some(n) => shape[axis] = n,
                None => {
                    return Err(Reject::new(
                        "resize-size",
                        format!("`{}` cannot make {n} elements of {}", a.op.name(), shape[axis]),
                    )
                    .label("x", Shape(&x.shape).to_string())
                    .help("resized axes have sizes from 1 to 2³¹ − 1, before and after"));
                }
            }
        }
        Ok(Plan { sampling, first, out: TensorType::new(x.dtype, shape) })
    }
}

/// Refuses a constant `name` that is not among `known`.
pub(super) fn one_of(a: &Call<'_>, name: &'static str, known: &[&str]) -> Result<(), Reject> {
    let given = a.str(name);
    if known.contains(&given) {
        return Ok(());
    }
    let list: Vec<String> = known.iter().map(|k| format!("`{k}`")).collect();
    Err(Reject::new("unknown-mode", format!("`{}` has no `{name}` `{given}`", a.op.name()))
        .label(name, "no mode of this operation")
        .help(format!("use {}", list.join(", "))))
}

/// Refuses images without height and width.
fn planes(a: &Call<'_>) -> Result<(), Reject> {
    let rank = a.ty("x").rank();
    if rank >= 3 {
        return Ok(());
    }
    Err(Reject::new("rank", format!("`{}` needs `x` as [C, H, W], or with more axes in front", a.op.name()))
        .label("x", format!("{rank} axes")))
}

/// Height and width from scale factors.
fn scaled(a: &Call<'_>) -> Result<[i64; 2], Reject> {
    planes(a)?;
    const NAMES: [&str; 2] = ["scale_factor_height", "scale_factor_width"];
    equal_dtypes(a, &NAMES)?;
    let size = |i: usize| -> Result<i64, Reject> {
        let d = a.ty("x").shape[a.ty("x").rank() - 2 + i];
        if a.has(NAMES[i]) {
            one_number(a, NAMES[i])?;
        }
        Ok(match a.data(NAMES[i]) {
            Some(Data::Float(_)) => (a.float(NAMES[i]) as f32 * d as f32).floor() as i64,
            _ => i64::try_from(d).ok().and_then(|d| d.checked_mul(a.int(NAMES[i]))).unwrap_or(-1),
        })
    };
    Ok([size(0)?, size(1)?])
}

/// The requested height and width.
fn targets(a: &Call<'_>) -> Result<[i64; 2], Reject> {
    planes(a)?;
    for name in ["target_size_height", "target_size_width"] {
        if a.has(name) {
            one_number(a, name)?;
        }
    }
    Ok(["target_size_height", "target_size_width"].map(|name| a.int(name)))
}

fn resized(a: &Eval<'_>) -> Vec<Tensor> {
    let Ok(Plan { sampling, first, out }) = Plan::of(a) else { return Vec::new() };
    let x = a.tensor("x");
    if out.elements() == 0 {
        return vec![Tensor { data: Data::zeros(out.dtype, 0), ty: out }];
    }
    let taps: Vec<Vec<Tap>> =
        (first..out.rank()).map(|i| sampling.taps(x.ty.shape[i], out.shape[i])).collect();
    let Sampling::Linear(_) = sampling else {
        let steps = strides(&x.ty.shape);
        let from = |index: &[usize]| {
            let (before, resized) = index.split_at(first);
            let chosen = resized.iter().zip(&taps).map(|(&i, taps)| taps[i].at[0]);
            flatten(before, &steps) + chosen.zip(&steps[first..]).map(|(i, s)| i * s).sum::<usize>()
        };
        return vec![x.gathered(out.clone(), from)];
    };
    let (mut values, mut shape) = (x.to_floats(), x.ty.shape.clone());
    for (axis, taps) in (first..).zip(&taps) {
        values = along(&values, &shape, axis, taps);
        shape[axis] = taps.len();
    }
    let data = match x.data {
        Data::Int(_) => Data::Int(values.iter().map(|v| v.round_ties_even() as i64).collect()),
        _ => Data::Float(values),
    };
    vec![Tensor { ty: out, data }]
}

/// The samples `taps` of `values` along `axis`.
fn along(values: &[f64], shape: &[usize], axis: usize, taps: &[Tap]) -> Vec<f64> {
    let (size, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
    let outer = if inner == 0 { 0 } else { values.len() / (size * inner) };
    let mut out = Vec::with_capacity(outer * taps.len() * inner);
    for o in 0..outer {
        for Tap { at: [low, high], part } in taps {
            let line = |k: usize| &values[(o * size + k) * inner..][..inner];
            let pairs = line(*low).iter().zip(line(*high));
            out.extend(pairs.map(|(x, y)| if *part == 0.0 { *x } else { x * (1.0 - part) + y * part }));
        }
    }
    out
}

fn resized_gradient(g: &mut GradCall<'_, '_>) {
    // Along each axis y = M·x  ⇒  dx = Mᵀ·dy
    let Ok(Plan { sampling, first, out }) = Plan::of(g) else { return };
    if out.elements() == 0 {
        let none = zeros(g, g.ty("x"));
        g.give("x", none);
        return;
    }
    let (x, mut shape, mut v) = (g.ty("x"), out.shape, g.cotangent());
    for axis in first..x.rank() {
        let (size, count) = (x.shape[axis], shape[axis]);
        let points = sampling.points(size, count);
        if size == count && points.iter().enumerate().all(|(i, &p)| p == i as f64) {
            continue;
        }
        let matrix = tent(written(v, &[count, 1], points), size, x.dtype);
        let (outer, inner) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
        shape[axis] = size;
        v = matrix.matmul(v.reshape(&[outer, count, inner]), true, false).reshape(&shape);
    }
    g.give("x", v);
}

/// Begin and size of the cropped region.
fn cropped(a: &Call<'_>) -> Result<(Vec<usize>, Vec<usize>), Reject> {
    planes(a)?;
    let x = a.ty("x");
    let (mut begin, mut size) = (vec![0; x.rank()], x.shape.clone());
    for (axis, name) in (x.rank() - 2..).zip(["crop_height", "crop_width"]) {
        let cut = a.ints(name);
        let rest = match cut.as_slice() {
            &[before, after] => usize::try_from(before).ok().zip(usize::try_from(after).ok()),
            _ => None,
        };
        let left = rest.and_then(|(b, e)| x.shape[axis].checked_sub(b)?.checked_sub(e).map(|n| (b, n)));
        let Some((b, n)) = left.filter(|(_, n)| *n > 0) else {
            return Err(Reject::new("crop-size", "`crop` leaves nothing of `x`, or lacks two sizes")
                .label("x", Shape(&x.shape).to_string())
                .label(name, format!("{cut:?}"))
                .help("pass two nonnegative numbers that leave at least one row and column"));
        };
        (begin[axis], size[axis]) = (b, n);
    }
    Ok((begin, size))
}
