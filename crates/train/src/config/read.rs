//! Reading and validating configurations.

use std::path::Path;

use super::problem::{Problem, Spelling};
use super::{ModelConfig, hugging_face, short, validate};
use crate::error::TrainError;
use crate::fs::read_limited;

/// The largest configuration that is read: parsed, it takes 16 times as much memory.
const LARGEST: u64 = 4 << 20;

impl ModelConfig {
    /// Reads and validates a configuration file: JSON if its name ends in `.json` or its first character is `{`, with Hugging
    /// Face's keys if there is a `hidden_size` or `model_type` and our short ones if not; otherwise TOML with our short keys.
    ///
    /// # Errors
    /// [`TrainError::Io`], [`TrainError::ConfigSyntax`] with line and column, or
    /// [`TrainError::ConfigValue`] with the key.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let bytes = read_limited(path, "configuration", LARGEST)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let source = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
            TrainError::Io { doing: "read", path: path.to_owned(), source }
        })?;
        let is_json = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"))
            || text.trim_start().starts_with('{');
        let parsed = if is_json { Self::from_json(&text) } else { short::from_toml(&text) };
        parsed.map_err(|problem| problem.in_file(path))
    }

    /// Parses either JSON form, found inside the file `path`.
    pub(crate) fn from_json_in(path: &Path, text: &str) -> Result<Self, TrainError> {
        Self::from_json(text).map_err(|problem| problem.in_file(path))
    }

    /// Parses either JSON form.
    pub(super) fn from_json(text: &str) -> Result<Self, Problem> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(Problem::json)?;
        if !value.is_object() {
            let problem = "this is JSON, and not an object with the keys of a model".to_owned();
            return Err(Problem::Syntax { line: 1, column: 1, problem });
        }
        if ["hidden_size", "model_type"].iter().any(|key| value.get(key).is_some()) {
            hugging_face::from_json(text, &value)
        } else {
            short::from_json(text)
        }
    }

    /// Refuses values that no model can have.
    ///
    /// # Errors
    /// [`TrainError::ConfigValue`] with the first impossible key, in our short spelling.
    pub fn validate(&self) -> Result<(), TrainError> {
        validate::check(self, Spelling::Short).map_err(|problem| problem.without_file())
    }
}
