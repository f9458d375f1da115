//! A tree as a program: words become operations, parameters and values.

use super::known::{self, is_engine_note};
use super::parse::{MISTAKES, Read};
use super::tree::{self, Block, Func, Item, Name, Param, Span, Statement, Tree, Type, Value};
use crate::diag::{Diagnostic, Place, Report, Severity};
use crate::ir::{self, Arg, ArgValue, Function, LiteralData, Operation, Program, State, ValueId};
use crate::op::{Op, Role};
use crate::ty::{DType, Opset, TensorType};
use crate::verify::{Names, Sizes, examine_with};
use foldhash::fast::RandomState;
use foldhash::{HashMap, HashSet};

/// What is known of a text.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The program. States are parameters and results; where [`Checked::opaque`] is not empty, the results of those
    /// operations are parameters too, so it does not run. It means nothing if the report has errors.
    pub program: Program,
    /// Operations that MIL has and we do not: typed by what is written, and not executable.
    pub opaque: Vec<Opaque>,
    /// All that is to be said of the text, in order of places.
    pub report: Report,
}

/// An operation that is not in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// Its name.
    pub op: String,
    /// Where it stands, in bytes of the text.
    pub range: std::ops::Range<usize>,
    /// Why it is opaque.
    pub reason: &'static str,
}

impl Opaque {
    /// The refusal to run it.
    pub fn refusal(&self) -> Diagnostic {
        let text = format!("`{}` cannot be run: {}", self.op, self.reason);
        Diagnostic::new("opaque-op", text, Place::Text(self.range.clone()))
    }
}

/// Finds out what a text that was read means, and all that is wrong with it.
pub fn check(read: &Read<'_>) -> Checked {
    let mut checked = lower(read);
    let found = examine_with(&checked.program, Sizes::Any, Names::Read);
    let report = &mut checked.report;
    // Said already where the text says it, or not so: what could not be read may be what is missed.
    let said = |d: &Diagnostic| matches!(d.code, "no-output" | "no-function" | "duplicate-name");
    report.diagnostics.extend(found.diagnostics.into_iter().filter(|d| !said(d)));
    in_order(report);
    // Of those that are left alone: looking for a place takes time.
    super::places::resolve(report, &read.tree);
    checked
}

/// Sorts what is said by its places.
fn in_order(report: &mut Report) {
    report.diagnostics.sort_by_key(|d| match &d.place {
        Place::Text(range) => range.start,
        _ => usize::MAX,
    });
    if report.diagnostics.len() > MISTAKES {
        let more = report.diagnostics.len() - MISTAKES;
        let failed = report.has_errors();
        report.diagnostics.truncate(MISTAKES);
        let text = format!("{more} more are not shown");
        let severity = if failed { Severity::Error } else { Severity::Note };
        report.push(Diagnostic::new("too-many", text, Place::Nowhere).severity(severity));
    }
}

/// Resolves the words of a text that was read; types are not looked at.
pub(super) fn lower(read: &Read<'_>) -> Checked {
    let mut checked =
        Checked { program: Program::default(), opaque: Vec::new(), report: read.report.clone() };
    let tree = &read.tree;
    header(tree, &mut checked);
    let lost: HashSet<&str> = read.lost.iter().copied().collect();
    let mut names: HashMap<&str, Span> = HashMap::default();
    for f in &tree.functions {
        if let Some(first) = names.get(f.name.text) {
            let text = format!("function `{}` is defined more than once", f.name);
            let twice = Diagnostic::new("duplicate-name", text, Place::Text(f.name.span.range()));
            checked.report.push(twice.label(Place::Text(first.range()), "first defined here"));
            continue;
        }
        names.insert(f.name.text, f.name.span);
        let function = Lowering::function(f, &lost, &mut checked);
        checked.program.functions.push(function);
    }
    in_order(&mut checked.report);
    checked
}

/// Version and attributes of the program.
fn header(tree: &Tree<'_>, checked: &mut Checked) {
    if tree.functions.is_empty() && !checked.report.has_errors() {
        let text = "the program has no function";
        checked.report.push(Diagnostic::new("no-function", text, Place::Text(tree.version.span.range())));
    }
    checked.program.version = tree.version.text.to_owned();
    for attr in &tree.attrs {
        if attr.name.text != "buildInfo" {
            continue;
        }
        let string = Type::scalar(DType::Str);
        let strings = Type::Dict(Box::new((string.clone(), string)));
        let entries = match &attr.literal.value {
            Value::Dict(entries) if attr.literal.ty == strings => Some(entries),
            _ => None,
        };
        let Some(entries) = entries else {
            let text = format!("`buildInfo` is a dictionary of strings, not a {}", attr.literal.ty);
            let place = Place::Text(attr.literal.span.range());
            checked.report.push(Diagnostic::new("wrong-literal", text, place));
            continue;
        };
        let both = |(key, value): &(Value<'_>, Value<'_>)| {
            Some((key.as_str()?.to_owned(), value.as_str()?.to_owned()))
        };
        checked.program.build_info.extend(entries.iter().filter_map(both));
    }
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    Value(ValueId),
    /// A state, by position.
    State(usize),
    /// Something that no value of a program can be.
    Opaque,
}

