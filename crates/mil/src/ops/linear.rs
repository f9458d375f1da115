//! Matrix products.

use super::unary::{equal_dtypes, whole};
use crate::build::Var;
use crate::diag::Reject;
use crate::op::{Absent, Axes, BOOL, Call, Eval, Grad, NUMBERS, OpDef, Work, constant, elements, tensor};
use crate::tensor::{Data, Tensor, broadcast, broadcast_strides, flatten, unflatten};
use crate::ty::{Opset, Shape, TensorType};

/// `matmul(x, y, transpose_x, transpose_y)`: the product of the last two axes; those before broadcast.
///
/// A vector `x` is a row, a vector `y` a column; neither is transposed, and the axis it lacks is not in the result.
/// Source: coremltools `iOS15/linear.py`, class `matmul`.
pub static MATMUL: OpDef = OpDef {
    name: "matmul",
    since: Opset::Ios15,
    params: &[
        tensor("x", NUMBERS),
        tensor("y", NUMBERS),
        constant("transpose_x", BOOL).or(Absent::Bool(false)),
        constant("transpose_y", BOOL).or(Absent::Bool(false)),
    ],
    axes: Axes::Matmul,
    work: Work::MulAdds(|c, out| {
        // Each output element sums over the last axis of `x`, or the one before if it is transposed.
        let x = c.sizes("x")?;
        let transposed = matches!(c.data("transpose_x"), Some(Data::Bool(v)) if v.first() == Some(&true));
        let inner = x.iter().rev().nth(usize::from(transposed && x.len() > 1));
        Some(elements(&out.shape).saturating_mul(inner.map_or(1, |&d| d as u64)))
    }),
    infer: |a| Ok(vec![product(a)?]),
    eval: matmul,
    grad: Grad::Rule(|g| {
        // z = x·y  ⇒  dx = dz·yᵀ,  dy = xᵀ·dz; a transposed argument has the transposed cotangent
        let Ok(p) = operands(g) else { return };
        let (x, y, dz) = (g.arg("x"), g.arg("y"), g.cotangent());
        let (x, y, dz) = (as_shape(x, &p.x), as_shape(y, &p.y), as_shape(dz, &p.out));
        let (tx, ty) = (p.transpose_x, p.transpose_y);
        if g.wants("x") {
            let dx = if tx { y.matmul(dz, ty, true) } else { dz.matmul(y, false, !ty) };
            g.give("x", dx);
        }
        if g.wants("y") {
            let dy = if ty { dz.matmul(x, true, tx) } else { x.matmul(dz, !tx, false) };
            let mut shape = dy.shape();
            if g.ty("y").rank() == 1 {
                shape.pop(); // The axis of size 1 that the vector lacks.
            }
            g.give("y", as_shape(dy, &shape));
        }
    }),
};

/// `v` in `shape`, if it is not so already.
fn as_shape<'b>(v: Var<'b>, shape: &[usize]) -> Var<'b> {
    if v.shape() == shape { v } else { v.reshape(shape) }
}

/// `linear(x, weight, bias)`: `x·Wᵀ + b` on the last axis; `weight` is `[out, in]`, `bias` `[out]`.
///
/// coremltools requires constants for `weight` and `bias`; here they may be any value.
/// Source: coremltools `iOS15/linear.py`, class `linear`.
pub static LINEAR: OpDef = OpDef {
    name: "linear",
    since: Opset::Ios15,
    params: &[tensor("x", NUMBERS), tensor("weight", NUMBERS), tensor("bias", NUMBERS).optional()],
    axes: Axes::Linear,
    work: Work::MulAdds(|c, out| {
        let inner = *c.sizes("weight")?.last()?;
        Some(elements(&out.shape).saturating_mul(inner as u64))
    }),
    infer: linear_type,
    eval: |a| {
        let (x, w) = (a.tensor("x").to_floats(), a.tensor("weight").to_floats());
        let bias = a.has("bias").then(|| a.tensor("bias").to_floats());
        let [out, inner] = a.ty("weight").shape[..] else { return Vec::new() };
        let at = |n: usize| {
            let (row, column) = (n / out, n % out);
            let products = (0..inner).map(|k| x[row * inner + k] * w[column * inner + k]);
            products.sum::<f64>() + bias.as_ref().map_or(0.0, |b| b[column])
        };
        let values = (0..a.out().elements()).map(at).collect();
        vec![whole(Tensor { ty: a.out().clone(), data: crate::Data::Float(values) })]
    },
    grad: Grad::Rule(|g| {
        // rows of x and dy:  dx = dy·W,  dW = dyᵀ·x,  db = Σ dy
        let (x, w, dy) = (g.ty("x").clone(), g.ty("weight").clone(), g.cotangent());
        let rows = x.elements() / w.shape[1].max(1);
        let dy = dy.reshape(&[rows, w.shape[0]]);
        if g.wants("x") {
            let dx = dy.matmul(g.arg("weight"), false, false);
            g.give("x", dx.reshape(&x.shape));
        }
        if g.wants("weight") {
            let x = g.arg("x").reshape(&[rows, w.shape[1]]);
            g.give("weight", dy.matmul(x, true, false));
        }
        if g.wants("bias") {
            g.give("bias", dy.reduce_sum(&[0], false));
        }
    }),
};

