//! Parts of a tensor.

use super::parts::{between_zeros, dilated, put_at, reversed, zeros};
use super::unary::{equal_dtypes, same_type};
use crate::build::Input;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::ir::Literal;
use crate::op::{ANY, Axes, BOOL, Call, Grad, INDEX, OpDef, Work, bound, constant, known, tensor};
use crate::tensor::{Data, Tensor, flatten, strides, unflatten};
use crate::ty::{DType, Opset, Shape, TensorType};

/// `slice_by_size(x, begin, size)`: the part that begins at `begin`, which may be computed; a size of `-1` reaches to the
/// end.
/// Source: coremltools `iOS15/tensor_operation.py`, class `slice_by_size`.
pub static SLICE_BY_SIZE: OpDef = OpDef {
    name: "slice_by_size",
    since: Opset::Ios15,
    params: &[tensor("x", ANY), bound("begin", INDEX), known("size", INDEX)],
    axes: Axes::Slice,
    work: Work::Free,
    infer: |a| {
        let size = match a.data("begin") {
            Some(_) => part(a)?.1,
            None => part_from_anywhere(a)?,
        };
        Ok(vec![TensorType::new(a.ty("x").dtype, size)])
    },
    eval: |a| {
        let x = a.tensor("x");
        let steps = strides(&x.ty.shape);
        let (begin, _) = part(a).unwrap_or_default();
        let start = flatten(&begin, &steps);
        vec![x.gathered(a.out().clone(), |index| start + flatten(index, &steps))]
    },
    grad: Grad::Rule(|g| {
        // dx is dy between zeros
        let dx = match g.data("begin") {
            Some(_) => {
                let (begin, size) = part(g).unwrap_or_default();
                between_zeros(g, g.cotangent(), &begin, size)
            }
            None => {
                let (begin, none) = (g.arg("begin"), zeros(g, g.ty("x")));
                let size: Vec<i64> = g.cotangent().shape().iter().map(|&d| d as i64).collect();
                put_at(g, none, g.cotangent(), begin, size)
            }
        };
        g.give("x", dx);
    }),
};

/// `slice_by_index(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)`: `x[begin:end:stride]` as in NumPy.
///
/// Negative `begin` and `end` count from the end, and a true mask omits a bound. A true
/// `squeeze_mask` takes the element at `begin` and drops the axis. There may be nothing
/// in between. Bounds may be computed where they decide no size: of axes that are squeezed.
/// Source: coremltools `iOS15` and, for narrow bounds, `iOS17/tensor_transformation.py`, class `slice_by_index`.
pub static SLICE_BY_INDEX: OpDef = OpDef {
    name: "slice_by_index",
    since: Opset::Ios15,
    params: &[
        tensor("x", ANY),
        bound("begin", INDEX),
        bound("end", INDEX),
        known("stride", INDEX).optional(),
        constant("begin_mask", BOOL).optional(),
        constant("end_mask", BOOL).optional(),
        constant("squeeze_mask", BOOL).optional(),
    ],
    axes: Axes::Slice,
    work: Work::Free,
    infer: |a| {
        let shape =
            if is_placed(a) { Some(kept_shape(&ranges(a)?)) } else { sizes(a)?.into_iter().collect() };
        let Some(shape) = shape else {
            return Err(Reject::new(
                "data-dependent",
                "the size of `slice_by_index` depends on computed bounds",
            )
            .label("begin", describe(a, "begin"))
            .label("end", describe(a, "end"))
            .help("slice a constant size with `slice_by_size`, or run it with `--engine reference`"));
        };
        Ok(vec![TensorType::new(a.ty("x").dtype, shape)])
    },
    eval: |a| {
        let x = a.tensor("x");
        let from = source(&ranges(a).unwrap_or_default(), &x.ty.shape);
        vec![x.gathered(a.out().clone(), from)]
    },
    grad: Grad::Rule(|g| {
        if !is_placed(g) {
            return g.refuse("its bounds are computed");
        }
        // dx is dy with zeros inserted between strided elements, then padded
        let ranges = ranges(g).unwrap_or_default();
        let mut size: Vec<usize> = ranges.iter().map(|r| r.len).collect();
        let mut v = g.cotangent();
        if v.shape() != size {
            v = v.reshape(&size);
        }
        let mut begin = Vec::new();
        for (axis, r) in ranges.iter().enumerate() {
            let last = r.start as i64 + (r.len as i64 - 1) * r.step;
            begin.push(r.start.min(last as usize));
            if r.step < 0 {
                v = reversed(v, vec![axis as i64]);
            }
            if r.step.abs() > 1 {
                v = dilated(g, v, &mut size, axis, r.step.unsigned_abs() as usize);
            }
        }
        let dx = between_zeros(g, v, &begin, size);
        g.give("x", dx);
    }),
};

