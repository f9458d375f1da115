//! Packages that coremltools saved, beside the text that a printer of its own makes of each.

use super::{floats, programs};
use crate::place::Place;
use mil::text::tree::Type;
use mil::{DType, blob::BlobWriter};
use std::fs;
use std::path::{Path, PathBuf};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/programs/mlpackage");
const WEIGHTS: &str = "Data/com.apple.CoreML/weights/weight.bin";

/// The packages, each with its text laid out.
fn packages() -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(FOLDER).expect("a folder").map(|e| e.expect("readable").path());
    let mut folders: Vec<PathBuf> = entries.filter(|p| p.join("model.mlpackage").is_dir()).collect();
    folders.sort();
    assert_eq!(folders.len(), 18);
    let text = |folder: &Path| {
        let text = fs::read_to_string(folder.join("model.mil")).expect("a text");
        mil::text::format(&mil::text::read(&text).tree)
    };
    folders.iter().map(|f| (f.join("model.mlpackage"), text(f))).collect()
}

/// A place with the text of `package` and its weights, in the folder `text`.
fn beside(package: &Path, text: &str) -> Place {
    let place = Place::new();
    place.write("text/model.mil", text);
    if let Ok(weights) = fs::read(package.join(WEIGHTS)) {
        place.write("text/weights/weight.bin", weights);
    }
    place
}

#[test]
fn every_command_gives_for_a_package_what_it_gives_for_its_text() {
    for (package, text) in packages() {
        let place = beside(&package, &text);
        let package = package.display().to_string();
        let read = mil::text::read(&text);
        let main = read.tree.main().expect("a function");
        let float = main.params.iter().find(
            |p| matches!(&p.ty, Type::Tensor { dtype, .. } if matches!(dtype, DType::F16 | DType::F32)),
        );
        let wrt = float.map_or("nothing", |p| p.name.text);
        for command in [
            "mil check PROGRAM --json",
            "mil check PROGRAM --json --chip m1,m4",
            "mil stats PROGRAM --json",
            "mil run PROGRAM --random 1 --json",
            &format!("mil grad PROGRAM --wrt {wrt}"),
            "mil fmt --stdout PROGRAM",
            "mil fmt --check PROGRAM",
        ] {
            let [a, b] = [package.as_str(), "text/model.mil"].map(|program| {
                let outcome = place.run(&command.replace("PROGRAM", program));
                let told = [outcome.stdout, outcome.stderr].map(|s| s.replace(program, "PROGRAM"));
                (outcome.code, told)
            });
            assert_eq!(a, b, "{package}: {command}");
        }
        assert_eq!(place.succeed(&format!("mil fmt --stdout {package}")).stdout, text, "{package}");
        assert!(
            place.succeed(&format!("mil diff {package} text/model.mil")).stdout.contains("the same program")
        );
    }
}

#[test]
fn a_package_becomes_text_and_a_package_again() {
    for (package, text) in packages() {
        let place = Place::new();
        let shown = package.display().to_string();
        place.succeed(&format!("mil convert {shown} a.mil"));
        assert_eq!(place.read("a.mil"), text.as_bytes(), "{shown}");
        place.succeed("mil convert a.mil b.mlpackage");
        place.succeed("mil convert b.mlpackage c.mlmodelc");
        assert_eq!(place.read("c.mlmodelc/model.mil"), text.as_bytes(), "{shown}");
        place.succeed(&format!("mil diff {shown} b.mlpackage"));
        let weights = fs::read(package.join(WEIGHTS)).ok();
        for folder in ["weights", "b.mlpackage/Data/com.apple.CoreML/weights", "c.mlmodelc/weights"] {
            let copied = format!("{folder}/weight.bin");
            assert_eq!(place.exists(&copied).then(|| place.read(&copied)), weights, "{shown} {copied}");
        }
    }
}

