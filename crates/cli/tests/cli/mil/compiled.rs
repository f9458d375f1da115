//! Programs that were compiled elsewhere, with what other implementations make of them.

use super::{npy, programs};
use mil::{DType, Data};
use serde_json::Value;
use std::path::Path;

/// Where they are, as text and as packages.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/programs/generated");
const PACKAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/programs/mlpackage");

#[test]
fn compiled_programs_give_what_other_implementations_give() {
    let entries = std::fs::read_dir(FOLDER).expect("a folder");
    let mut entries: Vec<_> =
        entries.flatten().map(|e| e.path()).filter(|p| p.join("io.json").is_file()).collect();
    entries.sort();
    assert!(!entries.is_empty());
    for dir in entries {
        compare(&dir, &dir);
        // What coremltools saved of the same program.
        let package = Path::new(PACKAGES).join(dir.file_name().expect("a name")).join("model.mlpackage");
        compare(&package, &dir);
        programs().succeed(&format!("mil diff {} {}", package.display(), dir.display()));
    }
}

/// Runs `program` on the inputs that are recorded in `folder`.
fn compare(program: &Path, folder: &Path) {
    let place = programs();
    let io = std::fs::read_to_string(folder.join("io.json")).expect("a file");
    let io: Value = serde_json::from_str(&io).expect("JSON");
    let mut args = format!("mil run {} --json", program.display());
    for (name, array) in io["inputs"].as_object().expect("inputs") {
        let shape: Vec<usize> = array["shape"]
            .as_array()
            .expect("a shape")
            .iter()
            .filter_map(|n| n.as_u64())
            .map(|n| n as usize)
            .collect();
        let data = array["data"].as_array().expect("data");
        let (dtype, data) = match array["dtype"].as_str() {
            Some("int32") => (DType::I32, Data::Int(data.iter().filter_map(Value::as_i64).collect())),
            Some("float32") => (DType::F32, Data::Float(data.iter().filter_map(Value::as_f64).collect())),
            other => panic!("{other:?}"),
        };
        place.write(&format!("{name}.npy"), npy(dtype, &shape, &data));
        args.push_str(&format!(" --input {name}={name}.npy"));
    }
    let tolerance = io["tolerance"].as_f64().expect("a tolerance");
    for engine in ["soft", "reference"] {
        let outputs = place.succeed(&format!("{args} --engine {engine}")).json();
        for (name, want) in io["outputs"].as_object().expect("outputs") {
            let got = outputs["outputs"].as_array().expect("a list").iter().find(|o| o["name"] == *name);
            let got = got.unwrap_or_else(|| panic!("{name} is not given"));
            assert_eq!(got["shape"], want["shape"]);
            let floats = |v: &Value| -> Vec<f64> {
                v.as_array().expect("data").iter().filter_map(Value::as_f64).collect()
            };
            let (got, want) = (floats(&got["data"]), floats(&want["data"]));
            assert_eq!(got.len(), want.len());
            let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst <= tolerance, "{} {engine} {name}: {worst} > {tolerance}", program.display());
        }
    }
}
