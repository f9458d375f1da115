//! Programs as data: functions, operations, values, literals.

use crate::diag::Place;
use crate::op::Op;
use crate::tensor::{Data, Tensor};
use crate::ty::{Opset, TensorType};
use std::collections::HashSet;
use std::sync::Arc;

/// A program: functions and metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    /// The version of the text format, as in `program(1.3)`.
    pub version: String,
    /// The `buildInfo` dictionary, in order.
    pub build_info: Vec<(String, String)>,
    /// The functions, in order.
    pub functions: Vec<Function>,
}

impl Program {
    /// A program of one function, with the version and build information that an engine is known to accept.
    pub fn of(function: Function) -> Program {
        let info = [
            ("coremlc-component-MIL", "3510.2.1"),
            ("coremlc-version", "3505.4.1"),
            ("coremltools-component-milinternal", ""),
            ("coremltools-version", "9.0"),
        ];
        Program {
            version: "1.3".into(),
            build_info: info.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            functions: vec![function],
        }
    }

    /// The function that runs unless another is named: `main`, or the first.
    pub fn main(&self) -> Option<&Function> {
        self.functions.iter().find(|f| f.name == "main").or(self.functions.first())
    }
}

/// Which value of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) u32);

impl ValueId {
    /// The position in [`Function::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Something with a name and a type: a parameter of the function or the result of an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The name, unique in its function.
    pub name: String,
    /// The type.
    pub ty: TensorType,
}

/// A function: parameters, operations in order of execution, results.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// The name, usually `main`.
    pub name: String,
    /// The operations it is written against.
    pub opset: Opset,
    /// Parameters.
    pub inputs: Vec<ValueId>,
    /// Operations; each uses only values defined before it.
    pub ops: Vec<Operation>,
    /// Results.
    pub outputs: Vec<ValueId>,
    /// All values, indexed by [`ValueId`].
    pub values: Vec<Value>,
    /// States, whose values persist between runs: each is a parameter and a result.
    pub states: Vec<State>,
}

/// A state: a variable whose value persists between runs.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Its name.
    pub name: String,
    /// The parameter that holds the value before a run.
    pub input: ValueId,
    /// The value after it.
    pub output: ValueId,
}

impl Function {
    /// A function without parameters, operations and results.
    pub fn empty(name: &str, opset: Opset) -> Function {
        Function {
            name: name.into(),
            opset,
            inputs: Vec::new(),
            ops: Vec::new(),
            outputs: Vec::new(),
            values: Vec::new(),
            states: Vec::new(),
        }
    }

    /// The signature only: name, opset, parameters and results, without operations and values.
    pub(crate) fn head(&self) -> Function {
        Function {
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            states: self.states.clone(),
            ..Function::empty(&self.name, self.opset)
        }
    }

    /// Adds a value that nothing defines yet.
    pub fn add_value(&mut self, name: impl Into<String>, ty: TensorType) -> ValueId {
        let id = ValueId(u32::try_from(self.values.len()).unwrap_or(u32::MAX));
        self.values.push(Value { name: name.into(), ty });
        id
    }

    /// The value behind `id`.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The type of `id`.
    pub fn ty(&self, id: ValueId) -> &TensorType {
        &self.value(id).ty
    }

    /// The value called `name`.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        let at = self.values.iter().position(|v| v.name == name)?;
        Some(ValueId(u32::try_from(at).ok()?))
    }

    /// Every operation, those of blocks included, in the order of the text.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        let mut open = vec![self.ops.iter()];
        std::iter::from_fn(move || {
            loop {
                match open.last_mut()?.next() {
                    Some(op) => {
                        open.extend(op.blocks.iter().rev().map(|b| b.ops.iter()));
                        return Some(op);
                    }
                    None => drop(open.pop()),
                }
            }
        })
    }

    /// For each value, the position of the operation that defines it; `None` for parameters.
    pub fn definitions(&self) -> Vec<Option<usize>> {
        let mut out = vec![None; self.values.len()];
        for (i, op) in self.ops.iter().enumerate() {
            for &r in &op.results {
                out[r.index()] = Some(i);
            }
        }
        out
    }

    /// For each value, its literal, if a `const` defines it.
    pub fn literals(&self) -> Vec<Option<&Literal>> {
        let mut out = vec![None; self.values.len()];
        for op in self.operations() {
            if let (Some(literal), [result]) = (op.const_literal(), op.results.as_slice()) {
                out[result.index()] = Some(literal);
            }
        }
        out
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Its entry in the op table.
    pub op: Op,
    /// Arguments, by position of their parameter in the entry; any order.
    pub args: Vec<Arg>,
    /// The values that it defines.
    pub results: Vec<ValueId>,
    /// The `name` attribute.
    pub label: Option<String>,
    /// The part of a model that it belongs to; not printed.
    pub scope: Scope,
    /// Where it was written.
    pub place: Place,
    /// The blocks of `cond` and `while_loop`.
    pub blocks: Vec<Block>,
}

