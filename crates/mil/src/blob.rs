//! Weight files: blob storage, version 2.
//!
//! A file is a storage header of 64 bytes, `{ count: u32, version: u32 = 2, 0… }`, then for each tensor a metadata
//! record of 64 bytes, `{ sentinel: u32, dtype: u32, size: u64, data offset: u64, padding bits: u64, … }`, and its
//! elements, row-major. Records and elements begin at multiples of 64; all is little-endian; offsets count from the
//! start of the file. `BLOBFILE(…, offset = …)` in MIL text names the record.
//!
//! Source: apple/coremltools, `mlmodel/src/MILBlob/Blob/StorageFormat.hpp`.

mod format;
#[cfg(test)]
mod tests;
mod write;

pub use format::{Entry, FIRST_ENTRY, Record};
pub use write::{BlobWriter, EntryMut, WeightFile};

use crate::tensor::Tensor;
use crate::ty::{DType, TensorType};
use std::collections::BTreeMap;

/// The weight files of a program: path in the text (`@model_path/weights/wq.bin`) to bytes of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weights {
    files: BTreeMap<String, Vec<u8>>,
}

/// Why a weight could not be read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BlobError {
    #[error("the program uses weight file `{path}`, which is missing")]
    Missing { path: String },
    #[error("weight file `{path}` has {got} bytes; the header and a record at {offset} need {want}")]
    Truncated { path: String, offset: u64, got: u64, want: u64 },
    #[error("weight file `{path}` has version {got}; version {want} is supported")]
    Version { path: String, got: u32, want: u32 },
    #[error(
        "offset {offset} of weight file `{path}` is not a record: records start at multiples of 64, from 64 on"
    )]
    Offset { path: String, offset: u64 },
    #[error(
        "offset {offset} of weight file `{path}` is not a record: it begins with {got:#010x}, not {want:#010x}"
    )]
    Sentinel { path: String, offset: u64, got: u32, want: u32 },
    #[error(
        "the record at offset {offset} of weight file `{path}` has elements of kind {got}, which is not supported"
    )]
    Unsupported { path: String, offset: u64, got: String },
    #[error("the record at offset {offset} of weight file `{path}` holds {got}; expected {want}")]
    ElementType { path: String, offset: u64, got: DType, want: DType },
    #[error("the record at offset {offset} of weight file `{path}` holds {got}; only floats are rewritten")]
    NotFloat { path: String, offset: u64, got: DType },
    #[error("the record at offset {offset} of weight file `{path}` holds {got} bytes; expected {want}")]
    Size { path: String, offset: u64, got: u64, want: u64 },
    #[error("the record at offset {offset} of weight file `{path}` holds {got} elements; expected {want}")]
    Count { path: String, offset: u64, got: usize, want: usize },
    #[error(
        "the record at offset {offset} of weight file `{path}` has its data at {got}, which is not a multiple of 64"
    )]
    Alignment { path: String, offset: u64, got: u64 },
    #[error(
        "the record at offset {offset} of weight file `{path}` has its data from {from} to {to}; the file has {got} bytes"
    )]
    Bounds { path: String, offset: u64, from: u64, to: u64, got: u64 },
    #[error(
        "the record at offset {offset} of weight file `{path}` has {got} padding bits; expected at most {want}"
    )]
    Padding { path: String, offset: u64, got: u64, want: u64 },
    #[error(
        "the record at offset {offset} of weight file `{path}` has its data from {from} to {to}, which is {other}"
    )]
    Overlap { path: String, offset: u64, from: u64, to: u64, other: &'static str },
    #[error("weight file `{path}` cannot hold {ty}: blob storage does not support this element type")]
    Unstorable { path: String, ty: TensorType },
    #[error("the {elements} elements for weight file `{path}` do not match {ty}")]
    Elements { path: String, ty: TensorType, elements: usize },
    #[error("weight file `{path}` would be too large: {ty}")]
    TooLarge { path: String, ty: TensorType },
}

impl BlobError {
    /// A remedy, if there is one: one imperative sentence.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } => Some("Pass every weight file that the program uses."),
            Self::Truncated { .. } | Self::Bounds { .. } => Some("Copy the file again; its end is missing."),
            Self::Version { .. } | Self::Sentinel { .. } | Self::Offset { .. } => {
                Some("Check that the file belongs to the program, and that each `offset` names a record.")
            }
            Self::Overlap { .. } => {
                Some("Write the file again; each record must be followed by its own data.")
            }
            Self::Unstorable { .. } => Some("Write the constant into the program instead."),
            _ => None,
        }
    }
}

impl Weights {
    /// No files.
    pub fn new() -> Weights {
        Weights::default()
    }

