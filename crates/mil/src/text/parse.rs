//! Text as a tree: programs, functions, blocks.

use super::lex::{Lexer, Token, TokenKind};
use super::tree::{BlockNode, Comment, Func, Name, Param, Span, Tree};
use crate::diag::{Diagnostic, Place, Report, Severity};

/// The most errors reported; after them the rest of the text is skipped, and further errors are only counted.
pub(super) const MISTAKES: usize = 100;

/// The deepest nesting of types, blocks and values: more would overflow a thread's stack.
pub(super) const DEPTH: usize = 64;

/// The parsed part of a text.
#[derive(Clone, Debug)]
pub struct Read<'s> {
    /// The tree; complete if the report has no errors.
    pub tree: Tree<'s>,
    /// Words skipped after an error: their definitions are not in the tree.
    pub(super) lost: Vec<&'s str>,
    /// All diagnostics.
    pub report: Report,
}

/// Parses a program as a tree, without resolving names.
///
/// The report has every error with its place; parsing stops after 100 errors. Time and memory are linear in
/// the text, and no file is opened.
pub fn read(source: &str) -> Read<'_> {
    let mut parser = Parser::new(source);
    let mut tree = Tree::default();
    if u32::try_from(source.len()).is_err() {
        let text = "the text is 4 GiB long or longer".to_owned();
        parser.report.push(Diagnostic::new("too-long", text, Place::Nowhere).help("cut it in functions"));
    } else {
        parser.program(&mut tree);
    }
    tree.comments = std::mem::take(&mut parser.lexer.comments);
    if let Some(Comment { span, .. }) = tree.comments.first() {
        let text = "comments: the Neural Engine's parser may refuse them";
        let warning = Diagnostic::new("comments", text, Place::Text(span.range()));
        parser.report.push(warning.severity(Severity::Warning));
    }
    Read { tree, lost: parser.lost, report: parser.report }
}

/// A mistake that is already in the report.
pub(super) struct Failed;

pub(super) type Parsed<T> = Result<T, Failed>;

pub(super) struct Parser<'s> {
    pub lexer: Lexer<'s>,
    /// The next token.
    pub token: Token<'s>,
    /// The end of the last consumed token.
    pub end: u32,
    pub depth: usize,
    lost: Vec<&'s str>,
    report: Report,
}

impl<'s> Parser<'s> {
    fn new(source: &'s str) -> Parser<'s> {
        let mut lexer = Lexer::new(source);
        let token = lexer.next();
        Parser { lexer, token, end: 0, depth: 0, lost: Vec::new(), report: Report::default() }
    }

    /// Advances to the next token.
    pub fn next(&mut self) -> Token<'s> {
        let next = self.lexer.next();
        self.end = self.token.span().end;
        std::mem::replace(&mut self.token, next)
    }

    /// Notes a mistake.
    pub fn note(&mut self, diagnostic: Diagnostic) -> Failed {
        if self.report.diagnostics.len() < MISTAKES {
            self.report.push(diagnostic);
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

    /// Reports that `what` was expected here.
    pub fn unexpected(&mut self, what: &str) -> Failed {
        let message = format!("expected {what}, found {}", self.token.shown());
        self.refuse("syntax", message, self.token)
    }

    pub fn expect(&mut self, punct: u8) -> Parsed<()> {
        if self.accept(punct) { Ok(()) } else { Err(self.unexpected(&format!("`{}`", char::from(punct)))) }
    }

    pub fn accept(&mut self, punct: u8) -> bool {
        let here = self.token.is(punct);
        if here {
            self.next();
        }
        here
    }

    pub fn ident(&mut self, what: &str) -> Parsed<Token<'s>> {
        if self.token.kind == TokenKind::Ident { Ok(self.next()) } else { Err(self.unexpected(what)) }
    }

    fn keyword(&mut self, word: &'static str) -> Parsed<()> {
        if !self.token.is_word(word) {
            return Err(self.unexpected(&format!("`{word}`")));
        }
        self.next();
        Ok(())
    }

    fn arrow(&mut self) -> Parsed<()> {
        if self.token.kind != TokenKind::Arrow {
            return Err(self.unexpected("`->`"));
        }
        self.next();
        Ok(())
    }

    /// Items between commas, up to `close`.
    pub fn list(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        if self.accept(close) {
            return Ok(());
        }
        loop {
            item(self)?;
            if self.accept(close) {
                return Ok(());
            }
            if !self.accept(b',') {
                return Err(self.unexpected(&format!("`,` or `{}`", char::from(close))));
            }
        }
    }

    /// Does `inside` one level deeper.
    pub fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == DEPTH {
            let text = format!("nested more than {DEPTH} levels deep");
            return Err(self.refuse("too-deep", text, self.token));
        }
        self.depth += 1;
        let result = inside(self);
        self.depth -= 1;
        result
    }

