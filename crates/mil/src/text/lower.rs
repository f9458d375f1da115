//! A tree as a program: words become operations, parameters and values.

mod arguments;
mod words;

use self::words::{nearest, opset, tensor_type};
use super::known;
use super::parse::{MISTAKES, Read};
use super::tree::{self, BlockNode, Func, Item, Name, Param, Span, Statement, Tree, Type, Value};
use crate::diag::{Diagnostic, Place, Report, Severity};
use crate::ir::{Arg, ArgValue, Function, Literal, Operation, Program, State, ValueId};
use crate::op::{Op, Role};
use crate::ty::DType;
use crate::verify::{Names, Sizes, examine_with};
use foldhash::fast::RandomState;
use foldhash::{HashMap, HashSet};

/// The result of checking a text.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The program. States are parameters and results; where [`Checked::opaque`] is not empty, the results of those
    /// operations are parameters too, so it does not run. It is meaningless if the report has errors.
    pub program: Program,
    /// Operations that the table lacks: typed by their declarations, not executable.
    pub opaque: Vec<Opaque>,
    /// All diagnostics, in text order.
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

/// Resolves a parsed text and reports all errors.
pub fn check(read: &Read<'_>) -> Checked {
    let mut checked = lower(read);
    let found = examine_with(&checked.program, Sizes::Any, Names::Read);
    let report = &mut checked.report;
    // These may follow from earlier mistakes: the missing part may be what could not be parsed.
    let said = |d: &Diagnostic| matches!(d.code, "no-output" | "no-function" | "duplicate-name");
    report.diagnostics.extend(found.diagnostics.into_iter().filter(|d| !said(d)));
    in_order(report);
    // Only for those that are kept: finding a place takes time.
    super::places::resolve(report, &read.tree);
    checked
}

/// Sorts diagnostics by place.
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

/// A resolved argument.
enum Given {
    Value(ValueId),
    Literal(Literal),
}

/// The value of a name.
#[derive(Clone, Copy, Debug)]
enum Meaning {
    Value(ValueId),
    /// A state, by position.
    State(usize),
    /// Something that no value of a program can be.
    Opaque,
}

/// After this many mistakes no spelling is suggested.
const HINTS: usize = 20;

struct Lowering<'l, 's> {
    f: Function,
    names: HashMap<&'s str, (Meaning, Span)>,
    /// Names defined in blocks so far, with their previous meanings.
    inner: Vec<(&'s str, Option<(Meaning, Span)>)>,
    /// Names defined in skipped text: their types are unknown.
    lost: &'l HashSet<&'s str>,
    /// The current value of each state, and whether it was written.
    current: Vec<(ValueId, bool)>,
    /// The nesting depth of blocks.
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

    /// The meaning of `name`; `None` if it is unknown, with an error if it is undefined.
    fn resolve(&mut self, name: Name<'s>) -> Option<Meaning> {
        let found = self.names.get(name.text).map(|(meaning, _)| *meaning);
        if found.is_none() && !self.lost.contains(name.text) {
            let text = format!("`{name}` is not defined before its use");
            // Searching for similar names takes time; a few hints suffice.
            let few = self.checked.report.diagnostics.len() < HINTS;
            let near = few.then(|| nearest(name.text, self.names.keys().copied())).flatten();
            let mut unknown = Diagnostic::new("undefined", text, Place::Text(name.span.range()));
            unknown.help = near.map(|near| format!("did you mean `{near}`?"));
            self.checked.report.push(unknown);
        }
        found
    }

    fn statements(&mut self, block: &'l BlockNode<'s>) -> Vec<Operation> {
        let mut ops = Vec::with_capacity(block.statements.len());
        for statement in &block.statements {
            let operation = self.statement(statement, &mut ops);
            // Only now, so that an operation cannot use its own results; and always, so that one mistake does not
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

    /// The operation of `statement`, without its results; `None` if the table lacks it, or it is invalid.
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
                    let text = format!("`{}` of `{}` belongs in the square brackets", arg.name, op.name());
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
        // Invalid operations are not checked again.
        let new = &self.checked.report.diagnostics[before..];
        if complete && !new.iter().any(|d| d.severity == Severity::Error) {
            self.states(operation, target)
        } else {
            None
        }
    }

    /// Updates the value of a state; the written value is checked like any other operand.
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

    fn unknown(&mut self, statement: &'l Statement<'s>) {
        for arg in &statement.args {
            for item in arg.value.items() {
                if let Item::Name(name) = item {
                    self.resolve(*name);
                }
            }
        }
        if known::OPERATIONS.contains(&statement.op.text) {
            self.opaque(statement, "it cannot be evaluated");
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
        let text = format!("`{op}` keeps its declared type and cannot run: {reason}");
        let note = Diagnostic::new("opaque-op", text, Place::Text(op.span.range()));
        self.checked.report.push(note.severity(Severity::Note));
        let range = op.span.range();
        self.checked.opaque.push(Opaque { op: op.text.to_owned(), range, reason });
    }
}
