//! The syntax tree: every node has its place, nothing is resolved, only blanks are lost.
//!
//! The tree borrows from the text it was read from, or from the program it was raised from.

mod value;

pub use value::{Dim, Literal, Type, Value};

use std::fmt;
use std::ops::Range;

/// A range of bytes of the text. Texts are shorter than 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// One past the last byte.
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

/// A word with its place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Name<'s> {
    /// The word.
    pub text: &'s str,
    /// Where.
    pub span: Span,
}

impl PartialEq for Name<'_> {
    /// Places do not take part in comparisons.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// A program. Trees are equal if their content is equal: blanks, places and the order of arguments and attributes, which have
/// names, make no difference.
#[derive(Clone, Debug, Default)]
pub struct Tree<'s> {
    /// As in `program(1.3)`.
    pub version: Name<'s>,
    /// In square brackets; usually only `buildInfo`.
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
    /// Whether it is a trailing comment.
    pub behind: bool,
}

/// Its position in the line is ignored: of two in one statement, at most one is printed as trailing.
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
    /// Attributes, in square brackets after the parameters.
    pub attrs: Vec<Attr<'s>>,
    /// What it does.
    pub block: BlockNode<'s>,
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
    /// The place of the type.
    pub ty_span: Span,
    /// The name.
    pub name: Name<'s>,
}

impl PartialEq for Param<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.ty == other.ty
    }
}

/// Operations, and the values that they return.
#[derive(Clone, Debug, Default)]
pub struct BlockNode<'s> {
    /// In order of execution.
    pub statements: Vec<Statement<'s>>,
    /// Names of the results.
    pub results: Vec<Name<'s>>,
    /// From `{` to `}`.
    pub span: Span,
}

impl PartialEq for BlockNode<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.statements == other.statements && self.results == other.results
    }
}

/// `type a, type b = op<opset>(x = …)[name = …](params){…};`
#[derive(Clone, Debug)]
pub struct Statement<'s> {
    /// The values that it defines.
    pub outputs: Vec<Param<'s>>,
    /// The operation.
    pub op: Name<'s>,
    /// The opset of this operation.
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

/// A block with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Nested<'s> {
    /// Parameters.
    pub params: Vec<Param<'s>>,
    /// What it does.
    pub block: BlockNode<'s>,
}

/// `x = a`, `values = (a, b)` or `axis = int32(1)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg<'s> {
    /// The parameter.
    pub name: Name<'s>,
    /// The argument.
    pub value: ArgValue<'s>,
}

impl Arg<'_> {
    /// From the parameter's name to the end of the argument.
    pub fn span(&self) -> Span {
        let last = match &self.value {
            ArgValue::One(item) => item.span(),
            ArgValue::List(items) => items.last().map_or(self.name.span, Item::span),
        };
        self.name.span.to(last)
    }
}

/// An argument.
#[derive(Clone, Debug, PartialEq)]
pub enum ArgValue<'s> {
    /// A name or a literal.
    One(Item<'s>),
    /// Several, in round brackets.
    List(Vec<Item<'s>>),
}

impl<'s> ArgValue<'s> {
    /// The argument, one value or several.
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
    /// Its place.
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
    /// The argument.
    pub literal: Literal<'s>,
}
