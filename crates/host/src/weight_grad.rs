//! Gradients of weight matrices: products of gradients with activations, summed over positions.

use super::gemm::{Elements, MatmulPrecision, Matrix, MatrixMut, matmul_rows};
use super::squared_norms::Gradient;

/// The gradient of a linear map `z = W·a`: `dw ← dz·aᵀ` or `dw += dz·aᵀ`.
///
/// Shapes: `dw` `[O, I]` row-major, `dz` `[O, S]`, `a` `[I, S]`, with S = `seq`; fp16 or f32 each.
/// Numerics: products as `math` says, sums in f32.
///
/// # Panics
/// If `seq` is 0, or the lengths do not fit together.
pub fn outer_product(math: MatmulPrecision, dw: Gradient<'_>, dz: Elements<'_>, a: Elements<'_>, seq: usize) {
    assert!(seq > 0, "a gradient along no positions");
    let (outputs, inputs) = (dz.len() / seq, a.len() / seq);
    let (dz, a) = (Matrix::new(dz, outputs, seq), Matrix::new(a, inputs, seq));
    let to = MatrixMut::new(dw.values, outputs, inputs);
    matmul_rows(math, to, dw.store, 1.0, [dz, a.t()], |first, rows| dw.squares.take(first, rows));
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::super::squared_norms::RowSquaredNorms;
    use super::super::testing::{assert_close, bits, finite_differences, noise, on_threads};
    use super::*;

    fn add_to<'a>(values: &'a mut [f32], squares: &'a RowSquaredNorms) -> Gradient<'a> {
        Gradient { values, squares, store: Store::Add }
    }

    #[test]
    fn it_is_the_gradient_of_a_linear_map() {
        let (o, i, s) = (7, 5, 11);
        let (dz, a, w) = (noise(o * s, 1), noise(i * s, 2), noise(o * i, 3));
        // L = Σ dz·(W·a), whose gradient in W is dz·aᵀ.
        let loss = |w: &[f64]| -> f64 {
            let z = |row: usize, t: usize| -> f64 {
                (0..i).map(|l| w[row * i + l] * f64::from(a[l * s + t])).sum()
            };
            (0..o * s).map(|at| f64::from(dz[at]) * z(at / s, at % s)).sum()
        };
        let want = finite_differences(&w, loss);
        let before = noise(o * i, 4);
        let mut dw = before.clone();
        let squares = RowSquaredNorms::new(o, i);
        outer_product(MatmulPrecision::F32, add_to(&mut dw, &squares), (&*dz).into(), (&*a).into(), s);
        assert!(squares.are_of(&dw));
        let want: Vec<f64> = want.iter().zip(&before).map(|(g, &b)| f64::from(b) + g).collect();
        assert_close(&dw, &want, 1e-6);
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        // One task, two, many, and positions in several parts.
        for (o, i, s) in [(7, 5, 11), (300, 400, 150), (500, 900, 300), (70, 50, 4100)] {
            let (dz, a) = (noise(o * s, 1), noise(i * s, 2));
            let run = |threads| {
                let (mut dw, squares) = (vec![1.0; o * i], RowSquaredNorms::new(o, i));
                on_threads(threads, || {
                    outer_product(
                        MatmulPrecision::F32,
                        add_to(&mut dw, &squares),
                        (&*dz).into(),
                        (&*a).into(),
                        s,
                    )
                });
                assert!(squares.are_of(&dw), "{o}×{i}, {s} positions");
                bits(&dw)
            };
            assert!(run(1) == run(2) && run(1) == run(3));
        }
    }
}
