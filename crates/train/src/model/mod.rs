//! The model as programs: the forward program of a layer, its derived gradient, and both cut into kernels by a plan.

mod error;
mod kernels;
mod ladder;
mod layer;
mod plan;

pub use error::ModelError;
pub use kernels::{Binding, ConstWeight, InputWeight, KernelSpec, LayerKernels};
pub use ladder::{LADDER, Rung, Start};
pub use layer::{Layer, NormSite, Precision, WeightGrad};
pub use plan::{Fusion, KernelPlan, Norms};
