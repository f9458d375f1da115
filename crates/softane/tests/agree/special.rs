//! Zeros of both signs, subnormal numbers, infinities and NaN, at lengths that end in the middle of a vector.

use crate::close::{run, ulp};
use mil::eval::{self, Rounding};
use mil::{Builder, DType, Opset, Tensor, TensorType, Var, Weights};
use softane::Executable;

/// Numbers at the edges of `dtype`, and plain ones between them.
fn edges(dtype: DType) -> Vec<f64> {
    let (least, normal, most) = match dtype {
        DType::F16 => (2f64.powi(-24), 2f64.powi(-14), 65504.0),
        _ => (2f64.powi(-149), 2f64.powi(-126), f64::from(f32::MAX)),
    };
    let sizes = [0.0, least, normal - least, normal, 0.3, 1.0, 2.5, 20.0, 90.0, most, f64::INFINITY];
    sizes.iter().flat_map(|&x| [x, -x]).chain([f64::NAN]).collect()
}

/// Compares the engine with the meaning of `build(x, y)`, element by element.
fn agrees(what: &str, dtype: DType, shape: [usize; 2], build: impl for<'b> Fn(Var<'b>, Var<'b>) -> Var<'b>) {
    let b = Builder::new("main", Opset::Ios18);
    let ty = TensorType::new(dtype, shape);
    let z = build(b.input("x", ty.clone()), b.input("y", ty.clone()));
    let program = b.finish([("z", z)]).expect("valid");
    let edges = edges(dtype);
    // Every pair of edges, if there are enough elements.
    let values = |f: &dyn Fn(usize) -> usize| {
        Tensor::floats(ty.clone(), (0..ty.elements()).map(|i| edges[f(i) % edges.len()]))
    };
    let inputs = [values(&|i| i), values(&|i| i + i / edges.len())];
    let out = program.entry().ty(program.entry().outputs[0]).clone();
    let executable = Executable::compile(&program, &Weights::new()).expect("compiles");
    let got = run(&executable, &inputs, &[out]);
    let want = eval::run(&program, &Weights::new(), &inputs, Rounding::AsTyped).expect("has a meaning");
    for (i, (&g, &w)) in got[0].as_floats().iter().zip(want[0].as_floats()).enumerate() {
        // Functions are within 4 units, but what an exponential is taken of may be 90 and wrong in its last place. In
        // single precision, what would be subnormal may be 0, and so may 90 times that be.
        let units = if what == "softmax" && dtype == DType::F32 { 100.0 } else { 4.0 };
        let same = g == w || g.is_nan() && w.is_nan();
        let close = (g - w).abs() <= units * ulp(w, dtype) + 100.0 * 2f64.powi(-126);
        // One unit below the largest number is infinity, where a function rounds up.
        let most = if dtype == DType::F16 { 65504.0 } else { f64::from(f32::MAX) };
        let over = g.is_infinite() && w.abs() > most * (1.0 - 1e-6) && g.signum() == w.signum();
        let at = |t: &Tensor| t.as_floats().get(i).copied();
        assert!(
            same || close || over,
            "{what}, {dtype}, {shape:?}: {g:e}, not {w:e}, of {:?} and {:?}",
            at(&inputs[0]),
            at(&inputs[1])
        );
    }
}

/// Lengths of rows around those of vectors, tiles and tasks.
const LENGTHS: [usize; 7] = [1, 15, 17, 33, 530, 1025, 2100];

