//! Runs what fuzzing has found worth keeping: see `fuzz/README.md`.

#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

/// Runs `target` on each file of its folder.
fn each(folder: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(folder);
    let files = std::fs::read_dir(&folder).expect("the corpus is in the repository");
    let mut paths: Vec<_> = files.map(|f| f.expect("readable").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    for path in paths {
        println!("{}", path.display()); // Shown where it fails.
        target(&std::fs::read(&path).expect("readable"));
    }
}

#[test]
fn texts() {
    each("text", targets::text::try_bytes);
}

#[test]
fn blobs() {
    each("blob", targets::blob::try_bytes);
}

#[test]
fn models() {
    each("model", targets::model::try_bytes);
}

#[test]
fn runs() {
    each("run", targets::run::try_bytes);
}
