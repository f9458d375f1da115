//! Any bytes as MIL text.

use mil::text;

/// A text that parses is printed as an equal text; checking reports errors and never panics.
pub fn try_bytes(bytes: &[u8]) {
    let source = match text::from_utf8(bytes) {
        Ok(source) => source,
        Err(report) => {
            assert!(report.has_errors());
            return;
        }
    };
    let read = text::read(source);
    let checked = text::check(&read);
    let shown = checked.report.render("any.mil", source);
    assert_eq!(shown.is_empty(), checked.report.diagnostics.is_empty());
    if read.report.has_errors() {
        assert!(checked.report.has_errors());
        return;
    }
    let printed = text::format(&read.tree);
    let again = text::read(&printed);
    assert!(!again.report.has_errors(), "{}\n{printed}", again.report.render("printed.mil", &printed));
    assert!(again.tree == read.tree, "printed, it is another program:\n{printed}");
    assert_eq!(text::format(&again.tree), printed);
    if checked.report.has_errors() {
        return;
    }
    if let Ok(program) = checked.executable() {
        let printed = text::print(&program);
        if let Err(report) = text::load(&printed) {
            panic!("{}\n{printed}", report.render("printed.mil", &printed));
        }
    }
}
