//! Notes about keys of a model's configuration that are not read.

use crate::ui::Ui;
use std::path::Path;
use train::formats::unknown_keys;

/// Warns of keys of the model at `path` that nothing is known of: what they say is not computed.
pub fn note(ui: &Ui, path: &Path) {
    let keys: Vec<String> = unknown_keys(path).into_iter().map(|key| format!("`{key}`")).collect();
    match keys.as_slice() {
        [] => {}
        [key] => ui.warn(format!("nothing is known of {key} in the model's configuration; it is not read")),
        keys => ui.warn(format!(
            "nothing is known of {} in the model's configuration; they are not read",
            keys.join(", ")
        )),
    }
}
