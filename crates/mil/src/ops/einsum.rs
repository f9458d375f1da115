//! Products of tensors by the names of their axes.

use super::parts::zeros;
use crate::build::Var;
use crate::diag::Reject;
use crate::op::{Axes, Call, Eval, FLOATS, Grad, OpDef, STR, Work, constant, variadic};
use crate::tensor::{Data, Tensor, broadcast_strides, flatten, unflatten};
use crate::ty::{Opset, Shape, TensorType};
use std::collections::BTreeMap;

/// `einsum(values, equation)`: the product of two tensors whose axes `equation` names, as `"nchw,nwhu->nchu"`, summed
/// over the axes that the result does not have. An axis of size 1 broadcasts to that of the other tensor.
///
/// Any equation of two operands with an explicit result is accepted, if no operand repeats an axis.
/// coremltools, and perhaps an engine, accepts only `"nchw,nwhu->nchu"` and `"chw,whr->chr"`; the gradient is written in
/// matrix products.
/// Source: coremltools `iOS15/linear.py`, class `einsum`; otherwise as NumPy.
pub static EINSUM: OpDef = OpDef {
    name: "einsum",
    since: Opset::Ios15,
    params: &[variadic("values", FLOATS), constant("equation", STR)],
    axes: Axes::Tied,
    work: Work::MulAdds(|c, _| mul_adds(c)),
    infer: |a| {
        let Sum { sizes, z, .. } = Sum::of(a)?;
        let shape: Vec<usize> = z.iter().map(|axis| size_of(&sizes, *axis)).collect();
        Ok(vec![TensorType::new(a.tys("values")[0].dtype, shape)])
    },
    eval: einsum,
    grad: Grad::Rule(|g| {
        // z = Σ x·y  ⇒  dx = Σ dz·y,  dy = Σ dz·x,  over the axes that they have not
        let Ok(Sum { sizes, x, y, z }) = Sum::of(g) else { return };
        let types = g.tys("values");
        if types.iter().any(|ty| ty.elements() == 0) {
            // A sum of nothing depends on nothing.
            for (n, ty) in types.into_iter().enumerate() {
                let none = zeros(g, ty);
                g.give_nth("values", n, none);
            }
            return;
        }
        let [values_x, values_y] = g.args("values")[..] else { return };
        let dz = (g.cotangent(), z.as_slice());
        let dx = product(dz, (values_y, &y), &x, &sizes);
        g.give_nth("values", 0, dx);
        let dy = product(dz, (values_x, &x), &y, &sizes);
        g.give_nth("values", 1, dy);
    }),
};

/// An equation, with the size of each axis.
struct Sum {
    sizes: Vec<(char, usize)>,
    x: Vec<char>,
    y: Vec<char>,
    z: Vec<char>,
}

