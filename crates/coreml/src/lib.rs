//! Core ML model files: `.mlmodel`, and `.mlpackage` with its weights.
//!
//! A model file that is an ML program is MIL in another notation. [`read`] turns it into the text, [`write`](fn@write) text into a
//! model file; all else (checking, running, differentiating) is `mil`'s, on the text. Other kinds of models are refused
//! by name.
//!
//! Not here: compiled models (`.mlmodelc`), which are text already; copying weight files.
#![forbid(unsafe_code)]

mod dtype;
mod error;
mod model;
mod notes;
pub mod package;
mod proto;
mod read;
mod schema;
mod wire;
mod write;

pub use error::{ModelError, Problem};
pub use model::is_model;

use mil::Report;
use mil::text::tree::Tree;
use prost::Message;
use std::io::{Read, Seek};

/// A model as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelText {
    /// The program, laid out as Core ML's compiler does. `@model_path` is the folder of the model file.
    pub text: String,
    /// What of the model's description the text does not hold, a sentence each: images, defaults, author.
    pub lost: Vec<String>,
}

/// Reads the model file of `length` bytes that `file` is.
///
/// It takes at most 256 MiB and a few seconds, whatever the bytes are: limits hold before anything is decoded.
///
/// # Errors
/// If it is another kind of model than an ML program, is damaged, has a part that MIL text cannot hold, or is larger than
/// what is read.
pub fn read(file: &mut (impl Read + Seek), length: u64) -> Result<ModelText, ModelError> {
    let decoded = model::decode(file, length)?;
    let text = mil::text::format(&read::tree(&decoded)?);
    Ok(ModelText { text, lost: notes::not_in_text(&decoded.description) })
}

/// A model file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Inputs whose sizes the text leaves open without a default: the file says that any will do.
    pub any_size: Vec<String>,
}

/// Writes the model file of a text: an ML program, with a description of its inputs and outputs. Weights stay in the files
/// that the text names, relative to the folder of the model file. Comments are left out.
///
/// [`read`] gives the text back: laid out, it is the same to the last letter.
///
/// # Errors
/// If the text has a part that model files do not have.
pub fn write(tree: &Tree<'_>) -> Result<ModelFile, Report> {
    let refused = |diagnostic| Report { diagnostics: vec![diagnostic] };
    let program = write::program(tree).map_err(refused)?;
    let described = write::description(tree).map_err(refused)?;
    let model = proto::model::Model {
        specification_version: described.version,
        description: Some(described.description),
        ml_program: Some(program),
    };
    Ok(ModelFile { bytes: model.encode_to_vec(), any_size: described.any_size })
}
