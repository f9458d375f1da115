//! Known answers, worked by hand or from the documentation, for what is easily got wrong.

use mil::build::Input;
use mil::eval::{Rounding, run};
use mil::{Builder, DType, Data, Literal, Opset, Tensor, TensorType, Weights};

pub fn f32s(shape: &[usize], values: &[f64]) -> Tensor {
    Tensor::floats(TensorType::new(DType::F32, shape), values.iter().copied())
}

pub fn ints(dtype: DType, values: &[i64]) -> Input<'static> {
    let ty = TensorType::new(dtype, [values.len()]);
    Literal::inline(Tensor::new(ty, Data::Int(values.to_vec())).expect("fits")).into()
}

fn floats(values: &[f64]) -> Input<'static> {
    Literal::inline(f32s(&[values.len()], values)).into()
}

pub fn float(value: f64) -> Input<'static> {
    Literal::inline(f32s(&[], &[value])).into()
}

fn bools(values: &[bool]) -> Input<'static> {
    let ty = TensorType::new(DType::Bool, [values.len()]);
    Literal::inline(Tensor::new(ty, Data::Bool(values.to_vec())).expect("fits")).into()
}

/// The result of `op` of an input and constants.
pub fn answer(op: &str, input: (&'static str, Tensor), rest: Vec<(&'static str, Input<'static>)>) -> Tensor {
    let b = Builder::new("main", Opset::Ios18);
    let x = b.input("in", input.1.ty.clone());
    let y = b.op(op, std::iter::once((input.0, x.into())).chain(rest));
    let program = b.finish([("out", y)]).expect("valid");
    run(&program, &Weights::new(), &[input.1], Rounding::AsTyped).expect("runs").remove(0)
}

#[track_caller]
pub fn close(got: &Tensor, want: &[f64], digits: f64) {
    let got = got.to_floats();
    assert_eq!(got.len(), want.len(), "{got:?}");
    assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() <= digits), "{got:?}, expected {want:?}");
}

/// ½·(1 + erf(1/√2)) = 0.841345 (the normal distribution at 1); tanh and sigmoid forms from their formulas with a
/// calculator. Six digits are written.
#[test]
fn gelu_modes() {
    let x = || ("x", f32s(&[3], &[1.0, -1.0, 0.0]));
    close(&answer("gelu", x(), vec![]), &[0.841345, -0.158655, 0.0], 1e-6);
    close(&answer("gelu", x(), vec![("mode", "EXACT".into())]), &[0.841345, -0.158655, 0.0], 1e-6);
    let tanh = answer("gelu", x(), vec![("mode", "TANH_APPROXIMATION".into())]);
    close(&tanh, &[0.841192, -0.158808, 0.0], 1e-6);
    let sigmoid = answer("gelu", x(), vec![("mode", "SIGMOID_APPROXIMATION".into())]);
    close(&sigmoid, &[0.845796, -0.154204, 0.0], 1e-6);
}

/// From tables; all digits of fp32.
#[test]
fn erf_has_the_digits_of_tables() {
    let x = f32s(&[6], &[0.5, 1.0, 2.0, 3.0, -1.0, 9.0]);
    let want = [0.5204998778, 0.8427007929, 0.9953222650, 0.9999779095, -0.8427007929, 1.0];
    close(&answer("erf", ("x", x), vec![]), &want, 6e-8);
}

/// [1, 2, 3]: mean 2, variance 2/3; with ε = 1/3 the deviation is 1, so γ·(−1, 0, 1) + β.
#[test]
fn layer_norm_adds_epsilon_to_the_biased_variance() {
    let x = || ("x", f32s(&[1, 3], &[1.0, 2.0, 3.0]));
    let epsilon = || ("epsilon", float(1.0 / 3.0));
    let axes = || ("axes", Input::Ints(vec![1]));
    close(&answer("layer_norm", x(), vec![axes(), epsilon()]), &[-1.0, 0.0, 1.0], 1e-6);
    let (gamma, beta) = (("gamma", floats(&[2.0, 3.0, 4.0])), ("beta", floats(&[10.0, 20.0, 30.0])));
    let y = answer("layer_norm", x(), vec![axes(), epsilon(), gamma, beta]);
    close(&y, &[8.0, 20.0, 34.0], 1e-5);
}

