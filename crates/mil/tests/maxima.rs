//! Known answers of `non_maximum_suppression`, in both of its forms.

use mil::build::Input;
use mil::eval::{Rounding, run};
use mil::grad::backward;
use mil::ir::Arg;
use mil::verify::verify;
use mil::{
    ArgValue, Builder, DType, Data, Literal, Op, Opset, Program, Tensor, TensorType, Verified, Weights,
};

fn f32s(shape: &[usize], values: &[f64]) -> Tensor {
    Tensor::floats(TensorType::new(DType::F32, shape), values.iter().copied())
}

fn scalar(dtype: DType, data: Data) -> Tensor {
    Tensor::new(TensorType::scalar(dtype), data).expect("fits")
}

/// Four boxes of 2 by 2 in a row: the first two share a third of what they cover (1·2 of 2·4 − 1·2), the others nothing.
const BOXES: [[f64; 4]; 4] =
    [[1.0, 1.0, 2.0, 2.0], [2.0, 1.0, 2.0, 2.0], [5.0, 1.0, 2.0, 2.0], [9.0, 1.0, 2.0, 2.0]];

/// `rows` as columns.
fn turned<const N: usize>(rows: &[[f64; N]]) -> Vec<f64> {
    (0..N).flat_map(|i| rows.iter().map(move |r| r[i])).collect()
}

/// What the form of iOS17 keeps of `BOXES`.
fn kept<const K: usize>(scores: &[[f64; K]; 4], iou: f64, most: i64, per_class: bool) -> Vec<Tensor> {
    let b = Builder::new("main", Opset::Ios17);
    let inputs = [f32s(&[1, 4, 4], &turned(&BOXES)), f32s(&[1, K, 4], &turned(scores))];
    let [boxes, scores] = [("b", &inputs[0]), ("s", &inputs[1])].map(|(n, t)| b.input(n, t.ty.clone()));
    let args: Vec<(&str, Input<'_>)> = vec![
        ("boxes", boxes.into()),
        ("scores", scores.into()),
        ("iou_threshold", Literal::inline(f32s(&[], &[iou])).into()),
        ("max_boxes", most.into()),
        ("per_class_suppression", per_class.into()),
    ];
    let results = b.op_many("non_maximum_suppression", args);
    let program = b.finish(["y0", "y1", "y2"].into_iter().zip(results)).expect("valid");
    run(&program, &Weights::new(), &inputs, Rounding::AsTyped).expect("runs")
}

#[test]
fn worse_boxes_that_overlap_go() {
    let scores = [[0.5], [0.9], [0.1], [0.7]];
    let y = kept(&scores, 0.3, 4, false);
    assert_eq!(y[2].as_ints(), [1, 3, 2, -1]);
    assert_eq!(y[1].as_floats().iter().map(|&x| x as f32).collect::<Vec<_>>(), [0.9, 0.7, 0.1, 0.0]);
    let boxes = turned(&[BOXES[1], BOXES[3], BOXES[2], [0.0; 4]]);
    assert_eq!(y[0].as_floats(), boxes);
    // More than a third is asked for: none goes, and the last has no place.
    assert_eq!(kept(&scores, 0.34, 3, false)[2].as_ints(), [1, 3, 0]);
}

/// The first two boxes are of different classes.
#[test]
fn classes_can_be_told_apart() {
    let scores = [[0.5, 0.1], [0.2, 0.9], [0.1, 0.0], [0.0, 0.7]];
    assert_eq!(kept(&scores, 0.3, 4, false)[2].as_ints(), [1, 3, 2, -1]);
    assert_eq!(kept(&scores, 0.3, 4, true)[2].as_ints(), [1, 3, 0, 2]);
}

#[test]
fn scores_that_are_no_numbers_lose() {
    let scores = [[f64::NAN], [0.0], [-0.0], [f64::NEG_INFINITY]];
    assert_eq!(kept(&scores, 0.3, 4, false)[2].as_ints(), [1, 2, 3, -1]);
}

