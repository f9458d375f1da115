//! Element types of results.

use super::kernel::record::{Epilogue, MicroKernel};
use crate::buffer::Slice;
use crate::convert::Element;
use half::f16;

/// An element type that tiles are stored as.
pub(crate) trait Target: Element {
    /// Stores a tile that `kernel` has computed.
    ///
    /// # Panics
    /// If `to` is too short.
    fn store(kernel: &MicroKernel, tile: &[f32], epilogue: &Epilogue<'_>, to: &mut [Self]);

    /// Elements to read.
    fn slice(elements: &[Self]) -> Slice<'_>;
}

impl Target for f32 {
    fn store(kernel: &MicroKernel, tile: &[f32], epilogue: &Epilogue<'_>, to: &mut [f32]) {
        (kernel.store_f32)(tile, epilogue, to);
    }
    fn slice(elements: &[f32]) -> Slice<'_> {
        Slice::F32(elements)
    }
}

impl Target for f16 {
    fn store(kernel: &MicroKernel, tile: &[f32], epilogue: &Epilogue<'_>, to: &mut [f16]) {
        (kernel.store_f16)(tile, epilogue, to);
    }
    fn slice(elements: &[f16]) -> Slice<'_> {
        Slice::F16(elements)
    }
}
