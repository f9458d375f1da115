//! Convolutions.

use super::unary::equal_dtypes;
use crate::diag::Reject;
use crate::op::{Absent, Call, Eval, FLOATS, Grad, I32, OpDef, STR, constant, tensor};
use crate::tensor::{Tensor, flatten, unflatten};
use crate::ty::{Opset, Shape, TensorType};

/// `conv(x, weight, bias, strides, pad_type, pad, dilations, groups)`: `x` is `[N, C, *D]`, `weight` `[O, C/groups, *K]`.
/// Source: coremltools `iOS15/conv.py`, class `conv`.
pub static CONV: OpDef = OpDef {
    name: "conv",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        tensor("weight", FLOATS),
        tensor("bias", FLOATS).optional(),
        constant("strides", I32).optional(),
        constant("pad_type", STR).or(Absent::Str("valid")),
        constant("pad", I32).optional(),
        constant("dilations", I32).optional(),
        constant("groups", I32).or(Absent::Int(1)),
    ],
    infer: |a| Ok(vec![Window::of(a)?.out]),
    eval: conv,
    grad: Grad::Rule(|g| {
        // As a matrix product on channels: z = W·x  ⇒  dx = Wᵀ·dz,  dW = dz·xᵀ
        let (x, w, dz) = (g.ty("x").clone(), g.ty("weight").clone(), g.cotangent());
        let pointwise = x.rank() == 4
            && w.shape[2..].iter().all(|&k| k == 1)
            && Window::of(g).is_ok_and(|win| win.stride.iter().all(|&d| d == 1))
            && dz.shape()[2..] == x.shape[2..]
            && x.shape[0] == 1;
        let groups = g.int("groups").max(1) as usize;
        if !pointwise {
            g.refuse("only pointwise convolutions of one image are differentiated");
            return;
        }
        let (o, i, s) = (w.shape[0], w.shape[1], x.shape[2] * x.shape[3]);
        if g.wants("x") {
            let weight = g.arg("weight");
            let dx = if groups == 1 {
                dz.conv1x1(weight.transpose(&[1, 0, 2, 3]), 1)
            } else {
                let weight = weight.reshape(&[groups, o / groups, i]);
                let dz = dz.reshape(&[groups, o / groups, s]);
                weight.matmul(dz, true, false).reshape(&x.shape)
            };
            g.give("x", dx);
        }
        if g.wants("weight") {
            let x = g.arg("x").reshape(&[groups, i, s]);
            let dw = dz.reshape(&[groups, o / groups, s]).matmul(x, false, true);
            g.give("weight", dw.reshape(&w.shape));
        }
        if g.has("bias") {
            g.give("bias", dz.reduce_sum(&[0, 2, 3], false));
        }
    }),
};

/// Sizes up to this keep the arithmetic of windows within 64 bits.
const LONGEST_AXIS: usize = i32::MAX as usize;

/// The geometry of a convolution.
struct Window {
    stride: Vec<usize>,
    dilation: Vec<usize>,
    before: Vec<usize>,
    groups: usize,
    out: TensorType,
}

