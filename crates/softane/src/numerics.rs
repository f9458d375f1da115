//! Where and how this engine rounds.
//!
//! | what | how | source |
//! |---|---|---|
//! | storage | every value has the element type that the program declares, fp16 or fp32 | MIL: a value's type is part of the text |
//! | arithmetic | each operation widens its operands to f32, computes in f32, and rounds its result once to the declared type, to nearest, ties to even | `mil::eval` with `Rounding::AsTyped`; an Apple engine rounds products to fp16 in the same places, ties away on some generations (ANEForge, M5) |
//! | matrix products | by their [`Numerics`]; the default is f32 operands and sums | |
//! | accumulation | `matmul`, `conv`, sums, means, softmax and norms accumulate in f32 and round only the result | measured on M3 Ultra: fp32-class accumulator (h3) |
//! | functions | `exp`, `tanh`, `erf` and functions made of them come from [`crate::math`], within a few units of f32's last place; a power that would be subnormal in f32 is 0 | ours, errors measured by the tests there |
//! | softmax | `exp(x − max x)` times the reciprocal of its sum, all in f32 | as above |
//! | order | sums run in an order fixed by shape, so that neither threads nor runs change a bit | ours |
//! | subnormals | kept; an Apple engine flushes fp16 subnormal products to zero, which loss scaling avoids | IEEE 754; reported by h3 |
//! | overflow | to infinity, as IEEE 754 says; masks add the finite −65504, twice where scores may be as large | ane programs of maderix/ANE |
//! | fused steps | a chain of elementwise operations runs tile by tile, rounded between operations just as if stored | ours: fusing never changes a bit |

/// The arithmetic of a matrix product. A micro-kernel states the one it computes, a [`MatmulPrecision`] the one it
/// requests; an engine's own arithmetic is one more value of these fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Numerics {
    /// The precision of factors.
    pub operands: Operands,
    /// The accumulator.
    pub accumulator: Accumulator,
    /// How sums become the elements of the result.
    pub rounding: Rounding,
}

/// The precision to which the factors of a product are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operands {
    /// f32: f16 and f32 factors are exact.
    F32,
    /// bf16, 8 bits of precision, to nearest, ties to even.
    Bf16,
    /// The sum of two bf16: every f16 factor is exact, an f32 factor is off by at most 2⁻¹⁷. The product of the two low
    /// terms is left out: at most 2⁻¹⁶ of a product, 2⁻¹⁸·⁵ in the root mean square.
    Bf16Pair,
    /// Integers of 12 bits and a sign, times a power of two shared by each 128 elements of a row or column.
    ScaledInt12,
}

/// The accumulator of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accumulator {
    /// f32 throughout.
    F32,
    /// i32, exact, within each 128 elements of the inner dimension; f32 across such blocks.
    I32Blocks,
}

/// How a finished f32 sum is rounded to the type of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// To nearest, ties to even.
    NearestEven,
}

/// The arithmetic that a user chooses for matrix products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MatmulPrecision {
    /// Factors in f32, fused multiply-adds.
    #[default]
    F32,
    /// Factors rounded to bf16 (8 bits of precision). Twice as fast where the processor sums their products in pairs
    /// at full rate; as fast as f32 elsewhere.
    Bf16,
    /// Factors as the sum of two bf16, multiplied as three products with f32 sums: f16 factors are exact, f32 factors are
    /// off by at most 2⁻¹⁷, products by 2⁻¹⁶ more; fp16 storage is off by 2⁻¹¹. A factor that is not finite, or rounds to
    /// infinity as bf16, makes infinities or NaNs.
    F16x3,
    /// Factors rounded to integers of 12 bits and a sign, scaled by a power of two for each 128 of a row or column;
    /// integers are multiplied and summed exactly. The error of a factor is at most 2⁻¹² of the largest in its block,
    /// which is half precision's for that one. A factor that is not finite makes NaNs.
    Int16,
}

impl MatmulPrecision {
    /// All of them.
    pub const ALL: [MatmulPrecision; 4] =
        [MatmulPrecision::F32, MatmulPrecision::Bf16, MatmulPrecision::F16x3, MatmulPrecision::Int16];

    /// The one called `name`.
    pub fn named(name: &str) -> Option<MatmulPrecision> {
        MatmulPrecision::ALL.into_iter().find(|math| math.name() == name)
    }

    /// Its name in flags and tables.
    pub fn name(self) -> &'static str {
        match self {
            MatmulPrecision::F32 => "f32",
            MatmulPrecision::Bf16 => "bf16",
            MatmulPrecision::F16x3 => "f16x3",
            MatmulPrecision::Int16 => "int16",
        }
    }

    /// The processor features it needs, for messages.
    pub fn needs(self) -> &'static str {
        match self {
            MatmulPrecision::F32 => "nothing",
            MatmulPrecision::Bf16 => "AVX-512 with BF16, AMX with BF16, or arm64 with BF16",
            MatmulPrecision::F16x3 => "AMX with BF16",
            MatmulPrecision::Int16 => "AVX-512 with VNNI",
        }
    }

    /// The corresponding arithmetic.
    pub const fn numerics(self) -> Numerics {
        let (operands, accumulator) = match self {
            MatmulPrecision::F32 => (Operands::F32, Accumulator::F32),
            MatmulPrecision::Bf16 => (Operands::Bf16, Accumulator::F32),
            MatmulPrecision::F16x3 => (Operands::Bf16Pair, Accumulator::F32),
            MatmulPrecision::Int16 => (Operands::ScaledInt12, Accumulator::I32Blocks),
        };
        Numerics { operands, accumulator, rounding: Rounding::NearestEven }
    }
}
