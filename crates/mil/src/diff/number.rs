//! Value numbers: they identify how values are computed.

use super::digest::{Digest, Digester};
use crate::bytes;
use crate::tensor::Data;
use crate::text::known::is_engine_note;
use crate::text::tree::{Attr, BlockNode, Func, Item, Literal, Name, Nested, Param, Statement, Type, Value};
use std::collections::HashMap;
use std::ops::Range;

/// A number: equal ones are computed equally.
pub(super) type Number = u32;

/// How a value is computed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key<'t> {
    /// A parameter of the function, by position, with its type.
    Input(usize, String),
    /// A parameter of a block, by nesting depth and position.
    Inner(usize, usize, String),
    /// A constant, with its type.
    Constant(String, Elements),
    /// An operation.
    Op(OpKey<'t>),
    /// Result `n` of an operation.
    Result(Number, usize),
    /// A name that nothing defines.
    Undefined,
}

/// An operation and its operands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OpKey<'t> {
    pub op: &'t str,
    pub opset: Option<&'t str>,
    /// Arguments and attributes, by name.
    pub args: Vec<(&'t str, Vec<Number>)>,
    /// For each block: types of its parameters, numbers of its results and of its operations without results.
    pub blocks: Vec<(Vec<String>, Vec<Number>)>,
    pub types: Vec<String>,
}

/// The elements of a constant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Elements {
    Digest(Vec<usize>, Digest),
    Strings(Vec<String>),
    Blob(String, u64),
    Several(Vec<Elements>),
}

/// All assigned numbers.
#[derive(Debug, Default)]
pub(super) struct Numbers<'t> {
    by_key: HashMap<Key<'t>, Number>,
    keys: Vec<Key<'t>>,
}

impl<'t> Numbers<'t> {
    pub fn of(&mut self, key: Key<'t>) -> Number {
        if let Some(&number) = self.by_key.get(&key) {
            return number;
        }
        // Texts are shorter than 4 GiB, so there are fewer values than that.
        let number = self.keys.len() as Number;
        self.keys.push(key.clone());
        self.by_key.insert(key, number);
        number
    }

    pub fn key(&self, number: Number) -> Option<&Key<'t>> {
        self.keys.get(number as usize)
    }
}

/// The origin of a number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Origin<'t> {
    Param(&'t Param<'t>),
    Statement(&'t Statement<'t>),
    Literal(&'t Literal<'t>),
}

impl Origin<'_> {
    pub fn range(self) -> Range<usize> {
        match self {
            Origin::Param(p) => p.name.span.range(),
            Origin::Statement(s) => s.op.span.range(),
            Origin::Literal(l) => l.span.range(),
        }
    }
}

/// A function with the numbers of its values.
#[derive(Debug)]
pub(super) struct Numbered<'t> {
    /// The first occurrence of each number.
    pub origins: HashMap<Number, Origin<'t>>,
    /// The function's effects: results, then final states, then operations without results.
    pub results: Vec<(Number, Range<usize>)>,
    /// Every operation that is no constant, in order.
    pub ops: Vec<Number>,
}

/// The value of a name.
#[derive(Clone, Copy)]
enum Meaning {
    Value(Number),
    State(usize),
}

struct Walk<'t, 'n> {
    numbers: &'n mut Numbers<'t>,
    contents: &'n mut dyn FnMut(&str, u64) -> Option<Digest>,
    names: HashMap<&'t str, Meaning>,
    inner: Vec<(&'t str, Option<Meaning>)>,
    states: Vec<(Number, Range<usize>)>,
    depth: usize,
    out: Numbered<'t>,
    /// Operations without results, in order.
    done: Vec<(Number, Range<usize>)>,
}

impl<'t> Numbered<'t> {
    /// Numbers `f`; its parameter `i` is treated as parameter `order[i]`.
    pub fn of(
        f: &'t Func<'t>,
        order: &[usize],
        numbers: &mut Numbers<'t>,
        contents: &mut dyn FnMut(&str, u64) -> Option<Digest>,
    ) -> Numbered<'t> {
        let out = Numbered { origins: HashMap::new(), results: Vec::new(), ops: Vec::new() };
        let (names, inner, states) = (HashMap::new(), Vec::new(), Vec::new());
        let mut walk = Walk { numbers, contents, names, inner, states, depth: 0, out, done: Vec::new() };
        for (param, &at) in f.params.iter().zip(order) {
            let number = walk.numbers.of(Key::Input(at, param.ty.to_string()));
            walk.out.origins.insert(number, Origin::Param(param));
            let meaning = match param.ty {
                Type::State(_) => {
                    walk.states.push((number, param.name.span.range()));
                    Meaning::State(walk.states.len() - 1)
                }
                _ => Meaning::Value(number),
            };
            walk.names.insert(param.name.text, meaning);
        }
        let results = walk.block(&f.block);
        let places = f.block.results.iter().map(|name| name.span.range());
        let mut out = walk.out;
        out.results = results.into_iter().zip(places).collect();
        // States in the order of the first program's parameters.
        let positions = f.params.iter().zip(order).filter(|(p, _)| matches!(p.ty, Type::State(_)));
        let mut states: Vec<_> = positions.map(|(_, &at)| at).zip(walk.states).collect();
        states.sort_by_key(|(at, _)| *at);
        out.results.extend(states.into_iter().map(|(_, state)| state));
        out.results.extend(walk.done);
        out
    }
}

