//! For each rule that a text decides: programs that break it, and programs that do not, in `examples/<ID>.mil`.
//!
//! A line `//! broken on CHIP` or `//! sound on CHIP` begins a program; other lines `//! …` are notes. `{equal N}` and
//! `{varied N}` stand for a constant of N channels, with one number for all or with different ones.

use super::check;
use anelint::rules::{self, Chip};
use mil::diag::Place;
use std::fs;
use std::path::{Path, PathBuf};

/// A program of a file, and whether it breaks the file's rule on a chip.
struct Example {
    chip: Chip,
    broken: bool,
    text: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules/examples")
}

/// The examples of rule `id`; none, if it has no file.
fn examples(id: &str) -> Vec<Example> {
    let path = folder().join(format!("{id}.mil"));
    let Ok(file) = fs::read_to_string(&path) else { return Vec::new() };
    let mut examples: Vec<Example> = Vec::new();
    for line in file.lines() {
        let heading = line.strip_prefix("//! ").and_then(|line| line.split_once(" on "));
        match (heading, examples.last_mut()) {
            (Some((what @ ("broken" | "sound"), chip)), _) => {
                let chip = Chip::parse(chip).unwrap_or_else(|| panic!("{}: no chip {chip}", path.display()));
                examples.push(Example { chip, broken: what == "broken", text: String::new() });
            }
            (None, Some(example)) if !line.starts_with("//!") => {
                example.text.push_str(&channels(line));
                example.text.push('\n');
            }
            _ => {}
        }
    }
    examples
}

/// `line` with `{equal N}` and `{varied N}` written out.
fn channels(line: &str) -> String {
    let mut out = line.to_owned();
    for (word, varied) in [("{equal ", false), ("{varied ", true)] {
        while let Some((before, rest)) = out.split_once(word) {
            let (n, after) = rest.split_once('}').expect("closed");
            let n: usize = n.parse().expect("a number");
            let rows: Vec<&str> =
                (0..n).map(|i| if varied && i % 7 == 1 { "[[2]]" } else { "[[1]]" }).collect();
            out = format!("{before}tensor<fp16, [1, {n}, 1, 1]>([[{}]]){after}", rows.join(", "));
        }
    }
    out
}

#[test]
fn each_rule_is_found_where_it_is_broken_and_nowhere_else() {
    let mut wrong = Vec::new();
    for rule in rules::all() {
        let id = rule.id;
        for Example { chip, broken, text } in examples(id) {
            let found = check(&text, &[chip]);
            match (found.iter().find(|v| v.rule.id == id), broken) {
                (None, true) => wrong.push(format!("{id} is not found in\n{text}")),
                (Some(v), false) => wrong.push(format!("{id} is found ({}) in\n{text}", v.message)),
                (None, false) => {}
                (Some(violation), true) => {
                    let diagnostic = violation.diagnostic();
                    assert_eq!((diagnostic.code, &violation.chips[..]), (id, &[chip][..]));
                    assert!(diagnostic.message.contains(&chip.to_string()), "{}", diagnostic.message);
                    let inside = matches!(&diagnostic.place, Place::Text(r) if r.end <= text.len());
                    assert!(inside, "{diagnostic:?}");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_rule_with_a_check_has_examples() {
    for rule in rules::all() {
        let examples = examples(rule.id);
        let broken = examples.iter().filter(|e| e.broken).count();
        let wanted = rule.is_checked();
        assert!(wanted == (broken > 0) && wanted == (broken < examples.len()), "{}", rule.id);
    }
    for file in fs::read_dir(folder()).expect("a folder") {
        let path = file.expect("a file").path();
        let id = path.file_stem().expect("named").to_string_lossy().into_owned();
        assert_eq!(rules::find(&id).map(|r| r.id), Some(id.as_str()), "files are named after rules");
    }
}

#[test]
fn too_many_operations_do_not_load() {
    let ty = "tensor<fp16, [1, 64, 1, 64]>";
    let body: String = (0..3165).map(|i| format!("{ty} v{i} = relu(x = a);\n")).collect();
    let text = format!("program(1.3)\n{{\n    func main<ios18>({ty} a) {{\n{body}    }} -> (v0);\n}}\n");
    let found = check(&text, &[Chip::M4]);
    let violation = found.iter().find(|v| v.rule.id == "S17").expect("found");
    assert_eq!(violation.message, "`main` has 3165 operations, more than 3164");
}