/// The form of iOS15 on `BOXES`, of one class.
fn older(threshold: f64, most: i64) -> Verified<Program> {
    let b = Builder::new("main", Opset::Ios15);
    let boxes = b.input("boxes", TensorType::new(DType::F32, [1, 4, 4]));
    b.input("scores", TensorType::new(DType::F32, [1, 4, 1]));
    let mut program = b.finish([("y", b.op("identity", [("x", boxes.into())]))]).expect("valid").into_inner();
    let f = &mut program.functions[0];
    let op = Op::find_in("non_maximum_suppression", Opset::Ios15).expect("of the table");
    let arg = |name: &str, value| Arg { param: op.param(name).expect("a parameter"), value };
    let constant = |name: &str, tensor| arg(name, ArgValue::Literal(Literal::inline(tensor)));
    let mut operation = f.ops.pop().expect("one operation");
    operation.op = op;
    operation.args = vec![
        arg("boxes", ArgValue::Value(f.inputs[0])),
        arg("scores", ArgValue::Value(f.inputs[1])),
        constant("iou_threshold", f32s(&[], &[0.3])),
        constant("score_threshold", f32s(&[], &[threshold])),
        constant("max_boxes", scalar(DType::I32, Data::Int(vec![most]))),
    ];
    let types =
        (op.infer)(&mil::op::Call::new(f, &f.literals(), &operation)).unwrap_or_else(|e| panic!("{e:?}"));
    operation.results =
        types.into_iter().enumerate().map(|(i, ty)| f.add_value(format!("y{i}"), ty)).collect();
    f.outputs.clone_from(&operation.results);
    f.ops.push(operation);
    verify(program).expect("valid")
}

#[test]
fn boxes_once_had_to_reach_a_score() {
    let inputs = [f32s(&[1, 4, 4], &BOXES.concat()), f32s(&[1, 4, 1], &[0.5, 0.875, 0.125, 0.75])];
    let of =
        |threshold| run(&older(threshold, 3), &Weights::new(), &inputs, Rounding::AsTyped).expect("runs");
    let y = of(0.75);
    assert_eq!(y[0].as_floats(), [BOXES[1], BOXES[3], [0.0; 4]].concat());
    assert_eq!(
        (y[1].as_floats(), y[2].as_ints(), y[3].as_ints()),
        (&[0.875, 0.75, 0.0][..], &[1, 3, -1][..], &[2][..])
    );
    // None reaches 1: the best is kept.
    let y = of(1.0);
    assert_eq!((y[2].as_ints(), y[3].as_ints()), (&[1, -1, -1][..], &[1][..]));
}

/// The cotangents of what was kept go where it came from.
#[test]
fn kept_boxes_have_a_gradient() {
    let program = older(0.0, 2);
    let f = program.entry();
    let joint = backward(f, &f.outputs[..2], &f.inputs).expect("has a gradient");
    let mut derived = joint.function;
    derived.outputs = f.inputs.iter().map(|v| joint.cotangents[v]).collect();
    let derived = verify(Program::of(derived)).expect("valid");
    let inputs = [
        f32s(&[1, 4, 4], &BOXES.concat()),
        f32s(&[1, 4, 1], &[0.5, 0.875, 0.125, 0.75]),
        f32s(&[1, 2, 4], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]),
        f32s(&[1, 2, 1], &[10.0, 20.0]),
    ];
    let d = run(&derived, &Weights::new(), &inputs, Rounding::AsTyped).expect("runs");
    let rows = [[0.0; 4], [1.0, 2.0, 3.0, 4.0], [0.0; 4], [5.0, 6.0, 7.0, 8.0]];
    assert_eq!((d[0].as_floats(), d[1].as_floats()), (&rows.concat()[..], &[0.0, 10.0, 0.0, 20.0][..]));
}
