//! Images sampled at any points.

use super::grid::{slope, tent};
use super::parts::zeros;
use super::parts::{choose, compare};
use super::resize::one_of;
use super::unary::{apply, equal_dtypes, one_number};
use crate::build::Var;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::op::{Axes, BOOL, Call, Eval, FLOATS, Grad, OpDef, STR, Work, constant, tensor};
use crate::tensor::{Data, Tensor};
use crate::ty::{DType, Opset, Shape, TensorType};

/// `resample(x, coordinates, sampling_mode, padding_mode, padding_value, coordinates_mode, align_corners)`: `x`
/// `[B, C, H, W]` at the points `(x, y)` of `coordinates` `[B, H₂, W₂, 2]`.
///
/// ```text
/// unnormalized                 p = c
/// normalized_minus_one_to_one  p = ½·(c + 1)·(W − 1), or ½·((c + 1)·W − 1) without align_corners
/// normalized_zero_to_one       p = c·(W − 1),         or c·W − ½           without align_corners
/// ```
/// Points outside of the image read `padding_value` (`constant`) or the nearest pixel (`border`), or are mirrored at its
/// outermost pixels (`reflection`) or at their outer edges (`symmetric`). `nearest` rounds ties to the even pixel. The
/// derivative by `coordinates` at a pixel is the one to its right.
/// Source: coremltools `iOS15`, `iOS16` and `iOS17/image_resizing.py` (more types of `coordinates`), class `resample`;
/// where the text leaves it open, PyTorch's `grid_sample`, which its frontend converts to it.
pub static RESAMPLE: OpDef = OpDef {
    name: "resample",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        tensor("coordinates", COORDINATES),
        constant("sampling_mode", STR),
        constant("padding_mode", STR),
        constant("padding_value", FLOATS),
        constant("coordinates_mode", STR),
        constant("align_corners", BOOL),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        equal_dtypes(a, &["x", "padding_value"])?;
        one_number(a, "padding_value")?;
        one_of(a, "sampling_mode", &["bilinear", "nearest"])?;
        one_of(a, "padding_mode", &["constant", "border", "reflection", "symmetric"])?;
        one_of(
            a,
            "coordinates_mode",
            &["unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one"],
        )?;
        let x = image(a)?;
        match a.ty("coordinates").shape.as_slice() {
            &[b, h, w, 2] if b == x.shape[0] => Ok(vec![TensorType::new(x.dtype, [b, x.shape[1], h, w])]),
            other => Err(Reject::new("coordinates", "`resample` needs `coordinates` as [B, H, W, 2]")
                .label("x", Shape(&x.shape).to_string())
                .label("coordinates", Shape(other).to_string())),
        }
    },
    eval: |a| {
        let (scheme, [h, w]) = (Scheme::of(a), size(a));
        let points = a.tensor("coordinates").to_floats();
        let points: Vec<[f64; 2]> =
            points.chunks_exact(2).map(|c| [scheme.pixel(c[0], w), scheme.pixel(c[1], h)]).collect();
        sampled(a, &scheme, &points)
    },
    grad: Grad::Rule(|g| {
        if gives_nothing(g, "coordinates") {
            return;
        }
        let scheme = Scheme::of(g);
        let (c, dtype) = (g.ty("coordinates").clone(), g.ty("coordinates").dtype);
        let (b, points) = (c.shape[0], c.shape[1] * c.shape[2]);
        let given = g.arg("coordinates").reshape(&[b, points, 2]);
        let given = if dtype == DType::F32 { given } else { given.cast(DType::F32) };
        if let Some(d) = sampled_gradient(g, &scheme, given, "coordinates") {
            let d = if dtype == DType::F32 { d } else { d.cast(dtype) };
            g.give("coordinates", d.reshape(&c.shape));
        }
    }),
};

const COORDINATES: &[DType] =
    &[DType::F16, DType::F32, DType::I32, DType::I16, DType::U16, DType::I8, DType::U8];

/// The type of `x`, if it is a batch of images that are not empty.
pub(super) fn image<'a>(a: &Call<'a>) -> Result<&'a TensorType, Reject> {
    let x = a.ty("x");
    if x.rank() == 4 && x.shape[2..].iter().all(|d| (1..=i32::MAX as usize).contains(d)) {
        return Ok(x);
    }
    Err(Reject::new("image", format!("`{}` needs `x` as [B, C, H, W], H and W at least 1", a.op.name()))
        .label("x", Shape(&x.shape).to_string()))
}

/// A constant size that is positive.
pub(super) fn positive(a: &Call<'_>, name: &'static str) -> Result<usize, Reject> {
    if a.has(name) {
        one_number(a, name)?;
    }
    match usize::try_from(a.int(name)) {
        Ok(n) if (1..=i32::MAX as usize).contains(&n) => Ok(n),
        _ => Err(Reject::new("size", format!("`{name}` of `{}` is a size from 1 up", a.op.name()))
            .label(name, a.int(name).to_string())),
    }
}

