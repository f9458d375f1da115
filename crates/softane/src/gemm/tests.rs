//! Products of every layout, size and kernel.

use super::kernel::frame::{LARGE, ODD};
use super::*;
use crate::numerics::Operands;
use half::f16;

/// A value in −1..1 for each index, the same everywhere: differences of a hash.
fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// f64 product of `a [M, K]` (or its transpose stored) and `b`, elementwise by closures.
fn reference(
    (m, n, k): (usize, usize, usize),
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<f64> {
    let dot = |i, j| (0..k).map(|l| f64::from(a(i, l)) * f64::from(b(l, j))).sum();
    (0..m).flat_map(|i| (0..n).map(move |j| (i, j))).map(|(i, j)| dot(i, j)).collect()
}

/// The error bound of a product of two values of −1..1. In f32 2⁻²⁴ of itself, and as much for each sum; with factors
/// rounded to bf16 2⁻⁹ of each; as integers 2⁻¹² of the largest factor in its block, of each.
fn error(kernel: GemmKernel) -> f64 {
    let rounded = match kernel.tiles().numerics.operands {
        Operands::F32 => 0.0,
        Operands::Bf16 => 1.01 / 256.0,
        // 2⁻¹⁷ of each factor, and 2⁻¹⁶ of the product.
        Operands::Bf16Pair => 1.01 / 32_768.0,
        Operands::ScaledInt12 => 1.01 / 2048.0,
    };
    rounded + 2.0 * f64::from(f32::EPSILON)
}

/// Sums of `k` products of values of −1..1, with errors that grow at worst like K.
fn assert_close(got: &[f32], want: &[f64], (k, kernel): (usize, GemmKernel), case: &str) {
    let tolerance = k as f64 * error(kernel);
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(g) - w).abs() <= tolerance, "{case}: element {i} is {g}, not {w}");
    }
}

/// All kernels available on this machine, and those of the test frame.
fn kernels() -> impl Iterator<Item = GemmKernel> {
    let named = GemmKernel::names().into_iter().filter_map(GemmKernel::named);
    named.chain([&ODD, &LARGE].map(|kernel| GemmKernel(Method::Tiles(kernel))))
}

fn f32_kernel() -> GemmKernel {
    MatmulPrecision::F32.into()
}

const SHAPES: [(usize, usize, usize); 15] = [
    (64, 61, 700),
    (27, 90, 31),
    (13, 40, 2 * LONGEST + 101),
    (1, 1, 1),
    (1, 7, 5),
    (9, 1, 33),
    (5, 3, 1),
    (16, 16, 16),
    (17, 31, 65),
    (64, 48, 513),
    (96, 4, 100),
    (97, 101, 1030),
    (200, 300, 40),
    (3, 700, 129),
    (700, 2, 129),
];

#[test]
fn every_layout_agrees_with_f64() {
    for shape @ (m, n, k) in SHAPES {
        let (a, b, old) = (noise(m * k, 1), noise(k * n, 2), noise(m * n, 3));
        let want_nn = reference(shape, |i, l| a[i * k + l], |l, j| b[l * n + j]);
        let want_nt = reference(shape, |i, l| a[i * k + l], |l, j| b[j * k + l]);
        let want_tn = reference(shape, |i, l| a[l * m + i], |l, j| b[l * n + j]);
        let (nn, nt, tn) = (
            (Matrix::new(&*a, m, k), Matrix::new(&*b, k, n), want_nn),
            (Matrix::new(&*a, m, k), Matrix::new(&*b, n, k).t(), want_nt),
            (Matrix::new(&*a, k, m).t(), Matrix::new(&*b, k, n), want_tn),
        );
        for (layout, (a, b, want)) in [("nn", nn), ("nt", nt), ("tn", tn)] {
            for kernel in kernels() {
                let case = format!("{kernel:?} {layout} {shape:?}");
                let mut c = vec![f32::NAN; m * n];
                matmul(kernel, MatrixMut::new(&mut c, m, n), Store::Replace, 1.0, a, b);
                assert_close(&c, &want, (k, kernel), &case);

                let mut c = old.clone();
                matmul(kernel, MatrixMut::new(&mut c, m, n), Store::Add, -0.5, a, b);
                let added: Vec<f64> = want.iter().zip(&old).map(|(w, &o)| f64::from(o) - 0.5 * w).collect();
                assert_close(&c, &added, (k + 2, kernel), &format!("{case} added"));

                let mut c = vec![f32::NAN; m * n];
                let packed = Packed::new(kernel, b);
                matmul_packed(MatrixMut::new(&mut c, m, n), Store::Replace, 1.0, a, &packed);
                assert_close(&c, &want, (k, kernel), &format!("{case} packed before"));

                let mut c = vec![f32::NAN; m * n];
                matmul(kernel, MatrixMut::new(&mut c, n, m).t(), Store::Replace, 1.0, a, b);
                let transposed: Vec<f32> = (0..m * n).map(|at| c[at % n * m + at / n]).collect();
                assert_close(&transposed, &want, (k, kernel), &format!("{case} into a transpose"));
            }
        }
    }
}

