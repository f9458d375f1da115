//! Products in tiles: the right side is packed once, blocks of rows of the left side are tasks.

use super::scratch::{self, Local, Shared};
use super::{Matrix, Product, Store, Target};
use crate::buffer::Buffer;
use crate::pool::for_each;
use crate::simd::tile::{self, COLS, Epilogue, Lhs, MOST_STEPS, Panel, ROW_STRIDE, ROWS, SLACK, TILE};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::OnceLock;

/// Elements of the inner dimension that are taken at a time: a panel of the right side and a block of the left then
/// stay in the second-level cache.
const DEPTH: usize = MOST_STEPS;

/// Panels of a block of whose zeros note is taken.
const MOST_PANELS: usize = 64;

/// Panels of the right side that one task packs.
const PACKED_AT_ONCE: usize = 2;

/// Computes `p` into rows `stride` apart, on the current rayon pool; a task takes `rows` rows, and `done` hears of them.
pub(super) fn parallel<T: Target>(
    c: &mut [T],
    stride: usize,
    p: &Product<'_>,
    rows: usize,
    done: &(impl Fn(usize, &[T]) + Sync),
) {
    let packed = pack(p);
    let packed = &Right::new(&packed.f32s()[..right_len(p)]);
    for_each(c.par_chunks_mut(rows * stride).enumerate(), |(i, c)| {
        scratch::local(|Local { left, sums, .. }| {
            block(c, stride, &p.rows(i * rows, rows), packed, left, sums);
        });
        done(i * rows, c);
    });
}

/// Packs the right side of `p` on the current rayon pool.
pub(super) fn pack(p: &Product<'_>) -> Shared {
    let (panel, len) = (panel_len(p), right_len(p));
    let mut shared = Shared::new(len);
    let packed = &mut shared.f32s_mut()[..len];
    for_each(packed.par_chunks_mut((panel * PACKED_AT_ONCE).max(1)).enumerate(), |(i, to)| {
        pack_right(p, i * PACKED_AT_ONCE, to);
    });
    shared
}

/// Computes `p` on the calling thread from what [`pack`] made of its right side, `rows` rows at a time.
pub(super) fn serial_packed<T: Target>(
    c: &mut [T],
    stride: usize,
    p: &Product<'_>,
    packed: &Shared,
    rows: usize,
) {
    let right = &Right::new(&packed.f32s()[..right_len(p)]);
    scratch::local(|Local { left, sums, .. }| blocks(c, stride, p, right, rows, left, sums));
}

/// Computes `p` on the calling thread, `rows` rows at a time.
pub(super) fn serial<T: Target>(c: &mut [T], stride: usize, p: &Product<'_>, rows: usize) {
    scratch::local(|Local { left, right, sums }| {
        let right = scratch::take(right, right_len(p));
        pack_right(p, 0, right);
        blocks(c, stride, p, &Right::new(right), rows, left, sums);
    });
}

/// See [`super::by_blocks`].
pub(super) fn by_blocks<T: Target>(
    p: &Product<'_>,
    rows: usize,
    width: &dyn Fn(usize) -> usize,
    to: &mut [T],
    each: &mut dyn FnMut(usize, &mut [T]),
) {
    let (m, n, _) = p.shape();
    scratch::local(|Local { left, right, sums }| {
        let right = scratch::take(right, right_len(p));
        pack_right(p, 0, right);
        let right = &Right::new(right);
        for i in 0..m.div_ceil(rows) {
            block(to, n, &p.rows(i * rows, rows).columns(width(i)), right, left, sums);
            each(i, to);
        }
    });
}

/// Parts of the inner dimension of `p`: where each begins, and its length.
fn depths(p: &Product<'_>) -> impl Iterator<Item = (usize, usize)> {
    let k = p.left.cols;
    let parts = k.div_ceil(DEPTH).max(1);
    // Even lengths, whatever the form, so that parts are the same.
    let each = k.div_ceil(parts).next_multiple_of(p.form().grain().max(2));
    (0..k.max(1)).step_by(each.max(1)).map(move |at| (at, each.min(k - at)))
}

/// Words of a panel of the right side over all of the inner dimension.
fn panel_len(p: &Product<'_>) -> usize {
    p.form().steps(p.left.cols) * COLS
}

/// Words of the whole right side.
fn right_len(p: &Product<'_>) -> usize {
    panel_len(p) * p.right.cols.div_ceil(COLS)
}

/// Packs panels of the right side from `first` on, as many as `to` takes.
fn pack_right(p: &Product<'_>, first: usize, to: &mut [f32]) {
    let Matrix { from, at, cols, down, across, .. } = p.right;
    for (i, mut to) in to.chunks_exact_mut(panel_len(p).max(1)).enumerate() {
        let col = (first + i) * COLS;
        for (start, depth) in depths(p) {
            let at = at + col * across + start * down;
            let panel = Panel { from, at, across, along: down, width: COLS.min(cols - col), depth };
            let (here, rest) = to.split_at_mut(p.form().steps(depth) * COLS);
            tile::pack::<COLS>(p.form(), &panel, here);
            to = rest;
        }
    }
}

/// The packed right side of a product.
struct Right<'a> {
    packed: &'a [f32],
    /// Whether all of it is finite, once that has been asked.
    finite: OnceLock<bool>,
}

