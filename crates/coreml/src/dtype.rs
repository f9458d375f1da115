//! Element types and opsets in both notations.

use crate::proto::mil::DataType;
use crate::proto::model::ArrayDataType;
use mil::DType;

const TYPES: [(DType, DataType); 22] = [
    (DType::Bool, DataType::Bool),
    (DType::Str, DataType::String),
    (DType::F16, DataType::Float16),
    (DType::F32, DataType::Float32),
    (DType::F64, DataType::Float64),
    (DType::BF16, DataType::Bfloat16),
    (DType::F8E4M3, DataType::Float8E4M3Fn),
    (DType::F8E5M2, DataType::Float8E5M2),
    (DType::I4, DataType::Int4),
    (DType::I8, DataType::Int8),
    (DType::I16, DataType::Int16),
    (DType::I32, DataType::Int32),
    (DType::I64, DataType::Int64),
    (DType::U1, DataType::Uint1),
    (DType::U2, DataType::Uint2),
    (DType::U3, DataType::Uint3),
    (DType::U4, DataType::Uint4),
    (DType::U6, DataType::Uint6),
    (DType::U8, DataType::Uint8),
    (DType::U16, DataType::Uint16),
    (DType::U32, DataType::Uint32),
    (DType::U64, DataType::Uint64),
];

/// The element type with this number.
pub fn from_number(number: i32) -> Option<DType> {
    TYPES.iter().find(|(_, data_type)| *data_type as i32 == number).map(|(dtype, _)| *dtype)
}

/// The number of an element type; `None` for one that the schema does not have.
pub fn to_number(dtype: DType) -> Option<i32> {
    TYPES.iter().find(|(own, _)| *own == dtype).map(|(_, data_type)| *data_type as i32)
}

/// Opsets: as MIL text names them, as model files do, and the specification that brought them.
const OPSETS: [(&str, &str, i32); 5] = [
    ("ios15", "CoreML5", 6),
    ("ios16", "CoreML6", 7),
    ("ios17", "CoreML7", 8),
    ("ios18", "CoreML8", 9),
    ("ios26", "CoreML9", 10),
];

/// The name that MIL text has for an opset of a model file; any other name as it is.
pub fn opset_in_text(name: &str) -> &str {
    OPSETS.iter().find(|(_, own, _)| *own == name).map_or(name, |(text, ..)| text)
}

/// The name that model files have for an opset of MIL text, and the version of the specification; `None` if there is no
/// such opset.
pub fn opset_in_file(name: &str) -> Option<(&'static str, i32)> {
    OPSETS
        .iter()
        .find(|(text, own, _)| *text == name || *own == name)
        .map(|(_, own, version)| (*own, *version))
}

/// The element type of an input or output, as descriptions have it; `None` for those that Core ML does not pass.
pub fn in_description(dtype: DType) -> Option<ArrayDataType> {
    match dtype {
        DType::F16 => Some(ArrayDataType::Float16),
        DType::F32 => Some(ArrayDataType::Float32),
        DType::I32 => Some(ArrayDataType::Int32),
        DType::I8 => Some(ArrayDataType::Int8),
        _ => None,
    }
}
