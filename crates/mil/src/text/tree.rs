//! A program as it is written: every node with its place, nothing resolved, nothing lost but blanks.
//!
//! The tree borrows from the text it was read from, or from the program it was raised from.

use crate::tensor::Data;
use crate::ty::DType;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A range of bytes of the text. Texts are shorter than 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
}

impl Span {
    /// From the start of this to the end of `last`.
    pub fn to(self, last: Span) -> Span {
        Span { start: self.start, end: last.end.max(self.start) }
    }

    /// As positions in the text.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A word and where it stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Name<'s> {
    /// The word.
    pub text: &'s str,
    /// Where.
    pub span: Span,
}

impl PartialEq for Name<'_> {
    /// Places never make programs differ.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// A program. Trees are equal if they say the same: blanks, places and the order of arguments and attributes, which have
/// names, make no difference.
#[derive(Clone, Debug, Default)]
pub struct Tree<'s> {
    /// As in `program(1.3)`.
    pub version: Name<'s>,
    /// In square brackets, as a rule `buildInfo` alone.
    pub attrs: Vec<Attr<'s>>,
    /// In order.
    pub functions: Vec<Func<'s>>,
    /// Comments, in order of their places.
    pub comments: Vec<Comment<'s>>,
}

impl PartialEq for Tree<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
            && same(&self.attrs, &other.attrs, |a| a.name.text)
            && self.functions == other.functions
            && self.comments == other.comments
    }
}

/// Whether two lists hold equal items of equal names, in any order.
fn same<T: PartialEq>(a: &[T], b: &[T], name: impl Fn(&T) -> &str) -> bool {
    if a == b {
        return true;
    }
    let sorted = |items| -> Vec<_> {
        let mut sorted: Vec<&T> = Iterator::collect(<[T]>::iter(items));
        sorted.sort_by(|x, y| name(x).cmp(name(y)));
        sorted
    };
    sorted(a) == sorted(b)
}

impl<'s> Tree<'s> {
    /// Whether scalars are spelled `tensor<T, []>`.
    pub fn is_old(&self) -> bool {
        self.version.text == "1.0"
    }

    /// Every statement, those of blocks included, in order.
    pub fn statements<'t>(&'t self) -> impl Iterator<Item = &'t Statement<'s>> {
        let mut open: Vec<_> = self.functions.iter().rev().map(|f| f.block.statements.iter()).collect();
        std::iter::from_fn(move || {
            loop {
                match open.last_mut()?.next() {
                    Some(statement) => {
                        open.extend(statement.blocks.iter().rev().map(|b| b.block.statements.iter()));
                        return Some(statement);
                    }
                    None => drop(open.pop()),
                }
            }
        })
    }

    /// The function that runs unless another is named: `main`, or the first.
    pub fn main(&self) -> Option<&Func<'s>> {
        self.functions.iter().find(|f| f.name.text == "main").or(self.functions.first())
    }
}

/// `// …`, up to the end of its line.
#[derive(Clone, Copy, Debug)]
pub struct Comment<'s> {
    /// With its slashes.
    pub text: &'s str,
    /// Where.
    pub span: Span,
    /// Whether something stands before it in its line.
    pub behind: bool,
}

/// Where in a line it stands says nothing: of two in one statement, one at most is printed behind it.
impl PartialEq for Comment<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A function.
#[derive(Clone, Debug)]
pub struct Func<'s> {
    /// Its name.
    pub name: Name<'s>,
    /// The operations it is written against, as in `main<ios18>`.
    pub opset: Name<'s>,
    /// Parameters.
    pub params: Vec<Param<'s>>,
    /// In square brackets behind the parameters.
    pub attrs: Vec<Attr<'s>>,
    /// What it does.
    pub block: Block<'s>,
}

impl PartialEq for Func<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.opset == other.opset
            && self.params == other.params
            && same(&self.attrs, &other.attrs, |a| a.name.text)
            && self.block == other.block
    }
}

/// A type and a name: a parameter, or a result of an operation.
#[derive(Clone, Debug)]
pub struct Param<'s> {
    /// The type.
    pub ty: Type<'s>,
    /// Where the type stands.
    pub ty_span: Span,
    /// The name.
    pub name: Name<'s>,
}

impl PartialEq for Param<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.ty == other.ty
    }
}

