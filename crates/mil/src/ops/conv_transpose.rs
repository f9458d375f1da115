//! Transposed convolutions.

use super::conv::{channels, check_bias, check_weight, groups, over_channels, weight_cotangent};
use super::window::{Axis, check_image, convolved, written_windows};
use crate::diag::Reject;
use crate::op::{Absent, Axes, Call, Eval, FLOATS, Grad, I32, OpDef, STR, Work, constant, elements, tensor};
use crate::tensor::{Data, Tensor, strides, unflatten};
use crate::ty::{Opset, Shape, TensorType};

/// `conv_transpose(x, weight, bias, pad, output_shape, pad_type, strides, dilations, groups)`: what `conv` does to
/// cotangents; `x` is `[N, C, *D]`, `weight` `[C, O/groups, *K]`.
///
/// Each element of `x` writes a window, `weight` times itself; where windows meet they add. Padding is cut off. Of the
/// shapes that `conv` makes that of `x` of, `output_shape` names one; without it the result is the smallest, or for
/// `same` padding the largest.
/// Source: coremltools `iOS15/conv.py` and, for weights that are computed, `iOS17/conv.py`, class `conv_transpose`.
pub static CONV_TRANSPOSE: OpDef = OpDef {
    name: "conv_transpose",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        tensor("weight", FLOATS),
        tensor("bias", FLOATS).optional(),
        constant("pad", I32).optional(),
        constant("output_shape", I32).optional(),
        constant("pad_type", STR).or(Absent::Str("valid")),
        constant("strides", I32).optional(),
        constant("dilations", I32).optional(),
        constant("groups", I32).or(Absent::Int(1)),
    ],
    axes: Axes::Tied,
    work: Work::MulAdds(|c, _| {
        // Weight [I, O/groups, *K]: each input element goes to all but the first axis.
        Some(elements(c.sizes("x")?).saturating_mul(elements(c.sizes("weight")?.get(1..)?)))
    }),
    infer: |a| Ok(vec![Plan::of(a)?.out]),
    eval: conv_transpose,
    grad: Grad::Rule(|g| {
        // It is linear, and transposed it is `conv`.
        let Ok(Plan { axes, groups, .. }) = Plan::of(g) else { return };
        let dy = g.cotangent();
        if g.wants("x") {
            g.give("x", convolved("conv", dy, g.arg("weight"), &axes, groups, None));
        }
        if g.wants("weight") {
            let dw = weight_cotangent(g, dy, g.arg("x"), &axes, groups);
            g.give("weight", dw);
        }
        if g.has("bias") {
            g.give("bias", over_channels(dy));
        }
    }),
};

/// The geometry: the windows are those of the result, one for each element of `x`.
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
        let groups = groups(a).filter(|g| w.shape[0] == x.shape[1] && x.shape[1] % g == 0);
        let out = groups.and_then(|g| Some((g, w.shape[1].checked_mul(g)?)));
        let Some((groups, out)) = out else {
            return Err(channels(a).help("`weight` is [in, out / groups, …] and `groups` divides `in`"));
        };
        check_bias(a, out)?;
        let mut shape = vec![x.shape[0], out];
        let given = given_shape(a, &shape)?;
        let axes = written_windows(a, &w.shape[2..], given.as_deref())?;
        shape.extend(axes.iter().map(|axis| axis.len));
        Ok(Plan { axes, groups, out: TensorType::new(x.dtype, shape) })
    }
}

/// The spatial sizes of `output_shape`, if present, after batch and channels, which must be `start`.
fn given_shape(a: &Call<'_>, start: &[usize]) -> Result<Option<Vec<usize>>, Reject> {
    if !a.has("output_shape") {
        return Ok(None);
    }
    let given: Option<Vec<usize>> = a.ints("output_shape").iter().map(|&d| usize::try_from(d).ok()).collect();
    match given.filter(|s| s.len() == a.ty("x").rank() && s.starts_with(start)) {
        Some(shape) => Ok(Some(shape[2..].to_vec())),
        None => Err(Reject::new("output-shape", "`conv_transpose` cannot produce this `output_shape`")
            .label("output_shape", format!("{:?}", a.ints("output_shape")))
            .help(format!("it has the rank of `x` and begins with {}", Shape(start)))),
    }
}

fn conv_transpose(a: &Eval<'_>) -> Vec<Tensor> {
    let (x, w) = (a.tensor("x"), a.tensor("weight"));
    let Ok(plan) = Plan::of(a) else { return Vec::new() };
    let (steps, mut at) = (strides(&plan.out.shape), vec![0; x.ty.rank()]);
    // Of the taps of a weight, the first axis is a channel of the group.
    let kernel = &w.ty.shape[1..];
    let (taps, mut tap) = (kernel.iter().product::<usize>(), vec![0; kernel.len()]);
    let per_group = x.ty.shape[1] / plan.groups;
    let mut sums = vec![0.0; plan.out.elements()];
    if a.has("bias") {
        let bias = a.tensor("bias").as_floats();
        sums.iter_mut().enumerate().for_each(|(n, sum)| *sum = bias[n / steps[1] % bias.len()]);
    }
    for (n, &value) in x.as_floats().iter().enumerate() {
        unflatten(n, &x.ty.shape, &mut at);
        for t in 0..taps {
            unflatten(t, kernel, &mut tap);
            let channel = at[1] / per_group * kernel[0] + tap[0];
            let mut to = at[0] * steps[0] + channel * steps[1];
            let inside = plan.axes.iter().enumerate().all(|(i, axis)| {
                let place = axis.place(at[i + 2], tap[i + 1]);
                to += place.unwrap_or(0) * steps[i + 2];
                place.is_some()
            });
            if inside {
                sums[to] += value * w.as_floats()[at[1] * taps + t];
            }
        }
    }
    vec![Tensor { ty: plan.out.clone(), data: Data::Float(sums) }]
}
