//! Normalisations of images, `[N, C, *D]`: with given or own statistics of channels, and of neighbouring channels.

use super::conv::over_channels;
use super::parts::{filled, zeros};
use super::unary::{equal_dtypes, same_type};
use crate::build::Var;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::op::{Absent, Axes, Call, Eval, FLOATS, Grad, I32, OpDef, Work, constant, tensor};
use crate::tensor::{Data, Tensor};
use crate::ty::{Opset, Shape, TensorType};

/// `batch_norm(x, mean, variance, gamma, beta, epsilon)`: `γ·(x − μ)/√(σ² + ε) + β`, four numbers for each channel of `x`
/// `[N, C, *D]`.
///
/// coremltools requires constants; here they may be any value, so that they can be trained.
/// Source: coremltools `iOS15/normalization.py`, class `batch_norm`.
pub static BATCH_NORM: OpDef = OpDef {
    name: "batch_norm",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        tensor("mean", FLOATS),
        tensor("variance", FLOATS),
        tensor("gamma", FLOATS).optional(),
        tensor("beta", FLOATS).optional(),
        constant("epsilon", FLOATS).or(Absent::Float(1e-5)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        check_channels(a, 5, &["mean", "variance", "gamma", "beta"])?;
        same_type(a)
    },
    eval: |a| {
        let (mean, variance) = (a.tensor("mean").as_floats(), a.tensor("variance").as_floats());
        let (gamma, beta, epsilon) = (parameter(a, "gamma"), parameter(a, "beta"), a.float("epsilon"));
        by_channel(a, |c, line| {
            let scale = gamma.map_or(1.0, |g| g[c]) / (variance[c] + epsilon).sqrt();
            line.iter_mut().for_each(|x| *x = (*x - mean[c]) * scale + beta.map_or(0.0, |b| b[c]));
        })
    },
    grad: Grad::Rule(batch_norm_gradient),
};

/// `instance_norm(x, gamma, beta, epsilon)`: `γ·(x − μ)/√(σ² + ε) + β`, mean and variance of each channel of each image of
/// `x` `[N, C, *D]`.
///
/// coremltools requires constants for `gamma` and `beta`; here they may be any value, so that they can be trained.
/// Source: coremltools `iOS15/normalization.py`, class `instance_norm`.
pub static INSTANCE_NORM: OpDef = OpDef {
    name: "instance_norm",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        tensor("gamma", FLOATS).optional(),
        tensor("beta", FLOATS).optional(),
        constant("epsilon", FLOATS).or(Absent::Float(1e-5)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        check_channels(a, 4, &["gamma", "beta"])?;
        same_type(a)
    },
    eval: |a| {
        let (gamma, beta, epsilon) = (parameter(a, "gamma"), parameter(a, "beta"), a.float("epsilon"));
        by_channel(a, |c, line| {
            let n = line.len() as f64;
            let mean = line.iter().sum::<f64>() / n;
            let variance = line.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let scale = gamma.map_or(1.0, |g| g[c]) / (variance + epsilon).sqrt();
            line.iter_mut().for_each(|x| *x = (*x - mean) * scale + beta.map_or(0.0, |b| b[c]));
        })
    },
    grad: Grad::Rule(instance_norm_gradient),
};

/// `local_response_norm(x, size, alpha, beta, k)`: `x/(k + α/size·Σ x²)^β`, the sum over `size` neighbouring channels of
/// `x` `[N, C, *D]`.
///
/// Of the neighbours, `size/2`, rounded down, precede a channel, and the others follow it.
/// Source: coremltools `iOS15/normalization.py`, class `local_response_norm`; which neighbours, from PyTorch, whose
/// layer it stands for.
pub static LOCAL_RESPONSE_NORM: OpDef = OpDef {
    name: "local_response_norm",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        constant("size", I32),
        constant("alpha", FLOATS).or(Absent::Float(1e-4)),
        constant("beta", FLOATS).or(Absent::Float(0.75)),
        constant("k", FLOATS).or(Absent::Float(1.0)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        check_channels(a, 4, &[])?;
        if a.int("size") < 1 {
            return Err(Reject::new(
                "norm-size",
                "`local_response_norm` needs at least one channel to look at",
            )
            .label("size", a.int("size").to_string()));
        }
        same_type(a)
    },
    eval: local_response_norm,
    grad: Grad::Rule(local_response_norm_gradient),
};

/// Refuses an `x` that is not `[N, C, *D]` of at most `most` axes, and parameters that are not `[C]`.
fn check_channels(a: &Call<'_>, most: usize, parameters: &[&'static str]) -> Result<(), Reject> {
    let x = a.ty("x");
    if !(3..=most).contains(&x.rank()) {
        let text = format!("`{}` needs `x` as [N, C, …], of 3 to {most} axes", a.op.name());
        return Err(Reject::new("rank", text).label("x", Shape(&x.shape).to_string()));
    }
    for &name in parameters.iter().filter(|name| a.has(name)) {
        equal_dtypes(a, &["x", name])?;
        if a.ty(name).shape != [x.shape[1]] {
            let text = format!("`{name}` of `{}` needs one number for each channel", a.op.name());
            return Err(Reject::new("norm-shape", text)
                .label(name, Shape(&a.ty(name).shape).to_string())
                .label("x", format!("{} channels", x.shape[1])));
        }
    }
    Ok(())
}

fn parameter<'a>(a: &Eval<'a>, name: &str) -> Option<&'a [f64]> {
    a.has(name).then(|| a.tensor(name).as_floats())
}

