//! Bad input gets a sentence that names it and a remedy, exit code 2, nothing on stdout, and changes no file.

use super::{npy, npy_floats, programs};
use crate::bad_input::{Row, each_is_refused};
use crate::place::Place;
use mil::{DType, Data};

const ROWS: &[Row<'static>] = &[
    ("mil fmt missing.mil", &["missing.mil"], "model file"),
    ("mil fmt latin1.mil", &["latin1.mil", "byte 12"], "MIL text"),
    ("mil fmt empty", &["empty", "model.mil"], "mlmodelc"),
    ("mil fmt --stdout package.mlpackage", &["package.mlpackage", "field of kind 7"], "Core ML model"),
    ("mil fmt --stdout manifest.mlpackage", &["Manifest.json", "missing field"], ".mlmodel"),
    ("mil fmt good.mlpackage", &["good.mlpackage", "no layout"], "--stdout"),
    ("mil check good.mlpackage --fix", &["good.mlpackage", "in place"], "--out"),
    ("mil run trees.mlmodel --random 1", &["trees.mlmodel", "tree ensemble classifier"], "ct.convert"),
    ("mil stats network.mlmodelc", &["network.mlmodelc", "classic neural network"], "ct.convert"),
    ("mil stats zipped.mlpackage", &["zipped.mlpackage", "archive"], "Unpack"),
    ("mil convert a.mil a.onnx", &["a.onnx", "format"], ".mlpackage"),
    ("mil convert a.mil model.mlmodelc", &["model.mlmodelc", "already"], "another"),
    ("mil convert a.mil no/where/X.mlpackage", &["no/where/X.mlpackage"], "written"),
    ("mil convert typo.mil X.mlpackage", &["2 errors"], "check typo.mil"),
    ("mil convert wide.mil X.mlpackage", &["wide.mil", "model files"], "Change"),
    ("mil convert model.mlmodelc X.mlmodel", &["model.mlmodelc", "weight files"], ".mlpackage"),
    ("mil convert model.mlmodelc X.mlpackage --weights empty", &["w.bin", "empty"], "--weights"),
    ("mil convert model.mlmodelc other/x.mil", &["other/weights/w.bin", "other weights"], "folder"),
    ("mil fmt two", &["2 programs"], "two/b/model.mil"),
    ("mil fmt broken.mil", &["1 error"], "Correct"),
    ("mil check missing.mil", &["missing.mil"], "model file"),
    ("mil check a.mil missing.mil --json", &["missing.mil"], "model file"),
    ("mil run typo.mil --random 1", &["2 errors"], "check typo.mil"),
    ("mil run a.mil", &["`x` tensor<fp16, [2, 3]>", "`W` tensor<fp16, [3, 2]>"], "--input x="),
    ("mil run a.mil --random 1 --function other", &["`other`"], "`main`"),
    ("mil run a.mil --random 1 --input z=x.npy", &["`z`"], "`x`, `W`"),
    ("mil run a.mil --random 1 --input x=missing.npy", &["missing.npy"], "path"),
    ("mil run a.mil --random 1 --input x=empty", &["empty"], "path"),
    ("mil run a.mil --random 1 --input x=latin1.mil", &["latin1.mil", "header"], "numpy.save"),
    ("mil run a.mil --random 1 --input x=cut.npy", &["cut.npy", "bytes"], "numpy.save"),
    ("mil run a.mil --random 1 --input x=int.npy", &["int.npy", "int32", "fp16"], "float16"),
    ("mil run a.mil --random 1 --input x=shape.npy", &["[3, 2]", "[2, 3]"], "shape"),
    ("mil run a.mil --random 1 --input x=large.npy", &["element 5", "1e6"], "values"),
    (
        "mil run a.mil --random 1 --input x=x.npy --input x=x.npy",
        &["`x`", "more than one value"],
        "all but one",
    ),
    ("mil run a.mil --random 1 --input cut.safetensors", &["cut.safetensors"], "save_file"),
    ("mil run a.mil --random 1 --input y=x.safetensors", &["x.safetensors", "`y`"], "`q`"),
    ("mil run a.mil --random 1 --input x.safetensors", &["`q`"], "`x`"),
    ("mil run a.mil --random 1 --shape z=1", &["`z`"], "`x`"),
    ("mil run a.mil --random 1 --shape x=3,2", &["[3, 2]"], "sizes"),
    ("mil run a.mil --random 1 --out a.mil", &["a.mil"], ""),
    ("mil run a.mil --random 1 --out a.mil/r.safetensors", &["a.mil"], ""),
    ("mil run open.mil --random 1", &["`x`", "?"], "--shape x="),
    ("mil run open.mil --random 1 --shape x=100000000000", &["`x`"], "--shape"),
    ("mil run open.mil --random 1 --shape x=3", &["does not take"], "shapes"),
    ("mil run huge.mil --random 1", &["`main`", "TiB"], "smaller"),
    ("mil run huge.mil --random 1 --engine reference", &["`y`"], "smaller"),
    ("mil run opaque.mil --random 1", &["1 operation", "main"], "Leave"),
    ("mil run model.mlmodelc --random 1 --weights empty", &["w.bin", "empty"], "--weights"),
    ("mil run model.mlmodelc --random 1 --weights cut", &["w.bin"], ""),
    ("mil run model.mlmodelc --random 1 --weights folder", &["w.bin"], "--weights"),
    ("mil grad a.mil --wrt z", &["`z`"], "`x`, `W`"),
    ("mil grad a.mil --wrt h", &["`h`", "computed"], "`x`"),
    ("mil grad state.mil --wrt n", &["`n`"], ""),
    ("mil grad ints.mil --wrt n", &["int32"], "floats"),
    ("mil grad loose.mil --wrt u", &["`u`"], "zero"),
    ("mil grad taken.mil --wrt x", &["`d_y`"], "Rename"),
    ("mil grad open.mil --wrt x", &["`x`"], "--shape"),
    ("mil stats typo.mil", &["2 errors"], "check"),
    ("mil stats a.mil --shape z=1", &["`z`"], "parameters"),
    ("mil diff a.mil missing.mil", &["missing.mil"], "model file"),
    ("mil diff a.mil typo.mil", &["typo.mil"], "check"),
];

