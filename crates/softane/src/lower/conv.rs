//! Convolutions: matrix products on channels, of the elements of each window.

use super::{Argument, Lowering};
use crate::plan::ConstantSource;
use crate::view::View;
use mil::op::Call;
use mil::ops::window::Axis;
use mil::tensor::strides;
use mil::{Literal, Operation, Tensor, TensorType};

impl<'f> Lowering<'f> {
    /// `conv` in all its forms. Windows of one element are a view of `x`; others are written out side by side first.
    pub(super) fn conv(&mut self, operation: &'f Operation, call: &Call<'f>, x: Argument<'f>) -> bool {
        let (id, out) = self.result(operation);
        let (xs, ws) = (&call.ty("x").shape, &call.ty("weight").shape);
        let Some((axes, groups)) = mil::ops::conv::geometry(call) else { return false };
        let Some(weight) = self.given(operation, "weight") else { return false };
        let (n, o, i) = (xs[0], ws[0] / groups, ws[1..].iter().product());
        let windows: usize = out.shape[2..].iter().product();
        let (x, weight) = (self.view(x), self.view(weight));
        let columns = match axes.iter().all(is_element) {
            true => x,
            false => self.windows(x, call.ty("x"), &axes, groups),
        };
        let columns = self.reshaped(columns, &[n, groups, i, windows]);
        let weight = self.reshaped(weight, &[1, groups, o, i]).broadcast(&[n, groups, o, i]);
        let bias = match self.given(operation, "bias") {
            Some(bias) => {
                let bias = self.view(bias);
                Some(self.reshaped(bias, &[1, groups, o, 1]).broadcast(&[n, groups, o, 1]))
            }
            None => None,
        };
        let view = self.product(weight, columns, bias, out.dtype, self.label(operation));
        let view = self.reshaped(view, &out.shape);
        self.define(id, view);
        true
    }

    /// The windows over `x`, as a view `[N, groups, C/groups, *K, *windows]`.
    fn windows(&mut self, x: View, ty: &TensorType, axes: &[Axis], groups: usize) -> View {
        let padded = self.padded(x, ty, axes);
        let padded = self.packed(padded);
        let (n, c) = (ty.shape[0], ty.shape[1]);
        let steps = strides(&padded.shape);
        let mut shape = vec![n, groups, c / groups];
        let mut step = vec![steps[0], steps[1] * (c / groups), steps[1]];
        shape.extend(axes.iter().map(|a| a.size));
        step.extend(axes.iter().zip(&steps[2..]).map(|(a, s)| a.dilation * s));
        shape.extend(axes.iter().map(|a| a.count));
        step.extend(axes.iter().zip(&steps[2..]).map(|(a, s)| a.stride * s));
        View { buffer: padded.buffer, offset: padded.offset, shape, strides: step }
    }

    /// `x` padded with zeros to the extent of the windows of `axes`.
    fn padded(&mut self, x: View, ty: &TensorType, axes: &[Axis]) -> View {
        let mut view = x;
        for (i, axis) in axes.iter().enumerate() {
            let mut parts = Vec::new();
            for (len, part) in
                [(axis.before, None), (axis.len, Some(view.clone())), (axis.reached_after(), None)]
            {
                let mut shape = view.shape.clone();
                shape[i + 2] = len;
                match part {
                    _ if len == 0 => {}
                    Some(view) => parts.push(view),
                    None => parts.push(self.zeros(ty, &shape)),
                }
            }
            if parts.len() > 1 {
                let mut shape = view.shape.clone();
                shape[i + 2] = axis.before + axis.len + axis.reached_after();
                let ty = TensorType::new(ty.dtype, shape);
                view = self.joined(parts, i + 2, &ty, "padded".into());
            }
        }
        view
    }

    /// Zeros of `shape`: a broadcast view of one zero.
    fn zeros(&mut self, ty: &TensorType, shape: &[usize]) -> View {
        let one = TensorType::new(ty.dtype, vec![1; shape.len()]);
        let literal = Literal::inline(Tensor::floats(one.clone(), [0.0]));
        let buffer = self.constant(ConstantSource::Literal(literal), &one);
        View::packed(buffer, &one.shape).broadcast(shape)
    }
}

/// Whether the windows of an axis are its elements.
fn is_element(axis: &Axis) -> bool {
    axis.size == 1 && axis.stride == 1 && axis.count == axis.len && axis.before == 0
}
