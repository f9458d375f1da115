//! Known answers of operations on images and of division, from documentation and from other implementations.

use crate::answers::{answer, close, f32s, float, ints};
use mil::build::Input;
use mil::eval::{Rounding, run};
use mil::grad::backward;
use mil::ir::{Arg, Operation};
use mil::verify::verify;
use mil::{
    ArgValue, DType, Data, Function, Literal, Op, Opset, Program, Tensor, TensorType, Verified, Weights,
};

/// The grid points in the documentation of coremltools' `resize_bilinear`, for `[0, 1]`, and one that it only gives a
/// formula for.
#[test]
fn sampling_modes_have_the_points_of_the_documentation() {
    let resize = |mode: &'static str, width: i64| {
        let rest = vec![("target_size_width", Input::Int(width)), ("sampling_mode", mode.into())];
        answer("resize_bilinear", ("x", f32s(&[1, 1, 2], &[0.0, 1.0])), rest)
    };
    close(&resize("UNALIGN_CORNERS", 5), &[0.0, 0.1, 0.5, 0.9, 1.0], 1e-6);
    close(&resize("STRICT_ALIGN_CORNERS", 5), &[0.0, 0.25, 0.5, 0.75, 1.0], 1e-6);
    close(&resize("ALIGN_CORNERS", 5), &[0.0, 0.25, 0.5, 0.75, 1.0], 1e-6);
    close(&resize("DEFAULT", 5), &[0.0, 0.4, 0.8, 1.0, 1.0], 1e-6);
    close(&resize("OFFSET_CORNERS", 5), &[0.1, 0.3, 0.5, 0.7, 0.9], 1e-6);
    close(&resize("OFFSET_CORNERS", 6), &[0.083333, 0.25, 0.416667, 0.583333, 0.75, 0.916667], 1e-6);
    close(&resize("STRICT_ALIGN_CORNERS", 1), &[0.0], 0.0);
    close(&resize("ALIGN_CORNERS", 1), &[0.5], 0.0);
}