impl Sum {
    fn of(a: &Call<'_>) -> Result<Sum, Reject> {
        let (values, equation) = (a.tys("values"), a.str("equation"));
        let refuse =
            |code, text: &str| Reject::new(code, text.to_owned()).label("equation", format!("{equation:?}"));
        let [x_ty, y_ty] = values[..] else {
            return Err(refuse("einsum-operands", "`einsum` needs two tensors")
                .label("values", format!("{} tensors", values.len())));
        };
        if x_ty.dtype != y_ty.dtype {
            return Err(refuse("dtype-mismatch", "`einsum` needs equal element types")
                .label("values", format!("{x_ty}, {y_ty}"))
                .help("`cast` one of them"));
        }
        let axes = |s: &str| -> Option<Vec<char>> {
            let axes: Vec<char> = s.chars().filter(|c| *c != ' ').collect();
            let once = |(i, c): (usize, &char)| c.is_ascii_alphabetic() && !axes[..i].contains(c);
            axes.iter().enumerate().all(once).then(|| axes.clone())
        };
        let parsed = || {
            let (operands, z) = equation.split_once("->")?;
            let (x, y) = operands.split_once(',')?;
            let (x, y, z) = (axes(x)?, axes(y)?, axes(z)?);
            z.iter().all(|c| x.contains(c) || y.contains(c)).then_some((x, y, z))
        };
        let Some((x, y, z)) = parsed() else {
            return Err(refuse("einsum-equation", "`einsum` cannot read this equation")
                .help("write two operands and the result, a letter for each axis, as `nchw,nwhu->nchu`"));
        };
        if x.len() != x_ty.rank() || y.len() != y_ty.rank() {
            return Err(refuse("einsum-rank", "`einsum` needs a letter for each axis")
                .label("values", format!("{}, {}", Shape(&x_ty.shape), Shape(&y_ty.shape))));
        }
        let mut sizes: Vec<(char, usize)> = x.iter().copied().zip(x_ty.shape.iter().copied()).collect();
        for (&axis, &d) in y.iter().zip(&y_ty.shape) {
            match sizes.iter_mut().find(|(other, _)| *other == axis) {
                None => sizes.push((axis, d)),
                Some((_, size)) if *size == d || d == 1 => {}
                Some((_, size)) if *size == 1 => *size = d,
                Some((_, size)) => {
                    return Err(refuse("einsum-sizes", "`einsum` needs equal sizes of axes with one name")
                        .label("values", format!("`{axis}` is {size} and {d}")));
                }
            }
        }
        Ok(Sum { sizes, x, y, z })
    }
}

fn size_of(sizes: &[(char, usize)], axis: char) -> usize {
    sizes.iter().find(|(other, _)| *other == axis).map_or(1, |(_, size)| *size)
}

fn einsum(a: &Eval<'_>) -> Vec<Tensor> {
    let Ok(Sum { sizes, x, y, z }) = Sum::of(a) else { return Vec::new() };
    let summed: Vec<char> = sizes.iter().map(|(axis, _)| *axis).filter(|axis| !z.contains(axis)).collect();
    let shape_of = |axes: &[char]| -> Vec<usize> { axes.iter().map(|&axis| size_of(&sizes, axis)).collect() };
    // The strides of an operand along `axes`; 0 along axes that it lacks or broadcasts.
    let steps = |tensor: &Tensor, own: &[char], axes: &[char]| -> Vec<usize> {
        let own_steps = broadcast_strides(&tensor.ty.shape, &shape_of(own));
        let step = |axis: &char| own.iter().position(|c| c == axis).map_or(0, |i| own_steps[i]);
        axes.iter().map(step).collect()
    };
    let [tx, ty] = a.tensors("values")[..] else { return Vec::new() };
    let places = [(tx, &x), (ty, &y)].map(|(t, own)| (steps(t, own, &z), steps(t, own, &summed)));
    let (out_shape, sum_shape) = (shape_of(&z), shape_of(&summed));
    let terms: Vec<[usize; 2]> = {
        let mut index = vec![0; summed.len()];
        let term = |n| {
            unflatten(n, &sum_shape, &mut index);
            [flatten(&index, &places[0].1), flatten(&index, &places[1].1)]
        };
        (0..sum_shape.iter().product()).map(term).collect()
    };
    let mut index = vec![0; z.len()];
    let element = |n| {
        unflatten(n, &out_shape, &mut index);
        let [i, j] = [flatten(&index, &places[0].0), flatten(&index, &places[1].0)];
        terms.iter().map(|[di, dj]| tx.as_floats()[i + di] * ty.as_floats()[j + dj]).sum()
    };
    let data = (0..a.out().elements()).map(element).collect();
    vec![Tensor { ty: a.out().clone(), data: Data::Float(data) }]
}

