//! Constants.

use crate::op::{ANY, Axes, Grad, OpDef, Work, attribute};
use crate::ty::Opset;

/// `const()[val]`: a literal, from the program or a weight file.
/// Source: coremltools `iOS15/`, class `const`.
pub static CONST: OpDef = OpDef {
    name: "const",
    since: Opset::Ios15,
    params: &[attribute("val", ANY)],
    axes: Axes::Tied,
    work: Work::Free,
    infer: |a| Ok(vec![a.ty("val").clone()]),
    eval: |a| vec![a.tensor("val").clone()],
    grad: Grad::None("it is constant"),
};