/// As in coremltools' tests: 3 · 0.67 gives 2 columns, 3 · 1.12 gives 3, each of which is one of the old ones. In
/// fp32 10 · 0.7 is 7, though the fp32 next to 0.7 is below it.
#[test]
fn scale_factors_are_rounded_through_the_size() {
    let upsample = |n: usize, factor: f64| {
        let values: Vec<f64> = (0..n).map(|i| i as f64).collect();
        let rest = vec![("scale_factor_width", float(factor)), ("scale_factor_height", float(1.0))];
        answer("upsample_nearest_neighbor", ("x", f32s(&[1, 1, n], &values)), rest).to_floats()
    };
    assert_eq!(upsample(3, 0.67), [0.0, 1.0]);
    assert_eq!(upsample(3, 1.12), [0.0, 1.0, 2.0]);
    assert_eq!(upsample(3, 2.0), [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
    assert_eq!(upsample(10, 0.7).len(), 7);
}

/// PyTorch's `nearest` and `nearest-exact` of 0 … 4 at size 3, and coremltools' test of `resize` from 2 to 3.
#[test]
fn nearest_neighbours_are_counted_from_edges_or_from_middles() {
    let x = |n: usize| ("x", f32s(&[1, 1, n], &(0..n).map(|i| i as f64).collect::<Vec<_>>()));
    let rest = vec![("scale_factor_width", float(0.6)), ("scale_factor_height", float(1.0))];
    assert_eq!(answer("upsample_nearest_neighbor", x(5), rest).as_floats(), [0.0, 1.0, 3.0]);
    let rest = vec![("target_size_width", Input::Int(3)), ("target_size_height", Input::Int(1))];
    assert_eq!(answer("resize_nearest_neighbor", x(5), rest).as_floats(), [0.0, 2.0, 4.0]);
    let resize = |n: usize, mode: &'static str| {
        let last = Tensor::new(TensorType::scalar(DType::U32), Data::Int(vec![1])).expect("fits");
        let rest = vec![
            ("shape", ints(DType::I32, &[3])),
            ("resized_dims", Literal::inline(last).into()),
            ("interpolation_mode", "NEAREST_NEIGHBOR".into()),
            ("sampling_mode", mode.into()),
        ];
        answer("resize", x(n), rest).to_floats()
    };
    assert_eq!(resize(2, "DEFAULT"), [0.0, 1.0, 1.0]);
    assert_eq!(resize(4, "STRICT_ALIGN_CORNERS"), [0.0, 2.0, 3.0]); // 1.5 goes up
}

/// coremltools' tests of `resample`, iOS15: every padding, both ways of sampling.
#[test]
fn resample_pads_and_mirrors() {
    let coordinates = [-1.0, -2.0, -3.7, -1.0, 0.0, 0.0, 3.5, 1.2];
    let resample =
        |sampling: &'static str, padding: &'static str, value: f64, mode: &'static str, align: bool| {
            let rest = vec![
                ("coordinates", Literal::inline(f32s(&[1, 2, 2, 2], &coordinates)).into()),
                ("sampling_mode", sampling.into()),
                ("padding_mode", padding.into()),
                ("padding_value", float(value)),
                ("coordinates_mode", mode.into()),
                ("align_corners", Input::Bool(align)),
            ];
            answer("resample", ("x", f32s(&[1, 1, 2, 2], &[11.0, 22.0, 33.0, 44.0])), rest)
        };
    let constant = resample("bilinear", "constant", 6.17, "normalized_minus_one_to_one", true);
    close(&constant, &[8.585, 6.17, 27.5, 6.17], 1e-5);
    let border = resample("nearest", "border", -1.0, "unnormalized", false);
    close(&border, &[11.0, 11.0, 11.0, 44.0], 0.0);
    let reflection = resample("bilinear", "reflection", -1.0, "normalized_zero_to_one", true);
    close(&reflection, &[22.0, 36.3, 11.0, 34.1], 1e-4);
    let symmetric = resample("nearest", "symmetric", -1.0, "normalized_zero_to_one", false);
    close(&symmetric, &[22.0, 33.0, 11.0, 33.0], 0.0);
}

/// coremltools' test of `affine`.
#[test]
fn affine_maps_the_result_to_the_image() {
    let rest = vec![
        ("transform_matrix", Literal::inline(f32s(&[1, 6], &[-1.0, -2.0, -3.7, -1.0, 3.5, 1.2])).into()),
        ("output_height", Input::Int(3)),
        ("output_width", Input::Int(3)),
        ("sampling_mode", "Bilinear".into()),
        ("padding_mode", "constant".into()),
        ("padding_value", float(0.0)),
        ("coordinates_mode", "normalized_minus_one_to_one".into()),
        ("align_corners", Input::Bool(true)),
    ];
    let y = answer("affine", ("x", f32s(&[1, 1, 2, 2], &[11.0, 22.0, 33.0, 44.0])), rest);
    close(&y, &[10.7525, 2.5025, 0.0, 1.98, 0.0, 0.0, 0.0, 0.0, 0.0], 1e-5);
}

fn sixteen() -> Tensor {
    f32s(&[1, 1, 4, 4], &(1..=16).map(f64::from).collect::<Vec<_>>())
}

const BOXES: [f64; 12] = [0.1, 0.3, 1.3, 1.0, 0.5, 1.8, 1.0, 0.3, 0.0, 0.4, 0.6, 0.7];
const PARTS: [f64; 12] = [3.1, 5.2, 10.0, 10.0, 10.0, 7.9, 10.0, 13.9, 2.2, 3.1, 9.4, 10.3];

