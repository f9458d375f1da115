//! Panels and tiles without vectors: what the loops of each instruction set have to agree with.

use super::form::{PackFormat, SCALED, SCALED_STEPS, blocks_of, scale_of};
use super::tile::{COLS, Lhs, Panel, ROW_STRIDE, ROWS, TILE};
use half::bf16;

/// Element `k` of row or column `i` of a panel.
fn element(panel: &Panel<'_>, i: usize, k: usize) -> f32 {
    match i < panel.width && k < panel.depth {
        true => panel.from.get(panel.at + i * panel.across + k * panel.along),
        false => 0.0,
    }
}

/// Step `step` of row or column `i` of a panel.
fn word(form: PackFormat, panel: &Panel<'_>, i: usize, step: usize) -> f32 {
    let at = |k: usize| element(panel, i, k);
    match form {
        PackFormat::Single => at(step),
        PackFormat::Rounded => bf16::from_f32(at(step)).to_f32(),
        PackFormat::Pairs => {
            let bits = |k| u32::from(bf16::from_f32(at(k)).to_bits());
            f32::from_bits(bits(2 * step) | bits(2 * step + 1) << 16)
        }
        PackFormat::Scaled => {
            let (block, at) = (step / SCALED_STEPS, step % SCALED_STEPS);
            let magnitudes =
                (block * SCALED..).take(SCALED).map(|k| element(panel, i, k).to_bits() << 1 >> 1);
            let largest = f32::from_bits(magnitudes.max().unwrap_or(0));
            let (scale, inverse) = scale_of(largest);
            if at == SCALED_STEPS - 1 || step + 1 == form.steps(panel.depth) {
                return scale;
            }
            let integer = |k| match element(panel, i, block * SCALED + k) {
                x if !scale.is_nan() => u32::from((x * inverse).round_ties_even() as i16 as u16),
                _ => 0,
            };
            f32::from_bits(integer(2 * at) | integer(2 * at + 1) << 16)
        }
    }
}

/// See [`super::tile::pack`].
pub(super) fn pack<const W: usize>(form: PackFormat, panel: &Panel<'_>, to: &mut [f32]) {
    for (step, to) in to.chunks_exact_mut(W).take(form.steps(panel.depth)).enumerate() {
        to.iter_mut().enumerate().for_each(|(i, to)| *to = word(form, panel, i, step));
    }
}

/// See [`super::tile::pack_rows`].
pub(super) fn pack_rows(form: PackFormat, panel: &Panel<'_>, to: &mut [f32]) {
    for i in 0..ROWS {
        let to = &mut to[i * ROW_STRIDE..][..form.steps(panel.depth)];
        to.iter_mut().enumerate().for_each(|(step, to)| *to = word(form, panel, i, step));
    }
}

/// See [`super::tile::multiply`].
pub(super) fn multiply(form: PackFormat, steps: usize, left: Lhs<'_>, right: &[f32], tile: &mut [f32; TILE]) {
    tile.fill(0.0);
    let left = |i: usize, step: usize| match left {
        Lhs::Packed(left) => left[step * ROWS + i],
        Lhs::RowMajor(left) => left[i * ROW_STRIDE + step],
    };
    let right = |j: usize, step: usize| right[step * COLS + j];
    for (at, sum) in tile.iter_mut().enumerate() {
        let (i, j) = (at / COLS, at % COLS);
        match form {
            PackFormat::Single | PackFormat::Rounded => {
                (0..steps).for_each(|step| *sum = left(i, step).mul_add(right(j, step), *sum));
            }
            PackFormat::Pairs => {
                let halves = |x: f32| [x.to_bits() << 16, x.to_bits() & 0xFFFF_0000].map(f32::from_bits);
                for step in 0..steps {
                    let ([x0, x1], [y0, y1]) = (halves(left(i, step)), halves(right(j, step)));
                    *sum = x0.mul_add(y0, x1.mul_add(y1, *sum));
                }
            }
            PackFormat::Scaled => {
                let halves =
                    |x: f32| [x.to_bits() as u16, (x.to_bits() >> 16) as u16].map(|h| i32::from(h as i16));
                for block in blocks_of(steps) {
                    let end = block.end;
                    let product = |step| {
                        let ([x0, x1], [y0, y1]) = (halves(left(i, step)), halves(right(j, step)));
                        x0 * y0 + x1 * y1
                    };
                    let integer: i32 = block.map(product).sum();
                    *sum = (integer as f32 * right(j, end)).mul_add(left(i, end), *sum);
                }
            }
        }
    }
}