#[test]
fn quantize_rounds_halves_to_even_and_saturates() {
    let x = || ("input", f32s(&[8], &[0.25, 0.75, 1.25, -0.25, -0.75, 63.5, 99.0, -99.0]));
    let int8 = answer("quantize", x(), vec![("scale", float(0.5)), ("output_dtype", "int8".into())]);
    assert_eq!(int8.as_ints(), [0, 2, 2, 0, -2, 127, 127, -128]);
    let zero =
        || Literal::inline(Tensor::new(TensorType::scalar(DType::U8), Data::Int(vec![100])).expect("fits"));
    let args = vec![("scale", float(0.5)), ("zero_point", zero().into()), ("output_dtype", "uint8".into())];
    assert_eq!(answer("quantize", x(), args).as_ints(), [100, 102, 102, 100, 98, 227, 255, 0]);
}

#[test]
fn quantize_takes_a_scale_for_each_channel() {
    let x = ("input", f32s(&[2, 2], &[1.0, 2.0, 1.0, 2.0]));
    let args = vec![
        ("scale", floats(&[1.0, 0.5])),
        ("zero_point", ints(DType::I8, &[0, 10])),
        ("axis", Input::Int(0)),
        ("output_dtype", "int8".into()),
    ];
    assert_eq!(answer("quantize", x, args).as_ints(), [1, 2, 12, 14]);
}

/// scale · (q − zero_point), both along axis 0; the bytes stand among the attributes.
#[test]
fn constexpr_affine_dequantize_works_along_its_axis() {
    let b = Builder::new("main", Opset::Ios16);
    let data =
        Tensor::new(TensorType::new(DType::U8, [2, 3]), Data::Int(vec![0, 128, 255, 1, 2, 3])).expect("fits");
    let y = b.op(
        "constexpr_affine_dequantize",
        [
            ("quantized_data", Literal::inline(data).into()),
            ("zero_point", ints(DType::U8, &[128, 2])),
            ("scale", floats(&[0.5, 10.0])),
            ("axis", Input::Int(-2)),
        ],
    );
    let program = b.finish([("y", y)]).expect("valid");
    let y = run(&program, &Weights::new(), &[], Rounding::AsTyped).expect("runs");
    assert_eq!(y[0].as_floats(), [-64.0, 0.0, 63.5, -10.0, 0.0, 10.0]);
}

/// As NumPy: `x[-2:]`, `x[:2]`, `x[::-2]`, `x[3:0:-1]`, `x[-99:99:4]`, of 0, 1, 2, 3, 4.
#[test]
fn slice_by_index_slices_as_numpy() {
    let x = || ("x", f32s(&[5], &[0.0, 1.0, 2.0, 3.0, 4.0]));
    let slice = |begin: i64, end: i64, stride: i64, no_begin: bool, no_end: bool| {
        let args = vec![
            ("begin", Input::Ints(vec![begin])),
            ("end", Input::Ints(vec![end])),
            ("stride", Input::Ints(vec![stride])),
            ("begin_mask", bools(&[no_begin])),
            ("end_mask", bools(&[no_end])),
        ];
        answer("slice_by_index", x(), args).to_floats()
    };
    assert_eq!(slice(-2, 0, 1, false, true), [3.0, 4.0]);
    assert_eq!(slice(3, 2, 1, true, false), [0.0, 1.0]);
    assert_eq!(slice(0, 0, -2, true, true), [4.0, 2.0, 0.0]);
    assert_eq!(slice(3, 0, -1, false, false), [3.0, 2.0, 1.0]);
    assert_eq!(slice(-99, 99, 4, false, false), [0.0, 4.0]);
}

