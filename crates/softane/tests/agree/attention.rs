//! A softmax of products, with a mask and without: fused, it is what it is in parts.

use crate::close::run;
use mil::{Builder, DType, Opset, Tensor, TensorType, Weights};
use softane::Executable;
use softane::gemm::{GemmKernel, MatmulPrecision};

/// What is added to the scores.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mask {
    None,
    /// This, above the diagonal.
    Causal(f64),
    /// −65504 above the diagonal, added twice.
    Twice,
    /// −65504 above the diagonal, and this in row 60, column 7.
    Spot(f64),
    /// −65504 everywhere in row 70, above the diagonal elsewhere.
    Blind,
}

const HEADS: usize = 3;
const ROWS: usize = 100;

/// What is computed: softmax of `q·kᵀ/8 + mask`; `q` and `k` are of `size`, `odd` stands in row 50 of the first `q`.
#[derive(Clone, Copy, Debug)]
struct Case {
    kernel: GemmKernel,
    cols: usize,
    dtype: DType,
    mask: Mask,
    size: f64,
    odd: f64,
}

fn probabilities(case: Case, in_parts: bool) -> Vec<f64> {
    let Case { kernel, cols, dtype, mask, size, odd } = case;
    let b = Builder::new("main", Opset::Ios18);
    let ty = |shape: [usize; 4]| TensorType::new(dtype, shape);
    let types = [ty([1, HEADS, 64, ROWS]), ty([1, HEADS, cols, 64]), ty([1, 1, ROWS, cols])];
    let (q, k) = (b.input("q", types[0].clone()), b.input("k", types[1].clone()));
    let added = b.input("mask", types[2].clone());
    let product = q.t().matmul(k, false, true);
    let scores = match mask {
        Mask::None => product,
        Mask::Twice => product * 0.125 + added + added,
        _ => product * 0.125 + added,
    };
    let p = scores.softmax(-1).named("p");
    // What is a result, too, is not computed inside of anything else.
    let outputs = if in_parts { vec![("p", p), ("product", product)] } else { vec![("p", p)] };
    let program = b.finish(outputs).expect("valid");
    let executable = Executable::compile_with(&program, &Weights::new(), kernel).expect("compiles");
    assert_eq!(executable.plan().contains("rowwise"), !in_parts, "{}", executable.plan());

    let noise = |n: usize, seed: usize| {
        (0..n).map(move |i| size * (((i * 7919 + seed * 31) % 1009) as f64 / 504.0 - 1.0))
    };
    let mut qs: Vec<f64> = noise(types[0].elements(), 1).collect();
    qs[50] = if odd == 0.0 { qs[50] } else { odd };
    let added = |n: usize| {
        let (i, j) = (n / cols, n % cols);
        match mask {
            Mask::Causal(x) if j > i => x,
            Mask::Spot(x) if (i, j) == (60, 7) => x,
            Mask::Blind if i == 70 => -65504.0,
            Mask::Twice | Mask::Spot(_) | Mask::Blind if j > i => -65504.0,
            _ => 0.0,
        }
    };
    let inputs = [
        Tensor::floats(types[0].clone(), qs),
        Tensor::floats(types[1].clone(), noise(types[1].elements(), 2)),
        Tensor::floats(types[2].clone(), (0..types[2].elements()).map(added)),
    ];
    let shapes: Vec<_> = program.entry().outputs.iter().map(|&v| program.entry().ty(v).clone()).collect();
    let mut results = run(&executable, &inputs, &shapes);
    match results.swap_remove(0).data {
        mil::Data::Float(p) => p,
        other => panic!("{other:?}"),
    }
}

#[test]
fn fused_is_what_it_is_in_parts() {
    let masks = [
        Mask::None,
        Mask::Causal(-65504.0),
        Mask::Causal(f64::NEG_INFINITY),
        Mask::Causal(-100.0),
        Mask::Twice,
        Mask::Spot(f64::NAN),
        Mask::Spot(65504.0),
        Mask::Spot(-65504.0),
        Mask::Blind,
    ];
    let kernel = MatmulPrecision::F32.into();
    for dtype in [DType::F16, DType::F32] {
        for mask in masks {
            // Scores of about 1, of some thousands, and beyond half precision; then one that is no number.
            for (size, odd) in [(1.0, 0.0), (25.0, 0.0), (60.0, 0.0), (1.0, f64::NAN), (1.0, f64::INFINITY)] {
                for cols in [100, 37] {
                    compare(Case { kernel, cols, dtype, mask, size, odd });
                }
            }
        }
    }
}

/// Tiles of other sizes make other blocks.
#[test]
fn each_kernel_computes_fused_what_it_computes_in_parts() {
    for kernel in GemmKernel::names().into_iter().filter_map(GemmKernel::named) {
        for mask in [Mask::None, Mask::Causal(-65504.0), Mask::Twice] {
            for (cols, dtype) in [(100, DType::F16), (37, DType::F32)] {
                compare(Case { kernel, cols, dtype, mask, size: 1.0, odd: 0.0 });
            }
        }
    }
}

fn compare(case: Case) {
    let (fused, parts) = (probabilities(case, false), probabilities(case, true));
    for (i, (a, b)) in fused.iter().zip(&parts).enumerate() {
        // Products by a library may differ in the last bits with the size of the block.
        let close = (a - b).abs() <= 2e-3 * b.abs() || a.is_nan() && b.is_nan();
        assert!(close, "{case:?}: {a}, not {b}, at {i}");
    }
}

#[test]
fn what_the_mask_hides_is_0() {
    let kernel = MatmulPrecision::F32.into();
    for mask in [Mask::Causal(-65504.0), Mask::Twice] {
        let p =
            probabilities(Case { kernel, cols: ROWS, dtype: DType::F16, mask, size: 1.0, odd: 0.0 }, false);
        for (n, p) in p.into_iter().enumerate() {
            assert_eq!(p == 0.0, n % ROWS > n / ROWS % ROWS, "{p} at {n} with {mask:?}");
        }
    }
}
