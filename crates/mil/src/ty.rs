//! Element types, tensor types and opsets.

use std::fmt;

/// The type of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is named as MIL names it")]
pub enum DType {
    Bool,
    Str,
    F16,
    F32,
    F64,
    BF16,
    F8E4M3,
    F8E5M2,
    I4,
    I8,
    I16,
    I32,
    I64,
    U1,
    U2,
    U3,
    U4,
    U6,
    U8,
    U16,
    U32,
    U64,
}

/// The type of elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bool,
    Str,
    Float,
    Signed,
    Unsigned,
}

impl DType {
    /// Every element type.
    pub const ALL: [DType; 22] = [
        DType::Bool,
        DType::Str,
        DType::F16,
        DType::F32,
        DType::F64,
        DType::BF16,
        DType::F8E4M3,
        DType::F8E5M2,
        DType::I4,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U1,
        DType::U2,
        DType::U3,
        DType::U4,
        DType::U6,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
    ];

    /// Name in MIL text, kind, bits of one element in a blob (0 for strings).
    const fn row(self) -> (&'static str, Kind, u32) {
        match self {
            DType::Bool => ("bool", Kind::Bool, 8),
            DType::Str => ("string", Kind::Str, 0),
            DType::F16 => ("fp16", Kind::Float, 16),
            DType::F32 => ("fp32", Kind::Float, 32),
            DType::F64 => ("fp64", Kind::Float, 64),
            DType::BF16 => ("bf16", Kind::Float, 16),
            DType::F8E4M3 => ("fp8e4m3fn", Kind::Float, 8),
            DType::F8E5M2 => ("fp8e5m2", Kind::Float, 8),
            DType::I4 => ("int4", Kind::Signed, 4),
            DType::I8 => ("int8", Kind::Signed, 8),
            DType::I16 => ("int16", Kind::Signed, 16),
            DType::I32 => ("int32", Kind::Signed, 32),
            DType::I64 => ("int64", Kind::Signed, 64),
            DType::U1 => ("uint1", Kind::Unsigned, 1),
            DType::U2 => ("uint2", Kind::Unsigned, 2),
            DType::U3 => ("uint3", Kind::Unsigned, 3),
            DType::U4 => ("uint4", Kind::Unsigned, 4),
            DType::U6 => ("uint6", Kind::Unsigned, 6),
            DType::U8 => ("uint8", Kind::Unsigned, 8),
            DType::U16 => ("uint16", Kind::Unsigned, 16),
            DType::U32 => ("uint32", Kind::Unsigned, 32),
            DType::U64 => ("uint64", Kind::Unsigned, 64),
        }
    }

    /// The name in MIL text.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The type that MIL text calls `name`.
    pub fn from_name(name: &str) -> Option<DType> {
        // The common ones first: a text names a type for each value.
        match name {
            "fp16" => Some(DType::F16),
            "fp32" => Some(DType::F32),
            "int32" => Some(DType::I32),
            "bool" => Some(DType::Bool),
            "string" => Some(DType::Str),
            _ => DType::ALL.into_iter().find(|d| d.name() == name),
        }
    }

    /// Bits of one element in a blob, where sub-byte elements are packed; `None` for strings.
    pub const fn bits(self) -> Option<u32> {
        match self.row().2 {
            0 => None,
            bits => Some(bits),
        }
    }

    /// Bytes of one element in memory, where sub-byte elements take one; `None` for strings, which have no
    /// fixed size.
    pub const fn size(self) -> Option<usize> {
        match self.bits() {
            Some(bits) => Some(bits.div_ceil(8) as usize),
            None => None,
        }
    }

    /// Whether elements are floating-point numbers.
    pub const fn is_float(self) -> bool {
        matches!(self.row().1, Kind::Float)
    }

    /// Whether elements are integers.
    pub const fn is_int(self) -> bool {
        matches!(self.row().1, Kind::Signed | Kind::Unsigned)
    }

