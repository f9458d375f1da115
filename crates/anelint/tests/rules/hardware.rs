//! Eight programs that a real engine compiled: nothing in them is refused.

use super::check;
use anelint::rules::Chip;
use mil::diag::Severity;
use std::fs;
use std::path::Path;

#[test]
fn programs_that_hardware_compiled_have_no_errors() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/programs/ane"));
    let mut seen = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "mil") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a text");
        for finding in check(&text, &[Chip::M4]) {
            let diagnostic = finding.diagnostic();
            println!("{}: {}: {}", path.display(), diagnostic.code, diagnostic.message);
            assert!(diagnostic.severity < Severity::Error, "{}: {diagnostic:?}", path.display());
        }
        seen += 1;
    }
    assert_eq!(seen, 8);
}
