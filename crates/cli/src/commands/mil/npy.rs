//! NumPy's .npy files: an array as bytes, and from bytes.

use mil::{DType, Tensor, TensorType, bytes};
use std::io::{self, Read};

/// Bytes before the header of a .npy file of version 1.
const BEGIN: usize = 10;

/// Longest header that is read; NumPy reads 10,000 characters.
const MAX_HEADER: u64 = 1 << 16;

/// Most axes of an array; NumPy has as many.
const MAX_AXES: usize = 64;

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

/// An array whose elements are still to be read.
#[derive(Debug)]
pub struct Array {
    /// Type of its elements, and its shape.
    pub ty: TensorType,
    by_columns: bool,
    /// Whether its elements are big-endian.
    swapped: bool,
}

impl Array {
    /// Reads the header of a file of `length` bytes, up to the elements.
    ///
    /// # Errors
    /// Why it holds no numbers that MIL has, or other than so many.
    pub fn open(file: &mut impl Read, length: u64) -> Result<Array, String> {
        let no_header = |_| "it has no header".to_owned();
        let mut begin = [0; BEGIN];
        file.read_exact(&mut begin).map_err(no_header)?;
        let [magic @ .., version, _, low, high] = begin;
        if magic != *b"\x93NUMPY" || !(1..=3).contains(&version) {
            return Err("it has no header".to_owned());
        }
        let mut size = [low, high, 0, 0];
        if version > 1 {
            file.read_exact(&mut size[2..]).map_err(no_header)?;
        }
        let size = u64::from(u32::from_le_bytes(size));
        if size > MAX_HEADER {
            return Err(format!("its header would have {size} bytes, at most {MAX_HEADER} are read"));
        }
        let mut text = vec![0; size as usize];
        file.read_exact(&mut text).map_err(no_header)?;
        let text = std::str::from_utf8(&text).map_err(|_| "its header is no text".to_owned())?;
        let header = Header::parse(text).ok_or_else(|| {
            let shown: String = text.trim().chars().take(80).collect();
            format!("its header does not describe an array of numbers: {}", shown.escape_debug())
        })?;
        let (swapped, dtype) = header.dtype()?;
        if header.shape.len() > MAX_AXES {
            return Err(format!("it has {} axes, at most {MAX_AXES} are read", header.shape.len()));
        }
        let array =
            Array { ty: TensorType::new(dtype, header.shape), by_columns: header.by_columns, swapped };
        let begin = BEGIN as u64 + if version > 1 { 2 } else { 0 } + size;
        let (want, got) = (array.ty.bytes().unwrap_or(0), length.saturating_sub(begin));
        match got == want as u64 {
            true => Ok(array),
            false => Err(format!("its elements take {want} bytes, it has {got}")),
        }
    }

    /// Reads the elements, which follow the header.
    ///
    /// # Errors
    /// Those of `file`, which may have become shorter.
    pub fn elements(&self, file: &mut impl Read) -> io::Result<Tensor> {
        let (dtype, size) = (self.ty.dtype, self.ty.dtype.size().unwrap_or(1));
        let mut bytes = vec![0; self.ty.bytes().unwrap_or(0)];
        file.read_exact(&mut bytes)?;
        if self.swapped {
            bytes.chunks_mut(size).for_each(<[u8]>::reverse);
        }
        let tensor = Tensor { data: bytes::from_memory(dtype, &bytes), ty: self.ty.clone() };
        Ok(if self.by_columns { from_columns(&tensor) } else { tensor })
    }
}

impl Header {
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

/// `tensor` as the content of a .npy file; types that NumPy has not become the next larger one that it has.
///
/// # Errors
/// Why not, for strings.
pub fn file(tensor: &Tensor) -> Result<Vec<u8>, String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use mil::Data;

    fn array(mut bytes: &[u8]) -> Result<Tensor, String> {
        let length = bytes.len() as u64;
        Ok(Array::open(&mut bytes, length)?.elements(&mut bytes).expect("its length was checked"))
    }

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
            let back = array(&file(&tensor).expect("a file")).expect("an array");
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
        let array = array(&file).expect("an array");
        assert_eq!(array.data, Data::Int(vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(array.ty, TensorType::new(DType::I16, [2, 3]));
    }

    #[test]
    fn broken_files_are_refused() {
        let good = file(&Tensor::floats(mil::ty::f16([2, 3]), [0.0; 6])).expect("a file");
        for n in 0..good.len() {
            assert!(array(&good[..n]).is_err(), "{n}");
        }
        let with = |text: &str| {
            let mut file = b"\x93NUMPY\x01\x00".to_vec();
            file.extend((text.len() as u16).to_le_bytes());
            file.extend(text.bytes());
            array(&file).expect_err("no array")
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