impl<'t> Walk<'t, '_> {
    /// Numbers the operations of `block` and returns the numbers of its results.
    fn block(&mut self, block: &'t BlockNode<'t>) -> Vec<Number> {
        block.statements.iter().for_each(|s| self.statement(s));
        block.results.iter().map(|&name| self.value(name)).collect()
    }

    fn define(&mut self, name: Name<'t>, number: Number) {
        let before = self.names.insert(name.text, Meaning::Value(number));
        if self.depth > 0 {
            self.inner.push((name.text, before));
        }
    }

    fn value(&mut self, name: Name<'t>) -> Number {
        match self.names.get(name.text) {
            Some(&Meaning::Value(number)) => number,
            Some(&Meaning::State(at)) => self.states[at].0,
            None => self.numbers.of(Key::Undefined),
        }
    }

    fn statement(&mut self, s: &'t Statement<'t>) {
        if let (Some(literal), [output]) = (s.const_literal(), &s.outputs[..]) {
            let number = self.literal(literal);
            self.define(output.name, number);
            return;
        }
        let mut written = None;
        let mut args: Vec<(&'t str, Vec<Number>)> = Vec::with_capacity(s.args.len());
        for arg in &s.args {
            let mut given = Vec::new();
            for item in arg.value.items() {
                given.push(match item {
                    Item::Name(name) => {
                        if let Some(&Meaning::State(at)) = self.names.get(name.text) {
                            written = Some(at);
                        }
                        self.value(*name)
                    }
                    Item::Literal(literal) => self.literal(literal),
                });
            }
            args.push((arg.name.text, given));
        }
        let counts = |a: &&Attr<'_>| a.name.text != "name" && !is_engine_note(a.name.text);
        for attr in s.attrs.iter().filter(counts) {
            let number = self.literal(&attr.literal);
            args.push((attr.name.text, vec![number]));
        }
        args.sort();
        let blocks = s.blocks.iter().map(|nested| self.nested(nested)).collect();
        let types = s.outputs.iter().map(|p| p.ty.to_string()).collect();
        let opset = s.opset.map(|name| name.text);
        let number = self.numbers.of(Key::Op(OpKey { op: s.op.text, opset, args, blocks, types }));
        self.out.origins.entry(number).or_insert(Origin::Statement(s));
        self.out.ops.push(number);
        match written.filter(|_| s.op.text != "read_state") {
            Some(at) => self.states[at] = (number, s.op.span.range()),
            None if s.outputs.is_empty() => self.done.push((number, s.op.span.range())),
            None => {}
        }
        for (n, output) in s.outputs.iter().enumerate() {
            let result = self.numbers.of(Key::Result(number, n));
            self.out.origins.entry(result).or_insert(Origin::Statement(s));
            self.define(output.name, result);
        }
    }

    fn nested(&mut self, nested: &'t Nested<'t>) -> (Vec<String>, Vec<Number>) {
        let (before, done) = (self.inner.len(), self.done.len());
        self.depth += 1;
        let types: Vec<String> = nested.params.iter().map(|p| p.ty.to_string()).collect();
        for (i, (param, ty)) in nested.params.iter().zip(&types).enumerate() {
            let number = self.numbers.of(Key::Inner(self.depth, i, ty.clone()));
            self.out.origins.entry(number).or_insert(Origin::Param(param));
            self.define(param.name, number);
        }
        let mut results = self.block(&nested.block);
        results.extend(self.done.drain(done..).map(|(number, _)| number));
        self.depth -= 1;
        for (name, meaning) in self.inner.drain(before..).rev() {
            match meaning {
                Some(meaning) => self.names.insert(name, meaning),
                None => self.names.remove(name),
            };
        }
        (types, results)
    }

    fn literal(&mut self, literal: &'t Literal<'t>) -> Number {
        let elements = self.elements(&literal.ty, &literal.value);
        let number = self.numbers.of(Key::Constant(literal.ty.to_string(), elements));
        self.out.origins.entry(number).or_insert(Origin::Literal(literal));
        number
    }

    fn elements(&mut self, ty: &Type<'_>, value: &Value<'_>) -> Elements {
        match (value, ty) {
            (Value::Tensor { data, .. }, _) if matches!(**data, Data::Str(_)) => match &**data {
                Data::Str(strings) => Elements::Strings(strings.clone()),
                _ => Elements::Several(Vec::new()),
            },
            (Value::Tensor { shape, data }, Type::Tensor { dtype, .. }) => {
                let mut digester = Digester::new();
                digester.update(&bytes::pack(*dtype, data));
                Elements::Digest(shape.clone(), digester.finish())
            }
            (Value::Blob { path, offset }, Type::Tensor { dims, .. }) => {
                let shape: Option<Vec<usize>> = dims.iter().copied().collect();
                match shape.zip((self.contents)(path, *offset)) {
                    Some((shape, digest)) => Elements::Digest(shape, digest),
                    None => Elements::Blob(path.to_string(), *offset),
                }
            }
            (Value::Blob { path, offset }, _) => Elements::Blob(path.to_string(), *offset),
            (Value::List(items), Type::List(of, _)) => {
                Elements::Several(items.iter().map(|item| self.elements(of, item)).collect())
            }
            (Value::Tuple(items), Type::Tuple(types)) => {
                Elements::Several(items.iter().zip(types).map(|(item, ty)| self.elements(ty, item)).collect())
            }
            (Value::Dict(entries), Type::Dict(both)) => {
                let entries = entries.iter().flat_map(|(k, v)| [(&both.0, k), (&both.1, v)]);
                let entries: Vec<_> = entries.collect();
                Elements::Several(entries.into_iter().map(|(ty, item)| self.elements(ty, item)).collect())
            }
            // The data do not match the type; the parser refuses this.
            _ => Elements::Several(Vec::new()),
        }
    }
}
