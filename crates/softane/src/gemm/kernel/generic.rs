//! f32 in plain Rust, which compilers vectorise for any processor: the fallback for processors without a kernel of their
//! own.

use super::epilogue;
use super::format::SINGLE;
use super::record::{Blocks, Lhs, MicroKernel, Panel, Tile};
use crate::buffer::Elements;
use crate::convert::Element;
use crate::numerics::MatmulPrecision;

/// Rows of a tile: with [`COLS`] columns, half of 16 registers of four hold sums.
const ROWS: usize = 4;

/// Columns of a tile.
const COLS: usize = 8;

/// Products and sums in f32, each rounded: a fused multiply-add is slow where the processor has none.
pub(crate) const GENERIC_F32: MicroKernel = MicroKernel {
    name: "generic-f32",
    numerics: MatmulPrecision::F32.numerics(),
    tile: Tile { mr: ROWS, nr: COLS, k_step: 1 },
    lhs: SINGLE,
    rhs: SINGLE,
    alignment: 4,
    blocks: Blocks::VECTORS,
    unit: None,
    available: || true,
    preferred: || true,
    pack_lhs: pack::<ROWS>,
    pack_rhs: pack::<COLS>,
    row_major: None,
    run,
    store_f32: epilogue::store::<f32, COLS>,
    store_f16: epilogue::store::<half::f16, COLS>,
};

/// Packs a panel of f32, `W` wide.
pub(crate) fn pack<const W: usize>(panel: &Panel<'_>, to: &mut [f32]) {
    match panel.from {
        Elements::F32(from) => pack_of::<f32, W>(from, panel, to),
        Elements::F16(from) => pack_of::<half::f16, W>(from, panel, to),
    }
}

fn pack_of<T: Element, const W: usize>(from: &[T], panel: &Panel<'_>, to: &mut [f32]) {
    let Panel { at, across, along, width, depth, .. } = *panel;
    assert!(width <= W, "a panel of {width} for {W}");
    for (step, to) in to[..depth * W].as_chunks_mut::<W>().0.iter_mut().enumerate() {
        let start = at + step * along;
        let (inside, outside) = to.split_at_mut(width);
        match across {
            1 => T::widen(&from[start..start + width], inside),
            _ => inside.iter_mut().enumerate().for_each(|(i, x)| *x = from[start + i * across].get()),
        }
        outside.fill(0.0);
    }
}

fn run(depth: usize, lhs: Lhs<'_>, rhs: &[f32], tile: &mut [f32]) {
    let Lhs::Packed(lhs) = lhs else { unreachable!("`row_major` is `None`") };
    let mut sums = [[0.0f32; COLS]; ROWS];
    let (lhs, rhs) = (lhs[..depth * ROWS].as_chunks::<ROWS>().0, rhs[..depth * COLS].as_chunks::<COLS>().0);
    for (column, row) in lhs.iter().zip(rhs) {
        for (sums, x) in sums.iter_mut().zip(column) {
            for (sum, y) in sums.iter_mut().zip(row) {
                *sum += x * y;
            }
        }
    }
    tile.copy_from_slice(sums.as_flattened());
}
