//! The number formats that weights are exported in.

use half::{bf16, f16};

use crate::error::TrainError;
use crate::fs::FloatType;
use host::range::largest;

/// A number format of exported weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightType {
    /// 32 bits: without loss.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// The upper half of an f32.
    BF16,
    /// ggml's blocks of 32 signed bytes with a scale; in llama2.c's files groups of signed bytes.
    Q8_0,
    /// ggml's blocks of 32 nibbles with a scale.
    Q4_0,
}

impl WeightType {
    /// All of them, the most exact first.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::BF16, Self::Q8_0, Self::Q4_0];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }

    /// The float type, unless it is made of blocks.
    pub(crate) fn float(self) -> Option<FloatType> {
        match self {
            Self::F32 => Some(FloatType::F32),
            Self::F16 => Some(FloatType::F16),
            Self::BF16 => Some(FloatType::BF16),
            Self::Q8_0 | Self::Q4_0 => None,
        }
    }
}

/// Refuses numbers that `kind` would make infinite.
///
/// # Errors
/// [`TrainError::Export`].
pub(super) fn check_range(kind: WeightType, name: &str, numbers: &[f32]) -> Result<(), TrainError> {
    let largest = largest(numbers);
    let fits = match kind {
        WeightType::F32 => true,
        WeightType::F16 => f16::from_f32(largest).is_finite(),
        WeightType::BF16 => bf16::from_f32(largest).is_finite(),
        // The scale of a block is an f16.
        WeightType::Q8_0 => f16::from_f32(largest / 127.0).is_finite(),
        WeightType::Q4_0 => f16::from_f32(largest / 8.0).is_finite(),
    };
    if fits {
        return Ok(());
    }
    Err(TrainError::Export {
        format: kind.name(),
        problem: format!("tensor `{name}` has a number of magnitude {largest}, which overflows"),
        remedy: "Use `--dtype f32`.".to_owned(),
    })
}
