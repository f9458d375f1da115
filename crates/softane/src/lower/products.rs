//! Matrix products: `matmul`, `linear`, and lowered convolutions.

use super::{Argument, LazyValue, Lowering};
use crate::kernels::group::Deferred;
use crate::kernels::matmul::Matmul;
use crate::plan::{CpuKernel, FloatKernel};
use crate::view::View;
use mil::op::Call;
use mil::tensor::broadcast;
use mil::{DType, Operation, ValueId};

impl<'f> Lowering<'f> {
    pub(super) fn matmul(&mut self, operation: &'f Operation, call: &Call<'f>, x: Argument<'f>) -> bool {
        let (id, out) = self.result(operation);
        let Some(y) = self.given(operation, "y") else { return false };
        let (mut x, mut y) = (self.view(x), self.view(y));
        // A vector has nothing to transpose.
        match x.shape[..] {
            [k] => x = self.reshaped(x, &[1, k]),
            _ if call.bool("transpose_x") => x = transposed(&x),
            _ => {}
        }
        match y.shape[..] {
            [k] => y = self.reshaped(y, &[k, 1]),
            _ if call.bool("transpose_y") => y = transposed(&y),
            _ => {}
        }
        let Some(batch) = broadcast(&x.shape[..x.shape.len() - 2], &y.shape[..y.shape.len() - 2]) else {
            return false;
        };
        let stretched = |v: &View| v.broadcast(&[&batch, &v.shape[v.shape.len() - 2..]].concat());
        let (x, y) = (stretched(&x), stretched(&y));
        // A result that is only transposed is computed transposed: xy = (yᵀxᵀ)ᵀ. A large left side stays on the left:
        // there it need not be transposed itself, and its zeros are skipped.
        let large = |v: &View| v.shape[v.shape.len() - 2..].iter().product::<usize>();
        if self.feeds_rows(id)
            && [&batch[..], &[x.shape[batch.len()], y.shape[batch.len() + 1]]].concat() == out.shape
        {
            let (narrow, label) = (out.dtype == DType::F16, self.label(operation));
            let out = self.scratch(out.dtype, &out.shape);
            self.values[id.index()] =
                Some(LazyValue::Product(Deferred { left: x, right: y, out, narrow, label }));
            return true;
        }
        let view = if self.is_transposed_next(id) && large(&x) < 2 * large(&y) {
            transposed(&self.product(transposed(&y), transposed(&x), None, out.dtype, self.label(operation)))
        } else {
            self.product(x, y, None, out.dtype, self.label(operation))
        };
        let view = if view.shape == out.shape { view } else { self.reshaped(view, &out.shape) };
        self.define(id, view);
        true
    }

    /// `linear`: `x·weightᵀ + bias`, computed as `(weight·xᵀ + bias)ᵀ` if there is a bias.
    pub(super) fn linear(&mut self, operation: &'f Operation, x: Argument<'f>) -> bool {
        let (id, out) = self.result(operation);
        let Some(weight) = self.given(operation, "weight") else { return false };
        let (x, weight) = (self.view(x), self.view(weight));
        let (o, i) = (weight.shape[0], weight.shape[1]);
        let x = self.reshaped(x.clone(), &[x.elements() / i, i]);
        let view = match self.given(operation, "bias") {
            None => self.product(x, transposed(&weight), None, out.dtype, self.label(operation)),
            Some(bias) => {
                let bias = self.view(bias);
                let bias = self.reshaped(bias, &[o, 1]);
                transposed(&self.product(
                    weight,
                    transposed(&x),
                    Some(bias),
                    out.dtype,
                    self.label(operation),
                ))
            }
        };
        let view = self.reshaped(view, &out.shape);
        self.define(id, view);
        true
    }

    /// `left · right + bias` in its own buffer.
    pub(super) fn product(
        &mut self,
        left: View,
        right: View,
        bias: Option<View>,
        dtype: DType,
        label: String,
    ) -> View {
        let rank = left.shape.len();
        let shape = [&left.shape[..rank - 1], &right.shape[rank - 1..]].concat();
        let out = self.scratch(dtype, &shape);
        let reads =
            [Some(&left), Some(&right), bias.as_ref()].into_iter().flatten().map(|v| v.buffer).collect();
        let kernel =
            CpuKernel::Float(FloatKernel::Matmul(Matmul::new(&left, &right, bias.as_ref(), self.gemm)));
        self.push(label, kernel, reads, out.buffer);
        out
    }

    /// Whether the one use of `id` is a function of its rows, or elementwise operations with one use each up to that.
    fn feeds_rows(&self, mut id: ValueId) -> bool {
        loop {
            let [at] = self.uses[id.index()][..] else { return false };
            let next = &self.function.ops[at];
            if !self.has_one_use(id) {
                return false;
            }
            match next.op.name() {
                "softmax" | "layer_norm" => return true,
                "add" | "sub" | "mul" | "real_div" => id = next.results[0],
                _ => return false,
            }
        }
    }

    /// Whether the one use of `id` is to swap its last two axes.
    fn is_transposed_next(&self, id: ValueId) -> bool {
        let [at] = self.uses[id.index()][..] else { return false };
        let next = &self.function.ops[at];
        if !self.has_one_use(id) || next.op.name() != "transpose" {
            return false;
        }
        let rank = self.function.ty(id).rank() as i64;
        if rank < 2 {
            return false;
        }
        let perm = Call::new(self.function, &self.literals, next).ints("perm");
        let mut swap: Vec<i64> = (0..rank).collect();
        swap.swap(rank as usize - 2, rank as usize - 1);
        perm.iter().map(|p| if *p < 0 { p + rank } else { *p }).eq(swap)
    }
}

/// The last two axes swapped.
fn transposed(view: &View) -> View {
    let rank = view.shape.len();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    view.permuted(&perm)
}
