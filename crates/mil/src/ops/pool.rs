//! Pools: one number for each window.

use super::parts::compare;
use super::parts::filled;
use super::window::{Axis, Rest, check_image, convolved, sizes, windows};
use crate::build::Var;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::ir::Literal;
use crate::op::{
    Absent, Axes, BOOL, Call, Eval, FLOATS, Grad, I32, OpDef, Param, STR, Work, constant, tensor,
};
use crate::tensor::{Data, Tensor, strides, unflatten};
use crate::ty::{DType, Opset, TensorType};

/// `max_pool(x, kernel_sizes, strides, pad_type, pad, ceil_mode)`: the largest element of each window of `x`
/// `[N, C, *D]`; padding counts for nothing.
/// Source: coremltools `iOS15/pool.py`, class `max_pool`.
pub static MAX_POOL: OpDef = OpDef {
    name: "max_pool",
    since: Opset::Ios15,
    params: PARAMS,
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| Ok(vec![Plan::of(a)?.out]),
    eval: |a| pooled(a, |window, _| window.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
    grad: Grad::Rule(max_pool_gradient),
};

/// `avg_pool(x, kernel_sizes, strides, pad_type, pad, exclude_padding_from_average, ceil_mode)`: the mean of each window
/// of `x` `[N, C, *D]`, padding counted as zeros or not counted.
///
/// Elements that `ceil_mode` adds beyond the padding are never counted, as in PyTorch.
/// Source: coremltools `iOS15/pool.py`, class `avg_pool`.
pub static AVG_POOL: OpDef = OpDef {
    name: "avg_pool",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        constant("kernel_sizes", I32),
        constant("strides", I32).optional(),
        constant("pad_type", STR),
        constant("pad", I32).optional(),
        constant("exclude_padding_from_average", BOOL).or(Absent::Bool(false)),
        constant("ceil_mode", BOOL).or(Absent::Bool(false)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| Ok(vec![Plan::of(a)?.out]),
    eval: |a| {
        let exclude = a.bool("exclude_padding_from_average");
        pooled(a, |window, padded| {
            window.iter().sum::<f64>() / if exclude { window.len() } else { padded } as f64
        })
    },
    grad: Grad::Rule(avg_pool_gradient),
};

/// `l2_pool(x, kernel_sizes, strides, pad_type, pad, ceil_mode)`: `√Σ x²` of each window of `x` `[N, C, *D]`, with one or
/// two spatial axes.
/// Source: coremltools `iOS15/pool.py`, class `l2_pool`; the formula from its tests, `test_pool.py`.
pub static L2_POOL: OpDef = OpDef {
    name: "l2_pool",
    since: Opset::Ios15,
    params: PARAMS,
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| match a.ty("x").rank() {
        5 => {
            Err(Reject::new("rank", "`l2_pool` works on one or two spatial axes").label("x", "it has three"))
        }
        _ => Ok(vec![Plan::of(a)?.out]),
    },
    eval: |a| pooled(a, |window, _| window.iter().map(|x| x * x).sum::<f64>().sqrt()),
    grad: Grad::Rule(|g| {
        // dx = x · Σ dy/y, the sum over the windows that x is in
        let Ok(Plan { axes, .. }) = Plan::of(g) else { return };
        let dx = g.arg("x") * handed_back(g, g.cotangent() / g.output(), &axes);
        g.give("x", dx);
    }),
};

const PARAMS: &[Param] = &[
    tensor("x", FLOATS),
    constant("kernel_sizes", I32),
    constant("strides", I32).optional(),
    constant("pad_type", STR),
    constant("pad", I32).optional(),
    constant("ceil_mode", BOOL).or(Absent::Bool(false)),
];

struct Plan {
    axes: Vec<Axis>,
    out: TensorType,
}

impl Plan {
    fn of(a: &Call<'_>) -> Result<Plan, Reject> {
        check_image(a, "x")?;
        let x = a.ty("x");
        let sizes = sizes(a, "kernel_sizes", x.rank() - 2)?;
        let rest = if a.bool("ceil_mode") { Rest::Seen } else { Rest::LeftOut };
        if rest == Rest::Seen {
            check_ceil_mode(a)?;
        }
        let axes = windows(a, &sizes, rest)?;
        for (i, axis) in axes.iter().enumerate() {
            let last = (axis.count - 1) * axis.stride;
            if axis.before >= axis.size || last >= axis.before + axis.len {
                let text = format!("a window of `{}` lies entirely in the padding", a.op.name());
                return Err(Reject::new("empty-window", text)
                    .label("x", format!("{} elements along axis {}", axis.len, i + 2))
                    .label("kernel_sizes", axis.size.to_string())
                    .help(format!("the padding is {} and {}", axis.before, axis.after)));
            }
        }
        let mut shape = x.shape[..2].to_vec();
        shape.extend(axes.iter().map(|axis| axis.count));
        Ok(Plan { axes, out: TensorType::new(x.dtype, shape) })
    }
}

fn check_ceil_mode(a: &Call<'_>) -> Result<(), Reject> {
    let refuse = |text: &str| {
        Err(Reject::new("ceil-mode", format!("`{}` rounds up only {text}", a.op.name()))
            .label("ceil_mode", "true")
            .help("set `ceil_mode = false`"))
    };
    if a.ty("x").rank() > 4 {
        return refuse("on one or two spatial axes");
    }
    if a.str("pad_type").to_ascii_lowercase().starts_with("same") {
        return refuse("with `valid` or `custom` padding");
    }
    if a.ints("pad").chunks(2).any(|ends| ends.first() != ends.last()) {
        return refuse("with equal padding at both ends");
    }
    Ok(())
}

/// Applies `f` to the elements of each window and their number with padding.
fn pooled(a: &Eval<'_>, f: impl Fn(&[f64], usize) -> f64) -> Vec<Tensor> {
    let Ok(Plan { axes, out }) = Plan::of(a) else { return Vec::new() };
    let x = a.tensor("x");
    let steps = strides(&x.ty.shape);
    let mut at = vec![0; out.rank()];
    let (mut offsets, mut window) = (Vec::new(), Vec::new());
    let values = (0..out.elements()).map(|n| {
        unflatten(n, &out.shape, &mut at);
        offsets.clear();
        offsets.push(at[0] * steps[0] + at[1] * steps[1]);
        let mut padded = 1;
        for ((axis, &at), step) in axes.iter().zip(&at[2..]).zip(&steps[2..]) {
            padded *= axis.padded_size(at);
            // Of a window, only the taps within `x`.
            let first = axis.before.saturating_sub(at * axis.stride);
            let places: Vec<usize> = (first..axis.size).map_while(|tap| axis.place(at, tap)).collect();
            offsets = offsets.iter().flat_map(|o| places.iter().map(move |p| o + p * step)).collect();
        }
        window.clear();
        window.extend(offsets.iter().map(|&o| x.as_floats()[o]));
        f(&window, padded)
    });
    let data = Data::Float(values.collect());
    vec![Tensor { ty: out.clone(), data }]
}

/// The sum, for each element of `x`, of `v` at the windows it is in.
fn handed_back<'b>(g: &GradCall<'_, 'b>, v: Var<'b>, axes: &[Axis]) -> Var<'b> {
    let (x, axes) = (g.ty("x"), axes.iter().map(Axis::trimmed).collect::<Vec<_>>());
    let images = |spatial: &dyn Fn(&Axis) -> usize, images: usize| -> Vec<usize> {
        [images, 1].into_iter().chain(axes.iter().map(spatial)).collect()
    };
    let n = x.shape[0] * x.shape[1];
    let ones = filled(g.builder(), &TensorType::new(x.dtype, images(&|axis| axis.size, 1)), 1.0);
    let shape = images(&|axis| axis.len, n);
    let v = v.reshape(&images(&|axis| axis.count, n));
    convolved("conv_transpose", v, ones, &axes, 1, Some(&shape)).reshape(&x.shape)
}

