//! Element types of results.

use crate::buffer::Slice;
use crate::convert::Element;
use crate::simd::tile::{self, COLS, Epilogue, TILE};
use half::f16;

/// An element type that tiles are written as.
pub(crate) trait Target: Element {
    /// Writes a tile, `sums`, as far as it counts, times alpha and with its bias.
    ///
    /// # Panics
    /// If `to` is too short.
    fn drain(sums: &[f32; TILE], drain: &Epilogue<'_>, to: &mut [Self]);

    /// Elements to read.
    fn slice(elements: &[Self]) -> Slice<'_>;
}

impl Target for f32 {
    fn drain(sums: &[f32; TILE], drain: &Epilogue<'_>, to: &mut [f32]) {
        if !tile::drain_f32(sums, drain, to) {
            plain(sums, drain, to);
        }
    }
    fn slice(elements: &[f32]) -> Slice<'_> {
        Slice::F32(elements)
    }
}

impl Target for f16 {
    fn drain(sums: &[f32; TILE], drain: &Epilogue<'_>, to: &mut [f16]) {
        if !tile::drain_f16(sums, drain, to) {
            plain(sums, drain, to);
        }
    }
    fn slice(elements: &[f16]) -> Slice<'_> {
        Slice::F16(elements)
    }
}

fn plain<T: Target>(sums: &[f32; TILE], drain: &Epilogue<'_>, to: &mut [T]) {
    let mut line = [0.0; COLS];
    for (r, row) in sums.chunks_exact(COLS).enumerate().take(drain.rows) {
        let to = &mut to[r * drain.stride..][..drain.cols];
        for (i, to) in to.iter().enumerate() {
            let old = if drain.add { to.get() } else { 0.0 };
            line[i] = row[i].mul_add(drain.alpha, drain.bias_of(r)) + old;
        }
        T::narrow(&line[..drain.cols], to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::tile::ROWS;

    #[test]
    fn tiles_go_where_they_belong() {
        let tile: [f32; TILE] = std::array::from_fn(|i| i as f32);
        let bias: Vec<f32> = (0..ROWS).map(|i| i as f32 / 2.0).collect();
        for (rows, cols, add) in
            [(12, 32, false), (12, 32, true), (5, 32, false), (12, 17, true), (1, 1, false)]
        {
            let drain = Epilogue { rows, cols, stride: 40, alpha: 0.25, bias: &bias, add };
            let mut to = vec![1.0f32; ROWS * 40];
            let mut half = vec![f16::ONE; ROWS * 40];
            f32::drain(&tile, &drain, &mut to);
            f16::drain(&tile, &drain, &mut half);
            for (i, (x, h)) in to.iter().zip(&half).enumerate() {
                let (row, col) = (i / 40, i % 40);
                let old = if add { 1.0 } else { 0.0 };
                let want = match row < rows && col < cols {
                    true => tile[row * COLS + col] * 0.25 + bias[row] + old,
                    false => 1.0,
                };
                assert_eq!((*x, *h), (want, f16::from_f32(want)), "{rows}×{cols} at {row}, {col}");
            }
        }
    }
}
