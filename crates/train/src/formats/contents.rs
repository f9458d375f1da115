//! What the files of a model hold besides its configuration, from their headers alone.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What the files of a model hold besides its configuration.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// What the model calls its architecture.
    pub(super) architecture: Option<String>,
    /// The longest text that it is made for, in tokens.
    pub(super) context: Option<usize>,
    /// The files with weights.
    pub(super) files: Vec<PathBuf>,
    /// Number format, numbers and bytes of each tensor.
    pub(super) tensors: Vec<(String, u64, u64)>,
    /// The licence as the model names it.
    pub(super) licence: Option<String>,
    /// Whether it has a chat template.
    pub(super) has_chat_template: bool,
    /// Keys of its configuration that nothing is known of.
    pub(super) unknown_keys: Vec<String>,
}

/// The licence that a model card names between its first two lines of dashes, else the first line of a file `LICENSE`.
pub(super) fn licence_in(dir: &Path) -> Option<String> {
    let card = head_of(&dir.join("README.md")).unwrap_or_default();
    let front =
        card.strip_prefix("---").and_then(|rest| rest.split_once("\n---")).map_or("", |(front, _)| front);
    let named = front.lines().find_map(|line| line.strip_prefix("license:")).map(str::trim);
    if let Some(name) = named.filter(|name| !name.is_empty()) {
        return Some(name.trim_matches(['"', '\'']).to_owned());
    }
    let text = ["LICENSE", "LICENSE.txt", "LICENSE.md"].iter().find_map(|name| head_of(&dir.join(name)))?;
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(|line| line.chars().take(80).collect())
}

/// The first 64 KiB of a text.
fn head_of(path: &Path) -> Option<String> {
    if !path.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(1 << 16).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
