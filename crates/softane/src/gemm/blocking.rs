//! Products in tiles: the right side is packed once, blocks of rows of the left side are tasks.

use super::kernel::record::{Epilogue, Lhs, MicroKernel, Panel, SLACK, nonzero_range};
use super::product::{Product, Store};
use super::scratch::{self, Local, Shared};
use super::target::Target;
use super::view::Matrix;
use crate::buffer::Buffer;
use crate::pool::for_each;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::OnceLock;

/// The most panels of a block that are checked for zeros.
const MOST_PANELS: usize = 64;

/// Panels of the right side that one task packs.
const PACKED_AT_ONCE: usize = 2;

/// Rows of the left side that are packed together where the right side stays near.
const FEW_ROWS: usize = 48;

/// Words of the packed right side that stay in the second-level cache beside a panel of the left: 256 KiB.
const NEAR: usize = 1 << 16;

/// A product and the micro-kernel that computes it.
#[derive(Clone, Copy)]
pub(super) struct Blocked<'a> {
    pub kernel: &'static MicroKernel,
    pub product: Product<'a>,
}

impl Blocked<'_> {
    /// Computes it into rows with stride `stride`, on the current rayon pool; a task computes `rows` rows and calls `done` with
    /// them.
    pub fn parallel<T: Target>(
        &self,
        c: &mut [T],
        stride: usize,
        rows: usize,
        done: &(impl Fn(usize, &[T]) + Sync),
    ) {
        let packed = self.pack();
        let packed = &Right::new(&packed.f32s()[..self.right_words()]);
        for_each(c.par_chunks_mut(rows * stride).enumerate(), |(i, c)| {
            scratch::local(|local| self.rows(i * rows, rows).block(c, stride, packed, local));
            done(i * rows, c);
        });
    }

    /// Packs the right side on the current rayon pool.
    pub fn pack(&self) -> Shared {
        let (panel, words) = (self.panel_words(), self.right_words());
        let mut shared = Shared::new(words);
        let packed = &mut shared.f32s_mut()[..words];
        for_each(packed.par_chunks_mut((panel * PACKED_AT_ONCE).max(1)).enumerate(), |(i, to)| {
            self.pack_right(i * PACKED_AT_ONCE, to);
        });
        shared
    }

    /// Computes it on the calling thread from a right side that [`Blocked::pack`] has packed, `rows` rows at a time.
    pub fn serial_packed<T: Target>(&self, c: &mut [T], stride: usize, packed: &Shared, rows: usize) {
        let right = &Right::new(&packed.f32s()[..self.right_words()]);
        scratch::local(|local| self.blocks(c, stride, right, rows, local));
    }

    /// Computes it on the calling thread, `rows` rows at a time.
    pub fn serial<T: Target>(&self, c: &mut [T], stride: usize, rows: usize) {
        self.with_own_right(|right, local| self.blocks(c, stride, right, rows, local));
    }

    /// See [`super::by_blocks`].
    pub fn by_blocks<T: Target>(
        &self,
        rows: usize,
        width: &dyn Fn(usize) -> usize,
        to: &mut [T],
        each: &mut dyn FnMut(usize, &mut [T]),
    ) {
        let (m, n, _) = self.product.shape();
        self.with_own_right(|right, local| {
            for i in 0..m.div_ceil(rows) {
                let p = self.rows(i * rows, rows);
                let p = Blocked { product: p.product.columns(width(i)), ..p };
                p.block(to, n, right, local);
                each(i, to);
            }
        });
    }

    /// Calls `f` with the right side, packed by the calling thread, and the thread's other memory.
    fn with_own_right(&self, f: impl FnOnce(&Right<'_>, &mut Local)) {
        scratch::local(|local| {
            let mut buffer = std::mem::take(&mut local.right);
            let words = scratch::take(&mut buffer, self.right_words());
            self.pack_right(0, words);
            f(&Right::new(words), local);
            local.right = buffer;
        });
    }

    fn rows(&self, first: usize, rows: usize) -> Self {
        Blocked { product: self.product.rows(first, rows), ..*self }
    }

    /// Parts of the inner dimension: where each begins, and its length.
    fn depths(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let k = self.product.left.cols;
        let parts = k.div_ceil(self.kernel.blocks.depth).max(1);
        // Even lengths for every kernel, so that all have the same parts.
        let each = k.div_ceil(parts).next_multiple_of(self.kernel.grain().max(2));
        (0..k.max(1)).step_by(each.max(1)).map(move |at| (at, each.min(k - at)))
    }

    /// Words of a panel of the right side over all of the inner dimension.
    fn panel_words(&self) -> usize {
        self.depths().map(|(_, depth)| self.kernel.rhs_words(depth)).sum()
    }

    /// Words of the whole right side.
    fn right_words(&self) -> usize {
        self.panel_words() * self.product.right.cols.div_ceil(self.kernel.tile.nr)
    }

    /// Packs panels of the right side from `first` on until `to` is full.
    fn pack_right(&self, first: usize, to: &mut [f32]) {
        let Matrix { from, at, cols, down, across, .. } = self.product.right;
        let nr = self.kernel.tile.nr;
        for (i, mut to) in to.chunks_exact_mut(self.panel_words().max(1)).enumerate() {
            let col = (first + i) * nr;
            for (start, depth) in self.depths() {
                let at = at + col * across + start * down;
                let panel = Panel { from, at, across, along: down, width: nr.min(cols - col), depth };
                let (here, rest) = to.split_at_mut(self.kernel.rhs_words(depth));
                (self.kernel.pack_rhs)(&panel, here);
                to = rest;
            }
        }
    }

    /// Computes it from its packed right side, `rows` rows at a time.
    fn blocks<T: Target>(
        &self,
        c: &mut [T],
        stride: usize,
        right: &Right<'_>,
        rows: usize,
        local: &mut Local,
    ) {
        for (i, c) in c.chunks_mut(rows * stride).enumerate() {
            self.rows(i * rows, rows).block(c, stride, right, local);
        }
    }

    /// Computes all rows from its packed right side.
    fn block<T: Target>(&self, c: &mut [T], stride: usize, right: &Right<'_>, local: &mut Local) {
        let (kernel, p) = (self.kernel, &self.product);
        let (rows, n, _) = p.shape();
        let (mr, nr, tile_len) = (kernel.tile.mr, kernel.tile.nr, kernel.tile_len());
        let (tall, wide) = (rows.div_ceil(mr), n.div_ceil(nr));
        let (parts, panel_words) = (self.depths().count(), self.panel_words());
        let Local { left, sums, tile, .. } = local;
        let sums = scratch::take(sums, if parts > 1 { tall * wide * tile_len } else { 0 });
        let tile = scratch::take(tile, tile_len);
        // Panels of the left side that are packed together and multiplied by each panel of the right side. A few, if the
        // right side stays in the second-level cache anyway; then they are multiplied while they are in the first.
        let near = parts == 1 && wide * panel_words <= NEAR;
        let together = if near { FEW_ROWS.div_ceil(mr).min(tall) } else { tall };
        let _ready = kernel.enter();
        let mut before = 0;
        for (part, depth) in self.depths().enumerate() {
            for first in (0..tall).step_by(together) {
                let count = together.min(tall - first);
                let left = self.pack_left(first..first + count, depth, right, left);
                for j in 0..wide {
                    let right = &right.packed[j * panel_words + before..];
                    for i in first..first + count {
                        let (from, to) = left.range(i - first);
                        let right = &right[kernel.rhs_offset(from)..];
                        let sum = match parts {
                            1 => None,
                            _ => Some(&mut sums[(j * tall + i) * tile_len..][..tile_len]),
                        };
                        let ends = (part == 0, part + 1 == parts);
                        let total = total(kernel, (to - from, left.panel(i - first), right), sum, tile, ends);
                        if part + 1 < parts {
                            continue;
                        }
                        let (row, col) = (i * mr, j * nr);
                        let epilogue = Epilogue {
                            rows: mr.min(rows - row),
                            cols: nr.min(n - col),
                            stride,
                            alpha: p.alpha,
                            bias: p.bias.get(row..).unwrap_or(&[]),
                            add: p.store == Store::Add,
                        };
                        T::store(kernel, total, &epilogue, &mut c[row * stride + col..]);
                    }
                }
            }
            before += kernel.rhs_words(depth.1);
        }
    }

    /// Packs panels of the left side, from element `start` of the inner dimension on, `depth` elements.
    fn pack_left<'b>(
        &self,
        panels: Range<usize>,
        (start, depth): (usize, usize),
        right: &Right<'_>,
        to: &'b mut Buffer,
    ) -> Left<'b> {
        let kernel = self.kernel;
        let Matrix { from, at, rows, down, across, .. } = self.product.left;
        let mr = kernel.tile.mr;
        // Contiguous rows are only widened.
        let row_major = kernel.row_major.as_ref().filter(|_| across == 1);
        let each = row_major.map_or(kernel.lhs_words(depth), |by_rows| by_rows.stride * mr);
        let pack = row_major.map_or(kernel.pack_lhs, |by_rows| by_rows.pack);
        let words = scratch::take(to, panels.len() * each + SLACK);
        let mut ranges = [(0, depth); MOST_PANELS];
        for (i, row) in panels.map(|i| i * mr).enumerate() {
            let at = at + row * down + start * across;
            let mut panel = Panel { from, at, across: down, along: across, width: mr.min(rows - row), depth };
            if let Some(range) = ranges.get_mut(i) {
                let (first, last) = nonzero_range(kernel.skip(), &panel);
                // Steps in which a whole panel is 0, as in causal attention, add nothing to finite sums.
                if (first, last) != (0, depth) && right.is_finite(self) {
                    panel.at += first * across;
                    panel.depth = last - first;
                    *range = (first, last);
                }
            }
            pack(&panel, &mut words[i * each..]);
        }
        Left { words, each, row_major: row_major.is_some(), whole: depth, ranges }
    }
}

