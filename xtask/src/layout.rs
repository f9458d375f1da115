//! Checks the layout of the sources: no long file without a reason, no cycle of `use` between files.
//!
//! A file uses another if an unindented `use` line or a path in its code names something of it; test modules inside a file
//! do not count. A re-exported name counts as a use of the file that defines it; a module's re-exports of its own
//! submodules do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The most lines of a file without a reason.
const LINES: usize = 400;

/// How the reason for a long file begins.
const REASON: &str = "Long because";

/// How the reason for a cycle begins, in one of its files.
const CIRCLE: &str = "Circle because";

/// Number of lines at a file's start that are searched for a reason.
const FIRST: usize = 12;

/// Checks every crate and prints what is wrong.
pub fn run(root: &Path) -> ExitCode {
    if holds(root) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Checks every crate, prints what is wrong, and returns whether all is well.
pub fn holds(root: &Path) -> bool {
    let mut problems = Vec::new();
    let crates = fs::read_dir(root.join("crates")).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = crates.map(|entry| entry.path().join("src")).collect();
    folders.sort();
    for folder in folders.iter().filter(|f| f.is_dir()) {
        let sources = Sources::read(folder);
        let shown = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
        for module in sources.modules.values().filter(|m| is_too_long(&m.text)) {
            let lines = module.text.lines().count();
            problems.push(format!(
                "{} has {lines} lines: split it, or say why in its first lines: `//! {REASON} …`",
                shown(&module.path)
            ));
        }
        let circles = sources.circles().into_iter();
        for circle in circles.filter(|c| !c.iter().any(|m| says(&sources.modules[m].text, CIRCLE))) {
            let files: Vec<String> = circle.iter().map(|m| shown(&sources.modules[m].path)).collect();
            problems.push(format!(
                "use one another, directly or indirectly: {}; move the shared part into a file below, or say why in the first lines \
                 of one: `//! {CIRCLE} …`",
                files.join(", ")
            ));
        }
    }
    for problem in &problems {
        eprintln!("error: {problem}");
    }
    problems.is_empty()
}

fn is_too_long(text: &str) -> bool {
    text.lines().count() > LINES && !says(text, REASON)
}

fn says(text: &str, reason: &str) -> bool {
    text.lines().take(FIRST).any(|line| line.contains(reason))
}

/// The path of a module: names from the root of its crate.
type Name = Vec<String>;

/// The files of a crate.
#[derive(Default)]
struct Sources {
    modules: BTreeMap<Name, Module>,
}

struct Module {
    path: PathBuf,
    text: String,
    uses: Vec<Use>,
}

/// A name that a file takes from elsewhere.
struct Use {
    path: Vec<String>,
    /// Its name in this file; empty for a path in the code.
    name: String,
    /// Whether it is re-exported.
    public: bool,
}

impl Sources {
    fn read(folder: &Path) -> Sources {
        let mut sources = Sources::default();
        sources.add(folder, &[]);
        sources
    }

    fn add(&mut self, folder: &Path, above: &[String]) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let mut name = above.to_vec();
            if path.is_dir() {
                name.push(stem);
                self.add(&path, &name);
            } else if path.extension().is_some_and(|e| e == "rs") {
                if !matches!(stem.as_str(), "lib" | "main" | "mod") {
                    name.push(stem);
                }
                let text = fs::read_to_string(&path).unwrap_or_default();
                let uses = all_uses(&text);
                self.modules.insert(name, Module { path, text, uses });
            }
        }
    }

    /// The module that defines `path` as seen from module `from`; `None` if it is of another crate.
    fn find(&self, from: &Name, path: &[String], depth: usize) -> Option<Name> {
        let mut at: Name = from.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => {
                at.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|word| word == "super") {
                    at.pop();
                    rest = &rest[1..];
                }
            }
            first => {
                at.push(first.to_owned());
                if !self.modules.contains_key(&at) {
                    return None;
                }
                rest = &rest[1..];
            }
        }
        while let Some(word) = rest.first() {
            at.push(word.clone());
            if !self.modules.contains_key(&at) {
                at.pop();
                break;
            }
            rest = &rest[1..];
        }
        let module = self.modules.get(&at)?;
        let passed_on = rest.first().and_then(|word| module.uses.iter().find(|u| u.name == *word));
        match passed_on {
            Some(passed) if depth < 8 => self.find(&at, &passed.path, depth + 1),
            _ => Some(at),
        }
    }

    /// Groups of modules that use each other, directly or indirectly.
    fn circles(&self) -> Vec<Vec<Name>> {
        let edges: BTreeMap<&Name, BTreeSet<Name>> = self
            .modules
            .iter()
            .map(|(name, module)| {
                let found = module.uses.iter().filter_map(|u| {
                    let to = self.find(name, &u.path, 0)?;
                    (to != *name && !(u.public && to.starts_with(name))).then_some(to)
                });
                (name, found.collect())
            })
            .collect();
        let reached: BTreeMap<&Name, BTreeSet<&Name>> =
            edges.keys().map(|&name| (name, reached(name, &edges))).collect();
        let mut circles: Vec<Vec<Name>> = Vec::new();
        for (&name, beyond) in &reached {
            let is_new = !circles.iter().any(|circle| circle.contains(name));
            if beyond.contains(name) && is_new {
                let with = beyond.iter().filter(|other| reached[**other].contains(name));
                circles.push(with.map(|&other| other.clone()).collect());
            }
        }
        circles
    }
}

