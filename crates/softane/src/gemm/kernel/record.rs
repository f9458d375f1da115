//! Micro-kernel records: tile size, packed panels, arithmetic, and the functions that pack and multiply.

use super::format::PackFormat;
use crate::buffer::Elements;
use crate::numerics::Numerics;
use half::f16;

/// A micro-kernel: it multiplies a packed panel of the left side, `mr` rows, by one of the right, `nr` columns.
#[derive(Debug)]
pub(crate) struct MicroKernel {
    /// Its name in `bench gemm --kernel`.
    pub name: &'static str,
    pub numerics: Numerics,
    pub tile: Tile,
    /// The layout of packed panels of the left side and of the right.
    pub lhs: PackFormat,
    pub rhs: PackFormat,
    /// Packed panels begin at multiples of so many bytes, at most [`crate::buffer::ALIGN`].
    pub alignment: usize,
    pub blocks: Blocks,
    /// The matrix unit that it runs on, if it is none of vectors.
    pub unit: Option<&'static MatrixUnit>,
    /// Whether this processor can run it.
    pub available: fn() -> bool,
    /// Whether it is worth choosing where it is available.
    pub preferred: fn() -> bool,
    /// Packs a panel of the left side, `mr` wide; may write up to [`SLACK`] words past the panel's end.
    pub pack_lhs: Pack,
    /// Packs a panel of the right side, `nr` wide; writes nothing past the panel's end.
    pub pack_rhs: Pack,
    /// Packs contiguous rows of the left side, if not done by `pack_lhs`.
    pub row_major: Option<RowMajor>,
    /// Writes the product of two panels of `depth` elements to a tile of `mr·nr` f32, row by row; with a matrix unit, adds
    /// it to the tile.
    pub run: fn(depth: usize, lhs: Lhs<'_>, rhs: &[f32], tile: &mut [f32]),
    /// Stores a tile as f32.
    pub store_f32: fn(tile: &[f32], epilogue: &Epilogue<'_>, to: &mut [f32]),
    /// Stores a tile rounded to half precision.
    pub store_f16: fn(tile: &[f32], epilogue: &Epilogue<'_>, to: &mut [f16]),
}

/// Packs a panel; elements past its width and depth, up to whole steps, are 0.
///
/// # Panics
/// If the panel reaches outside of its elements, or the packed one does not fit.
pub(crate) type Pack = fn(panel: &Panel<'_>, to: &mut [f32]);

/// Words that packing the left side may write past the end of a panel.
pub(crate) const SLACK: usize = 16;

/// The size of a tile of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Rows.
    pub mr: usize,
    /// Columns.
    pub nr: usize,
    /// Elements of the inner dimension per instruction; panels are zero-padded to a multiple.
    pub k_step: usize,
}

/// How a product is cut for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// The most elements of the inner dimension that are packed and multiplied together.
    pub depth: usize,
    /// Rows of a task, at least: with fewer, reading the right side would cost too much.
    pub least_rows: usize,
}

impl Blocks {
    /// Blocks for vectors: a panel of the right side and a block of the left stay in the second-level cache.
    pub(crate) const VECTORS: Blocks = Blocks { depth: 1024, least_rows: 48 };
}

/// A matrix unit, which has a state of its own.
#[derive(Debug)]
pub(crate) struct MatrixUnit {
    /// Prepares the calling thread's unit, before its first product.
    pub enter: fn(),
    /// Releases it, behind its last.
    pub leave: fn(),
    /// Whether a product of M, N and K is faster here than with vectors.
    pub pays: fn((usize, usize, usize)) -> bool,
}

/// The use of a kernel by one thread: its matrix unit is ready until this is dropped.
pub(crate) struct InUse(Option<&'static MatrixUnit>);

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(unit) = self.0 {
            (unit.leave)();
        }
    }
}

/// Rows of the left side packed separately, with stride `stride` in words.
#[derive(Debug)]
pub(crate) struct RowMajor {
    /// From one row to the next, in words: at least [`SLACK`] more than the steps of a row. A power of two would make
    /// rows compete for the same cache lines.
    pub stride: usize,
    pub pack: Pack,
}

/// A packed panel of the left side.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lhs<'a> {
    /// Step by step, as [`MicroKernel::pack_lhs`] writes it.
    Packed(&'a [f32]),
    /// Row by row, as [`RowMajor::pack`] writes it.
    RowMajor(&'a [f32]),
}

/// A strip of a matrix to pack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panel<'a> {
    pub from: Elements<'a>,
    /// The index of its first element.
    pub at: usize,
    /// From one row (of the left side) or column (of the right) to the next.
    pub across: usize,
    /// From one element of the inner dimension to the next.
    pub along: usize,
    /// Rows or columns; the packed panel has as many as the tile.
    pub width: usize,
    /// Elements of the inner dimension.
    pub depth: usize,
}

/// The epilogue of a finished tile: `to ← alpha·tile + bias`, or that added to `to`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epilogue<'a> {
    /// Rows and columns of the tile that are stored.
    pub rows: usize,
    pub cols: usize,
    /// Elements from one row of `to` to the next.
    pub stride: usize,
    pub alpha: f32,
    /// Added to each row; empty for none.
    pub bias: &'a [f32],
    /// Whether the result is added to `to`.
    pub add: bool,
}

