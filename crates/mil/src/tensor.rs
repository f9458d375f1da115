//! Tensors of the reference evaluator: simple, exact, slow.

use crate::ty::{DType, TensorType};
use half::f16;

/// The elements of a literal or a reference tensor, row-major.
///
/// All floats are stored as `f64` and all integers as `i64`, so that one implementation evaluates an operation for all
/// types and rounding happens in one place ([`Tensor::rounded`]).
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Data {
    Float(Vec<f64>),
    Int(Vec<i64>),
    Bool(Vec<bool>),
    Str(Vec<String>),
}

impl Data {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Data::Float(v) => v.len(),
            Data::Int(v) => v.len(),
            Data::Bool(v) => v.len(),
            Data::Str(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether these elements can be of type `dtype`: the kind fits and integers are in range.
    pub fn fits(&self, dtype: DType) -> bool {
        match self {
            Data::Float(_) => dtype.is_float(),
            Data::Bool(_) => dtype == DType::Bool,
            Data::Str(_) => dtype == DType::Str,
            Data::Int(v) => match dtype.int_range() {
                Some((lo, hi)) => v.iter().all(|x| (lo..=hi).contains(x)),
                None => false,
            },
        }
    }

    /// `n` zeros, falses or empty strings of the kind that `dtype` needs.
    pub fn zeros(dtype: DType, n: usize) -> Data {
        match dtype {
            DType::Bool => Data::Bool(vec![false; n]),
            DType::Str => Data::Str(vec![String::new(); n]),
            float if float.is_float() => Data::Float(vec![0.0; n]),
            _ => Data::Int(vec![0; n]),
        }
    }

    /// Makes room for `n` more elements, and no more than that.
    pub(crate) fn reserve_exact(&mut self, n: usize) {
        match self {
            Data::Bool(v) => v.reserve_exact(n),
            Data::Str(v) => v.reserve_exact(n),
            Data::Float(v) => v.reserve_exact(n),
            Data::Int(v) => v.reserve_exact(n),
        }
    }
}

/// Rounds once to the precision of `dtype`, to nearest, ties to even; other types pass.
///
/// Conversions from f64 to fp16 may go through fp32, or inspect only the upper bits, and would mistake a number near a
/// tie for the tie. So the lower bits are first combined into a sticky bit.
pub fn round_float(x: f64, dtype: DType) -> f64 {
    const LOWER: u64 = u32::MAX as u64;
    let bits = x.to_bits();
    match dtype {
        DType::F16 if bits & LOWER != 0 && !x.is_nan() => {
            f16::from_f64(f64::from_bits((bits & !LOWER) | (LOWER + 1))).to_f64()
        }
        DType::F16 => f16::from_f64(x).to_f64(),
        DType::F32 => f64::from(x as f32),
        DType::BF16 => round_to(x, Format { digits: 8, lowest: -126, largest: BF16_LARGEST }, f64::INFINITY),
        DType::F8E4M3 => round_to(x, Format { digits: 4, lowest: -6, largest: 448.0 }, f64::NAN),
        DType::F8E5M2 => round_to(x, Format { digits: 3, lowest: -14, largest: 57344.0 }, f64::INFINITY),
        _ => x,
    }
}

const BF16_LARGEST: f64 = f32::from_bits(0x7F7F_0000) as f64;

/// A binary floating-point format.
struct Format {
    /// Binary digits of a normal number, the first included.
    digits: i32,
    /// The exponent of the smallest normal number.
    lowest: i32,
    /// The largest finite number.
    largest: f64,
}

/// Rounds to nearest, ties to even; what is too large becomes `beyond`, with the sign of `x`.
fn round_to(x: f64, format: Format, beyond: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return if x.is_infinite() { beyond.copysign(x) } else { x };
    }
    // The exponent of x; those below the range of f64's normal numbers are far below any format's.
    let exponent = ((x.to_bits() >> 52 & 0x7ff) as i32 - 1023).max(format.lowest);
    let unit = 2f64.powi(exponent - (format.digits - 1));
    let rounded = (x / unit).round_ties_even() * unit;
    if rounded.abs() > format.largest { beyond.copysign(x) } else { rounded }
}

/// A tensor of the reference evaluator.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Element type and shape.
    pub ty: TensorType,
    /// The elements, row-major; their number is the type's.
    pub data: Data,
}