impl Window {
    fn of(a: &Call<'_>) -> Result<Window, Reject> {
        let (x, w) = (a.ty("x"), a.ty("weight"));
        let refuse = |code, text: &str| {
            Reject::new(code, text.to_owned())
                .label("x", Shape(&x.shape).to_string())
                .label("weight", Shape(&w.shape).to_string())
        };
        if x.rank() < 3 || x.rank() > 5 || w.rank() != x.rank() {
            return Err(refuse("rank", "`conv` needs `x` as [N, C, …] and `weight` of equal rank, 3 to 5"));
        }
        equal_dtypes(a, &["x", "weight", "bias"])?;
        if x.shape.iter().chain(&w.shape).any(|&d| d == 0 || d > LONGEST_AXIS) {
            return Err(refuse("conv-size", "`conv` needs axes of sizes from 1 to 2³¹ − 1"));
        }
        let axes = x.rank() - 2;
        let groups = usize::try_from(a.int("groups")).ok().filter(|&g| g > 0);
        let Some(groups) =
            groups.filter(|g| w.shape[1].checked_mul(*g) == Some(x.shape[1]) && w.shape[0] % g == 0)
        else {
            return Err(refuse("conv-channels", "`conv` cannot join these channels")
                .label("groups", a.int("groups").to_string())
                .help("`weight` is [out, in / groups, …] and `groups` divides `out`"));
        };
        let list = |name: &'static str, n: usize, default: usize| -> Result<Vec<usize>, Reject> {
            if !a.has(name) {
                return Ok(vec![default; n]);
            }
            let v: Option<Vec<usize>> = a.ints(name).iter().map(|&d| usize::try_from(d).ok()).collect();
            v.filter(|v| v.len() == n && v.iter().all(|d| (default..=LONGEST_AXIS).contains(d))).ok_or_else(
                || {
                    Reject::new(
                        "conv-list",
                        format!("`{name}` of `conv` needs {n} numbers from {default} up"),
                    )
                    .label(name, format!("{:?}", a.ints(name)))
                },
            )
        };
        let (stride, dilation) = (list("strides", axes, 1)?, list("dilations", axes, 1)?);
        let mut before = vec![0; axes];
        let mut shape = vec![x.shape[0], w.shape[0]];
        let custom = list("pad", 2 * axes, 0)?;
        for i in 0..axes {
            let (d, reach) = (x.shape[i + 2], (w.shape[i + 2] - 1) * dilation[i] + 1);
            let pad = match a.str("pad_type") {
                "valid" => (0, 0),
                "custom" => (custom[2 * i], custom[2 * i + 1]),
                kind @ ("same" | "same_lower") => {
                    let total = ((d.div_ceil(stride[i]) - 1) * stride[i] + reach).saturating_sub(d);
                    let (small, large) = (total / 2, total - total / 2);
                    if kind == "same" { (small, large) } else { (large, small) }
                }
                other => {
                    return Err(Reject::new("pad-type", format!("`conv` knows no padding `{other}`"))
                        .help("use `valid`, `same`, `same_lower` or `custom`"));
                }
            };
            before[i] = pad.0;
            match (d + pad.0 + pad.1).checked_sub(reach) {
                Some(room) => shape.push(room / stride[i] + 1),
                None => {
                    return Err(refuse("conv-window", "the window of `conv` is larger than the padded `x`"));
                }
            }
        }
        if a.has("bias") && a.ty("bias").shape != [w.shape[0]] {
            return Err(refuse("conv-bias", "`bias` of `conv` needs one number for each output channel"));
        }
        Ok(Window { stride, dilation, before, groups, out: TensorType::new(x.dtype, shape) })
    }
}

fn conv(a: &Eval<'_>) -> Vec<Tensor> {
    let (x, w) = (a.tensor("x"), a.tensor("weight"));
    let Ok(win) = Window::of(a) else { return Vec::new() };
    let bias = a.has("bias").then(|| a.tensor("bias").as_floats());
    let (sx, sw) = (crate::tensor::strides(&x.ty.shape), crate::tensor::strides(&w.ty.shape));
    let per_group = win.out.shape[1] / win.groups;
    let kernel = &w.ty.shape[1..];
    let taps: usize = kernel.iter().product();
    let (mut at, mut tap) = (vec![0; win.out.rank()], vec![0; kernel.len()]);
    let values = (0..win.out.elements()).map(|n| {
        unflatten(n, &win.out.shape, &mut at);
        let mut sum = bias.map_or(0.0, |b| b[at[1]]);
        for t in 0..taps {
            unflatten(t, kernel, &mut tap);
            let channel = at[1] / per_group * kernel[0] + tap[0];
            let mut from = at[0] * sx[0] + channel * sx[1];
            let inside = (0..kernel.len() - 1).all(|i| {
                let place = at[i + 2] * win.stride[i] + tap[i + 1] * win.dilation[i];
                match place.checked_sub(win.before[i]).filter(|&p| p < x.ty.shape[i + 2]) {
                    Some(p) => {
                        from += p * sx[i + 2];
                        true
                    }
                    None => false,
                }
            });
            if inside {
                sum += x.as_floats()[from] * w.as_floats()[at[1] * sw[0] + flatten(&tap, &sw[1..])];
            }
        }
        sum
    });
    vec![Tensor { ty: win.out.clone(), data: crate::Data::Float(values.collect()) }]
}