fn avg_pool_gradient(g: &mut GradCall<'_, '_>) {
    // dx = Σ dy/n, the sum over the windows that x is in, n the number that its window counts
    let Ok(Plan { axes, out }) = Plan::of(g) else { return };
    let exclude = g.bool("exclude_padding_from_average");
    let mut dy = g.cotangent();
    let mut scale = 1.0;
    for (i, axis) in axes.iter().enumerate() {
        let within = |at: usize| {
            let start = (at * axis.stride).max(axis.before);
            (at * axis.stride + axis.size).min(axis.before + axis.len) - start
        };
        let count = |at| (if exclude { within(at) } else { axis.padded_size(at) }) as f64;
        let counts: Vec<f64> = (0..axis.count).map(count).collect();
        if counts.iter().all(|&n| n == counts[0]) {
            scale /= counts[0];
            continue;
        }
        let mut shape = vec![1; out.rank()];
        shape[i + 2] = axis.count;
        let each = Tensor::floats(TensorType::new(out.dtype, shape), counts.iter().map(|n| 1.0 / n));
        dy = dy * g.builder().op("const", [("val", Literal::inline(each).into())]);
    }
    let dx = handed_back(g, if scale == 1.0 { dy } else { dy * scale }, &axes);
    g.give("x", dx);
}