struct Lowering<'l, 's> {
    f: Function,
    names: HashMap<&'s str, (Meaning, Span)>,
    /// Names that blocks have defined so far, with what they stood for before.
    inner: Vec<(&'s str, Option<(Meaning, Span)>)>,
    /// Names of what was passed over in the text: nothing is known of them.
    lost: &'l HashSet<&'s str>,
    /// What each state holds, and whether it was written.
    current: Vec<(ValueId, bool)>,
    /// How many blocks stand around.
    depth: usize,
    checked: &'l mut Checked,
}

impl<'l, 's> Lowering<'l, 's> {
    fn function(f: &'l Func<'s>, lost: &'l HashSet<&'s str>, checked: &'l mut Checked) -> Function {
        let opset = opset(f.opset, &mut checked.report);
        let (names, current) =
            (HashMap::with_capacity_and_hasher(f.block.statements.len(), RandomState::default()), Vec::new());
        let function = Function::empty(f.name.text, opset);
        let mut this = Lowering { f: function, names, inner: Vec::new(), lost, current, depth: 0, checked };
        for param in &f.params {
            let (ty, is_state) = match &param.ty {
                Type::State(inner) => (tensor_type(inner), true),
                ty => (tensor_type(ty), false),
            };
            let meaning = match ty {
                Some(ty) => {
                    let id = this.f.add_value(param.name.text, ty);
                    this.f.inputs.push(id);
                    match is_state {
                        true => this.state(param.name.text, id),
                        false => Meaning::Value(id),
                    }
                }
                None => Meaning::Opaque,
            };
            this.define(param.name, meaning);
        }
        this.f.ops = this.statements(&f.block);
        if f.block.results.is_empty() {
            this.refuse("no-output", format!("function `{}` returns nothing", f.name), f.name);
        }
        for &name in &f.block.results {
            if let Some(Meaning::Value(id)) = this.resolve(name) {
                this.f.outputs.push(id);
            }
        }
        for (state, (output, written)) in this.f.states.iter_mut().zip(&this.current) {
            state.output = *output;
            if *written {
                this.f.outputs.push(*output);
            }
        }
        this.f
    }

    fn state(&mut self, name: &str, id: ValueId) -> Meaning {
        self.f.states.push(State { name: name.to_owned(), input: id, output: id });
        self.current.push((id, false));
        Meaning::State(self.current.len() - 1)
    }

    fn refuse(&mut self, code: &'static str, text: String, name: Name<'_>) {
        self.checked.report.push(Diagnostic::new(code, text, Place::Text(name.span.range())));
    }

    fn define(&mut self, name: Name<'s>, meaning: Meaning) {
        let before = self.names.insert(name.text, (meaning, name.span));
        if let Some((_, first)) = &before {
            let text = format!("`{name}` is defined more than once");
            let twice = Diagnostic::new("duplicate-name", text, Place::Text(name.span.range()));
            self.checked.report.push(twice.label(Place::Text(first.range()), "first defined here"));
        }
        if self.depth > 0 {
            self.inner.push((name.text, before));
        }
    }

    /// What `name` stands for; `None`, with a mistake if it is one, if that is not known.
    fn resolve(&mut self, name: Name<'s>) -> Option<Meaning> {
        let found = self.names.get(name.text).map(|(meaning, _)| *meaning);
        if found.is_none() && !self.lost.contains(name.text) {
            let text = format!("`{name}` is not defined before its use");
            // Looking for what was meant takes time; a few hints are enough.
            let few = self.checked.report.diagnostics.len() < HINTS;
            let near = few.then(|| nearest(name.text, self.names.keys().copied())).flatten();
            let mut unknown = Diagnostic::new("undefined", text, Place::Text(name.span.range()));
            unknown.help = near.map(|near| format!("did you mean `{near}`?"));
            self.checked.report.push(unknown);
        }
        found
    }

    fn statements(&mut self, block: &'l Block<'s>) -> Vec<Operation> {
        let mut ops = Vec::with_capacity(block.statements.len());
        for statement in &block.statements {
            let operation = self.statement(statement, &mut ops);
            // Only now, so that an operation does not see its own results; and always, so that one mistake does not
            // make every use of the results another.
            let results = self.outputs(statement, operation.is_none());
            if let Some(mut operation) = operation {
                operation.results = results;
                ops.push(operation);
            }
        }
        ops
    }

