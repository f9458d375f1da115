//! The outermost message of a model file: which kind of model it is, and where its program is.
//!
//! Only heads of fields are read, and of an ML program its description and program; a classic network of gigabytes is
//! refused after a few bytes.

use crate::error::ModelError;
use crate::proto::mil::Program;
use crate::proto::model::ModelDescription;
use crate::schema;
use crate::wire::{LONGEST_HEAD, head};
use prost::Message;
use std::io::{self, Read, Seek, SeekFrom};

/// Bytes of a description that are read: texts for people are in it.
const LONGEST_DESCRIPTION: u64 = 4 << 20;
/// Bytes of an encoded program that are read. Weights are not in it.
const LONGEST_PROGRAM: u64 = 48 << 20;

/// Fields of a model: a version, a description, whether it is updatable, and one of its kind.
const FIELDS: usize = 64;

/// The field of an ML program.
const ML_PROGRAM: u32 = 502;

/// The fields of all other kinds of models.
const KINDS: [(u32, &str); 33] = [
    (200, "pipeline of models, a classifier"),
    (201, "pipeline of models, a regressor"),
    (202, "pipeline of models"),
    (300, "generalized linear regressor"),
    (301, "support vector regressor"),
    (302, "tree ensemble regressor"),
    (303, "classic neural network, a regressor"),
    (304, "Bayesian probit regressor"),
    (400, "generalized linear classifier"),
    (401, "support vector classifier"),
    (402, "tree ensemble classifier"),
    (403, "classic neural network, a classifier"),
    (404, "k-nearest-neighbors classifier"),
    (500, "classic neural network"),
    (501, "item similarity recommender"),
    (555, "custom model"),
    (556, "linked model"),
    (560, "class confidence thresholding"),
    (600, "one-hot encoder"),
    (601, "imputer"),
    (602, "feature vectorizer"),
    (603, "dictionary vectorizer"),
    (604, "scaler"),
    (606, "categorical mapping"),
    (607, "normalizer"),
    (609, "array feature extractor"),
    (610, "non-maximum suppression"),
    (900, "identity model"),
    (2000, "text classifier"),
    (2001, "word tagger"),
    (2002, "vision feature print"),
    (2003, "sound analysis preprocessing"),
    (3000, "serialized model"),
];

/// Kinds of Apple's own, which no public schema describes.
const APPLE_KINDS: [(u32, &str); 3] =
    [(2004, "gazetteer"), (2005, "word embedding"), (2006, "audio feature print")];

/// Whether a file that begins with `bytes` is a Core ML model: its first field is the version of the specification or the
/// description. No text begins with either byte.
pub fn is_model(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(0x08 | 0x12))
}

/// An ML program, decoded.
pub struct Decoded {
    pub description: ModelDescription,
    pub program: Program,
}

/// Decodes the model of `length` bytes that `file` is.
///
/// # Errors
/// If it is no ML program, is damaged, or larger than what is read.
pub fn decode(file: &mut (impl Read + Seek), length: u64) -> Result<Decoded, ModelError> {
    let (mut at, mut description, mut program) = (0, None, None);
    let mut fields = 0;
    while at < length {
        fields += 1;
        if fields > FIELDS {
            return Err(ModelError::Wire { what: format!("more than {FIELDS} fields"), at });
        }
        let field = head_at(file, at)?;
        let inside = at + field.head as u64;
        let end = inside.checked_add(field.body).filter(|&end| end <= length);
        let kind = KINDS.iter().chain(&APPLE_KINDS).find(|(number, _)| *number == field.number);
        if let Some((_, kind)) = kind.filter(|_| field.is_delimited) {
            return Err(ModelError::Kind { kind });
        }
        let Some(end) = end else {
            let rest = length - inside;
            let what = format!("field {} of {} bytes, of which {rest} are there", field.number, field.body);
            return Err(ModelError::Wire { what, at });
        };
        let place = match field.number {
            2 => Some((&mut description, LONGEST_DESCRIPTION, "bytes of description")),
            ML_PROGRAM => Some((&mut program, LONGEST_PROGRAM, "bytes of program")),
            _ => None,
        };
        if let Some((place, most, what)) = place.filter(|_| field.is_delimited) {
            if field.body > most {
                return Err(ModelError::TooLarge { what, most });
            }
            if place.is_some() {
                let what = format!("a second field {}", field.number);
                return Err(ModelError::Wire { what, at });
            }
            file.seek(SeekFrom::Start(inside))?;
            let mut bytes = Vec::new();
            file.take(field.body).read_to_end(&mut bytes)?;
            if (bytes.len() as u64) < field.body {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            *place = Some((bytes, inside));
        }
        at = end;
    }
    let (bytes, start) = program.ok_or(match description {
        Some(_) => ModelError::Empty { what: "a description" },
        None => ModelError::Empty { what: "a version" },
    })?;
    schema::examine(&bytes, start)?;
    let program = Program::decode(&*bytes).map_err(|e| undecoded(&e, start))?;
    let (bytes, start) = description.unwrap_or_default();
    schema::examine_description(&bytes, start)?;
    let description = ModelDescription::decode(&*bytes).map_err(|e| undecoded(&e, start))?;
    Ok(Decoded { description, program })
}

/// The decoder found a mistake: mostly a text that is no UTF-8.
fn undecoded(error: &prost::DecodeError, at: u64) -> ModelError {
    let text = error.to_string();
    let what = text.strip_prefix("failed to decode Protobuf message: ").unwrap_or(&text).to_owned();
    ModelError::Wire { what, at }
}

fn head_at(file: &mut (impl Read + Seek), at: u64) -> Result<crate::wire::Head, ModelError> {
    file.seek(SeekFrom::Start(at))?;
    let mut bytes = Vec::with_capacity(LONGEST_HEAD);
    file.take(LONGEST_HEAD as u64).read_to_end(&mut bytes)?;
    head(&bytes).map_err(|what| ModelError::Wire { what, at })
}
