//! What `mil` reads: arrays, texts, packages, weight files; and files of tokens.

use super::Hostile;
use super::models::safetensors;

const PROGRAM: &str = "program(1.3) { func main<ios18>(tensor<fp32, [2]> x) { tensor<fp32, [2]> y = exp(x = x)[name = string(\"y\")]; } -> (y); }";
/// Takes an array of any size.
const OPEN: &str = "program(1.3) { func main<ios18>(tensor<fp32, [?]> x) { tensor<fp32, [?]> y = exp(x = x)[name = string(\"y\")]; } -> (y); }";

/// The head of a .npy file of version 2 with this dictionary.
fn npy(length: u32, text: &str) -> Vec<u8> {
    [b"\x93NUMPY\x02\x00", &length.to_le_bytes()[..], text.as_bytes()].concat()
}

fn described(descr: &str, order: &str, shape: &str) -> Vec<u8> {
    let text = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': ({shape}), }}");
    npy(text.len() as u32, &text)
}

pub fn add(to: &mut Hostile) {
    to.write("a.mil", PROGRAM);
    to.write("open.mil", OPEN);
    arrays(to);
    programs(to);
    tokens(to);
}

fn arrays(to: &mut Hostile) {
    let bytes = described("|u1", "False", "8589934592,");
    let length = bytes.len() as u64 + (8 << 30);
    let turned = described("<f8", "True", "4, 134217728");
    let rows: Vec<(&str, Vec<u8>, u64)> = vec![
        ("a header of 4 GiB", npy(u32::MAX, "{"), 5 << 30),
        ("8 GiB of bytes", bytes, length),
        ("4 GiB by columns", turned.clone(), turned.len() as u64 + (4 << 30)),
        ("a shape beyond 2^64", described("<f4", "False", "18446744073709551615, 18446744073709551615"), 0),
        ("a shape of 2^64 - 1", described("<f8", "False", "18446744073709551615,"), 0),
        ("20,000 axes", described("<f4", "False", &"1,".repeat(20_000)), 0),
        ("nested brackets", npy(60_000, &"(".repeat(60_000)), 0),
    ];
    for (n, (what, head, length)) in rows.into_iter().enumerate() {
        let length = length.max(head.len() as u64);
        to.sparse(&format!("{n}.npy"), head, length);
        for program in ["a", "open"] {
            to.refuses(
                &format!("npy: {what}, {program}"),
                &format!("mil run {program}.mil --input x={n}.npy"),
            );
        }
    }
    let header = r#"{"x":{"dtype":"F64","shape":[2147483648],"data_offsets":[0,17179869184]}}"#;
    let head = safetensors(header);
    to.sparse("16g.safetensors", &head, head.len() as u64 + (16 << 30));
    to.refuses("safetensors: a tensor of 16 GiB for `mil run`", "mil run open.mil --input 16g.safetensors");
}

fn programs(to: &mut Hostile) {
    to.sparse("sparse.mil", PROGRAM, 16 << 30);
    to.refuses("text: 16 GiB", "mil check sparse.mil");
    to.write("nested.mil", PROGRAM.replace("x = x", &format!("x = {}", "(".repeat(1 << 20))));
    to.refuses("text: nested brackets", "mil run nested.mil --random 1");
    to.write("types.mil", PROGRAM.replace("tensor<fp32, [2]> y", &format!("{}x y", "list<".repeat(1 << 18))));
    to.refuses("text: nested types", "mil run types.mil --random 1");
    to.sparse("sparse.mlmodel", [0x08, 0x09, 0xb2, 0x1f, 0x80, 0x80, 0x80, 0x80, 0x40], 17 << 30);
    to.refuses("model file: a program of 16 GiB", "mil check sparse.mlmodel");
    to.sparse("p.mlpackage/Manifest.json", "{", 16 << 30);
    to.refuses("package: a manifest of 16 GiB", "mil check p.mlpackage");
    to.sparse("w.mlmodelc/weights/w.bin", "", 16 << 30);
    let blob =
        "tensor<fp32, [2]>(BLOBFILE(path = string(\"@model_path/weights/w.bin\"), offset = uint64(64)))";
    let weight = format!("{{ tensor<fp32, [2]> w = const()[name = string(\"w\"), val = {blob}];");
    to.write("w.mlmodelc/model.mil", PROGRAM.replacen("x) {", &format!("x) {weight}"), 1));
    to.refuses("weights: 16 GiB of zeros", "mil run w.mlmodelc --random 1");
}

fn tokens(to: &mut Hostile) {
    let train = |file: &str| format!("train --model tiny --steps 1 --out new --data {file}");
    to.sparse("t.npy", npy(u32::MAX, "{"), 5 << 30);
    to.refuses("tokens: a header of 4 GiB", &train("t.npy"));
    let head = described("<u2", "False", "9223372036854775808,");
    to.write("u.npy", head);
    to.refuses("tokens: 2^63 of them", &train("u.npy"));
    to.write("v.bin", safetensors(r#"{"tokens":{"dtype":"U16","shape":[9223372036854775807],"data_offsets":[0,18446744073709551614]}}"#));
    to.refuses("tokens: 2^63 - 1 of them in safetensors", &train("v.bin"));
}
