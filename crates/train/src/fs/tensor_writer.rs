//! Writes safetensors files with checksums, one tensor at a time. The format is described in `tensors.rs`.

use std::collections::HashMap;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::atomic::AtomicFile;
use super::checksums::{self, Checksums};
use crate::error::TrainError;

/// The format's name in errors.
pub(super) const KIND: &str = "safetensors";

/// A number format of tensors that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatType {
    /// 32 bits.
    F32,
    /// IEEE 754 half precision; rounds to nearest, ties to even.
    F16,
    /// The upper half of an f32; rounds to nearest, ties to even.
    BF16,
}

impl FloatType {
    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::BF16 => Dtype::BF16,
        }
    }
}

/// A tensor of f32 numbers to be written.
pub struct NamedTensor<'a> {
    /// Its name in the file.
    pub name: String,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// Its numbers, row-major.
    pub data: &'a [f32],
}

/// Writes `tensors` as F32 in this order, with at most one entry of metadata and a checksum of each, atomically. Equal input
/// gives equal bytes.
///
/// # Errors
/// [`TrainError::Io`]; an existing file is then unchanged. [`TrainError::FileFormat`] if a tensor's shape does not match
/// its data.
pub fn write_tensors(
    path: &Path,
    metadata: Option<(&str, String)>,
    tensors: &[NamedTensor<'_>],
) -> Result<(), TrainError> {
    write_tensors_as(path, metadata, tensors, FloatType::F32)
}

/// As [`write_tensors`], with numbers rounded to `float`.
///
/// # Errors
/// As [`write_tensors`].
pub(crate) fn write_tensors_as(
    path: &Path,
    metadata: Option<(&str, String)>,
    tensors: &[NamedTensor<'_>],
    float: FloatType,
) -> Result<(), TrainError> {
    let mut end = 0;
    let infos = tensors.iter().map(|tensor| {
        let start = end;
        end += float.bytes() * tensor.data.len();
        let info =
            TensorInfo { dtype: float.dtype(), shape: tensor.shape.clone(), data_offsets: (start, end) };
        (tensor.name.clone(), info)
    });
    let infos: Vec<_> = infos.collect();
    let sums = infos.iter().zip(tensors).map(|((name, info), tensor)| {
        let mut hash = checksums::hash_of(name, info);
        each_part(tensor.data, float, &mut |bytes| {
            hash.update(bytes);
            Ok(())
        })?;
        Ok((name.clone(), hash.digest()))
    });
    let sums = sums.collect::<Result<Vec<_>, TrainError>>()?;
    let header = header(metadata, infos, sums).map_err(|problem| TrainError::FileFormat {
        path: path.to_owned(),
        kind: KIND,
        problem,
    })?;

    let mut file = AtomicFile::create(path)?;
    file.write(&(header.len() as u64).to_le_bytes())?;
    file.write(&header)?;
    for tensor in tensors {
        each_part(tensor.data, float, &mut |bytes| file.write(bytes))?;
    }
    file.commit()
}

/// The header's text, padded to whole words.
fn header(
    metadata: Option<(&str, String)>,
    infos: Vec<(String, TensorInfo)>,
    sums: Vec<(String, u64)>,
) -> Result<Vec<u8>, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let mut metadata: HashMap<_, _> =
        metadata.into_iter().map(|(key, text)| (key.to_owned(), text)).collect();
    let bare = Metadata::new(Some(metadata.clone()), infos.clone()).map_err(|e| said(&e))?;
    metadata
        .insert(checksums::KEY.to_owned(), Checksums::new(&bare, sums).into_text().map_err(|e| said(&e))?);
    let whole = Metadata::new(Some(metadata), infos).map_err(|e| said(&e))?;
    let mut whole = serde_json::to_value(&whole).map_err(|e| said(&e))?;
    // Sorted: the order of a hash map is random.
    if let Some(entries) = whole.get_mut("__metadata__").and_then(|entries| entries.as_object_mut()) {
        entries.sort_keys();
    }
    let mut text = serde_json::to_vec(&whole).map_err(|e| said(&e))?;
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok(text)
}

/// Numbers converted at once.
const CHUNK: usize = 1 << 18;

/// Calls `visit` with the little-endian bytes of `numbers`, rounded to `float`.
pub(super) fn each_part(
    numbers: &[f32],
    float: FloatType,
    visit: &mut dyn FnMut(&[u8]) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    if float == FloatType::F32 && cfg!(target_endian = "little") {
        return visit(bytemuck::cast_slice(numbers));
    }
    let mut bytes = Vec::new();
    for part in numbers.chunks(CHUNK) {
        bytes.clear();
        float_bytes(part, float, &mut bytes);
        visit(&bytes)?;
    }
    Ok(())
}

/// Appends the little-endian bytes of `numbers`, rounded to `float`.
pub(crate) fn float_bytes(numbers: &[f32], float: FloatType, bytes: &mut Vec<u8>) {
    match float {
        FloatType::F32 => bytes.extend(numbers.iter().flat_map(|x| x.to_le_bytes())),
        FloatType::F16 => bytes.extend(numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes())),
        FloatType::BF16 => bytes.extend(numbers.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes())),
    }
}
