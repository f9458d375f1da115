//! The plan of kernels that an engine accepts: printed in a line, and cached per chip and system.
//!
//! The cache is a small JSON file in the user's cache folder, or in the folder that [`VARIABLE`] names; if that is empty,
//! nothing is cached. A file that cannot be read or written is ignored.

use crate::ui::Ui;
use crate::units;
use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;
use train::fs::write_atomically;
use train::model::Rung;
use train::run::{ChosenRung, CompileEvent};

/// Environment variable with the folder, if not the user's cache folder.
const VARIABLE: &str = "BACKPROPANE_CACHE";

/// Name of the file in that folder.
const FILE: &str = "ladder.json";

/// The cached plans of this user's engines.
#[derive(Debug, Default)]
pub struct Ladder {
    /// The file; `None` where there is no Neural Engine.
    path: Option<PathBuf>,
    /// The chip and the system.
    key: OnceLock<String>,
}

impl Ladder {
    /// The cache on this machine.
    pub fn here() -> Ladder {
        let path = if ane::HAS_FFI { folder().map(|folder| folder.join(FILE)) } else { None };
        Ladder { path, key: OnceLock::new() }
    }

    fn key(&self) -> &str {
        self.key.get_or_init(|| format!("{}, {}", crate::machine::chip(), crate::machine::system()))
    }

    /// The name of a rung for each chip and system.
    fn all(&self) -> BTreeMap<String, String> {
        let text = self.path.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// The rung that this machine's engine accepted before, if it refused one above it.
    pub fn known(&self) -> Option<&'static Rung> {
        self.path.as_ref()?;
        self.all().get(self.key()).and_then(|name| Rung::named(name))
    }

    /// Prints which plan the engine refused or accepted, and caches the accepted one.
    pub fn report(&self, ui: &Ui, event: CompileEvent<'_>) {
        match event {
            CompileEvent::Layers(_) => {}
            CompileEvent::Refused { next, error, pause, .. } => {
                let wait = match pause.as_secs() {
                    0 => String::new(),
                    n => format!(", after a pause of {n} s for its compiler"),
                };
                ui.say(format!("{error}; next: {}{wait}", next.about));
            }
            CompileEvent::Accepted(ChosenRung { rung, refused: 0, .. }) => {
                if rung.place() > 0 && self.known().is_some_and(|known| known.name == rung.name) {
                    ui.say(format!(
                        "kernels: {}, as this engine accepted before{}",
                        rung.about,
                        self.place()
                    ));
                }
            }
            CompileEvent::Accepted(ChosenRung { rung, refused, .. }) => {
                self.remember(rung);
                let plans = units::plural(refused, "plan");
                let (about, place) = (rung.about, self.place());
                ui.say(format!("kernels: {about}, as the engine refused {plans} before this{place}"));
            }
        }
    }

    fn place(&self) -> String {
        match &self.path {
            Some(path) => format!(" (remembered in `{}`)", path.display()),
            None => String::new(),
        }
    }

    fn remember(&self, rung: &Rung) {
        let Some(path) = &self.path else { return };
        let mut all = self.all();
        all.insert(self.key().to_owned(), rung.name.to_owned());
        let folder = path.parent().map(std::fs::create_dir_all);
        if let (Some(Ok(())), Ok(text)) = (folder, serde_json::to_vec_pretty(&all)) {
            // On failure the next run searches again.
            let _ = write_atomically(path, &text);
        }
    }
}

/// The folder of this program in the user's cache folder.
pub fn folder() -> Option<PathBuf> {
    if let Some(folder) = env::var_os(VARIABLE) {
        return (!folder.is_empty()).then(|| PathBuf::from(folder));
    }
    let given = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let caches = match env::consts::OS {
        "macos" => given("HOME")?.join("Library/Caches"),
        "windows" => given("LOCALAPPDATA")?,
        _ => given("XDG_CACHE_HOME").or_else(|| given("HOME").map(|home| home.join(".cache")))?,
    };
    Some(caches.join("backpropane"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: PathBuf) -> Ladder {
        Ladder { path: Some(path), key: OnceLock::new() }
    }

    #[test]
    fn an_accepted_plan_is_cached_beside_those_of_other_chips() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new").join(FILE);
        assert!(at(path.clone()).known().is_none());
        at(path.clone()).remember(Rung::named("baked").unwrap());
        assert_eq!(at(path.clone()).known().map(|r| r.name), Some("baked"));
        let mut all = at(path.clone()).all();
        all.insert("another chip".to_owned(), "fine".to_owned());
        std::fs::write(&path, serde_json::to_vec(&all).unwrap()).unwrap();
        at(path.clone()).remember(Rung::named("apart").unwrap());
        assert_eq!(at(path.clone()).known().map(|r| r.name), Some("apart"));
        assert_eq!(at(path).all().len(), 2);
    }

    #[test]
    fn a_cache_that_is_damaged_or_cannot_be_written_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for text in ["", "{", "[1]", "{\"a\": 3}"] {
            std::fs::write(&path, text).unwrap();
            assert!(at(path.clone()).known().is_none(), "{text}");
        }
        let unknown = BTreeMap::from([(at(path.clone()).key().to_owned(), "seven")]);
        std::fs::write(&path, serde_json::to_vec(&unknown).unwrap()).unwrap();
        assert!(at(path.clone()).known().is_none());
        // There is a file in place of the folder.
        let below = path.join("folder").join(FILE);
        at(below.clone()).remember(Rung::named("fine").unwrap());
        assert!(at(below).known().is_none());
    }
}
