//! Normalisations.

use super::unary::{equal_dtypes, same_type};
use crate::build::Var;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::op::{Absent, Axes, Call, Eval, FLOATS, Grad, I32, OpDef, Work, constant, tensor};
use crate::tensor::{Data, Tensor, flatten, strides, unflatten};
use crate::ty::{Opset, Shape};

/// `layer_norm(x, axes, gamma, beta, epsilon)`: `γ·(x − μ)/√(σ² + ε) + β`, mean and variance over `axes`, or over all.
///
/// `gamma` and `beta` have the sizes of the normalised axes, in order. coremltools requires constants for them; here
/// they may be any value, so that they can be trained.
/// Source: coremltools `iOS15/normalization.py`, class `layer_norm`.
pub static LAYER_NORM: OpDef = OpDef {
    name: "layer_norm",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        constant("axes", I32).optional(),
        tensor("gamma", FLOATS).optional(),
        tensor("beta", FLOATS).optional(),
        constant("epsilon", FLOATS).or(Absent::Float(1e-5)),
    ],
    axes: Axes::Along("axes"),
    work: Work::Free,
    infer: |a| {
        equal_dtypes(a, &["x", "gamma", "beta"])?;
        let normalised = Normalised::of(a)?;
        for name in ["gamma", "beta"] {
            if a.has(name) && a.ty(name).shape != normalised.sizes {
                let text = format!("`{name}` of `layer_norm` needs one number for each normalised element");
                return Err(Reject::new("norm-shape", text)
                    .label(name, Shape(&a.ty(name).shape).to_string())
                    .label("x", format!("{} along `axes`", Shape(&normalised.sizes))));
            }
        }
        same_type(a)
    },
    eval: layer_norm,
    grad: Grad::Rule(layer_norm_gradient),
};

/// `l2_norm(x, epsilon)`: `x/√(Σ x² + ε)`, the sum over the last three axes.
/// Source: coremltools `iOS15/normalization.py`, class `l2_norm`.
pub static L2_NORM: OpDef = OpDef {
    name: "l2_norm",
    since: Opset::Ios15,
    params: &[tensor("x", FLOATS), constant("epsilon", FLOATS).or(Absent::Float(1e-6))],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        if a.ty("x").rank() < 3 {
            return Err(Reject::new("rank", "`l2_norm` needs `x` of at least 3 axes")
                .label("x", Shape(&a.ty("x").shape).to_string()));
        }
        same_type(a)
    },
    eval: |a| {
        let (x, epsilon) = (a.tensor("x"), a.float("epsilon"));
        let mut values = x.to_floats();
        let rank = x.ty.rank();
        for part in values.chunks_mut(x.ty.shape[rank - 3..].iter().product::<usize>().max(1)) {
            let norm = (part.iter().map(|x| x * x).sum::<f64>() + epsilon).sqrt();
            part.iter_mut().for_each(|x| *x /= norm);
        }
        vec![Tensor { ty: a.out().clone(), data: Data::Float(values) }]
    },
    grad: Grad::Rule(|g| {
        // r = (Σ x² + ε)^−½  ⇒  dx = r·(dy − y·Σ dy·y)
        let (x, y, dy) = (g.arg("x"), g.output(), g.cotangent());
        let axes = [-3, -2, -1];
        let scale = ((x * x).reduce_sum(&axes, true) + g.float("epsilon")).pow(-0.5);
        g.give("x", scale * (dy - y * (dy * y).reduce_sum(&axes, true)));
    }),
};

/// Which axes are normalised.
struct Normalised {
    /// In rising order.
    axes: Vec<usize>,
    /// The sizes of `axes`.
    sizes: Vec<usize>,
    /// The sizes of `x` along `axes`, 1 along the others.
    within: Vec<usize>,
    /// The sizes of `x` along the others, 1 along `axes`.
    across: Vec<usize>,
}

impl Normalised {
    fn of(a: &Call<'_>) -> Result<Normalised, Reject> {
        let x = a.ty("x");
        let mut named = vec![!a.has("axes"); x.rank()];
        for axis in a.ints("axes") {
            named[a.check_axis("axes", axis, x.rank())?] = true;
        }
        let axes: Vec<usize> = (0..x.rank()).filter(|&i| named[i]).collect();
        Ok(Normalised {
            sizes: axes.iter().map(|&i| x.shape[i]).collect(),
            within: (0..x.rank()).map(|i| if named[i] { x.shape[i] } else { 1 }).collect(),
            across: (0..x.rank()).map(|i| if named[i] { 1 } else { x.shape[i] }).collect(),
            axes,
        })
    }
}

fn layer_norm(a: &Eval<'_>) -> Vec<Tensor> {
    let (x, epsilon) = (a.tensor("x"), a.float("epsilon"));
    let Ok(n) = Normalised::of(a) else { return Vec::new() };
    let parameter = |name| a.has(name).then(|| a.tensor(name).as_floats());
    let (gamma, beta) = (parameter("gamma"), parameter("beta"));
    let (steps, count) = (strides(&x.ty.shape), n.sizes.iter().product::<usize>());
    let offsets = |sizes: &[usize]| -> Vec<usize> {
        let mut index = vec![0; sizes.len()];
        let offset = |i| {
            unflatten(i, sizes, &mut index);
            flatten(&index, &steps)
        };
        (0..sizes.iter().product()).map(offset).collect()
    };
    let within = offsets(&n.within);
    let mut values = x.to_floats();
    for start in offsets(&n.across) {
        let at = |k: usize| start + within[k];
        let mean = (0..count).map(|k| values[at(k)]).sum::<f64>() / count as f64;
        let variance = (0..count).map(|k| (values[at(k)] - mean).powi(2)).sum::<f64>() / count as f64;
        let scale = 1.0 / (variance + epsilon).sqrt();
        for k in 0..count {
            let unit = (values[at(k)] - mean) * scale;
            values[at(k)] = unit * gamma.map_or(1.0, |g| g[k]) + beta.map_or(0.0, |b| b[k]);
        }
    }
    vec![Tensor { ty: a.out().clone(), data: Data::Float(values) }]
}

fn layer_norm_gradient<'b>(g: &mut GradCall<'_, 'b>) {
    // x̂ = (x − μ)·r,  r = (σ² + ε)^−½,  u = dy·γ
    // dx = r·(u − mean u − x̂·mean(u·x̂)),  dγ = Σ dy·x̂,  dβ = Σ dy
    let Ok(n) = Normalised::of(g) else { return };
    let axes: Vec<i64> = n.axes.iter().map(|&i| i as i64).collect();
    let others: Vec<i64> = (0..g.ty("x").rank() as i64).filter(|i| !axes.contains(i)).collect();
    let (x, dy) = (g.arg("x"), g.cotangent());
    let centred = x - x.reduce_mean(&axes, true);
    let scale = ((centred * centred).reduce_mean(&axes, true) + g.float("epsilon")).pow(-0.5);
    let unit = centred * scale;
    let over_others = |v: Var<'b>| if others.is_empty() { v } else { v.reduce_sum(&others, false) };
    if g.wants("gamma") {
        g.give("gamma", over_others(dy * unit));
    }
    if g.wants("beta") {
        g.give("beta", over_others(dy));
    }
    if g.wants("x") {
        let u = if g.has("gamma") { dy * g.arg("gamma").reshape(&n.within) } else { dy };
        let dot = (u * unit).reduce_mean(&axes, true);
        g.give("x", scale * (u - u.reduce_mean(&axes, true) - unit * dot));
    }
}