/// The packed right side of a product.
struct Right<'a> {
    packed: &'a [f32],
    /// Whether all of it is finite, computed on first use.
    finite: OnceLock<bool>,
}

impl Right<'_> {
    fn new(packed: &[f32]) -> Right<'_> {
        Right { packed, finite: OnceLock::new() }
    }

    /// Whether all factors of the right side of `p`, which this is, are finite.
    fn is_finite(&self, p: &Blocked<'_>) -> bool {
        let (kernel, nr) = (p.kernel, p.kernel.tile.nr);
        *self.finite.get_or_init(|| {
            let is_finite = |panel: &[f32]| {
                let mut at = 0;
                p.depths().all(|(_, depth)| {
                    let steps = (kernel.rhs.steps)(depth.next_multiple_of(kernel.tile.k_step));
                    let finite = (kernel.rhs.is_finite)(&panel[at..][..steps * nr], nr);
                    at += kernel.rhs_words(depth);
                    finite
                })
            };
            self.packed.chunks_exact(p.panel_words().max(1)).all(is_finite)
        })
    }
}

/// Packed panels of the left side.
struct Left<'a> {
    words: &'a [f32],
    /// From one panel to the next.
    each: usize,
    row_major: bool,
    /// All elements of the inner dimension.
    whole: usize,
    /// The nonzero range of each panel; later panels are unchecked.
    ranges: [(usize, usize); MOST_PANELS],
}