/// `slice_update(x, update, begin, end, stride, begin_mask, end_mask, squeeze_mask)`: `x`, after
/// `x[begin:end:stride] = update`; the part is what `slice_by_index` would take. Bounds may be computed, as a cache of
/// keys and values needs it; that the part has the shape of `update` is then found out when it runs.
/// Source: coremltools `iOS18/tensor_transformation.py`, class `slice_update`.
pub static SLICE_UPDATE: OpDef = OpDef {
    name: "slice_update",
    since: Opset::Ios18,
    params: &[
        tensor("x", ANY),
        tensor("update", ANY),
        bound("begin", INDEX),
        bound("end", INDEX),
        known("stride", INDEX).optional(),
        constant("begin_mask", BOOL).optional(),
        constant("end_mask", BOOL).optional(),
        constant("squeeze_mask", BOOL).optional(),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        equal_dtypes(a, &["x", "update"])?;
        let update = a.ty("update");
        let (fits, part) = if is_placed(a) {
            let part = kept_shape(&ranges(a)?);
            (update.shape == part, part)
        } else {
            // Known bounds must match; unknown ones can cover all of an axis.
            let (sizes, whole) = (sizes(a)?, kept_axes(a));
            let fits = sizes.len() == update.rank()
                && sizes.iter().zip(&whole).zip(&update.shape).all(|((size, &most), &own)| match size {
                    Some(size) => own == *size,
                    None => own <= most,
                });
            let most = sizes.iter().zip(&whole).map(|(size, &most)| size.unwrap_or(most));
            (fits, most.collect())
        };
        if !fits || update.rank() == 0 {
            let (part, own) = (Shape(&part).to_string(), Shape(&update.shape).to_string());
            let text = format!("`slice_update` puts an `update` of {own} over a part of {part}");
            let help = match update.rank() {
                0 => "a scalar needs one axis: do not squeeze all",
                _ => "choose `begin` and `end` within `x` so that the slice has the size of `update`",
            };
            let reject = Reject::new("slice-update", text).label("x", format!("{part} of it"));
            return Err(reject.label("update", own).help(help));
        }
        same_type(a)
    },
    eval: |a| {
        let (mut out, update) = (a.tensor("x").clone(), a.tensor("update"));
        let ranges = ranges(a).unwrap_or_default();
        let mut to = source(&ranges, &out.ty.shape);
        let mut index = vec![0; update.ty.rank()];
        for n in 0..update.ty.elements() {
            unflatten(n, &update.ty.shape, &mut index);
            let to = to(&index);
            match (&mut out.data, &update.data) {
                (Data::Float(d), Data::Float(v)) => d[to] = v[n],
                (Data::Int(d), Data::Int(v)) => d[to] = v[n],
                (Data::Bool(d), Data::Bool(v)) => d[to] = v[n],
                (Data::Str(d), Data::Str(v)) => d[to].clone_from(&v[n]),
                _ => {}
            }
        }
        vec![out]
    },
    grad: Grad::Rule(|g| {
        // `update` gets the part of dy, `x` the rest
        let dy = g.cotangent();
        if g.wants("update") {
            let args = std::iter::once(("x", dy.into())).chain(bounds(g));
            if is_placed(g) {
                let part = g.builder().op("slice_by_index", args);
                g.give("update", part);
            } else if ["stride", "begin_mask", "squeeze_mask"].iter().any(|name| g.has(name)) {
                g.refuse("its bounds are computed, with strides or masks");
            } else {
                let size: Vec<i64> = g.ty("update").shape.iter().map(|&d| d as i64).collect();
                let args = [("x", dy.into()), ("begin", g.arg("begin").into()), ("size", size.into())];
                let part = g.builder().op("slice_by_size", args);
                g.give("update", part);
            }
        }
        if g.wants("x") {
            let none = zeros(g, g.ty("update"));
            let args = [("x", dy.into()), ("update", none.into())];
            let rest = g.builder().op("slice_update", args.into_iter().chain(bounds(g)));
            g.give("x", rest);
        }
    }),
};