impl Epilogue<'_> {
    pub(crate) fn bias_of(&self, row: usize) -> f32 {
        self.bias.get(row).copied().unwrap_or(0.0)
    }
}

impl MicroKernel {
    /// Makes the kernel ready on the calling thread.
    pub(crate) fn enter(&self) -> InUse {
        if let Some(unit) = self.unit {
            (unit.enter)();
        }
        InUse(self.unit)
    }

    /// Writes the product of two panels to a tile; [`MicroKernel::enter`] comes first.
    #[inline(always)]
    pub(crate) fn multiply(&self, depth: usize, lhs: Lhs<'_>, rhs: &[f32], tile: &mut [f32]) {
        if self.unit.is_some() {
            tile.fill(0.0);
        }
        (self.run)(depth, lhs, rhs, tile);
    }

    /// Whether it is worth its padding in a product of M, N and K.
    pub(crate) fn pays(&self, shape: (usize, usize, usize)) -> bool {
        self.unit.is_none_or(|unit| (unit.pays)(shape))
    }

    /// The inner dimension can be cut at multiples of so many elements.
    pub(crate) fn grain(&self) -> usize {
        lcm(lcm(self.lhs.grain, self.rhs.grain), self.tile.k_step)
    }

    /// Elements of the inner dimension that are skipped together if all are 0: about 16 steps, whole grains.
    pub(crate) fn skip(&self) -> usize {
        let grain = self.grain();
        (16 * grain).min(128).next_multiple_of(grain)
    }

    /// Words of a packed panel of the left side.
    pub(crate) fn lhs_words(&self, depth: usize) -> usize {
        self.aligned((self.lhs.steps)(depth.next_multiple_of(self.tile.k_step)) * self.tile.mr)
    }

    /// Words of a packed panel of the right side.
    pub(crate) fn rhs_words(&self, depth: usize) -> usize {
        self.aligned((self.rhs.steps)(depth.next_multiple_of(self.tile.k_step)) * self.tile.nr)
    }

    /// Where element `k`, a multiple of [`MicroKernel::grain`], begins in a packed panel of the right side.
    pub(crate) fn rhs_offset(&self, k: usize) -> usize {
        (self.rhs.steps)(k) * self.tile.nr
    }

    /// Elements of a tile.
    pub(crate) fn tile_len(&self) -> usize {
        self.tile.mr * self.tile.nr
    }

    fn aligned(&self, words: usize) -> usize {
        words.next_multiple_of(self.alignment.div_ceil(4))
    }
}

fn lcm(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

/// The range of elements of the inner dimension, at multiples of `block`, outside of which the panel is 0. All of them
/// if its elements are contiguous along neither axis.
pub(crate) fn nonzero_range(block: usize, panel: &Panel<'_>) -> (usize, usize) {
    match panel.from {
        Elements::F16(from) => nonzero_range_of(block, panel, from),
        Elements::F32(from) => nonzero_range_of(block, panel, from),
    }
}

fn nonzero_range_of<T: bytemuck::Pod>(block: usize, panel: &Panel<'_>, from: &[T]) -> (usize, usize) {
    let Panel { at, across, along, width, depth, .. } = *panel;
    // All bits but the signs. A step of −0 adds ±0 to a sum that begins at +0, which changes it as little as one of +0.
    let magnitudes = if size_of::<T>() == 2 { 0x7FFF_7FFF_7FFF_7FFF } else { 0x7FFF_FFFF_7FFF_FFFF };
    let part = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_ne_bytes(word) & magnitudes
    };
    let is_zero = |at: usize| part(bytemuck::bytes_of(&from[at])) == 0;
    // A cheap test first: most panels have no zeros at the ends of their first row.
    let may_be = width > 0 && depth > 0 && (is_zero(at) || is_zero(at + (depth - 1) * along));
    if across != 1 && along != 1 || !may_be {
        return (0, depth);
    }
    // Combines runs of `len` elements with stride `step`.
    let all_zero = |first: usize, step: usize, runs: usize, len: usize| {
        crate::simd::vectorised(
            #[inline(always)]
            || {
                let mut any = 0;
                for start in (0..runs).map(|i| first + i * step) {
                    let (words, rest) = bytemuck::cast_slice::<T, u8>(&from[start..start + len]).as_chunks();
                    any = words.iter().fold(any, |any, w| any | u64::from_ne_bytes(*w));
                    any |= part(rest);
                }
                any & magnitudes == 0
            },
        )
    };
    let zero = |b: usize| {
        let (k, len) = (b * block, block.min(depth - b * block));
        match along == 1 {
            true => all_zero(at + k, across, width, len),
            false => all_zero(at + k * along, along, len, width),
        }
    };
    let blocks = depth.div_ceil(block);
    let first = (0..blocks).find(|&b| !zero(b)).unwrap_or(blocks);
    let last = (first..blocks).rfind(|&b| !zero(b)).map_or(first, |b| b + 1);
    (depth.min(first * block), depth.min(last * block))
}
