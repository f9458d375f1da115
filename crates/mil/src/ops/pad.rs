//! Padding.

use super::parts::{reversed, zeros};
use super::unary::equal_dtypes;
use crate::build::Var;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::op::{Absent, Axes, Call, Eval, FLOATS, Grad, I32, OpDef, STR, Work, constant, known, tensor};
use crate::tensor::{Data, Tensor, strides, unflatten};
use crate::ty::{Opset, Shape, TensorType};

/// `pad(x, pad, mode, constant_val)`: pads `x` before and after along its last axes, two numbers of `pad` for each.
///
/// Mode `constant` fills with `constant_val`, `replicate` with the outermost element, `reflect` mirrors at
/// the outermost element.
/// Source: coremltools `iOS15/tensor_operation.py`, class `pad`.
pub static PAD: OpDef = OpDef {
    name: "pad",
    since: Opset::Ios15,
    params: &[
        tensor("x", FLOATS),
        known("pad", I32),
        constant("mode", STR).or(Absent::Str("constant")),
        constant("constant_val", FLOATS).or(Absent::Float(0.0)),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        equal_dtypes(a, &["x", "constant_val"])?;
        let (x, ends, mode) = (a.ty("x"), ends(a)?, Mode::of(a)?);
        let size = |(i, (&d, &(before, after))): (usize, (&usize, &(usize, usize)))| {
            if before.max(after) > mode.most(d) {
                let text = format!("`pad` has not enough elements to {} along axis {i}", a.str("mode"));
                return Err(Reject::new("pad-size", text)
                    .label("x", format!("{d} elements"))
                    .label("pad", format!("{before} before, {after} after"))
                    .help(format!("use at most {} at either end", mode.most(d))));
            }
            let sum = d.checked_add(before).and_then(|d| d.checked_add(after));
            sum.ok_or_else(|| Reject::new("pad-size", format!("`pad` makes axis {i} too long")))
        };
        let shape: Result<Vec<usize>, Reject> = x.shape.iter().zip(&ends).enumerate().map(size).collect();
        Ok(vec![TensorType::new(x.dtype, shape?)])
    },
    eval: pad,
    grad: Grad::Rule(pad_gradient),
};

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Constant,
    Reflect,
    Replicate,
}

impl Mode {
    fn of(a: &Call<'_>) -> Result<Mode, Reject> {
        match a.str("mode") {
            "constant" => Ok(Mode::Constant),
            "reflect" => Ok(Mode::Reflect),
            "replicate" => Ok(Mode::Replicate),
            other => Err(Reject::new("pad-mode", format!("`pad` has no mode `{other}`"))
                .help("use `constant`, `reflect` or `replicate`")),
        }
    }

    /// The most that an axis of `d` elements can be padded at one end.
    fn most(self, d: usize) -> usize {
        match self {
            Mode::Constant => usize::MAX,
            Mode::Reflect => d.saturating_sub(1),
            Mode::Replicate => d,
        }
    }

    /// The source index, of `d` elements, at position `at`, counted from the first; `None` for the constant.
    fn place(self, at: i64, d: usize) -> Option<usize> {
        let last = d as i64 - 1;
        let place = match self {
            Mode::Constant => Some(at).filter(|at| (0..=last).contains(at))?,
            Mode::Replicate => at.clamp(0, last),
            Mode::Reflect => last - (last - at.abs()).abs(),
        };
        Some(place as usize)
    }
}

/// The padding before and after each axis of `x`.
fn ends(a: &Call<'_>) -> Result<Vec<(usize, usize)>, Reject> {
    let (x, pad) = (a.ty("x"), a.ints("pad"));
    let refuse = |text: &str| {
        Err(Reject::new("pad-list", format!("`pad` {text}"))
            .label("x", Shape(&x.shape).to_string())
            .label("pad", format!("{pad:?}")))
    };
    if a.ty("pad").rank() != 1 || pad.len() % 2 != 0 || pad.len() / 2 > x.rank() {
        return refuse("needs two numbers for each of the last axes of `x`");
    }
    let mut ends = vec![(0, 0); x.rank() - pad.len() / 2];
    for pair in pad.chunks(2) {
        match (usize::try_from(pair[0]), usize::try_from(pair[1])) {
            (Ok(before), Ok(after)) => ends.push((before, after)),
            _ => return refuse("cannot add less than nothing"),
        }
    }
    Ok(ends)
}

fn pad(a: &Eval<'_>) -> Vec<Tensor> {
    let (Ok(ends), Ok(mode)) = (ends(a), Mode::of(a)) else { return Vec::new() };
    let (x, out, filler) = (a.tensor("x"), a.out(), a.float("constant_val"));
    let (steps, mut index) = (strides(&x.ty.shape), vec![0; out.rank()]);
    let value = |n: usize| {
        unflatten(n, &out.shape, &mut index);
        let mut from = 0;
        for (axis, &i) in index.iter().enumerate() {
            match mode.place(i as i64 - ends[axis].0 as i64, x.ty.shape[axis]) {
                Some(place) => from += place * steps[axis],
                None => return filler,
            }
        }
        x.as_floats()[from]
    };
    let values = (0..out.elements()).map(value).collect();
    vec![Tensor { ty: out.clone(), data: Data::Float(values) }]
}

fn pad_gradient(g: &mut GradCall<'_, '_>) {
    // dx is the middle of dy; cotangents of copied elements are added to their sources
    let (Ok(ends), Ok(mode)) = (ends(g), Mode::of(g)) else { return };
    let x = g.ty("x");
    if x.elements() == 0 {
        let nothing = zeros(g, x);
        return g.give("x", nothing);
    }
    let mut v = g.cotangent();
    if mode == Mode::Constant {
        let begin: Vec<usize> = ends.iter().map(|e| e.0).collect();
        g.give("x", if v.shape() == x.shape { v } else { v.slice(&begin, &x.shape) });
        return;
    }
    for (axis, (&(before, after), &d)) in ends.iter().zip(&x.shape).enumerate() {
        let part = |begin: usize, size: usize| {
            let (mut begins, mut sizes) = (vec![0; x.rank()], v.shape());
            (begins[axis], sizes[axis]) = (begin, size);
            v.slice(&begins, &sizes)
        };
        let mut sum = if before + after == 0 { v } else { part(before, d) };
        // In a mirror each element of an end is one of `x`, but none the outermost; else all are the outermost.
        let (mirror, behind) = match mode {
            Mode::Reflect => (1, [before, after].map(|n| d.saturating_sub(1 + n))),
            _ => (0, [d.saturating_sub(1); 2]),
        };
        if before > 0 {
            sum = sum + placed(folded(part(0, before), mode, axis), axis, mirror, behind[0]);
        }
        if after > 0 {
            sum = sum + placed(folded(part(before + d, after), mode, axis), axis, behind[1], mirror);
        }
        v = sum;
    }
    g.give("x", v);
}

/// The contribution of one end of a cotangent to its source elements.
fn folded<'b>(end: Var<'b>, mode: Mode, axis: usize) -> Var<'b> {
    match mode {
        Mode::Reflect => reversed(end, vec![axis as i64]),
        _ => end.reduce_sum(&[axis as i64], true),
    }
}

/// `v` with zeros before and after it along `axis`.
fn placed(v: Var<'_>, axis: usize, before: usize, after: usize) -> Var<'_> {
    let mut pad = vec![0; 2 * v.ty().rank()];
    (pad[2 * axis], pad[2 * axis + 1]) = (before as i64, after as i64);
    v.builder().op("pad", [("x", v.into()), ("pad", pad.into()), ("mode", "constant".into())])
}