/// The arguments that select the part, for gradient rules.
fn bounds<'b>(g: &GradCall<'_, 'b>) -> Vec<(&'static str, Input<'b>)> {
    let ints = ["begin", "end", "stride"].map(|name| {
        let computed = g.has(name) && g.data(name).is_none();
        (name, if computed { g.arg(name).into() } else { g.ints(name).into() })
    });
    let masks = ["begin_mask", "end_mask", "squeeze_mask"].map(|name| {
        let mask = g.bools(name);
        let ty = TensorType::new(DType::Bool, [mask.len()]);
        (name, Literal::inline(Tensor { ty, data: Data::Bool(mask) }).into())
    });
    ints.into_iter().chain(masks).filter(|(name, _)| g.has(name)).collect()
}

/// Begin and size of a slice, resolved.
fn part(a: &Call<'_>) -> Result<(Vec<usize>, Vec<usize>), Reject> {
    let x = a.ty("x");
    let (begin, size) = (a.ints("begin"), a.ints("size"));
    let fits = begin.len() == x.rank() && size.len() == x.rank();
    let resolve = |i: usize| -> Option<(usize, usize)> {
        let d = x.shape[i];
        let b =
            if begin[i] < 0 { d.checked_sub(begin[i].unsigned_abs() as usize)? } else { begin[i] as usize };
        let s = if size[i] == -1 { d.checked_sub(b)? } else { usize::try_from(size[i]).ok()? };
        (b.checked_add(s)? <= d).then_some((b, s))
    };
    match fits.then(|| (0..x.rank()).map(resolve).collect::<Option<Vec<_>>>()).flatten() {
        Some(parts) => Ok(parts.into_iter().unzip()),
        None => Err(Reject::new("slice-bounds", "`slice_by_size` reaches outside of `x`")
            .label("x", Shape(&x.shape).to_string())
            .label("begin", format!("{begin:?}"))
            .label("size", format!("{size:?}"))),
    }
}

/// The size of a slice whose begin is computed.
fn part_from_anywhere(a: &Call<'_>) -> Result<Vec<usize>, Reject> {
    let (x, size) = (a.ty("x"), a.ints("size"));
    if size.contains(&-1) && size.len() == x.rank() {
        return Err(Reject::new("data-dependent", "the size up to the end depends on a computed `begin`")
            .label("begin", describe(a, "begin"))
            .label("size", format!("{size:?}"))
            .help("write each size, or run it with `--engine reference`"));
    }
    let fits = |(&s, &d): (&i64, &usize)| usize::try_from(s).ok().filter(|&s| s <= d);
    let sizes = size.iter().zip(&x.shape).map(fits).collect::<Option<Vec<usize>>>();
    let begins = a.ty("begin").elements();
    match sizes.filter(|_| size.len() == x.rank() && begins == x.rank()) {
        Some(sizes) => Ok(sizes),
        None => Err(Reject::new("slice-bounds", "`slice_by_size` reaches outside of `x`")
            .label("x", Shape(&x.shape).to_string())
            .label("begin", describe(a, "begin"))
            .label("size", format!("{size:?}"))),
    }
}

/// The elements of `name`, or that they are computed.
fn describe(a: &Call<'_>, name: &str) -> String {
    match a.data(name) {
        Some(_) => format!("{:?}", a.ints(name)),
        None => "computed".to_owned(),
    }
}

/// Whether all bounds of a slice are known.
fn is_placed(a: &Call<'_>) -> bool {
    a.data("begin").is_some() && a.data("end").is_some()
}

/// The axes of `x` that a slice keeps: their sizes.
fn kept_axes(a: &Call<'_>) -> Vec<usize> {
    let squeezed = a.bools("squeeze_mask");
    let kept = |axis: &usize| !squeezed.get(*axis).copied().unwrap_or(false);
    (0..a.ty("x").rank()).filter(kept).map(|axis| a.ty("x").shape[axis]).collect()
}

/// The size of each axis that a slice keeps; `None` if computed bounds decide it.
fn sizes(a: &Call<'_>) -> Result<Vec<Option<usize>>, Reject> {
    let x = a.ty("x");
    lengths(a)?;
    let stride = a.ints("stride");
    let masks = ["begin_mask", "end_mask", "squeeze_mask"].map(|name| a.bools(name));
    let flag = |which: usize, axis: usize| masks[which].get(axis).copied().unwrap_or(false);
    let mut out = Vec::new();
    for (axis, &d) in x.shape.iter().enumerate().filter(|(axis, _)| !flag(2, *axis)) {
        let step = stride.get(axis).copied().unwrap_or(1);
        let whole = flag(0, axis) && flag(1, axis) && step != 0;
        out.push(whole.then(|| d.div_ceil(step.unsigned_abs() as usize)));
    }
    Ok(out)
}

