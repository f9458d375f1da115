//! What commands share: JSON on stdout, files that the user named, and the help of model flags.

use crate::error::CommandError;
use crate::ui::Ui;
use std::io::Write;
use std::path::Path;

/// The help of a flag that takes `folder`, or a file with a model.
pub fn model_help(folder: &str) -> String {
    format!("{folder}, {}", ::train::formats::MODEL_FILES)
}

/// Prints `value` as JSON on stdout.
pub fn print_json(ui: &Ui, value: &impl serde::Serialize) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| CommandError::failure(format!("cannot write the result as JSON: {e}")))?;
    ui.result(&text)
}

/// Refuses a file that cannot be written, before its content is computed.
pub fn check_place(path: Option<&Path>) -> Result<(), CommandError> {
    let Some(path) = path else { return Ok(()) };
    let new = !path.exists();
    std::fs::File::options().append(true).create(true).open(path).map_err(|e| not_written(path, &e))?;
    if new {
        std::fs::remove_file(path).map_err(|e| not_written(path, &e))?;
    }
    Ok(())
}

/// Writes `text` to a file that the user named.
pub fn write_file(path: &Path, text: &str) -> Result<(), CommandError> {
    std::fs::write(path, text).map_err(|e| not_written(path, &e))
}

/// Appends `value` as a line of JSON to a file that the user named.
pub fn append_line(path: &Path, value: &impl serde::Serialize) -> Result<(), CommandError> {
    let mut line = serde_json::to_vec(value)
        .map_err(|e| CommandError::failure(format!("cannot write a result as JSON: {e}")))?;
    line.push(b'\n');
    let file = std::fs::File::options().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(&line)).map_err(|e| not_written(path, &e))
}

fn not_written(path: &Path, error: &std::io::Error) -> CommandError {
    let message = format!("cannot write `{}`: {error}", path.display());
    CommandError::input(message, "Name a file in a folder that exists and may be written.")
}
