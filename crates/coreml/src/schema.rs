//! What decoding a program would cost, before any of it is decoded: a few bytes can be thousands of empty messages.
//!
//! The walk over the bytes reads the table of the schema below. In a program, a field that the table lacks is an error, as
//! the decoder would leave it out without a word; a description has much that no program needs.

use crate::error::ModelError;
use crate::proto::mil as proto;
use crate::proto::model as description;
use crate::wire::{Fields, Payload};

/// Messages within messages: the decoder takes 100.
const DEEPEST: usize = 90;
/// Memory that decoded messages may take, in bytes.
pub const MOST_MEMORY: usize = 48 << 20;
/// Numbers and texts of all constants that are not in weight files; of packed bits each is one more.
pub const MOST_ELEMENTS: usize = 3 << 20;

/// A message of the schema.
struct Shape {
    /// As errors call it.
    name: &'static str,
    /// Bytes of one in memory, without what it points to.
    size: usize,
    fields: &'static [(u32, Kind)],
}

/// What a field holds.
enum Kind {
    /// A number, a boolean, an enumeration.
    Scalar,
    /// A text.
    Text,
    /// Numbers, each of so many bytes in memory, encoded in as many bytes or as varints.
    Elements(usize, Width),
    /// Texts that are elements of a constant.
    Texts,
    /// Elements of a constant as they are in memory.
    Raw,
    Message(&'static Shape),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Varint,
    Fixed,
}

macro_rules! shapes {
    ($($name:ident: $title:literal, $ty:ty { $($number:literal => $kind:expr),* $(,)? })*) => {
        $(static $name: Shape = Shape {
            name: $title,
            size: size_of::<$ty>(),
            fields: { use Kind::*; &[$(($number, $kind)),*] },
        };)*
    };
}

shapes! {
    PROGRAM: "a program", proto::Program {
        1 => Scalar, 2 => Message(&FUNCTION_ENTRY), 3 => Text, 4 => Message(&ATTRIBUTE),
    }
    FUNCTION_ENTRY: "an entry", proto::FunctionEntry { 1 => Text, 2 => Message(&FUNCTION) }
    ATTRIBUTE: "an attribute", proto::AttributeEntry { 1 => Text, 2 => Message(&VALUE) }
    FUNCTION: "a function", proto::Function {
        1 => Message(&NAMED_TYPE), 2 => Text, 3 => Message(&BLOCK_ENTRY), 4 => Message(&ATTRIBUTE),
    }
    BLOCK_ENTRY: "an entry", proto::BlockEntry { 1 => Text, 2 => Message(&BLOCK) }
    BLOCK: "a block", proto::Block {
        1 => Message(&NAMED_TYPE), 2 => Text, 3 => Message(&OPERATION), 4 => Message(&ATTRIBUTE),
    }
    OPERATION: "an operation", proto::Operation {
        1 => Text, 2 => Message(&ARGUMENT_ENTRY), 3 => Message(&NAMED_TYPE), 4 => Message(&BLOCK), 5 => Message(&ATTRIBUTE),
    }
    ARGUMENT_ENTRY: "an entry", proto::ArgumentEntry { 1 => Text, 2 => Message(&ARGUMENT) }
    ARGUMENT: "an argument", proto::Argument { 1 => Message(&BINDING) }
    BINDING: "an argument", proto::Binding { 1 => Text, 2 => Message(&VALUE) }
    NAMED_TYPE: "a declaration", proto::NamedValueType { 1 => Text, 2 => Message(&TYPE) }
    TYPE: "a type", proto::ValueType {
        1 => Message(&TENSOR_TYPE), 2 => Message(&LIST_TYPE), 3 => Message(&TUPLE_TYPE), 4 => Message(&DICTIONARY_TYPE),
        5 => Message(&STATE_TYPE),
    }
    TENSOR_TYPE: "a tensor type", proto::TensorType {
        1 => Scalar, 2 => Scalar, 3 => Message(&DIMENSION), 4 => Message(&ATTRIBUTE),
    }
    LIST_TYPE: "a list type", proto::ListType { 1 => Message(&TYPE), 2 => Message(&DIMENSION) }
    TUPLE_TYPE: "a tuple type", proto::TupleType { 1 => Message(&TYPE) }
    DICTIONARY_TYPE: "a dictionary type", proto::DictionaryType { 1 => Message(&TYPE), 2 => Message(&TYPE) }
    STATE_TYPE: "a state type", proto::StateType { 1 => Message(&TYPE) }
    DIMENSION: "a dimension", proto::Dimension { 1 => Message(&CONSTANT_DIMENSION), 2 => Message(&UNKNOWN_DIMENSION) }
    CONSTANT_DIMENSION: "a dimension", proto::ConstantDimension { 1 => Scalar }
    UNKNOWN_DIMENSION: "a dimension", proto::UnknownDimension { 1 => Scalar }
    VALUE: "a value", proto::Value { 1 => Text, 2 => Message(&TYPE), 3 => Message(&IMMEDIATE), 5 => Message(&BLOB_FILE) }
    IMMEDIATE: "a value", proto::ImmediateValue {
        1 => Message(&TENSOR_VALUE), 2 => Message(&LIST_VALUE), 3 => Message(&LIST_VALUE), 4 => Message(&DICTIONARY_VALUE),
    }
    BLOB_FILE: "a value", proto::BlobFileValue { 1 => Text, 2 => Scalar }
    LIST_VALUE: "a list", proto::ListValue { 1 => Message(&VALUE) }
    DICTIONARY_VALUE: "a dictionary", proto::DictionaryValue { 1 => Message(&PAIR) }
    PAIR: "a dictionary", proto::KeyValuePair { 1 => Message(&VALUE), 2 => Message(&VALUE) }
    TENSOR_VALUE: "a tensor", proto::TensorValue {
        1 => Message(&FLOATS), 2 => Message(&INTS), 3 => Message(&BOOLS), 4 => Message(&STRINGS), 5 => Message(&LONG_INTS),
        6 => Message(&DOUBLES), 7 => Message(&BYTES),
    }
    FLOATS: "a tensor", proto::Floats { 1 => Elements(4, Width::Fixed) }
    INTS: "a tensor", proto::Ints { 1 => Elements(4, Width::Varint) }
    BOOLS: "a tensor", proto::Bools { 1 => Elements(1, Width::Varint) }
    STRINGS: "a tensor", proto::Strings { 1 => Texts }
    LONG_INTS: "a tensor", proto::LongInts { 1 => Elements(8, Width::Varint) }
    DOUBLES: "a tensor", proto::Doubles { 1 => Elements(8, Width::Fixed) }
    BYTES: "a tensor", proto::Bytes { 1 => Raw }
}

shapes! {
    DESCRIPTION: "a description", description::ModelDescription {
        1 => Message(&FEATURE), 10 => Message(&FEATURE), 11 => Text, 12 => Text, 13 => Message(&FEATURE),
        20 => Message(&FUNCTION_DESCRIPTION), 21 => Text, 50 => Message(&FEATURE), 100 => Message(&METADATA),
    }
    FUNCTION_DESCRIPTION: "a description", description::FunctionDescription {
        1 => Text, 2 => Message(&FEATURE), 3 => Message(&FEATURE), 4 => Text, 5 => Text, 6 => Message(&FEATURE),
    }
    METADATA: "metadata", description::Metadata { 1 => Text, 2 => Text, 3 => Text, 4 => Text, 100 => Message(&STRING_ENTRY) }
    STRING_ENTRY: "metadata", description::StringEntry { 1 => Text, 2 => Text }
    FEATURE: "a feature", description::FeatureDescription { 1 => Text, 2 => Text, 3 => Message(&FEATURE_TYPE) }
    FEATURE_TYPE: "a feature", description::FeatureType {
        4 => Message(&IMAGE), 5 => Message(&ARRAY), 8 => Message(&STATE),
    }
    STATE: "a state", description::StateFeatureType { 1 => Message(&ARRAY) }
    ARRAY: "an array", description::ArrayFeatureType {
        1 => Elements(8, Width::Varint), 21 => Message(&SHAPES), 31 => Message(&RANGES),
    }
    SHAPES: "an array", description::EnumeratedShapes { 1 => Message(&SHAPE) }
    SHAPE: "an array", description::Shape { 1 => Elements(8, Width::Varint) }
    RANGES: "an array", description::ShapeRange { 1 => Message(&RANGE) }
    RANGE: "an array", description::SizeRange { 1 => Scalar, 2 => Scalar }
    IMAGE: "an image", description::ImageFeatureType { 1 => Scalar, 2 => Scalar, 21 => Message(&IMAGE_SIZES) }
    IMAGE_SIZES: "an image", description::EnumeratedSizes { 1 => Message(&IMAGE_SIZE) }
    IMAGE_SIZE: "an image", description::ImageSize { 1 => Scalar, 2 => Scalar }
}

/// Checks that `bytes`, which begin at byte `start` of the file, are a description that memory holds.
///
/// # Errors
/// As [`examine`], but for fields that the schema lacks.
pub fn examine_description(bytes: &[u8], start: u64) -> Result<(), ModelError> {
    Walk { memory: 0, elements: 0, is_open: true }.message(&DESCRIPTION, bytes, start, 0)
}

/// Checks that `bytes`, which begin at byte `start` of the file, are a program of the schema that memory holds.
///
/// # Errors
/// If they are no messages of the schema, have a field that it lacks, are nested too deep, or would take more than
/// [`MOST_MEMORY`] or [`MOST_ELEMENTS`].
pub fn examine(bytes: &[u8], start: u64) -> Result<(), ModelError> {
    Walk { memory: 0, elements: 0, is_open: false }.message(&PROGRAM, bytes, start, 0)
}

struct Walk {
    memory: usize,
    elements: usize,
    /// Whether fields that the schema lacks are left out.
    is_open: bool,
}

impl Walk {
    fn message(&mut self, shape: &Shape, bytes: &[u8], start: u64, depth: usize) -> Result<(), ModelError> {
        if depth == DEEPEST {
            let what = format!("messages nested more than {DEEPEST} levels deep");
            return Err(ModelError::Wire { what, at: start });
        }
        self.take(shape.size)?;
        let mut fields = Fields::new(bytes, start);
        loop {
            let at = fields.at();
            let Some((field, inside)) = fields.next()? else { return Ok(()) };
            let Some((_, kind)) = shape.fields.iter().find(|(number, _)| *number == field.number) else {
                if self.is_open {
                    continue;
                }
                return Err(ModelError::UnknownField { what: shape.name, field: field.number });
            };
            match (kind, field.payload) {
                (Kind::Scalar, Payload::Varint) => {}
                (Kind::Text | Kind::Texts, Payload::Bytes(text)) => {
                    if let Err(e) = std::str::from_utf8(text) {
                        let at = inside + e.valid_up_to() as u64;
                        return Err(ModelError::Wire { what: "a text that is no UTF-8".to_owned(), at });
                    }
                    self.count(usize::from(matches!(kind, Kind::Texts)))?;
                    self.take(size_of::<String>() + text.len())?;
                }
                (Kind::Raw, Payload::Bytes(raw)) => {
                    self.count(raw.len())?;
                    self.take(raw.len())?;
                }
                (Kind::Elements(size, Width::Fixed), Payload::Bytes(packed)) => {
                    self.count(packed.len() / size)?;
                    self.take(packed.len())?;
                }
                (Kind::Elements(size, Width::Varint), Payload::Bytes(packed)) => {
                    let count = packed.iter().filter(|&&byte| byte < 0x80).count();
                    self.count(count)?;
                    self.take(count * size)?;
                }
                (Kind::Elements(size, Width::Varint), Payload::Varint)
                | (Kind::Elements(size, Width::Fixed), Payload::Fixed) => {
                    self.count(1)?;
                    self.take(*size)?;
                }
                (Kind::Message(shape), Payload::Bytes(bytes)) => {
                    self.message(shape, bytes, inside, depth + 1)?;
                }
                _ => {
                    let what =
                        format!("field {} of {} in another encoding than its own", field.number, shape.name);
                    return Err(ModelError::Wire { what, at });
                }
            }
        }
    }

    fn take(&mut self, bytes: usize) -> Result<(), ModelError> {
        self.memory = self.memory.saturating_add(bytes);
        at_most(self.memory, MOST_MEMORY, "bytes of decoded messages")
    }

    fn count(&mut self, elements: usize) -> Result<(), ModelError> {
        self.elements = self.elements.saturating_add(elements);
        at_most(self.elements, MOST_ELEMENTS, "numbers in constants outside weight files")
    }
}

fn at_most(got: usize, most: usize, what: &'static str) -> Result<(), ModelError> {
    if got <= most { Ok(()) } else { Err(ModelError::TooLarge { what, most: most as u64 }) }
}
