//! Lowers arguments, attributes and blocks.

use super::words::{literal, tensor_type};
use super::{Given, Lowering, Meaning};
use crate::diag::{Diagnostic, Place};
use crate::ir::{self, Arg, ArgValue, Operation, ValueId};
use crate::op::{Op, Role};
use crate::text::known::is_engine_note;
use crate::text::tree::{self, Item, Name, Statement};

impl<'l, 's> Lowering<'l, 's> {
    pub(super) fn item(
        &mut self,
        item: &'l Item<'s>,
        opaque: &mut Option<&'static str>,
        target: &mut Option<usize>,
    ) -> Option<Given> {
        match item {
            Item::Name(name) => match self.resolve(*name)? {
                Meaning::Value(id) => Some(Given::Value(id)),
                Meaning::State(state) => {
                    if self.depth > 0 {
                        *opaque = Some("it uses a state inside a block");
                    }
                    *target = Some(state);
                    Some(Given::Value(self.current[state].0))
                }
                Meaning::Opaque => {
                    *opaque = Some("an argument is no tensor");
                    None
                }
            },
            Item::Literal(l) => match literal(l) {
                Some(l) => Some(Given::Literal(l)),
                None => {
                    *opaque = Some("an argument is no tensor");
                    None
                }
            },
        }
    }

    /// A constant for a literal in a list.
    pub(super) fn constant(&mut self, l: ir::Literal, ops: &mut Vec<Operation>) -> ValueId {
        // Such names are always generated.
        let name = format!("_literal_{}", self.f.values.len());
        let id = self.f.add_value(name, l.ty.clone());
        ops.push(Operation::constant(l, id));
        id
    }

    /// `name = string("…")` or `val = fp16(…)`.
    pub(super) fn attribute(
        &mut self,
        attr: &'l tree::Attr<'s>,
        statement: &'l Statement<'s>,
        operation: &mut Operation,
    ) {
        let op = operation.op;
        let name = attr.name;
        if name.text == "name" {
            match attr.literal.value.as_str() {
                // A label that repeats the name of the first result is redundant.
                Some(label) if statement.outputs.first().is_some_and(|p| p.name.text == label) => {}
                Some(label) => operation.label = Some(label.to_owned()),
                None => {
                    let text = format!("`name` is a string, not a {}", attr.literal.ty);
                    let place = Place::Text(attr.literal.span.range());
                    self.checked.report.push(Diagnostic::new("wrong-literal", text, place));
                }
            }
            return;
        }
        match op.param(name.text) {
            None if is_engine_note(name.text) => {}
            None => self.unknown_parameter(op, name, "attribute"),
            Some(param) if op.params[param].role != Role::Attribute => {
                let text = format!("`{name}` of `{}` belongs in the round brackets", op.name());
                self.refuse("misplaced-parameter", text, name);
            }
            Some(param) => match literal(&attr.literal) {
                Some(l) => operation.args.push(Arg { param, value: ArgValue::Literal(l) }),
                None => {
                    let text = format!("`{name}` of `{}` is a tensor, not a {}", op.name(), attr.literal.ty);
                    self.refuse("wrong-literal", text, name);
                }
            },
        }
    }

    pub(super) fn unknown_parameter(&mut self, op: Op, name: Name<'s>, kind: &str) {
        let text = format!("`{}` has no {kind} `{name}`", op.name());
        let is_attribute = kind == "attribute";
        let params = op.params.iter().filter(|p| (p.role == Role::Attribute) == is_attribute).map(|p| p.name);
        let takes: Vec<&str> = params.chain(is_attribute.then_some("name")).collect();
        let mut unknown = Diagnostic::new("unknown-parameter", text, Place::Text(name.span.range()));
        if !takes.is_empty() {
            unknown = unknown.help(format!("it takes {}", takes.join(", ")));
        }
        self.checked.report.push(unknown);
    }

    pub(super) fn block(
        &mut self,
        nested: &'l tree::Nested<'s>,
        opaque: &mut Option<&'static str>,
    ) -> ir::Block {
        let before = self.inner.len();
        self.depth += 1;
        let mut block = ir::Block::default();
        for param in &nested.params {
            let meaning = match tensor_type(&param.ty) {
                Some(ty) => {
                    let id = self.f.add_value(param.name.text, ty);
                    block.inputs.push(id);
                    Meaning::Value(id)
                }
                None => {
                    *opaque = Some("a parameter of a block is no tensor");
                    Meaning::Opaque
                }
            };
            self.define(param.name, meaning);
        }
        let opaque_before = self.checked.opaque.len();
        block.ops = self.statements(&nested.block);
        for &name in &nested.block.results {
            match self.resolve(name) {
                Some(Meaning::Value(id)) => block.outputs.push(id),
                Some(_) => *opaque = Some("a result of a block is no tensor"),
                None => {}
            }
        }
        if self.checked.opaque.len() > opaque_before {
            *opaque = Some("an operation inside is opaque");
        }
        self.depth -= 1;
        for (name, meaning) in self.inner.drain(before..).rev() {
            match meaning {
                Some(meaning) => drop(self.names.insert(name, meaning)),
                None => drop(self.names.remove(name)),
            }
        }
        block
    }
}
