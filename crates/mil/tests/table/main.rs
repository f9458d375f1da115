//! Tests that loop over the op table: whoever adds an operation adds a line to `cases`, and is tested.

mod answers;
mod axes;
mod cases;
mod computed;
mod fuzz;
mod images;

use cases::{Built, Case, cases};
use mil::eval::{Rounding, run};
use mil::grad::{GradError, backward};
use mil::op::{Absent, Grad};
use mil::verify::verify;
use mil::{DType, Data, Op, Program, Tensor, ValueId, Weights};
use std::collections::BTreeSet;

const DTYPES: [DType; 2] = [DType::F32, DType::F16];

/// Operations with blocks or without results make no case; `control.mil` and `states.mil` in `tests/mil` have them.
const ELSEWHERE: [&str; 3] = ["cond", "while_loop", "write_state"];

#[test]
fn every_operation_has_a_case() {
    let tested: BTreeSet<&str> = cases().iter().map(|c| c.op).collect();
    let table: BTreeSet<&str> = Op::all().map(Op::name).collect();
    let missing: Vec<_> = table.difference(&tested).filter(|op| !ELSEWHERE.contains(*op)).collect();
    assert!(missing.is_empty(), "add a line to `cases` for {missing:?}");
    let forms: BTreeSet<_> = Op::all().map(|op| (op.name(), op.since)).collect();
    assert_eq!(forms.len(), Op::all().count(), "two entries share a name and an opset");
}

#[test]
fn type_rules_agree_with_meanings() {
    for (case, dtype) in all() {
        let built = case.build(dtype).unwrap_or_else(|e| panic!("{case}: {e}"));
        agrees(&case, &built);
    }
}