/// Height and width of the image.
pub(super) fn size(a: &Call<'_>) -> [usize; 2] {
    [a.ty("x").shape[2], a.ty("x").shape[3]]
}

/// How a point is sampled inside and outside of the image.
pub(super) struct Scheme<'a> {
    nearest: bool,
    padding: &'a str,
    beyond: f64,
    coordinates: &'a str,
    align: bool,
}

impl<'a> Scheme<'a> {
    /// Reads the mode from the constants of a call.
    pub(super) fn of(a: &Call<'a>) -> Scheme<'a> {
        let affine = a.op.name() == "affine";
        Scheme {
            nearest: !affine && a.str("sampling_mode") == "nearest",
            padding: if affine { "constant" } else { a.str("padding_mode") },
            beyond: a.float("padding_value"),
            coordinates: if affine { "normalized_minus_one_to_one" } else { a.str("coordinates_mode") },
            align: a.bool("align_corners"),
        }
    }

    /// `p = scale·c + shift` along an axis of `size` pixels.
    fn line(&self, size: usize) -> (f64, f64) {
        let n = size as f64;
        match (self.coordinates, self.align) {
            ("normalized_minus_one_to_one", true) => ((n - 1.0) / 2.0, (n - 1.0) / 2.0),
            ("normalized_minus_one_to_one", false) => (n / 2.0, (n - 1.0) / 2.0),
            ("normalized_zero_to_one", true) => (n - 1.0, 0.0),
            ("normalized_zero_to_one", false) => (n, -0.5),
            _ => (1.0, 0.0),
        }
    }

    /// The mirrors: the position of the first, and the distance to the second.
    fn mirrors(&self, size: usize) -> Option<(f64, f64)> {
        match self.padding {
            "reflection" => Some((0.0, size as f64 - 1.0)),
            "symmetric" => Some((-0.5, size as f64)),
            _ => None,
        }
    }

    /// The position of coordinate `c` among `size` pixels; within range unless padding is constant.
    pub(super) fn pixel(&self, c: f64, size: usize) -> f64 {
        let ((scale, shift), last) = (self.line(size), size as f64 - 1.0);
        let p = scale * c + shift;
        let p = match self.mirrors(size) {
            Some((first, apart)) if apart > 0.0 => {
                let back = (p - first).abs() % (2.0 * apart);
                first + back.min(2.0 * apart - back)
            }
            _ => p,
        };
        // NaN stays NaN.
        let p = if self.padding == "constant" || p.is_nan() { p } else { p.clamp(0.0, last) };
        if self.nearest { p.round_ties_even() } else { p }
    }

    /// The middles of `size` pixels between −1 and 1.
    pub(super) fn middles(&self, size: usize) -> Vec<f64> {
        let n = size as f64;
        let middle = |i: f64| match self.align {
            true if size == 1 => 0.0,
            true => 2.0 * i / (n - 1.0) - 1.0,
            false => (2.0 * i + 1.0) / n - 1.0,
        };
        (0..size).map(|i| middle(i as f64)).collect()
    }
}

/// `x` at `points` `(x, y)`, as many for each image, in order.
pub(super) fn sampled(a: &Eval<'_>, scheme: &Scheme<'_>, points: &[[f64; 2]]) -> Vec<Tensor> {
    let ([h, w], x) = (size(a), a.tensor("x").as_floats());
    let (channels, each) = (a.out().shape[1], a.out().shape[2] * a.out().shape[3]);
    let taps: Vec<[Sides; 2]> = points.iter().map(|&[px, py]| [taps(px, w), taps(py, h)]).collect();
    let mut data = Vec::with_capacity(a.out().elements());
    if each > 0 {
        for (b, taps) in taps.chunks_exact(each).enumerate() {
            for c in 0..channels {
                let image = &x[(b * channels + c) * h * w..][..h * w];
                let value = |[along_x, along_y]: &[Sides; 2]| {
                    let mut sum = 0.0;
                    for (row, part) in along_y.iter().filter(|t| t.1 != 0.0) {
                        for (column, of) in along_x.iter().filter(|t| t.1 != 0.0) {
                            let pixel = row.zip(*column).map_or(scheme.beyond, |(i, j)| image[i * w + j]);
                            sum += pixel * part * of;
                        }
                    }
                    sum
                };
                data.extend(taps.iter().map(value));
            }
        }
    }
    vec![Tensor { ty: a.out().clone(), data: Data::Float(data) }]
}

/// Two pixels and their weights.
type Sides = [(Option<usize>, f64); 2];

/// The two pixels next to `p`, with their weights; both are below `size`.
fn taps(p: f64, size: usize) -> Sides {
    let (low, n) = (p.floor(), size as f64);
    if !(low >= -1.0 && low < n) {
        return [(None, 1.0), (None, 0.0)];
    }
    let pixel = |k: f64| (0.0..n).contains(&k).then_some(k as usize);
    [(pixel(low), 1.0 - (p - low)), (pixel(low + 1.0), p - low)]
}

/// Sets zero cotangents for `x` and `name`, if there is nothing to sample or no point.
pub(super) fn gives_nothing(g: &mut GradCall<'_, '_>, name: &str) -> bool {
    let nothing = g.ty("x").elements() == 0 || g.output().ty().elements() == 0;
    for name in ["x", name] {
        if nothing && g.wants(name) {
            let none = zeros(g, g.ty(name));
            g.give(name, none);
        }
    }
    nothing
}

/// Sets the cotangent of `x`, and returns that of the coordinates `c`, fp32 `[B or 1, P, 2]`, if `wanted`.
///
/// As products: `y[p] = Σ V[p, i]·U[p, j]·x[i, j]`, `U` and `V` the tents of the points. The derived program holds them
/// whole, so it works on `P·(H + W)` numbers for each channel.
pub(super) fn sampled_gradient<'b>(
    g: &mut GradCall<'_, 'b>,
    scheme: &Scheme<'_>,
    c: Var<'b>,
    wanted: &str,
) -> Option<Var<'b>> {
    let (ty, [h, w]) = (g.ty("x").clone(), size(g));
    let (points, dtype) = (c.shape()[1], ty.dtype);
    let dy = g.cotangent().reshape(&[ty.shape[0], ty.shape[1], points, 1]);
    let axis = |i: usize, size: usize| {
        let c = c.slice(&[0, 0, i], &[c.shape()[0], points, 1]).reshape(&[c.shape()[0], 1, points, 1]);
        Axis::of(scheme, c, size)
    };
    let (along_x, along_y) = (axis(0, w), axis(1, h));
    let (u, v) = (tent(along_x.place, w, dtype), tent(along_y.place, h, dtype));
    // dx = (dy ⊙ V)ᵀ·U
    if g.wants("x") {
        g.give("x", (dy * v).matmul(u, true, false));
    }
    if !g.wants(wanted) {
        return None;
    }
    if scheme.nearest {
        return Some(zeros(g, &TensorType::new(DType::F32, [ty.shape[0], points, 2])));
    }
    // du = Σ dy·(V·x) over channels, which meets the slope of U; the same for V. Beyond the image stands 0 for this.
    let x = if scheme.padding == "constant" && scheme.beyond != 0.0 {
        g.arg("x") - scheme.beyond
    } else {
        g.arg("x")
    };
    let along = |tents: Var<'b>, transposed: bool, axis: &Axis<'b>, size: usize| {
        let lines = (dy * tents.matmul(x, false, transposed)).reduce_sum(&[1], true);
        let lines = if dtype == DType::F32 { lines } else { lines.cast(DType::F32) };
        let d = (lines * slope(axis.place, size)).reduce_sum(&[3], true) * axis.slope;
        d.reshape(&[ty.shape[0], points, 1])
    };
    Var::concat(vec![along(v, false, &along_x, w), along(u, true, &along_y, h)], 2)
}

