//! `backpropane mil`: each command on small programs.

mod bad_input;
mod compiled;
mod grad;
mod packages;
mod rules;
mod run;

use crate::place::{Outcome, Place};
use mil::{DType, Data, Tensor, TensorType};

/// A place with programs in it.
pub fn programs() -> Place {
    let place = Place::new();
    place.write("a.mil", SMALL);
    place.write("laid_out.mil", mil::text::format(&mil::text::read(SMALL).tree));
    place.write("typo.mil", SMALL.replace("softmax", "sofmax").replace("y = b)", "y = q)"));
    place.write("broken.mil", "program(1.3) { func main<ios18>(fp16 x { } -> (x); }");
    place.write("model.mlmodelc/model.mil", WEIGHTED);
    let mut writer = mil::blob::BlobWriter::new("w.bin");
    let at = writer.add(&floats(DType::F16, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])).expect("a tensor");
    assert_eq!(at, 64);
    place.write("model.mlmodelc/weights/w.bin", writer.finish());
    place.write("state.mil", STATE);
    place
}

/// `softmax(x·W + b)`, laid out in no particular way.
pub const SMALL: &str = "program(1.3) {
    func main<ios18>(tensor<fp16, [2, 3]> x, tensor<fp16, [3, 2]> W) {
        tensor<fp16, [2]> b = const()[name = string(\"b\"), val = tensor<fp16, [2]>([0.5, -0.5])];
        tensor<fp16, [2, 2]> h = matmul(x = x, y = W)[name = string(\"h\")];
        tensor<fp16, [2, 2]> s = add(x = h, y = b);
        tensor<fp16, [2, 2]> y = softmax(x = s, axis = int32(-1));
    } -> (y);
}";

/// `x·Wᵀ` for any number of rows, with `W` in a weight file, and the sum of the elements.
pub const WEIGHTED: &str = "program(1.3) {
    func main<ios18>(tensor<fp16, [?, 3]> x) [FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>>(((\"DefaultShapes\", {{\"x\", [1, 3]}})))] {
        tensor<fp16, [2, 3]> W = const()[val = tensor<fp16, [2, 3]>(BLOBFILE(path = string(\"@model_path/weights/w.bin\"), offset = uint64(64)))];
        tensor<fp16, [?, 2]> y = linear(x = x, weight = W);
        fp16 sum = reduce_sum(x = y, keep_dims = bool(false));
    } -> (y, sum);
    func second<ios18>(tensor<int32, [2]> n) {
        tensor<int32, [2]> m = add(x = n, y = n);
    } -> (m);
}";

/// Adds `x` to a state.
pub const STATE: &str = "program(1.3) {
    func main<ios18>(tensor<fp32, [2]> x, state<tensor<fp32, [2]>> total) {
        tensor<fp32, [2]> before = read_state(input = total);
        tensor<fp32, [2]> after = add(x = before, y = x);
        write_state(data = after, input = total);
        tensor<fp32, [2]> y = mul(x = after, y = after);
    } -> (y);
}";

pub fn floats(dtype: DType, shape: &[usize], values: &[f64]) -> Tensor {
    Tensor::floats(TensorType::new(dtype, shape), values.iter().copied())
}

/// A .npy file as `numpy.save` writes it.
pub fn npy(dtype: DType, shape: &[usize], data: &Data) -> Vec<u8> {
    let described = match dtype {
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::Bool => "|b1",
        other => panic!("{other}"),
    };
    let shape: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let mut header = format!("{{'descr': '{described}', 'fortran_order': False, 'shape': ({shape}), }}");
    header.push_str(&" ".repeat(63 - (header.len() + 10) % 64));
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.bytes());
    file.extend(mil::bytes::to_memory(dtype, data));
    file
}

/// A file of floats.
pub fn npy_floats(dtype: DType, shape: &[usize], values: &[f64]) -> Vec<u8> {
    npy(dtype, shape, &Data::Float(values.to_vec()))
}

/// Runs the command, which must have the answer no.
fn deny(place: &Place, args: &str) -> Outcome {
    let outcome = place.run(args);
    assert_eq!(outcome.code, Some(1), "{args}\n{}{}", outcome.stdout, outcome.stderr);
    outcome
}

#[test]
fn files_are_laid_out_in_place_and_only_if_that_changes_them() {
    let place = programs();
    let laid_out = String::from_utf8(place.read("laid_out.mil")).expect("text");
    let shown = place.succeed("mil fmt --stdout a.mil");
    assert_eq!((shown.stdout.as_str(), shown.stderr.as_str()), (laid_out.as_str(), ""));
    let before = place.snapshot();
    let outcome = deny(&place, "mil fmt --check a.mil laid_out.mil");
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("a.mil\n", ""));
    assert!(before == place.snapshot(), "files have changed");

    let outcome = place.succeed("mil fmt a.mil laid_out.mil model.mlmodelc");
    assert_eq!((outcome.stdout, outcome.stderr), (String::new(), String::new()));
    assert_eq!(place.read("a.mil"), laid_out.as_bytes());
    let outcome = place.succeed("mil fmt --check a.mil laid_out.mil model.mlmodelc");
    assert_eq!(outcome.stdout, "");
}

#[test]
fn what_cannot_be_read_is_shown_and_left_alone() {
    let place = programs();
    let before = place.snapshot();
    let outcome = place.run("mil fmt broken.mil");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""));
    assert!(outcome.stderr.contains("broken.mil:1:"), "{}", outcome.stderr);
    assert!(before == place.snapshot(), "files have changed");
    // The others are laid out.
    let outcome = place.run("mil fmt broken.mil a.mil");
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert_eq!(place.read("a.mil"), place.read("laid_out.mil"));
}

#[test]
fn stdin_is_laid_out_on_stdout() {
    let place = programs();
    let outcome = Outcome::of(place.command("mil fmt -").write_stdin(SMALL));
    assert_eq!(outcome.stdout.as_bytes(), place.read("laid_out.mil"));
    let outcome = Outcome::of(place.command("mil fmt --check -").write_stdin(SMALL));
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), "<stdin>\n"));
}

#[cfg(unix)]
#[test]
fn laying_out_keeps_permissions_and_links() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let place = programs();
    let mode = |name: &str| std::fs::metadata(place.path(name)).expect("a file").permissions().mode() & 0o777;
    std::fs::set_permissions(place.path("a.mil"), PermissionsExt::from_mode(0o600)).expect("set");
    symlink("a.mil", place.path("link.mil")).expect("a link");
    place.succeed("mil fmt link.mil");
    assert!(place.path("link.mil").is_symlink());
    assert_eq!((mode("a.mil"), place.read("a.mil")), (0o600, place.read("laid_out.mil")));
    std::fs::set_permissions(place.path("typo.mil"), PermissionsExt::from_mode(0o444)).expect("set");
    let outcome = place.run("mil fmt typo.mil");
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
}