#[test]
fn optional_parameters_may_be_absent() {
    for (case, dtype) in all() {
        let op = Op::find(case.op).expect("a case names an operation");
        for param in op.params.iter().filter(|p| p.absent != Absent::Refused) {
            // Some need one of two; what the type rule accepts must work.
            let shorter = case.without(param.name);
            if let Ok(built) = shorter.build(dtype) {
                agrees(&shorter, &built);
                differentiates(&shorter, &built, dtype);
            }
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for (case, dtype) in all() {
        let built = case.build(dtype).unwrap_or_else(|e| panic!("{case}: {e}"));
        differentiates(&case, &built, dtype);
    }
}

/// Near every case there are others, right and wrong: none panics, and what is accepted works.
#[test]
fn neighbours_of_cases_are_refused_or_work() {
    let numbers = [i64::from(i32::MIN), -3, -2, -1, 0, 1, 2, 3, 4, 5, i64::from(i32::MAX)];
    for near in cases().iter().flat_map(|c| c.perturbed(&numbers)) {
        let Ok(built) = near.build(DType::F32) else { continue };
        let function = built.program.entry();
        if function.outputs.iter().all(|&v| function.ty(v).elements() < 1000) {
            agrees(&near, &built);
            if built.has_floats()
                && let Ok(joint) = gradients(&built, &built.floats())
            {
                compare(&near, &built, &built.floats(), &joint, DType::F32);
            }
        }
    }
}

/// The gradient of each float argument is right; one that is not there has a reason.
fn differentiates(case: &Case, built: &Built, dtype: DType) {
    let none = match Op::find(case.op).expect("a case names an operation").grad {
        Grad::None(reason) => Some(reason),
        Grad::Rule(_) => None,
    };
    assert!(none.is_none_or(|reason| reason.len() > 5), "{case}: give the reason");
    let wrt = built.floats();
    if !built.has_floats() {
        return;
    }
    match gradients(built, &wrt) {
        Ok(joint) => {
            assert!(none.is_none() && !case.refused, "{case}: has a gradient after all");
            compare(case, built, &wrt, &joint, dtype);
            // What is not asked for makes no difference to what is.
            for (&one, joint) in wrt.iter().zip(&joint) {
                let alone = gradients(built, &[one]).expect("was differentiated with others");
                assert_eq!(alone[0], *joint, "{case}: alone");
            }
        }
        Err(GradError::NoGradient { reason, .. }) => {
            assert!((none.is_some() || case.refused) && reason.len() > 5, "{case}: {reason}");
        }
        Err(e) => panic!("{case}: {e}"),
    }
}

fn all() -> impl Iterator<Item = (Case, DType)> {
    cases().into_iter().flat_map(|c| DTYPES.map(|d| (c.clone(), d)))
}

/// Every result has the type that the type rule says, and elements of that kind.
fn agrees(case: &Case, built: &Built) {
    let outputs = run(&built.program, &Weights::new(), &built.inputs, Rounding::AsTyped)
        .unwrap_or_else(|e| panic!("{case}: {e}"));
    let function = built.program.entry();
    assert_eq!(outputs.len(), function.outputs.len(), "{case}: results");
    // The mean of nothing is not a number, the maximum of nothing not finite.
    let something = built.inputs.iter().all(|t| t.ty.elements() > 0);
    for (got, &want) in outputs.iter().zip(&function.outputs) {
        assert_eq!(&got.ty, function.ty(want), "{case}: type");
        assert_eq!(got.data.len(), got.ty.elements(), "{case}: elements");
        assert!(got.data.fits(got.ty.dtype), "{case}: {:?} in {}", got.data, got.ty);
        assert!(!something || got.as_floats().iter().all(|x| x.is_finite()), "{case}: {:?}", got.data);
    }
}

/// The cotangents of `wrt`, in exact arithmetic, for the cotangents of `built`.
fn gradients(built: &Built, wrt: &[ValueId]) -> Result<Vec<Tensor>, GradError> {
    let joint = backward(built.program.entry(), &built.seeds(), wrt)?;
    let mut function = joint.function;
    function.outputs = wrt.iter().map(|v| *joint.cotangents.get(v).expect("a cotangent for each")).collect();
    let program = verify(Program::of(function)).expect("a derived program is valid");
    let inputs: Vec<Tensor> = built.inputs.iter().cloned().chain(built.cotangents()).collect();
    let got = run(&program, &Weights::new(), &inputs, Rounding::Exact).expect("a derived program runs");
    for (v, g) in wrt.iter().zip(&got) {
        assert_eq!(g.ty, *built.program.entry().ty(*v), "a cotangent has the type of its value");
    }
    Ok(got)
}

/// Compares with central differences, `(f(x + h) − f(x − h)) / 2h`.
///
/// All arithmetic is f64, so with h = 1e-5 the differences are good to about 1e-10. What remains is that rules write
/// constants, as 1/√2, which are rounded to the element type: half a unit, 2⁻²⁵ in fp32 and 2⁻¹² in fp16, in each of a
/// few factors. Errors are relative to the largest element of the gradient.
fn compare(case: &Case, built: &Built, wrt: &[ValueId], got: &[Tensor], dtype: DType) {
    let tolerance = if dtype == DType::F16 { 2e-3 } else { 1e-6 };
    let function = built.program.entry();
    for (&v, got) in wrt.iter().zip(got) {
        let at = function.inputs.iter().position(|&i| i == v).expect("an input");
        let want: Vec<f64> = (0..got.ty.elements())
            .map(|n| (loss(built, at, n, 1e-5) - loss(built, at, n, -1e-5)) / 2e-5)
            .collect();
        let largest = want.iter().fold(1e-3, |m: f64, x| m.max(x.abs()));
        for (n, (got, want)) in got.as_floats().iter().zip(&want).enumerate() {
            let error = (got - want).abs() / largest;
            assert!(error <= tolerance, "{case}, {dtype}: input {at}[{n}]: {got}, differences say {want}");
        }
    }
}

/// The results times their cotangents, element `n` of input `at` moved by `by`.
fn loss(built: &Built, at: usize, n: usize, by: f64) -> f64 {
    let mut inputs = built.inputs.clone();
    if let Data::Float(v) = &mut inputs[at].data {
        v[n] += by;
    }
    let outputs = run(&built.program, &Weights::new(), &inputs, Rounding::Exact).expect("ran before");
    let floats = outputs.iter().filter(|t| t.ty.dtype.is_float());
    floats
        .zip(built.cotangents())
        .map(|(y, dy)| y.as_floats().iter().zip(dy.as_floats()).map(|(y, dy)| y * dy).sum::<f64>())
        .sum()
}
