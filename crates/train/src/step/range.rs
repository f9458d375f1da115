//! Values that leave the range of their element type, found by a forward pass that looks at all of them.

use super::buffers::Window;
use super::{Network, StepError};
use crate::host::gemm::Elements;
use ane::Engine;
use half::f16;
use mil::pass::Provider;
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

impl Network {
    /// Whether the engine may turn an infinite intermediate value into a finite result, so that results alone do not
    /// tell (rule N5).
    pub(crate) fn hides_infinity(&self) -> bool {
        self.device().info().engine == Engine::Apple
    }

    /// Runs the forward pass on the first S of S + 1 `tokens`, and looks at every value that crosses the engine's door.
    ///
    /// # Errors
    /// `NotFinite` with the first layer and value that left their range; otherwise as [`Network::logits`].
    pub(crate) fn check_range(&self, tokens: &[u32]) -> Result<(), StepError> {
        self.pool().install(|| self.pass(Window::Tokens(tokens.to_vec()), true))
    }

    /// The error for a result of `tokens` that is not finite: with the layer where that began, if one is to blame.
    pub(crate) fn blame(&self, what: &'static str, tokens: &[u32]) -> StepError {
        match self.check_range(tokens) {
            Err(StepError::NotFinite { found, .. }) => StepError::NotFinite { what, found },
            Err(other) => other,
            Ok(()) => StepError::NotFinite { what, found: None },
        }
    }

    /// Refuses what kernel `k` of `layer` is about to read from the host, if it does not fit onto a surface.
    pub(super) fn check_inputs(&self, k: usize, layer: usize) -> Result<(), StepError> {
        let inputs = self.kernels.kernels[k].inputs.iter().filter(|l| l.from == Provider::Host);
        inputs.into_iter().try_for_each(|l| self.check_value(layer, l.value))
    }

    /// Refuses what kernel `k` of `layer` has written, if it is not finite.
    pub(super) fn check_outputs(&self, k: usize, layer: usize) -> Result<(), StepError> {
        self.kernels.kernels[k].outputs.iter().try_for_each(|l| self.check_value(layer, l.value))
    }

    /// Refuses a residual stream after the last layer that the host's norms cannot take.
    pub(super) fn check_residual(&self) -> Result<(), StepError> {
        let last = self.cfg.layers;
        let x = self.buffers.x[last].read()?;
        let (count, largest) = survey(Elements::F32(&x), LARGEST_RESIDUAL);
        // What is not finite shows in the result.
        if count == 0 || x.iter().any(|x| !x.is_finite()) {
            return Ok(());
        }
        let (layer, value) = (last.saturating_sub(1), "y".to_owned());
        let found = OutOfRange { layer, value, count, of: x.len(), largest, dtype: DType::F32 };
        Err(StepError::NotFinite { what: "the mean square of the residual stream", found: Some(found) })
    }

    fn check_value(&self, layer: usize, v: ValueId) -> Result<(), StepError> {
        let dtype = self.layer.joint.function.ty(v).dtype;
        let limit = if dtype == DType::F16 { f16::MAX.to_f32() } else { f32::MAX };
        let (count, largest) = self.with_value(layer, v, |elements| survey(elements, limit))?;
        if count == 0 {
            return Ok(());
        }
        let (value, of) = (self.value_name(v).to_owned(), self.elements(v));
        let found = OutOfRange { layer, value, count, of, largest, dtype };
        Err(StepError::NotFinite { what: "the forward pass", found: Some(found) })
    }

    /// Refuses weights of layers that are too large for the engine's element type.
    pub(crate) fn check_weights(&self) -> Result<(), StepError> {
        let dtype = self.layer.joint.function.ty(self.layer.x).dtype;
        if dtype != DType::F16 {
            return Ok(());
        }
        let theta = self.theta.read()?;
        for spec in self.specs.iter().filter(|s| s.layer.is_some()) {
            let (count, _) = survey(Elements::F32(&theta[spec.range()]), f16::MAX.to_f32());
            if count > 0 {
                return Err(StepError::WeightRange { name: spec.name.clone(), count, of: spec.count() });
            }
        }
        Ok(())
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
