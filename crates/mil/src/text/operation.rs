//! Text as operations.

use crate::diag::{Diagnostic, Place};
use crate::ir::{Arg, ArgValue, Function, Operation, Scope, ValueId};
use crate::op::{Op, Role};
use crate::text::lex::{Kind, Token};
use crate::text::parse::{Declared, Names, Parsed, Parser};

impl<'s> Parser<'s> {
    /// `type a, type b = op(…)[…];`, or `op(…)[…];`.
    pub(super) fn statement(&mut self, f: &mut Function, names: &mut Names<'s>) -> Parsed<()> {
        let head = self.ident("an operation or `}`")?;
        let mut outputs = Vec::new();
        let op = if self.token.is("(") {
            head
        } else {
            let ty = self.ty(head)?;
            outputs.push(Declared { ty, name: self.ident("a name")? });
            while self.accept(",") {
                outputs.push(self.declared()?);
            }
            self.expect("=")?;
            self.ident("an operation")?
        };
        let operation = self.operation(op, names);
        // Only now, so that an operation does not see its own results; and always, so that one mistake does not
        // make every use of the results another.
        let results: Vec<ValueId> = outputs.into_iter().map(|d| self.define(f, names, d)).collect();
        f.ops.push(operation?.with_results(f, results));
        Ok(())
    }

    fn operation(&mut self, name: Token<'s>, names: &Names<'s>) -> Parsed<Operation> {
        let Some(op) = Op::find(name.text) else {
            let text = format!("there is no operation `{}`", name.text);
            return Err(self.refuse("unknown-op", text, name));
        };
        if self.token.is("<") {
            let text = "an opset of a single operation is not supported".to_owned();
            return Err(self.refuse("unsupported-opset", text, self.token));
        }
        let mut operation = Operation {
            op,
            args: Vec::new(),
            results: Vec::new(),
            label: None,
            scope: Scope::default(),
            place: Place::Text(name.range()),
        };
        self.expect("(")?;
        self.list(")", |p| p.argument(&mut operation, names))?;
        if self.accept("[") {
            self.list("]", |p| p.attribute(&mut operation))?;
        }
        if self.token.is("(") {
            let text = format!("nested blocks, as of `{}` here, are not supported", op.name());
            return Err(self.refuse("unsupported-block", text, self.token));
        }
        self.expect(";")?;
        operation.args.sort_by_key(|a| a.param);
        Ok(operation)
    }

    /// `x = a`, `values = (a, b)` or `axis = int32(1)`.
    fn argument(&mut self, operation: &mut Operation, names: &Names<'s>) -> Parsed<()> {
        let (op, name) = (operation.op, self.ident("a parameter")?);
        self.expect("=")?;
        let value = match self.token.kind {
            Kind::Ident => {
                let head = self.next();
                if self.token.is("<") || self.token.is("(") {
                    Some(ArgValue::Literal(self.typed(head)?))
                } else {
                    self.resolve(names, head).map(ArgValue::Value)
                }
            }
            Kind::Punct if self.token.is("(") => {
                self.next();
                let mut ids = Vec::new();
                let mut complete = true;
                self.list(")", |p| {
                    if matches!(p.token.kind, Kind::Number | Kind::Str) {
                        return Err(p.bare_literal(p.token));
                    }
                    let head = p.ident("the name of a value")?;
                    if p.token.is("(") || p.token.is("<") {
                        let text = "a literal in a list of values is not supported".to_owned();
                        return Err(p.refuse("unsupported-literal", text, head));
                    }
                    let id = p.resolve(names, head);
                    complete &= id.is_some();
                    ids.extend(id);
                    Ok(())
                })?;
                complete.then_some(ArgValue::List(ids))
            }
            Kind::Number | Kind::Str => return Err(self.bare_literal(self.token)),
            _ if self.token.is("[") => return Err(self.bare_literal(self.token)),
            _ => return Err(self.unexpected("a value")),
        };
        match op.param(name.text) {
            None => {
                let params = op.params.iter().filter(|p| p.role != Role::Attribute).map(|p| p.name);
                self.unknown_parameter(op, name, "parameter", params.collect());
            }
            Some(param) if op.params[param].role == Role::Attribute => {
                let text = format!("`{}` of `{}` stands in the square brackets", name.text, op.name());
                self.refuse("misplaced-parameter", text, name);
            }
            Some(param) => operation.args.extend(value.map(|value| Arg { param, value })),
        }
        Ok(())
    }

    /// `name = string("…")` or `val = fp16(…)`.
    fn attribute(&mut self, operation: &mut Operation) -> Parsed<()> {
        let (op, name) = (operation.op, self.ident("an attribute")?);
        self.expect("=")?;
        let head = self.ident("a typed literal")?;
        if name.text == "name" {
            operation.label = Some(self.typed_string(head)?);
            return Ok(());
        }
        let literal = self.typed(head)?;
        match op.param(name.text) {
            None => {
                let params = op.params.iter().filter(|p| p.role == Role::Attribute).map(|p| p.name);
                self.unknown_parameter(op, name, "attribute", params.chain(["name"]).collect());
            }
            Some(param) if op.params[param].role != Role::Attribute => {
                let text = format!("`{}` of `{}` stands in the round brackets", name.text, op.name());
                self.refuse("misplaced-parameter", text, name);
            }
            Some(param) => operation.args.push(Arg { param, value: ArgValue::Literal(literal) }),
        }
        Ok(())
    }

    fn unknown_parameter(&mut self, op: Op, name: Token<'s>, kind: &str, known: Vec<&str>) {
        let text = format!("`{}` has no {kind} `{}`", op.name(), name.text);
        let mut unknown = Diagnostic::new("unknown-parameter", text, Place::Text(name.range()));
        if !known.is_empty() {
            unknown = unknown.help(format!("it takes {}", known.join(", ")));
        }
        self.note(unknown);
    }
}

impl Operation {
    /// Gives it its results; a label that repeats the name of the first is dropped.
    fn with_results(mut self, f: &Function, results: Vec<ValueId>) -> Operation {
        if let Some(&first) = results.first()
            && self.label.as_deref() == Some(f.value(first).name.as_str())
        {
            self.label = None;
        }
        self.results = results;
        self
    }
}
