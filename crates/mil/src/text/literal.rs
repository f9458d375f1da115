//! Text as types and literals.

use crate::diag::{Diagnostic, Place};
use crate::ir::{Literal, LiteralData};
use crate::tensor::Data;
use crate::text::lex::{Kind, Token};
use crate::text::number::parse_float;
use crate::text::parse::{Failed, Parsed, Parser};
use crate::ty::{DType, Shape, TensorType};
use std::sync::Arc;

impl<'s> Parser<'s> {
    /// The type that begins with `head`; `None` if it is well formed as far as brackets go, but not supported.
    pub(super) fn ty(&mut self, head: Token<'s>) -> Parsed<Option<TensorType>> {
        if !self.token.is("<") {
            let dtype = DType::from_name(head.text);
            if dtype.is_none() {
                let failed = self.unsupported_type(head);
                // With a name behind it, it is a type; else it may be anything.
                if self.token.kind != Kind::Ident {
                    return Err(failed);
                }
            }
            return Ok(dtype.map(TensorType::scalar));
        }
        if head.text != "tensor" {
            self.unsupported_type(head);
            self.skip_angles();
            return Ok(None);
        }
        self.expect("<")?;
        let element = self.ident("an element type")?;
        let dtype = DType::from_name(element.text);
        if dtype.is_none() {
            self.unsupported_type(element);
        }
        self.expect(",")?;
        self.expect("[")?;
        let mut shape = Some(Vec::new());
        self.list("]", |p| {
            let dim = p.next();
            match dim.text.parse::<usize>() {
                Ok(n) if dim.kind == Kind::Number => {
                    if let Some(shape) = &mut shape {
                        shape.push(n);
                    }
                }
                _ if dim.is("?") => {
                    shape = None;
                    let text = "unknown dimensions are not supported".to_owned();
                    p.refuse("unsupported-type", text, dim);
                }
                _ => return Err(p.refuse("syntax", format!("{} is no dimension", dim.shown()), dim)),
            }
            Ok(())
        })?;
        self.expect(">")?;
        Ok(dtype.zip(shape).map(|(dtype, shape)| TensorType::new(dtype, shape)))
    }

    fn unsupported_type(&mut self, head: Token<'s>) -> Failed {
        self.refuse("unsupported-type", format!("the type `{}` is not supported", head.text), head)
    }

    fn skip_angles(&mut self) {
        let mut open = 0usize;
        while self.token.kind != Kind::End && !self.token.is(";") {
            match self.next().text {
                "<" => open += 1,
                ">" => open -= 1,
                _ => {}
            }
            if open == 0 {
                return;
            }
        }
    }

    /// A literal whose type begins with `head`.
    pub(super) fn typed(&mut self, head: Token<'s>) -> Parsed<Literal> {
        let ty = self.ty(head)?.ok_or(Failed)?;
        self.expect("(")?;
        let data = if self.token.is_word("BLOBFILE") {
            self.next();
            self.blob()?
        } else {
            let mut data = Data::zeros(ty.dtype, 0);
            if ty.shape.is_empty() {
                self.element(ty.dtype, &mut data)?;
            } else {
                self.rows(&ty, &mut data)?;
            }
            LiteralData::Inline(Arc::new(data))
        };
        self.expect(")")?;
        Ok(Literal { ty, data })
    }

    /// `string("…")`, in either spelling.
    pub(super) fn typed_string(&mut self, head: Token<'s>) -> Parsed<String> {
        let literal = self.typed(head)?;
        match literal.data() {
            Some(Data::Str(v)) if literal.ty.shape.is_empty() => Ok(v.concat()),
            _ => Err(self.refuse("wrong-literal", format!("this is a {}, not a string", literal.ty), head)),
        }
    }

    /// `(path = string("…"), offset = uint64(64))`.
    fn blob(&mut self) -> Parsed<LiteralData> {
        let start = self.token;
        let (mut path, mut offset) = (None, None);
        self.expect("(")?;
        self.list(")", |p| {
            let field = p.ident("`path` or `offset`")?;
            p.expect("=")?;
            let head = p.ident("a typed literal")?;
            match field.text {
                "path" => path = Some(p.typed_string(head)?),
                "offset" => {
                    let literal = p.typed(head)?;
                    let number = match literal.data() {
                        Some(Data::Int(v)) => v.first().and_then(|&n| u64::try_from(n).ok()),
                        _ => None,
                    };
                    if number.is_none() || !literal.ty.shape.is_empty() {
                        let text = format!("an offset is a number of bytes, not a {}", literal.ty);
                        return Err(p.refuse("wrong-literal", text, head));
                    }
                    offset = number;
                }
                other => {
                    let text = format!("`BLOBFILE` has no field `{other}`");
                    return Err(p.refuse("unknown-parameter", text, field));
                }
            }
            Ok(())
        })?;
        match (path, offset) {
            (Some(path), Some(offset)) => Ok(LiteralData::Blob { path, offset }),
            _ => {
                let text = "`BLOBFILE` needs `path` and `offset`".to_owned();
                Err(self.refuse("missing-parameter", text, start))
            }
        }
    }