fn linear_type(a: &Call<'_>) -> Result<Vec<TensorType>, Reject> {
    equal_dtypes(a, &["x", "weight", "bias"])?;
    let (x, w) = (a.ty("x"), a.ty("weight"));
    match (x.shape.last(), &w.shape[..]) {
        (Some(columns), [out, inner]) if columns == inner => {
            if a.has("bias") && a.ty("bias").shape != [*out] {
                return Err(Reject::new(
                    "linear-bias",
                    "`linear` needs one number of `bias` for each row of `weight`",
                )
                .label("weight", format!("{out} rows"))
                .label("bias", Shape(&a.ty("bias").shape).to_string()));
            }
            let mut shape = x.shape.clone();
            shape[x.rank() - 1] = *out;
            Ok(vec![TensorType::new(x.dtype, shape)])
        }
        _ => Err(Reject::new("inner-dimensions", "`linear` cannot multiply these shapes")
            .label("x", Shape(&x.shape).to_string())
            .label("weight", Shape(&w.shape).to_string())
            .help("`weight` is [out, in], `in` the last axis of `x`")),
    }
}

/// Shapes of a matrix product; rank-1 arguments get the missing axis.
struct Product {
    x: Vec<usize>,
    y: Vec<usize>,
    out: Vec<usize>,
    inner: usize,
    transpose_x: bool,
    transpose_y: bool,
}

fn operands(a: &Call<'_>) -> Result<Product, Reject> {
    let (x, y) = (a.ty("x"), a.ty("y"));
    let refuse = |code, text: &str| Reject::new(code, text.to_owned());
    equal_dtypes(a, &["x", "y"])?;
    if x.rank() == 0 || y.rank() == 0 {
        return Err(refuse("rank", "`matmul` needs at least one axis"));
    }
    let (mut xs, mut ys) = (x.shape.clone(), y.shape.clone());
    if xs.len() == 1 {
        xs.insert(0, 1);
    }
    if ys.len() == 1 {
        ys.push(1);
    }
    // A vector has nothing to transpose.
    let transpose_x = a.bool("transpose_x") && x.rank() > 1;
    let transpose_y = a.bool("transpose_y") && y.rank() > 1;
    let last = |s: &[usize], swap: bool| {
        let (r, c) = (s[s.len() - 2], s[s.len() - 1]);
        if swap { (c, r) } else { (r, c) }
    };
    let (rows, inner) = last(&xs, transpose_x);
    let (inner_y, columns) = last(&ys, transpose_y);
    if inner != inner_y {
        let help = if inner == columns {
            "flip `transpose_y`"
        } else {
            "the columns of `x` must be as many as the rows of `y`"
        };
        return Err(refuse("inner-dimensions", "`matmul` cannot multiply these shapes")
            .label("x", format!("{inner} columns"))
            .label("y", format!("{inner_y} rows"))
            .help(help));
    }
    let batch = broadcast(&xs[..xs.len() - 2], &ys[..ys.len() - 2]).ok_or_else(|| {
        refuse("broadcast", "`matmul` cannot align these batch axes")
            .label("x", Shape(&x.shape).to_string())
            .label("y", Shape(&y.shape).to_string())
    })?;
    let mut out = batch;
    out.extend([rows, columns]);
    Ok(Product { x: xs, y: ys, out, inner, transpose_x, transpose_y })
}

fn product(a: &Call<'_>) -> Result<TensorType, Reject> {
    let mut out = operands(a)?.out;
    let rank = out.len();
    if a.ty("y").rank() == 1 {
        out.remove(rank - 1);
    }
    if a.ty("x").rank() == 1 {
        out.remove(rank - 2);
    }
    Ok(TensorType::new(a.ty("x").dtype, out))
}

fn matmul(a: &Eval<'_>) -> Vec<Tensor> {
    let (x, y) = (a.tensor("x").to_floats(), a.tensor("y").to_floats());
    let Ok(p) = operands(a) else { return Vec::new() };
    let rank = p.out.len();
    let batch = &p.out[..rank - 2];
    let steps = |shape: &[usize], swap: bool| {
        let mut to = batch.to_vec();
        to.extend_from_slice(&shape[shape.len() - 2..]);
        let mut s = broadcast_strides(shape, &to);
        if swap {
            s.swap(rank - 2, rank - 1);
        }
        s
    };
    let (sx, sy) = (steps(&p.x, p.transpose_x), steps(&p.y, p.transpose_y));
    let mut index = vec![0; rank];
    let values = (0..p.out.iter().product()).map(|n| {
        unflatten(n, &p.out, &mut index);
        let base_x = flatten(&index[..rank - 1], &sx);
        let base_y = flatten(&index[..rank - 2], &sy) + index[rank - 1] * sy[rank - 1];
        (0..p.inner).map(|k| x[base_x + k * sx[rank - 1]] * y[base_y + k * sy[rank - 2]]).sum()
    });
    vec![whole(Tensor { ty: a.out().clone(), data: crate::Data::Float(values.collect()) })]
}
