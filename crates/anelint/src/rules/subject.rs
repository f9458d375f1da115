//! The subject of rules: a text, with each function indexed once.
//!
//! Uses only the text: the type of a value is the declared one. So rules work for operations outside of MIL's table, and
//! for unknown sizes.

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};
use mil::op::Axes;
use mil::text::tree::{Arg, ArgValue, Dim, Func, Item, Literal, Param, Span, Statement, Tree, Type, Value};
use mil::{DType, Data, Op};
use std::fmt::Display;

/// A text, indexed.
pub struct Subject<'t> {
    /// The text as a tree.
    pub tree: &'t Tree<'t>,
    /// Its functions.
    pub functions: Vec<FunctionIndex<'t>>,
}

impl<'t> Subject<'t> {
    /// Indexes each function of `tree`.
    pub fn new(tree: &'t Tree<'t>) -> Subject<'t> {
        Subject { tree, functions: tree.functions.iter().map(FunctionIndex::new).collect() }
    }

    /// Every operation called `op`, in order of the text within each function.
    pub fn each<'a>(&'a self, op: &str) -> impl Iterator<Item = OpCall<'a, 't>> {
        self.functions.iter().flat_map(move |f| f.each(op))
    }

    /// Every operation that has one of these names: name by name.
    pub fn each_of<'a>(&'a self, ops: &[&str]) -> impl Iterator<Item = OpCall<'a, 't>> {
        ops.iter().flat_map(|op| self.each(op))
    }

    /// Every operation.
    pub fn calls<'a>(&'a self) -> impl Iterator<Item = OpCall<'a, 't>> {
        self.functions.iter().flat_map(FunctionIndex::calls)
    }

    /// Every surface: the parameters and results of every function.
    pub fn surfaces<'a>(&'a self) -> impl Iterator<Item = Port<'t>> + 'a {
        self.functions.iter().flat_map(|f| f.inputs().chain(f.outputs()))
    }

    /// Every parameter.
    pub fn inputs<'a>(&'a self) -> impl Iterator<Item = Port<'t>> + 'a {
        self.functions.iter().flat_map(FunctionIndex::inputs)
    }

    /// Every entry of a weight file that the text names: path, offset, place.
    pub fn blobs<'a>(&'a self) -> impl Iterator<Item = (&'t str, u64, Span)> + 'a {
        let blob = |literal: &'t Literal<'t>| match &literal.value {
            Value::Blob { path, offset } => Some((&**path, *offset, literal.span)),
            _ => None,
        };
        self.calls().flat_map(|c| &c.statement.attrs).filter_map(move |a| blob(&a.literal))
    }
}

/// A function, indexed.
pub struct FunctionIndex<'t> {
    /// As it is written.
    pub func: &'t Func<'t>,
    /// Its operations in order of the text, those of nested blocks too.
    ops: Vec<&'t Statement<'t>>,
    values: HashMap<&'t str, ValueInfo<'t>>,
    named: HashMap<&'t str, Vec<usize>>,
}

/// Information about a value.
pub struct ValueInfo<'t> {
    /// The type, as it is written.
    pub ty: &'t Type<'t>,
    /// Its producer; parameters have none.
    pub maker: Option<&'t Statement<'t>>,
    /// The operations that take it.
    pub uses: Vec<&'t Statement<'t>>,
}

/// A parameter or result of a function.
#[derive(Clone, Copy)]
pub struct Port<'t> {
    /// `input` or `output`.
    pub side: &'static str,
    /// Its name.
    pub name: &'t str,
    /// Its type.
    pub shape: TensorShape<'t>,
    /// Where it stands.
    pub span: Span,
}

impl Port<'_> {
    /// "input `x`", and what is so of it.
    pub(super) fn says(&self, what: impl Display) -> String {
        format!("{} `{}` {what}", self.side, self.name)
    }
}

