//! Programs as trees, to be printed.

use super::tree::{
    Arg, ArgValue, Attr, BlockNode, Func, Item, Literal, Name, Nested, Param, Span, Statement, Tree,
};
use super::tree::{Type, Value};
use crate::ir::{self, Function, LiteralData, Operation, Program};
use crate::op::{Op, Role};
use crate::tensor::Data;
use crate::ty::{DType, TensorType};
use std::borrow::Cow;
use std::sync::Arc;

/// The tree of `program`. Operations without a label are labelled with the name of their first result. Names are printed
/// unchanged; those that are not identifiers cannot be parsed again.
pub fn raise(program: &Program) -> Tree<'_> {
    let attrs = match program.build_info.is_empty() {
        true => Vec::new(),
        false => {
            let ty = Type::Dict(Box::new((Type::scalar(DType::Str), Type::scalar(DType::Str))));
            let entries = program.build_info.iter().map(|(k, v)| (string(k), string(v))).collect();
            vec![attr("buildInfo", Literal { ty, value: Value::Dict(entries), span: Span::default() })]
        }
    };
    let functions = program.functions.iter().map(function).collect();
    Tree { version: name(&program.version), attrs, functions, comments: Vec::new() }
}

fn name(text: &str) -> Name<'_> {
    Name { text, span: Span::default() }
}

fn attr<'s>(text: &'s str, literal: Literal<'s>) -> Attr<'s> {
    Attr { name: name(text), literal }
}

fn string(text: &str) -> Value<'_> {
    Value::Tensor { shape: Vec::new(), data: Arc::new(Data::Str(vec![text.to_owned()])) }
}

fn ty(ty: &TensorType) -> Type<'static> {
    Type::Tensor { dtype: ty.dtype, dims: ty.shape.iter().map(|&d| TensorType::known_size(d)).collect() }
}

fn function(f: &Function) -> Func<'_> {
    Func {
        name: name(&f.name),
        opset: name(f.opset.name()),
        params: params(f, &f.inputs),
        attrs: Vec::new(),
        block: block(f, &f.ops, &f.outputs),
    }
}

fn params<'f>(f: &'f Function, ids: &[ir::ValueId]) -> Vec<Param<'f>> {
    let param = |&id: &ir::ValueId| {
        let value = f.value(id);
        Param { ty: ty(&value.ty), ty_span: Span::default(), name: name(&value.name) }
    };
    ids.iter().map(param).collect()
}

fn block<'f>(f: &'f Function, ops: &'f [Operation], results: &[ir::ValueId]) -> BlockNode<'f> {
    BlockNode {
        statements: ops.iter().map(|op| statement(f, op)).collect(),
        results: results.iter().map(|&id| name(&f.value(id).name)).collect(),
        span: Span::default(),
    }
}

fn statement<'f>(f: &'f Function, operation: &'f Operation) -> Statement<'f> {
    let (mut args, mut attrs) = (Vec::new(), Vec::new());
    for arg in &operation.args {
        let Some(param) = operation.op.params.get(arg.param) else { continue };
        let value_name = |&id: &ir::ValueId| Item::Name(name(&f.value(id).name));
        let value = match &arg.value {
            ir::ArgValue::Value(id) => ArgValue::One(value_name(id)),
            ir::ArgValue::List(ids) => ArgValue::List(ids.iter().map(value_name).collect()),
            ir::ArgValue::Literal(l) if param.role == Role::Attribute => {
                attrs.push(attr(param.name, literal(l)));
                continue;
            }
            ir::ArgValue::Literal(l) => ArgValue::One(Item::Literal(literal(l))),
        };
        args.push(Arg { name: name(param.name), value });
    }
    let first = operation.results.first().map(|&id| f.value(id).name.as_str());
    if let Some(label) = operation.label.as_deref().or(first) {
        let ty = Type::scalar(DType::Str);
        attrs.push(attr("name", Literal { ty, value: string(label), span: Span::default() }));
    }
    let blocks = operation
        .blocks
        .iter()
        .map(|b| Nested { params: params(f, &b.inputs), block: block(f, &b.ops, &b.outputs) });
    // The form of an older opset: the operation states it.
    let other_form = Op::find_in(operation.op.name(), f.opset) != Some(operation.op);
    Statement {
        outputs: params(f, &operation.results),
        op: name(operation.op.name()),
        opset: other_form.then(|| name(operation.op.since.name())),
        args,
        attrs,
        blocks: blocks.collect(),
    }
}

fn literal(l: &ir::Literal) -> Literal<'_> {
    let value = match &l.data {
        LiteralData::Inline(data) => Value::Tensor { shape: l.ty.shape.clone(), data: Arc::clone(data) },
        LiteralData::Blob { path, offset } => Value::Blob { path: Cow::Borrowed(path), offset: *offset },
    };
    Literal { ty: ty(&l.ty), value, span: Span::default() }
}
