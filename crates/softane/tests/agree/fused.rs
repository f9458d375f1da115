//! Elementwise operations computed together: fused, every bit is what it is in parts.

use crate::close::run;
use mil::{Builder, DType, Opset, Tensor, TensorType, Var, Weights};
use softane::Executable;

/// What `build` makes of three inputs of `shape`: its results, and beside them, if `in_parts`, all values between, which
/// then are not computed inside of anything else. Returns the results and the plan.
fn results(
    shape: &[usize],
    dtype: DType,
    in_parts: bool,
    build: impl for<'b> Fn([Var<'b>; 3]) -> (Vec<Var<'b>>, Vec<Var<'b>>),
) -> (Vec<Vec<u64>>, String) {
    let b = Builder::new("main", Opset::Ios18);
    let ty = TensorType::new(dtype, shape.to_vec());
    let inputs = ["x", "y", "z"].map(|name| b.input(name, ty.clone()));
    let (wanted, between) = build(inputs);
    let count = wanted.len();
    let outputs = wanted.into_iter().chain(between.into_iter().filter(|_| in_parts));
    let names: Vec<String> = (0..16).map(|i| format!("out{i}")).collect();
    let outputs: Vec<(&str, Var<'_>)> = names.iter().map(String::as_str).zip(outputs).collect();
    let program = b.finish(outputs).expect("valid");
    let executable = Executable::compile(&program, &Weights::new()).expect("compiles");
    let tensor = |seed: usize| {
        let noise = |i: usize| ((i * 7919 + seed * 31) % 1009) as f64 / 126.0 - 4.0;
        Tensor::floats(ty.clone(), (0..ty.elements()).map(noise))
    };
    let types: Vec<_> = program.entry().outputs.iter().map(|&v| program.entry().ty(v).clone()).collect();
    let got = run(&executable, &[tensor(1), tensor(2), tensor(3)], &types);
    let bits = got[..count].iter().map(|t| t.as_floats().iter().map(|x| x.to_bits()).collect());
    (bits.collect(), executable.plan())
}

/// The gradient of a gated unit: two results that share a sigmoid and a product.
fn gate<'b>([h1, h3, dy]: [Var<'b>; 3]) -> (Vec<Var<'b>>, Vec<Var<'b>>) {
    let s = h1.sigmoid();
    let silu = h1 * s;
    let (dh3, dsilu) = (dy * silu, dy * h3);
    let (left, slope) = (dsilu * s, s * (s * -1.0 + 1.0));
    let dh1 = left + dsilu * h1 * slope;
    (vec![dh3, dh1], vec![s, silu, dsilu, left, slope])
}

fn joined<'b>(inputs: [Var<'b>; 3]) -> (Vec<Var<'b>>, Vec<Var<'b>>) {
    let (out, between) = gate(inputs);
    (Var::concat(vec![out[1], out[0]], 0).into_iter().collect(), between)
}

/// What is scaled, by the mean of its squares.
fn scaled<'b>([x, y, z]: [Var<'b>; 3]) -> (Vec<Var<'b>>, Vec<Var<'b>>) {
    let scaled = x * y;
    let square = scaled * scaled;
    let mean = square.reduce_mean(&[1], true);
    (vec![(scaled + z) * mean], vec![scaled, square])
}

/// The gradient of softmax, and something more.
fn softmax_gradient<'b>([p, dp, z]: [Var<'b>; 3]) -> (Vec<Var<'b>>, Vec<Var<'b>>) {
    let product = dp * p;
    let sums = product.reduce_sum(&[-1], true);
    (vec![p * (dp - sums) + z], vec![product, sums])
}

/// Sums that are used twice, and sums that are a result.
fn shared_sums<'b>([p, dp, _]: [Var<'b>; 3]) -> (Vec<Var<'b>>, Vec<Var<'b>>) {
    let sums = (dp * p).reduce_sum(&[-1], true);
    (vec![p * sums, sums * 2.0, dp.reduce_sum(&[-1], true)], vec![sums])
}

const SHAPES: [&[usize]; 5] = [&[1], &[1, 33, 1, 70], &[3, 1, 1030], &[2, 90, 1, 128], &[1, 17, 513]];

#[test]
fn two_results_of_one_pass_have_the_bits_of_two_passes() {
    for dtype in [DType::F16, DType::F32] {
        for shape in SHAPES {
            // Both in one output, and each in its own.
            let (fused, plan) = results(shape, dtype, false, joined);
            assert_eq!(plan.matches("pair").count(), 1, "{plan}");
            assert!(!plan.contains("pointwise"), "{plan}");
            let (parts, plan) = results(shape, dtype, true, gate);
            assert!(!plan.contains("pair"), "{plan}");
            assert!(fused[0] == [parts[1].as_slice(), &parts[0]].concat(), "{dtype}, {shape:?}, joined");
            let (apart, plan) = results(shape, dtype, false, gate);
            assert!(plan.contains("pair"), "{plan}");
            assert!(apart == parts, "{dtype}, {shape:?}, two outputs");
        }
    }
}

/// A value that an operand of the others is computed from cannot wait for them.
#[test]
fn results_that_depend_on_one_another_through_other_operations_are_not_paired() {
    let (fused, plan) = results(&[5, 40], DType::F16, false, scaled);
    assert!(!plan.contains("pair"), "{plan}");
    assert!(fused == results(&[5, 40], DType::F16, true, scaled).0);
}

/// The gradient of softmax subtracts the sum of a row from each of its elements.
#[test]
fn sums_of_rows_have_the_bits_of_a_pass_of_their_own() {
    for dtype in [DType::F16, DType::F32] {
        for shape in [&[1usize, 2, 40, 40][..], &[3, 7], &[2, 5, 1030], &[1, 3, 4100], &[4, 512]] {
            let (fused, plan) = results(shape, dtype, false, softmax_gradient);
            let long = shape.last() > Some(&4096);
            assert_eq!(plan.contains("reduce"), long, "{plan}");
            let (parts, plan) = results(shape, dtype, true, softmax_gradient);
            assert!(plan.contains("reduce"), "{plan}");
            assert!(fused == parts, "{dtype}, {shape:?}");
        }
    }
    let (fused, _) = results(&[6, 50], DType::F16, false, shared_sums);
    assert!(fused == results(&[6, 50], DType::F16, true, shared_sums).0);
}
