//! The verifier: checks names, types and attributes of a program.

use crate::diag::{Diagnostic, Place, Report};
use crate::ir::{ArgValue, Block, Function, Literal, Operation, Program, ValueId};
use crate::op::{Absent, Call, Role};
use crate::ty::TensorType;
use foldhash::HashSet;
use foldhash::fast::RandomState;
use std::ops::Deref;

/// A program that the verifier has accepted. Only the verifier creates it, so its users need no checks.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified<P>(P);

impl<P> Verified<P> {
    /// The program, to be changed and verified anew.
    pub fn into_inner(self) -> P {
        self.0
    }
}

impl Verified<Program> {
    /// The function that runs unless another is named. A verified program has one.
    pub fn entry(&self) -> &Function {
        &self.0.functions[self.0.functions.iter().position(|f| f.name == "main").unwrap_or(0)]
    }
}

impl<P> Deref for Verified<P> {
    type Target = P;
    fn deref(&self) -> &P {
        &self.0
    }
}

/// Checks every function of `program`, whose sizes must all be known.
///
/// # Errors
/// All that is wrong with it.
pub fn verify(program: Program) -> Result<Verified<Program>, Report> {
    let report = examine(&program, Sizes::Known);
    if report.diagnostics.is_empty() { Ok(Verified(program)) } else { Err(report) }
}

/// Which sizes a program may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// Sizes must be known: for engines.
    Known,
    /// Sizes may be unknown, and elements that determine shapes may be computed. Rules that need them are not
    /// applied.
    Any,
}

/// All that is wrong with `program`.
pub fn examine(program: &Program, sizes: Sizes) -> Report {
    examine_with(program, sizes, Names::Any)
}

/// The origin of a program's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Nothing.
    Any,
    /// Words of a text; the parser has reported duplicates.
    Read,
}

pub(crate) fn examine_with(program: &Program, sizes: Sizes, names: Names) -> Report {
    let mut report = Report::default();
    if program.functions.is_empty() {
        let text = "the program has no function";
        report.push(Diagnostic::new("no-function", text, Place::Nowhere));
    }
    for function in &program.functions {
        let checker = Checker {
            function,
            literals: function.literals(),
            defined: vec![false; function.values.len()],
            names: match names {
                Names::Any => {
                    let room = function.values.len();
                    Some(HashSet::with_capacity_and_hasher(room, RandomState::default()))
                }
                Names::Read => None,
            },
            sizes,
            report: &mut report,
        };
        checker.check();
    }
    report
}

/// Whether MIL text can hold `name`.
fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

struct Checker<'a> {
    function: &'a Function,
    literals: Vec<Option<&'a Literal>>,
    defined: Vec<bool>,
    /// Names that are visible; `None` if names need not be checked.
    names: Option<HashSet<&'a str>>,
    sizes: Sizes,
    report: &'a mut Report,
}

impl<'a> Checker<'a> {
    fn check(mut self) {
        let f = self.function;
        if !is_identifier(&f.name) {
            self.bad_name(&f.name, &Place::Nowhere);
        }
        f.inputs.iter().for_each(|&id| self.define(id, &Place::Nowhere));
        f.ops.iter().for_each(|op| self.operation(op));
        if f.outputs.is_empty() {
            self.refuse("no-output", format!("function `{}` returns nothing", f.name), &Place::Nowhere);
        }
        self.results(&f.outputs, &Place::Nowhere);
        for state in &f.states {
            if !self.is_defined(state.input) || !self.is_defined(state.output) {
                self.refuse("undefined", format!("state `{}` has no value", state.name), &Place::Nowhere);
            }
        }
    }

    fn operation(&mut self, operation: &'a Operation) {
        let before = self.report.diagnostics.len();
        self.arguments(operation);
        for block in &operation.blocks {
            self.block(block, &operation.place);
        }
        if self.report.diagnostics.len() == before {
            self.types(operation);
        }
        for &r in &operation.results {
            self.define(r, &operation.place);
        }
    }

    fn block(&mut self, block: &'a Block, place: &Place) {
        block.inputs.iter().for_each(|&id| self.define(id, place));
        block.ops.iter().for_each(|op| self.operation(op));
        self.results(&block.outputs, place);
        let results = block.ops.iter().flat_map(|op| &op.results);
        for &id in block.inputs.iter().chain(results) {
            if let Some(d) = self.defined.get_mut(id.index()) {
                *d = false;
                if let Some(names) = &mut self.names {
                    names.remove(self.function.value(id).name.as_str());
                }
            }
        }
    }

    fn results(&mut self, results: &[ValueId], place: &Place) {
        for &id in results {
            if !self.is_defined(id) {
                let name = self.function.values.get(id.index()).map_or("?", |v| v.name.as_str());
                self.refuse("undefined", format!("output `{name}` is not defined"), place);
            }
        }
    }

