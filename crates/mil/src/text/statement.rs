//! Text as a tree: operations.

use super::lex::{Token, TokenKind};
use super::parse::{Parsed, Parser};
use super::tree::{Arg, ArgValue, Attr, Item, Nested, Param, Statement};

impl<'s> Parser<'s> {
    /// `type a, type b = op(…)[…];`, or `op(…)[…];`.
    pub(super) fn statement(&mut self) -> Parsed<Statement<'s>> {
        let head = self.ident("an operation or `}`")?;
        let mut outputs = Vec::new();
        // `op(` and `op<ios17>(` begin a statement without results; anything else is a type.
        let op = if self.token.is(b'(') || (self.token.is(b'<') && !is_generic(head.text)) {
            head
        } else {
            let ty = self.ty(head)?;
            let ty_span = self.since(head);
            outputs.reserve_exact(1); // More than one is rare, here and below.
            outputs.push(Param { ty, ty_span, name: self.ident("a name")?.name() });
            while self.accept(b',') {
                outputs.push(self.declared()?);
            }
            self.expect(b'=')?;
            self.ident("an operation")?
        };
        let opset = match self.accept(b'<') {
            true => {
                let opset = self.ident("an opset")?;
                self.expect(b'>')?;
                Some(opset.name())
            }
            false => None,
        };
        let (mut args, mut attrs, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
        self.expect(b'(')?;
        self.list(b')', |p| {
            args.push(p.argument()?);
            Ok(())
        })?;
        args.shrink_to_fit();
        self.attributes(&mut attrs)?;
        while self.token.is(b'(') {
            let mut params = Vec::new();
            self.params(&mut params)?;
            blocks.push(Nested { params, block: self.block()? });
        }
        self.expect(b';')?;
        Ok(Statement { outputs, op: op.name(), opset, args, attrs, blocks })
    }

    /// `x = a`, `values = (a, b)` or `axis = int32(1)`.
    fn argument(&mut self) -> Parsed<Arg<'s>> {
        let name = self.ident("a parameter")?.name();
        self.expect(b'=')?;
        let value = if self.accept(b'(') {
            let mut items = Vec::new();
            self.list(b')', |p| {
                items.push(p.item()?);
                Ok(())
            })?;
            ArgValue::List(items)
        } else {
            ArgValue::One(self.item()?)
        };
        Ok(Arg { name, value })
    }

    /// The name of a value, or a typed literal.
    fn item(&mut self) -> Parsed<Item<'s>> {
        match self.token.kind {
            TokenKind::Ident => {
                let head = self.next();
                if self.token.is(b'<') || self.token.is(b'(') {
                    Ok(Item::Literal(self.typed(head)?))
                } else if matches!(head.text, "true" | "false" | "inf" | "nan") {
                    Err(self.bare_literal(head))
                } else {
                    Ok(Item::Name(head.name()))
                }
            }
            TokenKind::Number | TokenKind::Str | TokenKind::Punct(b'[') => Err(self.bare_literal(self.token)),
            _ => Err(self.unexpected("a value")),
        }
    }

    /// `[name = string("…"), …]`, or nothing.
    pub(super) fn attributes(&mut self, attrs: &mut Vec<Attr<'s>>) -> Parsed<()> {
        if !self.accept(b'[') {
            return Ok(());
        }
        attrs.reserve_exact(1);
        self.list(b']', |p| {
            let name: Token<'s> = p.ident("an attribute")?;
            p.expect(b'=')?;
            let head = p.ident("a typed literal")?;
            attrs.push(Attr { name: name.name(), literal: p.typed(head)? });
            Ok(())
        })
    }
}

/// Whether `word` is a type that is followed by others in angle brackets.
pub(super) fn is_generic(word: &str) -> bool {
    matches!(word, "tensor" | "list" | "tuple" | "dict" | "state" | "tensor_buffer")
}
