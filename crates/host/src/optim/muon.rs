//! Muon: momentum with orthogonalised updates, for the matrices of layers.

use super::Update;
use crate::gemm::{MatmulPrecision, Matrix, MatrixMut, matmul, matmul_serial, saves_time};
use crate::{CHUNK, LANES, Store, simd};
use rayon::prelude::*;
use softane::pool::for_each;

/// The constants of Muon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Muon {
    /// The learning rate over that of the other parameters.
    pub lr_ratio: f32,
    /// μ: decay of the momentum per step.
    pub momentum: f32,
    /// λ: decoupled weight decay; a parameter loses the share lr·λ per step.
    pub weight_decay: f32,
    /// Newton–Schulz iterations of an update. Fewer leave small singular values smaller.
    pub iterations: u32,
}

impl Default for Muon {
    fn default() -> Muon {
        Muon { lr_ratio: 10.0, momentum: 0.95, weight_decay: 0.1, iterations: 5 }
    }
}

/// a, b, c of an iteration of [`orthogonalise`].
///
/// Source: Jordan et al. 2024, <https://kellerjordan.github.io/posts/muon>.
const NEWTON_SCHULZ: [f32; 3] = [3.4445, -4.7750, 2.0315];

/// Rows and columns from which a product is split into tasks.
const LARGE: usize = 512;

/// Added to the norm of an update before division.
const EPS: f64 = 1e-7;

/// The updates of a layer's matrices, with working memory. Allocates nothing once it has grown.
#[derive(Debug, Default)]
pub struct MuonScratch {
    slots: Vec<Slot>,
    used: usize,
}

/// The update of one matrix.
#[derive(Debug, Default)]
struct Slot {
    rows: usize,
    cols: usize,
    /// The update X, `[rows, cols]`.
    x: Vec<f32>,
    next: Vec<f32>,
    /// XXᵀ or XᵀX, the smaller of the two.
    gram: Vec<f32>,
    polynomial: Vec<f32>,
}

impl MuonScratch {
    /// Forgets the updates of the last layer.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// Orthogonalises all updates by `iterations` Newton–Schulz iterations.
    ///
    /// Numerics: the norm in f64; factors of products in bf16 where that saves time, as Jordan et al. have them, otherwise
    /// as `math` says; all else f32. The result does not depend on the number of threads.
    pub fn orthogonalise(&mut self, iterations: u32, math: MatmulPrecision) {
        let math = if saves_time(MatmulPrecision::Bf16) { MatmulPrecision::Bf16 } else { math };
        for_each(self.slots[..self.used].par_iter_mut(), |slot| orthogonalise(slot, iterations, math));
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> usize {
        let of = |slot: &Slot| slot.x.len() + slot.next.len() + slot.gram.len() + slot.polynomial.len();
        self.slots.iter().map(of).sum::<usize>() * size_of::<f32>()
    }

    fn push(&mut self, rows: usize, cols: usize) -> &mut Slot {
        if self.used == self.slots.len() {
            self.slots.push(Slot::default());
        }
        self.used += 1;
        let slot = &mut self.slots[self.used - 1];
        let small = rows.min(cols).pow(2);
        (slot.rows, slot.cols) = (rows, cols);
        slot.x.resize(rows * cols, 0.0);
        slot.next.resize(rows * cols, 0.0);
        slot.gram.resize(small, 0.0);
        slot.polynomial.resize(small, 0.0);
        slot
    }
}

impl Muon {
    /// Adds a gradient to the momentum of a matrix and appends the update to `scratch`.
    ///
    /// ```text
    /// m ← μm + g      X ← g + μm      (Nesterov)
    /// ```
    ///
    /// with g the gradient `grad` times `update.grad_scale`. Shapes: `grad`, `m` `[rows, cols]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn gather(
        &self,
        update: Update,
        scratch: &mut MuonScratch,
        [rows, cols]: [usize; 2],
        grad: &[f32],
        m: &mut [f32],
    ) {
        assert_eq!([grad.len(), m.len()], [rows * cols; 2], "gradient and momentum of [{rows}, {cols}]");
        let (momentum, scale) = (self.momentum, update.grad_scale);
        let slot = scratch.push(rows, cols);
        let chunks = slot.x.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK)).zip(m.par_chunks_mut(CHUNK));
        for_each(chunks, |((x, grad), m)| {
            simd(
                #[inline(always)]
                || {
                    for ((x, grad), m) in x.iter_mut().zip(grad).zip(m.iter_mut()) {
                        let g = grad * scale;
                        *m = momentum * *m + g;
                        *x = g + momentum * *m;
                    }
                },
            );
        });
    }

    /// Applies update number `index` of `scratch` to a matrix, in place.
    ///
    /// ```text
    /// θ ← θ − lr·( √max(1, rows/cols)·X + λθ )
    /// ```
    ///
    /// Units: lr is `update.lr` times `lr_ratio`.
    /// Source of the factor: Jordan et al., <https://github.com/KellerJordan/Muon>.
    ///
    /// # Panics
    /// If there is no such update, or the lengths differ.
    pub fn apply(&self, update: Update, scratch: &MuonScratch, index: usize, theta: &mut [f32]) {
        let slot = &scratch.slots[..scratch.used][index];
        assert_eq!(theta.len(), slot.x.len(), "weights of [{}, {}]", slot.rows, slot.cols);
        let lr = update.lr * self.lr_ratio;
        let factor = (slot.rows as f32 / slot.cols as f32).max(1.0).sqrt();
        let decay = self.weight_decay;
        for_each(theta.par_chunks_mut(CHUNK).zip(slot.x.par_chunks(CHUNK)), |(theta, x)| {
            simd(
                #[inline(always)]
                || {
                    for (theta, x) in theta.iter_mut().zip(x) {
                        *theta -= lr * (factor * x + decay * *theta);
                    }
                },
            );
        });
    }
}

