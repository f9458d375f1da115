//! Range checks of values and weights.

use super::{OutOfRange, Params, StepError};
use crate::model::Layer;
use half::f16;
use host::gemm::Elements;
use mil::{DType, ValueId};
use rayon::prelude::*;

/// The largest magnitude of the residual stream whose mean square fits into fp32, for the host's norms.
const LARGEST_RESIDUAL: f32 = 1e18;

/// The number of elements that are NaN or larger than `limit` in magnitude, and the largest magnitude of the others.
pub(crate) fn survey(elements: Elements<'_>, limit: f32) -> (usize, f32) {
    let one = |x: f32| if x.abs() <= limit { (0, x.abs()) } else { (1, 0.0) };
    let join = |a: (usize, f32), b: (usize, f32)| (a.0 + b.0, a.1.max(b.1));
    match elements {
        Elements::F16(x) => x.par_iter().map(|x| one(x.to_f32())).reduce(|| (0, 0.0), join),
        Elements::F32(x) => x.par_iter().map(|&x| one(x)).reduce(|| (0, 0.0), join),
    }
}

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
        if count == 0 || x.iter().any(|x| !x.is_finite()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_survey_counts_what_does_not_fit() {
        let values = [1.0, -70_000.0, f32::NAN, f32::INFINITY, 65_504.0, -3.0];
        assert_eq!(survey(Elements::F32(&values), 65_504.0), (3, 65_504.0));
        assert_eq!(survey(Elements::F32(&values), f32::MAX), (2, 70_000.0));
        let halves = [f16::INFINITY, f16::NAN, f16::MAX, f16::MIN];
        assert_eq!(survey(Elements::F16(&halves), 65_504.0), (2, 65_504.0));
    }
}
