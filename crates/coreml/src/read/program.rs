//! Programs, functions, blocks and operations.

use super::flexible::{Shapes, flexible};
use super::name;
use super::types::value_type;
use super::values::Constants;
use crate::dtype::opset_in_text;
use crate::error::{At, Problem, quoted};
use crate::model::Decoded;
use crate::notes;
use crate::proto::mil::{
    Argument, ArgumentEntry, AttributeEntry, Binding, Block, Function, NamedValueType, Operation, binding,
};
use mil::op::Role;
use mil::text::tree::{
    Arg, ArgValue, Attr, BlockNode, Func, Item, Name, Nested, Param, Span, Statement, Tree, Type,
};
use mil::{Op, Opset};
use std::collections::HashSet;

/// The tree of the program's text.
///
/// # Errors
/// If the program has a part that MIL text cannot hold, or that contradicts itself.
pub fn tree(model: &Decoded) -> Result<Tree<'_>, Problem> {
    let program = &model.program;
    if program.version != 1 {
        return Err(Problem::new(format!("programs of version 1 are read, not {}", program.version)));
    }
    let metadata = model.description.metadata.as_ref();
    let user_defined = metadata.map_or(&[][..], |m| &m.user_defined);
    let constants = Constants::new();
    let attrs = attributes(&program.attributes, &constants)?;
    let version = user_defined.iter().find(|entry| entry.key == notes::TEXT_VERSION);
    let version = match version {
        Some(entry) if entry.value == "1.0" => "1.0",
        _ => "1.3",
    };
    let shapes = Shapes::of(&model.description);
    let mut names = HashSet::new();
    let mut functions = Vec::with_capacity(program.functions.len());
    for entry in &program.functions {
        let place = || format!("function {}", quoted(&entry.key));
        if !names.insert(entry.key.as_str()) {
            return Err(Problem::new(format!("there are two functions {}", quoted(&entry.key))));
        }
        let value = entry.value.as_ref().ok_or_else(|| Problem::new("it is empty")).at(place)?;
        functions.push(function(&entry.key, value, &shapes, &constants).at(place)?);
    }
    // The first runs unless another is named, or one is called `main`.
    functions.sort_by_key(|f| f.name.text != model.description.default_function_name);
    Ok(Tree { version: name(version), attrs, functions, comments: Vec::new() })
}

fn function<'p>(
    own: &'p str,
    f: &'p Function,
    shapes: &Shapes<'_>,
    constants: &Constants,
) -> Result<Func<'p>, Problem> {
    let mut blocks = f.block_specializations.iter().filter(|entry| entry.key == f.opset);
    let block = match (blocks.next().and_then(|entry| entry.value.as_ref()), blocks.next()) {
        (Some(block), None) => block,
        (Some(_), Some(_)) => {
            return Err(Problem::new(format!("it has two blocks for {}", quoted(&f.opset))));
        }
        (None, _) => return Err(Problem::new(format!("it has no block for its opset {}", quoted(&f.opset)))),
    };
    if !block.inputs.is_empty() {
        return Err(Problem::new("its block has parameters of its own"));
    }
    let params = params(&f.inputs).at(|| "its parameters".to_owned())?;
    let mut attrs = attributes(&f.attributes, constants)?;
    if !attrs.iter().any(|a| a.name.text == "FlexibleShapeInformation") {
        attrs.extend(flexible(own, &params, shapes)?);
    }
    let opset = opset_in_text(identifier(&f.opset).at(|| "its opset".to_owned())?.text);
    let oldest = Opset::from_name(opset).unwrap_or(Opset::NEWEST);
    Ok(Func {
        name: identifier(own)?,
        opset: name(opset),
        params,
        attrs,
        block: Reader { opset: oldest, constants }.block(block)?,
    })
}

/// What an operation's arguments mean depends on the opset of its function.
struct Reader<'c> {
    opset: Opset,
    constants: &'c Constants,
}

