//! Blocks of surfaces.

/// A block of a surface `[1, C, 1, W]`: a range of channels and a range of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurfaceBlock {
    /// The first channel.
    pub channel: usize,
    /// The number of channels.
    pub channels: usize,
    /// The first column.
    pub column: usize,
    /// The number of columns.
    pub columns: usize,
}

impl SurfaceBlock {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.channels * self.columns
    }
}
