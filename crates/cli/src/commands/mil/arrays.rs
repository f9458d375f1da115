//! Arrays in files: NumPy's .npy, and safetensors.

use crate::error::CommandError;
use mil::{DType, Data, Tensor, TensorType, bytes};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::fs;
use std::path::Path;

/// Bytes before the header of a .npy file of version 1.
const BEGIN: usize = 10;

/// The array in the .npy file `path`.
///
/// # Errors
/// If it cannot be read, or holds no numbers.
pub fn read_npy(path: &Path) -> Result<Tensor, CommandError> {
    let file = read(path)?;
    npy(&file).map_err(|why| wrong(path, "NumPy array", &why, "Write it with `numpy.save`."))
}

fn npy(file: &[u8]) -> Result<Tensor, String> {
    let (header, elements) = Header::read(file)?;
    let (swapped, dtype) = header.dtype()?;
    let ty = TensorType::new(dtype, header.shape);
    let (size, want) = (dtype.size().unwrap_or(1), ty.bytes().unwrap_or(0));
    if elements.len() != want {
        return Err(format!("its elements take {want} bytes, it has {}", elements.len()));
    }
    let data = match swapped {
        true => {
            let turned: Vec<u8> = elements.chunks(size).flat_map(|c| c.iter().rev().copied()).collect();
            bytes::from_memory(dtype, &turned)
        }
        false => bytes::from_memory(dtype, elements),
    };
    let tensor = Tensor { ty, data };
    Ok(if header.by_columns { from_columns(&tensor) } else { tensor })
}

/// Element types of NumPy that MIL has, as headers describe them.
const DESCRIBED: [(&str, DType); 12] = [
    ("b1", DType::Bool),
    ("f2", DType::F16),
    ("f4", DType::F32),
    ("f8", DType::F64),
    ("i1", DType::I8),
    ("u1", DType::U8),
    ("i2", DType::I16),
    ("u2", DType::U16),
    ("i4", DType::I32),
    ("u4", DType::U32),
    ("i8", DType::I64),
    ("u8", DType::U64),
];

/// The header of a .npy file: a dictionary in Python's spelling, `{'descr': '<f4',
/// 'fortran_order': False, 'shape': (2, 3), }`. Crates that read it bring a parser of all of Python's literals, and a C
/// compiler with it.
/// Source: NumPy, `numpy/lib/format.py`.
#[derive(Debug, Default)]
struct Header {
    descr: String,
    /// Whether the first axis runs fastest.
    by_columns: bool,
    shape: Vec<usize>,
}

impl Header {
    /// The header of `file`, and the elements after it.
    fn read(file: &[u8]) -> Result<(Header, &[u8]), String> {
        let no_header = || "it has no header".to_owned();
        let (length, begin) = match (file.get(..6), file.get(6), file.get(8..12)) {
            (Some(b"\x93NUMPY"), Some(1), Some(&[a, b, ..])) => {
                (usize::from(u16::from_le_bytes([a, b])), BEGIN)
            }
            (Some(b"\x93NUMPY"), Some(2 | 3), Some(&[a, b, c, d])) => {
                (u32::from_le_bytes([a, b, c, d]) as usize, 12)
            }
            _ => return Err(no_header()),
        };
        let end = length.saturating_add(begin);
        let (text, elements) = file.get(begin..end).zip(file.get(end..)).ok_or_else(no_header)?;
        let text = std::str::from_utf8(text).map_err(|_| no_header())?;
        let header = Header::parse(text).ok_or_else(|| {
            format!(
                "its header does not describe an array of numbers: {}",
                text.trim().chars().take(80).collect::<String>().escape_debug()
            )
        })?;
        Ok((header, elements))
    }