#[test]
fn mistakes_are_shown_with_their_places() {
    let place = programs();
    let outcome = deny(&place, "mil check a.mil typo.mil");
    assert_eq!(outcome.stdout, "a.mil: 3 operations\ntypo.mil: 3 operations, 2 errors\n");
    let want = "\
error[undefined]: `q` is not defined before its use
  ┌─ typo.mil:5:49
  │
5 │         tensor<fp16, [2, 2]> s = add(x = h, y = q);
  │                                                 ^

error[unknown-op]: there is no operation `sofmax`
  ┌─ typo.mil:6:34
  │
6 │         tensor<fp16, [2, 2]> y = sofmax(x = s, axis = int32(-1));
  │                                  ^^^^^^
  │
  = help: did you mean `softmax`?
";
    assert_eq!(outcome.stderr, want);
    let outcome = deny(&place, "mil check typo.mil --json");
    assert_eq!(outcome.stderr, "");
    let json = outcome.json();
    assert_eq!(json[0]["errors"], 2);
    let second = &json[0]["diagnostics"][1];
    assert_eq!(
        (&second["code"], &second["line"], &second["column"]),
        (&"unknown-op".into(), &6.into(), &34.into())
    );
    assert_eq!(second["help"], "did you mean `softmax`?");
}

#[test]
fn weights_are_checked_by_their_records() {
    let place = programs();
    let fine = place.succeed("mil check model.mlmodelc");
    assert_eq!(
        (fine.stdout.as_str(), fine.stderr.as_str()),
        ("model.mlmodelc/model.mil: 3 operations\n", "")
    );
    // The file alone, without its weights, is worth a warning.
    place.write("alone.mil", WEIGHTED);
    let alone = place.succeed("mil check alone.mil");
    assert_eq!(alone.stdout, "alone.mil: 3 operations, 1 warning\n");
    assert!(
        alone.stderr.contains("warning[missing-weights]: 1 weight in `@model_path/weights/w.bin`"),
        "{}",
        alone.stderr
    );
    assert!(place.succeed("mil check alone.mil --weights model.mlmodelc/weights").stderr.is_empty());
    assert!(place.succeed("mil check alone.mil --weights model.mlmodelc").stderr.is_empty());

    let good = place.read("model.mlmodelc/weights/w.bin");
    for (named, change) in [
        ("deadbeef", (64usize, 0u8)),
        ("holds int8", (68, 4)),
        ("holds 14 bytes", (72, 14)),
        ("has its data from 192 to 204", (80, 192)),
    ] {
        let mut bad = good.clone();
        bad[change.0] = change.1;
        bad.extend([0; 2]);
        place.write("bad/w.bin", &bad);
        let outcome = deny(&place, "mil check alone.mil --weights bad");
        assert!(
            outcome.stderr.contains("error[weight]") && outcome.stderr.contains(named),
            "{}",
            outcome.stderr
        );
        assert!(outcome.stderr.contains("alone.mil:3:"), "{}", outcome.stderr);
    }
}