impl Tensor {
    /// A tensor; `None` if number or kind of the elements do not match `ty`.
    pub fn new(ty: TensorType, data: Data) -> Option<Tensor> {
        (data.len() == ty.elements() && data.fits(ty.dtype)).then_some(Tensor { ty, data })
    }

    /// A float tensor from values that are rounded to `ty`'s precision.
    ///
    /// # Panics
    /// If `values` has another number of elements than `ty`, or `ty` is not a float type: a bug in the caller.
    pub fn floats(ty: TensorType, values: impl IntoIterator<Item = f64>) -> Tensor {
        let values: Vec<f64> = values.into_iter().map(|x| round_float(x, ty.dtype)).collect();
        assert!(ty.dtype.is_float() && values.len() == ty.elements(), "{} values for {ty}", values.len());
        Tensor { data: Data::Float(values), ty }
    }

    /// The elements as floats; integers and booleans are converted, strings count as nothing.
    pub fn to_floats(&self) -> Vec<f64> {
        match &self.data {
            Data::Float(v) => v.clone(),
            Data::Int(v) => v.iter().map(|&x| x as f64).collect(),
            Data::Bool(v) => v.iter().map(|&x| f64::from(u8::from(x))).collect(),
            Data::Str(_) => Vec::new(),
        }
    }

    /// The elements of a float tensor; empty for any other.
    pub fn as_floats(&self) -> &[f64] {
        match &self.data {
            Data::Float(v) => v,
            _ => &[],
        }
    }

    /// The elements of an integer tensor; empty for any other.
    pub fn as_ints(&self) -> &[i64] {
        match &self.data {
            Data::Int(v) => v,
            _ => &[],
        }
    }

    /// The same tensor with each float rounded once to its element type.
    pub fn rounded(mut self) -> Tensor {
        if let Data::Float(v) = &mut self.data {
            for x in v {
                *x = round_float(*x, self.ty.dtype);
            }
        }
        self
    }

    /// A tensor of type `ty` whose element at each index is this one's element at flat position `from(index)`.
    pub fn gathered(&self, ty: TensorType, mut from: impl FnMut(&[usize]) -> usize) -> Tensor {
        let mut index = vec![0; ty.rank()];
        let flat: Vec<usize> = (0..ty.elements())
            .map(|n| {
                unflatten(n, &ty.shape, &mut index);
                from(&index)
            })
            .collect();
        self.taken(ty, &flat)
    }

    /// A tensor of type `ty` of this one's elements at the positions `flat`.
    fn taken(&self, ty: TensorType, flat: &[usize]) -> Tensor {
        let data = match &self.data {
            Data::Float(v) => Data::Float(flat.iter().map(|&i| v[i]).collect()),
            Data::Int(v) => Data::Int(flat.iter().map(|&i| v[i]).collect()),
            Data::Bool(v) => Data::Bool(flat.iter().map(|&i| v[i]).collect()),
            Data::Str(v) => Data::Str(flat.iter().map(|&i| v[i].clone()).collect()),
        };
        Tensor { ty, data }
    }
}

/// Row-major strides of `shape`, in elements.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut out = vec![1usize; shape.len()];
    for i in (1..shape.len()).rev() {
        out[i - 1] = out[i].saturating_mul(shape[i]); // Large only where another axis is empty.
    }
    out
}

/// The flat position of `index` under `strides`.
pub fn flatten(index: &[usize], strides: &[usize]) -> usize {
    index.iter().zip(strides).map(|(i, s)| i * s).sum()
}

/// Writes the index of flat position `n` in `shape` to `index`.
pub fn unflatten(mut n: usize, shape: &[usize], index: &mut [usize]) {
    for (i, &d) in shape.iter().enumerate().rev() {
        index[i] = n % d;
        n /= d;
    }
}

/// The shape to which `a` and `b` broadcast as NumPy does it: aligned at the last axis, 1 stretches.
pub fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |j| s[j]);
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

/// Strides with which a tensor of `shape` is read while walking `to`: 0 along stretched axes.
pub fn broadcast_strides(shape: &[usize], to: &[usize]) -> Vec<usize> {
    let own = strides(shape);
    let lead = to.len() - shape.len();
    (0..to.len()).map(|i| if i < lead || shape[i - lead] == 1 { 0 } else { own[i - lead] }).collect()
}
