//! Programs, functions, blocks and operations.

use super::refuse;
use super::types::value_type;
use super::values::literal;
use crate::dtype::opset_in_file;
use crate::proto::mil::{
    Argument, ArgumentEntry, AttributeEntry, Binding, Block, BlockEntry, Function, FunctionEntry,
    NamedValueType, Operation, Program, binding,
};
use mil::Diagnostic;
use mil::text::tree::{Arg, ArgValue, Attr, BlockNode, Func, Item, Name, Param, Statement, Tree};

/// The message of the program. `FlexibleShapeInformation` is not in it: a description holds that.
///
/// # Errors
/// If the schema lacks a part of it.
pub fn program(tree: &Tree<'_>) -> Result<Program, Diagnostic> {
    let functions = tree
        .functions
        .iter()
        .map(|f| Ok(FunctionEntry { key: f.name.text.to_owned(), value: Some(function(f)?) }));
    let functions = functions.collect::<Result<_, Diagnostic>>()?;
    Ok(Program { version: 1, functions, doc_string: String::new(), attributes: attributes(&tree.attrs)? })
}

fn function(f: &Func<'_>) -> Result<Function, Diagnostic> {
    let Some((opset, _)) = opset_in_file(f.opset.text) else {
        let text = format!("no model file has the opset `{}`", f.opset);
        return Err(refuse(text, f.opset.span, "use one of ios15, ios16, ios17, ios18, ios26"));
    };
    let block = block(&[], &f.block, f.opset)?;
    let attrs: Vec<Attr<'_>> =
        f.attrs.iter().filter(|a| a.name.text != "FlexibleShapeInformation").cloned().collect();
    Ok(Function {
        inputs: params(&f.params)?,
        opset: opset.to_owned(),
        block_specializations: vec![BlockEntry { key: opset.to_owned(), value: Some(block) }],
        attributes: attributes(&attrs)?,
    })
}

fn block(inputs: &[Param<'_>], node: &BlockNode<'_>, opset: Name<'_>) -> Result<Block, Diagnostic> {
    let operations = node.statements.iter().map(|s| operation(s, opset)).collect::<Result<_, _>>()?;
    Ok(Block {
        inputs: params(inputs)?,
        outputs: node.results.iter().map(|name| name.text.to_owned()).collect(),
        operations,
        attributes: Vec::new(),
    })
}

fn operation(s: &Statement<'_>, opset: Name<'_>) -> Result<Operation, Diagnostic> {
    if let Some(own) = s.opset.filter(|own| own.text != opset.text) {
        let text =
            format!("`{}` is of opset {own} in a function of {opset}; a model file has one for both", s.op);
        return Err(refuse(text, own.span, "write the operation in the form of its function's opset"));
    }
    let nested = s.blocks.iter().map(|b| block(&b.params, &b.block, opset));
    Ok(Operation {
        r#type: s.op.text.to_owned(),
        inputs: s.args.iter().map(argument).collect::<Result<_, _>>()?,
        outputs: params(&s.outputs)?,
        blocks: nested.collect::<Result<_, _>>()?,
        attributes: attributes(&s.attrs)?,
    })
}

fn argument(arg: &Arg<'_>) -> Result<ArgumentEntry, Diagnostic> {
    let items = match &arg.value {
        ArgValue::One(item) => std::slice::from_ref(item),
        ArgValue::List(items) => items,
    };
    let binding = |item: &Item<'_>| {
        let kind = match item {
            Item::Name(name) => binding::Kind::Name(name.text.to_owned()),
            Item::Literal(l) => binding::Kind::Value(literal(l)?),
        };
        Ok(Binding { kind: Some(kind) })
    };
    let arguments = items.iter().map(binding).collect::<Result<_, Diagnostic>>()?;
    Ok(ArgumentEntry { key: arg.name.text.to_owned(), value: Some(Argument { arguments }) })
}

fn params(declared: &[Param<'_>]) -> Result<Vec<NamedValueType>, Diagnostic> {
    let each = declared.iter().map(|p| {
        let r#type = Some(value_type(&p.ty, p.ty_span)?);
        Ok(NamedValueType { name: p.name.text.to_owned(), r#type })
    });
    each.collect()
}

fn attributes(attrs: &[Attr<'_>]) -> Result<Vec<AttributeEntry>, Diagnostic> {
    let each = attrs.iter().map(|attr| {
        Ok(AttributeEntry { key: attr.name.text.to_owned(), value: Some(literal(&attr.literal)?) })
    });
    each.collect()
}