fn prepared() -> Place {
    let place = programs();
    place.write("latin1.mil", b"program(1.3)\xe9");
    place.write("empty/readme.md", "nothing here");
    place.write("package.mlpackage/Data/com.apple.CoreML/model.mlmodel", "protobuf");
    place.write("manifest.mlpackage/Manifest.json", "{}");
    place.succeed("mil convert a.mil good.mlpackage");
    // The field of a tree ensemble, of a gigabyte that is not there.
    place.write("trees.mlmodel", [0x08, 0x04, 0x92, 0x19, 0x80, 0x80, 0x80, 0x80, 0x04]);
    place.write("network.mlmodelc/model.espresso.net", "{}");
    place.write("zipped.mlpackage", b"PK\x03\x04 and more");
    place.write("other/weights/w.bin", "others");
    for sub in ["a", "b"] {
        place.write(&format!("two/{sub}/model.mil"), super::SMALL);
    }
    let program = |body: &str| format!("program(1.3) {{ func main<ios18>{body}; }}");
    place.write("open.mil", program("(tensor<fp16, [?]> x) { tensor<fp16, [?]> y = add(x = x, y = tensor<fp16, [2]>([1, 2])); } -> (y)"));
    place.write(
        "wide.mil",
        program("(tensor<fp64, [2]> x) { tensor<fp64, [2]> y = custom_layer(x = x); } -> (y)"),
    );
    let copies = "tensor<fp32, [100000, 100000, 1000]>";
    place.write("huge.mil", program(&format!("(tensor<fp32, [1, 1, 1]> x) {{ {copies} y = tile(x = x, reps = tensor<int32, [3]>([100000, 100000, 1000])); }} -> (y)")));
    place.write(
        "opaque.mil",
        program("(tensor<fp16, [2]> x) { tensor<fp16, [2]> y = custom_layer(x = x); } -> (y)"),
    );
    place.write(
        "ints.mil",
        program("(tensor<int32, [2]> n) { tensor<int32, [2]> y = add(x = n, y = n); } -> (y)"),
    );
    place.write(
        "loose.mil",
        program("(tensor<fp16, [2]> x, tensor<fp16, [2]> u) { tensor<fp16, [2]> y = exp(x = x); } -> (y)"),
    );
    place.write("taken.mil", program("(tensor<fp16, [2]> x, tensor<fp16, [2]> d_y) { tensor<fp16, [2]> y = mul(x = x, y = d_y); } -> (y)"));
    let x = npy_floats(DType::F16, &[2, 3], &[0.0; 6]);
    place.write("x.npy", &x);
    place.write("cut.npy", &x[..x.len() - 1]);
    place.write("int.npy", npy(DType::I32, &[2, 3], &Data::Int(vec![0; 6])));
    place.write("shape.npy", npy_floats(DType::F16, &[3, 2], &[0.0; 6]));
    place.write("large.npy", npy_floats(DType::F64, &[2, 3], &[0.0, 0.0, 0.0, 0.0, 0.0, 1e6]));
    let bytes = [0u8; 12];
    let view =
        safetensors::tensor::TensorView::new(safetensors::Dtype::F16, vec![2, 3], &bytes).expect("a tensor");
    let file = safetensors::serialize([("q", view)], None).expect("a file");
    place.write("cut.safetensors", &file[..file.len() - 1]);
    place.write("x.safetensors", file);
    let weights = place.read("model.mlmodelc/weights/w.bin");
    place.write("cut/w.bin", &weights[..weights.len() - 1]);
    place.write("folder/w.bin/readme.md", "a folder");
    place
}

#[test]
fn bad_input_is_named_with_its_remedy_and_changes_nothing() {
    let place = prepared();
    // What can be checked is, even if another program cannot be read.
    each_is_refused(&place, ROWS, |args, outcome| {
        let silent = outcome.stdout.is_empty() || args.starts_with("mil check");
        (!silent).then(|| format!("stdout has {:?}", outcome.stdout))
    });
}

#[test]
fn impossible_flags_are_refused_in_a_sentence() {
    let place = programs();
    for (args, want) in [
        ("mil", "Usage: backpropane mil <COMMAND>"),
        ("mil fmt", "<FILE>"),
        ("mil fmt --check --stdout a.mil", "cannot be used with"),
        ("mil run a.mil --input x.npy", "NAME=FILE.npy"),
        ("mil run a.mil --shape x", "NAME=1,3,224"),
        ("mil run a.mil --shape x=1,b", "NAME=1,3,224"),
        ("mil run a.mil --shape x=18446744073709551615", "NAME=1,3,224"),
        ("mil run a.mil --engine apple", "soft, reference"),
        ("mil run a.mil --random x", "invalid"),
        ("mil grad a.mil", "--wrt <NAMES>"),
    ] {
        let outcome = place.run(args);
        assert_eq!(outcome.code, Some(2), "{args}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(want), "{args}: {}", outcome.stderr);
    }
}
