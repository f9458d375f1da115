//! State operations: variables that persist between runs.
//!
//! The parser turns a state into a parameter and a result of the function, so reads and writes are plain values here: a
//! read returns the last written value.

use crate::diag::Reject;
use crate::op::{ANY, Axes, Call, Grad, OpDef, Work, tensor};
use crate::tensor::Tensor;
use crate::ty::{Opset, TensorType};

/// `read_state(input)`: the value of a state.
/// Source: coremltools `iOS18/states.py`, class `read_state`.
pub static READ_STATE: OpDef = OpDef {
    name: "read_state",
    since: Opset::Ios18,
    params: &[tensor("input", ANY)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| Ok(vec![a.ty("input").clone()]),
    eval: |a| vec![a.tensor("input").clone()],
    grad: Grad::Rule(|g| {
        let dy = g.cotangent();
        g.give("input", dy);
    }),
};

/// `write_state(data, input)`: `data` becomes the value of state `input`; a statement without a result.
/// Source: the text of compiled programs.
pub static WRITE_STATE: OpDef = OpDef {
    name: "write_state",
    since: Opset::Ios18,
    params: &[tensor("data", ANY), tensor("input", ANY)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        same_types(a, "input", "data")?;
        Ok(Vec::new())
    },
    eval: |_| Vec::new(),
    grad: Grad::None("it has no result"),
};

/// `coreml_update_state(state, value)`: `value` becomes the value of `state`; the result is that value.
/// Source: coremltools `iOS18/states.py`, class `coreml_update_state`.
pub static COREML_UPDATE_STATE: OpDef = OpDef {
    name: "coreml_update_state",
    since: Opset::Ios18,
    params: &[tensor("state", ANY), tensor("value", ANY)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| {
        same_types(a, "state", "value")?;
        Ok(vec![a.ty("value").clone()])
    },
    eval: |a| vec![Tensor { ty: a.out().clone(), data: a.tensor("value").data.clone() }],
    grad: Grad::Rule(|g| {
        let dy = g.cotangent();
        g.give("value", dy);
        if g.wants("state") {
            // The overwritten value does not affect the result.
            g.give("state", dy * 0.0);
        }
    }),
};

fn same_types(a: &Call<'_>, state: &'static str, value: &'static str) -> Result<(), Reject> {
    let same: (&TensorType, &TensorType) = (a.ty(state), a.ty(value));
    if same.0 == same.1 {
        return Ok(());
    }
    Err(Reject::new("state-type", "the type of a state cannot change")
        .label(state, same.0.to_string())
        .label(value, same.1.to_string()))
}
