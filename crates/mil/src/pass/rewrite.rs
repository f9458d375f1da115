//! Rewrites of single operations; results keep their names and users.

use crate::build::Builder;
use crate::diag::Report;
use crate::ir::{Function, Operation, ValueId};

/// The outcome of a rule for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// It stays as it was.
    Keep,
    /// It stays as it has been changed.
    Amend,
    /// This value replaces its first result; the operations that the rule added replace the operation.
    Replace(ValueId),
}

/// Applies `rule` to each operation of `function`, in order; `None` if it kept them all.
///
/// The rule gets a builder positioned at the operation, and the operation, which it may modify. Value ids are stable, so
/// blocks that use them stay valid; operations inside blocks are not visited.
/// New operations get the scope and the place of the replaced one; the last of them gets its label.
///
/// # Errors
/// Builder errors of the rule. The caller verifies the result.
pub fn rewrite(
    function: &Function,
    mut rule: impl FnMut(&Builder, &mut Operation) -> Rewrite,
) -> Result<Option<Function>, Report> {
    let values = Function { ops: Vec::new(), values: function.values.clone(), ..function.head() };
    let builder = Builder::resume(values);
    let mut changed = false;
    for operation in &function.ops {
        if operation.const_literal().is_some() {
            builder.keep(operation.clone());
            continue;
        }
        let (before, mut amended) = (builder.written(), operation.clone());
        builder.set_scope(operation.scope.clone());
        match rule(&builder, &mut amended) {
            Rewrite::Keep => builder.keep(operation.clone()),
            Rewrite::Amend => {
                changed = true;
                builder.keep(amended);
            }
            Rewrite::Replace(var) => {
                changed = true;
                builder.stand_in(before, var, operation);
            }
        }
    }
    Ok(changed.then_some(builder.into_function()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Program;
    use crate::text;
    use crate::verify::verify;

    /// `main` of the program whose body is `body`, from `x` to `y`.
    fn function(body: &str) -> Function {
        let head = "program(1.3) { func main<ios18>(tensor<fp16, [2]> x) {";
        let program = text::load(&format!("{head} {body} }} -> (y); }}")).expect("valid");
        program.entry().clone()
    }

    #[test]
    fn what_is_replaced_keeps_name_label_and_users() {
        let before = function(
            "tensor<fp16, [2]> mul_0 = square(x = x)[name = string(\"s\")];
             tensor<fp16, [2]> y = exp(x = mul_0)[name = string(\"y\")];",
        );
        let after = rewrite(&before, |b, op| match op.op.name() {
            "square" => {
                let x = b.var(op.arg_value("x").expect("given"));
                Rewrite::Replace((x * x).id())
            }
            _ => Rewrite::Keep,
        });
        let after = after.expect("right").expect("changed");
        let want = function(
            "tensor<fp16, [2]> mul_0 = mul(x = x, y = x)[name = string(\"s\")];
             tensor<fp16, [2]> y = exp(x = mul_0)[name = string(\"y\")];",
        );
        assert_eq!(text::print(&Program::of(after)), text::print(&Program::of(want)));
    }

    #[test]
    fn a_value_that_was_there_before_gets_a_second_name() {
        let before = function("tensor<fp16, [2]> y = relu(x = x)[name = string(\"y\")];");
        let after = rewrite(&before, |_, op| Rewrite::Replace(op.arg_value("x").expect("given")));
        let after = verify(Program::of(after.expect("right").expect("changed"))).expect("valid");
        assert_eq!(after.entry().ops[0].op.name(), "identity");
    }

    #[test]
    fn a_rule_that_does_nothing_changes_nothing() {
        let before = function("tensor<fp16, [2]> y = relu(x = x)[name = string(\"y\")];");
        assert_eq!(rewrite(&before, |_, _| Rewrite::Keep).expect("right"), None);
    }
}