impl Right<'_> {
    fn new(packed: &[f32]) -> Right<'_> {
        Right { packed, finite: OnceLock::new() }
    }

    /// Of the product `p` whose right side it is.
    fn is_finite(&self, p: &Product<'_>) -> bool {
        let steps = p.form().steps(p.left.cols);
        *self.finite.get_or_init(|| tile::all_finite(p.form(), steps, self.packed))
    }
}

/// Computes `p` from its packed right side, `rows` rows at a time.
fn blocks<T: Target>(
    c: &mut [T],
    stride: usize,
    p: &Product<'_>,
    right: &Right<'_>,
    rows: usize,
    left: &mut Buffer,
    sums: &mut Buffer,
) {
    for (i, c) in c.chunks_mut(rows * stride).enumerate() {
        block(c, stride, &p.rows(i * rows, rows), right, left, sums);
    }
}

/// Computes all rows of `p` from its packed right side.
fn block<T: Target>(
    c: &mut [T],
    stride: usize,
    p: &Product<'_>,
    right: &Right<'_>,
    left: &mut Buffer,
    sums: &mut Buffer,
) {
    let (rows, n, _) = p.shape();
    let form = p.form();
    let (tall, wide) = (rows.div_ceil(ROWS), n.div_ceil(COLS));
    let parts = depths(p).count();
    let sums = scratch::take(sums, if parts > 1 { tall * wide * TILE } else { 0 });
    // Panels of the left side that are packed together and meet each panel of the right side in turn. A few, if the
    // right side stays in the second-level cache anyway; then they are multiplied while they are in the first.
    let together = if parts == 1 && wide * panel_len(p) <= NEAR { FEW.min(tall) } else { tall };
    let mut tile = [0.0; TILE];
    let mut before = 0;
    for (part, depth) in depths(p).enumerate() {
        for first in (0..tall).step_by(together) {
            let count = together.min(tall - first);
            let left = pack_left(p, first..first + count, depth, right, left);
            for j in 0..wide {
                let right = &right.packed[j * panel_len(p) + before * COLS..];
                for i in first..first + count {
                    let (from, to) = left.steps(i - first);
                    tile::multiply(form, to - from, left.panel(i - first), &right[from * COLS..], &mut tile);
                    if parts > 1 {
                        let sum = &mut sums[(j * tall + i) * TILE..][..TILE];
                        carry(sum, &mut tile, part == 0, part + 1 == parts);
                        if part + 1 < parts {
                            continue;
                        }
                    }
                    let (row, col) = (i * ROWS, j * COLS);
                    let drain = Epilogue {
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
        }
        before += p.form().steps(depth.1);
    }
}

/// Panels of the left side that are packed together where the right side stays near.
const FEW: usize = 4;

/// Words of the packed right side that stay in the second-level cache beside a panel of the left: 256 KiB.
const NEAR: usize = 1 << 16;

/// Packed panels of the left side.
struct Packed<'a> {
    words: &'a [f32],
    /// From one panel to the next.
    each: usize,
    by_rows: bool,
    /// All steps.
    whole: usize,
    /// Of each panel, the steps that are not all 0; of those behind, nothing is known.
    steps: [(usize, usize); MOST_PANELS],
}

impl Packed<'_> {
    fn steps(&self, i: usize) -> (usize, usize) {
        self.steps.get(i).copied().unwrap_or((0, self.whole))
    }

    fn panel(&self, i: usize) -> Lhs<'_> {
        let words = &self.words[i * self.each..];
        if self.by_rows { Lhs::RowMajor(words) } else { Lhs::Packed(words) }
    }
}

/// Packs panels of the left side, from element `start` of the inner dimension on, `depth` elements.
fn pack_left<'a>(
    p: &Product<'_>,
    panels: Range<usize>,
    (start, depth): (usize, usize),
    right: &Right<'_>,
    to: &'a mut Buffer,
) -> Packed<'a> {
    let Matrix { from, at, rows, down, across, .. } = p.left;
    let whole = p.form().steps(depth);
    // Rows that are whole are only widened.
    let by_rows = across == 1;
    let each = if by_rows { ROW_STRIDE * ROWS } else { whole * ROWS };
    let words = scratch::take(to, panels.len() * each + SLACK);
    let mut steps = [(0, whole); MOST_PANELS];
    for (i, row) in panels.map(|i| i * ROWS).enumerate() {
        let at = at + row * down + start * across;
        let mut panel = Panel { from, at, across: down, along: across, width: ROWS.min(rows - row), depth };
        if let Some(steps) = steps.get_mut(i) {
            let (first, last) = tile::nonzero(p.form(), &panel);
            // Steps in which a whole panel is 0, as half of causal attention is, add nothing to what is finite.
            if (first, last) != (0, depth) && right.is_finite(p) {
                panel.at += first * across;
                panel.depth = last - first;
                *steps = (p.form().steps(first), p.form().steps(last));
            }
        }
        let to = &mut words[i * each..];
        if by_rows { tile::pack_rows(p.form(), &panel, to) } else { tile::pack::<ROWS>(p.form(), &panel, to) }
    }
    Packed { words, each, by_rows, whole, steps }
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
