//! The machine's own limits, measured.

use crate::buffer::Buffer;
use crate::gemm::{GemmKernel, Lhs};
use crate::pool::for_each;
use rayon::prelude::*;
use std::time::Instant;

/// Elements of the inner dimension: both panels stay in the first-level cache in every format.
const DEPTH: usize = 256;

/// Multiply-adds of one measurement on one thread: some milliseconds, less than a thread may run before another program
/// gets its processor, and far more than it takes to wake a thread.
const WORK: usize = 1 << 28;

/// Measurements; the fastest one counts.
const MEASUREMENTS: usize = 40;

/// Floating-point operations a second of the loop of `kernel`, on all threads of the current rayon pool: tiles whose
/// operands never leave the first-level cache.
pub fn peak(kernel: impl Into<GemmKernel>) -> f64 {
    let kernel = kernel.into().tiles();
    let threads = rayon::current_num_threads();
    let products = WORK / (DEPTH * kernel.tile_len());
    let panel = |words: usize| {
        let mut panel = Buffer::zeroed(4 * words);
        panel.f32s_mut().fill(0.5);
        panel
    };
    let work = |_| {
        let (left, right) = (panel(kernel.lhs_words(DEPTH)), panel(kernel.rhs_words(DEPTH)));
        let mut tile = Buffer::zeroed(4 * kernel.tile_len());
        let _ready = kernel.enter();
        for _ in 0..products {
            kernel.multiply(DEPTH, Lhs::Packed(left.f32s()), right.f32s(), tile.f32s_mut());
            std::hint::black_box(&mut tile);
        }
    };
    let mut best = 0.0f64;
    for _ in 0..MEASUREMENTS {
        let start = Instant::now();
        for_each((0..threads).into_par_iter(), work);
        let flops = (2 * threads * products * DEPTH * kernel.tile_len()) as f64;
        best = best.max(flops / start.elapsed().as_secs_f64());
    }
    best
}