/// `x[1, :]` of [[0, 1, 2], [3, 4, 5]]: the squeezed axis is gone, and its `end` is not read.
#[test]
fn slice_by_index_squeezes() {
    let x = ("x", f32s(&[2, 3], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    let args = vec![
        ("begin", Input::Ints(vec![-1, 0])),
        ("end", Input::Ints(vec![0, 3])),
        ("squeeze_mask", bools(&[true, false])),
    ];
    let y = answer("slice_by_index", x, args);
    assert_eq!((y.ty.shape.as_slice(), y.as_floats()), ([3].as_slice(), [3.0, 4.0, 5.0].as_slice()));
}

/// q·k/√4 of keys 0 and 1 is 0 and (ln 3 + ln 3)/2: key 1 weighs 3 times key 0. Key 2 is masked away.
#[test]
fn attention_divides_by_the_root_of_the_width_and_masks() {
    let ln3 = 3f64.ln();
    let attend = |mask: Input<'static>| {
        let key = f32s(&[1, 3, 4], &[0.0, 0.0, 0.0, 0.0, ln3, ln3, 0.0, 0.0, 9.0, 9.0, 9.0, 9.0]);
        let value = f32s(&[1, 3, 1], &[4.0, 8.0, 1000.0]);
        let args = vec![
            ("key", Literal::inline(key).into()),
            ("value", Literal::inline(value).into()),
            ("attn_mask", mask),
        ];
        answer("scaled_dot_product_attention", ("query", f32s(&[1, 1, 4], &[1.0; 4])), args)
    };
    // (1·4 + 3·8) / 4, in fp32
    close(&attend(bools(&[true, true, false])), &[7.0], 1e-5);
    close(&attend(floats(&[0.0, 0.0, f64::NEG_INFINITY])), &[7.0], 1e-5);
    // A mask of −ln 3 takes the weight away again.
    close(&attend(floats(&[0.0, -ln3, f64::NEG_INFINITY])), &[6.0], 1e-5);
}

#[test]
fn cast_drops_the_fraction_saturates_and_wraps() {
    let x = || ("x", f32s(&[5], &[1.9, -1.9, 300.0, -300.0, 0.0]));
    let to = |dtype: &'static str| answer("cast", x(), vec![("dtype", dtype.into())]);
    assert_eq!(to("int8").as_ints(), [1, -1, 127, -128, 0]);
    assert_eq!(to("bool").to_floats(), [1.0, 1.0, 1.0, 1.0, 0.0]);
    let large = answer("cast", ("x", f32s(&[2], &[65504.0, 1e6])), vec![("dtype", "fp16".into())]);
    assert_eq!(large.as_floats(), [65504.0, f64::INFINITY]);
}

#[test]
fn interleaved_concatenation_alternates() {
    let b = Builder::new("main", Opset::Ios18);
    let (x, y) =
        (b.input("x", TensorType::new(DType::F32, [2])), b.input("y", TensorType::new(DType::F32, [2])));
    let z = b.op("concat", [("values", vec![x, y].into()), ("axis", 0.into()), ("interleave", true.into())]);
    let program = b.finish([("z", z)]).expect("valid");
    let inputs = [f32s(&[2], &[1.0, 2.0]), f32s(&[2], &[3.0, 4.0])];
    let z = run(&program, &Weights::new(), &inputs, Rounding::AsTyped).expect("runs");
    assert_eq!(z[0].as_floats(), [1.0, 3.0, 2.0, 4.0]);
}

#[test]
fn gather_counts_negative_indices_from_the_end() {
    let x = ("x", f32s(&[3, 2], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
    let y = answer("gather", x, vec![("indices", ints(DType::I32, &[-1, 0])), ("axis", Input::Int(0))]);
    assert_eq!(y.as_floats(), [4.0, 5.0, 0.0, 1.0]);
}

/// d/dx of the second of three parts: ones there, zeros where nobody used a part.
#[test]
fn unused_parts_of_a_split_have_zero_cotangents() {
    let b = Builder::new("main", Opset::Ios18);
    let x = b.input("x", TensorType::new(DType::F32, [3]));
    let parts = b.op_many("split", [("x", x.into()), ("num_splits", 3.into()), ("axis", 0.into())]);
    let program = b.finish([("y", parts[1])]).expect("valid");
    let f = program.entry();
    let joint = mil::grad::backward(f, &f.outputs, &f.inputs).expect("has a gradient");
    let mut derived = joint.function;
    derived.outputs = vec![joint.cotangents[&f.inputs[0]]];
    let derived = mil::verify::verify(mil::Program::of(derived)).expect("valid");
    let inputs = [f32s(&[3], &[5.0, 6.0, 7.0]), f32s(&[1], &[1.0])];
    let dx = run(&derived, &Weights::new(), &inputs, Rounding::AsTyped).expect("runs");
    assert_eq!(dx[0].as_floats(), [0.0, 1.0, 0.0]);
}

/// Derived programs tile one number; they do not carry constants as large as the tensors they work on.
#[test]
fn gradients_hold_no_large_constants() {
    let b = Builder::new("main", Opset::Ios18);
    let x = b.input("x", TensorType::new(DType::F16, [1, 64, 1, 256]));
    let y = x.slice(&[0, 0, 0, 0], &[1, 32, 1, 256]).reduce_sum(&[1], false);
    let program = b.finish([("y", y)]).expect("valid");
    let f = program.entry();
    let joint = mil::grad::backward(f, &f.outputs, &f.inputs).expect("has a gradient");
    let largest = joint.function.ops.iter().filter_map(|o| o.const_literal()).map(|l| l.ty.elements()).max();
    assert!(largest <= Some(64), "{largest:?} elements");
}