    fn is_defined(&self, id: ValueId) -> bool {
        self.defined.get(id.index()).copied().unwrap_or(false)
    }

    fn refuse(&mut self, code: &'static str, message: String, place: &Place) {
        self.report.push(Diagnostic::new(code, message, place.clone()));
    }

    /// Refuses the argument of parameter `param`.
    fn refuse_arg(
        &mut self,
        code: &'static str,
        message: String,
        place: &Place,
        param: &'static str,
        label: &str,
    ) {
        let refusal = Diagnostic::new(code, message, place.clone());
        self.report.push(refusal.label(Place::Param(param), label));
    }

    fn bad_name(&mut self, name: &str, place: &Place) {
        let text = format!("`{name}` is not a valid name: use letters, digits and `_`");
        self.refuse("bad-name", text, place);
    }

    fn define(&mut self, id: ValueId, place: &Place) {
        let function = self.function;
        let Some(defined) = self.defined.get_mut(id.index()) else {
            self.refuse("undefined", format!("value {} does not exist", id.0), place);
            return;
        };
        let twice = std::mem::replace(defined, true);
        let value = function.value(id);
        if let Some(names) = &mut self.names {
            if twice || !names.insert(&value.name) {
                self.refuse("duplicate-name", format!("`{}` is defined more than once", value.name), place);
            }
            if !is_identifier(&value.name) {
                self.bad_name(&value.name, place);
            }
        }
        if value.ty.rank() > TensorType::MAX_RANK {
            let (name, most, rank) = (&value.name, TensorType::MAX_RANK, value.ty.rank());
            let text = format!("`{name}` has {rank} axes, a tensor has at most {most}");
            self.refuse("too-many-axes", text, place);
        }
        if self.sizes == Sizes::Known && !value.ty.is_known() {
            let text = format!("`{}` is {}: its size is unknown", value.name, value.ty);
            let unknown = Diagnostic::new("unknown-size", text, place.clone());
            self.report.push(unknown.help("pass the shapes of the inputs, or write the size"));
        }
    }

    /// Checks that every argument is present, defined and of an accepted dtype.
    fn arguments(&mut self, operation: &'a Operation) {
        let (op, place) = (operation.op, &operation.place);
        let name = op.name();
        if op.since > self.function.opset {
            let text = format!("`{name}` needs {}, the function is {}", op.since, self.function.opset);
            self.refuse("opset", text, place);
        }
        let mut given: u64 = 0;
        for arg in &operation.args {
            let Some(param) = op.params.get(arg.param) else {
                self.refuse("unknown-parameter", format!("`{name}` has no parameter {}", arg.param), place);
                continue;
            };
            // No entry has 64 parameters or more: a test of `ops` checks this.
            if given >> (arg.param % 64) & 1 == 1 {
                let text = format!("`{name}` has `{}` more than once", param.name);
                self.refuse_arg("repeated-parameter", text, place, param.name, "once more");
            }
            given |= 1 << (arg.param % 64);
            if param.since > self.function.opset {
                let text = format!(
                    "`{}` of `{name}` needs {}, the function is {}",
                    param.name, param.since, self.function.opset
                );
                self.refuse_arg("opset", text, place, param.name, "not in this opset");
            }
            match (&arg.value, param.role) {
                (ArgValue::Value(_), Role::Attribute) => {
                    let text = format!("`{}` of `{name}` must be a literal attribute", param.name);
                    self.refuse_arg("must-be-literal", text, place, param.name, "a value");
                }
                (ArgValue::Value(v), _) => self.value(*v, operation, arg.param),
                (ArgValue::List(vs), Role::Variadic) => {
                    vs.iter().for_each(|&v| self.value(v, operation, arg.param));
                }
                (ArgValue::Literal(l), role) => {
                    if matches!(role, Role::Const | Role::Known | Role::Bound) && l.data().is_none() {
                        let text =
                            format!("`{}` of `{name}` must be inline, not in a weight file", param.name);
                        self.refuse_arg("must-be-inline", text, place, param.name, "in a weight file");
                    }
                    self.literal(l, operation, arg.param);
                }
                (ArgValue::List(_), _) => {
                    let text = format!("`{}` of `{name}` takes one value, but got a list", param.name);
                    self.refuse_arg("one-value", text, place, param.name, "a list");
                }
            }
        }
        for (i, param) in op.params.iter().enumerate() {
            if given >> i & 1 == 0 && param.absent == Absent::Refused {
                self.refuse("missing-parameter", format!("`{name}` needs `{}`", param.name), place);
            }
        }
    }