/// Refuses a slice that does not have one bound for each axis of `x`.
fn lengths(a: &Call<'_>) -> Result<(), Reject> {
    let rank = a.ty("x").rank();
    for name in ["begin", "end", "stride", "begin_mask", "end_mask", "squeeze_mask"] {
        if !a.has(name) || a.ty(name).elements() == rank {
            continue;
        }
        let text = format!("`{}` needs one bound for each axis of `x`", a.op.name());
        return Err(Reject::new("slice-rank", text)
            .label("x", format!("{rank} axes"))
            .label(name, format!("{} elements", a.ty(name).elements())));
    }
    Ok(())
}

/// The shape of the part selected by `ranges`.
fn kept_shape(ranges: &[Range]) -> Vec<usize> {
    ranges.iter().filter(|r| !r.squeezed).map(|r| r.len).collect()
}

/// The flat position in `shape` of each index of the part selected by `ranges`.
fn source(ranges: &[Range], shape: &[usize]) -> impl FnMut(&[usize]) -> usize + use<> {
    let steps = strides(shape);
    let start: usize = ranges.iter().zip(&steps).map(|(r, s)| r.start * s).sum();
    let kept: Vec<i64> =
        ranges.iter().zip(&steps).filter(|(r, _)| !r.squeezed).map(|(r, &s)| r.step * s as i64).collect();
    move |index| {
        let moved: i64 = index.iter().zip(&kept).map(|(&i, s)| i as i64 * s).sum();
        (start as i64 + moved) as usize
    }
}

/// The range that `slice_by_index` selects along one axis.
struct Range {
    start: usize,
    step: i64,
    len: usize,
    squeezed: bool,
}

fn ranges(a: &Call<'_>) -> Result<Vec<Range>, Reject> {
    let x = a.ty("x");
    let (begin, end, stride) = (a.ints("begin"), a.ints("end"), a.ints("stride"));
    lengths(a)?;
    let masks = ["begin_mask", "end_mask", "squeeze_mask"].map(|name| a.bools(name));
    let flag = |which: usize, axis: usize| masks[which].get(axis).copied().unwrap_or(false);
    let range = |axis: usize| -> Option<Range> {
        let d = i64::try_from(x.shape[axis]).ok()?;
        let step = stride.get(axis).copied().unwrap_or(1);
        let squeezed = flag(2, axis);
        let first = if flag(0, axis) { None } else { Some(begin[axis]) };
        if squeezed {
            let at = first.map_or(0, |b| if b < 0 { b + d } else { b });
            return (0..d).contains(&at).then_some(Range { start: at as usize, step: 1, len: 1, squeezed });
        }
        let last = if flag(1, axis) { None } else { Some(end[axis]) };
        let (low, high) = if step > 0 { (0, d) } else { (-1, d - 1) };
        let bound = |i: i64| (if i < 0 { i + d } else { i }).clamp(low, high);
        let (from, to) = match step {
            0 => return None,
            1.. => (first.map_or(low, bound), last.map_or(high, bound)),
            _ => (first.map_or(high, bound), last.map_or(low, bound)),
        };
        let len = (if step > 0 { to - from } else { from - to }).max(0) as u64;
        Some(match len.div_ceil(step.unsigned_abs()) as usize {
            0 => Range { start: 0, step: 1, len: 0, squeezed },
            // Of one element, the step makes no difference.
            1 => Range { start: from as usize, step: 1, len: 1, squeezed },
            len => Range { start: from as usize, step, len, squeezed },
        })
    };
    (0..x.rank())
        .map(|axis| {
            range(axis).ok_or_else(|| {
                let step = stride.get(axis).copied().unwrap_or(1);
                Reject::new("slice-bounds", format!("`{}` finds nothing along axis {axis}", a.op.name()))
                    .label("x", format!("{} elements", x.shape[axis]))
                    .label("begin", begin[axis].to_string())
                    .label("end", end[axis].to_string())
                    .label("stride", step.to_string())
            })
        })
        .collect()
}
