//! The verifier: whether a program means anything.

use crate::diag::{Diagnostic, Place, Report};
use crate::ir::{ArgValue, Function, Literal, Operation, Program};
use crate::op::{Absent, Call, Role};
use std::collections::HashMap;
use std::ops::Deref;

/// A program that the verifier has accepted. Nothing else makes one, so what takes it never checks again.
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

/// Checks every function of `program`.
///
/// # Errors
/// All that is wrong with it.
pub fn verify(program: Program) -> Result<Verified<Program>, Report> {
    let mut report = Report::default();
    if program.functions.is_empty() {
        let text = "the program has no function";
        report.diagnostics.push(Diagnostic::new("no-function", text, Place::Nowhere));
    }
    for function in &program.functions {
        Checker { function, defined: vec![false; function.values.len()], report: &mut report }.check();
    }
    if report.diagnostics.is_empty() { Ok(Verified(program)) } else { Err(report) }
}

/// Whether MIL text can hold `name`.
fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

struct Checker<'a> {
    function: &'a Function,
    defined: Vec<bool>,
    report: &'a mut Report,
}

impl Checker<'_> {
    fn check(&mut self) {
        let f = self.function;
        for &id in &f.inputs {
            self.define(id, &Place::Nowhere);
        }
        let literals = f.literals();
        for operation in &f.ops {
            if self.arguments(operation, &literals) {
                self.types(operation, &literals);
            }
            for &r in &operation.results {
                self.define(r, &operation.place);
            }
        }
        if f.outputs.is_empty() {
            self.refuse("no-output", format!("function `{}` returns nothing", f.name), &Place::Nowhere);
        }
        for &id in &f.outputs {
            if !self.defined.get(id.index()).copied().unwrap_or(false) {
                let name = f.values.get(id.index()).map_or("?", |v| v.name.as_str());
                self.refuse("undefined", format!("output `{name}` is not defined"), &Place::Nowhere);
            }
        }
        let names = std::iter::once(&f.name).chain(f.values.iter().map(|v| &v.name));
        for name in names.filter(|n| !is_identifier(n)) {
            let text = format!("`{name}` cannot be written as a name: it takes letters, digits and `_`");
            self.refuse("bad-name", text, &Place::Nowhere);
        }
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for value in &f.values {
            *seen.entry(&value.name).or_default() += 1;
        }
        let mut twice: Vec<&str> = seen.into_iter().filter(|&(_, n)| n > 1).map(|(name, _)| name).collect();
        twice.sort_unstable();
        for name in twice {
            self.refuse("duplicate-name", format!("`{name}` is defined more than once"), &Place::Nowhere);
        }
    }

    fn refuse(&mut self, code: &'static str, message: String, place: &Place) {
        self.report.diagnostics.push(Diagnostic::new(code, message, place.clone()));
    }

    fn define(&mut self, id: crate::ValueId, place: &Place) {
        match self.defined.get_mut(id.index()) {
            Some(d) if !*d => *d = true,
            Some(_) => {
                let name = self.function.value(id).name.clone();
                self.refuse("duplicate-name", format!("`{name}` is defined more than once"), place);
            }
            None => self.refuse("undefined", format!("value {} does not exist", id.0), place),
        }
    }

    /// Whether every argument is there, defined and of a dtype that its parameter takes.
    fn arguments(&mut self, operation: &Operation, literals: &[Option<&Literal>]) -> bool {
        let before = self.report.diagnostics.len();
        let (op, place) = (operation.op, &operation.place);
        let name = op.name();
        if op.since > self.function.opset {
            let text = format!("`{name}` needs {}, the function is {}", op.since, self.function.opset);
            self.refuse("opset", text, place);
        }
        let mut given = vec![0; op.params.len()];
        for arg in &operation.args {
            let Some(param) = op.params.get(arg.param) else {
                self.refuse("unknown-parameter", format!("`{name}` has no parameter {}", arg.param), place);
                continue;
            };
            given[arg.param] += 1;
            if param.since > self.function.opset {
                let text = format!(
                    "`{}` of `{name}` needs {}, the function is {}",
                    param.name, param.since, self.function.opset
                );
                self.refuse("opset", text, place);
            }
            let one;
            let values: &[crate::ValueId] = match (&arg.value, param.role) {
                (ArgValue::Value(v), Role::Tensor | Role::Const | Role::Known) => {
                    one = [*v];
                    &one
                }
                (ArgValue::Value(v), Role::Variadic) => {
                    one = [*v];
                    &one
                }
                (ArgValue::List(vs), Role::Variadic) => vs,
                (ArgValue::Literal(l), role) => {
                    if matches!(role, Role::Const | Role::Known) && l.data().is_none() {
                        let text =
                            format!("`{}` of `{name}` must stand in the program, not in a blob", param.name);
                        self.refuse("must-be-inline", text, place);
                    }
                    self.literal(l, param.dtypes, &format!("`{}` of `{name}`", param.name), place);
                    &[]
                }
                (ArgValue::List(_), _) => {
                    let text = format!("`{}` of `{name}` takes one value, a list is given", param.name);
                    self.refuse("one-value", text, place);
                    &[]
                }
                (ArgValue::Value(_), Role::Attribute) => {
                    let text = format!("`{}` of `{name}` must be a literal attribute", param.name);
                    self.refuse("must-be-literal", text, place);
                    &[]
                }
            };
            for &v in values {
                if !self.defined.get(v.index()).copied().unwrap_or(false) {
                    let used = self.function.values.get(v.index()).map_or("?", |v| v.name.as_str());
                    self.refuse(
                        "undefined",
                        format!("`{used}` is used by `{name}` before it is defined"),
                        place,
                    );
                    continue;
                }
                let ty = self.function.ty(v);
                if !param.dtypes.contains(&ty.dtype) {
                    let takes = param.dtypes.iter().map(|d| d.name()).collect::<Vec<_>>().join(", ");
                    let text = format!("`{}` of `{name}` is {}, it takes {takes}", param.name, ty.dtype);
                    self.refuse("dtype", text, place);
                }
                if matches!(param.role, Role::Const | Role::Known)
                    && literals[v.index()].and_then(Literal::data).is_none()
                {
                    let used = &self.function.value(v).name;
                    let text = format!("`{}` of `{name}` must be a constant, `{used}` is not", param.name);
                    self.refuse("must-be-const", text, place);
                }
            }
        }
        for (param, n) in op.params.iter().zip(given) {
            if n == 0 && param.absent == Absent::Refused {
                self.refuse("missing-parameter", format!("`{name}` needs `{}`", param.name), place);
            }
            if n > 1 {
                self.refuse("repeated-parameter", format!("`{name}` has `{}` {n} times", param.name), place);
            }
        }
        self.report.diagnostics.len() == before
    }

    fn literal(&mut self, l: &Literal, dtypes: &[crate::DType], what: &str, place: &Place) {
        if !dtypes.contains(&l.ty.dtype) {
            self.refuse("dtype", format!("{what} does not take {}", l.ty.dtype), place);
        }
        if let Some(data) = l.data() {
            if data.len() != l.ty.elements() {
                let text =
                    format!("{what}: {} has {} elements, {} are written", l.ty, l.ty.elements(), data.len());
                self.refuse("literal-elements", text, place);
            } else if !data.fits(l.ty.dtype) {
                self.refuse("literal-range", format!("{what}: an element is not a {}", l.ty.dtype), place);
            }
        }
    }

    fn types(&mut self, operation: &Operation, literals: &[Option<&Literal>]) {
        let call = Call::new(self.function, literals, operation);
        match (operation.op.infer)(&call) {
            Ok(types) => {
                if types.len() != operation.results.len() {
                    let text = format!(
                        "`{}` has {} results, {} are written",
                        operation.op.name(),
                        types.len(),
                        operation.results.len()
                    );
                    self.refuse("result-count", text, &operation.place);
                    return;
                }
                for (ty, &r) in types.iter().zip(&operation.results) {
                    let value = self.function.value(r);
                    if *ty != value.ty {
                        let text = format!(
                            "`{}` is written as {}, but `{}` gives {ty}",
                            value.name,
                            value.ty,
                            operation.op.name()
                        );
                        self.refuse("result-type", text, &operation.place);
                    }
                }
            }
            Err(reject) => {
                let labels = reject
                    .labels
                    .iter()
                    .map(|(param, text)| {
                        let what = match operation.arg_value(param) {
                            Some(v) => format!("`{param} = {}`: {text}", self.function.value(v).name),
                            None => format!("`{param}`: {text}"),
                        };
                        (Place::Nowhere, what)
                    })
                    .collect();
                self.report.diagnostics.push(Diagnostic {
                    code: reject.code,
                    message: reject.message,
                    place: operation.place.clone(),
                    labels,
                    help: reject.help,
                });
            }
        }
    }
}