#[test]
fn elementwise_functions_agree_at_the_edges() {
    for dtype in [DType::F16, DType::F32] {
        for n in LENGTHS {
            let each = |name: &'static str| {
                agrees(name, dtype, [1, n], move |x, _| x.builder().op(name, [("x", x.into())]));
            };
            [
                "abs", "ceil", "floor", "round", "relu", "sigmoid", "silu", "tanh", "sqrt", "square", "sign",
                "exp",
            ]
            .into_iter()
            .for_each(each);
            agrees("clip", dtype, [1, n], move |x, _| {
                let end =
                    |x: f64| mil::Literal::inline(Tensor::floats(TensorType::new(dtype, []), [x])).into();
                x.builder().op("clip", [("x", x.into()), ("alpha", end(-0.5)), ("beta", end(2.0))])
            });
            agrees("cast", dtype, [1, n], |x, _| x + 0.0);
            agrees("add", dtype, [1, n], |x, y| x + y);
            agrees("sub", dtype, [1, n], |x, y| x - y);
            agrees("mul", dtype, [1, n], |x, y| x * y);
            agrees("maximum", dtype, [1, n], |x, y| {
                x.builder().op("maximum", [("x", x.into()), ("y", y.into())])
            });
            agrees("minimum", dtype, [1, n], |x, y| {
                x.builder().op("minimum", [("x", x.into()), ("y", y.into())])
            });
            agrees("real_div", dtype, [1, n], |x, y| {
                x.builder().op("real_div", [("x", x.into()), ("y", y.into())])
            });
            agrees("softmax", dtype, [3, n], |x, _| x.softmax(-1));
            agrees("sum", dtype, [3, n], |x, _| x.reduce_sum(&[1], true));
            agrees("reduce_max", dtype, [3, n], |x, _| {
                let axes = ("axes", vec![1].into());
                x.builder().op("reduce_max", [("x", x.into()), axes, ("keep_dims", true.into())])
            });
            agrees("chain", dtype, [1, n], |x, y| (x * 0.5 + y) * y);
        }
    }
}

#[test]
fn products_agree_at_the_edges() {
    // One odd number in each row or column of plain ones: what it comes to is seen on its own.
    for dtype in [DType::F16, DType::F32] {
        for (m, k, n) in [(5, 7, 4), (12, 32, 32), (13, 33, 31), (50, 70, 40), (64, 513, 33)] {
            for transposed in [false, true] {
                product(dtype, (m, k, n), transposed);
            }
        }
    }
}

fn product(dtype: DType, (m, k, n): (usize, usize, usize), transposed: bool) {
    let b = Builder::new("main", Opset::Ios18);
    let left = TensorType::new(dtype, if transposed { [k, m] } else { [m, k] });
    let right = TensorType::new(dtype, [k, n]);
    let (x, y) = (b.input("x", left.clone()), b.input("y", right.clone()));
    let program = b.finish([("z", x.matmul(y, transposed, false))]).expect("valid");
    let edges = edges(dtype);
    let plain = |i: usize| ((i * 7919) % 61) as f64 / 64.0 - 0.5;
    // Half of the left side is 0, which the engine may skip, but not where the right side is infinite or no number.
    let at = |i: usize, j: usize| match j {
        j if j > i => 0.0,
        j if j == i => edges[i % edges.len()],
        j => plain(i * k + j),
    };
    let xs = (0..m * k).map(|e| if transposed { at(e % m, e / m) } else { at(e / k, e % k) });
    let ys = (0..k * n).map(|e| if e / n == e % n + 2 { edges[e % edges.len()] } else { plain(e) });
    let inputs = [Tensor::floats(left, xs), Tensor::floats(right, ys)];
    let out = TensorType::new(dtype, [m, n]);
    let got = run(&Executable::compile(&program, &Weights::new()).expect("compiles"), &inputs, &[out]);
    let want = eval::run(&program, &Weights::new(), &inputs, Rounding::AsTyped).expect("has a meaning");
    for (i, (&g, &w)) in got[0].as_floats().iter().zip(want[0].as_floats()).enumerate() {
        // Sums of up to 513 terms below 1, beside at most two large ones: half a unit of the type, and f32's error.
        let close = (g - w).abs() <= ulp(w, dtype) + 513.0 * 2f64.powi(-24) * w.abs().max(1.0);
        // What exceeds f32 on the way is infinite or no number here, and may be finite in f64.
        let large = w.abs() > 1e37 || w.is_nan() && g.is_infinite();
        let same = g == w || g.is_nan() && w.is_nan();
        assert!(same || close || large, "{dtype}, {m}×{k}×{n}, {transposed}: {g:e}, not {w:e}, at {i}");
    }
}