impl Left<'_> {
    fn range(&self, i: usize) -> (usize, usize) {
        self.ranges.get(i).copied().unwrap_or((0, self.whole))
    }

    fn panel(&self, i: usize) -> Lhs<'_> {
        let words = &self.words[i * self.each..];
        if self.row_major { Lhs::RowMajor(words) } else { Lhs::Packed(words) }
    }
}

/// Multiplies two panels of `depth` elements, and adds the product to the `sum` of previous blocks of the inner dimension,
/// if there are several. Returns the total where it is the last.
// Inlined: as a call for every tile it takes 2 % of a step of stories15m.
#[inline(always)]
fn total<'t>(
    kernel: &MicroKernel,
    (depth, left, right): (usize, Lhs<'_>, &[f32]),
    sum: Option<&'t mut [f32]>,
    tile: &'t mut [f32],
    (is_first, is_last): (bool, bool),
) -> &'t [f32] {
    match sum {
        // A matrix unit adds by itself.
        Some(sum) if kernel.unit.is_some() => {
            if is_first {
                sum.fill(0.0);
            }
            (kernel.run)(depth, left, right, sum);
            sum
        }
        sum => {
            kernel.multiply(depth, left, right, tile);
            if let Some(sum) = sum {
                carry(sum, tile, is_first, is_last);
            }
            tile
        }
    }
}

/// Adds a tile to the sum of previous ones; for the last block, `tile` becomes the total.
fn carry(sum: &mut [f32], tile: &mut [f32], first: bool, last: bool) {
    crate::simd::vectorised(
        #[inline(always)]
        || match (first, last) {
            (true, _) => sum.copy_from_slice(&*tile),
            (false, false) => sum.iter_mut().zip(&*tile).for_each(|(s, x)| *s += x),
            (false, true) => tile.iter_mut().zip(&*sum).for_each(|(x, s)| *x += s),
        },
    );
}
