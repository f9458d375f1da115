//! Writing of a GGUF file's header, version 3.

use super::blocks::BlockFormat;
use super::header::{Header, MetadataValue, TensorInfo, decimal};
use crate::formats::weight_type::WeightType;

/// Offsets of tensors are multiples of this, GGUF's default.
pub const ALIGNMENT: u64 = 32;

/// The value of a key that is written.
#[derive(Clone, Debug)]
pub enum Value {
    /// Type 4.
    U32(u32),
    /// Type 2.
    U16(u16),
    /// Type 5.
    I32(i32),
    /// Type 6.
    F32(f32),
    /// Type 7.
    Bool(bool),
    /// Type 8.
    Str(String),
    /// An array of texts.
    Strs(Vec<String>),
    /// An array of f32.
    F32s(Vec<f32>),
    /// An array of i32.
    I32s(Vec<i32>),
    /// An array of truth values.
    Bools(Vec<bool>),
}

/// A key with its value.
pub type Key = (String, Value);

/// A tensor that is written.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its axes, slowest first.
    pub shape: Vec<usize>,
    /// Its number format.
    pub kind: WeightType,
}

impl Tensor {
    /// Bytes of its data.
    pub fn bytes(&self) -> u64 {
        let elements: usize = self.shape.iter().product();
        match self.kind.float() {
            Some(float) => (elements * float.bytes()) as u64,
            // Rows are whole blocks.
            None => BlockFormat::find(self.kind.ggml_id()).and_then(|f| f.size(elements)).unwrap_or(0) as u64,
        }
    }
}

/// The bytes before the tensors' data, up to the first tensor.
pub fn header(keys: &[Key], tensors: &[Tensor]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((keys.len() as u64).to_le_bytes());
    for (key, value) in keys {
        text(key, &mut bytes);
        put(value, &mut bytes);
    }
    let mut offset = 0u64;
    for tensor in tensors {
        text(&tensor.name, &mut bytes);
        bytes.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|&axis| bytes.extend((axis as u64).to_le_bytes()));
        bytes.extend(tensor.kind.ggml_id().to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT as usize), 0);
    bytes
}

fn text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn put(value: &Value, bytes: &mut Vec<u8>) {
    let array = |kind: u32, count: usize, bytes: &mut Vec<u8>| {
        [9, kind].iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        bytes.extend((count as u64).to_le_bytes());
    };
    let scalar = |kind: u32, number: &[u8], bytes: &mut Vec<u8>| {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(number);
    };
    match value {
        Value::U16(n) => scalar(2, &n.to_le_bytes(), bytes),
        Value::U32(n) => scalar(4, &n.to_le_bytes(), bytes),
        Value::I32(n) => scalar(5, &n.to_le_bytes(), bytes),
        Value::F32(x) => scalar(6, &x.to_le_bytes(), bytes),
        Value::Bool(b) => scalar(7, &[u8::from(*b)], bytes),
        Value::Str(s) => {
            scalar(8, &[], bytes);
            text(s, bytes);
        }
        Value::Strs(texts) => {
            array(8, texts.len(), bytes);
            texts.iter().for_each(|s| text(s, bytes));
        }
        Value::F32s(numbers) => {
            array(6, numbers.len(), bytes);
            numbers.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
        }
        Value::I32s(numbers) => {
            array(5, numbers.len(), bytes);
            numbers.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
        }
        Value::Bools(flags) => {
            array(7, flags.len(), bytes);
            bytes.extend(flags.iter().map(|&flag| u8::from(flag)));
        }
    }
}

/// The header that a reader of these keys and tensors has; the tensors have no place.
pub fn as_read(keys: &[Key], tensors: &[Tensor]) -> Header {
    let read = |value: &Value| match value {
        Value::U16(n) => MetadataValue::Int((*n).into()),
        Value::U32(n) => MetadataValue::Int((*n).into()),
        Value::I32(n) => MetadataValue::Int((*n).into()),
        Value::F32(x) => MetadataValue::Float(decimal(*x)),
        Value::Bool(b) => MetadataValue::Bool(*b),
        Value::Str(s) => MetadataValue::Str(s.clone()),
        Value::Strs(texts) => MetadataValue::Strs(texts.clone()),
        Value::F32s(numbers) => MetadataValue::Floats(numbers.iter().map(|&x| decimal(x)).collect()),
        Value::I32s(numbers) => MetadataValue::Ints(numbers.iter().map(|&n| n.into()).collect()),
        Value::Bools(flags) => MetadataValue::Ints(flags.iter().map(|&flag| flag.into()).collect()),
    };
    let info = |tensor: &Tensor| {
        let format = BlockFormat::find(tensor.kind.ggml_id())?;
        let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
        Some(TensorInfo { name, shape, format, part: 0, start: 0, bytes: tensor.bytes() as usize })
    };
    Header {
        keys: keys.iter().map(|(key, value)| (key.clone(), read(value))).collect(),
        tensors: tensors.iter().filter_map(info).collect(),
        data: 0,
    }
}
