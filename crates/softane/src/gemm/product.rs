//! The description of a product: operands, kernel, and how the result is stored.

use super::kernel::accelerate;
use super::kernel::record::{Blocks, MicroKernel};
use super::kernel::registry;
use super::view::Matrix;
use crate::numerics::MatmulPrecision;
use std::fmt;

/// The implementation of a product: a micro-kernel, or the system's library.
#[derive(Clone, Copy)]
pub struct GemmKernel(pub(super) Method);

impl fmt::Debug for GemmKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Copy)]
pub(super) enum Method {
    Tiles(&'static MicroKernel),
    /// Whole products in f32; see [`accelerate`].
    Library,
}

/// Rows of a tile that tasks of the library's products are cut by.
const LIBRARY_ROWS: usize = 12;

impl GemmKernel {
    /// The kernel called `name`, if this processor can run it; see [`GemmKernel::names`].
    pub fn named(name: &str) -> Option<GemmKernel> {
        GemmKernel::available().find(|kernel| kernel.name() == name)
    }

    /// The names of all kernels that this processor can run.
    pub fn names() -> Vec<&'static str> {
        GemmKernel::available().map(|kernel| kernel.name()).collect()
    }

    fn available() -> impl Iterator<Item = GemmKernel> {
        let library = accelerate::is_available().then_some(Method::Library);
        let tiles = registry::KERNELS.iter().filter(|k| (k.available)()).map(Method::Tiles);
        library.into_iter().chain(tiles).map(GemmKernel)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self.0 {
            Method::Tiles(kernel) => kernel.name,
            Method::Library => "library-f32",
        }
    }

    /// Rows that are computed together.
    pub(crate) fn rows(self) -> usize {
        match self.0 {
            Method::Tiles(kernel) => kernel.tile.mr,
            Method::Library => LIBRARY_ROWS,
        }
    }

    /// Rows of a task, at least.
    pub(super) fn least_rows(self) -> usize {
        match self.0 {
            Method::Tiles(kernel) => kernel.blocks.least_rows,
            Method::Library => Blocks::VECTORS.least_rows,
        }
    }

    /// Columns that are computed together.
    pub(crate) fn cols(self) -> usize {
        self.tiles().tile.nr
    }

    /// Its micro-kernel; for the library, the best one for f32.
    pub(crate) fn tiles(self) -> &'static MicroKernel {
        match self.0 {
            Method::Tiles(kernel) => kernel,
            Method::Library => registry::best_or_f32(MatmulPrecision::F32),
        }
    }
}

impl From<MatmulPrecision> for GemmKernel {
    /// The best kernel for `math` on this processor; one for f32 if there is none.
    fn from(math: MatmulPrecision) -> GemmKernel {
        // The system's library is faster on its processor.
        match math == MatmulPrecision::F32 && accelerate::is_available() {
            true => GemmKernel(Method::Library),
            false => GemmKernel(Method::Tiles(registry::best_or_f32(math))),
        }
    }
}

/// The fastest arithmetic of this processor whose error is in the class of half-precision storage: gradients are at most
/// 1.5 times as far from the exact ones as with f32 products. `Int16` is not: a channel much larger than the others of its
/// block of 128 takes their precision, and trained models have such channels.
pub fn auto() -> MatmulPrecision {
    if supports(MatmulPrecision::F16x3) { MatmulPrecision::F16x3 } else { MatmulPrecision::F32 }
}

/// Whether this processor has instructions for `math`.
pub fn supports(math: MatmulPrecision) -> bool {
    registry::best(math).is_some()
}

/// Whether products in `math` are faster than in f32 here: one instruction processes several factors.
pub fn saves_time(math: MatmulPrecision) -> bool {
    registry::best(math).is_some_and(|kernel| kernel.tile.k_step > 1)
}

/// Whether a product overwrites or accumulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// They are overwritten without being read.
    Replace,
    /// The result is added to them.
    Add,
}

/// A product to compute: `C ← αAB + bias`, or `C ← C + αAB + bias`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product<'a> {
    pub kernel: GemmKernel,
    pub store: Store,
    pub alpha: f32,
    /// `[M, K]`
    pub left: Matrix<'a>,
    /// `[K, N]`
    pub right: Matrix<'a>,
    /// Added to each row of the result; empty for none.
    pub bias: &'a [f32],
}

impl Product<'_> {
    /// M, N, K.
    pub(super) fn shape(&self) -> (usize, usize, usize) {
        (self.left.rows, self.right.cols, self.left.cols)
    }

    /// A bound of the magnitudes of the product, factors rounded or not; infinite or NaN if some factor is.
    pub fn largest(&self) -> f32 {
        // Each factor may be rounded up by 2⁻⁸, and sums by less than that.
        1.01 * self.alpha.abs() * self.left.cols as f32 * self.left.largest() * self.right.largest()
    }

    /// The rows from `first` on, at most `rows` of them.
    pub fn rows(&self, first: usize, rows: usize) -> Self {
        let left = self.left.part(first, self.left.rows.min(first + rows));
        Self { left, bias: self.bias.get(first..).unwrap_or(&[]), ..*self }
    }

    /// The first `cols` columns.
    pub(super) fn columns(&self, cols: usize) -> Self {
        Self { right: self.right.t().part(0, cols).t(), ..*self }
    }
}
