//! Any bytes as the manifest of a package.

use std::path::Component;

/// It names a file of the package, or there is a reason.
pub fn try_bytes(bytes: &[u8]) {
    match coreml::package::model_path(bytes) {
        Ok(path) => {
            let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
            assert!(path.starts_with(coreml::package::DATA) && path.components().all(inside), "{path:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
