//! Programs that Apple's compiler, coremltools and an engine's users wrote: they are read, printed back and checked.

use mil::text;
use std::path::{Path, PathBuf};

fn programs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/programs");
    let mut found = Vec::new();
    let mut folders = vec![folder.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "mil") {
                found.push(path);
            }
        }
    }
    assert!(found.len() >= 17, "{found:?}");
    found.sort();
    found
}

#[test]
fn every_program_is_read_printed_back_and_right() {
    for path in programs() {
        let name = path.display().to_string();
        let source = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        let read = text::read(&source);
        assert!(!read.report.has_errors(), "{}", read.report.render(&name, &source));
        let printed = text::format(&read.tree);
        let again = text::read(&printed);
        assert!(again.tree == read.tree, "{name}: what it prints is another program");
        assert_eq!(text::format(&again.tree), printed, "{name}");
        // Texts of packages come from a printer of its own; some have lists and a classifier. The crate `coreml` tests them.
        let is_package = name.contains("programs/mlpackage");
        // What Apple's compiler and coremltools wrote is in that layout already.
        if !name.contains("programs/ane") && !is_package {
            assert_eq!(printed, source.trim_end().replace("\n\n", "\n"), "{name}");
        }
        let checked = text::check(&read);
        let report = &checked.report;
        let is_sound = if is_package { !report.has_errors() } else { report.diagnostics.is_empty() };
        assert!(is_sound, "{}", report.render(&name, &source));
        assert!(checked.opaque.is_empty() || is_package, "{name}");
    }
}
