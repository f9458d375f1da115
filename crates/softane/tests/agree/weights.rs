//! Weights: baked, replaced, missing.

use crate::close::run;
use mil::{Builder, DType, Opset, Program, Tensor, TensorType, Var, Verified, Weights, ty};
use softane::quant::Coding;
use softane::{Arena, CompileError, Executable, QuantMatrix, RunError, Slice, SliceMut};

const FILE: &str = "@model_path/weights/w.bin";

fn numbers(ty: &TensorType, seed: usize) -> Tensor {
    let values = (0..ty.elements()).map(|i| ((i * 7 + seed * 13) % 31) as f64 / 16.0 - 1.0);
    Tensor::floats(ty.clone(), values)
}

/// The weight as a convolution (kept in fp32), elementwise (as it is), transposed and in a sum of both.
fn program() -> Verified<Program> {
    let b = Builder::new("main", Opset::Ios18);
    let x = b.input("x", ty::f16([1, 16, 1, 32]));
    let w = b.weight("w", ty::f16([16, 16, 1, 1]), FILE, 64);
    let bias = b.weight("bias", ty::f16([1, 16, 1, 1]), "@model_path/weights/bias.bin", 64);
    let y = x.conv1x1(w, 1) + bias;
    let z = y.conv1x1(w.transpose(&[1, 0, 2, 3]), 1).sigmoid()
        * w.reshape(&[1, 16, 1, 16]).reduce_mean(&[3], true);
    let joined = Var::concat(vec![y, z, x], 1).expect("parts");
    b.finish([("out", joined)]).expect("valid")
}

fn weights(seed: usize) -> Weights {
    let mut weights = Weights::new();
    weights.add_tensor(FILE, &numbers(&ty::f16([16, 16, 1, 1]), seed)).expect("storable");
    let bias = numbers(&ty::f16([1, 16, 1, 1]), seed + 1);
    weights.add_tensor("@model_path/weights/bias.bin", &bias).expect("storable");
    weights
}

#[test]
fn rebaking_is_compiling_again() {
    let x = [numbers(&ty::f16([1, 16, 1, 32]), 5)];
    let out = [ty::f16([1, 48, 1, 32])];
    let mut kernel = Executable::compile(&program(), &weights(1)).expect("compiles");
    let first = run(&kernel, &x, &out);
    kernel.rebake(&weights(2)).expect("rebakes");
    let fresh = Executable::compile(&program(), &weights(2)).expect("compiles");
    assert_eq!(run(&kernel, &x, &out), run(&fresh, &x, &out));
    assert_ne!(run(&kernel, &x, &out), first);
    assert!(
        fresh.memory().constants >= 2 * 256 + 2 * 16 && fresh.memory().scratch > 0,
        "{:?}",
        fresh.memory()
    );
}

#[test]
fn weights_that_do_not_fit_are_named_and_the_old_ones_stay() {
    let x = [numbers(&ty::f16([1, 16, 1, 32]), 5)];
    let out = [ty::f16([1, 48, 1, 32])];
    let mut kernel = Executable::compile(&program(), &weights(1)).expect("compiles");
    let before = run(&kernel, &x, &out);
    let error = kernel.rebake(&Weights::new()).expect_err("nothing is there").to_string();
    assert!(error.contains("w.bin") || error.contains("bias.bin"), "{error}");
    let mut wrong = weights(2);
    wrong.add_tensor(FILE, &numbers(&TensorType::new(DType::F32, [16, 16, 1, 1]), 1)).expect("storable");
    let error = kernel.rebake(&wrong).expect_err("another type");
    assert!(matches!(error, CompileError::Weights(_)) && error.to_string().contains(FILE), "{error}");
    assert_eq!(run(&kernel, &x, &out), before);
    assert!(Executable::compile(&program(), &Weights::new()).is_err());
}

#[test]
fn slices_of_another_size_or_type_are_refused() {
    let kernel = Executable::compile(&program(), &weights(1)).expect("compiles");
    let (x, mut out) = (vec![half::f16::ZERO; 512], vec![half::f16::ZERO; 48 * 32]);
    let mut arena = Arena::default();
    let mut try_run = |inputs: &[Slice<'_>], out: &mut [half::f16]| {
        kernel.run(inputs, &mut [SliceMut::F16(out)], &mut arena).map_err(|e| e.to_string())
    };
    assert_eq!(try_run(&[Slice::F16(&x)], &mut out), Ok(()));
    let short = try_run(&[Slice::F16(&x[1..])], &mut out).expect_err("too short");
    assert_eq!(short, "`x` is tensor<fp16, [1, 16, 1, 32]>, but 511 elements of fp16 were passed");
    assert!(try_run(&[Slice::F32(&[0.0; 512])], &mut out).is_err());
    assert!(try_run(&[Slice::F16(&x)], &mut out[..7]).is_err());
    let none = kernel.run(&[], &mut [], &mut arena);
    assert!(matches!(none, Err(RunError::Count { side: "inputs", want: 1, got: 0 })));
}

/// An input of 8-bit codes, as the left side of products and as everything else: the bits of the same numbers in half precision.
#[test]
fn quantised_inputs_are_the_same_numbers() {
    let ty = ty::f16([1, 64, 1, 32]);
    let (x, w) = ([1, 32, 1, 3], [1, 1, 64, 32]);
    let product = |more: bool| {
        let b = Builder::new("main", Opset::Ios18);
        let (x, w) = (b.input("x", ty::f16(x)), b.input("w", ty.clone()));
        let (matrix, columns) = (w.reshape(&[1, 1, 64, 32]), x.reshape(&[1, 1, 32, 3]));
        let y = matrix.matmul(columns, false, false).reshape(&[1, 64, 1, 3]);
        let y = if more { y * w.reduce_mean(&[3], true) } else { y };
        b.finish([("y", y)]).expect("valid")
    };
    let coding = Coding { levels: None, group: 32 };
    let codes = (0..64 * 32).map(|i| (i * 37 + i / 9) as u8).collect();
    let scales = (0..64).map(|i| [1.0 / (40.0 + i as f32), if i % 2 == 0 { -0.0 } else { 0.1 }]).collect();
    let matrix = QuantMatrix::new(coding, [w[2], w[3]], codes, scales).expect("a matrix");
    let mut half = vec![half::f16::ZERO; matrix.elements()];
    matrix.widen(0, &mut half);
    let columns: Vec<half::f16> = (0..96).map(|i| half::f16::from_f32(i as f32 / 64.0 - 0.7)).collect();
    for more in [false, true] {
        let kernel = Executable::compile(&product(more), &Weights::new()).expect("compiles");
        let mut arena = Arena::default();
        let mut run = |w: Slice<'_>| {
            let mut out = vec![half::f16::ZERO; 64 * 3];
            let inputs = [Slice::F16(&columns), w];
            kernel.run(&inputs, &mut [SliceMut::F16(&mut out)], &mut arena).expect("runs");
            out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(run(Slice::Quant(&matrix)), run(Slice::F16(&half)), "read elsewhere too: {more}");
    }
}
