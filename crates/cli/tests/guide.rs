//! What docs/mil.md shows is what commands print; `TRYCMD=overwrite cargo test --test guide` writes it anew.

#[test]
fn the_guide_shows_what_commands_print() {
    trycmd::TestCases::new().case(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/mil.md"));
}