    /// Adds or replaces a file.
    pub fn insert(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), bytes.into());
    }

    /// Adds or replaces a file with the single tensor `tensor`, its record at [`FIRST_ENTRY`].
    ///
    /// # Errors
    /// If blob storage does not support the element type, or the elements do not match the tensor's type.
    pub fn add_tensor(&mut self, path: impl Into<String>, tensor: &Tensor) -> Result<(), BlobError> {
        let path = path.into();
        let mut writer = BlobWriter::new(&path);
        writer.add(tensor)?;
        self.files.insert(path, writer.finish());
        Ok(())
    }

    /// Adds or replaces a file with a single tensor of zeros of type `ty`, its record at [`FIRST_ENTRY`].
    ///
    /// # Errors
    /// If blob storage does not support the element type, or memory is insufficient.
    pub fn add_zeros(&mut self, path: impl Into<String>, ty: &TensorType) -> Result<(), BlobError> {
        let path = path.into();
        let mut writer = BlobWriter::new(&path);
        writer.add_zeros(ty)?;
        self.files.insert(path, writer.finish());
        Ok(())
    }

    /// Path and bytes of each file, in order of the paths.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
    }

    /// Mutable access to each file, in order of the paths; different threads may use them.
    pub fn files_mut(&mut self) -> impl Iterator<Item = WeightFile<'_>> {
        self.files.iter_mut().map(|(path, bytes)| WeightFile { path, bytes })
    }

    /// The number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are no files.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The raw elements of the record at `offset` of file `path`.
    ///
    /// # Errors
    /// If there is no such file, or no valid record there.
    pub fn entry(&self, path: &str, offset: u64) -> Result<Entry<'_>, BlobError> {
        let bytes = self.files.get(path).ok_or_else(|| BlobError::Missing { path: path.to_owned() })?;
        let record = format::locate(path, bytes, offset)?;
        Ok(Entry { dtype: record.dtype, elements: record.elements, bytes: &bytes[record.range()] })
    }

    /// The offset of each record of file `path`, in order: the first at [`FIRST_ENTRY`], each other after the data of the
    /// previous one; the header gives the count.
    ///
    /// # Errors
    /// If there is no such file, it is shorter than its header states, a record is invalid, or a record's data overlap what
    /// precedes them.
    pub fn records(&self, path: &str) -> Result<Vec<u64>, BlobError> {
        let bytes = self.files.get(path).ok_or_else(|| BlobError::Missing { path: path.to_owned() })?;
        format::records(path, bytes)
    }

    /// Mutable access to the raw elements of a record.
    ///
    /// # Errors
    /// If there is no such file, or no valid record there.
    pub fn entry_mut<'a>(&'a mut self, path: &'a str, offset: u64) -> Result<EntryMut<'a>, BlobError> {
        let bytes = self.files.get_mut(path).ok_or_else(|| BlobError::Missing { path: path.to_owned() })?;
        EntryMut::of(path, bytes, offset)
    }

    /// Overwrites the elements of the record at `offset` of file `path`, narrowed to the type they are stored
    /// in; see [`EntryMut::write_f32`].
    ///
    /// # Errors
    /// If there is no such file or record, its elements are not floats, or their number differs from that of `values`.
    pub fn write_f32(&mut self, path: &str, offset: u64, values: &[f32]) -> Result<(), BlobError> {
        self.entry_mut(path, offset)?.write_f32(values)
    }

    /// Overwrites the elements of the record at `offset` of file `path` with the transpose of `values`,
    /// `[rows, cols]`; see [`EntryMut::write_f32_transposed`].
    ///
    /// # Errors
    /// As [`Weights::write_f32`], and if `values` are not `rows · cols`.
    pub fn write_f32_transposed(
        &mut self,
        path: &str,
        offset: u64,
        rows: usize,
        cols: usize,
        values: &[f32],
    ) -> Result<(), BlobError> {
        self.entry_mut(path, offset)?.write_f32_transposed(rows, cols, values)
    }

    /// Checks that the record at `offset` of file `path` holds a tensor of type `ty`.
    ///
    /// # Errors
    /// If it does not, or there is none.
    pub fn check(&self, path: &str, offset: u64, ty: &TensorType) -> Result<Entry<'_>, BlobError> {
        let entry = self.entry(path, offset)?;
        let bytes = 0..entry.bytes.len() as u64;
        Record { dtype: entry.dtype, elements: entry.elements, bytes }.check(path, offset, ty)?;
        Ok(entry)
    }

    /// The tensor of type `ty` whose record is at `offset` of file `path`.
    ///
    /// # Errors
    /// If there is no such file, or it has no such tensor at `offset`.
    pub fn read(&self, path: &str, offset: u64, ty: &TensorType) -> Result<Tensor, BlobError> {
        let data = self.check(path, offset, ty)?.decode();
        Ok(Tensor { ty: ty.clone(), data })
    }
}
