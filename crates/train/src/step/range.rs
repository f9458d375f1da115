//! Range checks of values and weights.

use super::{OutOfRange, Params, StepError};
use crate::model::Layer;
use half::f16;
use host::gemm::Elements;
use host::range::{count_beyond, survey};
use mil::{DType, ValueId};

/// The largest magnitude of the residual stream whose mean square fits into fp32, for the host's norms.
const LARGEST_RESIDUAL: f32 = 1e18;

/// A value of a layer that is checked to be in the range of its element type.
#[derive(Debug)]
pub(super) struct Watched {
    layer: usize,
    value: String,
    dtype: DType,
    /// Its elements.
    pub(super) of: usize,
}

impl Watched {
    /// Value `v` of layer number `layer`.
    pub(super) fn new(layer: usize, program: &Layer, v: ValueId) -> Watched {
        let function = &program.joint.function;
        let ty = function.ty(v);
        Watched { layer, value: function.value(v).name.clone(), dtype: ty.dtype, of: ty.elements() }
    }

    /// The residual stream after layer number `layer`, on the host.
    pub(super) fn stream(layer: usize, program: &Layer) -> Watched {
        Watched { dtype: DType::F32, ..Watched::new(layer, program, program.y) }
    }

    /// Refuses elements outside the range of the element type.
    ///
    /// # Errors
    /// `NotFinite`.
    pub(super) fn check(&self, elements: Elements<'_>) -> Result<(), StepError> {
        let limit = if self.dtype == DType::F16 { f16::MAX.to_f32() } else { f32::MAX };
        match survey(elements, limit) {
            (0, _) => Ok(()),
            (count, largest) => Err(self.left_by("the forward pass", count, largest)),
        }
    }

    /// Refuses a residual stream whose mean square overflows. Elements that are not finite are detected in the result.
    ///
    /// # Errors
    /// `NotFinite`.
    pub(super) fn check_stream(&self, x: &[f32]) -> Result<(), StepError> {
        let (count, largest) = survey(Elements::F32(x), LARGEST_RESIDUAL);
        if count == 0 || count_beyond(x, f32::MAX) > 0 {
            return Ok(());
        }
        Err(self.left_by("the mean square of the residual stream", count, largest))
    }

    fn left_by(&self, what: &'static str, count: usize, largest: f32) -> StepError {
        let Watched { layer, dtype, of, .. } = *self;
        let found = OutOfRange { layer, value: self.value.clone(), count, of, largest, dtype };
        StepError::NotFinite { what, found: Some(found) }
    }
}

/// Refuses weights of layers that are too large for the engine's element type.
///
/// # Errors
/// `WeightRange`.
pub(super) fn check_weights(params: &Params, layer: &Layer) -> Result<(), StepError> {
    if layer.joint.function.ty(layer.x).dtype != DType::F16 {
        return Ok(());
    }
    let theta = params.theta.read()?;
    for spec in params.specs().filter(|s| s.layer.is_some()) {
        let (count, _) = survey(Elements::F32(&theta[spec.range()]), f16::MAX.to_f32());
        if count > 0 {
            return Err(StepError::WeightRange { name: spec.name.clone(), count, of: spec.count() });
        }
    }
    Ok(())
}