/// coremltools' test of `crop_resize`, iOS17: a box that ends outside, one that runs backwards, one within.
#[test]
fn crop_resize_pads_what_is_outside() {
    let rest = vec![
        ("boxes", Literal::inline(f32s(&[3, 4], &BOXES)).into()),
        ("box_indices", ints(DType::I32, &[0, 0, 0])),
        ("target_height", Input::Int(2)),
        ("target_width", Input::Int(2)),
        ("normalized_coordinates", Input::Bool(true)),
        ("sampling_mode", "ALIGN_CORNERS".into()),
        ("pad_value", float(10.0)),
    ];
    close(&answer("crop_resize", ("x", sixteen()), rest), &PARTS, 1e-5);
}

/// The older form of `crop_resize`, of input `x` and constants.
fn older(x: &TensorType, constants: Vec<(&str, Tensor)>) -> Result<Verified<Program>, mil::Report> {
    let op = Op::find_in("crop_resize", Opset::Ios16).expect("of the table");
    let mut f = Function::empty("main", Opset::Ios16);
    let input = f.add_value("x", x.clone());
    f.inputs.push(input);
    let param = |name: &str| op.param(name).expect("a parameter");
    let mut args = vec![Arg { param: param("x"), value: ArgValue::Value(input) }];
    for (name, tensor) in constants {
        args.push(Arg { param: param(name), value: ArgValue::Literal(Literal::inline(tensor)) });
    }
    let mut operation = Operation::new(op, args, Vec::new());
    let call = mil::op::Call::new(&f, &f.literals(), &operation);
    let types = (op.infer)(&call).unwrap_or_else(|e| panic!("{e:?}"));
    operation.results = types.into_iter().map(|ty| f.add_value("y", ty)).collect();
    f.outputs.clone_from(&operation.results);
    f.ops.push(operation);
    verify(Program::of(f))
}

fn scalar(dtype: DType, data: Data) -> Tensor {
    Tensor::new(TensorType::scalar(dtype), data).expect("fits")
}

/// The same in the form of iOS16, where each box brings the number of its image along.
#[test]
fn crop_resize_had_boxes_with_images() {
    let roi: Vec<f64> = BOXES.chunks(4).flat_map(|b| [&[0.0], b].concat()).collect();
    let constants = vec![
        ("roi", f32s(&[3, 1, 5, 1, 1], &roi)),
        ("target_height", scalar(DType::I32, Data::Int(vec![2]))),
        ("target_width", scalar(DType::I32, Data::Int(vec![2]))),
        ("normalized_coordinates", scalar(DType::Bool, Data::Bool(vec![true]))),
        ("sampling_mode", scalar(DType::Str, Data::Str(vec!["ALIGN_CORNERS".into()]))),
        ("pad_value", f32s(&[], &[10.0])),
    ];
    let x = sixteen();
    let program = older(&x.ty, constants).expect("valid");
    let y = run(&program, &Weights::new(), &[x], Rounding::AsTyped).expect("runs").remove(0);
    assert_eq!(y.ty.shape, [3, 1, 1, 2, 2]);
    close(&y, &PARTS, 1e-5);
}

/// Without numbers of images each box is cut out of all. The pixel of each image gets back what the boxes took of it: all
/// of it once, and a half of it.
#[test]
fn crop_resize_cut_boxes_out_of_all_images() {
    let x = f32s(&[2, 1, 1, 2], &[1.0, 3.0, 5.0, 9.0]);
    let constants = vec![("roi", f32s(&[2, 1, 4, 1, 1], &[0.0, 0.0, 0.0, 1.0, 0.0, 0.5, 0.0, 0.5]))];
    let program = older(&x.ty, constants).expect("valid");
    let y =
        run(&program, &Weights::new(), std::slice::from_ref(&x), Rounding::AsTyped).expect("runs").remove(0);
    assert_eq!(y.ty.shape, [2, 2, 1, 1, 1]);
    assert_eq!(y.as_floats(), [1.0, 5.0, 2.0, 7.0]);
    let f = program.entry();
    let joint = backward(f, &f.outputs, &f.inputs).expect("has a gradient");
    let mut derived = joint.function;
    derived.outputs = vec![joint.cotangents[&f.inputs[0]]];
    let derived = verify(Program::of(derived)).expect("valid");
    let dy = f32s(&[2, 2, 1, 1, 1], &[1.0, 10.0, 100.0, 1000.0]);
    let dx = run(&derived, &Weights::new(), &[x, dy], Rounding::AsTyped).expect("runs").remove(0);
    assert_eq!(dx.as_floats(), [51.0, 50.0, 510.0, 500.0]);
}

