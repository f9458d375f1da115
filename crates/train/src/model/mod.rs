//! The model as programs: the forward program of a layer, its derived gradient, and both cut into kernels by a plan.

mod attention;
mod decoding;
mod error;
mod feed_forward;
mod kernels;
mod ladder;
mod layer;
mod norm;
mod plan;
mod precision;
mod statement;

pub use attention::RopeRows;
pub(crate) use attention::masked;
pub use decoding::{DecodePart, DecodeSpec};
pub use error::ModelError;
pub use kernels::{Binding, ConstWeight, InputWeight, KernelSpec, LayerKernels};
pub use ladder::{LADDER, Rung, Start};
pub use layer::{Additions, BiasGrad, Layer, WeightGrad};
pub use plan::{Fusion, KernelPlan, Norms};
pub use precision::Precision;
pub use statement::NormSite;
