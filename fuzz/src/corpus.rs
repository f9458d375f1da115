//! The inputs of targets that are kept: read by the tests `corpus` of `softane` and `train`.

use std::path::Path;

/// Runs `target` on each file of the corpus `folder`.
pub fn each(folder: &str, mut target: impl FnMut(&[u8])) {
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