    /// Defines what `statement` gives; without an operation behind them, as parameters of the function.
    fn outputs(&mut self, statement: &'l Statement<'s>, free: bool) -> Vec<ValueId> {
        let mut results = Vec::with_capacity(statement.outputs.len());
        for Param { ty, name, .. } in &statement.outputs {
            let meaning = match tensor_type(ty) {
                Some(ty) => {
                    let id = self.f.add_value(name.text, ty);
                    results.push(id);
                    Meaning::Value(id)
                }
                None => Meaning::Opaque,
            };
            self.define(*name, meaning);
        }
        if free && self.depth == 0 {
            self.f.inputs.extend(&results);
        }
        results
    }

    /// The operation of `statement`, without its results; `None` if there is none in the table, or no sense in it.
    fn statement(&mut self, statement: &'l Statement<'s>, ops: &mut Vec<Operation>) -> Option<Operation> {
        let opset = match statement.opset {
            Some(name) => opset(name, &mut self.checked.report),
            None => self.f.opset,
        };
        let before = self.checked.report.diagnostics.len();
        let Some(op) = Op::find_in(statement.op.text, opset) else {
            self.unknown(statement);
            return None;
        };
        // `name` is kept elsewhere.
        let attrs = statement.attrs.iter().filter(|a| a.name.text != "name").count();
        let args = Vec::with_capacity(statement.args.len() + attrs);
        let mut operation = Operation::new(op, args, Vec::new());
        operation.place = Place::Text(statement.op.span.range());
        let (mut complete, mut opaque) = (true, None);
        if statement.outputs.iter().any(|p| !matches!(p.ty, Type::Tensor { .. })) {
            opaque = Some("a result is no tensor");
        }
        let mut target = None;
        for arg in &statement.args {
            let value = match &arg.value {
                tree::ArgValue::One(item) => self.item(item, &mut opaque, &mut target).map(|v| match v {
                    Given::Value(id) => ArgValue::Value(id),
                    Given::Literal(l) => ArgValue::Literal(l),
                }),
                tree::ArgValue::List(items) => {
                    let ids: Vec<Option<ValueId>> = items
                        .iter()
                        .map(|item| match self.item(item, &mut opaque, &mut target)? {
                            Given::Value(id) => Some(id),
                            Given::Literal(l) => Some(self.constant(l, ops)),
                        })
                        .collect();
                    ids.into_iter().collect::<Option<Vec<_>>>().map(ArgValue::List)
                }
            };
            match op.param(arg.name.text) {
                None => self.unknown_parameter(op, arg.name, "parameter"),
                Some(param) if op.params[param].role == Role::Attribute => {
                    let text = format!("`{}` of `{}` stands in the square brackets", arg.name, op.name());
                    self.refuse("misplaced-parameter", text, arg.name);
                }
                Some(param) => match value {
                    Some(value) => operation.args.push(Arg { param, value }),
                    None => complete = false,
                },
            }
        }
        for attr in &statement.attrs {
            self.attribute(attr, statement, &mut operation);
        }
        for nested in &statement.blocks {
            let block = self.block(nested, &mut opaque);
            operation.blocks.push(block);
        }
        if !statement.blocks.is_empty() && !matches!(op.name(), "cond" | "while_loop") {
            self.refuse("blocks", format!("`{}` takes no blocks", op.name()), statement.op);
            return None;
        }
        if let Some(reason) = opaque {
            self.opaque(statement, reason);
            return None;
        }
        operation.args.sort_by_key(|a| a.param);
        // What is wrong already is not checked again.
        let new = &self.checked.report.diagnostics[before..];
        if complete && !new.iter().any(|d| d.severity == Severity::Error) {
            self.states(operation, target)
        } else {
            None
        }
    }

    /// Writing a state changes what it holds; what is written is checked like any other operation.
    fn states(&mut self, operation: Operation, target: Option<usize>) -> Option<Operation> {
        let written = match operation.op.name() {
            "write_state" => operation.arg_value("data"),
            "coreml_update_state" => operation.arg_value("value"),
            _ => None,
        };
        if let (Some(state), Some(value)) = (target, written) {
            self.current[state] = (value, true);
        }
        Some(operation)
    }

