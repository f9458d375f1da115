//! How repairs read and write operations.

use super::ports::PortMap;
use super::rewritten::Rewritten;
use mil::build::{Input, Var};
use mil::ir::{Arg, LiteralData};
use mil::pass::{Rewrite, rewrite};
use mil::{
    ArgValue, Builder, DType, Data, Function, Literal, Operation, Program, Tensor, TensorType, ValueId,
};

/// Applies `rule` to the operations of `function`. It describes each change that it makes.
pub(super) fn each(
    function: &Function,
    mut rule: impl FnMut(&RewriteContext<'_, '_>, &mut Operation) -> Option<(Rewrite, String)>,
) -> Result<Option<Rewritten>, String> {
    let (literals, mut changes) = (function.literals(), Vec::new());
    let new = rewrite(function, |builder, operation| {
        match rule(&RewriteContext { function, literals: &literals, b: builder }, operation) {
            Some((step, words)) => {
                changes.push(words);
                step
            }
            None => Rewrite::Keep,
        }
    });
    let new = new.map_err(|report| format!("the repair is wrong: {report}"))?;
    Ok(new.map(|new| Rewritten { ports: PortMap::moved(function, &new), function: new, changes }))
}

/// The context of a rule: the original function, and the builder of the new one.
pub(super) struct RewriteContext<'a, 'f> {
    pub function: &'f Function,
    pub literals: &'a [Option<&'f Literal>],
    pub b: &'a Builder,
}

impl<'a> RewriteContext<'a, '_> {
    /// The value given for parameter `name`; literals become constants.
    pub fn arg(&self, operation: &Operation, name: &str) -> Option<Var<'a>> {
        match operation.arg(name)? {
            ArgValue::Value(v) => Some(self.b.var(*v)),
            ArgValue::Literal(l) => Some(self.b.shared(l.clone())),
            ArgValue::List(_) => None,
        }
    }

    /// The elements of parameter `name`, if they are inline.
    pub fn literal<'l>(&self, operation: &'l Operation, name: &str) -> Option<&'l Literal>
    where
        Self: 'l,
    {
        match operation.arg(name)? {
            ArgValue::Value(v) => self.literals[v.index()],
            ArgValue::Literal(l) => Some(l),
            ArgValue::List(_) => None,
        }
    }

    /// Adds the missing argument `name` to `operation`; whether it was missing, and its opset has the parameter.
    pub fn give(&self, operation: &mut Operation, name: &str, literal: Literal) -> bool {
        let Some(param) = operation.op.param(name) else { return false };
        if operation.arg(name).is_some() || operation.op.params[param].since > self.function.opset {
            return false;
        }
        let value = ArgValue::Value(self.b.shared(literal).id());
        operation.args.push(Arg { param, value });
        true
    }

    /// The name of the first result of `operation`.
    pub fn name(&self, operation: &Operation) -> &str {
        operation.results.first().map_or("?", |&r| self.function.value(r).name.as_str())
    }

    /// Operation `op` on two values.
    pub fn binary(&self, op: &str, x: Var<'a>, y: impl Into<Input<'a>>) -> Var<'a> {
        self.b.op(op, [("x", x.into()), ("y", y.into())])
    }
}

/// A float of type `dtype`, not rounded to it.
pub(super) fn float(dtype: DType, x: f64) -> Literal {
    Literal::inline(Tensor { ty: TensorType::scalar(dtype), data: Data::Float(vec![x]) })
}

/// An int32.
pub(super) fn int(x: i64) -> Literal {
    Literal::inline(Tensor { ty: TensorType::scalar(DType::I32), data: Data::Int(vec![x]) })
}

/// A list of int32.
pub(super) fn ints(x: Vec<i64>) -> Literal {
    Literal::inline(Tensor { ty: TensorType::new(DType::I32, [x.len()]), data: Data::Int(x) })
}

/// A bool.
pub(super) fn boolean(x: bool) -> Literal {
    Literal::inline(Tensor { ty: TensorType::scalar(DType::Bool), data: Data::Bool(vec![x]) })
}

/// A string.
pub(super) fn string(x: &str) -> Literal {
    Literal::inline(Tensor { ty: TensorType::scalar(DType::Str), data: Data::Str(vec![x.to_owned()]) })
}

/// A name that no value of `function` has yet, from `stem`.
pub(super) fn unused(function: &Function, stem: &str) -> String {
    let taken = |name: &str| function.values.iter().any(|v| v.name == name);
    let mut name = stem.to_owned();
    while taken(&name) {
        name.push('_');
    }
    name
}

/// A constant to insert before an operation.
pub(super) fn constant(function: &mut Function, stem: &str, literal: Literal) -> (ValueId, Operation) {
    let name = unused(function, stem);
    let id = function.add_value(name, literal.ty.clone());
    (id, Operation::constant(literal, id))
}

/// `program` with the floats of its literals rounded to their types.
pub(super) fn rounded(mut program: Program) -> Program {
    fn operations(ops: &mut [Operation]) {
        for op in ops {
            for arg in &mut op.args {
                if let ArgValue::Literal(literal) = &mut arg.value
                    && let LiteralData::Inline(data) = &mut literal.data
                    && let Data::Float(v) = &**data
                    && v.iter().any(|&x| differs(x, mil::tensor::round_float(x, literal.ty.dtype)))
                {
                    let exact = Tensor { ty: literal.ty.clone(), data: (**data).clone() };
                    *data = std::sync::Arc::new(exact.rounded().data);
                }
            }
            op.blocks.iter_mut().for_each(|b| operations(&mut b.ops));
        }
    }
    fn differs(x: f64, y: f64) -> bool {
        x != y && !(x.is_nan() && y.is_nan())
    }
    program.functions.iter_mut().for_each(|f| operations(&mut f.ops));
    program
}