    fn program(&mut self, tree: &mut Tree<'s>) {
        if !self.token.is_word("program") {
            self.unexpected("`program`");
            return;
        }
        // Whether the text before the next function could not be parsed.
        let mut lost = self.header(tree).is_err();
        loop {
            if lost {
                self.skip_to_function();
            }
            if !self.token.is_word("func") {
                break;
            }
            match self.function() {
                Ok(f) => {
                    tree.functions.push(f);
                    lost = false;
                }
                Err(Failed) => lost = true,
            }
        }
        if !lost && self.expect(b'}').is_ok() && self.token.kind != TokenKind::End {
            self.unexpected("the end of the text");
        }
    }

    fn header(&mut self, tree: &mut Tree<'s>) -> Parsed<()> {
        self.keyword("program")?;
        self.expect(b'(')?;
        if self.token.kind != TokenKind::Number {
            return Err(self.unexpected("a version, as in `program(1.3)`"));
        }
        tree.version = self.next().name();
        self.expect(b')')?;
        self.attributes(&mut tree.attrs)?;
        self.expect(b'{')
    }

    fn skip_to_function(&mut self) {
        while self.token.kind != TokenKind::End && !self.token.is_word("func") {
            self.next();
        }
    }

    fn function(&mut self) -> Parsed<Func<'s>> {
        self.keyword("func")?;
        let name = self.ident("the name of a function")?.name();
        self.expect(b'<')?;
        let opset = self.ident("an opset, as in `main<ios18>`")?.name();
        self.expect(b'>')?;
        let (mut params, mut attrs) = (Vec::new(), Vec::new());
        self.params(&mut params)?;
        self.attributes(&mut attrs)?;
        let block = self.block()?;
        self.expect(b';')?;
        Ok(Func { name, opset, params, attrs, block })
    }

    /// `(type name, …)`.
    pub fn params(&mut self, params: &mut Vec<Param<'s>>) -> Parsed<()> {
        self.expect(b'(')?;
        self.list(b')', |p| {
            params.push(p.declared()?);
            Ok(())
        })
    }

    /// `{ … } -> (a, b)`.
    pub fn block(&mut self) -> Parsed<BlockNode<'s>> {
        self.deeper(|p| {
            let mut block = BlockNode { span: p.token.span(), ..BlockNode::default() };
            p.expect(b'{')?;
            while !p.token.is(b'}') && p.token.kind != TokenKind::End {
                let start = p.token;
                match p.statement() {
                    Ok(statement) => block.statements.push(statement),
                    Err(Failed) => p.skip_statement(start),
                }
            }
            block.span = block.span.to(p.token.span());
            p.expect(b'}')?;
            p.arrow()?;
            p.expect(b'(')?;
            p.list(b')', |p| {
                block.results.push(p.ident("the name of a result")?.name());
                Ok(())
            })?;
            Ok(block)
        })
    }

    /// Skips past the `;` of the statement that begins at `start`, or to the `}` of the block.
    fn skip_statement(&mut self, start: Token<'s>) {
        // Names that it was to define are in what is passed over, and in what was read of it before the mistake.
        let source = self.lexer.source();
        let mut words = Lexer::new(&source[start.start as usize..self.token.start as usize]);
        loop {
            let word = words.next();
            match word.kind {
                TokenKind::End => break,
                TokenKind::Ident => self.lost.push(word.text),
                _ => {}
            }
        }
        let mut open = 0usize;
        while self.token.kind != TokenKind::End {
            if self.token.is(b'}') && open == 0 {
                return;
            }
            let token = self.next();
            match token.kind {
                TokenKind::Ident => self.lost.push(token.text),
                TokenKind::Punct(b'{') => open += 1,
                TokenKind::Punct(b'}') => open = open.saturating_sub(1),
                TokenKind::Punct(b';') if open == 0 => return,
                _ => {}
            }
        }
    }

    /// Reports a literal without a type where a name or a typed literal is required.
    pub fn bare_literal(&mut self, token: Token<'s>) -> Failed {
        let text = format!("{} needs a type here", token.shown());
        let diagnostic = Diagnostic::new("bare-literal", text, Place::Text(token.range()));
        self.note(diagnostic.help("name a `const`, or write the type: `int32(1)`, `bool(true)`"))
    }

    /// `type name`.
    pub fn declared(&mut self) -> Parsed<Param<'s>> {
        let head = self.ident("a type")?;
        let ty = self.ty(head)?;
        let ty_span = self.since(head);
        let name: Name<'s> = self.ident("a name")?.name();
        Ok(Param { ty, ty_span, name })
    }

    /// The range from `first` to the end of the last consumed token.
    pub fn since(&self, first: Token<'s>) -> Span {
        Span { start: first.start, end: self.end }
    }
}
