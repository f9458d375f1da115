//! Arrays in files: NumPy's .npy, and safetensors.

use super::npy::Array;
use crate::error::CommandError;
use mil::{DType, Data, Tensor, TensorType, bytes};
use safetensors::tensor::{Dtype, TensorView};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use train::fs::TensorFile;

/// A file of arrays whose names and types are known, and whose elements are still to be read.
#[derive(Debug)]
pub struct ArrayFile {
    path: PathBuf,
    file: BufReader<File>,
    arrays: Arrays,
}

#[derive(Debug)]
enum Arrays {
    Npy(Array),
    /// Name, type, and offset of the elements, in order of the names.
    Safetensors(Vec<(String, TensorType, u64)>),
}

impl ArrayFile {
    /// Opens a .npy file.
    ///
    /// # Errors
    /// If it cannot be read, or holds no numbers.
    pub fn npy(path: &Path) -> Result<ArrayFile, CommandError> {
        let (mut file, length) = open(path)?;
        let array = Array::open(&mut file, length)
            .map_err(|why| wrong(path, "NumPy array", &why, "Write it with `numpy.save`."))?;
        Ok(ArrayFile { path: path.to_owned(), file, arrays: Arrays::Npy(array) })
    }

    /// Opens a safetensors file.
    ///
    /// # Errors
    /// If it cannot be read, or one of its tensors is none that MIL has.
    pub fn safetensors(path: &Path) -> Result<ArrayFile, CommandError> {
        const REMEDY: &str = "Write it with `safetensors.numpy.save_file`.";
        let (file, _) = open(path)?;
        let header = TensorFile::open(path).map_err(|e| CommandError::from(e).with_hint(REMEDY))?;
        let mut arrays = Vec::new();
        for name in header.names() {
            let (offset, shape, format) = header.place(&name)?;
            let Some((_, dtype)) = STORED.iter().find(|(stored, _)| *stored == format) else {
                let why = format!("the elements of `{name}` are {format}, which MIL has not");
                return Err(wrong(path, "safetensors file", &why, REMEDY));
            };
            arrays.push((name, TensorType::new(*dtype, shape), offset));
        }
        arrays.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(ArrayFile { path: path.to_owned(), file, arrays: Arrays::Safetensors(arrays) })
    }

    /// Names and types, in order of the names; the name of a .npy file's array is empty.
    pub fn types(&self) -> Vec<(&str, &TensorType)> {
        match &self.arrays {
            Arrays::Npy(array) => vec![("", &array.ty)],
            Arrays::Safetensors(tensors) => tensors.iter().map(|(name, ty, _)| (name.as_str(), ty)).collect(),
        }
    }

    /// Reads the array called `name`.
    ///
    /// # Errors
    /// If the file cannot be read any more.
    pub fn read(&mut self, name: &str) -> Result<Tensor, CommandError> {
        let file = &mut self.file;
        let tensor = match &self.arrays {
            Arrays::Npy(array) => array.elements(file),
            Arrays::Safetensors(tensors) => match tensors.iter().find(|(n, ..)| n == name) {
                Some((_, ty, offset)) => file.seek(SeekFrom::Start(*offset)).and_then(|_| {
                    let mut bytes = vec![0; ty.bytes().unwrap_or(0)];
                    file.read_exact(&mut bytes)?;
                    Ok(Tensor { ty: ty.clone(), data: bytes::from_memory(ty.dtype, &bytes) })
                }),
                None => Err(io::Error::other(format!("it has no tensor `{name}`"))),
            },
        };
        tensor.map_err(|e| unreadable(&self.path, &e))
    }
}

/// Number formats of safetensors that MIL has.
const STORED: [(&str, DType); 15] = [
    ("BOOL", DType::Bool),
    ("U8", DType::U8),
    ("I8", DType::I8),
    ("F8_E5M2", DType::F8E5M2),
    ("F8_E4M3", DType::F8E4M3),
    ("I16", DType::I16),
    ("U16", DType::U16),
    ("F16", DType::F16),
    ("BF16", DType::BF16),
    ("I32", DType::I32),
    ("U32", DType::U32),
    ("F32", DType::F32),
    ("F64", DType::F64),
    ("I64", DType::I64),
    ("U64", DType::U64),
];

/// `tensors` as the content of a safetensors file.
///
/// # Errors
/// Why not, for strings.
pub fn safetensors_file(tensors: &[(String, Tensor)]) -> Result<Vec<u8>, String> {
    let mut packed = Vec::new();
    for (name, tensor) in tensors {
        let (dtype, stored) = match tensor.ty.dtype {
            DType::Bool => (DType::Bool, Dtype::BOOL),
            DType::F16 => (DType::F16, Dtype::F16),
            DType::F32 => (DType::F32, Dtype::F32),
            DType::F64 => (DType::F64, Dtype::F64),
            DType::BF16 => (DType::BF16, Dtype::BF16),
            DType::F8E4M3 => (DType::F8E4M3, Dtype::F8_E4M3),
            DType::F8E5M2 => (DType::F8E5M2, Dtype::F8_E5M2),
            DType::I4 | DType::I8 => (DType::I8, Dtype::I8),
            DType::U1 | DType::U2 | DType::U3 | DType::U4 | DType::U6 | DType::U8 => (DType::U8, Dtype::U8),
            DType::I16 => (DType::I16, Dtype::I16),
            DType::U16 => (DType::U16, Dtype::U16),
            DType::I32 => (DType::I32, Dtype::I32),
            DType::U32 => (DType::U32, Dtype::U32),
            DType::I64 => (DType::I64, Dtype::I64),
            DType::U64 => (DType::U64, Dtype::U64),
            other => return Err(format!("a safetensors file does not hold {other}")),
        };
        packed.push((name, stored, &tensor.ty.shape, bytes::to_memory(dtype, &tensor.data)));
    }
    let mut views = Vec::new();
    for (name, stored, shape, bytes) in &packed {
        let view = TensorView::new(*stored, shape.to_vec(), bytes).map_err(|e| e.to_string())?;
        views.push((name.as_str(), view));
    }
    safetensors::serialize(views, None).map_err(|e| e.to_string())
}

fn open(path: &Path) -> Result<(BufReader<File>, u64), CommandError> {
    // Devices and pipes are no arrays, and some never end.
    let opened = fs::metadata(path).and_then(|found| match found.is_file() {
        true => Ok((BufReader::new(File::open(path)?), found.len())),
        false => Err(io::Error::other("it is no file")),
    });
    opened.map_err(|e| unreadable(path, &e))
}

fn unreadable(path: &Path, error: &io::Error) -> CommandError {
    CommandError::input(format!("cannot read `{}`: {error}", path.display()), "Check the path.")
}

fn wrong(path: &Path, kind: &str, why: &str, hint: &str) -> CommandError {
    CommandError::input(format!("`{}` is no {kind} that can be read: {why}", path.display()), hint)
}

/// The NumPy name of an element type.
pub fn numpy_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "bool",
        DType::F16 => "float16",
        DType::F32 => "float32",
        DType::F64 => "float64",
        DType::I4 | DType::I8 => "int8",
        DType::U1 | DType::U2 | DType::U3 | DType::U4 | DType::U6 | DType::U8 => "uint8",
        DType::I16 => "int16",
        DType::U16 => "uint16",
        DType::I32 => "int32",
        DType::U32 => "uint32",
        DType::I64 => "int64",
        DType::U64 => "uint64",
        other => other.name(),
    }
}

/// The elements of `tensor` as `f64`, for statistics.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    match &tensor.data {
        Data::Str(_) => Vec::new(),
        _ => tensor.to_floats(),
    }
}
