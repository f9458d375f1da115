//! Constants.

use super::refuse;
use super::types::value_type;
use crate::proto::mil::{
    BlobFileValue, Bools, Bytes, DictionaryValue, Doubles, Floats, ImmediateValue, Ints, KeyValuePair,
    ListValue, LongInts, Strings, TensorValue, Value as Message, immediate_value, tensor_value, value,
};
use mil::text::tree::{Literal, Span, Type, Value};
use mil::{DType, Data, Diagnostic, bytes};

/// The message of a literal.
///
/// # Errors
/// If the schema lacks its type.
pub fn literal(literal: &Literal<'_>) -> Result<Message, Diagnostic> {
    message(&literal.ty, &literal.value, literal.span)
}

fn message(ty: &Type<'_>, value: &Value<'_>, span: Span) -> Result<Message, Diagnostic> {
    let immediate = |kind| value::Kind::Immediate(ImmediateValue { kind: Some(kind) });
    let mut own = ty.clone();
    let kind = match (value, ty) {
        (Value::Blob { path, offset }, _) => {
            value::Kind::BlobFile(BlobFileValue { file_name: path.clone().into_owned(), offset: *offset })
        }
        (Value::Tensor { shape, data }, Type::Tensor { dtype, dims }) => {
            // One open size follows from the elements; of several the value states them.
            if dims.iter().filter(|d| d.is_none()).count() > 1 {
                own = Type::Tensor { dtype: *dtype, dims: shape.iter().map(|&size| Some(size)).collect() };
            }
            immediate(immediate_value::Kind::Tensor(TensorValue { kind: Some(elements(*dtype, data)) }))
        }
        (Value::List(items), Type::List(of, _)) => {
            let values = items.iter().map(|item| message(of, item, span)).collect::<Result<_, _>>()?;
            immediate(immediate_value::Kind::List(ListValue { values }))
        }
        (Value::Tuple(items), Type::Tuple(types)) => {
            let both = types.iter().zip(items);
            let values = both.map(|(ty, item)| message(ty, item, span)).collect::<Result<_, _>>()?;
            immediate(immediate_value::Kind::Tuple(ListValue { values }))
        }
        (Value::Dict(entries), Type::Dict(both)) => {
            let pair = |(key, value): &(Value<'_>, Value<'_>)| {
                let key = Some(message(&both.0, key, span)?);
                Ok(KeyValuePair { key, value: Some(message(&both.1, value, span)?) })
            };
            let values = entries.iter().map(pair).collect::<Result<_, Diagnostic>>()?;
            immediate(immediate_value::Kind::Dictionary(DictionaryValue { values }))
        }
        // Neither the parser nor a program creates a value whose kind differs from its type.
        _ => return Err(refuse(format!("the value is no {ty}"), span, "write a value of its type")),
    };
    Ok(Message { doc_string: String::new(), r#type: Some(value_type(&own, span)?), kind: Some(kind) })
}

/// The elements as coremltools stores those of this type.
fn elements(dtype: DType, data: &Data) -> tensor_value::Kind {
    use tensor_value::Kind;
    match (data, dtype) {
        (Data::Bool(v), _) => Kind::Bools(Bools { values: v.clone() }),
        (Data::Str(v), _) => Kind::Strings(Strings { values: v.clone() }),
        (Data::Float(v), DType::F32) => {
            Kind::Floats(Floats { values: v.iter().map(|&x| x as f32).collect() })
        }
        (Data::Float(v), DType::F64) => Kind::Doubles(Doubles { values: v.clone() }),
        (Data::Int(v), DType::I64 | DType::U64) => Kind::LongInts(LongInts { values: v.clone() }),
        (Data::Int(v), DType::I16 | DType::U16 | DType::I32) => {
            Kind::Ints(Ints { values: v.iter().map(|&n| n as i32).collect() })
        }
        _ => Kind::Bytes(Bytes { values: bytes::pack(dtype, data) }),
    }
}