    fn parse(text: &str) -> Option<Header> {
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        let (mut header, mut seen) = (Header::default(), 0);
        while !rest.is_empty() {
            let (key, value) = rest.split_once(':')?;
            let value = value.trim_start();
            // The value ends at the next comma; that of a tuple, after its bracket.
            let end = if value.starts_with('(') {
                value.find(')')? + 1
            } else {
                value.find(',').unwrap_or(value.len())
            };
            let (value, behind) = value.split_at(end);
            let behind = behind.trim_start();
            rest = if behind.is_empty() { behind } else { behind.strip_prefix(',')?.trim_start() };
            match unquoted(key)? {
                "descr" => header.descr = unquoted(value)?.to_owned(),
                "fortran_order" => {
                    header.by_columns =
                        matches!(value.trim(), "True" | "False").then(|| value.trim() == "True")?
                }
                "shape" => {
                    let sizes = value.strip_prefix('(')?.strip_suffix(')')?.split(',').map(str::trim);
                    let sizes = sizes.filter(|s| !s.is_empty());
                    header.shape = sizes.map(|s| s.parse().ok()).collect::<Option<_>>()?;
                }
                _ => return None,
            }
            seen += 1;
        }
        (seen == 3).then_some(header)
    }

    /// Whether elements are big-endian, and their type.
    fn dtype(&self) -> Result<(bool, DType), String> {
        let kind = self.descr.get(1..).unwrap_or_default();
        let known = DESCRIBED.iter().find(|(descr, _)| *descr == kind).map(|(_, dtype)| *dtype);
        let swapped = match self.descr.chars().next() {
            Some('<' | '|' | '=') => Some(false),
            Some('>') => Some(true),
            _ => None,
        };
        let shown = self.descr.escape_debug();
        let none = || format!("its elements are `{shown}`, which are no numbers that MIL has");
        swapped.zip(known).ok_or_else(none)
    }
}

/// The quoted text.
fn unquoted(text: &str) -> Option<&str> {
    let text = text.trim();
    ['\'', '"'].into_iter().find_map(|q| text.strip_prefix(q)?.strip_suffix(q))
}

/// The tensor from elements in column-major order.
fn from_columns(tensor: &Tensor) -> Tensor {
    let shape = &tensor.ty.shape;
    let mut strides = vec![1usize; shape.len()];
    for i in 1..shape.len() {
        strides[i] = strides[i - 1].saturating_mul(shape[i - 1]);
    }
    let flat = |index: &[usize]| index.iter().zip(&strides).map(|(i, s)| i * s).sum();
    tensor.gathered(tensor.ty.clone(), flat)
}

