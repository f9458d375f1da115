//! A tree as text, in the layout of Apple's compiler.

use super::number::HexFloat;
use super::tree::{
    ArgValue, Attr, BlockNode, Comment, Func, Item, Literal, Param, Statement, Tree, Type, Value,
};
use crate::tensor::{Data, round_float};
use crate::ty::DType;
use std::fmt::{self, Display, Write};

/// The tree as text: arguments and attributes sorted by name, floats in hexadecimal and exact, comments where they
/// were, no newline at the end. `program(1.0)` is spelled with `tensor<T, []>` for scalars.
pub fn format(tree: &Tree<'_>) -> String {
    let mut printer =
        Printer { out: String::new(), old: tree.is_old(), comments: &tree.comments, commented: false };
    // Writing to a string does not fail.
    let _ = printer.program(tree);
    printer.out
}

/// Indentation of a function, of the content of its block, and of the end of the block.
const FUNCTION: usize = 4;
const INSIDE: usize = 8;
const END: usize = 4;

struct Printer<'t> {
    out: String,
    old: bool,
    /// Comments not yet printed.
    comments: &'t [Comment<'t>],
    /// Whether the last line ends with a comment.
    commented: bool,
}

impl<'t> Printer<'t> {
    fn program(&mut self, tree: &Tree<'t>) -> fmt::Result {
        self.comments(tree.version.span.start, 0);
        write!(self.out, "program({})", tree.version)?;
        self.line();
        if let Some(first) = tree.attrs.first() {
            self.comments(first.name.span.start, 0);
            self.attributes(&tree.attrs)?;
            self.line();
        }
        self.out += "{";
        self.line();
        for function in &tree.functions {
            self.function(function)?;
        }
        self.comments(u32::MAX, FUNCTION);
        self.out += "}";
        Ok(())
    }

    /// Ends the line.
    fn line(&mut self) {
        self.out += "\n";
        self.commented = false;
    }

    /// Prints the comments before byte `end` of the text; trailing comments stay trailing.
    fn comments(&mut self, end: u32, indent: usize) {
        while let Some((comment, rest)) = self.comments.split_first()
            && comment.span.start < end
        {
            self.comments = rest;
            if comment.behind && !self.commented && self.out.ends_with('\n') {
                self.out.pop();
                self.out += " ";
            } else {
                self.indent(indent);
            }
            self.out += comment.text;
            self.line();
            self.commented = true;
        }
    }

    fn indent(&mut self, columns: usize) {
        self.out.extend(std::iter::repeat_n(' ', columns));
    }

    fn function(&mut self, f: &Func<'t>) -> fmt::Result {
        self.comments(f.name.span.start, FUNCTION);
        self.indent(FUNCTION);
        write!(self.out, "func {}<{}>", f.name, f.opset)?;
        self.params(&f.params)?;
        if !f.attrs.is_empty() {
            self.out += " ";
            self.attributes(&f.attrs)?;
        }
        self.block(&f.block, FUNCTION)?;
        self.out += ";";
        self.line();
        Ok(())
    }