/// Applies `f` to each channel of each image of `x`; it receives the channel's index.
fn by_channel(a: &Eval<'_>, f: impl Fn(usize, &mut [f64])) -> Vec<Tensor> {
    let shape = &a.ty("x").shape;
    let mut values = a.tensor("x").to_floats();
    let len = shape[2..].iter().product::<usize>().max(1);
    for (n, line) in values.chunks_mut(len).enumerate() {
        f(n % shape[1], line);
    }
    vec![Tensor { ty: a.out().clone(), data: Data::Float(values) }]
}

/// A value for each channel, so that it broadcasts against `x`.
fn spread<'b>(g: &GradCall<'_, 'b>, v: Var<'b>) -> Var<'b> {
    let x = g.ty("x");
    let shape: Vec<usize> = (0..x.rank()).map(|i| if i == 1 { x.shape[1] } else { 1 }).collect();
    v.reshape(&shape)
}

fn batch_norm_gradient(g: &mut GradCall<'_, '_>) {
    // r = (σ² + ε)^−½,  u = (x − μ)·r
    // dx = dy·γ·r,  dμ = −Σ dx,  dσ² = −½r²·Σ dx·(x − μ),  dγ = Σ dy·u,  dβ = Σ dy
    let dy = g.cotangent();
    let scale = (g.arg("variance") + g.float("epsilon")).pow(-0.5);
    let centred = g.arg("x") - spread(g, g.arg("mean"));
    if g.wants("gamma") {
        g.give("gamma", over_channels(dy * centred) * scale);
    }
    if g.wants("beta") {
        g.give("beta", over_channels(dy));
    }
    if !["x", "mean", "variance"].iter().any(|name| g.wants(name)) {
        return;
    }
    let dx = dy * spread(g, if g.has("gamma") { g.arg("gamma") * scale } else { scale });
    if g.wants("mean") {
        g.give("mean", over_channels(dx) * -1.0);
    }
    if g.wants("variance") {
        g.give("variance", over_channels(dx * centred) * scale * scale * -0.5);
    }
    g.give("x", dx);
}

fn instance_norm_gradient(g: &mut GradCall<'_, '_>) {
    // x̂ = (x − μ)·r,  r = (σ² + ε)^−½,  u = dy·γ
    // dx = r·(u − mean u − x̂·mean(u·x̂)),  dγ = Σ dy·x̂,  dβ = Σ dy
    let axes: Vec<i64> = (2..g.ty("x").rank() as i64).collect();
    let (x, dy) = (g.arg("x"), g.cotangent());
    let centred = x - x.reduce_mean(&axes, true);
    let scale = ((centred * centred).reduce_mean(&axes, true) + g.float("epsilon")).pow(-0.5);
    let unit = centred * scale;
    if g.wants("gamma") {
        g.give("gamma", over_channels(dy * unit));
    }
    if g.wants("beta") {
        g.give("beta", over_channels(dy));
    }
    if g.wants("x") {
        let u = if g.has("gamma") { dy * spread(g, g.arg("gamma")) } else { dy };
        let dot = (u * unit).reduce_mean(&axes, true);
        g.give("x", scale * (u - u.reduce_mean(&axes, true) - unit * dot));
    }
}

/// The numbers of neighbours before and after a channel, clamped to the number of channels.
fn neighbours(a: &Call<'_>) -> (usize, usize) {
    let (size, most) = (a.int("size").max(1) as usize, a.ty("x").shape[1].saturating_sub(1));
    ((size / 2).min(most), ((size - 1) / 2).min(most))
}

fn local_response_norm(a: &Eval<'_>) -> Vec<Tensor> {
    let x = a.tensor("x");
    let ((before, after), shape) = (neighbours(a), &x.ty.shape);
    let (channels, len) = (shape[1], shape[2..].iter().product::<usize>());
    let (alpha, beta, k) = (a.float("alpha") / a.int("size") as f64, a.float("beta"), a.float("k"));
    let values = x.as_floats();
    let normed = |n: usize| {
        let (line, c) = (n / (channels * len) * channels, n / len % channels);
        let near = c.saturating_sub(before)..=(c + after).min(channels - 1);
        let sum: f64 = near.map(|c| values[(line + c) * len + n % len].powi(2)).sum();
        values[n] / (k + alpha * sum).powf(beta)
    };
    let out = (0..values.len()).map(normed).collect();
    vec![Tensor { ty: a.out().clone(), data: Data::Float(out) }]
}

fn local_response_norm_gradient(g: &mut GradCall<'_, '_>) {
    // d = k + α/size·S(x²), S the sum over neighbours, Sᵀ its transpose
    // dx = dy·d^−β − 2β·α/size·x·Sᵀ(dy·y/d)
    if g.ty("x").elements() == 0 {
        let nothing = zeros(g, g.ty("x"));
        return g.give("x", nothing);
    }
    let ((before, after), x, y, dy) = (neighbours(g), g.arg("x"), g.output(), g.cotangent());
    let (alpha, beta) = (g.float("alpha") / g.int("size") as f64, g.float("beta"));
    let d = neighbour_sums(x * x, before, after) * alpha + g.float("k");
    let others = neighbour_sums(dy * y / d, after, before) * (2.0 * alpha * beta);
    g.give("x", dy * d.pow(-beta) - x * others);
}

/// For each channel the sum of `v` over it, the `before` channels before it and the `after` channels after it.
fn neighbour_sums(v: Var<'_>, before: usize, after: usize) -> Var<'_> {
    let shape = v.shape();
    let ones = TensorType::new(v.ty().dtype, [1, 1, before + after + 1, 1]);
    let image = v.reshape(&[shape[0], 1, shape[1], shape[2..].iter().product()]);
    let args = [
        ("x", image.into()),
        ("weight", filled(v.builder(), &ones, 1.0).into()),
        ("pad_type", "custom".into()),
        ("pad", vec![before as i64, after as i64, 0, 0].into()),
    ];
    v.builder().op("conv", args).reshape(&shape)
}
