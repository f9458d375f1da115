//! The layout, and reading it.

use crate::blob::BlobError;
use crate::bytes;
use crate::tensor::Data;
use crate::ty::{DType, TensorType};
use std::ops::Range;

/// File offset of the first metadata record, in bytes.
pub const FIRST_ENTRY: u64 = 64;

pub(super) const VERSION: u32 = 2;
pub(super) const SENTINEL: u32 = 0xDEAD_BEEF;
/// Records and data begin at multiples of this; also the size of the header and of a record.
pub(super) const ALIGNMENT: usize = 64;

/// The codes of element types.
const CODES: [(u32, DType); 17] = [
    (1, DType::F16),
    (2, DType::F32),
    (3, DType::U8),
    (4, DType::I8),
    (5, DType::BF16),
    (6, DType::I16),
    (7, DType::U16),
    (8, DType::I4),
    (9, DType::U1),
    (10, DType::U2),
    (11, DType::U4),
    (12, DType::U3),
    (13, DType::U6),
    (14, DType::I32),
    (15, DType::U32),
    (16, DType::F8E4M3),
    (17, DType::F8E5M2),
];

/// The code of an element type; `None` if blob storage does not support it.
pub(super) fn code(dtype: DType) -> Option<u32> {
    CODES.iter().find(|(_, d)| *d == dtype).map(|(n, _)| *n)
}

/// The element type with this code, or the unknown code.
fn decode_code(n: u32) -> Result<DType, String> {
    CODES.iter().find(|(code, _)| *code == n).map(|(_, d)| *d).ok_or_else(|| n.to_string())
}

/// Elements in a weight file, where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The element type.
    pub dtype: DType,
    /// How many there are.
    pub elements: usize,
    /// The elements, little-endian, those of less than a byte packed.
    pub bytes: &'a [u8],
}

impl Entry<'_> {
    /// Decodes the elements for the reference evaluator.
    pub fn decode(&self) -> Data {
        bytes::unpack(self.dtype, self.bytes, self.elements)
    }
}

/// A metadata record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The element type.
    pub dtype: DType,
    /// How many elements there are.
    pub elements: usize,
    /// Where they are in the file, in bytes.
    pub bytes: Range<u64>,
}

impl Record {
    /// Reads the record at `offset` of weight file `path`, which is `length` bytes long. `read` returns the 64
    /// bytes at an offset; it is called for the header and the record only, so a large file need not be loaded.
    ///
    /// # Errors
    /// If there is no valid record there, or `read` fails.
    pub fn read<E: From<BlobError>>(
        path: &str,
        length: u64,
        offset: u64,
        mut read: impl FnMut(u64) -> Result<[u8; ALIGNMENT], E>,
    ) -> Result<Record, E> {
        let name = || path.to_owned();
        if offset < FIRST_ENTRY || !offset.is_multiple_of(ALIGNMENT as u64) {
            return Err(BlobError::Offset { path: name(), offset }.into());
        }
        let want = offset.saturating_add(ALIGNMENT as u64);
        if length < want {
            return Err(BlobError::Truncated { path: name(), offset, got: length, want }.into());
        }
        let got = u32_at(&read(0)?, 4);
        if got != VERSION {
            return Err(BlobError::Version { path: name(), got, want: VERSION }.into());
        }
        let record = read(offset)?;
        Ok(Record::parse(path, length, offset, &record)?)
    }

