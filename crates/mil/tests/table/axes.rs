//! What entries say of axes and of work is so of their meaning.

use crate::cases::{Built, cases};
use mil::eval::{Rounding, run};
use mil::op::{Axes, Role, Work};
use mil::stats::Stats;
use mil::tensor::{broadcast_strides, flatten, unflatten};
use mil::{DType, Data, Op, Tensor, Weights};
use std::collections::BTreeSet;

fn results(built: &Built, inputs: &[Tensor]) -> Vec<Tensor> {
    run(&built.program, &Weights::new(), inputs, Rounding::Exact).expect("a case runs")
}

/// `tensor` with element `n` changed to another that its type has.
fn changed(tensor: &Tensor, n: usize) -> Tensor {
    let mut tensor = tensor.clone();
    match &mut tensor.data {
        Data::Float(v) => v[n] += 0.37,
        Data::Int(v) => v[n] += 1,
        Data::Bool(v) => v[n] = !v[n],
        Data::Str(_) => {}
    }
    tensor
}

fn element(tensor: &Tensor, n: usize) -> f64 {
    match &tensor.data {
        Data::Float(v) => v[n],
        Data::Int(v) => v[n] as f64,
        Data::Bool(v) => f64::from(u8::from(v[n])),
        Data::Str(_) => 0.0,
    }
}

/// Changing an element changes no results but those of its own place.
#[test]
fn elements_of_independent_axes_do_not_meet() {
    let mut seen = BTreeSet::new();
    for case in cases() {
        let op = Op::find(case.op).expect("a case names an operation");
        let Ok(built) = case.build(DType::F32) else { continue };
        let function = built.program.entry();
        if op.axes != Axes::Elementwise || built.inputs.iter().any(|t| t.ty.elements() > 200) {
            continue;
        }
        let before = results(&built, &built.inputs);
        for at in 0..built.inputs.len() {
            let shape = &function.ty(function.inputs[at]).shape;
            for n in 0..built.inputs[at].ty.elements() {
                let mut inputs = built.inputs.clone();
                inputs[at] = changed(&inputs[at], n);
                for (result, (old, new)) in before.iter().zip(results(&built, &inputs)).enumerate() {
                    let out = &old.ty.shape;
                    assert!(out.len() >= shape.len(), "{case}: result {result} has fewer axes");
                    let strides = broadcast_strides(shape, out);
                    let mut index = vec![0; out.len()];
                    for place in 0..old.ty.elements() {
                        unflatten(place, out, &mut index);
                        let reads = flatten(&index, &strides);
                        assert!(
                            reads == n || element(old, place) == element(&new, place),
                            "{case}: element {n} of input {at} changes element {place}"
                        );
                    }
                }
            }
        }
        seen.insert(case.op);
    }
    let declared: BTreeSet<&str> =
        Op::all().filter(|op| op.axes == Axes::Elementwise).map(Op::name).collect();
    assert_eq!(seen, declared, "each has a case that is small enough");
}

/// A parameter that names axes is one of the operation's own, and holds integers.
#[test]
fn axes_are_named_by_a_parameter() {
    for op in Op::all() {
        if let Axes::Along(name) = op.axes {
            let param = op.param(name).map(|at| &op.params[at]);
            let param = param.unwrap_or_else(|| panic!("`{}` has no parameter `{name}`", op.name()));
            assert!(param.role == Role::Const && param.dtypes.iter().all(|d| d.is_int()), "{}", op.name());
        }
    }
}

/// Operations that are made of multiply-adds count some, and more of them for a larger result.
#[test]
fn work_is_counted_where_it_is_declared() {
    let mut counted = BTreeSet::new();
    for case in cases() {
        let op = Op::find(case.op).expect("a case names an operation");
        let Ok(built) = case.build(DType::F32) else { continue };
        let function = built.program.entry();
        let something = function.outputs.iter().all(|&v| function.ty(v).elements() > 0);
        let flops = Stats::of(function).flops;
        match op.work {
            Work::Free => assert_eq!(flops, 0, "{case}"),
            Work::MulAdds(_) if something && built.inputs.iter().all(|t| t.ty.elements() > 0) => {
                assert!(flops > 0 && flops.is_multiple_of(2), "{case}: {flops}");
                counted.insert(case.op);
            }
            Work::MulAdds(_) => {}
        }
    }
    let declared: BTreeSet<&str> =
        Op::all().filter(|op| matches!(op.work, Work::MulAdds(_))).map(Op::name).collect();
    assert_eq!(counted, declared);
    // What sums products in coremltools: whoever adds such an operation says how it counts.
    let sums = ["conv", "conv_transpose", "einsum", "gru", "linear", "lstm", "matmul", "rnn"];
    assert!(sums.iter().all(|op| declared.contains(op)));
}
