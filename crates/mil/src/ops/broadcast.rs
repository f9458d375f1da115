//! Types and elements of operations that broadcast.

use crate::diag::Reject;
use crate::op::Call;
use crate::tensor::{Tensor, broadcast, broadcast_strides, flatten, unflatten};
use crate::ty::{Shape, TensorType};

/// The shape to which the arguments `names` broadcast, with the element type of the first.
pub(super) fn broadcast_type(a: &Call<'_>, names: &[&'static str]) -> Result<TensorType, Reject> {
    let shape = names.iter().try_fold(Vec::new(), |so_far, n| broadcast(&so_far, &a.ty(n).shape));
    if let Some(shape) = shape {
        return Ok(TensorType::new(a.ty(names[0]).dtype, shape));
    }
    let reject = Reject::new("broadcast", format!("`{}` cannot align these shapes", a.op.name()));
    Err(names
        .iter()
        .fold(reject, |r, n| r.label(n, Shape(&a.ty(n).shape).to_string()))
        .help("axes are aligned from the last; each pair must be equal, or one of them 1"))
}

/// For each element of `out` in order, the flat positions it comes from in tensors that broadcast to it.
pub(super) fn walk<const N: usize>(out: &TensorType, from: [&Tensor; N]) -> impl Iterator<Item = [usize; N]> {
    let steps = from.map(|t| broadcast_strides(&t.ty.shape, &out.shape));
    let (shape, mut index) = (out.shape.clone(), vec![0; out.rank()]);
    (0..out.elements()).map(move |n| {
        unflatten(n, &shape, &mut index);
        std::array::from_fn(|i| flatten(&index, &steps[i]))
    })
}