    /// The smallest and largest value of an integer type (64-bit unsigned ends at `i64::MAX`, as literals are `i64`).
    pub const fn int_range(self) -> Option<(i64, i64)> {
        let (_, kind, bits) = self.row();
        match kind {
            Kind::Signed => Some((i64::MIN >> (64 - bits), i64::MAX >> (64 - bits))),
            Kind::Unsigned if bits == 64 => Some((0, i64::MAX)),
            Kind::Unsigned => Some((0, (1 << bits) - 1)),
            _ => None,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An element type and a shape; rank 0 is a scalar.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// The element type.
    pub dtype: DType,
    /// The size of each axis, outermost first.
    pub shape: Vec<usize>,
}

impl TensorType {
    /// A tensor of `shape`.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        TensorType { dtype, shape: shape.into() }
    }

    /// The size of an axis that is not known before a program runs, spelled `?`. Verified programs have none.
    pub const UNKNOWN: usize = usize::MAX;

    /// The axes of a tensor, at most.
    pub const MAX_RANK: usize = 64;

    /// `size`, unless it is unknown.
    pub fn known_size(size: usize) -> Option<usize> {
        (size != TensorType::UNKNOWN).then_some(size)
    }

    /// Whether all sizes are known.
    pub fn is_known(&self) -> bool {
        !self.shape.contains(&TensorType::UNKNOWN)
    }

    /// Whether `other` matches this type; unknown sizes match any size.
    pub fn admits(&self, other: &TensorType) -> bool {
        let fits =
            |(&a, &b): (&usize, &usize)| a == b || a == TensorType::UNKNOWN || b == TensorType::UNKNOWN;
        self.dtype == other.dtype
            && self.rank() == other.rank()
            && self.shape.iter().zip(&other.shape).all(fits)
    }

    /// A single value.
    pub fn scalar(dtype: DType) -> Self {
        TensorType { dtype, shape: Vec::new() }
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements; saturates rather than wraps.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |n, &d| n.saturating_mul(d))
    }

    /// Bytes of all elements; `None` for strings.
    pub fn bytes(&self) -> Option<usize> {
        self.dtype.size().map(|s| s.saturating_mul(self.elements()))
    }

    /// The same shape with another element type.
    pub fn with_dtype(&self, dtype: DType) -> Self {
        TensorType { dtype, shape: self.shape.clone() }
    }
}

impl fmt::Display for TensorType {
    /// As MIL text of `program(1.3)`: `fp16`, `tensor<fp16, [1, 768, 1, 256]>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shape.is_empty() {
            return write!(f, "{}", self.dtype);
        }
        write!(f, "tensor<{}, {}>", self.dtype, Shape(&self.shape))
    }
}

/// Prints a shape as `[1, 768, 1, 256]`.
pub(crate) struct Shape<'a>(pub &'a [usize]);

impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            match TensorType::known_size(*d) {
                Some(d) => write!(f, "{d}")?,
                None => f.write_str("?")?,
            }
        }
        f.write_str("]")
    }
}

/// `[1, C, 1, S]`-style fp16 type, the most common one here.
pub fn f16(shape: impl Into<Vec<usize>>) -> TensorType {
    TensorType::new(DType::F16, shape)
}

/// The set of operations a function is written against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is named as MIL names it")]
pub enum Opset {
    Ios15,
    Ios16,
    Ios17,
    Ios18,
}

impl Opset {
    /// The one with the most operations.
    pub const NEWEST: Opset = Opset::Ios18;

    /// Every opset, oldest first.
    pub const ALL: [Opset; 4] = [Opset::Ios15, Opset::Ios16, Opset::Ios17, Opset::Ios18];

    /// The name in MIL text.
    pub const fn name(self) -> &'static str {
        match self {
            Opset::Ios15 => "ios15",
            Opset::Ios16 => "ios16",
            Opset::Ios17 => "ios17",
            Opset::Ios18 => "ios18",
        }
    }

    /// The opset that MIL text calls `name`.
    pub fn from_name(name: &str) -> Option<Opset> {
        Opset::ALL.into_iter().find(|o| o.name() == name)
    }
}

impl fmt::Display for Opset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