/// The rest of the matrix is not touched by it.
#[test]
fn what_is_not_finite_or_hardly_there_stays_so() {
    let (m, n, k) = (40, 70, 300);
    let (a, b) = (noise(m * k, 1), noise(k * n, 2));
    for kernel in kernels() {
        let run = |a: &[f32], b: &[f32]| {
            let mut c = vec![0.0; m * n];
            let (a, b) = (Matrix::new(a, m, k), Matrix::new(b, k, n));
            matmul(kernel, MatrixMut::new(&mut c, m, n), Store::Replace, 1.0, a, b);
            c
        };
        let good = run(&a, &b);
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            let (mut a, mut b) = (a.clone(), b.clone());
            a[17 * k + 200] = bad;
            b[133 * n + 65] = bad;
            for (at, (&got, &good)) in run(&a, &b).iter().zip(&good).enumerate() {
                match at / n == 17 || at % n == 65 {
                    true => assert!(!got.is_finite(), "{kernel:?} {bad}: element {at} is {got}"),
                    false => assert_eq!(got.to_bits(), good.to_bits(), "{kernel:?} {bad}: element {at}"),
                }
            }
        }
        // The smallest half numbers: whole multiples of 2⁻²⁴, which are exact in every math.
        let small = |x: &[f32]| -> Vec<f32> { x.iter().map(|x| (x * 7.0).round() / 16_777_216.0).collect() };
        let (a, b) = (small(&a), small(&b));
        let want = reference((m, n, k), |i, l| a[i * k + l], |l, j| b[l * n + j]);
        for (at, (&got, want)) in run(&a, &b).iter().zip(want).enumerate() {
            assert_eq!(f64::from(got), want, "{kernel:?}: element {at}");
        }
    }
}

/// Factors and results in half precision, with a bias: tiles and vectors, both orders of axes.
#[test]
fn half_precision_with_a_bias_agrees_with_f64() {
    let half = |x: Vec<f32>| -> Vec<f16> { x.into_iter().map(f16::from_f32).collect() };
    for shape @ (m, n, k) in
        [(1, 50, 1030), (3, 5, 7), (60, 2, 33), (1, 1, 2100), (17, 31, 65), (40, 70, 130)]
    {
        let (a, b) = (half(noise(m * k, 1)), half(noise(k * n, 2)));
        let bias = noise(m, 3);
        for (a_transposed, b_transposed) in [(false, false), (false, true), (true, false), (true, true)] {
            let left = if a_transposed { Matrix::new(&*a, k, m).t() } else { Matrix::new(&*a, m, k) };
            let right = if b_transposed { Matrix::new(&*b, n, k).t() } else { Matrix::new(&*b, k, n) };
            let at = |m: &Matrix<'_>, i: usize, j: usize| m.from.get(m.at + i * m.down + j * m.across);
            let want = reference(shape, |i, l| at(&left, i, l), |l, j| at(&right, l, j));
            for kernel in kernels() {
                let p = Product { kernel, store: Store::Replace, alpha: 0.5, left, right, bias: &bias };
                let mut c = vec![f16::NAN; m * n];
                serial(&mut c, n, &p);
                for (i, (&g, w)) in c.iter().zip(&want).enumerate() {
                    let want = 0.5 * w + f64::from(bias[i / n]);
                    // The result is rounded, too.
                    let tolerance = k as f64 * error(kernel) + want.abs() / 2048.0 + 1e-7;
                    let close = (g.to_f64() - want).abs() <= tolerance;
                    assert!(close, "{kernel:?} {shape:?}: element {i} is {g}, not {want}");
                }
            }
        }
    }
}

