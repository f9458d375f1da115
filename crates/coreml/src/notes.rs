//! What a model's description has besides a program: what of it the text holds, and what it does not.

use crate::proto::model::{FeatureDescription, ModelDescription, StringEntry, feature_type};

/// The key of the version of the text that a model file was made from: `1.0` or `1.3`.
pub const TEXT_VERSION: &str = "backpropane.text-version";

/// The prefix of keys that coremltools writes.
const COREMLTOOLS: &str = "com.github.apple.coremltools.";

/// What of the description MIL text does not hold, a sentence each.
pub fn not_in_text(description: &ModelDescription) -> Vec<String> {
    let mut notes = Vec::new();
    let functions = description.functions.iter().flat_map(|f| f.input.iter().chain(&f.output));
    for feature in description.input.iter().chain(&description.output).chain(functions) {
        notes.extend(of_feature(feature));
    }
    if !description.training_input.is_empty() {
        notes.push("the model has inputs for training".to_owned());
    }
    if let Some(metadata) = &description.metadata {
        let texts = [
            ("short description", &metadata.short_description),
            ("version", &metadata.version_string),
            ("author", &metadata.author),
            ("license", &metadata.license),
        ];
        let said = texts.iter().filter(|(_, text)| !text.is_empty()).map(|(what, _)| *what);
        let said: Vec<&str> = said.collect();
        if !said.is_empty() {
            notes.push(format!("the model states its {}", said.join(", ")));
        }
        let own = |entry: &&StringEntry| !entry.key.starts_with(COREMLTOOLS) && entry.key != TEXT_VERSION;
        match metadata.user_defined.iter().filter(own).count() {
            0 => {}
            1 => notes.push("the model has a note of its maker's".to_owned()),
            n => notes.push(format!("the model has {n} notes of its maker's")),
        }
    }
    notes
}

fn of_feature(feature: &FeatureDescription) -> Option<String> {
    let ty = feature.r#type.as_ref()?;
    let default = matches!(&ty.kind, Some(feature_type::Kind::MultiArray(array)) if array.default.is_some());
    match &ty.kind {
        Some(feature_type::Kind::Image(_)) => Some(format!("`{}` is an image", feature.name)),
        _ if default => Some(format!("`{}` has a default value", feature.name)),
        _ if ty.is_optional => Some(format!("`{}` is optional", feature.name)),
        _ => None,
    }
}
