//! Constants.

use super::types::value_type;
use crate::error::{At, Problem};
use crate::proto::mil::{ImmediateValue, TensorValue, Value as Message};
use crate::proto::mil::{immediate_value, tensor_value, value};
use crate::schema::MOST_ELEMENTS;
use mil::bytes;
use mil::text::tree::{Dim, Literal, Span, Type, Value};
use mil::{DType, Data};
use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

/// Rows of empty tensors that a program may have: each is printed.
const EMPTY_ROWS: usize = 1 << 16;

/// Constants of one program.
pub struct Constants {
    /// How many elements may still come: packed, eight take a byte.
    left: Cell<usize>,
}

impl Constants {
    pub fn new() -> Constants {
        Constants { left: Cell::new(MOST_ELEMENTS) }
    }

    /// The literal that `value` is.
    ///
    /// # Errors
    /// If it has no type or no elements, these disagree, or there are more than are read.
    pub fn literal<'p>(&self, value: Option<&'p Message>) -> Result<Literal<'p>, Problem> {
        let Some(value) = value else { return Err(Problem::new("it has no value")) };
        let ty = value_type(value.r#type.as_ref())?;
        let value = match &value.kind {
            Some(value::Kind::Immediate(immediate)) => self.immediate_of(&ty, immediate)?,
            Some(value::Kind::BlobFile(blob)) if matches!(ty, Type::Tensor { .. }) => {
                Value::Blob { path: Cow::Borrowed(&blob.file_name), offset: blob.offset }
            }
            Some(value::Kind::BlobFile(_)) => {
                return Err(Problem::new(format!("a {ty} cannot be in a weight file")));
            }
            None => return Err(Problem::new("it has no value")),
        };
        Ok(Literal { ty, value, span: Span::default() })
    }

    fn immediate_of<'p>(&self, ty: &Type<'_>, immediate: &'p ImmediateValue) -> Result<Value<'p>, Problem> {
        use immediate_value::Kind;
        let Some(kind) = &immediate.kind else { return Err(Problem::new("it has no value")) };
        match (ty, kind) {
            (Type::Tensor { dtype, dims }, Kind::Tensor(tensor)) => self.tensor_of(*dtype, dims, tensor),
            (Type::List(item, length), Kind::List(list)) => {
                if let Some(length) = length.filter(|&n| n != list.values.len()) {
                    let text = format!("a list of length {length} has {} items", list.values.len());
                    return Err(Problem::new(text));
                }
                Ok(Value::List(self.items(&list.values, |_| item)?))
            }
            (Type::Tuple(types), Kind::Tuple(tuple)) => {
                if types.len() != tuple.values.len() {
                    let text = format!("a tuple type of {} items has {}", types.len(), tuple.values.len());
                    return Err(Problem::new(text));
                }
                Ok(Value::Tuple(self.items(&tuple.values, |i| &types[i])?))
            }
            (Type::Dict(both), Kind::Dictionary(dictionary)) => {
                let each = dictionary.values.iter().enumerate().map(|(i, pair)| {
                    let key = self.item(&both.0, pair.key.as_ref()).at(|| format!("key {i}"))?;
                    Ok((key, self.item(&both.1, pair.value.as_ref()).at(|| format!("value {i}"))?))
                });
                Ok(Value::Dict(each.collect::<Result<_, Problem>>()?))
            }
            (_, kind) => {
                let got = match kind {
                    Kind::Tensor(_) => "the elements of a tensor",
                    Kind::Tuple(_) => "a tuple",
                    Kind::List(_) => "a list",
                    Kind::Dictionary(_) => "a dictionary",
                };
                Err(Problem::new(format!("{ty} has {got} as its value")))
            }
        }
    }

    fn items<'p, 't>(
        &self,
        values: &'p [Message],
        ty: impl Fn(usize) -> &'t Type<'t>,
    ) -> Result<Vec<Value<'p>>, Problem> {
        let each = values.iter().enumerate();
        each.map(|(i, value)| self.item(ty(i), Some(value)).at(|| format!("item {i}"))).collect()
    }

    /// A value inside another one, whose type says what it must be.
    fn item<'p>(&self, want: &Type<'_>, value: Option<&'p Message>) -> Result<Value<'p>, Problem> {
        let own = self.literal(value)?;
        let fits = match (want, &own.ty, &own.value) {
            // What leaves sizes open holds those that state them.
            (Type::Tensor { dtype: a, dims }, Type::Tensor { dtype: b, .. }, Value::Tensor { shape, .. }) => {
                let sizes = dims.len() == shape.len()
                    && dims.iter().zip(shape).all(|(d, s)| d.is_none_or(|d| d == *s));
                a == b && sizes
            }
            (Type::List(a, _), Type::List(b, _), _) => a == b,
            (want, own, _) => want == own,
        };
        // A weight file holds constants of their own alone.
        match fits && !matches!(own.value, Value::Blob { .. }) {
            true => Ok(own.value),
            false => Err(Problem::new(format!("it is of type {}, where {want} belongs", own.ty))),
        }
    }

    fn tensor_of<'p>(
        &self,
        dtype: DType,
        dims: &[Dim],
        tensor: &'p TensorValue,
    ) -> Result<Value<'p>, Problem> {
        let known = dims.iter().flatten().fold(1usize, |n, &size| n.saturating_mul(size));
        self.take(known, dims, tensor, dtype)?;
        let data = elements(dtype, dims, known, tensor)?;
        let mut shape: Vec<usize> = dims.iter().map(|d| d.unwrap_or(usize::MAX)).collect();
        let mut open = shape.iter_mut().filter(|size| **size == usize::MAX);
        if let Some(size) = open.next() {
            if open.next().is_some() {
                return Err(Problem::new("more than one size of a constant is open"));
            }
            *size = data.len().checked_div(known).unwrap_or(0);
        }
        let want = shape.iter().fold(1usize, |n, &size| n.saturating_mul(size));
        if want != data.len() {
            let ty = Type::Tensor { dtype, dims: dims.to_vec() };
            return Err(Problem::new(format!("{ty} has {} elements, not {want}", data.len())));
        }
        if want == 0 {
            let rows =
                shape.iter().take_while(|&&size| size > 0).fold(1usize, |n, &size| n.saturating_mul(size));
            if rows > EMPTY_ROWS {
                return Err(Problem::new(format!(
                    "an empty constant has {rows} rows; at most {EMPTY_ROWS} are printed"
                )));
            }
        }
        Ok(Value::Tensor { shape, data: Arc::new(data) })
    }

    /// Packed elements are more than the bytes that were counted before.
    fn take(&self, known: usize, dims: &[Dim], tensor: &TensorValue, dtype: DType) -> Result<(), Problem> {
        let Some(tensor_value::Kind::Bytes(held)) = &tensor.kind else { return Ok(()) };
        let bytes = held.values.len();
        let count = packed(dtype, dims, known, bytes).min(bytes.saturating_mul(8));
        let left = self.left.get().checked_sub(count).ok_or_else(|| {
            let text = format!("{count} numbers in constants outside weight files are more than the {MOST_ELEMENTS} that are read");
            Problem::new(text)
        })?;
        self.left.set(left);
        Ok(())
    }
}