    fn item(
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

    /// A constant for a literal that stands in a list.
    fn constant(&mut self, l: ir::Literal, ops: &mut Vec<Operation>) -> ValueId {
        // Only a machine would give a value such a name.
        let name = format!("_literal_{}", self.f.values.len());
        let id = self.f.add_value(name, l.ty.clone());
        ops.push(Operation::constant(l, id));
        id
    }

    /// `name = string("…")` or `val = fp16(…)`.
    fn attribute(
        &mut self,
        attr: &'l tree::Attr<'s>,
        statement: &'l Statement<'s>,
        operation: &mut Operation,
    ) {
        let op = operation.op;
        let name = attr.name;
        if name.text == "name" {
            match attr.literal.value.as_str() {
                // A label that repeats the name of the first result says nothing.
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
                let text = format!("`{name}` of `{}` stands in the round brackets", op.name());
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

    fn unknown_parameter(&mut self, op: Op, name: Name<'s>, kind: &str) {
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

    fn block(&mut self, nested: &'l tree::Nested<'s>, opaque: &mut Option<&'static str>) -> ir::Block {
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

    fn unknown(&mut self, statement: &'l Statement<'s>) {
        for arg in &statement.args {
            for item in arg.value.items() {
                if let Item::Name(name) = item {
                    self.resolve(*name);
                }
            }
        }
        if known::OPERATIONS.contains(&statement.op.text) {
            self.opaque(statement, "we have no meaning for it");
            return;
        }
        let text = format!("there is no operation `{}`", statement.op);
        let mut unknown = Diagnostic::new("unknown-op", text, Place::Text(statement.op.span.range()));
        let few = self.checked.report.diagnostics.len() < HINTS;
        let near = few.then(|| nearest(statement.op.text, Op::all().map(Op::name))).flatten();
        unknown.help = near.map(|near| format!("did you mean `{near}`?"));
        self.checked.report.push(unknown);
    }

    fn opaque(&mut self, statement: &'l Statement<'s>, reason: &'static str) {
        let op = statement.op;
        let text = format!("`{op}` is taken as it is written, and cannot be run: {reason}");
        let note = Diagnostic::new("opaque-op", text, Place::Text(op.span.range()));
        self.checked.report.push(note.severity(Severity::Note));
        let range = op.span.range();
        self.checked.opaque.push(Opaque { op: op.text.to_owned(), range, reason });
    }
}

/// What is given for an argument.
enum Given {
    Value(ValueId),
    Literal(ir::Literal),
}

/// The opset called `name`; the newest one, with a mistake or a warning, if it is not known.
fn opset(name: Name<'_>, report: &mut Report) -> Opset {
    if let Some(opset) = Opset::from_name(name.text) {
        return opset;
    }
    let place = Place::Text(name.span.range());
    if let Some(opset) = known::opset(name.text) {
        let text = format!("the opset `{name}` is taken as {opset}");
        report.push(Diagnostic::new("other-opset", text, place).severity(Severity::Warning));
        return opset;
    }
    let all = Opset::ALL.map(Opset::name).join(", ");
    let text = format!("there is no opset `{name}`");
    report.push(Diagnostic::new("unknown-opset", text, place).help(format!("use one of {all}")));
    Opset::NEWEST
}

/// The type of a tensor or scalar; `None` for any other.
fn tensor_type(ty: &Type<'_>) -> Option<TensorType> {
    let Type::Tensor { dtype, dims } = ty else { return None };
    let size = |d: &Option<usize>| d.unwrap_or(TensorType::UNKNOWN);
    Some(TensorType::new(*dtype, dims.iter().map(size).collect::<Vec<_>>()))
}

/// The literal of a tensor or scalar; `None` for any other.
fn literal(l: &tree::Literal<'_>) -> Option<ir::Literal> {
    let Type::Tensor { dtype, .. } = l.ty else { return None };
    let data = match &l.value {
        Value::Tensor { data, shape } => {
            let ty = TensorType::new(dtype, shape.clone());
            return Some(ir::Literal { ty, data: LiteralData::Inline(std::sync::Arc::clone(data)) });
        }
        Value::Blob { path, offset } => {
            LiteralData::Blob { path: path.clone().into_owned(), offset: *offset }
        }
        _ => return None,
    };
    Some(ir::Literal { ty: tensor_type(&l.ty)?, data })
}

/// After so many mistakes nobody is told what was meant.
const HINTS: usize = 20;

/// The word that differs least from `word`, if by a few letters.
fn nearest<'w>(word: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    const CLOSE: usize = 3;
    if word.len() > 40 {
        return None;
    }
    let near = words.filter(|w| w.len().abs_diff(word.len()) < CLOSE).take(10_000);
    let distances = near.map(|w| (distance(word, w), w)).filter(|(d, w)| *d < CLOSE && *d * 2 < w.len());
    distances.min().map(|(_, w)| w)
}

/// How many letters must be added, dropped or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.bytes().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, &y) in b.iter().enumerate() {
            let here = (before + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            before = std::mem::replace(&mut row[j + 1], here);
        }
    }
    row[b.len()]
}
