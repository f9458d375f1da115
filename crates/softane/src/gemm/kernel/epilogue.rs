//! Storing of tiles with plain loops, for kernels without their own.

use super::record::Epilogue;
use crate::convert::Element;

/// Stores a tile whose rows are `NR` wide.
///
/// # Panics
/// If `to` is too short.
pub(crate) fn store<T: Element, const NR: usize>(tile: &[f32], epilogue: &Epilogue<'_>, to: &mut [T]) {
    let mut line = [0.0; NR];
    for (r, row) in tile.as_chunks::<NR>().0.iter().enumerate().take(epilogue.rows) {
        let to = &mut to[r * epilogue.stride..][..epilogue.cols];
        let bias = epilogue.bias_of(r);
        for (x, &sum) in line.iter_mut().zip(row) {
            *x = scaled(sum, epilogue.alpha, bias);
        }
        if epilogue.add {
            line.iter_mut().zip(&*to).for_each(|(x, old)| *x += old.get());
        }
        T::narrow(&line[..epilogue.cols], to);
    }
}

/// `x·alpha + bias`: fused where every processor of the architecture can; elsewhere that would be a function call.
#[inline(always)]
fn scaled(x: f32, alpha: f32, bias: f32) -> f32 {
    if cfg!(target_arch = "aarch64") { x.mul_add(alpha, bias) } else { x * alpha + bias }
}
