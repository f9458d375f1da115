//! Types.

use super::refuse;
use crate::dtype;
use crate::proto::mil::value_type::Kind;
use crate::proto::mil::{
    ConstantDimension, DictionaryType, Dimension, ListType, StateType, TensorType, TupleType,
    UnknownDimension, ValueType, dimension,
};
use mil::Diagnostic;
use mil::text::tree::{Dim, Span, Type};

/// The message of `ty`, which is written at `span`.
///
/// # Errors
/// If the schema lacks it.
pub fn value_type(ty: &Type<'_>, span: Span) -> Result<ValueType, Diagnostic> {
    let inner = |ty| value_type(ty, span).map(Box::new);
    let kind = match ty {
        Type::Tensor { dtype, dims } => Kind::Tensor(TensorType {
            data_type: dtype::to_number(*dtype).ok_or_else(|| unknown(ty, span))?,
            rank: dims.len() as i64,
            dimensions: dims.iter().map(|&d| dim(d)).collect(),
            attributes: Vec::new(),
        }),
        Type::List(item, length) => {
            Kind::List(Box::new(ListType { r#type: Some(inner(item)?), length: Some(dim(*length)) }))
        }
        Type::Tuple(items) => {
            let types = items.iter().map(|ty| value_type(ty, span)).collect::<Result<_, _>>()?;
            Kind::Tuple(TupleType { types })
        }
        Type::Dict(both) => Kind::Dictionary(Box::new(DictionaryType {
            key_type: Some(inner(&both.0)?),
            value_type: Some(inner(&both.1)?),
        })),
        Type::State(wrapped) => Kind::State(Box::new(StateType { wrapped_type: Some(inner(wrapped)?) })),
        Type::Buffer { .. } => return Err(unknown(ty, span)),
    };
    Ok(ValueType { kind: Some(kind) })
}

fn unknown(ty: &Type<'_>, span: Span) -> Diagnostic {
    refuse(format!("a model file cannot hold a {ty}"), span, "use a tensor")
}

fn dim(size: Dim) -> Dimension {
    let kind = match size {
        Some(size) => dimension::Kind::Constant(ConstantDimension { size: size as u64 }),
        None => dimension::Kind::Unknown(UnknownDimension { variadic: false }),
    };
    Dimension { kind: Some(kind) }
}
