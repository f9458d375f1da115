//! Programs as text.

use crate::ir::{ArgValue, Function, Literal, LiteralData, Operation, Program};
use crate::op::Role;
use crate::tensor::{Data, round_float};
use crate::text::number::HexFloat;
use crate::ty::{DType, Shape, TensorType};
use std::fmt::{self, Display, Write};

/// The program as text, in the layout of Apple's compiler: arguments and attributes sorted by name, floats in
/// hexadecimal and exact, no newline at the end. `program(1.0)` is spelled with `tensor<T, []>` for scalars.
///
/// Floats are printed as their type holds them. An operation without a label is labelled with the name of its first
/// result. Names are printed as they are; those that are not identifiers cannot be read back.
pub fn print(program: &Program) -> String {
    let mut printer = Printer { out: String::new(), old: program.version == "1.0" };
    // Writing to a string does not fail.
    let _ = printer.program(program);
    printer.out
}

static STRING: TensorType = TensorType { dtype: DType::Str, shape: Vec::new() };
static NUMBER: TensorType = TensorType { dtype: DType::U64, shape: Vec::new() };

struct Printer {
    out: String,
    old: bool,
}

impl Printer {
    fn program(&mut self, program: &Program) -> fmt::Result {
        writeln!(self.out, "program({})", program.version)?;
        if !program.build_info.is_empty() {
            let string = self.ty(&STRING);
            write!(self.out, "[buildInfo = dict<{string}, {string}>({{")?;
            for (i, (key, value)) in program.build_info.iter().enumerate() {
                let comma = if i > 0 { ", " } else { "" };
                write!(self.out, "{comma}{{{}, {}}}", Quoted(key), Quoted(value))?;
            }
            self.out += "})]\n";
        }
        self.out += "{\n";
        for function in &program.functions {
            self.function(function)?;
        }
        self.out += "}";
        Ok(())
    }

    fn function(&mut self, f: &Function) -> fmt::Result {
        write!(self.out, "    func {}<{}>(", f.name, f.opset)?;
        for (i, &id) in f.inputs.iter().enumerate() {
            let (comma, value) = (if i > 0 { ", " } else { "" }, f.value(id));
            write!(self.out, "{comma}{} {}", self.ty(&value.ty), value.name)?;
        }
        self.out += ") {\n";
        for operation in &f.ops {
            self.operation(f, operation)?;
        }
        let outputs: Vec<&str> = f.outputs.iter().map(|&id| f.value(id).name.as_str()).collect();
        writeln!(self.out, "        }} -> ({});", outputs.join(", "))
    }

    fn operation(&mut self, f: &Function, operation: &Operation) -> fmt::Result {
        self.out += "            ";
        for (i, &id) in operation.results.iter().enumerate() {
            let (comma, value) = (if i > 0 { ", " } else { "" }, f.value(id));
            write!(self.out, "{comma}{} {}", self.ty(&value.ty), value.name)?;
        }
        let equals = if operation.results.is_empty() { "" } else { " = " };
        write!(self.out, "{equals}{}(", operation.op.name())?;

        let params = operation.op.params;
        let mut args: Vec<_> =
            operation.args.iter().filter_map(|a| Some((params.get(a.param)?, &a.value))).collect();
        args.sort_by_key(|(param, _)| param.name);
        let (attributes, arguments): (Vec<_>, Vec<_>) =
            args.into_iter().partition(|(param, _)| param.role == Role::Attribute);
        for (i, (param, value)) in arguments.into_iter().enumerate() {
            write!(self.out, "{}{} = ", if i > 0 { ", " } else { "" }, param.name)?;
            self.value(f, value)?;
        }
        self.out += ")";

        let first = operation.results.first().map(|&id| f.value(id).name.as_str());
        let mut label = operation.label.as_deref().or(first);
        let mut open = "[";
        for (param, value) in attributes {
            if param.name > "name"
                && let Some(label) = label.take()
            {
                self.label(open, label)?;
                open = ", ";
            }
            write!(self.out, "{open}{} = ", param.name)?;
            self.value(f, value)?;
            open = ", ";
        }
        if let Some(label) = label {
            self.label(open, label)?;
            open = ", ";
        }
        self.out += if open == "[" { ";\n" } else { "];\n" };
        Ok(())
    }

    fn label(&mut self, open: &str, label: &str) -> fmt::Result {
        let string = self.ty(&STRING);
        write!(self.out, "{open}name = {string}({})", Quoted(label))
    }

    fn value(&mut self, f: &Function, value: &ArgValue) -> fmt::Result {
        match value {
            ArgValue::Value(id) => self.out += &f.value(*id).name,
            ArgValue::List(ids) => {
                let names: Vec<&str> = ids.iter().map(|&id| f.value(id).name.as_str()).collect();
                write!(self.out, "({})", names.join(", "))?;
            }
            ArgValue::Literal(literal) => self.literal(literal)?,
        }
        Ok(())
    }

    fn literal(&mut self, literal: &Literal) -> fmt::Result {
        write!(self.out, "{}(", self.ty(&literal.ty))?;
        match &literal.data {
            LiteralData::Inline(data) => {
                let mut at = 0;
                self.elements(&literal.ty.shape, literal.ty.dtype, data, &mut at)?;
            }
            LiteralData::Blob { path, offset } => {
                let string = self.ty(&STRING);
                let number = self.ty(&NUMBER);
                let path = Quoted(path);
                write!(self.out, "BLOBFILE(path = {string}({path}), offset = {number}({offset}))")?;
            }
        }
        self.out += ")";
        Ok(())
    }

    /// Prints the elements from `at` on, in rows of `shape`, and moves `at` behind them.
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

    fn ty<'t>(&self, ty: &'t TensorType) -> Spelled<'t> {
        Spelled { ty, old: self.old }
    }
}

/// A type in one of the two spellings.
struct Spelled<'t> {
    ty: &'t TensorType,
    old: bool,
}

impl Display for Spelled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.old {
            true => write!(f, "tensor<{}, {}>", self.ty.dtype, Shape(&self.ty.shape)),
            false => write!(f, "{}", self.ty),
        }
    }
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