/// How many elements `bytes` are: known from the type, or they follow from the bytes.
fn packed(dtype: DType, dims: &[Dim], known: usize, bytes: usize) -> usize {
    let bits = dtype.bits().unwrap_or(8) as usize;
    if dims.contains(&None) { bytes.saturating_mul(8) / bits } else { known }
}

/// The elements, in range of their type.
fn elements(dtype: DType, dims: &[Dim], known: usize, tensor: &TensorValue) -> Result<Data, Problem> {
    use tensor_value::Kind;
    let wrong = |held: &str| Problem::new(format!("elements of type {dtype} are stored as {held}"));
    let data = match (&tensor.kind, dtype) {
        // An empty message may be left out.
        (None, _) => Data::zeros(dtype, 0),
        (Some(Kind::Floats(v)), DType::F32) => Data::Float(v.values.iter().map(|&x| f64::from(x)).collect()),
        (Some(Kind::Floats(_)), _) => return Err(wrong("32-bit floats")),
        (Some(Kind::Doubles(v)), DType::F64) => Data::Float(v.values.clone()),
        (Some(Kind::Doubles(_)), _) => return Err(wrong("64-bit floats")),
        (Some(Kind::Ints(v)), DType::U32) => {
            // The same bits.
            Data::Int(v.values.iter().map(|&n| i64::from(n as u32)).collect())
        }
        (Some(Kind::Ints(v)), dtype) if dtype.is_int() => {
            Data::Int(v.values.iter().map(|&n| i64::from(n)).collect())
        }
        (Some(Kind::Ints(_)), _) => return Err(wrong("32-bit integers")),
        (Some(Kind::LongInts(v)), dtype) if dtype.is_int() => Data::Int(v.values.clone()),
        (Some(Kind::LongInts(_)), _) => return Err(wrong("64-bit integers")),
        (Some(Kind::Bools(v)), DType::Bool) => Data::Bool(v.values.clone()),
        (Some(Kind::Bools(_)), _) => return Err(wrong("booleans")),
        (Some(Kind::Strings(v)), DType::Str) => Data::Str(v.values.clone()),
        (Some(Kind::Strings(_)), _) => return Err(wrong("texts")),
        (Some(Kind::Bytes(_)), DType::Str) => return Err(wrong("bytes")),
        (Some(Kind::Bytes(v)), dtype) => raw(dtype, dims, known, &v.values)?,
    };
    match data.fits(dtype) {
        true => Ok(data),
        false => Err(Problem::new(format!("an element is out of the range of {dtype}"))),
    }
}

/// Elements as they are in memory, those of less than a byte packed.
fn raw(dtype: DType, dims: &[Dim], known: usize, held: &[u8]) -> Result<Data, Problem> {
    let count = packed(dtype, dims, known, held.len());
    if bytes::packed_size(dtype, count) != Some(held.len()) {
        let text = format!("{count} elements of type {dtype} are stored in {} bytes", held.len());
        return Err(Problem::new(text));
    }
    Ok(bytes::unpack(dtype, held, count))
}
