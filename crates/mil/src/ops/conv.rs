//! Convolutions.

use super::parts::dilated;
use super::unary::equal_dtypes;
use super::window::{Axis, Rest, check_image, convolved, windows};
use crate::build::Var;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::op::{Absent, Axes, Call, Eval, FLOATS, Grad, I32, OpDef, STR, Work, constant, elements, tensor};
use crate::tensor::{Data, Tensor, flatten, strides, unflatten};
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
    axes: Axes::Conv,
    work: Work::MulAdds(|c, out| {
        // Weight [O, I/groups, *K]: each output element sums over all but the first axis.
        Some(elements(&out.shape).saturating_mul(elements(c.sizes("weight")?.get(1..)?)))
    }),
    infer: |a| Ok(vec![Plan::of(a)?.out]),
    eval: conv,
    grad: Grad::Rule(conv_gradient),
};

/// The geometry of a convolution.
struct Plan {
    axes: Vec<Axis>,
    groups: usize,
    out: TensorType,
}

impl Plan {
    fn of(a: &Call<'_>) -> Result<Plan, Reject> {
        check_image(a, "x")?;
        check_weight(a)?;
        let (x, w) = (a.ty("x"), a.ty("weight"));
        let groups = groups(a).filter(|&g| w.shape[1].checked_mul(g) == Some(x.shape[1]));
        let Some(groups) = groups.filter(|g| w.shape[0] % g == 0) else {
            return Err(channels(a).help("`weight` is [out, in / groups, …] and `groups` divides `out`"));
        };
        check_bias(a, w.shape[0])?;
        let axes = windows(a, &w.shape[2..], Rest::LeftOut)?;
        let mut shape = vec![x.shape[0], w.shape[0]];
        shape.extend(axes.iter().map(|axis| axis.count));
        Ok(Plan { axes, groups, out: TensorType::new(x.dtype, shape) })
    }
}

/// The spatial axes and the groups of the convolution `call`; `None` if the type rule refuses it.
pub fn geometry(call: &Call<'_>) -> Option<(Vec<Axis>, usize)> {
    Plan::of(call).ok().map(|plan| (plan.axes, plan.groups))
}

/// Refuses a weight of other rank or type than `x`.
pub(super) fn check_weight(a: &Call<'_>) -> Result<(), Reject> {
    check_image(a, "weight")?;
    let (x, w) = (a.ty("x"), a.ty("weight"));
    if w.rank() != x.rank() {
        let text = format!("`{}` needs `x` and `weight` of equal rank", a.op.name());
        return Err(Reject::new("rank", text)
            .label("x", Shape(&x.shape).to_string())
            .label("weight", Shape(&w.shape).to_string()));
    }
    equal_dtypes(a, &["x", "weight", "bias"])
}

/// The number of groups, if it is one.
pub(super) fn groups(a: &Call<'_>) -> Option<usize> {
    usize::try_from(a.int("groups")).ok().filter(|&g| g > 0)
}

/// Refuses channels.
pub(super) fn channels(a: &Call<'_>) -> Reject {
    Reject::new("conv-channels", format!("`{}` cannot join these channels", a.op.name()))
        .label("x", Shape(&a.ty("x").shape).to_string())
        .label("weight", Shape(&a.ty("weight").shape).to_string())
        .label("groups", a.int("groups").to_string())
}

/// Refuses a bias that has not one number for each of `channels`.
pub(super) fn check_bias(a: &Call<'_>, channels: usize) -> Result<(), Reject> {
    if !a.has("bias") || a.ty("bias").shape == [channels] {
        return Ok(());
    }
    let text = format!("`bias` of `{}` needs one number for each output channel", a.op.name());
    Err(Reject::new("conv-bias", text)
        .label("bias", Shape(&a.ty("bias").shape).to_string())
        .help(format!("there are {channels} output channels")))
}

fn conv(a: &Eval<'_>) -> Vec<Tensor> {
    let (x, w) = (a.tensor("x"), a.tensor("weight"));
    let Ok(plan) = Plan::of(a) else { return Vec::new() };
    let bias = a.has("bias").then(|| a.tensor("bias").as_floats());
    let (sx, sw) = (strides(&x.ty.shape), strides(&w.ty.shape));
    let per_group = plan.out.shape[1] / plan.groups;
    let kernel = &w.ty.shape[1..];
    let taps: usize = kernel.iter().product();
    let (mut at, mut tap) = (vec![0; plan.out.rank()], vec![0; kernel.len()]);
    let values = (0..plan.out.elements()).map(|n| {
        unflatten(n, &plan.out.shape, &mut at);
        let mut sum = bias.map_or(0.0, |b| b[at[1]]);
        for t in 0..taps {
            unflatten(t, kernel, &mut tap);
            let channel = at[1] / per_group * kernel[0] + tap[0];
            let mut from = at[0] * sx[0] + channel * sx[1];
            let inside = plan.axes.iter().enumerate().all(|(i, axis)| {
                let place = axis.place(at[i + 2], tap[i + 1]);
                from += place.unwrap_or(0) * sx[i + 2];
                place.is_some()
            });
            if inside {
                sum += x.as_floats()[from] * w.as_floats()[at[1] * sw[0] + flatten(&tap, &sw[1..])];
            }
        }
        sum
    });
    vec![Tensor { ty: plan.out.clone(), data: Data::Float(values.collect()) }]
}

