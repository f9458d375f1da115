//! Values that leave the range of their element type, found by a forward pass that checks all of them.

use super::{Network, Params, StepError};
use crate::host::gemm::Elements;
use crate::model::Layer;
use ane::Engine;
use half::f16;
use mil::{DType, ValueId};
use rayon::prelude::*;
use std::fmt;

/// Where a forward pass first left the numbers that its element type holds.
#[derive(Clone, Debug, PartialEq)]
pub struct OutOfRange {
    /// The layer, counted from 0.
    pub layer: usize,
    /// The value's name in the layer's program.
    pub value: String,
    /// Elements that are infinite, not a number, or too large.
    pub count: usize,
    /// All elements.
    pub of: usize,
    /// The largest magnitude among the finite elements.
    pub largest: f32,
    /// The element type of the engine's surfaces.
    pub dtype: DType,
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OutOfRange { layer, count, of, largest, dtype, .. } = self;
        write!(
            f,
            "layer {layer}: {count} of {of} elements of {} do not fit into {}; the largest finite one is {largest}",
            self.described(),
            dtype.name()
        )
    }
}

/// Largest magnitude of the residual stream of which the host's norms can take the mean square in fp32.
const LARGEST_RESIDUAL: f32 = 1e18;

impl OutOfRange {
    /// What the value is, in words.
    fn described(&self) -> String {
        let what = match self.value.as_str() {
            "x" => "the residual stream before attention",
            "x2" => "the residual stream before the feed-forward part",
            "xn" | "x2n" => "the normed input",
            "q_proj" | "q_norm" | "q" => "the queries",
            "k_proj" | "k_norm" | "k" => "the keys",
            "v" => "the attention values",
            "attn" => "the heads' results",
            "o" => "the attention output",
            "h1" | "h3" => "a feed-forward projection",
            "gate" => "the product silu(h1)·h3",
            "ffn" => "the feed-forward output",
            "y" => "the residual stream after the layer",
            _ => return format!("`{}`", self.value),
        };
        format!("`{}`, {what},", self.value)
    }

    /// What the user can do about it.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match (self.dtype, self.value.as_str()) {
            (DType::F16, "x" | "x2") => Some(
                "Run with `--norms host`, which leaves the residual stream in fp32, or with `--storage f32`.",
            ),
            (DType::F16, _) => Some("Run with `--storage f32`: the software engine then computes in fp32."),
            _ => Some("The weights are not usable: take an earlier checkpoint."),
        }
    }
}

/// Elements beyond `limit` in magnitude or not a number, and the largest magnitude of the others.
fn survey(elements: Elements<'_>, limit: f32) -> (usize, f32) {
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
    /// Refuses elements that the element type does not hold.
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

    /// Refuses a residual stream of which the host's norms cannot take the mean square. Elements that are not finite show
    /// in the result.
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

impl Network {
    /// Whether the engine may turn an infinite intermediate value into a finite result, so that results alone do not
    /// tell (rule N5).
    pub(crate) fn hides_infinity(&self) -> bool {
        self.device().info().engine == Engine::Apple
    }

    /// The error for a result of `tokens` that is not finite: with the layer where that began, if one is to blame.
    pub(crate) fn blame(&self, what: &'static str, tokens: &[u32]) -> StepError {
        match self.check_range(tokens) {
            Err(StepError::NotFinite { found, .. }) => StepError::NotFinite { what, found },
            Err(other) => other,
            Ok(()) => StepError::NotFinite { what, found: None },
        }
    }

    /// Refuses weights of layers that are too large for the engine's element type.
    pub(crate) fn check_weights(&self) -> Result<(), StepError> {
        check_weights(&self.params, &self.layer)
    }

    /// Value `v` of `layer`, to be checked.
    pub(super) fn watched(&self, layer: usize, v: ValueId) -> Watched {
        let ty = self.layer.joint.function.ty(v);
        Watched { layer, value: self.value_name(v).to_owned(), dtype: ty.dtype, of: ty.elements() }
    }

    /// The residual stream after the last layer, to be checked.
    pub(super) fn watched_stream(&self) -> Watched {
        let (layer, of) = (self.cfg.layers.saturating_sub(1), self.layer.elements(self.layer.y));
        Watched { layer, value: "y".to_owned(), dtype: DType::F32, of }
    }
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