impl<'t> FunctionIndex<'t> {
    fn new(func: &'t Func<'t>) -> FunctionIndex<'t> {
        let mut index =
            FunctionIndex { func, ops: Vec::new(), values: HashMap::new(), named: HashMap::new() };
        for param in &func.params {
            index.define(param, None);
        }
        let mut waiting: Vec<_> = func.block.statements.iter().rev().collect();
        while let Some(op) = waiting.pop() {
            index.named.entry(op.op.text).or_default().push(index.ops.len());
            index.ops.push(op);
            for output in &op.outputs {
                index.define(output, Some(op));
            }
            for block in op.blocks.iter().rev() {
                block.params.iter().for_each(|p| index.define(p, Some(op)));
                waiting.extend(block.block.statements.iter().rev());
            }
        }
        for op in index.ops.iter().copied() {
            for item in op.args.iter().flat_map(|a| a.value.items()) {
                if let Item::Name(name) = item
                    && let Some(known) = index.values.get_mut(name.text)
                {
                    known.uses.push(op);
                }
            }
        }
        index
    }

    fn define(&mut self, param: &'t Param<'t>, maker: Option<&'t Statement<'t>>) {
        let known = || ValueInfo { ty: &param.ty, maker, uses: Vec::new() };
        self.values.entry(param.name.text).or_insert_with(known);
    }

    /// Information about the value called `name`.
    pub fn value(&self, name: &str) -> Option<&ValueInfo<'t>> {
        self.values.get(name)
    }

    /// Every operation called `op`.
    pub fn each<'a>(&'a self, op: &str) -> impl Iterator<Item = OpCall<'a, 't>> {
        let found = self.named.get(op).map_or(&[][..], Vec::as_slice);
        found.iter().filter_map(|&i| self.ops.get(i)).map(|op| OpCall { function: self, statement: op })
    }

    /// Every operation.
    pub fn calls<'a>(&'a self) -> impl Iterator<Item = OpCall<'a, 't>> {
        self.ops.iter().map(|op| OpCall { function: self, statement: op })
    }

    /// Values that convolutions take or give.
    pub fn conv_values(&self) -> HashSet<&'t str> {
        let mut names = HashSet::new();
        for call in self.each("conv") {
            names.insert(call.name());
            if let Some(Item::Name(x)) = call.item("x") {
                names.insert(x.text);
            }
        }
        names
    }

    /// Parameters that are tensors; states are not bound to surfaces.
    pub fn inputs<'a>(&'a self) -> impl Iterator<Item = Port<'t>> + 'a {
        let port = |p: &'t Param<'t>| {
            let shape = TensorShape::of(&p.ty).filter(|_| !matches!(p.ty, Type::State(_)))?;
            Some(Port { side: "input", name: p.name.text, shape, span: p.name.span })
        };
        self.func.params.iter().filter_map(port)
    }

    /// Results that are tensors.
    pub fn outputs<'a>(&'a self) -> impl Iterator<Item = Port<'t>> + 'a {
        self.func.block.results.iter().filter_map(|name| {
            let shape = TensorShape::of(self.value(name.text)?.ty)?;
            Some(Port { side: "output", name: name.text, shape, span: name.span })
        })
    }
}

/// An operation in its function.
#[derive(Clone, Copy)]
pub struct OpCall<'a, 't> {
    /// The function.
    pub function: &'a FunctionIndex<'t>,
    /// As it is written.
    pub statement: &'t Statement<'t>,
}

impl<'a, 't> OpCall<'a, 't> {
    /// The place of its name.
    pub fn span(&self) -> Span {
        self.statement.op.span
    }