    /// Nested rows of `ty`'s shape. Not by recursion: brackets may be nested as deep as the text is long.
    fn rows(&mut self, ty: &TensorType, data: &mut Data) -> Parsed<()> {
        // How many items each open row has so far, outermost first.
        let mut counts: Vec<usize> = Vec::new();
        loop {
            let depth = counts.len();
            if depth > 0 && self.token.is("]") && counts.last() == Some(&0) {
                // An empty row; closed below.
            } else if depth < ty.rank() {
                if !self.token.is("[") {
                    return Err(self.wrong_shape(ty));
                }
                self.next();
                counts.push(0);
                continue;
            } else {
                if self.token.is("[") {
                    return Err(self.wrong_shape(ty));
                }
                self.element(ty.dtype, data)?;
                if let Some(n) = counts.last_mut() {
                    *n += 1;
                }
            }
            // Behind an item: close what ends here.
            while self.token.is("]") {
                let n = counts.pop().unwrap_or(0);
                if ty.shape.get(counts.len()) != Some(&n) {
                    return Err(self.wrong_shape(ty));
                }
                self.next();
                match counts.last_mut() {
                    Some(outer) => *outer += 1,
                    None => return Ok(()),
                }
            }
            if !self.accept(",") {
                return Err(self.unexpected("`,` or `]`"));
            }
            if self.token.is("]") {
                return Err(self.unexpected("an element"));
            }
        }
    }

    fn wrong_shape(&mut self, ty: &TensorType) -> Failed {
        let text = format!("the rows of this literal are not {}", Shape(&ty.shape));
        self.refuse("literal-shape", text, self.token)
    }

    /// One element, put behind those in `data`.
    fn element(&mut self, dtype: DType, data: &mut Data) -> Parsed<()> {
        let token = self.token;
        let word = matches!(token.kind, Kind::Ident | Kind::Number);
        match data {
            Data::Float(v) if word => match parse_float(token.text, dtype) {
                Some(x) if x.is_infinite() && !token.text.ends_with("inf") => {
                    let text = format!("{} is too large for {dtype}", token.shown());
                    let place = Place::Text(token.range());
                    let help = "write `inf` if that is meant";
                    return Err(self.note(Diagnostic::new("literal-range", text, place).help(help)));
                }
                Some(x) => v.push(x),
                None => return Err(self.wrong_element(dtype)),
            },
            Data::Int(v) if token.kind == Kind::Number => {
                let digits = token.text.strip_prefix('-').unwrap_or(token.text);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(self.wrong_element(dtype));
                }
                let range = dtype.int_range().unwrap_or((0, -1));
                match token.text.parse::<i64>() {
                    Ok(n) if (range.0..=range.1).contains(&n) => v.push(n),
                    _ => {
                        let text = format!("{} is outside of {dtype}", token.shown());
                        let place = Place::Text(token.range());
                        let help = format!("use a number from {} to {}", range.0, range.1);
                        return Err(self.note(Diagnostic::new("literal-range", text, place).help(help)));
                    }
                }
            }
            Data::Bool(v) if token.is_word("true") || token.is_word("false") => v.push(token.text == "true"),
            Data::Str(v) if token.kind == Kind::Str => v.push(token.unquoted()),
            _ => return Err(self.wrong_element(dtype)),
        }
        self.next();
        Ok(())
    }

    fn wrong_element(&mut self, dtype: DType) -> Failed {
        let text = format!("{} is not a {dtype}", self.token.shown());
        self.refuse("wrong-literal", text, self.token)
    }

    /// `dict<string, string>({{"key", "value"}, …})`, in either spelling.
    pub(super) fn string_dict(&mut self) -> Parsed<Vec<(String, String)>> {
        let head = self.ident("`dict<string, string>`")?;
        if head.text != "dict" {
            let text = format!("`buildInfo` is a dictionary of strings, not a `{}`", head.text);
            return Err(self.refuse("wrong-literal", text, head));
        }
        self.expect("<")?;
        self.string_type()?;
        self.expect(",")?;
        self.string_type()?;
        self.expect(">")?;
        self.expect("(")?;
        self.expect("{")?;
        let mut entries = Vec::new();
        self.list("}", |p| {
            p.expect("{")?;
            let key = p.string()?;
            p.expect(",")?;
            entries.push((key, p.string()?));
            p.expect("}")
        })?;
        self.expect(")")?;
        Ok(entries)
    }

    fn string_type(&mut self) -> Parsed<()> {
        let head = self.ident("`string`")?;
        match self.ty(head)? {
            Some(ty) if ty == TensorType::scalar(DType::Str) => Ok(()),
            _ => Err(self.refuse("wrong-literal", "`buildInfo` holds strings alone".into(), head)),
        }
    }

    fn string(&mut self) -> Parsed<String> {
        match self.token.kind {
            Kind::Str => Ok(self.next().unquoted()),
            _ => Err(self.unexpected("a string")),
        }
    }
}