/// The places of coordinates along one axis, as fp32 `[B, 1, P, 1]`, and their derivative by the coordinates.
struct Axis<'b> {
    place: Var<'b>,
    slope: Var<'b>,
}

impl<'b> Axis<'b> {
    fn of(scheme: &Scheme<'_>, c: Var<'b>, size: usize) -> Axis<'b> {
        let with = |op: &str, x: Var<'b>, y: f64| {
            let y = c.builder().scalar(DType::F32, y);
            c.builder().op(op, [("x", x.into()), ("y", y.into())])
        };
        let ((scale, shift), last) = (scheme.line(size), size as f64 - 1.0);
        let (mut place, mut slope) = (c * scale + shift, c.builder().scalar(DType::F32, scale));
        match scheme.mirrors(size) {
            Some((first, apart)) if apart > 0.0 => {
                let from = place - first;
                let back = with("mod", apply("abs", from), 2.0 * apart);
                let there = with("less", back, apart);
                let returning = 2.0 * apart - back;
                place = choose(there, Some(back), Some(returning)) + first;
                let sign = apply("sign", from) * slope;
                slope = choose(there, Some(sign), Some(-sign));
            }
            _ => {}
        }
        if scheme.padding != "constant" {
            let within = compare("logical_and", with("greater_equal", place, 0.0), with("less", place, last));
            slope = choose(within, Some(slope), None);
            place = with("minimum", with("maximum", place, 0.0), last);
        }
        if scheme.nearest {
            place = apply("round", place);
        }
        Axis { place, slope }
    }
}
