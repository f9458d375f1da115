//! What a path names: a MIL text or a model file, itself or in a folder. The content decides, not the name.

use crate::error::CommandError;
use coreml::package::{MANIFEST, model_path};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// The name of a program in a folder.
const PROGRAM: &str = "model.mil";
/// The name of a model file in a folder.
const MODEL: &str = "model.mlmodel";
/// Files of compiled models that are no ML programs.
const CLASSIC: [&str; 2] = ["model.espresso.net", "model.espresso.weights"];
/// The deepest nesting of folders that is searched: `X.mlpackage/Data/com.apple.CoreML/X.mlmodelc`.
const DEEPEST: usize = 4;
/// Entries of a folder that are looked at: a model has few.
const ENTRIES: usize = 10_000;
/// Bytes of a manifest that are read.
const LONGEST_MANIFEST: u64 = 1 << 20;
/// How archives begin.
const ZIP: &[u8] = b"PK\x03\x04";

/// A program in a file.
#[derive(Debug)]
pub struct Found {
    /// As messages call it: what the user would name to mean it.
    pub name: String,
    /// The file.
    pub file: PathBuf,
    /// Whether it is a model file, and no text.
    pub is_model: bool,
}

/// The program that `path` names.
///
/// # Errors
/// If there is none, or several, or the file cannot be read.
pub fn find(path: &Path) -> Result<Found, CommandError> {
    if path.is_dir() {
        return in_folder(path);
    }
    let unread = |e: io::Error| {
        let text = format!("cannot read `{}`: {e}", path.display());
        CommandError::input(text, "Name a MIL text, a model file, or a folder with either in it.")
    };
    let mut begin = Vec::new();
    File::open(path).and_then(|f| f.take(ZIP.len() as u64).read_to_end(&mut begin)).map_err(unread)?;
    if begin == ZIP {
        return Err(CommandError::input(
            format!("`{}` is an archive", path.display()),
            "Unpack it, and name what is in it.",
        ));
    }
    let is_model = coreml::is_model(&begin);
    Ok(Found { name: path.display().to_string(), file: path.to_owned(), is_model })
}

/// The program in `folder`, however deep: the one that is nearest.
fn in_folder(folder: &Path) -> Result<Found, CommandError> {
    let mut level = vec![folder.to_owned()];
    let (mut entries, mut classic, mut broken) = (0, false, None);
    for _ in 0..=DEEPEST {
        let mut found = Vec::new();
        for folder in &level {
            match directly_in(folder) {
                Ok(program) => found.extend(program),
                // Another kind of manifest perhaps; it is told of if there is no program.
                Err(error) => broken = broken.or(Some(error)),
            }
        }
        classic |= level.iter().any(|f| CLASSIC.iter().any(|name| f.join(name).is_file()));
        if found.len() > 1 {
            found.sort_by(|a, b| a.name.cmp(&b.name));
            let names = found.iter().map(|p| format!("`{}`", p.name)).collect::<Vec<_>>().join(", ");
            return Err(CommandError::input(
                format!("there are {} programs in `{}`", found.len(), folder.display()),
                format!("Name one of them: {names}."),
            ));
        }
        if let Some(found) = found.pop() {
            return Ok(found);
        }
        let below = level.iter().filter_map(|f| fs::read_dir(f).ok()).flatten().flatten();
        let below = below.take(ENTRIES - entries).inspect(|_| entries += 1);
        let below = below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
        level = below.map(|e| e.path()).collect();
    }
    if let Some(error) = broken {
        return Err(error);
    }
    if classic {
        return Err(CommandError::input(
            format!("`{}` is a compiled classic neural network, and no ML program", folder.display()),
            "Convert the model that it was made from with coremltools: `ct.convert(…, convert_to=\"mlprogram\")`.",
        ));
    }
    Err(CommandError::input(
        format!("there is no model.mil and no model file in `{}`", folder.display()),
        "Name a MIL text, or a folder as X.mlmodelc and X.mlpackage are.",
    ))
}

/// The program of a folder itself: a text, a package's model file, or a model file.
fn directly_in(folder: &Path) -> Result<Option<Found>, CommandError> {
    let text = folder.join(PROGRAM);
    if text.is_file() {
        return Ok(Some(Found { name: text.display().to_string(), file: text, is_model: false }));
    }
    let manifest = folder.join(MANIFEST);
    if manifest.is_file() {
        let mut bytes = Vec::new();
        let read = File::open(&manifest).and_then(|f| f.take(LONGEST_MANIFEST).read_to_end(&mut bytes));
        let refuse = |why: String| {
            CommandError::input(
                format!("cannot read `{}`: {why}", manifest.display()),
                "Copy the package again, or name the .mlmodel file in it.",
            )
        };
        read.map_err(|e| refuse(e.to_string()))?;
        let model = folder.join(model_path(&bytes).map_err(|e| refuse(e.to_string()))?);
        if model.is_file() {
            return Ok(Some(Found { name: folder.display().to_string(), file: model, is_model: true }));
        }
        // A compiled model may be all that is left in it.
    }
    let model = folder.join(MODEL);
    let found = || Found { name: model.display().to_string(), file: model.clone(), is_model: true };
    Ok(model.is_file().then(found))
}
