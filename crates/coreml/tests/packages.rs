//! Packages that coremltools saved, beside the text that a printer of its own makes of each: `tests/programs/mlpackage`.

use coreml::package::{MANIFEST, model_path};
use mil::text::tree::Tree;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/programs/mlpackage");

/// The folders, in order.
fn programs() -> Vec<PathBuf> {
    let entries = fs::read_dir(FOLDER).expect("a folder").map(|e| e.expect("readable").path());
    let mut folders: Vec<PathBuf> = entries.filter(|p| p.join("model.mlpackage").is_dir()).collect();
    folders.sort();
    assert_eq!(folders.len(), 18);
    folders
}

/// The text of the package in `folder`.
fn text_of(folder: &Path) -> String {
    let package = folder.join("model.mlpackage");
    let manifest = fs::read(package.join(MANIFEST)).expect("a manifest");
    let model = package.join(model_path(&manifest).expect("a model file"));
    let length = model.metadata().expect("a file").len();
    let read = coreml::read(&mut File::open(&model).expect("a file"), length);
    read.unwrap_or_else(|e| panic!("{}: {e}", folder.display())).text
}

fn parsed<'s>(text: &'s str, what: &str) -> Tree<'s> {
    let read = mil::text::read(text);
    assert!(!read.report.has_errors(), "{what}: {}", read.report.render("model.mil", text));
    read.tree
}

/// `text` as model file and back.
fn there_and_back(text: &str) -> String {
    let tree = parsed(text, "a text");
    let file = coreml::write(&tree).unwrap_or_else(|e| panic!("{}", e.render("model.mil", text)));
    let length = file.bytes.len() as u64;
    coreml::read(&mut std::io::Cursor::new(file.bytes), length).expect("it was written just now").text
}

#[test]
fn a_package_is_the_text_that_another_printer_makes_of_it() {
    for folder in programs() {
        let (own, other) = (text_of(&folder), fs::read_to_string(folder.join("model.mil")).expect("a text"));
        let (a, b) = (parsed(&own, "the package"), parsed(&other, "the text"));
        assert!(a == b, "{}:\n{}\n\n{}", folder.display(), own, mil::text::format(&b));
        assert_eq!(own, mil::text::format(&a), "{}", folder.display());
        let checked = mil::text::check(&mil::text::read(&own));
        assert!(
            !checked.report.has_errors(),
            "{}",
            checked.report.render(&folder.display().to_string(), &own)
        );
    }
}

#[test]
fn a_package_that_is_written_again_has_the_same_text() {
    for folder in programs() {
        let text = text_of(&folder);
        assert_eq!(there_and_back(&text), text, "{}", folder.display());
    }
}

/// Every text of the repository that Core ML can hold. A few hold what model files do not: operations of other opsets, inputs that
/// Core ML does not pass.
#[test]
fn a_text_that_is_written_and_read_again_is_the_same() {
    let (mut same, mut refused) = (0, Vec::new());
    for folder in ["mil/read", "mil/run", "mil/grad", "mil/oracle", "programs/ane", "programs/coremlc"] {
        let folder = Path::new(FOLDER).join("../..").join(folder);
        for path in texts(&folder) {
            let source = fs::read_to_string(&path).expect("a text");
            let read = mil::text::read(&source);
            if mil::text::check(&read).report.has_errors() {
                continue;
            }
            let mut tree = read.tree;
            tree.comments.clear();
            match coreml::write(&tree) {
                Ok(_) => {
                    let text = mil::text::format(&tree);
                    assert_eq!(there_and_back(&text), text, "{}", path.display());
                    same += 1;
                }
                Err(report) => {
                    assert_eq!(report.diagnostics.len(), 1);
                    refused.push(report.diagnostics[0].message.clone());
                }
            }
        }
    }
    for message in &refused {
        let known = [
            "a model file cannot hold a tensor_buffer",
            "Core ML passes ",
            "Core ML's states are ",
            "a model file of opset ",
            "` is of opset ",
        ];
        assert!(known.iter().any(|k| message.contains(k)), "{message}");
    }
    assert!(same > 300, "{same} of {}", same + refused.len());
}

fn texts(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("readable").path();
            match path.is_dir() {
                true => open.push(path),
                false if path.extension().is_some_and(|e| e == "mil") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}
