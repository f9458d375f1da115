//! Regions of surfaces that hold values, and errors of packing.

use crate::block::SurfaceBlock;
use mil::{Report, TensorType};

/// A named region of a surface: a range of channels and a range of columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurfaceRegion {
    /// The name of the value.
    pub name: String,
    /// The index of the surface; 0 unless each value has its own.
    pub surface: usize,
    /// The first channel.
    pub channel: usize,
    /// The number of channels.
    pub channels: usize,
    /// The first column; 0 unless the surface holds weights.
    pub column: usize,
    /// The number of columns.
    pub columns: usize,
    /// Whether it holds the transpose of a matrix.
    pub transposed: bool,
}

impl SurfaceRegion {
    /// The block of the region.
    pub fn block(&self) -> SurfaceBlock {
        SurfaceBlock {
            channel: self.channel,
            channels: self.channels,
            column: self.column,
            columns: self.columns,
        }
    }
}

/// Why a program could not be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PackError {
    #[error("`{name}` is {ty}: neither of its last two axes has the surface's width {width}")]
    NoWidth { name: String, ty: TensorType, width: usize },
    #[error("`{name}` is {ty}: a surface of {want} cannot hold it")]
    ElementType { name: String, ty: TensorType, want: mil::DType },
    #[error(
        "weight `{name}` ({ty}) cannot be passed at run time: only vectors and matrices that nothing but 1×1 convolutions \
         use can; bake it in (`--weights baked`)"
    )]
    Weight { name: String, ty: TensorType },
    #[error(
        "weights and activations do not fit on one surface of at most {highest} channels and {widest} columns; the \
         largest is `{name}`, {ty}: bake weights in (`--weights baked`), or give a layer more kernels"
    )]
    TooLarge { name: String, ty: TensorType, highest: usize, widest: usize },
    #[error("nothing to pack: the program has no parameters or no results")]
    Nothing,
    #[error("the packed program is not valid: {0}; please report it")]
    Program(#[from] Report),
}
