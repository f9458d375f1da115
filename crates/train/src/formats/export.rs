//! Export of a model to another format.

use std::fs;
use std::path::{Path, PathBuf};

use super::source::Model;
use super::vocabulary::Vocabulary;
use super::weight_type::WeightType;
use super::weights::save_in_folder;
use super::{CONFIG, ModelRef, gguf, llama2c};
use crate::error::TrainError;
use crate::fs::write_atomically;
use crate::tokenizer::Tokenizer;

/// A format that models are exported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Hugging Face's folder.
    HuggingFace,
    /// A GGUF file.
    Gguf,
    /// A llama2.c checkpoint.
    Llama2c,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HuggingFace, Self::Gguf, Self::Llama2c];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::HuggingFace => "hf",
            Self::Gguf => "gguf",
            Self::Llama2c => "llama2c",
        }
    }
}

/// Options of an export.
#[derive(Clone, Copy, Debug)]
pub struct ExportOptions<'a> {
    /// The format.
    pub to: Target,
    /// The number format of matrices.
    pub dtype: WeightType,
    /// The most bytes of tensors in a file; `None`: one file.
    pub shard_size: Option<u64>,
    /// A tokenizer that replaces the model's own.
    pub tokenizer: Option<&'a Path>,
}

/// What an export wrote.
#[derive(Debug)]
pub struct Exported {
    /// The files, weights first.
    pub files: Vec<PathBuf>,
    /// Bytes of all files.
    pub bytes: u64,
    /// Number of weights.
    pub params: usize,
    /// What the new format does not hold.
    pub lost: Vec<String>,
    /// What other programs do otherwise with the files.
    pub notes: Vec<String>,
}

/// Reads the model `from`, with its adapters merged, and writes it to `out`: a new or empty folder for Hugging Face's format, else a new file.
///
/// # Errors
/// As [`ModelRef::open`]; [`TrainError::Exists`] for an `out` with something in it; [`TrainError::Export`] for what the format cannot
/// hold; [`TrainError::Io`].
pub fn export<'m>(
    from: impl Into<ModelRef<'m>>,
    out: &Path,
    options: &ExportOptions<'_>,
) -> Result<Exported, TrainError> {
    let from = from.into();
    refuse_existing(out, options.to)?;
    let mut model = from.open(options.tokenizer)?;
    let from = from.shown();
    if let Some(parent) = out.parent() {
        fs::create_dir_all(parent).map_err(TrainError::io("create", parent))?;
    }
    let (mut lost, mut notes) = (Vec::new(), Vec::new());
    if let Some(unfit) = model.unfit.take() {
        lost.push(format!("the tokenizer: {unfit}"));
    }
    let files = match options.to {
        Target::HuggingFace => to_folder(&model, out, options, &mut lost)?,
        Target::Gguf => {
            let (files, of_others) = gguf::write(&model, out, options.dtype, options.shard_size)?;
            notes = of_others;
            files
        }
        Target::Llama2c => to_llama2c(&model, from, out, options, &mut lost)?,
    };
    let size = |path: &PathBuf| fs::metadata(path).map_err(TrainError::io("read", path)).map(|m| m.len());
    let bytes = files.iter().map(size).sum::<Result<u64, _>>()?;
    Ok(Exported { files, bytes, params: model.params.len(), lost, notes })
}

/// Refuses to replace anything.
pub(super) fn refuse_existing(out: &Path, to: Target) -> Result<(), TrainError> {
    let exists = || TrainError::Exists { path: out.to_owned() };
    if out.is_dir() && to == Target::HuggingFace {
        let mut entries = fs::read_dir(out).map_err(TrainError::io("read", out))?;
        return if entries.next().is_none() { Ok(()) } else { Err(exists()) };
    }
    // A dangling link exists too.
    if out.symlink_metadata().is_ok() { Err(exists()) } else { Ok(()) }
}

fn to_folder(
    model: &Model,
    dir: &Path,
    options: &ExportOptions<'_>,
    lost: &mut Vec<String>,
) -> Result<Vec<PathBuf>, TrainError> {
    let mut files = save_in_folder(dir, (&model.config, &model.params), options.dtype, options.shard_size)?;
    let dtype = match options.dtype {
        WeightType::F16 => "float16",
        WeightType::BF16 => "bfloat16",
        _ => "float32",
    };
    files.extend(model.metadata.write_companions(dir)?);
    if let Some(tokenizer) = &model.tokenizer {
        files.push(tokenizer.save_to_folder(dir)?);
        if tokenizer.json().is_none() {
            // Other programs read this one.
            match gguf::rebuilt_json(tokenizer, model.config.vocab) {
                Ok(json) => {
                    let path = dir.join("tokenizer.json");
                    write_atomically(&path, json.as_bytes())?;
                    files.push(path);
                }
                Err(problem) => lost.push(format!("a `tokenizer.json`: {problem}")),
            }
        }
    }
    // Last: without it, the folder is no model.
    let path = dir.join(CONFIG);
    let text = model.metadata.config_json_as(&model.config, model.tokenizer.as_ref(), dtype);
    write_atomically(&path, text.as_bytes())?;
    files.push(path);
    Ok(files)
}

fn to_llama2c(
    model: &Model,
    from: &Path,
    out: &Path,
    options: &ExportOptions<'_>,
    lost: &mut Vec<String>,
) -> Result<Vec<PathBuf>, TrainError> {
    let cannot = |problem: &str, remedy: &str| TrainError::Export {
        format: "a llama2.c checkpoint",
        problem: problem.to_owned(),
        remedy: remedy.to_owned(),
    };
    if options.shard_size.is_some() {
        return Err(cannot("it is one file", "Leave `--shard-size` out."));
    }
    llama2c::write(model, out, options.dtype)?;
    let mut files = vec![out.to_owned()];
    let Some(tokenizer) = &model.tokenizer else { return Ok(files) };
    match tokenizer_bin(tokenizer, from, model.config.vocab) {
        Ok(bytes) => {
            let path = out.with_file_name("tokenizer.bin");
            // The tokenizer of another model stays.
            if fs::read(&path).is_ok_and(|own| own != bytes) {
                lost.push(format!("the tokenizer: `{}` is another one", path.display()));
            } else {
                write_atomically(&path, &bytes)?;
                files.push(path);
            }
        }
        Err(problem) => lost.push(format!("the tokenizer: {problem}")),
    }
    Ok(files)
}

/// The `tokenizer.bin` of a model of `vocab` tokens that was read from `from`: the folder's own, if it is the same tokenizer.
fn tokenizer_bin(tokenizer: &Tokenizer, from: &Path, vocab: usize) -> Result<Vec<u8>, String> {
    let bytes = Vocabulary::of(tokenizer, vocab)?.llama2c_file()?;
    if let Some(bytes) =
        tokenizer.scored_pieces().and_then(|_| tokenizer.path()).and_then(|p| fs::read(p).ok())
    {
        return Ok(bytes);
    }
    let kept = from.join("tokenizer.bin");
    let same = |kept: &Tokenizer| {
        gguf::rebuilt_json(kept, vocab).ok().map(String::into_bytes).as_deref() == tokenizer.json()
    };
    match Tokenizer::load(&kept, Some(vocab)) {
        Ok(own) if same(&own) => fs::read(&kept).map_err(|e| e.to_string()),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests;