/// The identity is where transforms start to be trained: its points lie on pixels, where the slope to the right counts.
#[test]
fn points_on_pixels_have_a_slope() {
    let b = mil::Builder::new("main", Opset::Ios18);
    let x = b.input("x", TensorType::new(DType::F32, [1, 1, 1, 3]));
    let at = b.input("at", TensorType::new(DType::F32, [1, 1, 2, 2]));
    let args = [
        ("x", x.into()),
        ("coordinates", at.into()),
        ("sampling_mode", "bilinear".into()),
        ("padding_mode", "border".into()),
        ("padding_value", float(0.0)),
        ("coordinates_mode", "unnormalized".into()),
        ("align_corners", true.into()),
    ];
    let program = b.finish([("y", b.op("resample", args))]).expect("valid");
    let f = program.entry();
    let joint = backward(f, &f.outputs, &f.inputs[1..]).expect("has a gradient");
    let mut derived = joint.function;
    derived.outputs = vec![joint.cotangents[&f.inputs[1]]];
    let derived = verify(Program::of(derived)).expect("valid");
    let inputs = [
        f32s(&[1, 1, 1, 3], &[1.0, 4.0, 9.0]),
        f32s(&[1, 1, 2, 2], &[1.0, 0.0, 2.0, 0.0]),
        f32s(&[1, 1, 1, 2], &[1.0, 1.0]),
    ];
    let d = run(&derived, &Weights::new(), &inputs, Rounding::AsTyped).expect("runs").remove(0);
    assert_eq!(d.as_floats(), [5.0, 0.0, 0.0, 0.0]); // at the last pixel there is nothing to the right
}

/// NumPy's `//` and `%`. The fp32 next to 0.1 is above it, so it goes into 1 nine times.
#[test]
fn division_rounds_down_as_numpy() {
    let divided = |op: &str, dtype: DType, x: &[i64], y: &[i64]| {
        let x = Tensor::new(TensorType::new(dtype, [x.len()]), Data::Int(x.to_vec())).expect("fits");
        answer(op, ("x", x), vec![("y", ints(dtype, y))]).as_ints().to_vec()
    };
    let min = i64::from(i32::MIN);
    let (x, y) = ([7, -7, 7, -7, 5, min, min], [3, 3, -3, -3, 0, -1, 3]);
    assert_eq!(divided("floor_div", DType::I32, &x, &y), [2, -3, -3, 2, 0, min, -715_827_883]);
    assert_eq!(divided("mod", DType::I32, &x, &y), [1, 2, -2, -1, 0, 0, 1]);
    let floats = |op: &str| {
        let y = f32s(&[5], &[0.1, 0.3, -0.5, f64::INFINITY, 0.0]);
        answer(op, ("x", f32s(&[5], &[1.0, -1.0, 0.75, -2.0, 1.0])), vec![("y", Literal::inline(y).into())])
    };
    assert_eq!(floats("floor_div").as_floats(), [9.0, -4.0, -2.0, -1.0, f64::INFINITY]);
    assert!(floats("mod").as_floats()[4].is_nan());
    close(&answer("mod", ("x", f32s(&[2], &[5.5, -5.5])), vec![("y", float(2.0))]), &[1.5, 0.5], 0.0);
}
