//! Text as programs and functions.

use crate::diag::{Diagnostic, Place, Report};
use crate::ir::{Function, Program, ValueId};
use crate::text::lex::{Kind, Lexer, Token};
use crate::ty::{DType, Opset, TensorType};
use std::collections::HashMap;

/// After so many mistakes the rest of the text is not read.
const MISTAKES: usize = 100;

/// Reads a program; names, types of operations and so on are left to the verifier.
///
/// # Errors
/// All that is wrong with the text, each with its place; after 100 mistakes the reader stops.
pub fn parse(source: &str) -> Result<Program, Report> {
    let mut parser = Parser::new(source);
    let program = parser.program();
    match program {
        Some(program) if parser.report.diagnostics.is_empty() => Ok(program),
        _ => Err(parser.report),
    }
}

/// A mistake that is already in the report.
pub(super) struct Failed;

pub(super) type Parsed<T> = Result<T, Failed>;

pub(super) struct Parser<'s> {
    lexer: Lexer<'s>,
    /// The next token.
    pub token: Token<'s>,
    report: Report,
}

/// The names of one function.
#[derive(Default)]
pub(super) struct Names<'s> {
    found: HashMap<&'s str, (ValueId, Place)>,
}

/// A result or parameter; without a type if that could not be read.
pub(super) struct Declared<'s> {
    pub ty: Option<TensorType>,
    pub name: Token<'s>,
}

impl<'s> Parser<'s> {
    fn new(source: &'s str) -> Parser<'s> {
        let mut lexer = Lexer::new(source);
        let token = lexer.next();
        Parser { lexer, token, report: Report::default() }
    }

    /// Takes the next token.
    pub fn next(&mut self) -> Token<'s> {
        std::mem::replace(&mut self.token, self.lexer.next())
    }

    /// Notes a mistake.
    pub fn note(&mut self, diagnostic: Diagnostic) -> Failed {
        if self.report.diagnostics.len() < MISTAKES {
            self.report.diagnostics.push(diagnostic);
            if self.report.diagnostics.len() == MISTAKES {
                self.lexer.finish();
                self.token = self.lexer.next();
            }
        }
        Failed
    }

    /// Notes a mistake at `token`.
    pub fn refuse(&mut self, code: &'static str, message: String, token: Token<'s>) -> Failed {
        self.note(Diagnostic::new(code, message, Place::Text(token.range())))
    }

    /// Notes that `what` should stand here.
    pub fn unexpected(&mut self, what: &str) -> Failed {
        let message = format!("expected {what}, found {}", self.token.shown());
        self.refuse("syntax", message, self.token)
    }

    pub fn expect(&mut self, punct: &'static str) -> Parsed<()> {
        if self.accept(punct) { Ok(()) } else { Err(self.unexpected(&format!("`{punct}`"))) }
    }

    pub fn accept(&mut self, punct: &str) -> bool {
        let here = self.token.is(punct);
        if here {
            self.next();
        }
        here
    }

