//! The model that is measured.

use crate::error::CommandError;
use train::config::ModelConfig;
use train::demand::{self, Use};
use train::model::Precision;

/// The element type of programs and surfaces, as results name it: `storage f16`.
pub fn storage_name(storage: Precision) -> String {
    format!("storage {}", storage.name())
}

/// The model of that name; refused if this machine has too little memory for it.
pub fn model(name: &str) -> Result<ModelConfig, CommandError> {
    let config = ModelConfig::find(name)?;
    demand::check(&config, Use::train(1))?;
    Ok(config)
}