/// Operations inside an operation. They may use values defined before it; their own values are local.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Block {
    /// Parameters.
    pub inputs: Vec<ValueId>,
    /// Operations, in order of execution.
    pub ops: Vec<Operation>,
    /// Results.
    pub outputs: Vec<ValueId>,
}

impl Operation {
    /// An operation on `args` that defines `results`, without a label, made by a pass.
    pub fn new(op: Op, args: Vec<Arg>, results: Vec<ValueId>) -> Operation {
        Operation {
            op,
            args,
            results,
            label: None,
            scope: Scope::default(),
            place: Place::Nowhere,
            blocks: Vec::new(),
        }
    }

    /// A `const` that defines `result`.
    pub fn constant(literal: Literal, result: ValueId) -> Operation {
        let arg = Arg { param: 0, value: ArgValue::Literal(literal) };
        Operation::new(Op(&crate::ops::constant::CONST), vec![arg], vec![result])
    }

    /// The argument of parameter `name`.
    pub fn arg(&self, name: &str) -> Option<&ArgValue> {
        let at = self.op.param(name)?;
        self.args.iter().find(|a| a.param == at).map(|a| &a.value)
    }

    /// The argument of parameter `name`, if it is a single value.
    pub fn arg_value(&self, name: &str) -> Option<ValueId> {
        match self.arg(name)? {
            ArgValue::Value(v) => Some(*v),
            _ => None,
        }
    }

    /// Every value used that is defined outside, arguments first.
    pub fn captures(&self) -> Vec<ValueId> {
        fn collect(ops: &[Operation], inside: &mut HashSet<ValueId>, out: &mut Vec<ValueId>) {
            for op in ops {
                out.extend(op.uses().filter(|v| !inside.contains(v)));
                for block in &op.blocks {
                    inside.extend(&block.inputs);
                    collect(&block.ops, inside, out);
                    out.extend(block.outputs.iter().filter(|v| !inside.contains(v)));
                }
                inside.extend(&op.results);
            }
        }
        let mut out = Vec::new();
        collect(std::slice::from_ref(self), &mut HashSet::new(), &mut out);
        out
    }

    /// Every value used as an argument, in order of the arguments.
    pub fn uses(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.args.iter().flat_map(|a| match &a.value {
            ArgValue::Value(v) => std::slice::from_ref(v).iter().copied(),
            ArgValue::List(vs) => vs.iter().copied(),
            ArgValue::Literal(_) => [].iter().copied(),
        })
    }

    /// The literal of a `const`.
    pub fn const_literal(&self) -> Option<&Literal> {
        match (self.op.name(), self.arg("val")) {
            ("const", Some(ArgValue::Literal(l))) => Some(l),
            _ => None,
        }
    }
}

/// An argument and the parameter it is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    /// Position in [`OpDef::params`](crate::OpDef).
    pub param: usize,
    /// The argument.
    pub value: ArgValue,
}

/// An argument.
#[derive(Clone, Debug, PartialEq)]
pub enum ArgValue {
    /// The name of an earlier value.
    Value(ValueId),
    /// Several names, for a variadic parameter: `values = (a, b)`.
    List(Vec<ValueId>),
    /// A typed literal: an attribute such as `val`, or an immediate argument.
    Literal(Literal),
}

/// A typed constant.
#[derive(Clone, Debug, PartialEq)]
pub struct Literal {
    /// The type.
    pub ty: TensorType,
    /// The storage of its elements.
    pub data: LiteralData,
}

/// Where the elements of a literal are.
#[derive(Clone, Debug, PartialEq)]
pub enum LiteralData {
    /// In the program. Shared, as masks and tables are large.
    Inline(Arc<Data>),
    /// In a weight file: `BLOBFILE(path = …, offset = …)`; `offset` is that of the metadata record.
    Blob {
        /// As in the text: `@model_path/weights/wq.bin`.
        path: String,
        /// File offset of the entry's metadata record, in bytes.
        offset: u64,
    },
}

impl Literal {
    /// A literal with inline elements.
    pub fn inline(tensor: Tensor) -> Literal {
        Literal { ty: tensor.ty, data: LiteralData::Inline(Arc::new(tensor.data)) }
    }

    /// A literal with elements in a weight file.
    pub fn blob(ty: TensorType, path: impl Into<String>, offset: u64) -> Literal {
        Literal { ty, data: LiteralData::Blob { path: path.into(), offset } }
    }

    /// The elements, if they are inline.
    pub fn data(&self) -> Option<&Data> {
        match &self.data {
            LiteralData::Inline(d) => Some(d),
            LiteralData::Blob { .. } => None,
        }
    }
}

/// The part of a model an operation belongs to, and on which pass through it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    /// The part: `norm1`, `softmax`, …; empty if none was named. `qkv.q` is a part of `qkv`.
    pub name: Arc<str>,
    /// Whether autodiff wrote it.
    pub phase: Phase,
}

impl Scope {
    /// Whether `other` is this scope or nested in it.
    pub fn covers(&self, other: &Scope) -> bool {
        let part = other.name.strip_prefix(&*self.name);
        self.phase == other.phase && part.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// The pass that an operation belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Written by the author of the program.
    #[default]
    Forward,
    /// Written by autodiff.
    Backward,
}
