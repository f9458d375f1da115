//! Checks every file of `tests/mil`. `BLESS=1` updates failed expectations, except recorded ones.

use std::path::Path;

/// The folder that `tests/oracle/record.py` writes; nothing else may, so that it holds results of other programs only.
const RECORDED: &str = "oracle";

fn all(kind: &str) {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/mil")).join(kind);
    let bless = kind != RECORDED && std::env::var_os("BLESS").is_some_and(|v| v == "1");
    let outcome = filetest::check_folder(&folder, bless).expect("tests/mil is part of the repository");
    for text in &outcome.skipped {
        println!("skipped: {text}");
    }
    assert!(outcome.files > 0, "{} holds no .mil file", folder.display());
    let failures: Vec<String> = outcome.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{} of {} files:\n{}", failures.len(), outcome.files, failures.join("\n"));
}

#[test]
fn read() {
    all("read");
}

#[test]
fn verify() {
    all("verify");
}

#[test]
fn run() {
    all("run");
}

#[test]
fn grad() {
    all("grad");
}

#[test]
fn oracle() {
    all(RECORDED);
}
