//! The machine's own limits, measured.

use crate::buffer::Buffer;
use crate::gemm::{GemmKernel, Lhs};
use std::time::Instant;

/// Elements of the inner dimension: both panels stay in a first-level cache of 32 KiB in every format.
const DEPTH: usize = 128;

/// Multiply-adds of one piece of a measurement: under 0.1 ms, so that few pieces are interrupted by other programs.
const PIECE: usize = 1 << 22;

/// Pieces of a measurement on one thread.
const PIECES: usize = 256;

/// Floating-point operations a second of the loop of `kernel`, on all threads of the current rayon pool: tiles whose
/// operands never leave the first-level cache.
///
/// The sum over the threads, which run at the same time, of the median of many short pieces.
pub fn peak(kernel: impl Into<GemmKernel>) -> f64 {
    let kernel = kernel.into();
    rayon::broadcast(|_| on_this_thread(kernel)).into_iter().sum()
}

fn on_this_thread(kernel: GemmKernel) -> f64 {
    let kernel = kernel.tiles();
    let panel = |words: usize| {
        let mut panel = Buffer::zeroed(4 * words);
        panel.f32s_mut().fill(0.5);
        panel
    };
    let (left, right) = (panel(kernel.lhs_words(DEPTH)), panel(kernel.rhs_words(DEPTH)));
    let mut tile = Buffer::zeroed(4 * kernel.tile_len());
    let _ready = kernel.enter();
    let products = PIECE.div_ceil(DEPTH * kernel.tile_len());
    let mut piece = || {
        let start = Instant::now();
        for _ in 0..products {
            kernel.multiply(DEPTH, Lhs::Packed(left.f32s()), right.f32s(), tile.f32s_mut());
            std::hint::black_box(&mut tile);
        }
        start.elapsed().as_secs_f64()
    };
    let mut seconds: Vec<f64> = (0..PIECES).map(|_| piece()).collect();
    seconds.sort_by(f64::total_cmp);
    (2 * products * DEPTH * kernel.tile_len()) as f64 / seconds[PIECES / 2]
}
