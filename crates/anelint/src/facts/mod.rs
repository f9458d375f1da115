//! Numbers of the hardware, each with its source: the only place where rules, repairs and probes get theirs from.
//!
//! Those used by the engine's code are in [`ane::facts`] and re-exported here.

mod operations;
mod programs;
mod surfaces;

pub use ane::facts::*;
pub use operations::*;
pub use programs::*;
pub use surfaces::*;

use mil::TensorType;
use std::fmt;

/// A limit that a surface does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The property of the surface.
    pub breach: &'static str,
    /// The limit.
    pub limit: usize,
    /// The evidence.
    pub basis: Basis,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.breach, self.limit)
    }
}

/// The limits of real engines that a surface of type `ty` does not keep.
pub fn remarks(ty: &TensorType) -> Vec<Remark> {
    let width = ty.shape.last().copied().unwrap_or(0);
    let largest = ty.shape.iter().copied().max().unwrap_or(0);
    let bytes = ty.bytes().unwrap_or(0);
    let limits = [
        (!width.is_multiple_of(LAST_AXIS_MULTIPLE.value), "the width is no multiple of", LAST_AXIS_MULTIPLE),
        (width > MAX_INPUT_WIDTH.value, "the width is above", MAX_INPUT_WIDTH),
        (largest > MAX_AXIS.value, "an axis is above", MAX_AXIS),
        (bytes < MIN_SURFACE_BYTES.value, "the bytes are below", MIN_SURFACE_BYTES),
    ];
    let remark =
        |(_, breach, fact): (bool, _, Fact<usize>)| Remark { breach, limit: fact.value, basis: fact.basis };
    limits.into_iter().filter(|l| l.0).map(remark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mil::ty::f16;

    #[test]
    fn each_limit_is_remarked_on_with_its_source() {
        assert!(remarks(&f16([1, 768, 1, 256])).is_empty());
        let said = |shape: [usize; 4]| {
            remarks(&f16(shape)).iter().map(|r| format!("{r}; {}", r.basis)).collect::<Vec<_>>().join("\n")
        };
        assert!(said([1, 768, 1, 100]).starts_with("the width is no multiple of 32; h3"));
        assert!(said([1, 4, 1, 32]).starts_with("the bytes are below 49152; Orion"));
        assert!(said([1, 70_000, 1, 32]).starts_with("an axis is above 65536; maderix/ANE"));
        assert!(said([1, 64, 1, 16_416]).starts_with("the width is above 16384; rustane"));
    }
}
