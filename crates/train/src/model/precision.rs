//! The element type of programs.

use ane::MatmulPrecision;
use mil::DType;

/// The element type of programs and surfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// fp16, the type of real engines.
    F16,
    /// fp32, for debugging, on the software engine only.
    F32,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Precision; 2] = [Precision::F16, Precision::F32];

    /// Its name in flags and checkpoints.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F16 => "f16",
            Precision::F32 => "f32",
        }
    }

    /// The arithmetic of matrix products unless the user chooses one: the fastest here that adds no error of note to that of
    /// this type.
    pub fn auto_math(self) -> MatmulPrecision {
        match self {
            Precision::F16 => softane::gemm::auto(),
            Precision::F32 => MatmulPrecision::F32,
        }
    }

    /// The element type in MIL.
    pub fn dtype(self) -> DType {
        match self {
            Precision::F16 => DType::F16,
            Precision::F32 => DType::F32,
        }
    }
}
