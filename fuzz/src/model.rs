//! Any bytes as a Core ML model file.

use mil::text;
use std::io::Cursor;

/// What is read is a text without a mistake of syntax, laid out; as a model file again it is the same text, but for inputs whose
/// sizes nothing described: the file that is written says that they may be any.
pub fn try_bytes(bytes: &[u8]) {
    let read = |bytes: &[u8]| coreml::read(&mut Cursor::new(bytes), bytes.len() as u64);
    let source = match read(bytes) {
        Ok(read) => read.text,
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.hint().is_empty());
            return;
        }
    };
    let parsed = text::read(&source);
    assert!(!parsed.report.has_errors(), "{}\n{source}", parsed.report.render("any.mlmodel", &source));
    assert_eq!(text::format(&parsed.tree), source);
    let _ = text::check(&parsed);
    if let Ok(file) = coreml::write(&parsed.tree) {
        let again = read(&file.bytes).unwrap_or_else(|e| panic!("{e}\n{source}"));
        if file.any_size.is_empty() {
            assert_eq!(again.text, source);
        }
    }
}
