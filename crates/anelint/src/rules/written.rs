//! T1 to T7: how a text is written.

use super::chip::{Chip, Chips};
use super::evidence::{ran, says};
use super::matches::Matches;
use super::peers::*;
use super::rule::{Check, Confidence, Consequence, Route, Rule};
use super::subject::Subject;
use crate::facts;
use foldhash::{HashMap, HashMapExt};
use mil::text::tree::Item;

pub(super) const RULES: &[Rule] = &[T1, T2, T3, T4, T5, T6, T7];

const T1: Rule = Rule {
    id: "T1",
    title: "The text is `program(1.3)` with functions for `ios18`; 1.0, `ios16` and `ios17` are accepted too.",
    route: Route::InMemory,
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(ANE), says(FIELD_GUIDE), says(LORA)],
    repair: "Write `program(1.3)` and `func main<ios18>`.",
    check: Check::Text(header),
    ..Rule::DEFAULT
};

fn header(s: &Subject<'_>, matches: &mut Matches) {
    let version = s.tree.version;
    if !["1.0", "1.3"].contains(&version.text) {
        matches.at(version.span, || format!("the program says version {version}"));
    }
    for function in &s.functions {
        let opset = function.func.opset;
        match opset.text {
            "ios16" | "ios17" | "ios18" => {}
            "ios15" => matches
                .disputed(opset.span, "nobody reports having tried", || "a function says `ios15`".to_owned()),
            _ => matches.at(opset.span, || format!("a function says `{opset}`")),
        }
    }
}

const T2: Rule = Rule {
    id: "T2",
    title: "The program has a `buildInfo` dictionary.",
    route: Route::InMemory,
    consequence: Consequence::Refused,
    confidence: Confidence::B,
    source: &[says(ANE), says(LORA)],
    repair: "Write a `buildInfo` dictionary after `program(1.3)`.",
    check: Check::Text(build_info),
    ..Rule::DEFAULT
};

fn build_info(s: &Subject<'_>, matches: &mut Matches) {
    if !s.tree.attrs.iter().any(|a| a.name.text == "buildInfo") {
        matches.at(s.tree.version.span, || "the program has no `buildInfo`".to_owned());
    }
}

const T3: Rule = Rule {
    id: "T3",
    title: "Every argument is the name of a value; constants are separate operations.",
    route: Route::InMemory,
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(ORION), says(LUENGNAT), says(LORA)],
    repair: "Give the constant a name with `const`, and pass the name.",
    check: Check::Text(inline_literals),
    ..Rule::DEFAULT
};

fn inline_literals(s: &Subject<'_>, matches: &mut Matches) {
    for call in s.calls() {
        for arg in &call.statement.args {
            for item in arg.value.items() {
                if let Item::Literal(literal) = item {
                    matches.at(literal.span, || {
                        format!("`{}` of `{}` is a literal", arg.name, call.statement.op)
                    });
                }
            }
        }
    }
}

const T4: Rule = Rule {
    id: "T4",
    title: "Names are bare words, and every value's type precedes it.",
    route: Route::InMemory,
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(LORA), says(LUENGNAT)],
    repair: "Write names without `%`, each after its type.",
    check: Check::Never("another text cannot be read at all: reading says so"),
    ..Rule::DEFAULT
};

const T5: Rule = Rule {
    id: "T5",
    title: "The compiler reserves some short names, and values of those names become zeros.",
    chips: Chips::Only(&[Chip::M1]),
    route: Route::InMemory,
    consequence: Consequence::WrongNumbers,
    confidence: Confidence::C,
    source: &[says(ANE_TRAIN), ran(ANE)],
    conflict: Some("maderix/ANE and others call their inputs `x` without harm"),
    repair: "Give the value another name.",
    check: Check::Text(reserved_names),
};

fn reserved_names(s: &Subject<'_>, matches: &mut Matches) {
    let made = s.calls().flat_map(|t| &t.statement.outputs);
    for param in s.functions.iter().flat_map(|s| &s.func.params).chain(made) {
        if RESERVED.contains(&param.name.text) {
            matches.at(param.name.span, || format!("a value is called `{}`", param.name));
        }
    }
}

/// Names that ane-train saw fail on M1.
const RESERVED: &[&str] = &["C", "add", "c", "diff", "eps", "mean", "mul", "rsqrt", "std", "var", "x", "y"];

const T6: Rule = Rule {
    id: "T6",
    title: "A weight file's first record is at byte 64; the text names records, not data.",
    consequence: Consequence::Refused,
    confidence: Confidence::A,
    source: &[says(ORION), says(ANE), says(LORA)],
    repair: "Write `offset = uint64(64)` for the first tensor of a file.",
    check: Check::Text(blob_offsets),
    ..Rule::DEFAULT
};

fn blob_offsets(s: &Subject<'_>, matches: &mut Matches) {
    let first = facts::FIRST_RECORD.value;
    for (path, offset, span) in s.blobs() {
        // Data of the first record begins a record's length behind it.
        if offset < first || offset % first != 0 || offset == 2 * first {
            matches.at(span, || format!("offset {offset} of `{path}` is no record; the first is at {first}"));
        }
    }
}

const T7: Rule = Rule {
    id: "T7",
    title: "Each tensor has a weight file of its own.",
    chips: Chips::Only(&[Chip::M1]),
    route: Route::InMemory,
    consequence: Consequence::Refused,
    confidence: Confidence::B,
    source: &[says(GO_PORT)],
    repair: "Write each tensor into its own file, at offset 64.",
    check: Check::Text(shared_blob),
    ..Rule::DEFAULT
};

fn shared_blob(s: &Subject<'_>, matches: &mut Matches) {
    let mut offsets = HashMap::new();
    for (path, offset, span) in s.blobs() {
        if *offsets.entry(path).or_insert(offset) != offset {
            matches.at(span, || format!("`{path}` holds several tensors"));
        }
    }
}
