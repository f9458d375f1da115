//! What this machine can do at most, measured.

use crate::gemm::MatmulPrecision;
use crate::pool::for_each;
use crate::simd::tile::{self, COLS, Lhs, ROWS, TILE};
use rayon::prelude::*;
use std::time::Instant;

/// Elements of the inner dimension: both panels stay in the first-level cache in any form.
const DEPTH: usize = 256;

/// Products of one measurement, some milliseconds of them.
const PRODUCTS: usize = 20_000;

/// Floating-point operations a second of the fastest loop there is for `math`, on all threads of the current rayon
/// pool: tiles whose operands never leave the first-level cache. `None` if this machine has no such loop.
pub fn peak(math: MatmulPrecision) -> Option<f64> {
    if !tile::has(math) {
        return None;
    }
    let form = math.form();
    let steps = form.steps(DEPTH);
    let threads = rayon::current_num_threads();
    let work = |_| {
        let (left, right) = (vec![0.5f32; steps * ROWS], vec![0.5f32; steps * COLS]);
        let mut tile = [0.0; TILE];
        for _ in 0..PRODUCTS {
            tile::multiply(form, steps, Lhs::Packed(&left), &right, &mut tile);
            std::hint::black_box(&mut tile);
        }
    };
    let mut best = 0.0f64;
    for _ in 0..5 {
        let start = Instant::now();
        for_each((0..threads).into_par_iter(), work);
        let flops = (2 * threads * PRODUCTS * DEPTH * TILE) as f64;
        best = best.max(flops / start.elapsed().as_secs_f64());
    }
    Some(best)
}
