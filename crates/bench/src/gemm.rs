//! The speed of the matrix products of a step.

use super::{Workload, median};
use ane::Pool;
use half::f16;
use softane::gemm::{GemmKernel, MatmulPrecision, Matrix, MatrixMut, Store, matmul};
use std::time::{Duration, Instant};
use train::step::StepError;

/// The time of a matrix product.
#[derive(Clone, Debug)]
pub struct ProductTime {
    /// Its role in the model.
    pub name: &'static str,
    /// M, N, K.
    pub shape: [usize; 3],
    /// The median time.
    pub time: Duration,
}

/// The machine's peak in FLOP/s on `threads` threads (0: all), if it is known.
///
/// # Errors
/// If threads cannot be started.
pub fn limit(math: MatmulPrecision, threads: usize) -> Result<Option<f64>, StepError> {
    let pool = Pool::new(threads).map_err(StepError::Threads)?;
    Ok(Some(pool.install(|| softane::limits::peak(math))))
}

/// Times of matrix products.
#[derive(Clone, Debug)]
pub struct ProductTimes {
    /// Number of compute threads.
    pub threads: usize,
    /// The machine's peak in FLOP/s, if it is known.
    pub limit: Option<f64>,
    /// The products.
    pub products: Vec<ProductTime>,
}

/// Times the products of a layer and of the classifier of `workload` by `kernel`, operands in half precision.
///
/// # Errors
/// If threads cannot be started.
pub fn products(
    workload: &Workload,
    kernel: GemmKernel,
    threads: usize,
    samples: usize,
) -> Result<ProductTimes, StepError> {
    let c = &workload.config;
    let (d, f, s, q) = (c.dim, c.hidden, c.seq, c.q_dim());
    let mut shapes = vec![
        ("queries", [q, s, d], false),
        ("up", [f, s, d], false),
        ("down", [d, s, f], false),
        ("gradient of queries", [q, d, s], true),
        ("gradient of up", [f, d, s], true),
    ];
    if c.vocab > 0 {
        shapes.push(("classifier", [c.vocab, s, d], false));
    }
    let pool = Pool::new(threads).map_err(StepError::Threads)?;
    pool.busy(|| {
        let limit = Some(softane::limits::peak(kernel));
        let timed = shapes.into_iter().map(|(name, shape, transposed)| {
            let [m, n, k] = shape;
            let numbers = |len: usize| -> Vec<f16> {
                (0..len).map(|i| f16::from_f32((i % 31) as f32 / 31.0 - 0.5)).collect()
            };
            let (a, b, mut to) = (numbers(m * k), numbers(k * n), vec![0.0f32; m * n]);
            let right = if transposed { Matrix::new(&*b, n, k).t() } else { Matrix::new(&*b, k, n) };
            let times: Vec<Duration> = (0..samples + 2)
                .map(|_| {
                    let start = Instant::now();
                    let to = MatrixMut::new(&mut to, m, n);
                    matmul(kernel, to, Store::Replace, 1.0, Matrix::new(&*a, m, k), right);
                    start.elapsed()
                })
                .skip(2)
                .collect();
            ProductTime { name, shape, time: median(times) }
        });
        Ok(ProductTimes { threads: pool.threads(), limit, products: timed.collect() })
    })
}