#[test]
fn strided_views_leave_the_gaps_alone() {
    let (m, n, k, stride) = (20, 24, 30, 37);
    let (a, b) = (noise((m - 1) * stride + k, 1), noise((k - 1) * stride + n, 2));
    let mut c = vec![7.0; (m - 1) * stride + n];
    matmul(
        MatmulPrecision::F32,
        MatrixMut::strided(&mut c, m, n, stride),
        Store::Replace,
        1.0,
        Matrix::strided(&*a, m, k, stride),
        Matrix::strided(&*b, k, n, stride),
    );
    let want = reference((m, n, k), |i, l| a[i * stride + l], |l, j| b[l * stride + j]);
    for (i, row) in c.chunks(stride).enumerate() {
        assert_close(&row[..n], &want[i * n..][..n], (k, f32_kernel()), "strided");
        assert!(row[n..].iter().all(|&x| x == 7.0), "row {i} was written past its end");
    }
}

/// Half of a triangle is 0 or −0 and is skipped; not where that would hide a NaN.
#[test]
fn zeros_of_the_left_side_change_no_bit() {
    let n = 150;
    let full = noise(n * n, 1);
    let right = noise(n * 70, 2);
    for (lower, zero) in [(true, 0.0), (false, 0.0), (true, -0.0), (false, -0.0)] {
        let keep = |at: usize| (at % n <= at / n) == lower;
        let a: Vec<f32> = (0..n * n).map(|at| if keep(at) { full[at] } else { zero }).collect();
        // With a bias of 2⁻¹⁴⁹ no block of 16 is 0, and no sum changes.
        let dense: Vec<f32> = a.iter().map(|&x| if x == 0.0 { f32::from_bits(1) } else { x }).collect();
        for kernel in kernels() {
            for transposed in [false, true] {
                let run = |a: &[f32], b: &[f32]| {
                    let a = Matrix::new(a, n, n);
                    let a = if transposed { a.t() } else { a };
                    let mut c = vec![f32::NAN; n * 70];
                    matmul(
                        kernel,
                        MatrixMut::new(&mut c, n, 70),
                        Store::Replace,
                        1.0,
                        a,
                        Matrix::new(b, n, 70),
                    );
                    c
                };
                let same = |x: &[f32], y: &[f32]| x.iter().zip(y).all(|(x, y)| (x - y).abs() <= 1e-30);
                let case = format!("{kernel:?} {lower} {zero:?} {transposed}");
                let got = run(&a, &right);
                assert!(same(&got, &run(&dense, &right)), "{case}");
                assert!(got.iter().all(|x| x.to_bits() != (-0f32).to_bits()), "{case}: a sum of −0");
                let mut bad = right.clone();
                bad[75 * 70 + 3] = f32::INFINITY;
                let nan = |c: &[f32]| c.iter().skip(3).step_by(70).filter(|x| x.is_nan()).count();
                assert!(nan(&run(&a, &bad)) > n / 3, "0 · ∞ is no number");
            }
        }
    }
}

/// Zeros of either sign at both ends of a panel, in runs that are no multiple of eight bytes.
#[test]
fn nonzero_ranges_look_past_signs() {
    use super::kernel::record::{Panel, nonzero_range};
    let range = |from: Elements<'_>, depth: usize| {
        nonzero_range(3, &Panel { from, at: 0, across: depth, along: 1, width: 2, depth })
    };
    let values = [0.0, -0.0, 0.0, -0.0, 2.0, 0.0, -0.0, -0.0, -0.0, 0.0, -0.0];
    let rows = [values.map(|_| -0.0), values].concat();
    assert_eq!(range(Elements::F32(&rows), 11), (3, 6));
    let half: Vec<f16> = rows.iter().map(|&x| f16::from_f32(x)).collect();
    assert_eq!(range(Elements::F16(&half), 11), (3, 6));
    let small = [f16::from_bits(0x8001); 8];
    assert_eq!(range(Elements::F16(&small), 4), (0, 4), "the smallest number is not 0");
}

