//! The checks of T1 to T7: how a text is written.

use super::{Matches, Subject};
use crate::facts;
use foldhash::{HashMap, HashMapExt};
use mil::text::tree::Item;

/// Names that ane-train saw fail on M1.
const RESERVED: &[&str] = &["C", "add", "c", "diff", "eps", "mean", "mul", "rsqrt", "std", "var", "x", "y"];

/// T1.
pub(super) fn header(s: &Subject<'_>, hits: &mut Matches) {
    let version = s.tree.version;
    if !["1.0", "1.3"].contains(&version.text) {
        hits.at(version.span, || format!("the program says version {version}"));
    }
    for scene in &s.scenes {
        let opset = scene.func.opset;
        match opset.text {
            "ios16" | "ios17" | "ios18" => {}
            "ios15" => hits
                .disputed(opset.span, "nobody reports having tried", || "a function says `ios15`".to_owned()),
            _ => hits.at(opset.span, || format!("a function says `{opset}`")),
        }
    }
}

/// T2.
pub(super) fn build_info(s: &Subject<'_>, hits: &mut Matches) {
    if !s.tree.attrs.iter().any(|a| a.name.text == "buildInfo") {
        hits.at(s.tree.version.span, || "the program has no `buildInfo`".to_owned());
    }
}

/// T3.
pub(super) fn inline_literals(s: &Subject<'_>, hits: &mut Matches) {
    for step in s.steps() {
        for arg in &step.op.args {
            for item in arg.value.items() {
                if let Item::Literal(literal) = item {
                    hits.at(literal.span, || format!("`{}` of `{}` is a literal", arg.name, step.op.op));
                }
            }
        }
    }
}

/// T5.
pub(super) fn reserved_names(s: &Subject<'_>, hits: &mut Matches) {
    let made = s.steps().flat_map(|t| &t.op.outputs);
    for param in s.scenes.iter().flat_map(|s| &s.func.params).chain(made) {
        if RESERVED.contains(&param.name.text) {
            hits.at(param.name.span, || format!("a value is called `{}`", param.name));
        }
    }
}

/// T6.
pub(super) fn blob_offsets(s: &Subject<'_>, hits: &mut Matches) {
    let first = facts::FIRST_RECORD.value;
    for (path, offset, span) in s.blobs() {
        // Data of the first record begins a record's length behind it.
        if offset < first || offset % first != 0 || offset == 2 * first {
            hits.at(span, || format!("offset {offset} of `{path}` is no record; the first is at {first}"));
        }
    }
}

/// T7.
pub(super) fn shared_blob(s: &Subject<'_>, hits: &mut Matches) {
    let mut offsets = HashMap::new();
    for (path, offset, span) in s.blobs() {
        if *offsets.entry(path).or_insert(offset) != offset {
            hits.at(span, || format!("`{path}` holds several tensors"));
        }
    }
}