    /// The name of its first result.
    pub fn name(&self) -> &'t str {
        self.statement.outputs.first().map_or("", |o| o.name.text)
    }

    /// "`y` is an `acos`".
    pub(super) fn described(&self) -> String {
        let op = self.statement.op;
        let article = if op.text.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
        format!("`{}` is {article} `{op}`", self.name())
    }

    /// The producer of the argument `param`; `None` for a parameter of the function.
    pub(super) fn maker(&self, param: &str) -> Option<&'t Statement<'t>> {
        self.value(param)?.maker
    }

    /// The name of the producer of the argument `param`.
    pub(super) fn maker_name(&self, param: &str) -> Option<&'t str> {
        Some(self.maker(param)?.op.text)
    }

    /// Whether its result is known when the program is compiled.
    pub fn makes_constant(&self) -> bool {
        makes_constant(self.statement)
    }

    /// The type of its first result.
    pub fn out(&self) -> Option<TensorShape<'t>> {
        self.statement.outputs.first().and_then(|o| TensorShape::of(&o.ty))
    }

    /// The single argument of `param`.
    pub fn item(&self, param: &str) -> Option<&'t Item<'t>> {
        match &self.statement.arg(param)?.value {
            ArgValue::One(item) => Some(item),
            ArgValue::List(_) => None,
        }
    }

    /// Information about the argument of `param`.
    pub fn value(&self, param: &str) -> Option<&'a ValueInfo<'t>> {
        match self.item(param)? {
            Item::Name(name) => self.function.value(name.text),
            Item::Literal(_) => None,
        }
    }

    /// The type of the argument of `param`.
    pub fn shape(&self, param: &str) -> Option<TensorShape<'t>> {
        match self.item(param)? {
            Item::Name(name) => TensorShape::of(self.function.value(name.text)?.ty),
            Item::Literal(literal) => TensorShape::of(&literal.ty),
        }
    }

    /// Whether the argument of `param` is known at compile time; `None` if it is absent.
    pub fn is_constant(&self, param: &str) -> Option<bool> {
        Some(match self.item(param)? {
            Item::Literal(_) => true,
            Item::Name(name) => self.function.value(name.text)?.maker.is_some_and(makes_constant),
        })
    }

    /// The elements of `param`, if they are inline.
    pub fn data(&self, param: &str) -> Option<&'t Data> {
        let literal = match self.item(param)? {
            Item::Literal(literal) => literal,
            Item::Name(name) => self.function.value(name.text)?.maker?.const_literal()?,
        };
        match &literal.value {
            Value::Tensor { data, .. } => Some(data),
            _ => None,
        }
    }

    /// The integers of `param`, if they are inline.
    pub fn ints(&self, param: &str) -> Option<&'t [i64]> {
        match self.data(param)? {
            Data::Int(v) => Some(v),
            _ => None,
        }
    }

    /// The number of `param`, if it is inline.
    pub fn number(&self, param: &str) -> Option<f64> {
        match self.data(param)? {
            Data::Float(v) if v.len() == 1 => v.first().copied(),
            Data::Int(v) if v.len() == 1 => v.first().map(|&n| n as f64),
            _ => None,
        }
    }

    /// The boolean of `param`, if it is inline.
    pub fn flag(&self, param: &str) -> Option<bool> {
        match self.data(param)? {
            Data::Bool(v) => v.first().copied(),
            _ => None,
        }
    }

    /// The string of `param`, if it is inline.
    pub fn text(&self, param: &str) -> Option<&'t str> {
        match self.data(param)? {
            Data::Str(v) => v.first().map(String::as_str),
            _ => None,
        }
    }

    /// Its argument called `param`.
    pub fn arg(&self, param: &str) -> Option<&'t Arg<'t>> {
        self.statement.arg(param)
    }
}

/// `const` and the operations that make constants of compressed weights.
fn makes_constant(op: &Statement<'_>) -> bool {
    op.op.text == "const" || op.op.text.starts_with("constexpr_")
}

/// Whether the op table has `op` as one that works element by element.
pub(super) fn is_elementwise(op: &str) -> bool {
    Op::find(op).is_some_and(|op| matches!(op.axes, Axes::Elementwise))
}

/// Whether `op` reduces axes.
pub(super) fn is_reduction(op: Option<&str>) -> bool {
    op.is_some_and(|op| op.starts_with("reduce_"))
}

/// Element type and sizes.
#[derive(Clone, Copy)]
pub struct TensorShape<'t> {
    /// The element type.
    pub dtype: DType,
    /// The size of each axis.
    pub dims: &'t [Dim],
}

impl<'t> TensorShape<'t> {
    /// Of a tensor, of the tensor in a state, of a buffer.
    pub fn of(ty: &'t Type<'t>) -> Option<TensorShape<'t>> {
        match ty {
            Type::Tensor { dtype, dims } => Some(TensorShape { dtype: *dtype, dims }),
            Type::State(inner) => TensorShape::of(inner),
            Type::Buffer { dtype, fields } => {
                let dims = &fields.iter().find(|f| f.0.text == "shape")?.1;
                Some(TensorShape { dtype: *dtype, dims })
            }
            _ => None,
        }
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.dims.len()
    }

    /// The size of axis `i`, if there is one and it is known.
    pub fn dim(&self, i: usize) -> Option<usize> {
        self.dims.get(i).copied().flatten()
    }

    /// The size of axis `i`, from the end if it is negative.
    pub fn axis(&self, i: i64) -> Option<usize> {
        let i = if i < 0 { i.checked_add(i64::try_from(self.rank()).ok()?)? } else { i };
        self.dim(usize::try_from(i).ok()?)
    }

    /// The size of the last axis.
    pub fn last(&self) -> Option<usize> {
        self.dims.last().copied().flatten()
    }

    /// The number of elements, if all sizes are known; saturates.
    pub fn elements(&self) -> Option<usize> {
        self.dims.iter().try_fold(1usize, |n, d| Some(n.saturating_mul((*d)?)))
    }

    /// Bytes of all elements, if all sizes are known; saturates.
    pub fn bytes(&self) -> Option<usize> {
        Some(self.elements()?.saturating_mul(self.dtype.size()?))
    }
}
