//! The layout, and reading it.

use crate::blob::BlobError;
use crate::tensor::Data;
use crate::ty::DType;
use half::f16;
use std::ops::Range;

/// File offset of the first metadata record, in bytes.
pub const FIRST_ENTRY: u64 = 64;

pub(super) const VERSION: u32 = 2;
pub(super) const SENTINEL: u32 = 0xDEAD_BEEF;
/// Records and data begin at multiples of this; also the size of the header and of a record.
pub(super) const ALIGNMENT: usize = 64;

/// The number that stands for an element type; `None` if blob storage has none.
pub(super) fn code(dtype: DType) -> Option<u32> {
    Some(match dtype {
        DType::F16 => 1,
        DType::F32 => 2,
        DType::U8 => 3,
        DType::I8 => 4,
        DType::I16 => 6,
        DType::U16 => 7,
        DType::I32 => 14,
        DType::U32 => 15,
        DType::Bool | DType::Str | DType::I64 | DType::U64 => return None,
    })
}

/// The element type that a number stands for, or the name of what it stands for that is not supported.
fn decode_code(n: u32) -> Result<DType, String> {
    let other = match n {
        5 => "bf16",
        8 => "int4",
        9 => "uint1",
        10 => "uint2",
        11 => "uint4",
        12 => "uint3",
        13 => "uint6",
        16 => "fp8e4m3fn",
        17 => "fp8e5m2",
        _ => {
            let known = DType::ALL.into_iter().find(|&d| code(d) == Some(n));
            return known.ok_or_else(|| format!("{n}"));
        }
    };
    Err(other.to_owned())
}

/// Elements in a weight file, where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The element type.
    pub dtype: DType,
    /// The elements, little-endian; a whole number of them.
    pub bytes: &'a [u8],
}

impl Entry<'_> {
    /// The elements as the reference meaning has them.
    pub fn decode(&self) -> Data {
        fn each<const N: usize, T>(bytes: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
            bytes.as_chunks::<N>().0.iter().map(|&b| f(b)).collect()
        }
        let bytes = self.bytes;
        match self.dtype {
            DType::F16 => Data::Float(each(bytes, |b| f16::from_le_bytes(b).to_f64())),
            DType::F32 => Data::Float(each(bytes, |b| f64::from(f32::from_le_bytes(b)))),
            DType::I8 => Data::Int(each(bytes, |b| i64::from(i8::from_le_bytes(b)))),
            DType::U8 => Data::Int(each(bytes, |b| i64::from(u8::from_le_bytes(b)))),
            DType::I16 => Data::Int(each(bytes, |b| i64::from(i16::from_le_bytes(b)))),
            DType::U16 => Data::Int(each(bytes, |b| i64::from(u16::from_le_bytes(b)))),
            DType::I32 => Data::Int(each(bytes, |b| i64::from(i32::from_le_bytes(b)))),
            DType::U32 => Data::Int(each(bytes, |b| i64::from(u32::from_le_bytes(b)))),
            // No record is of these types.
            dtype @ (DType::Bool | DType::Str | DType::I64 | DType::U64) => Data::zeros(dtype, 0),
        }
    }
}

/// Element type and place of the data whose record stands at `offset`; the range lies inside of `file`.
pub(super) fn locate(path: &str, file: &[u8], offset: u64) -> Result<(DType, Range<usize>), BlobError> {
    let path = || path.to_owned();
    let length = file.len() as u64;
    if offset < FIRST_ENTRY || !offset.is_multiple_of(ALIGNMENT as u64) {
        return Err(BlobError::Offset { path: path(), offset });
    }
    let want = offset.saturating_add(ALIGNMENT as u64);
    if length < want {
        return Err(BlobError::Truncated { path: path(), offset, got: length, want });
    }
    let got = u32_at(file, 4);
    if got != VERSION {
        return Err(BlobError::Version { path: path(), got, want: VERSION });
    }
    // Inside of the file, whose length is a `usize`.
    let record = &file[offset as usize..want as usize];
    let got = u32_at(record, 0);
    if got != SENTINEL {
        return Err(BlobError::Sentinel { path: path(), offset, got, want: SENTINEL });
    }
    let dtype =
        decode_code(u32_at(record, 4)).map_err(|got| BlobError::Unsupported { path: path(), offset, got })?;
    let (size, from, padding) = (u64_at(record, 8), u64_at(record, 16), u64_at(record, 24));
    if padding != 0 {
        return Err(BlobError::Padding { path: path(), offset, got: padding, want: 0 });
    }
    let element = dtype.size().unwrap_or(1) as u64;
    if !size.is_multiple_of(element) {
        let want = size - size % element;
        return Err(BlobError::Size { path: path(), offset, got: size, want });
    }
    if !from.is_multiple_of(ALIGNMENT as u64) {
        return Err(BlobError::Alignment { path: path(), offset, got: from });
    }
    match from.checked_add(size).filter(|&to| to <= length) {
        Some(to) => Ok((dtype, from as usize..to as usize)),
        None => {
            let to = from.saturating_add(size);
            Err(BlobError::Bounds { path: path(), offset, from, to, got: length })
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |&b| u32::from_le_bytes(b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |&b| u64::from_le_bytes(b))
}
