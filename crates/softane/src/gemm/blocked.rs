//! Products in tiles: the right side is packed once, blocks of rows of the left side are tasks.

use super::scratch::{self, Local, Shared};
use super::{Matrix, Product, Store, Target};
use crate::buffer::Buffer;
use crate::simd::tile::{self, COLS, Drain, Left, MOST_STEPS, PITCH, Panel, ROWS, SLACK, TILE};
use rayon::prelude::*;

/// Elements of the inner dimension that are taken at a time: a panel of the right side and a block of the left then
/// stay in the second-level cache.
const DEPTH: usize = MOST_STEPS;

/// Panels of a block of whose zeros note is taken.
const MOST_PANELS: usize = 64;

/// Panels of the right side that one task packs.
const PACKED_AT_ONCE: usize = 2;

/// Computes `p` into rows `stride` apart, on the current rayon pool; a task takes `rows` rows.
pub(super) fn parallel<T: Target>(c: &mut [T], stride: usize, p: &Product<'_>, rows: usize) {
    let panel = panel_len(p);
    let len = panel * p.right.cols.div_ceil(COLS);
    let mut shared = Shared::new(len);
    let packed = &mut shared.f32s_mut()[..len];
    packed.par_chunks_mut((panel * PACKED_AT_ONCE).max(1)).enumerate().for_each(|(i, to)| {
        pack_right(p, i * PACKED_AT_ONCE, to);
    });
    let packed = &shared.f32s()[..len];
    c.par_chunks_mut(rows * stride).enumerate().for_each(|(i, c)| {
        scratch::local(|Local { left, sums, .. }| {
            block(c, stride, &p.rows(i * rows, rows), packed, left, sums);
        });
    });
}

/// Computes `p` on the calling thread, `rows` rows at a time.
pub(super) fn serial<T: Target>(c: &mut [T], stride: usize, p: &Product<'_>, rows: usize) {
    scratch::local(|Local { left, right, sums }| {
        let right = scratch::take(right, panel_len(p) * p.right.cols.div_ceil(COLS));
        pack_right(p, 0, right);
        for (i, c) in c.chunks_mut(rows * stride).enumerate() {
            block(c, stride, &p.rows(i * rows, rows), right, left, sums);
        }
    });
}

/// Parts of the inner dimension: where each begins, and its length.
fn depths(k: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = k.div_ceil(DEPTH).max(1);
    // Of even length, as bf16 goes in pairs.
    let each = k.div_ceil(parts).next_multiple_of(2).max(1);
    (0..k.max(1)).step_by(each).map(move |at| (at, each.min(k - at)))
}

/// Words of a panel of the right side over all of the inner dimension.
fn panel_len(p: &Product<'_>) -> usize {
    p.math.steps(p.left.cols) * COLS
}

/// Packs panels of the right side from `first` on, as many as `to` takes.
fn pack_right(p: &Product<'_>, first: usize, to: &mut [f32]) {
    let Matrix { from, at, cols, down, across, .. } = p.right;
    for (i, mut to) in to.chunks_exact_mut(panel_len(p).max(1)).enumerate() {
        let col = (first + i) * COLS;
        for (start, depth) in depths(p.left.cols) {
            let at = at + col * across + start * down;
            let panel = Panel { from, at, across, along: down, width: COLS.min(cols - col), depth };
            let (here, rest) = to.split_at_mut(p.math.steps(depth) * COLS);
            tile::pack::<COLS>(p.math, &panel, here);
            to = rest;
        }
    }
}

/// Computes all rows of `p` from its packed right side.
fn block<T: Target>(
    c: &mut [T],
    stride: usize,
    p: &Product<'_>,
    right: &[f32],
    left: &mut Buffer,
    sums: &mut Buffer,
) {
    let Matrix { from, at, rows, cols: k, down, across } = p.left;
    let n = p.right.cols;
    let (tall, wide) = (rows.div_ceil(ROWS), n.div_ceil(COLS));
    let parts = depths(k).count();
    let sums = scratch::take(sums, if parts > 1 { tall * wide * TILE } else { 0 });
    let mut tile = [0.0; TILE];
    let mut before = 0;
    for (part, (start, depth)) in depths(k).enumerate() {
        let steps = p.math.steps(depth);
        // Rows that are whole are only widened.
        let by_rows = across == 1;
        let each = if by_rows { PITCH * ROWS } else { steps * ROWS };
        let packed = scratch::take(left, tall * each + SLACK);
        let mut counts = [(0, 0); MOST_PANELS];
        for i in 0..tall {
            let row = i * ROWS;
            let at = at + row * down + start * across;
            let panel = Panel { from, at, across: down, along: across, width: ROWS.min(rows - row), depth };
            let to = &mut packed[i * each..];
            if by_rows {
                tile::pack_rows(p.math, &panel, to)
            } else {
                tile::pack::<ROWS>(p.math, &panel, to)
            }
            if let Some(count) = counts.get_mut(i) {
                *count = tile::nonzero(as_left(&packed[i * each..][..each], by_rows), steps);
            }
        }
        // Steps in which a whole panel is 0, as half of causal attention is, add nothing to what is finite.
        let sparse = counts[..tall.min(MOST_PANELS)].iter().any(|&(from, to)| to - from < steps);
        let sparse = sparse && {
            let right = (0..wide).map(|j| &right[j * panel_len(p) + before * COLS..][..steps * COLS]);
            tile::all_finite(p.math, right)
        };
        for j in 0..wide {
            let right = &right[j * panel_len(p) + before * COLS..][..steps * COLS];
            for i in 0..tall {
                let (from, to) = match counts.get(i) {
                    Some(&count) if sparse => count,
                    _ => (0, steps),
                };
                let skipped = if by_rows { from } else { from * ROWS };
                let left = as_left(&packed[i * each + skipped..], by_rows);
                tile::multiply(p.math, to - from, left, &right[from * COLS..], &mut tile);
                if parts > 1 {
                    let sum = &mut sums[(j * tall + i) * TILE..][..TILE];
                    carry(sum, &mut tile, part == 0, part + 1 == parts);
                    if part + 1 < parts {
                        continue;
                    }
                }
                let (row, col) = (i * ROWS, j * COLS);
                let drain = Drain {
                    rows: ROWS.min(rows - row),
                    cols: COLS.min(n - col),
                    stride,
                    alpha: p.alpha,
                    bias: p.bias.get(row..).unwrap_or(&[]),
                    add: p.store == Store::Add,
                };
                T::drain(&tile, &drain, &mut c[row * stride + col..]);
            }
        }
        before += steps;
    }
}

fn as_left(packed: &[f32], by_rows: bool) -> Left<'_> {
    if by_rows { Left::Rows(packed) } else { Left::Steps(packed) }
}

/// Adds a tile to the sum of those before it: the last finds the whole in `tile`.
fn carry(sum: &mut [f32], tile: &mut [f32; TILE], first: bool, last: bool) {
    crate::simd::vectorised(
        #[inline(always)]
        || match (first, last) {
            (true, _) => sum.copy_from_slice(&*tile),
            (false, false) => sum.iter_mut().zip(&*tile).for_each(|(s, x)| *s += x),
            (false, true) => tile.iter_mut().zip(&*sum).for_each(|(x, s)| *x += s),
        },
    );
}
