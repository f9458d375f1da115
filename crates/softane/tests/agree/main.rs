//! The engine agrees with the reference meaning on every operation of the table.

mod attention;
#[expect(dead_code, reason = "what gradients need is not asked for here")]
#[path = "../../../mil/tests/table/cases/mod.rs"]
mod cases;
mod close;
mod detector;
mod fused;
mod hardware;
mod random;
mod special;
mod weights;

use close::{assert_close, run, sizes};
use mil::eval::{self, Rounding};
use mil::{Builder, DType, Opset, Program, Tensor, TensorType, Verified, Weights};
use softane::Executable;

/// Operations that add up terms of either sign.
const SUMS: [&str; 8] = [
    "matmul",
    "conv",
    "linear",
    "reduce_sum",
    "reduce_mean",
    "layer_norm",
    "scaled_dot_product_attention",
    "reduce_log_sum",
];

#[test]
fn every_operation_agrees_with_its_meaning() {
    for case in cases::cases() {
        let op = mil::Op::find(case.op).expect("a case names an operation");
        // With every argument, and without each that may be absent.
        let optional = op.params.iter().filter(|p| p.absent != mil::op::Absent::Refused);
        let shorter = optional.map(|p| case.without(p.name));
        for case in [case.clone()].into_iter().chain(shorter) {
            for dtype in [DType::F16, DType::F32] {
                if let Ok(built) = case.build(dtype) {
                    agrees(
                        &built.program,
                        &built.inputs,
                        SUMS.contains(&case.op),
                        &format!("{case}, {dtype}"),
                    );
                }
            }
        }
    }
}

/// Bounds that come as inputs: what is moved has the same bits.
#[test]
fn computed_bounds_agree_with_their_meaning() {
    let mut tried = std::collections::BTreeSet::new();
    for case in cases::cases() {
        let op = mil::Op::find(case.op).expect("a case names an operation");
        for param in op.params.iter().filter(|p| p.role == mil::op::Role::Bound) {
            let Some(case) = case.computed(param.name) else { continue };
            for dtype in [DType::F16, DType::F32] {
                let Ok(built) = case.build(dtype) else { continue };
                let function = built.program.entry();
                let types: Vec<TensorType> =
                    function.outputs.iter().map(|&v| function.ty(v).clone()).collect();
                let executable = Executable::compile(&built.program, &Weights::new()).expect("compiles");
                let want = eval::run(&built.program, &Weights::new(), &built.inputs, Rounding::AsTyped);
                assert_eq!(run(&executable, &built.inputs, &types), want.expect("has a meaning"), "{case}");
                tried.insert(case.op);
            }
        }
    }
    assert_eq!(tried.into_iter().collect::<Vec<_>>(), ["slice_by_index", "slice_by_size", "slice_update"]);
}

/// Compares what `program` gives with what it means.
fn agrees(program: &Verified<Program>, inputs: &[Tensor], is_sum: bool, what: &str) {
    let function = program.entry();
    let types: Vec<TensorType> = function.outputs.iter().map(|&v| function.ty(v).clone()).collect();
    let executable = Executable::compile(program, &Weights::new()).expect("compiles");
    let got = run(&executable, inputs, &types);
    let meaning = |inputs: &[_], r| eval::run(program, &Weights::new(), inputs, r).expect("has a meaning");
    let want = meaning(inputs, Rounding::AsTyped);
    let terms = meaning(&sizes(inputs), Rounding::Exact);
    for ((got, want), terms) in got.iter().zip(&want).zip(&terms) {
        assert_close(got, want, is_sum.then_some(terms), what);
    }
}

/// `x · y` of these shapes, either transposed first.
fn product(x: &[usize], y: &[usize], turn: (bool, bool), dtype: DType) -> (Verified<Program>, Vec<Tensor>) {
    let b = Builder::new("main", Opset::Ios18);
    let transposed = |shape: &[usize], turn: bool| {
        let mut shape = shape.to_vec();
        let rank = shape.len();
        if turn {
            shape.swap(rank - 1, rank - 2);
        }
        TensorType::new(dtype, shape)
    };
    let types = [transposed(x, turn.0), transposed(y, turn.1)];
    let (x, y) = (b.input("x", types[0].clone()), b.input("y", types[1].clone()));
    let program = b.finish([("z", x.matmul(y, turn.0, turn.1))]).expect("valid");
    let numbers = |ty: TensorType| {
        let n = ty.elements();
        Tensor::floats(ty, (0..n).map(|i| ((i * 7919) % 4001) as f64 / 2000.0 - 1.0))
    };
    (program, types.map(numbers).into())
}

#[test]
fn products_in_blocks_and_batches_agree() {
    let shapes: [(&[usize], &[usize]); 8] = [
        (&[300, 300], &[300, 64]),
        // Few products, each in several tasks; the last one of one row.
        (&[1, 3, 130, 40], &[1, 3, 40, 48]),
        (&[2, 145, 40], &[2, 40, 48]),
        (&[1, 3, 1, 90], &[1, 3, 90, 130]),
        (&[1, 12, 100, 40], &[1, 12, 40, 60]),
        (&[1, 12, 30, 40], &[1, 1, 40, 50]),
        (&[2, 1, 70, 40], &[1, 6, 40, 1]),
        (&[40], &[3, 40, 20]),
    ];
    for (x, y) in shapes {
        for turn in [(false, false), (true, false), (false, true), (true, true)] {
            for dtype in [DType::F16, DType::F32] {
                if x.len() == 1 && turn.0 {
                    continue;
                }
                let (program, inputs) = product(x, y, turn, dtype);
                agrees(&program, &inputs, true, &format!("{x:?} · {y:?}, transposed {turn:?}, {dtype}"));
            }
        }
    }
}

#[test]
fn programs_without_elements_run() {
    let b = mil::Builder::new("main", mil::Opset::Ios18);
    let x = b.input("x", mil::ty::f16([1, 0, 1, 4]));
    let y = x * 2.0;
    let z = x.reduce_sum(&[1], true);
    let Ok(program) = b.finish([("y", y), ("z", z)]) else { return };
    let executable = Executable::compile(&program, &Weights::new()).expect("compiles");
    let types = [mil::ty::f16([1, 0, 1, 4]), mil::ty::f16([1, 1, 1, 4])];
    let inputs = [mil::Tensor::floats(types[0].clone(), [])];
    assert_eq!(run(&executable, &inputs, &types)[1].as_floats(), [0.0; 4]);
}