    pub fn ident(&mut self, what: &str) -> Parsed<Token<'s>> {
        if self.token.kind == Kind::Ident { Ok(self.next()) } else { Err(self.unexpected(what)) }
    }

    fn keyword(&mut self, word: &'static str) -> Parsed<()> {
        if !self.token.is_word(word) {
            return Err(self.unexpected(&format!("`{word}`")));
        }
        self.next();
        Ok(())
    }

    /// Items between commas, up to `close`.
    pub fn list(&mut self, close: &'static str, mut item: impl FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        if self.accept(close) {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.accept(close) {
                return Ok(());
            }
            if !self.accept(",") {
                return Err(self.unexpected(&format!("`,` or `{close}`")));
            }
        }
    }

    fn program(&mut self) -> Option<Program> {
        if !self.token.is_word("program") {
            self.unexpected("`program`");
            return None;
        }
        let mut program = Program { version: String::new(), build_info: Vec::new(), functions: Vec::new() };
        // Whether what stands before the next function was not understood.
        let mut lost = self.header(&mut program).is_err();
        loop {
            if lost {
                self.skip_to_function();
            }
            if !self.token.is_word("func") {
                break;
            }
            let function = self.function();
            lost = function.is_err();
            match function {
                Ok(f) if program.functions.iter().any(|g| g.name == f.name) => {
                    let text = format!("function `{}` is defined more than once", f.name);
                    self.note(Diagnostic::new("duplicate-name", text, Place::Nowhere));
                }
                Ok(f) => program.functions.push(f),
                Err(Failed) => {}
            }
        }
        if !lost && self.expect("}").is_ok() && self.token.kind != Kind::End {
            self.unexpected("the end of the text");
        }
        Some(program)
    }

    fn header(&mut self, program: &mut Program) -> Parsed<()> {
        self.keyword("program")?;
        self.expect("(")?;
        if self.token.kind != Kind::Number {
            return Err(self.unexpected("a version, as in `program(1.3)`"));
        }
        program.version = self.next().text.to_owned();
        self.expect(")")?;
        if self.accept("[") && !self.accept("]") {
            let name = self.ident("`buildInfo`")?;
            if name.text != "buildInfo" {
                let text = format!("the attribute `{}` of a program is not supported", name.text);
                return Err(self.refuse("unsupported-attribute", text, name));
            }
            self.expect("=")?;
            program.build_info = self.string_dict()?;
            self.expect("]")?;
        }
        self.expect("{")
    }

    fn skip_to_function(&mut self) {
        while self.token.kind != Kind::End && !self.token.is_word("func") {
            self.next();
        }
    }

    fn function(&mut self) -> Parsed<Function> {
        self.keyword("func")?;
        let name = self.ident("the name of a function")?;
        self.expect("<")?;
        let opset = self.ident("an opset, as in `main<ios18>`")?;
        self.expect(">")?;
        let known = Opset::from_name(opset.text);
        if known.is_none() {
            let all = Opset::ALL.map(Opset::name).join(", ");
            let place = Place::Text(opset.range());
            let text = format!("there is no opset `{}`", opset.text);
            self.note(Diagnostic::new("unknown-opset", text, place).help(format!("use one of {all}")));
        }
        let mut f = Function::empty(name.text, known.unwrap_or(Opset::Ios18));
        let mut names = Names::default();
        self.expect("(")?;
        if !self.accept(")") {
            loop {
                let declared = self.declared()?;
                let id = self.define(&mut f, &mut names, declared);
                f.inputs.push(id);
                if self.accept(")") {
                    break;
                }
                self.expect(",")?;
            }
        }
        if self.token.is("[") {
            let text = "attributes of a function are not supported".to_owned();
            return Err(self.refuse("unsupported-attribute", text, self.token));
        }
        self.expect("{")?;
        while !self.token.is("}") && self.token.kind != Kind::End {
            if self.statement(&mut f, &mut names).is_err() {
                self.skip_statement();
            }
        }
        self.expect("}")?;
        self.expect("->")?;
        self.expect("(")?;
        while !self.accept(")") {
            let output = self.ident("the name of a result")?;
            f.outputs.extend(self.resolve(&names, output));
            if !self.token.is(")") {
                self.expect(",")?;
            }
        }
        self.expect(";")?;
        Ok(f)
    }

    /// Goes behind the `;` of the statement, or to the `}` of the block.
    fn skip_statement(&mut self) {
        let mut open = 0usize;
        while self.token.kind != Kind::End {
            if self.token.is("}") && open == 0 {
                return;
            }
            let token = self.next();
            match token.text {
                "{" => open += 1,
                "}" => open = open.saturating_sub(1),
                ";" if open == 0 => return,
                _ => {}
            }
        }
    }

    pub fn define(&mut self, f: &mut Function, names: &mut Names<'s>, declared: Declared<'s>) -> ValueId {
        let name = declared.name;
        let ty = declared.ty.unwrap_or(TensorType::scalar(DType::F16));
        let id = f.add_value(name.text, ty);
        match names.found.get(name.text) {
            None => {
                names.found.insert(name.text, (id, Place::Text(name.range())));
            }
            Some((_, first)) => {
                let text = format!("`{}` is defined more than once", name.text);
                let mut twice = Diagnostic::new("duplicate-name", text, Place::Text(name.range()));
                twice.labels.push((first.clone(), "first defined here".into()));
                self.note(twice);
            }
        }
        id
    }

    pub fn resolve(&mut self, names: &Names<'s>, name: Token<'s>) -> Option<ValueId> {
        let found = names.found.get(name.text).map(|(id, _)| *id);
        if found.is_none() && matches!(name.text, "true" | "false" | "inf" | "nan") {
            self.bare_literal(name);
        } else if found.is_none() {
            self.refuse("undefined", format!("`{}` is not defined before its use", name.text), name);
        }
        found
    }

    pub fn bare_literal(&mut self, token: Token<'s>) -> Failed {
        let text = format!("{} stands here without a type", token.shown());
        let diagnostic = Diagnostic::new("bare-literal", text, Place::Text(token.range()));
        self.note(diagnostic.help("name a `const`, or write the type: `int32(1)`, `bool(true)`"))
    }

    pub fn declared(&mut self) -> Parsed<Declared<'s>> {
        let head = self.ident("a type")?;
        let ty = self.ty(head)?;
        Ok(Declared { ty, name: self.ident("a name")? })
    }
}