    /// Checks one value of parameter `at`.
    fn value(&mut self, v: ValueId, operation: &'a Operation, at: usize) {
        let (param, name, place) = (&operation.op.params[at], operation.op.name(), &operation.place);
        let function = self.function;
        if !self.is_defined(v) {
            let used = function.values.get(v.index()).map_or("?", |v| v.name.as_str());
            let text = format!("`{used}` is used by `{name}` before it is defined");
            self.refuse_arg("undefined", text, place, param.name, "not defined yet");
            return;
        }
        let ty = function.ty(v);
        if !param.dtypes.contains(&ty.dtype) {
            let takes = param.dtypes.iter().map(|d| d.name()).collect::<Vec<_>>().join(", ");
            let text = format!("`{}` of `{name}` is {}, but must be {takes}", param.name, ty.dtype);
            self.refuse_arg("dtype", text, place, param.name, ty.dtype.name());
        }
        let needs_data = match param.role {
            Role::Const => true,
            Role::Known => self.sizes == Sizes::Known,
            _ => false,
        };
        if needs_data && self.literals[v.index()].and_then(Literal::data).is_none() {
            let used = &function.value(v).name;
            let text = format!("`{}` of `{name}` must be a constant, `{used}` is not", param.name);
            let label = match self.literals[v.index()] {
                Some(_) => "its elements are in a weight file",
                None => "computed",
            };
            self.refuse_arg("must-be-const", text, place, param.name, label);
        }
    }

    fn literal(&mut self, l: &Literal, operation: &'a Operation, at: usize) {
        let (param, place) = (&operation.op.params[at], &operation.place);
        let what = || format!("`{}` of `{}`", param.name, operation.op.name());
        if !param.dtypes.contains(&l.ty.dtype) {
            let text = format!("{} does not take {}", what(), l.ty.dtype);
            self.refuse_arg("dtype", text, place, param.name, l.ty.dtype.name());
        }
        if let Some(data) = l.data() {
            if data.len() != l.ty.elements() {
                let (ty, want, got) = (&l.ty, l.ty.elements(), data.len());
                let text = format!("{}: {ty} has {want} elements, but {got} are written", what());
                self.refuse("literal-elements", text, place);
            } else if !data.fits(l.ty.dtype) {
                self.refuse(
                    "literal-range",
                    format!("{}: an element is not a {}", what(), l.ty.dtype),
                    place,
                );
            }
        }
    }

    /// Whether the type rule can be applied: all that it reads is known.
    fn is_decided(&self, operation: &Operation) -> bool {
        let known = |v: ValueId| self.function.ty(v).is_known();
        let blocks = operation.blocks.iter().flat_map(|b| b.inputs.iter().chain(&b.outputs));
        operation.uses().chain(blocks.copied()).all(known)
            && operation.args.iter().all(|arg| match (&arg.value, operation.op.params[arg.param].role) {
                (ArgValue::Value(v), Role::Known) => {
                    self.literals[v.index()].and_then(Literal::data).is_some()
                }
                _ => true,
            })
    }

    fn types(&mut self, operation: &'a Operation) {
        let op = operation.op;
        if op.name() == "const" {
            // The most common operation by far.
            if let (Some(l), [r]) = (operation.const_literal(), &operation.results[..]) {
                self.result(operation, 0, *r, &l.ty);
                return;
            }
        }
        if self.sizes == Sizes::Any && !self.is_decided(operation) {
            return;
        }
        let call = Call::new(self.function, &self.literals, operation);
        match (op.infer)(&call) {
            Ok(types) => {
                if types.len() != operation.results.len() {
                    let (want, got) = (types.len(), operation.results.len());
                    let text = format!("`{}` has {want} results, but {got} are written", op.name());
                    self.refuse("result-count", text, &operation.place);
                    return;
                }
                for (n, (ty, &r)) in types.iter().zip(&operation.results).enumerate() {
                    self.result(operation, n, r, ty);
                }
            }
            // The elements that determine it are computed at run time.
            Err(reject) if reject.code == "data-dependent" && self.sizes == Sizes::Any => {}
            Err(reject) => self.report.push(Diagnostic::refusal(reject, operation.place.clone())),
        }
    }

    fn result(&mut self, operation: &Operation, n: usize, r: ValueId, ty: &TensorType) {
        let Some(value) = self.function.values.get(r.index()) else { return };
        let same = match self.sizes {
            Sizes::Known => *ty == value.ty,
            Sizes::Any => value.ty.admits(ty),
        };
        if !same {
            let op = operation.op.name();
            let text = format!("`{}` is declared as {}, but `{op}` returns {ty}", value.name, value.ty);
            let refusal = Diagnostic::new("result-type", text, operation.place.clone());
            self.report.push(refusal.label(Place::Result(n), format!("write {ty}")));
        }
    }
}