fn conv_gradient(g: &mut GradCall<'_, '_>) {
    let Ok(Plan { axes, groups, .. }) = Plan::of(g) else { return };
    let (x, dz) = (g.ty("x").clone(), g.cotangent());
    let still = |axis: &Axis| axis.size == 1 && axis.stride == 1 && axis.count == axis.len;
    if x.rank() == 4 && x.shape[0] == 1 && axes.iter().all(still) {
        return pointwise_gradient(g, groups);
    }
    // z[o, p] = Σ W[o, c, k]·x[c, p·stride + k·dilation − before], so each dz is scattered over its window.
    if g.wants("x") {
        g.give("x", convolved("conv_transpose", dz, g.arg("weight"), &axes, groups, Some(&x.shape)));
    }
    if g.wants("weight") {
        let dw = weight_cotangent(g, g.arg("x"), dz, &axes, groups);
        g.give("weight", dw);
    }
    if g.has("bias") {
        g.give("bias", over_channels(dz));
    }
}

/// Of a window of one element, moved by one, over one image.
fn pointwise_gradient(g: &mut GradCall<'_, '_>, groups: usize) {
    // As a matrix product on channels: z = W·x  ⇒  dx = Wᵀ·dz,  dW = dz·xᵀ
    let (x, w, dz) = (g.ty("x").clone(), g.ty("weight").clone(), g.cotangent());
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
        g.give("bias", over_channels(dz));
    }
}

/// The sum of `v` `[N, C, *D]` for each channel.
pub(super) fn over_channels(v: Var<'_>) -> Var<'_> {
    let axes: Vec<i64> = (0..v.ty().rank() as i64).filter(|&i| i != 1).collect();
    v.reduce_sum(&axes, false)
}

/// The gradient of a weight `[O, C/groups, *K]` from `x` `[N, C, *D]` and `dz` `[N, O, *P]`:
/// `dW[o, c, k] = Σₙₚ dz[n, o, p]·x[n, c, p·stride + k·dilation − before]`.
///
/// That is a convolution of `x` with `dz` with batch and channels swapped, and stride and dilation swapped.
/// A computed weight must not be dilated, so `dz` is dilated with explicit zeros.
pub(super) fn weight_cotangent<'b>(
    g: &GradCall<'_, 'b>,
    x: Var<'b>,
    dz: Var<'b>,
    axes: &[Axis],
    groups: usize,
) -> Var<'b> {
    let (xs, zs) = (x.shape(), dz.shape());
    let (n, i, o) = (xs[0], xs[1] / groups, zs[1]);
    let flat = |s: &[usize]| s[2..].iter().product::<usize>();
    let x = x.reshape(&[n, groups, i, flat(&xs)]).transpose(&[2, 1, 0, 3]);
    let x = x.reshape(&[&[i, groups * n], &xs[2..]].concat());
    let dz = dz.reshape(&[n, o, flat(&zs)]).transpose(&[1, 0, 2]);
    let mut size = [&[o, n], &zs[2..]].concat();
    let mut dz = dz.reshape(&size);
    let mut swapped = Vec::new();
    for (at, axis) in axes.iter().enumerate() {
        if axis.stride > 1 && axis.count > 1 {
            dz = dilated(g, dz, &mut size, at + 2, axis.stride);
        }
        let padded = axis.len + axis.before + axis.reached_after();
        let count = (padded - size[at + 2]) / axis.dilation + 1;
        swapped.push(Axis { size: size[at + 2], dilation: 1, stride: axis.dilation, count, ..axis.clone() });
    }
    let mut dw = convolved("conv", x, dz, &swapped, groups, None); // [C/groups, O, *K or more]
    let mut shape = vec![i, o];
    shape.extend(axes.iter().map(|axis| axis.size));
    if dw.shape() != shape {
        dw = dw.slice(&vec![0; shape.len()], &shape);
    }
    let mut swap: Vec<i64> = (0..shape.len() as i64).collect();
    swap.swap(0, 1);
    dw.transpose(&swap)
}
