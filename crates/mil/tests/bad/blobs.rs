//! Weight files that are broken, or not what the program says.

use mil::blob::{BlobWriter, FIRST_ENTRY};
use mil::{DType, Tensor, TensorType, Weights};

const PATH: &str = "@model_path/weights/w.bin";

/// A sound file: two fp16 numbers at 64, three numbers of 4 bits at 192.
fn sound() -> Vec<u8> {
    let mut writer = BlobWriter::new(PATH);
    writer.add(&Tensor::floats(mil::ty::f16([2]), [1.0, 2.0])).expect("storable");
    let nibbles = TensorType::new(DType::U4, [3]);
    writer.add(&Tensor { ty: nibbles, data: mil::Data::Int(vec![1, 2, 3]) }).expect("storable");
    writer.finish()
}

fn put(bytes: &mut [u8], at: usize, value: u64, size: usize) {
    bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
}

/// What is said of a file that `change` has broken, where it is read as the program says, or all of it is looked at.
fn broken(change: impl Fn(&mut Vec<u8>)) -> String {
    let mut bytes = sound();
    change(&mut bytes);
    let mut weights = Weights::new();
    weights.insert(PATH, bytes);
    let first = weights.read(PATH, FIRST_ENTRY, &mil::ty::f16([2])).map(drop);
    let second = weights.read(PATH, 192, &TensorType::new(DType::U4, [3])).map(drop);
    let error = first.and(second).and(weights.records(PATH).map(drop)).expect_err("broken");
    match error.hint() {
        Some(hint) => format!("{error}\n  = help: {hint}"),
        None => error.to_string(),
    }
}

#[test]
fn the_file_itself_is_sound() {
    let mut weights = Weights::new();
    weights.insert(PATH, sound());
    assert_eq!(weights.records(PATH), Ok(vec![64, 192]));
}

#[test]
fn files() {
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, Change); 23] = [
        ("an empty file", |b| b.clear()),
        ("a header that is cut off", |b| b.truncate(20)),
        ("a record that is cut off", |b| b.truncate(100)),
        ("data that is cut off", |b| b.truncate(257)),
        ("no weight file at all", |b| b[..8].copy_from_slice(b"\x89PNG\r\n\x1a\n")),
        ("another version", |b| put(b, 4, 1, 4)),
        ("more records than there are", |b| put(b, 0, 3, 4)),
        ("another sentinel", |b| put(b, 64, 0xDEAD_BEEE, 4)),
        ("an element type that does not exist", |b| put(b, 68, 99, 4)),
        ("another element type", |b| put(b, 68, 2, 4)),
        ("a size that is no multiple", |b| put(b, 72, 3, 8)),
        ("another size", |b| put(b, 72, 2, 8)),
        ("a size past the end", |b| put(b, 72, 4096, 8)),
        ("a size beyond 64 bits", |b| put(b, 72, u64::MAX - 1, 8)),
        ("data that is not at a multiple of 64", |b| put(b, 80, 130, 8)),
        ("data past the end", |b| put(b, 80, 4096, 8)),
        ("data beyond 64 bits", |b| put(b, 80, u64::MAX - 63, 8)),
        ("data over the header", |b| put(b, 80, 0, 8)),
        ("data over its record", |b| put(b, 80, 64, 8)),
        ("data over another record", |b| put(b, 72, 4 + 64 + 64, 8)),
        ("data over another's data", |b| put(b, 192 + 16, 128, 8)),
        ("too many padding bits", |b| put(b, 192 + 24, 8, 8)),
        ("padding bits that make another number", |b| put(b, 192 + 24, 0, 8)),
    ];
    let all = cases.map(|(about, change)| format!("──── {about}\n{}\n", broken(change)));
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn offsets() {
    let mut weights = Weights::new();
    weights.insert(PATH, sound());
    let ty = mil::ty::f16([2]);
    let mut all = vec![weights.read("@model_path/other.bin", 64, &ty).expect_err("no file").to_string()];
    for offset in [0, 65, 128, 256, 1 << 40, u64::MAX] {
        all.push(weights.read(PATH, offset, &ty).expect_err("no record").to_string());
    }
    let huge = TensorType::new(DType::F16, [1_000_000_000]);
    all.push(weights.read(PATH, 64, &huge).expect_err("two numbers").to_string());
    insta::assert_snapshot!(all.join("\n"));
}