impl Reader<'_> {
    fn block<'p>(&self, block: &'p Block) -> Result<BlockNode<'p>, Problem> {
        if let Some(attribute) = block.attributes.first() {
            let text =
                format!("a block has the attribute {}, which MIL text cannot hold", quoted(&attribute.key));
            return Err(Problem::new(text));
        }
        let statements = block.operations.iter().enumerate().map(|(i, operation)| {
            let place = || match operation.outputs.first() {
                Some(output) => {
                    format!("operation {} ({} of {})", i + 1, quoted(&operation.r#type), quoted(&output.name))
                }
                None => format!("operation {} ({})", i + 1, quoted(&operation.r#type)),
            };
            self.statement(operation).at(place)
        });
        let statements = statements.collect::<Result<_, _>>()?;
        let results = block.outputs.iter().map(|output| identifier(output)).collect::<Result<_, _>>();
        Ok(BlockNode { statements, results: results.at(|| "its results".to_owned())?, span: Span::default() })
    }

    fn statement<'p>(&self, operation: &'p Operation) -> Result<Statement<'p>, Problem> {
        let op = identifier(&operation.r#type)?;
        let entry = Op::find_in(op.text, self.opset);
        let mut args = Vec::with_capacity(operation.inputs.len());
        let mut seen = HashSet::new();
        for ArgumentEntry { key, value } in &operation.inputs {
            let place = || format!("argument {}", quoted(key));
            if !seen.insert(key.as_str()) {
                return Err(Problem::new("it is there twice")).at(place);
            }
            let param = entry.and_then(|op| op.params.iter().find(|p| p.name == key));
            let is_list = param.is_some_and(|p| p.role == Role::Variadic);
            let value = argument(value.as_ref(), is_list, self.constants).at(place)?;
            args.push(Arg { name: identifier(key).at(place)?, value });
        }
        let blocks = operation.blocks.iter().enumerate().map(|(i, block)| {
            let place = || format!("block {}", i + 1);
            let params = params(&block.inputs).at(place)?;
            Ok(Nested { params, block: self.block(block).at(place)? })
        });
        Ok(Statement {
            outputs: params(&operation.outputs).at(|| "its results".to_owned())?,
            op,
            opset: None,
            args,
            attrs: attributes(&operation.attributes, self.constants)?,
            blocks: blocks.collect::<Result<_, Problem>>()?,
        })
    }
}

fn argument<'p>(
    argument: Option<&'p Argument>,
    is_list: bool,
    constants: &Constants,
) -> Result<ArgValue<'p>, Problem> {
    let bindings = argument.map_or(&[][..], |a| &a.arguments);
    let mut items = bindings.iter().map(|b| item(b, constants)).collect::<Result<Vec<_>, _>>()?;
    match items.pop() {
        Some(item) if items.is_empty() && !is_list => Ok(ArgValue::One(item)),
        last => {
            items.extend(last);
            Ok(ArgValue::List(items))
        }
    }
}

fn item<'p>(binding: &'p Binding, constants: &Constants) -> Result<Item<'p>, Problem> {
    match &binding.kind {
        Some(binding::Kind::Name(text)) => Ok(Item::Name(identifier(text)?)),
        Some(binding::Kind::Value(value)) => Ok(Item::Literal(constants.literal(Some(value))?)),
        None => Err(Problem::new("it is empty")),
    }
}

fn params(declared: &[NamedValueType]) -> Result<Vec<Param<'_>>, Problem> {
    let param = |declared: &'_ NamedValueType| -> Result<Type<'static>, Problem> {
        value_type(declared.r#type.as_ref()).at(|| quoted(&declared.name))
    };
    declared
        .iter()
        .map(|d| Ok(Param { ty: param(d)?, ty_span: Span::default(), name: identifier(&d.name)? }))
        .collect()
}

fn attributes<'p>(entries: &'p [AttributeEntry], constants: &Constants) -> Result<Vec<Attr<'p>>, Problem> {
    let mut attrs: Vec<Attr<'_>> = Vec::with_capacity(entries.len());
    let mut seen = HashSet::new();
    for AttributeEntry { key, value } in entries {
        let place = || format!("attribute {}", quoted(key));
        if !seen.insert(key.as_str()) {
            return Err(Problem::new("it is there twice")).at(place);
        }
        attrs.push(Attr {
            name: identifier(key).at(place)?,
            literal: constants.literal(value.as_ref()).at(place)?,
        });
    }
    Ok(attrs)
}

/// A name that MIL text can hold.
fn identifier(text: &str) -> Result<Name<'_>, Problem> {
    let mut bytes = text.bytes();
    let begins = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let goes_on = bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    // As arguments these would be numbers and truths.
    let is_word = !matches!(text, "true" | "false" | "inf" | "nan");
    match begins && goes_on && is_word {
        true => Ok(name(text)),
        false if text.is_empty() => Err(Problem::new("a name is empty")),
        false => Err(Problem::new(format!(
            "{} is no name in MIL text, which has letters, digits and `_` in names",
            quoted(text)
        ))),
    }
}
