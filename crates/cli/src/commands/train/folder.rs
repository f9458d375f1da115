//! The default folder of a run.

use crate::error::CommandError;
use crate::ui::{Ui, word};
use std::path::{Path, PathBuf};
use train::checkpoint::RunFolder;

/// The parent of default folders.
const RUNS: &str = "runs";

/// The default folder of a run: the first of `runs/NAME`, `runs/NAME-2`, … that is empty or new; to resume, the last one
/// with a checkpoint.
pub fn choose_folder(ui: &Ui, name: &str, resume: bool) -> Result<PathBuf, CommandError> {
    let first = Path::new(RUNS).join(name);
    let numbered = |n: u32| Path::new(RUNS).join(format!("{name}-{n}"));
    let mut folders = std::iter::once(first.clone()).chain((2..=u32::MAX).map(numbered));
    if resume {
        let mut last = None;
        for folder in folders.take_while(|folder| folder.exists()) {
            if RunFolder::at(&folder).newest()?.is_some() {
                last = Some(folder);
            }
        }
        return Ok(last.unwrap_or(first));
    }
    let free = |folder: &PathBuf| match std::fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) => e.kind() != std::io::ErrorKind::NotADirectory || !folder.exists(),
    };
    let folder = folders.find(free).unwrap_or_else(|| first.clone());
    if folder != first {
        let (first, folder, go_on) = (first.display(), folder.display(), word(&first));
        ui.say(format!(
            "`{first}` is in use, so this run goes to `{folder}` (to go on: --resume --out {go_on})"
        ));
    }
    Ok(folder)
}
