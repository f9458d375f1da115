//! Text as a tree: types and literals.

use super::lex::{Token, TokenKind};
use super::number::{parse_float, parse_int};
use super::parse::{Failed, Parsed, Parser};
use super::tree::{Dim, Literal, Type, Value};
use crate::diag::{Diagnostic, Place};
use crate::tensor::Data;
use crate::ty::{DType, TensorType};
use std::borrow::Cow;
use std::sync::Arc;

impl<'s> Parser<'s> {
    /// The type that begins with `head`.
    pub(super) fn ty(&mut self, head: Token<'s>) -> Parsed<Type<'s>> {
        if !self.token.is(b'<') {
            return Ok(Type::scalar(self.dtype(head)?));
        }
        if !super::statement::is_generic(head.text) {
            return Err(self.unknown_type(head));
        }
        self.next();
        let ty = match head.text {
            "tensor" => {
                let dtype = self.element_type()?;
                self.expect(b',')?;
                Type::Tensor { dtype, dims: self.dims()? }
            }
            "tensor_buffer" => {
                let dtype = self.element_type()?;
                let mut fields = Vec::new();
                while self.accept(b',') {
                    let name = self.ident("a property of the buffer")?.name();
                    self.expect(b'=')?;
                    fields.push((name, self.dims()?));
                }
                Type::Buffer { dtype, fields }
            }
            "tuple" => {
                let mut items = Vec::new();
                self.deeper(|p| {
                    p.list(b'>', |p| {
                        items.push(p.inner_type()?);
                        Ok(())
                    })
                })?;
                return Ok(Type::Tuple(items));
            }
            generic => self.deeper(|p| {
                let first = p.inner_type()?;
                Ok(match generic {
                    "list" => {
                        p.expect(b',')?;
                        Type::List(Box::new(first), p.dim()?)
                    }
                    "dict" => {
                        p.expect(b',')?;
                        Type::Dict(Box::new((first, p.inner_type()?)))
                    }
                    _ => Type::State(Box::new(first)),
                })
            })?,
        };
        self.expect(b'>')?;
        Ok(ty)
    }

    fn inner_type(&mut self) -> Parsed<Type<'s>> {
        let head = self.ident("a type")?;
        self.ty(head)
    }

    fn element_type(&mut self) -> Parsed<DType> {
        let head = self.ident("an element type")?;
        self.dtype(head)
    }

    fn dtype(&mut self, head: Token<'s>) -> Parsed<DType> {
        DType::from_name(head.text).ok_or_else(|| self.unknown_type(head))
    }

    fn unknown_type(&mut self, head: Token<'s>) -> Failed {
        let text = format!("there is no type `{}`", head.text);
        let names: Vec<&str> = DType::ALL.iter().map(|d| d.name()).collect();
        let help = format!(
            "scalars are {}; others tensor, list, tuple, dict, state, tensor_buffer",
            names.join(", ")
        );
        self.note(Diagnostic::new("unknown-type", text, Place::Text(head.range())).help(help))
    }

    /// `[1, ?]`.
    fn dims(&mut self) -> Parsed<Vec<Dim>> {
        let start = self.token;
        self.expect(b'[')?;
        let mut dims = Vec::new();
        self.list(b']', |p| {
            dims.push(p.dim()?);
            Ok(())
        })?;
        if dims.len() > TensorType::MAX_RANK {
            let text = format!("a tensor has at most {} axes, not {}", TensorType::MAX_RANK, dims.len());
            return Err(self.refuse("too-many-axes", text, start));
        }
        Ok(dims)
    }

    fn dim(&mut self) -> Parsed<Dim> {
        let dim = self.token;
        let size = match dim.kind {
            TokenKind::Punct(b'?') => None,
            TokenKind::Number if dim.text.bytes().all(|b| b.is_ascii_digit()) => {
                match dim.text.parse::<usize>() {
                    // The largest number stands for sizes that are not known.
                    Ok(n) if n < i64::MAX as usize => Some(n),
                    _ => {
                        let text = format!("{} is too large for the size of an axis", dim.shown());
                        return Err(self.refuse("size-range", text, dim));
                    }
                }
            }
            _ => return Err(self.refuse("syntax", format!("{} is no size of an axis", dim.shown()), dim)),
        };
        self.next();
        Ok(size)
    }

