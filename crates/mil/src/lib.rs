//! The language MIL: types, the op table, text, verifier, builder, reference evaluator, gradients.
//!
//! A [`Program`] is made by the [`Builder`] or read from text; [`verify::verify`] turns it into a
//! [`Verified`] one, which is all that an engine accepts. One entry of [`ops`] holds an operation's name, parameters, type rule,
//! evaluation and gradient; everything else reads that entry.
//!
//! Not here: files, threads, devices, limits of engines.
#![forbid(unsafe_code)]

pub mod blob;
pub mod build;
pub mod bytes;
pub mod diag;
pub mod diff;
pub mod eval;
pub mod grad;
pub mod ir;
pub mod op;
pub mod ops;
pub mod pass;
pub mod stats;
pub mod tensor;
pub mod text;
pub mod ty;
pub mod verify;

pub use blob::Weights;
pub use build::{Builder, Var};
pub use diag::{Diagnostic, Reject, Report};
pub use ir::{ArgValue, Function, Literal, Operation, Program, Scope, ValueId};
pub use op::{Op, OpDef};
pub use tensor::{Data, Tensor};
pub use ty::{DType, Opset, TensorType};
pub use verify::Verified;

/// The examples of the guide are tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/mil.md")]
mod guide {}

#[cfg(test)]
mod tests {
    use crate::eval::{Rounding, run};
    use crate::{Builder, Opset, Tensor, TensorType, Weights, grad, ty};

    #[test]
    fn built_program_runs_and_differentiates() {
        let b = Builder::new("main", Opset::Ios18);
        let x = b.input("x", ty::f16([1, 3]));
        let y = (x * 2.0).softmax(-1);
        let program = b.finish([("y", y)]).expect("valid");
        let x = Tensor::floats(ty::f16([1, 3]), [0.5, 1.0, 1.5]);
        let y = run(&program, &Weights::new(), &[x], Rounding::AsTyped).expect("runs");
        let got = y[0].as_floats();
        for (got, want) in got.iter().zip([0.0900, 0.2447, 0.6652]) {
            assert!((got - want).abs() < 5e-4, "{got} {want}");
        }
        let f = program.entry();
        let joint = grad::backward(f, &f.outputs, &f.inputs).expect("differentiable");
        assert_eq!(joint.function.inputs.len(), 2);
        assert!(joint.cotangents.contains_key(&f.inputs[0]));
    }

    #[test]
    fn names_that_text_cannot_hold_are_refused() {
        let b = Builder::new("main", Opset::Ios18);
        let x = b.input("layers.0.q", ty::f16([1, 3]));
        let report = b.finish([("y", x + x)]).expect_err("a dot is no letter");
        assert_eq!(report.diagnostics[0].code, "bad-name");
    }

    #[test]
    fn mistakes_are_reported_once_with_their_line() {
        let b = Builder::new("main", Opset::Ios18);
        let x = b.input("x", TensorType::new(crate::DType::F16, [6, 8]));
        let z = x.matmul(x, false, false) + x;
        let report = b.finish([("z", z)]).expect_err("6×8 by 6×8");
        assert_eq!(report.diagnostics.len(), 1);
        assert_eq!(report.diagnostics[0].code, "inner-dimensions");
        assert!(report.to_string().contains("lib.rs"), "{report}");
    }
}
