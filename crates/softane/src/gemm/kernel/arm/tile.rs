//! The tile of the kernels with NEON: 12 × 32.

/// Rows of the tile.
pub(super) const ROWS: usize = 12;

/// Columns of the tile.
pub(super) const COLS: usize = 32;

/// From one row of a row-major panel to the next, in words: no power of two, so that the rows do not compete for the same
/// cache lines.
pub(super) const ROW_STRIDE: usize = 1040;