/// Replaces X = USVᵀ by about UVᵀ: Newton–Schulz iterations bring its singular values to within 0.7 … 1.2, all that are
/// large enough: one iteration multiplies small ones by a.
///
/// ```text
/// X ← X / (‖X‖ + ε)      `iterations` times:  A = XXᵀ,  X ← (aI + bA + cA²)X
/// ```
///
/// with A = XᵀX and the polynomial on the right if there are more rows than columns. A zero matrix stays zero.
///
/// Numerics: the norm in f64, factors of products as `math` says, all else f32.
fn orthogonalise(slot: &mut Slot, iterations: u32, math: MatmulPrecision) {
    let Slot { rows, cols, x, next, gram, polynomial } = slot;
    let (rows, cols) = (*rows, *cols);
    let small = rows.min(cols);
    normalise(x);
    // The matrices of a layer are tasks already; only large ones are worth more.
    let product = if small < LARGE { matmul_serial } else { matmul };
    let [a, b, c] = NEWTON_SCHULZ;
    for _ in 0..iterations {
        let matrix = Matrix::new(&x[..], rows, cols);
        let [left, right] = if rows <= cols { [matrix, matrix.t()] } else { [matrix.t(), matrix] };
        product(math, MatrixMut::new(gram, small, small), Store::Replace, 1.0, left, right);
        let square = Matrix::new(&gram[..], small, small);
        product(math, MatrixMut::new(polynomial, small, small), Store::Replace, c, square, square);
        simd(
            #[inline(always)]
            || polynomial.iter_mut().zip(gram.iter()).for_each(|(p, gram)| *p += b * gram),
        );
        polynomial.iter_mut().step_by(small + 1).for_each(|p| *p += a);
        let polynomial = Matrix::new(&polynomial[..], small, small);
        let [left, right] = if rows <= cols { [polynomial, matrix] } else { [matrix, polynomial] };
        product(math, MatrixMut::new(next, rows, cols), Store::Replace, 1.0, left, right);
        std::mem::swap(x, next);
    }
}