/// A file that is larger than the memory of any machine, as it takes no room on the disk.
#[cfg(unix)]
#[test]
fn a_large_weight_file_is_not_read_to_be_checked() {
    let place = programs();
    place.write("alone.mil", WEIGHTED);
    place.write("large/w.bin", place.read("model.mlmodelc/weights/w.bin"));
    let file = std::fs::File::options().write(true).open(place.path("large/w.bin")).expect("a file");
    file.set_len(1 << 42).expect("a sparse file");
    assert!(place.succeed("mil check alone.mil --weights large").stderr.is_empty());
}

#[test]
fn programs_are_compared() {
    let place = programs();
    assert_eq!(
        place.succeed("mil diff a.mil laid_out.mil").stdout,
        "`a.mil` and `laid_out.mil` are the same program\n"
    );
    place.write("b.mil", SMALL.replace("-0.5", "-0.25"));
    let outcome = deny(&place, "mil diff a.mil b.mil");
    let first = "element 1 of the constant is -0.5 in the first, -0.25 in the second\n  ┌─ a.mil:3:";
    assert!(outcome.stdout.starts_with(first) && outcome.stdout.contains("b.mil:3:"), "{}", outcome.stdout);
    assert_eq!(outcome.stderr, "");
    let json = deny(&place, "mil diff a.mil b.mil --json").json();
    assert_eq!((&json["same"], &json["differences"][0]["second"]["line"]), (&false.into(), &3.into()));

    // Weights by their elements, wherever these are.
    let inline = WEIGHTED.replace(
        "BLOBFILE(path = string(\"@model_path/weights/w.bin\"), offset = uint64(64))",
        "[[1, 2, 3], [4, 5, 6]]",
    );
    place.write("inline.mil", inline);
    place.succeed("mil diff model.mlmodelc inline.mil");
    place.write("alone.mil", WEIGHTED);
    let outcome = place.succeed("mil diff model.mlmodelc alone.mil");
    assert!(outcome.stderr.contains("not all weight files are available"), "{}", outcome.stderr);
}

#[test]
fn programs_are_counted() {
    let place = programs();
    let json = place.succeed("mil stats model.mlmodelc --json").json();
    let main = &json["functions"][0];
    assert_eq!(main["inputs"][0]["type"], "tensor<fp16, [?, 3]>");
    // One row by default: two outputs of three terms.
    assert_eq!(
        (&main["flops"], &main["parameters"], &main["weight_bytes"]),
        (&12.into(), &6.into(), &12.into())
    );
    assert_eq!(main["peak_bytes"], 10);
    let json = place.succeed("mil stats model.mlmodelc --shape x=5,3 --json").json();
    assert_eq!(json["functions"][0]["flops"], 60);
    let text = place.succeed("mil stats model.mlmodelc").stdout;
    assert!(text.contains("function main <ios18>") && text.contains("function second"), "{text}");
}