/// Operations, and which values they give.
#[derive(Clone, Debug, Default)]
pub struct Block<'s> {
    /// In order of execution.
    pub statements: Vec<Statement<'s>>,
    /// Names of the results.
    pub results: Vec<Name<'s>>,
    /// From `{` to `}`.
    pub span: Span,
}

impl PartialEq for Block<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.statements == other.statements && self.results == other.results
    }
}

/// `type a, type b = op<opset>(x = …)[name = …](params){…};`
#[derive(Clone, Debug)]
pub struct Statement<'s> {
    /// What it defines.
    pub outputs: Vec<Param<'s>>,
    /// The operation.
    pub op: Name<'s>,
    /// The opset of this operation alone.
    pub opset: Option<Name<'s>>,
    /// In round brackets.
    pub args: Vec<Arg<'s>>,
    /// In square brackets.
    pub attrs: Vec<Attr<'s>>,
    /// Of `cond` and `while_loop`.
    pub blocks: Vec<Nested<'s>>,
}

impl PartialEq for Statement<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.outputs == other.outputs
            && self.op == other.op
            && self.opset == other.opset
            && same(&self.args, &other.args, |a| a.name.text)
            && same(&self.attrs, &other.attrs, |a| a.name.text)
            && self.blocks == other.blocks
    }
}

impl<'s> Statement<'s> {
    /// The argument called `name`.
    pub fn arg(&self, name: &str) -> Option<&Arg<'s>> {
        self.args.iter().find(|a| a.name.text == name)
    }

    /// The attribute called `name`.
    pub fn attr(&self, name: &str) -> Option<&Attr<'s>> {
        self.attrs.iter().find(|a| a.name.text == name)
    }

    /// Every literal, of arguments first, then of attributes.
    pub fn literals<'t>(&'t self) -> impl Iterator<Item = &'t Literal<'s>> {
        let items = self.args.iter().flat_map(|a| a.value.items());
        let given = items.filter_map(|item| match item {
            Item::Literal(literal) => Some(literal),
            Item::Name(_) => None,
        });
        given.chain(self.attrs.iter().map(|a| &a.literal))
    }

    /// The literal of a `const`.
    pub fn const_literal(&self) -> Option<&Literal<'s>> {
        (self.op.text == "const").then(|| self.attr("val").map(|a| &a.literal)).flatten()
    }
}

/// A block with parameters of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Nested<'s> {
    /// Parameters.
    pub params: Vec<Param<'s>>,
    /// What it does.
    pub block: Block<'s>,
}

/// `x = a`, `values = (a, b)` or `axis = int32(1)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg<'s> {
    /// The parameter.
    pub name: Name<'s>,
    /// What is given.
    pub value: ArgValue<'s>,
}

impl Arg<'_> {
    /// From the parameter's name to the end of what is given.
    pub fn span(&self) -> Span {
        let last = match &self.value {
            ArgValue::One(item) => item.span(),
            ArgValue::List(items) => items.last().map_or(self.name.span, Item::span),
        };
        self.name.span.to(last)
    }
}

/// What an argument can be.
#[derive(Clone, Debug, PartialEq)]
pub enum ArgValue<'s> {
    /// A name or a literal.
    One(Item<'s>),
    /// Several, in round brackets.
    List(Vec<Item<'s>>),
}

impl<'s> ArgValue<'s> {
    /// What is given, one or several.
    pub fn items(&self) -> &[Item<'s>] {
        match self {
            ArgValue::One(item) => std::slice::from_ref(item),
            ArgValue::List(items) => items,
        }
    }
}

/// The name of an earlier value, or a literal.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Item<'s> {
    Name(Name<'s>),
    Literal(Literal<'s>),
}

impl Item<'_> {
    /// Where it stands.
    pub fn span(&self) -> Span {
        match self {
            Item::Name(name) => name.span,
            Item::Literal(literal) => literal.span,
        }
    }
}

/// `name = string("…")`.
#[derive(Clone, Debug, PartialEq)]
pub struct Attr<'s> {
    /// The attribute.
    pub name: Name<'s>,
    /// What is given.
    pub literal: Literal<'s>,
}

/// A typed constant.
#[derive(Clone, Debug)]
pub struct Literal<'s> {
    /// Its type, as it is written.
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

/// What stands between the brackets of a literal. Numbers are equal if their bits are.
#[derive(Clone, Debug)]
pub enum Value<'s> {
    /// Elements of a scalar or tensor, row-major, with the shape that their rows have.
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

/// A type, as it is written.
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
    /// `state<T>`: memory that keeps its value between runs.
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