/// The tensors in the safetensors file `path`, in order of their names.
///
/// # Errors
/// If it cannot be read, or one of them is none that MIL has.
pub fn read_safetensors(path: &Path) -> Result<Vec<(String, Tensor)>, CommandError> {
    let file = read(path)?;
    let refuse =
        |why: &str| wrong(path, "safetensors file", why, "Write it with `safetensors.numpy.save_file`.");
    let tensors = SafeTensors::deserialize(&file).map_err(|e| refuse(&e.to_string()))?;
    let mut all = Vec::new();
    for (name, view) in tensors.iter() {
        let dtype = match view.dtype() {
            Dtype::BOOL => DType::Bool,
            Dtype::U8 => DType::U8,
            Dtype::I8 => DType::I8,
            Dtype::F8_E5M2 => DType::F8E5M2,
            Dtype::F8_E4M3 => DType::F8E4M3,
            Dtype::I16 => DType::I16,
            Dtype::U16 => DType::U16,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            Dtype::I32 => DType::I32,
            Dtype::U32 => DType::U32,
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            Dtype::I64 => DType::I64,
            Dtype::U64 => DType::U64,
            other => return Err(refuse(&format!("the elements of `{name}` are {other:?}"))),
        };
        let ty = TensorType::new(dtype, view.shape());
        let data = bytes::from_memory(dtype, view.data());
        if data.len() != ty.elements() {
            return Err(refuse(&format!("the number of elements of `{name}` does not match its shape")));
        }
        all.push((name.to_owned(), Tensor { ty, data }));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

/// `tensor` as the content of a .npy file; types that NumPy has not become the next larger one that it has.
///
/// # Errors
/// Why not, for strings.
pub fn npy_file(tensor: &Tensor) -> Result<Vec<u8>, String> {
    let dtype = match tensor.ty.dtype {
        DType::BF16 | DType::F8E4M3 | DType::F8E5M2 => DType::F32,
        DType::I4 => DType::I8,
        DType::U1 | DType::U2 | DType::U3 | DType::U4 | DType::U6 => DType::U8,
        other => other,
    };
    let Some((kind, _)) = DESCRIBED.iter().find(|(_, d)| *d == dtype) else {
        return Err(format!("a .npy file does not hold {dtype}"));
    };
    let order = if dtype.size() == Some(1) { '|' } else { '<' };
    let shape: String = tensor.ty.shape.iter().map(|n| format!("{n}, ")).collect();
    let mut header = format!("{{'descr': '{order}{kind}', 'fortran_order': False, 'shape': ({shape}), }}");
    // The elements begin at a multiple of 64, after a newline.
    header.push_str(&" ".repeat(63 - (BEGIN + header.len()) % 64));
    header.push('\n');
    let length = u16::try_from(header.len()).map_err(|_| "a .npy file holds fewer axes".to_owned())?;
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend(length.to_le_bytes());
    out.extend(header.bytes());
    out.extend(bytes::to_memory(dtype, &tensor.data));
    Ok(out)
}

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

fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    // Devices and pipes are no arrays, and some never end.
    let regular = fs::metadata(path).and_then(|m| match m.is_file() {
        true => Ok(()),
        false => Err(std::io::Error::other("it is no file")),
    });
    regular
        .and_then(|()| fs::read(path))
        .map_err(|e| CommandError::input(format!("cannot read `{}`: {e}", path.display()), "Check the path."))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_returns_from_npy() {
        for dtype in DType::ALL.into_iter().filter(|&d| d != DType::Str) {
            let ty = TensorType::new(dtype, [2, 1, 2]);
            let data = match dtype {
                DType::Bool => Data::Bool(vec![true, false, false, true]),
                d if d.is_float() => Data::Float(vec![0.5, -1.0, 0.0, 2.0]),
                _ => Data::Int(vec![1, 0, 1, 1]),
            };
            let tensor = Tensor { ty, data };
            let back = npy(&npy_file(&tensor).expect("a file")).expect("an array");
            assert_eq!((&back.ty.shape, &back.data), (&tensor.ty.shape, &tensor.data), "{dtype}");
        }
    }

    #[test]
    fn order_of_axes_and_bytes_do_not_matter() {
        let header = |descr: &str, fortran: &str| {
            let text = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': (2, 3), }}\n");
            let mut file = b"\x93NUMPY\x01\x00".to_vec();
            file.extend((text.len() as u16).to_le_bytes());
            file.extend(text.bytes());
            file
        };
        let mut file = header(">i2", "True");
        [1i16, 4, 2, 5, 3, 6].iter().for_each(|n| file.extend(n.to_be_bytes()));
        let array = npy(&file).expect("an array");
        assert_eq!(array.data, Data::Int(vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(array.ty, TensorType::new(DType::I16, [2, 3]));
    }

    #[test]
    fn broken_files_are_refused() {
        let good = npy_file(&Tensor::floats(mil::ty::f16([2, 3]), [0.0; 6])).expect("a file");
        for n in 0..good.len() {
            assert!(npy(&good[..n]).is_err(), "{n}");
        }
        let with = |text: &str| {
            let mut file = b"\x93NUMPY\x01\x00".to_vec();
            file.extend((text.len() as u16).to_le_bytes());
            file.extend(text.bytes());
            npy(&file).expect_err("no array")
        };
        let shape =
            |shape: &str| with(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"));
        assert!(shape("(4294967296, 4294967296, 2)").contains("its elements take"));
        assert!(shape("(99999999999999999999999,)").contains("header"));
        assert!(shape(&format!("{}{}", "(".repeat(9000), ")".repeat(9000))).contains("header"));
        assert!(shape("(1000000,)").contains("4000000 bytes"));
        assert!(
            with("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }").contains("header")
        );
        assert!(with("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }").contains("no numbers"));
    }
}
