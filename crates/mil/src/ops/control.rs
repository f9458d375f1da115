//! Control flow: conditionals and loops. [`crate::eval`] runs the blocks.

use crate::diag::Reject;
use crate::op::{ANY, Axes, BOOL, Call, Grad, OpDef, Work, tensor, variadic};
use crate::ty::{DType, Opset, TensorType};

/// `cond(pred)() {…}() {…}`: the results of the first block if `pred`, else of the second. Both see the values defined
/// before.
/// Source: coremltools `iOS15/control_flow.py`, class `cond`.
pub static COND: OpDef = OpDef {
    name: "cond",
    since: Opset::Ios15,
    params: &[tensor("pred", BOOL)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let [yes, no] = &a.blocks[..] else { return blocks(a, "two blocks, one for each case") };
        if a.ty("pred").elements() != 1 {
            let reject = Reject::new("condition", "`cond` needs one truth value");
            return Err(reject.label("pred", a.ty("pred").to_string()));
        }
        if !yes.inputs.is_empty() || !no.inputs.is_empty() {
            return blocks(a, "blocks without parameters");
        }
        if yes.outputs != no.outputs {
            return Err(Reject::new("block-results", "the blocks of `cond` return different types").help(
                format!("the first returns {}, the second {}", list(&yes.outputs), list(&no.outputs)),
            ));
        }
        Ok(yes.outputs.clone())
    },
    eval: |_| Vec::new(),
    grad: Grad::None("the taken branch is unknown at compile time"),
};

/// `while_loop(loop_vars)(…) {…}(…) {…}`: while the first block returns true, the second computes the next values of
/// `loop_vars`, which both take as parameters.
/// Source: coremltools `iOS15/control_flow.py`, class `while_loop`.
pub static WHILE_LOOP: OpDef = OpDef {
    name: "while_loop",
    since: Opset::Ios15,
    params: &[variadic("loop_vars", ANY)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        let [condition, body] = &a.blocks[..] else { return blocks(a, "two blocks, condition and body") };
        let vars: Vec<TensorType> = a.tys("loop_vars").into_iter().cloned().collect();
        if condition.inputs != vars || body.inputs != vars {
            let reject = Reject::new(
                "block-parameters",
                "the parameters of both blocks of `while_loop` must be its loop variables",
            );
            return Err(reject.label("loop_vars", list(&vars)));
        }
        match &condition.outputs[..] {
            [one] if one.dtype == DType::Bool && one.elements() == 1 => {}
            other => {
                return Err(Reject::new("condition", "the first block of `while_loop` must return one bool")
                    .help(format!("it returns {}", list(other))));
            }
        }
        if body.outputs != vars {
            return Err(Reject::new(
                "block-results",
                "the body of `while_loop` must return its loop variables",
            )
            .label("loop_vars", list(&vars))
            .help(format!("it returns {}", list(&body.outputs))));
        }
        Ok(vars)
    },
    eval: |_| Vec::new(),
    grad: Grad::None("the number of iterations is unknown at compile time"),
};

fn list(types: &[TensorType]) -> String {
    if types.is_empty() {
        return "nothing".into();
    }
    types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn blocks(a: &Call<'_>, want: &str) -> Result<Vec<TensorType>, Reject> {
    Err(Reject::new("blocks", format!("`{}` needs {want}", a.op.name())))
}
