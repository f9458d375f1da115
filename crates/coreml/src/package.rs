//! The folder of an `.mlpackage`: `Manifest.json` names its items, which are below `Data`.
//!
//! Source: apple/coremltools, `modelpackage/src/ModelPackage.cpp`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// The file that names the items.
pub const MANIFEST: &str = "Manifest.json";
/// The folder of the items.
pub const DATA: &str = "Data";
/// The model file that is written, below [`DATA`]. `@model_path` is its folder.
pub const MODEL: &str = "com.apple.CoreML/model.mlmodel";
/// The folder of the weight files that is written, below [`DATA`].
pub const WEIGHTS: &str = "com.apple.CoreML/weights";

const AUTHOR: &str = "com.apple.CoreML";
const VERSION: &str = "1.0.0";

/// Why a manifest names no model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ManifestError {
    #[error("it is no manifest of a model: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its `rootModelIdentifier` is `{0}`, and there is no such item")]
    NoItem(String),
    #[error("the path of its model is `{0}`, which leaves the package")]
    Outside(String),
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    file_format_version: String,
    item_info_entries: BTreeMap<String, Item>,
    root_model_identifier: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct Item {
    #[serde(default)]
    author: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    name: String,
    path: String,
}

/// The path of the model file below the folder of the package.
///
/// # Errors
/// If `manifest` is none, or names no file of the package.
pub fn model_path(manifest: &[u8]) -> Result<PathBuf, ManifestError> {
    let manifest: Manifest = serde_json::from_slice(manifest)?;
    let Some(item) = manifest.item_info_entries.get(&manifest.root_model_identifier) else {
        return Err(ManifestError::NoItem(manifest.root_model_identifier));
    };
    let path = Path::new(&item.path);
    let inside = path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    match inside && path.components().next().is_some() {
        true => Ok(Path::new(DATA).join(path)),
        false => Err(ManifestError::Outside(item.path.clone())),
    }
}

/// The manifest of a package with the model file `model`, and a folder of weight files if `has_weights`. The identifiers of
/// the items follow from the model, so the same model gives the same package.
pub fn manifest(model: &[u8], has_weights: bool) -> String {
    let item = |description: &str, path: &str| Item {
        author: AUTHOR.to_owned(),
        description: format!("CoreML Model {description}"),
        name: path.rsplit('/').next().unwrap_or(path).to_owned(),
        path: path.to_owned(),
    };
    let content = xxh3_128(model);
    let root = identifier(content);
    let mut items = BTreeMap::from([(root.clone(), item("Specification", MODEL))]);
    if has_weights {
        items.insert(identifier(!content), item("Weights", WEIGHTS));
    }
    let manifest = Manifest {
        file_format_version: VERSION.to_owned(),
        item_info_entries: items,
        root_model_identifier: root,
    };
    // Texts alone: they can be written.
    serde_json::to_string_pretty(&manifest).unwrap_or_default()
}

/// A UUID of the kind whose bits its maker chooses (version 8).
fn identifier(bits: u128) -> String {
    let bits = bits & !(0xF << 76) & !(0x3 << 62) | 0x8 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_was_written_names_its_model() {
        for has_weights in [false, true] {
            let manifest = manifest(b"a model", has_weights);
            let path = model_path(manifest.as_bytes()).expect("it names one");
            assert_eq!(path, Path::new("Data/com.apple.CoreML/model.mlmodel"));
            assert_eq!(manifest.matches("\"path\"").count(), 1 + usize::from(has_weights));
        }
    }

    #[test]
    fn manifests_that_name_no_file_of_the_package_are_refused() {
        let with = |path: &str| {
            format!(
                r#"{{"fileFormatVersion":"1.0.0","itemInfoEntries":{{"a":{{"path":"{path}"}}}},"rootModelIdentifier":"a"}}"#
            )
        };
        assert_eq!(model_path(with("m.mlmodel").as_bytes()).expect("a file"), Path::new("Data/m.mlmodel"));
        for (manifest, want) in [
            ("[]".to_owned(), "it is no manifest of a model: "),
            ("{}".to_owned(), "it is no manifest of a model: missing field `fileFormatVersion`"),
            (
                with("../m").replace("\"a\"}", "\"b\"}"),
                "its `rootModelIdentifier` is `b`, and there is no such item",
            ),
            (with("../m"), "the path of its model is `../m`, which leaves the package"),
            (with("/etc/m"), "the path of its model is `/etc/m`, which leaves the package"),
            (with(""), "the path of its model is ``, which leaves the package"),
        ] {
            let error = model_path(manifest.as_bytes()).expect_err("no file").to_string();
            assert!(error.starts_with(want), "{error}");
        }
    }
}