/// Windows of more elements are not differentiated by `max_pool`: it compares each element by itself.
const MOST_TAPS: usize = 1024;

/// The cotangent goes to the extreme elements, in equal parts if there are several.
fn max_pool_gradient(g: &mut GradCall<'_, '_>) {
    let Ok(Plan { axes, out }) = Plan::of(g) else { return };
    let (x, y, dy) = (g.arg("x"), g.output(), g.cotangent());
    let (dtype, axes) = (out.dtype, axes.iter().map(Axis::trimmed).collect::<Vec<_>>());
    if axes.iter().all(|axis| axis.count == 1 && axis.size == axis.len) {
        // One window, over all of `x`.
        let spatial: Vec<i64> = (2..out.rank() as i64).collect();
        let won = compare("equal", x, y).cast(dtype);
        g.give("x", won * (dy / won.reduce_sum(&spatial, true)));
        return;
    }
    let sizes: Vec<usize> = axes.iter().map(|axis| axis.size).collect();
    let taps = sizes.iter().fold(1usize, |n, &k| n.saturating_mul(k));
    if taps > MOST_TAPS {
        g.refuse(format!("its windows have {taps} elements, more than {MOST_TAPS}"));
        return;
    }
    // For each element of a window, whether it is the maximum: [N·C, taps, *P].
    let padded = padded(x, &axes, dtype);
    let n = out.shape[0] * out.shape[1];
    let images: Vec<usize> = [&[n, 1], &out.shape[2..]].concat();
    let mut tap = vec![0; sizes.len()];
    let won = (0..taps).map(|t| {
        unflatten(t, &sizes, &mut tap);
        compare("equal", seen(padded, &axes, &tap), y).cast(dtype).reshape(&images)
    });
    let won: Vec<Var<'_>> = won.collect();
    let won = if taps == 1 { Some(won[0]) } else { Var::concat(won, 1) };
    let Some(won) = won else { return };
    let parts = won * (dy.reshape(&images) / won.reduce_sum(&[1], true));
    // Each is scattered back to its position: window t has a one at t.
    let ones = (0..taps * taps).map(|i| if i / taps == i % taps { 1.0 } else { 0.0 });
    let places = Tensor::floats(TensorType::new(dtype, [&[taps, 1], &sizes[..]].concat()), ones);
    let places = g.builder().op("const", [("val", Literal::inline(places).into())]);
    let shape: Vec<usize> = [n, 1].into_iter().chain(axes.iter().map(|axis| axis.len)).collect();
    let dx = convolved("conv_transpose", parts, places, &axes, 1, Some(&shape));
    g.give("x", dx.reshape(&g.ty("x").shape));
}

/// Pads `x` with values that are never the maximum, so that all windows are inside.
fn padded<'b>(x: Var<'b>, axes: &[Axis], dtype: DType) -> Var<'b> {
    let pad: Vec<i64> = axes.iter().flat_map(|a| [a.before as i64, a.reached_after() as i64]).collect();
    if pad.iter().all(|&n| n == 0) {
        return x;
    }
    let lowest = x.builder().scalar(dtype, f64::NEG_INFINITY);
    let args =
        [("x", x.into()), ("pad", pad.into()), ("mode", "constant".into()), ("constant_val", lowest.into())];
    x.builder().op("pad", args)
}

/// Element `tap` of each window.
fn seen<'b>(padded: Var<'b>, axes: &[Axis], tap: &[usize]) -> Var<'b> {
    let shape = padded.shape();
    let (mut begin, mut end, mut stride) = (vec![0; 2], vec![shape[0] as i64, shape[1] as i64], vec![1; 2]);
    for (axis, &tap) in axes.iter().zip(tap) {
        begin.push(tap as i64);
        end.push((tap + (axis.count - 1) * axis.stride + 1) as i64);
        stride.push(axis.stride as i64);
    }
    let args =
        [("x", padded.into()), ("begin", begin.into()), ("end", end.into()), ("stride", stride.into())];
    padded.builder().op("slice_by_index", args)
}