    fn parse(path: &str, length: u64, offset: u64, record: &[u8; ALIGNMENT]) -> Result<Record, BlobError> {
        let path = || path.to_owned();
        let got = u32_at(record, 0);
        if got != SENTINEL {
            return Err(BlobError::Sentinel { path: path(), offset, got, want: SENTINEL });
        }
        let dtype = decode_code(u32_at(record, 4)).map_err(|got| BlobError::Unsupported {
            path: path(),
            offset,
            got,
        })?;
        let (size, from) = (u64_at(record, 8), u64_at(record, 16));
        if !from.is_multiple_of(ALIGNMENT as u64) {
            return Err(BlobError::Alignment { path: path(), offset, got: from });
        }
        let Some(to) = from.checked_add(size).filter(|&to| to <= length) else {
            let to = from.saturating_add(size);
            return Err(BlobError::Bounds { path: path(), offset, from, to, got: length });
        };
        // Overlap with what precedes the data; empty data overlap nothing.
        let behind = offset.saturating_add(ALIGNMENT as u64);
        let other = match size {
            0 => None,
            _ if from < FIRST_ENTRY => Some("over the header"),
            _ if from < behind && to > offset => Some("over the record itself"),
            _ => None,
        };
        if let Some(other) = other {
            return Err(BlobError::Overlap { path: path(), offset, from, to, other });
        }
        let bits = u64::from(dtype.bits().unwrap_or(8));
        // Only sub-byte elements need padding bits. For others the field is reserved; writers before coremltools 8 left
        // it uninitialised, and Apple's reader ignores it too.
        let padding = if bits < 8 { u64_at(record, 24) } else { 0 };
        if padding > 7 || padding > size.saturating_mul(8) {
            return Err(BlobError::Padding { path: path(), offset, got: padding, want: 7 });
        }
        let used = size.saturating_mul(8) - padding;
        if !used.is_multiple_of(bits) {
            let want = (used - used % bits) / 8;
            return Err(BlobError::Size { path: path(), offset, got: size, want });
        }
        Ok(Record { dtype, elements: (used / bits) as usize, bytes: from..to })
    }

    /// Checks that the record at `offset` of file `path` holds a tensor of type `ty`.
    ///
    /// # Errors
    /// If it does not.
    pub fn check(&self, path: &str, offset: u64, ty: &TensorType) -> Result<(), BlobError> {
        if self.dtype != ty.dtype {
            let (got, want) = (self.dtype, ty.dtype);
            return Err(BlobError::ElementType { path: path.to_owned(), offset, got, want });
        }
        if self.elements != ty.elements() {
            let got = self.bytes.end - self.bytes.start;
            let want = bytes::packed_size(ty.dtype, ty.elements()).map_or(u64::MAX, |n| n as u64);
            if got == want {
                // They differ only in the padding bits.
                let (path, got, want) = (path.to_owned(), self.elements, ty.elements());
                return Err(BlobError::Count { path, offset, got, want });
            }
            return Err(BlobError::Size { path: path.to_owned(), offset, got, want });
        }
        Ok(())
    }

    /// Where the elements are in a file that is in memory.
    pub(super) fn range(&self) -> Range<usize> {
        self.bytes.start as usize..self.bytes.end as usize
    }
}

/// The record at `offset` of `file`.
pub(super) fn locate(path: &str, file: &[u8], offset: u64) -> Result<Record, BlobError> {
    let length = file.len() as u64;
    let chunk = |at: u64| {
        let chunk = usize::try_from(at).ok().and_then(|at| file.get(at..)?.first_chunk());
        let want = at.saturating_add(ALIGNMENT as u64);
        let cut = || BlobError::Truncated { path: path.to_owned(), offset, got: length, want };
        chunk.copied().ok_or_else(cut)
    };
    Record::read(path, length, offset, chunk)
}

/// The offsets of all records of `file`, in order.
pub(super) fn records(path: &str, file: &[u8]) -> Result<Vec<u64>, BlobError> {
    let (got, mut offset) = (file.len() as u64, FIRST_ENTRY);
    if got < FIRST_ENTRY {
        return Err(BlobError::Truncated { path: path.to_owned(), offset: 0, got, want: FIRST_ENTRY });
    }
    let count = u32_at(file, 0);
    let mut out = Vec::new();
    for _ in 0..count {
        let Range { start: from, end: to } = locate(path, file, offset)?.bytes;
        if from < offset + ALIGNMENT as u64 {
            let (path, other) = (path.to_owned(), "over what precedes it");
            return Err(BlobError::Overlap { path, offset, from, to, other });
        }
        out.push(offset);
        offset = to.next_multiple_of(ALIGNMENT as u64);
    }
    Ok(out)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |&b| u32::from_le_bytes(b))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |&b| u64::from_le_bytes(b))
}
