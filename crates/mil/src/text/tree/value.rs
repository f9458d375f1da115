//! Constants and types, as they are written.

use super::{Name, Span};
use crate::tensor::Data;
use crate::ty::DType;
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A typed constant.
#[derive(Clone, Debug)]
pub struct Literal<'s> {
    /// Its type, as written.
    pub ty: Type<'s>,
    /// Its elements.
    pub value: Value<'s>,
    /// From the type to the closing bracket.
    pub span: Span,
}

impl PartialEq for Literal<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.ty == other.ty && self.value == other.value
    }
}

/// The content of a literal. Numbers are equal if their bits are equal.
#[derive(Clone, Debug)]
pub enum Value<'s> {
    /// Elements of a scalar or tensor, row-major, with the shape of the nested rows.
    Tensor {
        /// The shape; empty for a scalar.
        shape: Vec<usize>,
        /// The elements, floats rounded to their type.
        data: Arc<Data>,
    },
    /// Elements in a weight file; `offset` is that of the metadata record.
    Blob {
        /// As in the text: `@model_path/weights/wq.bin`.
        path: Cow<'s, str>,
        /// In bytes.
        offset: u64,
    },
    /// `[…]` of a list type.
    List(Vec<Value<'s>>),
    /// `(…)` of a tuple type.
    Tuple(Vec<Value<'s>>),
    /// `{{…, …}, …}` of a dictionary type.
    Dict(Vec<(Value<'s>, Value<'s>)>),
}

impl PartialEq for Value<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Tensor { shape: a, data: x }, Value::Tensor { shape: b, data: y }) => {
                let same = match (&**x, &**y) {
                    (Data::Float(x), Data::Float(y)) => {
                        x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits())
                    }
                    (x, y) => x == y,
                };
                a == b && same
            }
            (Value::Blob { path: a, offset: x }, Value::Blob { path: b, offset: y }) => a == b && x == y,
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => a == b,
            (Value::Dict(a), Value::Dict(b)) => a == b,
            _ => false,
        }
    }
}

impl Value<'_> {
    /// The one string that it holds.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Tensor { data, .. } => match &**data {
                Data::Str(v) if v.len() == 1 => Some(&v[0]),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The size of an axis: a number, or `?`.
pub type Dim = Option<usize>;

/// A type, as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Type<'s> {
    /// `tensor<fp16, [1, ?]>`; a scalar, in either spelling, has no dimensions.
    Tensor {
        /// The element type.
        dtype: DType,
        /// The size of each axis.
        dims: Vec<Dim>,
    },
    /// `list<T, n>`.
    List(Box<Type<'s>>, Dim),
    /// `tuple<A, B>`.
    Tuple(Vec<Type<'s>>),
    /// `dict<K, V>`.
    Dict(Box<(Type<'s>, Type<'s>)>),
    /// `state<T>`: a variable that persists between runs.
    State(Box<Type<'s>>),
    /// `tensor_buffer<fp16, shape=[…], strides=[…]>`: a tensor with a layout.
    Buffer {
        /// The element type.
        dtype: DType,
        /// Name and numbers of each property.
        fields: Vec<(Name<'s>, Vec<Dim>)>,
    },
}

impl Type<'_> {
    /// A scalar.
    pub const fn scalar(dtype: DType) -> Type<'static> {
        Type::Tensor { dtype, dims: Vec::new() }
    }

    /// As MIL text, in the old spelling (`tensor<T, []>` for scalars) or the new one.
    pub fn spelled(&self, old: bool) -> impl fmt::Display + '_ {
        Spelled { ty: self, old }
    }
}

impl fmt::Display for Type<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spelled(false).fmt(f)
    }
}

struct Spelled<'t> {
    ty: &'t Type<'t>,
    old: bool,
}

impl fmt::Display for Spelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |ty| Spelled { ty, old: self.old };
        match self.ty {
            Type::Tensor { dtype, dims } if dims.is_empty() && !self.old => f.write_str(dtype.name()),
            Type::Tensor { dtype, dims } => write!(f, "tensor<{dtype}, {}>", Dims(dims)),
            Type::List(item, length) => {
                write!(f, "list<{}, ", of(item))?;
                dim(f, *length)?;
                f.write_str(">")
            }
            Type::Tuple(items) => {
                f.write_str("tuple<")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if i > 0 { ", " } else { "" }, of(item))?;
                }
                f.write_str(">")
            }
            Type::Dict(both) => write!(f, "dict<{}, {}>", of(&both.0), of(&both.1)),
            Type::State(inner) => write!(f, "state<{}>", of(inner)),
            Type::Buffer { dtype, fields } => {
                write!(f, "tensor_buffer<{dtype}")?;
                for (name, numbers) in fields {
                    write!(f, ", {name}={}", Dims(numbers))?;
                }
                f.write_str(">")
            }
        }
    }
}

struct Dims<'d>(&'d [Dim]);

impl fmt::Display for Dims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, &d) in self.0.iter().enumerate() {
            f.write_str(if i > 0 { ", " } else { "" })?;
            dim(f, d)?;
        }
        f.write_str("]")
    }
}

fn dim(f: &mut fmt::Formatter<'_>, d: Dim) -> fmt::Result {
    match d {
        Some(n) => write!(f, "{n}"),
        None => f.write_str("?"),
    }
}
