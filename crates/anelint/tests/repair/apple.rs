//! Programs that a real engine compiled.

use anelint::repair::{prove, repair};
use std::path::Path;

/// What is repaired of programs that an engine compiled: the names that it would bind in another order, and widths of
/// 2 and 4, which compile and then fail when evaluated (rule S6).
const REPAIRED: [(&str, &[&str]); 2] = [("conv", &["pad-last-axis"]), ("matmul", &["port-order"])];

#[test]
fn programs_that_an_engine_compiled_stay_as_they_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/programs/ane");
    let mut seen = 0;
    for file in folder.read_dir().expect("a folder") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let program = mil::text::load(&text).expect("valid");
        let name = path.file_stem().expect("named").to_string_lossy().into_owned();
        let repaired = repair(&program, None);
        let applied: Vec<_> = repaired.applied.iter().map(|a| a.repair.name).collect();
        let expected = REPAIRED.iter().find(|(n, _)| *n == name).map_or(&[][..], |(_, names)| names);
        assert_eq!(applied, expected, "{name}");
        if expected.is_empty() {
            assert_eq!(repaired.program, program, "{name}");
        } else {
            let weights = crate::ramps(&program);
            let proof = prove(&program, &repaired.program, &repaired, &weights, 5);
            assert!(proof.is_ok(), "{name}: {proof:?}");
        }
        seen += 1;
    }
    assert_eq!(seen, 8);
}

/// Weight files of a program, from its folder.
fn weights(folder: &Path, program: &mil::Program) -> mil::Weights {
    let mut weights = mil::Weights::new();
    for (path, _) in crate::blobs(program) {
        if let Some(name) = path.strip_prefix("@model_path/")
            && weights.files().all(|(known, _)| known != path)
            && let Ok(bytes) = std::fs::read(folder.join(name))
        {
            weights.insert(path, bytes);
        }
    }
    weights
}

#[test]
fn programs_of_other_makers_are_repaired_and_proven() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/programs");
    let folders = ["coremlc", "generated"].map(|f| programs.join(f).read_dir().expect("a folder"));
    for folder in folders.into_iter().flatten() {
        let folder = folder.expect("a folder").path();
        let text = std::fs::read_to_string(folder.join("model.mil")).expect("readable");
        let Ok(program) = mil::text::load(&text) else {
            println!("{}: cannot be run as it is", folder.display());
            continue;
        };
        let weights = weights(&folder, &program);
        let all: Vec<&str> = anelint::repair::REPAIRS.iter().flat_map(|r| r.rules).copied().collect();
        for rules in [None, Some(&all[..])] {
            let repaired = anelint::repair::repair_proven(&program, rules, &weights, 11);
            println!("{}: {} repairs", folder.display(), repaired.applied.len());
            for o in &repaired.obstacles {
                println!("  cannot {}: {}", o.repair.name, o.reason);
            }
            let proof = prove(&program, &repaired.program, &repaired, &weights, 12);
            println!("  {proof:?}");
            assert!(proof.is_ok());
            assert!(repair(&repaired.program, rules).is_unchanged());
        }
    }
}