#[test]
fn an_empty_inner_dimension_gives_zeros() {
    let mut c = vec![f32::NAN; 6];
    matmul(
        MatmulPrecision::F32,
        MatrixMut::new(&mut c, 2, 3),
        Store::Replace,
        1.0,
        Matrix::new(&[] as &[f32], 2, 0),
        Matrix::new(&[] as &[f32], 0, 3),
    );
    assert_eq!(c, [0.0; 6]);
}

#[test]
fn threads_do_not_change_a_bit() {
    for (m, n, k) in [(500, 420, 260), (2000, 128, 296), (1100, 1100, 300)] {
        assert!(task_rows((m, n, k), f32_kernel()) < m, "this shape is cut into pieces");
        let (a, b) = (noise(m * k, 4), noise(k * n, 5));
        let (a, b) = (Matrix::new(&*a, m, k), Matrix::new(&*b, k, n));
        let mut whole = vec![f32::NAN; m * n];
        let p =
            Product { kernel: f32_kernel(), store: Store::Replace, alpha: 1.0, left: a, right: b, bias: &[] };
        serial(&mut whole, n, &p);
        let whole: Vec<f64> = whole.into_iter().map(f64::from).collect();
        for by_columns in [false, true] {
            let run = |threads: usize| {
                let mut c = vec![f32::NAN; m * n];
                let view =
                    if by_columns { MatrixMut::new(&mut c, n, m).t() } else { MatrixMut::new(&mut c, m, n) };
                pool(threads).install(|| matmul(MatmulPrecision::F32, view, Store::Replace, 1.0, a, b));
                c
            };
            let bits = |c: &[f32]| c.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let one = run(1);
            let same = bits(&one) == bits(&run(2)) && bits(&one) == bits(&run(3));
            assert!(same, "{m}×{n}×{k} depends on the threads");
            let at = |i: usize| if by_columns { i % n * m + i / n } else { i };
            let rows: Vec<f32> = (0..m * n).map(|i| one[at(i)]).collect();
            assert_close(&rows, &whole, (k, f32_kernel()), "cut into pieces");
        }
    }
}

/// A matrix unit is ready on each thread that computes, and sums of several blocks of the inner dimension stay in order.
#[test]
fn threads_do_not_change_a_bit_with_any_kernel() {
    let (m, n, k) = (420, 130, 600);
    let (a, b) = (noise(m * k, 4), noise(k * n, 5));
    for kernel in kernels() {
        assert!(task_rows((m, n, k), kernel) < m, "this shape is cut into pieces");
        let run = |threads: usize| {
            let mut c = vec![f32::NAN; m * n];
            let (a, b) = (Matrix::new(&*a, m, k), Matrix::new(&*b, k, n));
            let view = MatrixMut::new(&mut c, m, n);
            pool(threads).install(|| matmul(kernel, view, Store::Replace, 1.0, a, b));
            c.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        let one = run(1);
        assert!(one == run(2) && one == run(3), "{kernel:?} depends on the threads");
    }
}

/// The kernel depends on the shape alone.
#[test]
fn a_matrix_unit_leaves_small_products_to_vectors() {
    let unit = GemmKernel(Method::Tiles(&LARGE)).tiles();
    assert_eq!(registry::suited(unit, (32, 32, 32)).name, unit.name);
    let small = registry::suited(unit, (4, 4, 8));
    assert!(small.unit.is_none() && small.numerics == unit.numerics, "{small:?}");
    for kernel in kernels() {
        let small = registry::suited(kernel.tiles(), (4, 5, 6));
        assert!(small.unit.is_none(), "{kernel:?}: {small:?}");
        assert!(kernel.tiles().unit.is_some() || small.name == kernel.tiles().name, "{kernel:?}");
    }
}

#[test]
#[should_panic(expected = "matmul of [2, 3] and [2, 3] into [2, 3]")]
fn shapes_that_do_not_fit_are_named() {
    let a = [0.0; 6];
    let mut c = [0.0; 6];
    matmul(
        MatmulPrecision::F32,
        MatrixMut::new(&mut c, 2, 3),
        Store::Replace,
        1.0,
        Matrix::new(&a[..], 2, 3),
        Matrix::new(&a[..], 2, 3),
    );
}
