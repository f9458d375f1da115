//! Types.

use crate::dtype;
use crate::error::Problem;
use crate::proto::mil::value_type::Kind;
use crate::proto::mil::{Dimension, TensorType, ValueType, dimension};
use mil::text::tree::{Dim, Type};

/// The type that `ty` is.
///
/// # Errors
/// If it is none, or one that MIL text does not have.
pub fn value_type(ty: Option<&ValueType>) -> Result<Type<'static>, Problem> {
    let Some(kind) = ty.and_then(|ty| ty.kind.as_ref()) else { return Err(Problem::new("it has no type")) };
    Ok(match kind {
        Kind::Tensor(tensor) => {
            let (dtype, dims) = tensor_type(tensor)?;
            Type::Tensor { dtype, dims }
        }
        Kind::List(list) => {
            let item = value_type(list.r#type.as_deref())?;
            let length = list.length.as_ref().ok_or_else(|| Problem::new("a list type has no length"))?;
            Type::List(Box::new(item), dim(length)?)
        }
        Kind::Tuple(tuple) => {
            Type::Tuple(tuple.types.iter().map(|ty| value_type(Some(ty))).collect::<Result<_, _>>()?)
        }
        Kind::Dictionary(dictionary) => {
            let key = value_type(dictionary.key_type.as_deref())?;
            Type::Dict(Box::new((key, value_type(dictionary.value_type.as_deref())?)))
        }
        Kind::State(state) => Type::State(Box::new(value_type(state.wrapped_type.as_deref())?)),
    })
}

fn tensor_type(ty: &TensorType) -> Result<(mil::DType, Vec<Dim>), Problem> {
    let dtype = dtype::from_number(ty.data_type)
        .ok_or_else(|| Problem::new(format!("there is no element type {}", ty.data_type)))?;
    if let Some(attribute) = ty.attributes.first() {
        let text = format!("a tensor type has the attribute `{}`, which MIL text cannot hold", attribute.key);
        return Err(Problem::new(text));
    }
    if ty.rank < 0 {
        return Err(Problem::new("a tensor type leaves its number of axes open, which MIL text cannot hold"));
    }
    if ty.rank as u64 != ty.dimensions.len() as u64 {
        let text = format!("a tensor type of rank {} has {} sizes", ty.rank, ty.dimensions.len());
        return Err(Problem::new(text));
    }
    if ty.dimensions.len() > mil::TensorType::MAX_RANK {
        let most = mil::TensorType::MAX_RANK;
        return Err(Problem::new(format!("a tensor has at most {most} axes, not {}", ty.dimensions.len())));
    }
    Ok((dtype, ty.dimensions.iter().map(dim).collect::<Result<_, _>>()?))
}

fn dim(dimension: &Dimension) -> Result<Dim, Problem> {
    match &dimension.kind {
        Some(dimension::Kind::Constant(constant)) => match usize::try_from(constant.size) {
            // The largest numbers stand for sizes that are not known.
            Ok(size) if size < i64::MAX as usize => Ok(Some(size)),
            _ => Err(Problem::new(format!("{} is too large for the size of an axis", constant.size))),
        },
        Some(dimension::Kind::Unknown(unknown)) if unknown.variadic => {
            Err(Problem::new("a tensor type leaves its number of axes open, which MIL text cannot hold"))
        }
        Some(dimension::Kind::Unknown(_)) => Ok(None),
        None => Err(Problem::new("the size of an axis is missing")),
    }
}