/// The product of `x` and `y`, summed over the axes that are not in `z`, as a matrix product: `[B, F, K]` times
/// `[B, K, G]`, where both have `B`, one alone has `F` and `G`, and `K` is summed. Axes of `z` that neither has are
/// stretched to their size.
fn product<'b>(
    (x, x_axes): (Var<'b>, &[char]),
    (y, y_axes): (Var<'b>, &[char]),
    z: &[char],
    sizes: &[(char, usize)],
) -> Var<'b> {
    let kept = |axes: &[char], f: &dyn Fn(&char) -> bool| -> Vec<char> {
        axes.iter().copied().filter(|c| f(c)).collect()
    };
    let batch = kept(x_axes, &|c| y_axes.contains(c) && z.contains(c));
    let inner = kept(x_axes, &|c| y_axes.contains(c) && !z.contains(c));
    let free_x = kept(x_axes, &|c| !y_axes.contains(c) && z.contains(c));
    let free_y = kept(y_axes, &|c| !x_axes.contains(c) && z.contains(c));
    let size = |axes: &[char]| axes.iter().map(|&c| size_of(sizes, c)).product::<usize>();
    let (b, k, f, g) = (size(&batch), size(&inner), size(&free_x), size(&free_y));
    let x = ordered(x, x_axes, &[batch.as_slice(), &free_x, &inner].concat(), sizes).reshape(&[b, f, k]);
    let y = ordered(y, y_axes, &[batch.as_slice(), &inner, &free_y].concat(), sizes).reshape(&[b, k, g]);
    let axes = [batch, free_x, free_y].concat();
    let shape: Vec<usize> = axes.iter().map(|&c| size_of(sizes, c)).collect();
    ordered(x.matmul(y, false, false).reshape(&shape), &axes, z, sizes)
}

/// `v`, which has `axes`, with the axes `wanted` in this order: summed over the others, stretched to the sizes.
fn ordered<'b>(v: Var<'b>, axes: &[char], wanted: &[char], sizes: &[(char, usize)]) -> Var<'b> {
    let (mut v, mut axes) = (v, axes.to_vec());
    // Axes summed here but broadcast by the other tensor count once for each of its elements.
    let gone: Vec<i64> = (0..axes.len()).filter(|&i| !wanted.contains(&axes[i])).map(|i| i as i64).collect();
    if !gone.is_empty() {
        v = v.reduce_sum(&gone, false);
        axes.retain(|c| wanted.contains(c));
    }
    let perm: Vec<i64> =
        wanted.iter().filter_map(|c| axes.iter().position(|axis| axis == c)).map(|i| i as i64).collect();
    if !perm.is_sorted() {
        v = v.transpose(&perm);
    }
    let mut present = v.shape().into_iter();
    let shape: Vec<usize> =
        wanted.iter().map(|c| if axes.contains(c) { present.next().unwrap_or(1) } else { 1 }).collect();
    if shape != v.shape() {
        v = v.reshape(&shape);
    }
    let reps: Vec<i64> =
        wanted.iter().zip(&shape).map(|(&c, &d)| if d == 1 { size_of(sizes, c) as i64 } else { 1 }).collect();
    if reps.iter().all(|&r| r == 1) {
        return v;
    }
    v.builder().op("tile", [("x", v.into()), ("reps", reps.into())])
}

/// The multiply-adds of an `einsum`: the product of the sizes of all letters.
fn mul_adds(call: &Call<'_>) -> Option<u64> {
    let Data::Str(text) = call.data("equation")? else { return None };
    let (operands, _) = text.first()?.split_once("->")?;
    let mut sizes: BTreeMap<char, u64> = BTreeMap::new();
    for (letters, ty) in operands.split(',').zip(call.tys("values")) {
        let letters = letters.chars().filter(|c| c.is_alphabetic());
        for (letter, &size) in letters.zip(&ty.shape) {
            let known = sizes.entry(letter).or_insert(1);
            *known = (*known).max(size as u64);
        }
    }
    Some(sizes.values().fold(1, |n, &d| n.saturating_mul(d)))
}
