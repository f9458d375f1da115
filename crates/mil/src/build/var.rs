//! Values of the function under construction, with operators.

use super::Builder;
use crate::ir::ValueId;
use crate::ty::{DType, TensorType};
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::panic::Location;

/// A value of the function under construction.
#[derive(Clone, Copy, Debug)]
pub struct Var<'b> {
    pub(super) builder: &'b Builder,
    pub(super) id: ValueId,
}

impl<'b> Var<'b> {
    /// Which value it is.
    pub fn id(self) -> ValueId {
        self.id
    }

    /// The type.
    pub fn ty(self) -> TensorType {
        self.builder.ty(self.id)
    }

    /// The shape.
    pub fn shape(self) -> Vec<usize> {
        self.ty().shape
    }

    /// The builder that it belongs to.
    pub fn builder(self) -> &'b Builder {
        self.builder
    }

    /// Renames the value.
    #[track_caller]
    pub fn named(self, name: &str) -> Var<'b> {
        self.builder.state.borrow_mut().rename(self.id, name, Location::caller());
        self
    }

    #[track_caller]
    fn unary(self, op: &str) -> Var<'b> {
        self.builder.op(op, [("x", self.into())])
    }

    #[track_caller]
    fn binary(self, op: &str, y: Var<'b>) -> Var<'b> {
        self.builder.op(op, [("x", self.into()), ("y", y.into())])
    }

    /// `1 / (1 + exp(−x))`.
    #[track_caller]
    pub fn sigmoid(self) -> Var<'b> {
        self.unary("sigmoid")
    }

    /// `tanh x`.
    #[track_caller]
    pub fn tanh(self) -> Var<'b> {
        self.unary("tanh")
    }

    /// The smaller of two numbers.
    #[track_caller]
    pub fn minimum(self, y: Var<'b>) -> Var<'b> {
        self.binary("minimum", y)
    }

    /// The nearest number from `low` to `high`.
    #[track_caller]
    pub fn clip(self, low: f64, high: f64) -> Var<'b> {
        let [low, high] = [low, high].map(|bound| self.builder.scalar(self.ty().dtype, bound));
        self.builder.op("clip", [("x", self.into()), ("alpha", low.into()), ("beta", high.into())])
    }

    /// `|x|`.
    #[track_caller]
    pub fn abs(self) -> Var<'b> {
        self.unary("abs")
    }

    /// `exp(x)`.
    #[track_caller]
    pub fn exp(self) -> Var<'b> {
        self.unary("exp")
    }

    /// `x` to the power of the constant `y`.
    #[track_caller]
    pub fn pow(self, y: f64) -> Var<'b> {
        let y = self.builder.scalar(self.ty().dtype, y);
        self.binary("pow", y)
    }

    /// `softmax` along `axis`.
    #[track_caller]
    pub fn softmax(self, axis: i64) -> Var<'b> {
        self.builder.op("softmax", [("x", self.into()), ("axis", axis.into())])
    }

    /// The sum over `axes`, which stay with size 1 if `keep_dims`.
    #[track_caller]
    pub fn reduce_sum(self, axes: &[i64], keep_dims: bool) -> Var<'b> {
        self.reduce("reduce_sum", axes, keep_dims)
    }

    /// The mean over `axes`, which stay with size 1 if `keep_dims`.
    #[track_caller]
    pub fn reduce_mean(self, axes: &[i64], keep_dims: bool) -> Var<'b> {
        self.reduce("reduce_mean", axes, keep_dims)
    }

    /// The largest element along `axes`, which stay with size 1 if `keep_dims`.
    #[track_caller]
    pub fn reduce_max(self, axes: &[i64], keep_dims: bool) -> Var<'b> {
        self.reduce("reduce_max", axes, keep_dims)
    }

    #[track_caller]
    fn reduce(self, op: &str, axes: &[i64], keep_dims: bool) -> Var<'b> {
        let args = [("x", self.into()), ("axes", axes.to_vec().into()), ("keep_dims", keep_dims.into())];
        self.builder.op(op, args)
    }

    /// The same elements in another shape.
    #[track_caller]
    pub fn reshape(self, shape: &[usize]) -> Var<'b> {
        let shape: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
        self.builder.op("reshape", [("x", self.into()), ("shape", shape.into())])
    }

    /// Axis `i` of the result is axis `perm[i]`.
    #[track_caller]
    pub fn transpose(self, perm: &[i64]) -> Var<'b> {
        self.builder.op("transpose", [("x", self.into()), ("perm", perm.to_vec().into())])
    }

    /// The last two axes swapped.
    #[track_caller]
    pub fn t(self) -> Var<'b> {
        let rank = self.ty().rank() as i64;
        let mut perm: Vec<i64> = (0..rank).collect();
        if rank >= 2 {
            perm.swap(rank as usize - 2, rank as usize - 1);
        }
        self.transpose(&perm)
    }

    /// The matrix product with `y`; the flags transpose either side first.
    #[track_caller]
    pub fn matmul(self, y: Var<'b>, transpose_x: bool, transpose_y: bool) -> Var<'b> {
        self.builder.op(
            "matmul",
            [
                ("x", self.into()),
                ("y", y.into()),
                ("transpose_x", transpose_x.into()),
                ("transpose_y", transpose_y.into()),
            ],
        )
    }

    /// The convolution with `weight` `[O, I/groups, 1, 1]`, stride 1: a matrix product on channels.
    #[track_caller]
    pub fn conv1x1(self, weight: Var<'b>, groups: usize) -> Var<'b> {
        self.builder.op(
            "conv",
            [
                ("x", self.into()),
                ("weight", weight.into()),
                ("strides", vec![1, 1].into()),
                ("pad_type", "valid".into()),
                ("pad", vec![0, 0, 0, 0].into()),
                ("dilations", vec![1, 1].into()),
                ("groups", (groups as i64).into()),
            ],
        )
    }

    /// The part of `size` that begins at `begin`.
    #[track_caller]
    pub fn slice(self, begin: &[usize], size: &[usize]) -> Var<'b> {
        let ints = |v: &[usize]| -> Vec<i64> { v.iter().map(|&d| d as i64).collect() };
        let args = [("x", self.into()), ("begin", ints(begin).into()), ("size", ints(size).into())];
        self.builder.op("slice_by_size", args)
    }

    /// The concatenation of `parts` along `axis`.
    #[track_caller]
    pub fn concat(parts: Vec<Var<'b>>, axis: i64) -> Option<Var<'b>> {
        let builder = parts.first()?.builder;
        let args = [("values", parts.into()), ("axis", axis.into()), ("interleave", false.into())];
        Some(builder.op("concat", args))
    }

    /// The same values in type `dtype`.
    #[track_caller]
    pub fn cast(self, dtype: DType) -> Var<'b> {
        self.builder.op("cast", [("x", self.into()), ("dtype", dtype.name().into())])
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident, $op:literal) => {
        impl<'b> $trait<Var<'b>> for Var<'b> {
            type Output = Var<'b>;
            #[track_caller]
            fn $method(self, y: Var<'b>) -> Var<'b> {
                self.binary($op, y)
            }
        }
        impl<'b> $trait<f64> for Var<'b> {
            type Output = Var<'b>;
            #[track_caller]
            fn $method(self, y: f64) -> Var<'b> {
                let y = self.builder.scalar(self.ty().dtype, y);
                self.binary($op, y)
            }
        }
        impl<'b> $trait<Var<'b>> for f64 {
            type Output = Var<'b>;
            #[track_caller]
            fn $method(self, y: Var<'b>) -> Var<'b> {
                y.builder.scalar(y.ty().dtype, self).binary($op, y)
            }
        }
    };
}
operator!(Add, add, "add");
operator!(Sub, sub, "sub");
operator!(Mul, mul, "mul");
operator!(Div, div, "real_div");

impl<'b> Neg for Var<'b> {
    type Output = Var<'b>;
    #[track_caller]
    fn neg(self) -> Var<'b> {
        self * -1.0
    }
}
