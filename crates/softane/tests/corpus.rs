//! Runs what fuzzing has found worth keeping: see `fuzz/README.md`.

#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use corpus::each;

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
fn packages() {
    each("package", targets::package::try_bytes);
}

#[test]
fn runs() {
    each("run", targets::run::try_bytes);
}