/// Every module that `from` uses, directly or indirectly.
fn reached<'a>(from: &Name, edges: &'a BTreeMap<&Name, BTreeSet<Name>>) -> BTreeSet<&'a Name> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&Name> = edges.get(from).into_iter().flatten().collect();
    while let Some(name) = waiting.pop() {
        if reached.insert(name) {
            waiting.extend(edges.get(name).into_iter().flatten());
        }
    }
    reached
}

/// How an unindented `use` line begins.
const USE: [&str; 4] = ["use ", "pub use ", "pub(crate) use ", "pub(super) use "];

/// The names in the unindented `use` lines, and the paths in the code before the tests.
fn all_uses(text: &str) -> Vec<Use> {
    let mut found = uses(text);
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or(text);
    for line in code.lines().filter(|line| !USE.iter().any(|word| line.starts_with(word))) {
        let line = line.split("//").next().unwrap_or(line);
        let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        // `::name` is another crate.
        for word in words.filter(|w| w.contains("::") && !w.starts_with(':')) {
            let path = word.split("::").filter(|w| !w.is_empty()).map(str::to_owned).collect();
            found.push(Use { path, name: String::new(), public: false });
        }
    }
    found
}

/// The names in the unindented `use` lines.
fn uses(text: &str) -> Vec<Use> {
    let mut found = Vec::new();
    let mut statement: Option<(bool, String)> = None;
    for line in text.lines() {
        let begins = USE.into_iter().find_map(|word| line.strip_prefix(word));
        match (&mut statement, begins) {
            (None, Some(rest)) => statement = Some((line.starts_with("pub"), rest.to_owned())),
            (Some((_, so_far)), _) => so_far.push_str(line.trim()),
            (None, None) => {}
        }
        if let Some((public, whole)) = statement.take_if(|(_, s)| s.trim_end().ends_with(';')) {
            let mut names = Vec::new();
            tree(whole.trim_end().trim_end_matches(';'), &[], &mut names);
            found.extend(names.into_iter().map(|(path, name)| Use { path, name, public }));
        }
    }
    found
}

/// Expands a use tree, such as `a::{b, c::{self, d as e}}`, into paths below `above`.
fn tree(text: &str, above: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let text = text.trim();
    let mut path = above.to_vec();
    match text.split_once('{') {
        Some((before, inner)) => {
            path.extend(before.split("::").map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned));
            let inner = inner.trim_end().strip_suffix('}').unwrap_or(inner);
            let (mut depth, mut start) = (0usize, 0);
            for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
                match c {
                    '{' => depth += 1,
                    '}' => depth = depth.saturating_sub(1),
                    ',' if depth == 0 => {
                        tree(&inner[start..at], &path, found);
                        start = (at + 1).min(inner.len());
                    }
                    _ => {}
                }
            }
        }
        None if text.is_empty() => {}
        None => {
            let (names, alias) = text.split_once(" as ").map_or((text, None), |(n, a)| (n, Some(a.trim())));
            let names = names.split("::").map(str::trim);
            // `a::{self}` is `a`; `self::a` is relative to this module.
            let keeps_self = path.is_empty();
            path.extend(names.filter(|&w| w != "self" || keeps_self).map(str::to_owned));
            let name = alias.map(str::to_owned).or_else(|| path.last().cloned()).unwrap_or_default();
            found.push((path, name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Sources {
        let module = |(name, text): &(&str, &str)| {
            let name: Name = name.split("::").filter(|w| !w.is_empty()).map(str::to_owned).collect();
            (name, Module { path: PathBuf::new(), text: (*text).to_owned(), uses: all_uses(text) })
        };
        Sources { modules: files.iter().map(module).collect() }
    }

    #[test]
    fn a_circle_is_found_whatever_leads_through_it() {
        let files = [
            ("", "pub use a::Thing;\n"),
            ("a", "use crate::b::{\n    c::Deep,\n    Other as Word,\n};\nuse std::fmt;\n"),
            ("b", "pub struct Other;\n"),
            ("b::c", "use super::super::Thing;\n#[cfg(test)]\nmod tests {\n    use super::*;\n}\n"),
        ];
        let circles = sources(&files).circles();
        let [circle] = &circles[..] else { panic!("one circle: {circles:?}") };
        assert_eq!(circle.iter().map(|name| name.join("::")).collect::<Vec<_>>(), ["a", "b::c"]);
        let straight = sources(&[files[0], files[1], files[2], ("b::c", "use crate::b::Other;\n")]);
        assert!(straight.circles().is_empty());
        let inline = [
            ("", "pub mod a;\nfn f() { ::b::f(); a::f() }\n"),
            (
                "a",
                "fn f() -> crate::b::Word { super::b::g() }\n#[cfg(test)]\nmod tests { fn t() { crate::f() } }\n",
            ),
            ("b", "fn g() {\n    crate::a::f() // as a line of code\n}\n"),
        ];
        let circles = sources(&inline).circles();
        assert_eq!(circles, [[["a".to_owned()].to_vec(), ["b".to_owned()].to_vec()]]);
    }

    #[test]
    fn a_long_file_gives_a_reason() {
        let long = "//! Words.\n".repeat(LINES + 1);
        assert!(is_too_long(&long) && !is_too_long(&long[11..]));
        assert!(!is_too_long(&format!("//! {REASON} it is a table.\n{long}")));
    }
}