    fn params(&mut self, params: &[Param<'t>]) -> fmt::Result {
        self.out += "(";
        self.declared(params)?;
        self.out += ")";
        Ok(())
    }

    fn declared(&mut self, params: &[Param<'t>]) -> fmt::Result {
        for (i, p) in params.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(self.out, "{comma}{} {}", p.ty.spelled(self.old), p.name)?;
        }
        Ok(())
    }

    /// Prints ` { … } -> (…)` after a line at `indent`.
    fn block(&mut self, block: &BlockNode<'t>, indent: usize) -> fmt::Result {
        self.out += " {";
        self.line();
        for statement in &block.statements {
            let first = statement.outputs.first().map_or(statement.op.span, |p| p.ty_span);
            self.comments(first.start, indent + INSIDE);
            self.indent(indent + INSIDE);
            self.statement(statement, indent + INSIDE)?;
            self.out += ";";
            self.line();
        }
        self.comments(block.span.end, indent + INSIDE);
        self.indent(indent + END);
        self.out += "} -> (";
        for (i, name) in block.results.iter().enumerate() {
            self.out += if i > 0 { ", " } else { "" };
            self.out += name.text;
        }
        self.out += ")";
        Ok(())
    }

    fn statement(&mut self, s: &Statement<'t>, indent: usize) -> fmt::Result {
        self.declared(&s.outputs)?;
        self.out += if s.outputs.is_empty() { "" } else { " = " };
        self.out += s.op.text;
        if let Some(opset) = &s.opset {
            write!(self.out, "<{opset}>")?;
        }
        self.out += "(";
        for (i, arg) in sorted(&s.args, |a| a.name.text).into_iter().enumerate() {
            write!(self.out, "{}{} = ", if i > 0 { ", " } else { "" }, arg.name)?;
            match &arg.value {
                ArgValue::One(item) => self.item(item)?,
                ArgValue::List(items) => {
                    self.out += "(";
                    for (i, item) in items.iter().enumerate() {
                        self.out += if i > 0 { ", " } else { "" };
                        self.item(item)?;
                    }
                    self.out += ")";
                }
            }
        }
        self.out += ")";
        if !s.attrs.is_empty() {
            self.attributes(&s.attrs)?;
        }
        for nested in &s.blocks {
            self.line();
            self.indent(indent + FUNCTION);
            self.params(&nested.params)?;
            self.block(&nested.block, indent + FUNCTION)?;
        }
        Ok(())
    }

    fn item(&mut self, item: &Item<'t>) -> fmt::Result {
        match item {
            Item::Name(name) => {
                self.out += name.text;
                Ok(())
            }
            Item::Literal(literal) => self.literal(literal),
        }
    }

    fn attributes(&mut self, attrs: &[Attr<'t>]) -> fmt::Result {
        self.out += "[";
        for (i, attr) in sorted(attrs, |a| a.name.text).into_iter().enumerate() {
            write!(self.out, "{}{} = ", if i > 0 { ", " } else { "" }, attr.name)?;
            self.literal(&attr.literal)?;
        }
        self.out += "]";
        Ok(())
    }

    fn literal(&mut self, literal: &Literal<'_>) -> fmt::Result {
        write!(self.out, "{}(", literal.ty.spelled(self.old))?;
        self.value(&literal.ty, &literal.value)?;
        self.out += ")";
        Ok(())
    }

    fn value(&mut self, ty: &Type<'_>, value: &Value<'_>) -> fmt::Result {
        match (value, ty) {
            (Value::Tensor { shape, data }, _) => {
                let dtype = match ty {
                    Type::Tensor { dtype, .. } => *dtype,
                    _ => DType::F32,
                };
                self.elements(shape, dtype, data, &mut 0)
            }
            (Value::Blob { path, offset }, _) => {
                let string = Type::scalar(DType::Str);
                let number = Type::scalar(DType::U64);
                let (string, number) = (string.spelled(self.old), number.spelled(self.old));
                let path = Quoted(path);
                write!(self.out, "BLOBFILE(path = {string}({path}), offset = {number}({offset}))")
            }
            (Value::List(items), Type::List(of, _)) => {
                self.row("[", "]", items.len(), |p, i| p.value(of, &items[i]))
            }
            (Value::Tuple(items), Type::Tuple(types)) => {
                let both: Vec<_> = types.iter().zip(items).collect();
                self.row("(", ")", both.len(), |p, i| p.value(both[i].0, both[i].1))
            }
            (Value::Dict(entries), Type::Dict(both)) => self.row("{", "}", entries.len(), |p, i| {
                p.out += "{";
                p.value(&both.0, &entries[i].0)?;
                p.out += ", ";
                p.value(&both.1, &entries[i].1)?;
                p.out += "}";
                Ok(())
            }),
            // Neither the parser nor a program creates a value whose kind differs from its type.
            (Value::List(_) | Value::Tuple(_) | Value::Dict(_), _) => Ok(()),
        }
    }

    fn row(
        &mut self,
        open: &str,
        close: &str,
        items: usize,
        mut item: impl FnMut(&mut Self, usize) -> fmt::Result,
    ) -> fmt::Result {
        self.out += open;
        for i in 0..items {
            self.out += if i > 0 { ", " } else { "" };
            item(self, i)?;
        }
        self.out += close;
        Ok(())
    }

    /// Prints the elements from `at` on, in rows of `shape`, and advances `at`.
    fn elements(&mut self, shape: &[usize], dtype: DType, data: &Data, at: &mut usize) -> fmt::Result {
        let Some((&rows, inner)) = shape.split_first() else {
            let i = *at;
            *at += 1;
            return match data {
                Data::Float(v) => match v.get(i) {
                    Some(&x) => write!(self.out, "{}", HexFloat(round_float(x, dtype))),
                    None => Ok(()),
                },
                Data::Int(v) => v.get(i).map_or(Ok(()), |x| write!(self.out, "{x}")),
                Data::Bool(v) => v.get(i).map_or(Ok(()), |x| write!(self.out, "{x}")),
                Data::Str(v) => v.get(i).map_or(Ok(()), |x| write!(self.out, "{}", Quoted(x))),
            };
        };
        self.out += "[";
        for row in 0..rows {
            // Elements that a wrong literal lacks are not printed.
            if row > 0 && *at >= data.len() && !inner.contains(&0) {
                break;
            }
            if row > 0 {
                self.out += ", ";
            }
            self.elements(inner, dtype, data, at)?;
        }
        self.out += "]";
        Ok(())
    }
}

/// Sorts by name; most are sorted already.
fn sorted<T>(items: &[T], name: impl Fn(&T) -> &str) -> Vec<&T> {
    let mut sorted: Vec<&T> = items.iter().collect();
    sorted.sort_by(|a, b| name(a).cmp(name(b)));
    sorted
}

/// A string with quotes and escapes.
struct Quoted<'s>(&'s str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        f.write_char('"')
    }
}
