//! Gathers elements by index.

use super::parts::compare;
use crate::build::Var;
use crate::diag::Reject;
use crate::grad::GradCall;
use crate::ir::Literal;
use crate::op::{Absent, Axes, BOOL, Call, Eval, Grad, I32, OpDef, Work, constant, tensor};
use crate::tensor::{Data, Tensor, strides};
use crate::ty::{DType, Opset, Shape, TensorType};

/// `gather(x, indices, axis, batch_dims, validate_indices)`: the slices of `x` at `indices` along `axis`.
///
/// The result is `[x before axis, indices after batch_dims, x after axis]`; the first `batch_dims` axes of both go
/// together. Negative indices count from the end, as up to iOS16; iOS17 leaves them undefined. An index out of range,
/// also undefined, is clamped.
/// Source: coremltools `iOS15`, `iOS16` (`batch_dims`) and `iOS17/scatter_gather.py` (`validate_indices`), class `gather`.
pub static GATHER: OpDef = OpDef {
    name: "gather",
    since: Opset::Ios15,
    params: &[
        tensor("x", VALUES),
        tensor("indices", INDICES),
        constant("axis", I32).or(Absent::Int(0)),
        constant("batch_dims", I32).or(Absent::Int(0)).since(Opset::Ios16),
        constant("validate_indices", BOOL).or(Absent::Bool(false)).since(Opset::Ios17),
    ],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| Ok(vec![Plan::of(a)?.out]),
    eval: gather,
    grad: Grad::Rule(gather_gradient),
};

pub(super) const INDICES: &[DType] = &[DType::I32, DType::I16, DType::U16, DType::I8, DType::U8];
pub(super) const VALUES: &[DType] =
    &[DType::F16, DType::F32, DType::I32, DType::I16, DType::U16, DType::I8, DType::U8];

struct Plan {
    axis: usize,
    batch: usize,
    out: TensorType,
}

impl Plan {
    fn of(a: &Call<'_>) -> Result<Plan, Reject> {
        let (x, indices) = (a.ty("x"), a.ty("indices"));
        let axis = a.check_axis("axis", a.int("axis"), x.rank())?;
        let batch = usize::try_from(a.int("batch_dims")).ok();
        let fits = |b: &usize| *b <= axis && x.shape.get(..*b) == indices.shape.get(..*b);
        let Some(batch) = batch.filter(fits) else {
            return Err(Reject::new("batch-dims", "`gather` cannot pair these batch axes")
                .label("x", Shape(&x.shape).to_string())
                .label("indices", Shape(&indices.shape).to_string())
                .label("batch_dims", a.int("batch_dims").to_string())
                .help("the first `batch_dims` axes of both must be equal and precede `axis`"));
        };
        let shape = [&x.shape[..axis], &indices.shape[batch..], &x.shape[axis + 1..]].concat();
        let out = TensorType::new(x.dtype, shape);
        if x.shape[axis] == 0 && out.elements() > 0 {
            return Err(Reject::new("nothing-to-gather", "`gather` finds no element along `axis`")
                .label("x", Shape(&x.shape).to_string()));
        }
        Ok(Plan { axis, batch, out })
    }
}

fn gather(a: &Eval<'_>) -> Vec<Tensor> {
    let Ok(Plan { axis, batch, out }) = Plan::of(a) else { return Vec::new() };
    let (x, indices) = (a.tensor("x"), a.tensor("indices"));
    let (steps, index_steps) = (strides(&x.ty.shape), strides(&indices.ty.shape));
    let chosen = indices.ty.rank() - batch;
    let size = x.ty.shape[axis] as i64;
    let from = |index: &[usize]| {
        let (before, rest) = index.split_at(axis);
        let (choice, after) = rest.split_at(chosen);
        let which = before[..batch].iter().chain(choice).zip(&index_steps).map(|(i, s)| i * s).sum::<usize>();
        let i = indices.as_ints()[which];
        let i = (if i < 0 { i + size } else { i }).clamp(0, size - 1) as usize;
        let outer: usize = before.iter().zip(&steps).map(|(i, s)| i * s).sum();
        let inner: usize = after.iter().zip(&steps[axis + 1..]).map(|(i, s)| i * s).sum();
        outer + i * steps[axis] + inner
    };
    vec![x.gathered(out, from)]
}

fn gather_gradient<'b>(g: &mut GradCall<'_, 'b>) {
    // As a product: z = C·x with C[n, i] = 1 where indices[n] = i  ⇒  dx = Cᵀ·dz
    let Ok(Plan { axis, batch, .. }) = Plan::of(g) else { return };
    let (x, dtype) = (g.ty("x").shape.clone(), g.ty("x").dtype);
    let product = |sizes: &[usize]| sizes.iter().product::<usize>();
    // x is read as [batch, outer, size, inner], dz as [batch, outer, n, inner]
    let (outer, size, inner) = (product(&x[batch..axis]), x[axis], product(&x[axis + 1..]));
    let n = product(&g.ty("indices").shape[batch..]);
    let batch = product(&x[..batch]);
    let (b, last) = (g.builder(), size as i64 - 1);
    let indices = g.arg("indices").cast(DType::I32).reshape(&[batch, 1, n, 1]);
    let with = |op: &str, x: Var<'b>, y: i64| b.op(op, [("x", x.into()), ("y", y.into())]);
    let (negative, from_end) = (with("less", indices, 0), with("add", indices, size as i64));
    let indices = b.op("select", [("cond", negative.into()), ("a", from_end.into()), ("b", indices.into())]);
    let indices = with("maximum", with("minimum", indices, last), 0);
    let ramp = Tensor { ty: TensorType::new(DType::I32, [size]), data: Data::Int((0..=last).collect()) };
    let ramp = b.op("const", [("val", Literal::inline(ramp).into())]);
    let chosen = compare("equal", indices, ramp).cast(dtype);
    let dz = g.cotangent().reshape(&[batch, outer, n, inner]);
    g.give("x", chosen.matmul(dz, true, false).reshape(&x));
}