#[test]
fn what_a_model_file_has_besides_its_program_is_named() {
    let place = Place::new();
    let said = |name: &str, out: &str| {
        place.succeed(&format!("mil convert {FOLDER}/{name}/model.mlpackage {out}")).stderr
    };
    assert_eq!(said("image-ios16", "image/x.mil"), "note: not kept: `image` is an image\n");
    assert_eq!(said("classifier-ios15", "classifier/x.mil"), "");
    place.write("open.mil", "program(1.3) { // any number\n func main<ios18>(tensor<fp16, [?]> x) { tensor<fp16, [?]> y = relu(x = x); } -> (y); }");
    assert_eq!(
        place.succeed("mil convert open.mil open.mlmodel").stderr,
        "note: `x` may have any sizes, as the program names no default for them\nnote: not kept: 1 comment\n"
    );
    assert!(place.succeed("mil run open.mlmodel --random 1").stdout.contains("tensor<fp16, [1]>"));
}

#[test]
fn weight_files_of_any_place_come_along_and_nothing_half_done_stays() {
    let place = programs();
    let outside = super::WEIGHTED.replace("@model_path/weights/w.bin", "@model_path/../w.bin");
    place.write("deep/model.mil", outside);
    place.write("w.bin", place.read("model.mlmodelc/weights/w.bin"));
    place.succeed("mil convert deep X.mlpackage");
    let text = place.succeed("mil fmt --stdout X.mlpackage").stdout;
    assert!(text.contains("@model_path/weights/w.bin"), "{text}");
    place.succeed("mil diff deep X.mlpackage");
    place.succeed("mil diff model.mlmodelc X.mlpackage");
    // The same weights may be there already.
    place.write("here/weights/w.bin", place.read("w.bin"));
    place.succeed("mil convert X.mlpackage here/x.mil");
    // Cut weights are found before anything is written.
    place.write("cut/model.mil", super::WEIGHTED);
    place.write("cut/weights/w.bin", &place.read("w.bin")[..100]);
    assert_eq!(place.run("mil convert cut Y.mlpackage").code, Some(2));
    let left = fs::read_dir(place.path("")).expect("a folder").map(|e| e.expect("readable").file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().contains(".tmp")));
    assert!(!place.exists("Y.mlpackage"));
}

/// int8 data under the type of fp16, as a project hands them to an M4: the bytes fit.
#[test]
fn a_record_of_another_type_is_a_warning_in_memory_alone() {
    let place = Place::new();
    let mut writer = BlobWriter::new("w.bin");
    writer.add(&floats(DType::F16, &[2], &[1.0, 2.0])).expect("a tensor");
    let file = writer.finish();
    place.write("weights/w.bin", &file);
    let program = |ty: &str| {
        let blob =
            format!("{ty}(BLOBFILE(path = string(\"@model_path/weights/w.bin\"), offset = uint64(64)))");
        format!(
            "program(1.3)[buildInfo = dict<string, string>({{{{\"a\", \"b\"}}}})] {{ func main<ios18>({ty} x) {{ {ty} W = const()[val = {blob}]; {ty} y = add(x = x, y = W); }} -> (y); }}"
        )
    };
    place.write("same.mil", program("tensor<int8, [4]>").replace("add(x = x, y = W)", "identity(x = W)"));
    place.write("longer.mil", program("tensor<int8, [5]>").replace("add(x = x, y = W)", "identity(x = W)"));
    let severity = |args: &str| {
        let outcome = place.run(args);
        let found = outcome.json();
        let all = found[0]["diagnostics"].as_array().expect("a list").clone();
        let of = all.iter().find(|d| d["code"] == "weight").expect("it is told").clone();
        (
            of["severity"].as_str().expect("a word").to_owned(),
            of["message"].as_str().expect("a text").to_owned(),
        )
    };
    let (how, text) = severity("mil check same.mil --json --chip m4");
    assert_eq!(how, "warning", "{text}");
    assert!(text.contains("holds fp16; expected int8") && text.contains("M4"), "{text}");
    for args in [
        "mil check same.mil --json",
        "mil check same.mil --json --chip m4 --route e5rt",
        "mil check same.mil --json --chip m4 --route both",
        "mil check longer.mil --json --chip m4",
    ] {
        assert_eq!(severity(args).0, "error", "{args}");
    }
    let outcome = place.run("mil run same.mil --random 1");
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("holds fp16; expected int8"), "{}", outcome.stderr);
}