/// Divides `x` by its norm.
///
/// Numerics: squares summed in f64 along fixed lanes.
fn normalise(x: &mut [f32]) {
    simd(
        #[inline(always)]
        || {
            let mut sums = [0.0f64; LANES];
            for block in x.chunks(LANES) {
                for (sum, &x) in sums.iter_mut().zip(block) {
                    *sum += f64::from(x) * f64::from(x);
                }
            }
            let inverse = (1.0 / (sums.iter().sum::<f64>().sqrt() + EPS)) as f32;
            x.iter_mut().for_each(|x| *x *= inverse);
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Recorded, bits, noise, on_threads};

    const MUON: Muon = Muon { lr_ratio: 2.0, momentum: 0.95, weight_decay: 0.1, iterations: 5 };

    /// Shapes of matrices: wide, tall, square, a single row, and one whose products are split into tasks.
    const SHAPES: [[usize; 2]; 5] = [[12, 20], [20, 12], [48, 48], [1, 9], [LARGE, LARGE + 8]];

    /// `a·b` in f64; shapes `[m, k]` and `[k, n]`.
    fn times(a: &[f64], b: &[f64], [m, k, n]: [usize; 3]) -> Vec<f64> {
        let mut c = vec![0.0; m * n];
        for i in 0..m {
            for l in 0..k {
                for j in 0..n {
                    c[i * n + j] += a[i * k + l] * b[l * n + j];
                }
            }
        }
        c
    }

    /// Newton–Schulz as it is defined, in f64, on rows: (aI + b·XXᵀ + c·(XXᵀ)²)·X.
    fn defined(x: &[f32], [rows, cols]: [usize; 2], iterations: u32) -> Vec<f64> {
        let mut x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt() + EPS;
        x.iter_mut().for_each(|x| *x /= norm);
        let [a, b, c] = NEWTON_SCHULZ.map(f64::from);
        for _ in 0..iterations {
            let transposed: Vec<f64> = (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect();
            let gram = times(&x, &transposed, [rows, cols, rows]);
            let first = times(&gram, &x, [rows, rows, cols]);
            let second = times(&gram, &first, [rows, rows, cols]);
            x = (0..x.len()).map(|i| a * x[i] + b * first[i] + c * second[i]).collect();
        }
        x
    }

    /// The error of `got` over the norm of `want`.
    fn relative(got: &[f32], want: &[f64]) -> f64 {
        let square = |error: f64| error * error;
        let error: f64 = got.iter().zip(want).map(|(&got, want)| square(f64::from(got) - want)).sum();
        (error / want.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
    }

    #[test]
    fn orthogonalising_is_as_defined() {
        // f32: five iterations multiply small singular values, and their rounding errors, by up to 500.
        // bf16: factors have errors of 2⁻⁹ in each of 15 products.
        for (math, close) in [(MatmulPrecision::F32, 1e-4), (MatmulPrecision::Bf16, 5e-2)] {
            for shape @ [rows, cols] in SHAPES[..4].iter().copied() {
                let mut scratch = MuonScratch::default();
                let slot = scratch.push(rows, cols);
                slot.x = noise(rows * cols, 5);
                let iterations = if rows > cols { 3 } else { 5 };
                let want = defined(&slot.x, shape, iterations);
                orthogonalise(slot, iterations, math);
                let error = relative(&slot.x, &want);
                assert!(error <= close, "{shape:?}, {math:?}: {error}");
            }
        }
    }

    #[test]
    fn the_update_of_a_zero_gradient_is_zero() {
        let (mut theta, mut m, mut scratch) = (vec![1.0; 240], vec![0.0; 240], MuonScratch::default());
        let update = Update { t: 1, lr: 0.5, grad_scale: 1.0 };
        MUON.gather(update, &mut scratch, [12, 20], &[0.0; 240], &mut m);
        scratch.orthogonalise(MUON.iterations, MatmulPrecision::F32);
        MUON.apply(update, &scratch, 0, &mut theta);
        // Only weight decay is left: lr is 1.
        assert!(theta.iter().all(|theta| (theta - 0.9).abs() <= 1e-7), "{theta:?}");
    }

    /// A step of all `SHAPES`: weights and momentum.
    fn step(scale: f32) -> Vec<Vec<u32>> {
        let (update, mut scratch) = (Update { t: 3, lr: 0.01, grad_scale: scale }, MuonScratch::default());
        let mut moments = SHAPES.map(|[rows, cols]| noise(rows * cols, 2));
        for (shape, m) in SHAPES.into_iter().zip(&mut moments) {
            MUON.gather(update, &mut scratch, shape, &noise(m.len(), 1), m);
        }
        scratch.orthogonalise(MUON.iterations, MatmulPrecision::F32);
        let weights = |(at, m): (usize, &Vec<f32>)| {
            let mut theta = noise(m.len(), 3);
            MUON.apply(update, &scratch, at, &mut theta);
            bits(&theta)
        };
        moments.iter().enumerate().map(weights).chain(moments.iter().map(|m| bits(m))).collect()
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let run = |threads| on_threads(threads, || step(0.5));
        assert!(run(1) == run(2) && run(1) == run(3));
        assert!(run(1) != on_threads(1, || step(0.25)), "the scale of the gradient counts");
    }

    /// Three steps of `torch.optim.Muon`, recorded by `tests/fixtures/muon.py`.
    #[test]
    fn steps_go_as_pytorchs() {
        let file = Recorded::open("muon");
        let read = |name: &str, shape: [usize; 2]| file.read(name, &shape);
        for (name, shape) in [("wide", [12, 20]), ("tall", [20, 12]), ("square", [16, 16])] {
            let start = read(&format!("{name}.0"), shape);
            let (mut theta, mut m) = (start.clone(), vec![0.0; start.len()]);
            for t in 1..=3 {
                let (update, mut scratch) = (Update { t, lr: 0.01, grad_scale: 1.0 }, MuonScratch::default());
                let grad = read(&format!("{name}.grad.{t}"), shape);
                MUON.gather(update, &mut scratch, shape, &grad, &mut m);
                scratch.orthogonalise(MUON.iterations, MatmulPrecision::F32);
                MUON.apply(update, &scratch, 0, &mut theta);
                let moved = |theta: &[f32]| theta.iter().zip(&start).map(|(a, b)| a - b).collect::<Vec<_>>();
                let want = moved(&read(&format!("{name}.{t}"), shape));
                let error = relative(&moved(&theta), &want.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
                // PyTorch computes and stores the iterations in bf16.
                assert!(error <= 5e-2, "{name}, step {t}: {error}");
            }
        }
    }
}