    /// Parses a literal whose type begins with `head`.
    pub(super) fn typed(&mut self, head: Token<'s>) -> Parsed<Literal<'s>> {
        let ty = self.ty(head)?;
        self.expect(b'(')?;
        let value = self.value(&ty)?;
        self.expect(b')')?;
        Ok(Literal { ty, value, span: self.since(head) })
    }

    /// Parses the elements of a literal of type `ty`.
    fn value(&mut self, ty: &Type<'s>) -> Parsed<Value<'s>> {
        match ty {
            Type::Tensor { .. } if self.token.is_word("BLOBFILE") => {
                self.next();
                self.blob()
            }
            Type::Tensor { dtype, dims } => {
                let mut data = Data::zeros(*dtype, 0);
                let mut shape = Vec::new();
                if dims.is_empty() {
                    data.reserve_exact(1);
                    self.element(*dtype, &mut data)?;
                } else {
                    shape = self.rows(*dtype, dims, &mut data)?;
                }
                Ok(Value::Tensor { shape, data: Arc::new(data) })
            }
            Type::List(item, length) => {
                let start = self.token;
                self.expect(b'[')?;
                let mut items = Vec::new();
                self.list(b']', |p| {
                    items.push(p.value(item)?);
                    Ok(())
                })?;
                if length.is_some_and(|n| n != items.len()) {
                    let text =
                        format!("this list has {} items, but its type states another length", items.len());
                    return Err(self.refuse("literal-shape", text, start));
                }
                Ok(Value::List(items))
            }
            Type::Tuple(types) => {
                let start = self.token;
                self.expect(b'(')?;
                let mut items = Vec::new();
                self.list(b')', |p| match types.get(items.len()) {
                    Some(ty) => {
                        items.push(p.value(ty)?);
                        Ok(())
                    }
                    None => Err(p.unexpected("`)`, as the type has no more items,")),
                })?;
                if items.len() < types.len() {
                    let text = format!("this tuple has {} items of {}", items.len(), types.len());
                    return Err(self.refuse("literal-shape", text, start));
                }
                Ok(Value::Tuple(items))
            }
            Type::Dict(both) => {
                self.expect(b'{')?;
                let mut entries = Vec::new();
                self.list(b'}', |p| {
                    p.expect(b'{')?;
                    let key = p.value(&both.0)?;
                    p.expect(b',')?;
                    entries.push((key, p.value(&both.1)?));
                    p.expect(b'}')
                })?;
                Ok(Value::Dict(entries))
            }
            Type::State(_) | Type::Buffer { .. } => {
                let text = "there are no literals of this type".to_owned();
                Err(self.refuse("wrong-literal", text, self.token))
            }
        }
    }

    /// `(path = string("…"), offset = uint64(64))`.
    fn blob(&mut self) -> Parsed<Value<'s>> {
        let start = self.token;
        let (mut path, mut offset) = (None, None);
        self.expect(b'(')?;
        self.list(b')', |p| {
            let field = p.ident("`path` or `offset`")?;
            p.expect(b'=')?;
            let head = p.ident("a typed literal")?;
            match field.text {
                "path" => path = Some(p.string(head)?),
                "offset" => {
                    let literal = p.typed(head)?;
                    let number = match &literal.value {
                        Value::Tensor { shape, data } if shape.is_empty() => match &**data {
                            Data::Int(v) => v.first().and_then(|&n| u64::try_from(n).ok()),
                            _ => None,
                        },
                        _ => None,
                    };
                    if number.is_none() {
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
            (Some(path), Some(offset)) => Ok(Value::Blob { path, offset }),
            _ => {
                let text = "`BLOBFILE` needs `path` and `offset`".to_owned();
                Err(self.refuse("missing-parameter", text, start))
            }
        }
    }

    /// `string("…")`, in either spelling.
    fn string(&mut self, head: Token<'s>) -> Parsed<Cow<'s, str>> {
        let ty = self.ty(head)?;
        self.expect(b'(')?;
        if ty != Type::scalar(DType::Str) {
            return Err(self.refuse("wrong-literal", format!("this is a {ty}, not a string"), head));
        }
        if self.token.kind != TokenKind::Str {
            return Err(self.wrong_element(DType::Str));
        }
        let text = self.next().unquoted();
        self.expect(b')')?;
        Ok(text)
    }

    /// Nested rows whose sizes are `dims`; their sizes. Not by recursion: brackets may be nested as deep as the text
    /// is long.
    fn rows(&mut self, dtype: DType, dims: &[Dim], data: &mut Data) -> Parsed<Vec<usize>> {
        let mut shape = dims.to_vec();
        // How many items each open row has so far, outermost first.
        let mut counts: Vec<usize> = Vec::new();
        loop {
            let depth = counts.len();
            if depth > 0 && self.token.is(b']') && counts.last() == Some(&0) {
                // An empty row; closed below.
            } else if depth < dims.len() {
                if !self.token.is(b'[') {
                    return Err(self.wrong_shape(dims));
                }
                self.next();
                counts.push(0);
                continue;
            } else {
                if self.token.is(b'[') {
                    return Err(self.wrong_shape(dims));
                }
                self.element(dtype, data)?;
                if let Some(n) = counts.last_mut() {
                    *n += 1;
                }
            }
            // Behind an item: close what ends here.
            while self.token.is(b']') {
                let n = counts.pop().unwrap_or(0);
                let size = &mut shape[counts.len()];
                if *size.get_or_insert(n) != n {
                    return Err(self.wrong_shape(dims));
                }
                self.next();
                match counts.last_mut() {
                    Some(outer) => *outer += 1,
                    None => return Ok(shape.into_iter().map(|d| d.unwrap_or(0)).collect()),
                }
            }
            if !self.accept(b',') {
                return Err(self.unexpected("`,` or `]`"));
            }
            if self.token.is(b']') {
                return Err(self.unexpected("an element"));
            }
        }
    }

    fn wrong_shape(&mut self, dims: &[Dim]) -> Failed {
        let sizes: Vec<String> = dims.iter().map(|d| d.map_or("?".into(), |n| n.to_string())).collect();
        let text = format!("the rows of this literal are not [{}]", sizes.join(", "));
        self.refuse("literal-shape", text, self.token)
    }

    /// Parses one element and appends it to `data`.
    fn element(&mut self, dtype: DType, data: &mut Data) -> Parsed<()> {
        let token = self.token;
        let word = matches!(token.kind, TokenKind::Ident | TokenKind::Number);
        match data {
            Data::Float(v) if word => match parse_float(token.text, dtype) {
                Some(x) if !x.is_finite() && !token.text.ends_with("inf") && !token.text.ends_with("nan") => {
                    let text = format!("{} is too large for {dtype}", token.shown());
                    let place = Place::Text(token.range());
                    let help = "write `inf` for infinity";
                    return Err(self.note(Diagnostic::new("literal-range", text, place).help(help)));
                }
                Some(x) => v.push(x),
                None => return Err(self.wrong_element(dtype)),
            },
            Data::Int(v) if token.kind == TokenKind::Number => {
                let range = dtype.int_range().unwrap_or((0, -1));
                match parse_int(token.text) {
                    Some(Some(n)) if (range.0..=range.1).contains(&n) => v.push(n),
                    Some(_) => {
                        let text = format!("{} is outside of {dtype}", token.shown());
                        let place = Place::Text(token.range());
                        let help = format!("use a number from {} to {}", range.0, range.1);
                        return Err(self.note(Diagnostic::new("literal-range", text, place).help(help)));
                    }
                    None => return Err(self.wrong_element(dtype)),
                }
            }
            Data::Bool(v) if token.is_word("true") || token.is_word("false") => v.push(token.text == "true"),
            Data::Str(v) if token.kind == TokenKind::Str => v.push(token.unquoted().into_owned()),
            _ => return Err(self.wrong_element(dtype)),
        }
        self.next();
        Ok(())
    }

    fn wrong_element(&mut self, dtype: DType) -> Failed {
        let text = format!("{} is not a {dtype}", self.token.shown());
        self.refuse("wrong-literal", text, self.token)
    }
}
