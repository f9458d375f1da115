//! How fast MIL text is read, printed and checked: `cargo bench -p mil`.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use std::fmt::Write;

fn main() {
    divan::main();
}

/// A program of `layers` layers in the layout of Apple's compiler: half of the statements are constants, as in programs
/// that it wrote.
fn program(layers: usize) -> String {
    let mut out = String::from(
        "program(1.3)\n[buildInfo = dict<string, string>({{\"coremlc-version\", \"3505.4.1\"}})]\n{\n    func \
         main<ios18>(tensor<fp16, [1, 768, 1, 256]> x0) {\n",
    );
    let mut line = |text: String| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "            {text};");
    };
    for l in 0..layers {
        let list = |name: &str, values: &str, n: usize| {
            format!(
                "tensor<int32, [{n}]> {name}_{l} = const()[name = string(\"{name}_{l}\"), val = tensor<int32, \
                 [{n}]>([{values}])]"
            )
        };
        line(format!(
            "tensor<fp16, [768, 768, 1, 1]> w_{l} = const()[name = string(\"w_{l}\"), val = tensor<fp16, [768, 768, 1, 1]>(BLOBFILE(path = string(\"@model_path/weights/weight.bin\"), offset = uint64({})))]",
            64 * (l + 1)
        ));
        line(list("strides", "1, 1", 2));
        line(list("pad", "0, 0, 0, 0", 4));
        line(list("dilations", "1, 1", 2));
        line(format!("string type_{l} = const()[name = string(\"type_{l}\"), val = string(\"valid\")]"));
        line(format!("int32 groups_{l} = const()[name = string(\"groups_{l}\"), val = int32(1)]"));
        line(format!(
            "tensor<fp16, [1, 768, 1, 256]> conv_{l} = conv(dilations = dilations_{l}, groups = groups_{l}, pad = pad_{l}, pad_type = type_{l}, strides = strides_{l}, weight = w_{l}, x = x{l})[name = string(\"conv_{l}\")]"
        ));
        line(format!("fp16 half_{l} = const()[name = string(\"half_{l}\"), val = fp16(0x1.8p-1)]"));
        line(format!(
            "tensor<fp16, [1, 768, 1, 256]> scaled_{l} = mul(x = conv_{l}, y = half_{l})[name = string(\"scaled_{l}\")]"
        ));
        line(format!(
            "tensor<fp16, [1, 768, 1, 256]> gate_{l} = sigmoid(x = scaled_{l})[name = string(\"gate_{l}\")]"
        ));
        line(format!(
            "tensor<fp16, [1, 768, 1, 256]> silu_{l} = mul(x = gate_{l}, y = scaled_{l})[name = string(\"silu_{l}\")]"
        ));
        line(format!(
            "tensor<fp16, [8]> row_{l} = const()[name = string(\"row_{l}\"), val = tensor<fp16, [8]>([0x1.554p-10, -0x1p-1, 0x1.8p+3, 0x0p+0, 0x1.ffcp+15, 0x1.5p-17, -0x1.33cp-2, 0x1p+0])]"
        ));
        line(list("shape", "1, 12, 64, 256", 4));
        line(format!(
            "tensor<fp16, [1, 12, 64, 256]> heads_{l} = reshape(shape = shape_{l}, x = silu_{l})[name = string(\"heads_{l}\")]"
        ));
        line(format!("bool no_{l} = const()[name = string(\"no_{l}\"), val = bool(false)]"));
        line(format!("bool yes_{l} = const()[name = string(\"yes_{l}\"), val = bool(true)]"));
        line(format!(
            "tensor<fp16, [1, 12, 64, 64]> scores_{l} = matmul(transpose_x = no_{l}, transpose_y = yes_{l}, x = heads_{l}, y = heads_{l})[name = string(\"scores_{l}\")]"
        ));
        line(format!(
            "tensor<fp16, [1, 12, 64, 256]> mixed_{l} = matmul(transpose_x = no_{l}, transpose_y = no_{l}, x = scores_{l}, y = heads_{l})[name = string(\"mixed_{l}\")]"
        ));
        line(list("flat", "1, 768, 1, 256", 4));
        line(format!(
            "tensor<fp16, [1, 768, 1, 256]> back_{l} = reshape(shape = flat_{l}, x = mixed_{l})[name = string(\"back_{l}\")]"
        ));
        line(format!(
            "tensor<fp16, [1, 768, 1, 256]> x{} = add(x = x{l}, y = back_{l})[name = string(\"x{}\")]",
            l + 1,
            l + 1
        ));
    }
    let _ = write!(out, "        }} -> (x{layers});\n}}");
    out
}

/// 20 MB of text.
const LAYERS: usize = 7000;
const STATEMENTS: usize = 21 * LAYERS;

#[divan::bench(sample_count = 10)]
fn read(bencher: Bencher<'_, '_>) {
    let text = program(LAYERS);
    bencher.counter(BytesCount::of_str(&text)).bench(|| mil::text::read(divan::black_box(&text)));
}

#[divan::bench(sample_count = 10)]
fn format(bencher: Bencher<'_, '_>) {
    let text = program(LAYERS);
    let read = mil::text::read(&text);
    bencher.counter(BytesCount::of_str(&text)).bench(|| mil::text::format(divan::black_box(&read.tree)));
}

#[divan::bench(sample_count = 10)]
fn check(bencher: Bencher<'_, '_>) {
    let text = program(LAYERS);
    let read = mil::text::read(&text);
    assert!(!mil::text::check(&read).report.has_errors());
    bencher.counter(ItemsCount::new(STATEMENTS)).bench(|| mil::text::check(divan::black_box(&read)));
}
