//! Positions addressed by indices, for gather and scatter.

use crate::diag::Reject;
use crate::grad::GradCall;
use crate::op::{Call, Eval, resolve_axis};
use crate::tensor::{Data, flatten, strides, unflatten};
use crate::ty::Shape;

/// How indices address positions.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Indexing {
    /// Slices along an axis.
    Slices,
    /// One element along an axis, at the same position along the others.
    AlongAxis,
    /// Rows of indices along the first axes.
    Rows,
}

pub(super) fn refuse(a: &Call<'_>, name: &'static str, text: &str) -> Reject {
    Reject::new("scatter-shapes", format!("`{}` {text}", a.op.name()))
        .label(name, Shape(&a.ty(name).shape).to_string())
        .label("indices", Shape(&a.ty("indices").shape).to_string())
}

/// Refuses indices whose shape differs from `name` along other axes than `axis`.
pub(super) fn along_axis(a: &Call<'_>, name: &'static str) -> Result<(), Reject> {
    let (x, indices) = (a.ty(name), a.ty("indices"));
    let axis = a.check_axis("axis", a.int("axis"), x.rank())?;
    let same =
        x.rank() == indices.rank() && (0..x.rank()).all(|i| i == axis || x.shape[i] == indices.shape[i]);
    if !same || (x.shape[axis] == 0 && indices.elements() > 0) {
        return Err(refuse(a, name, "needs indices of its shape, except along `axis`"));
    }
    Ok(())
}

/// The batch axes, and how many numbers a row of indices has.
pub(super) fn rows(a: &Call<'_>, name: &'static str) -> Result<(usize, usize), Reject> {
    let (x, indices) = (a.ty(name), a.ty("indices"));
    let batch = match a.op.param("batch_dims") {
        Some(_) => usize::try_from(a.int("batch_dims")).ok(),
        None => Some(0),
    };
    let Some((batch, &depth)) = batch.zip(indices.shape.last()) else {
        return Err(refuse(a, name, "needs rows of indices"));
    };
    let paired = batch < indices.rank() && x.shape.get(..batch) == indices.shape.get(..batch);
    let reached = batch.checked_add(depth).and_then(|end| x.shape.get(batch..end));
    match reached.filter(|_| paired) {
        Some(sizes) if indices.elements() == 0 || !sizes.contains(&0) => Ok((batch, depth)),
        _ => Err(refuse(a, name, "needs rows that are no longer than there are axes, and equal batch axes")),
    }
}

/// For each element of the result, or of `updates`, its position in `name`.
pub(super) fn places(a: &Eval<'_>, kind: Indexing, name: &str) -> Vec<usize> {
    let (x, indices) = (&a.ty(name).shape, a.tensor("indices"));
    let (steps, at) = (strides(x), indices.as_ints());
    let resolved = |i: i64, size: usize| {
        let size = size as i64;
        (if i < 0 { i.saturating_add(size) } else { i }).clamp(0, (size - 1).max(0)) as usize
    };
    match kind {
        Indexing::AlongAxis => {
            let axis = a.axis("axis", x.len());
            let mut index = vec![0; x.len()];
            let place = |(n, &i): (usize, &i64)| {
                unflatten(n, &indices.ty.shape, &mut index);
                index[axis] = resolved(i, x[axis]);
                flatten(&index, &steps)
            };
            at.iter().enumerate().map(place).collect()
        }
        Indexing::Slices => {
            let axis = a.axis("axis", x.len());
            let (outer, inner) =
                (x[..axis].iter().product::<usize>(), x[axis + 1..].iter().product::<usize>());
            let outer = (0..outer).flat_map(|o| at.iter().map(move |&i| (o, i)));
            let slice = |(o, i): (usize, i64)| (o * x[axis] + resolved(i, x[axis])) * inner;
            outer.flat_map(|pair| (0..inner).map(move |k| slice(pair) + k)).collect()
        }
        Indexing::Rows => {
            let (batch, depth) = rows(a, if name == "x" { "x" } else { "data" }).unwrap_or((0, 0));
            let inner = x[batch + depth..].iter().product::<usize>();
            let of_batch = indices.ty.shape[batch..indices.ty.rank() - 1].iter().product::<usize>();
            let count = indices.ty.shape[..indices.ty.rank() - 1].iter().product::<usize>();
            let slice = |row: usize| {
                let mut place = if batch > 0 { row / of_batch.max(1) } else { 0 };
                for (i, &size) in at[row * depth..(row + 1) * depth].iter().zip(&x[batch..]) {
                    place = place * size + resolved(*i, size);
                }
                place * inner
            };
            (0..count).flat_map(|row| (0..inner).map(move |k| slice(row) + k)).collect()
        }
    }
}

/// Whether indices are known and distinct.
pub(super) fn are_distinct(g: &GradCall<'_, '_>, kind: Indexing) -> bool {
    let (Some(Data::Int(at)), x, indices) = (g.data("indices"), g.ty("data"), g.ty("indices")) else {
        return false;
    };
    // Each is resolved as in `places`; here it suffices that no two indices can address the same position.
    let resolved = |i: i64, size: usize| if i < 0 { i + size as i64 } else { i };
    let axis = || resolve_axis(g.int("axis"), x.rank()).unwrap_or(0);
    let all_in = |i: i64, size: usize| (0..size as i64).contains(&i);
    let mut seen = std::collections::HashSet::new();
    match kind {
        Indexing::Slices => {
            let size = x.shape[axis()];
            at.iter().map(|&i| resolved(i, size)).all(|i| all_in(i, size) && seen.insert(vec![i]))
        }
        Indexing::AlongAxis => {
            let (axis, mut index) = (axis(), vec![0; x.rank()]);
            at.iter().enumerate().all(|(n, &i)| {
                unflatten(n, &indices.shape, &mut index);
                let i = resolved(i, x.shape[axis]);
                let mut place: Vec<i64> = index.iter().map(|&i| i as i64).collect();
                place[axis] = i;
                all_in(i, x.shape[axis]) && seen.insert(place)
            })
        }
        Indexing::Rows => {
            let depth = indices.shape.last().copied().unwrap_or(0).max(1);
            at.chunks(depth).all(|row| {
                let row: Vec<i64> = row.iter().zip(&x.shape).map(|(&i, &size)| resolved(i, size)).collect();
                row.iter().zip(&x.shape).all(|(&i, &size)| all_in(i, size)) && seen.insert(row)
            })
        }
    }
}
