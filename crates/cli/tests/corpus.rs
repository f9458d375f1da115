//! Runs what fuzzing has found worth keeping: see `fuzz/README.md`.

#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/src/npy.rs"]
mod npy;

#[test]
fn arrays() {
    corpus::each("npy", npy::try_bytes);
}
