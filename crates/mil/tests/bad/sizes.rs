//! Sizes that no machine has.

use super::{bodies, body, runs};

#[test]
fn sizes_that_are_refused() {
    let axes = |n: usize| vec!["1"; n].join(", ");
    let deep = format!("tensor<fp16, [{}]> c = relu(x = x);", axes(65));
    insta::assert_snapshot!(bodies(&[
        ("too many axes", &deep),
        (
            "a shape that does not fit",
            "tensor<int32, [2]> h = const()[val = tensor<int32, [2]>([1000000000, 1000000000])];\n        tensor<fp16, [1000000000, 1000000000]> c = reshape(shape = h, x = x);"
        ),
        (
            "a literal that is too short for its type",
            "tensor<fp16, [1000000000]> c = const()[val = tensor<fp16, [1000000000]>([1, 2])];"
        ),
        (
            "a negative size of a result",
            "tensor<int32, [1]> h = const()[val = tensor<int32, [1]>([-5])];\n        tensor<fp16, [5]> c = fill(shape = h, value = fp16(1));"
        ),
    ]));
    assert!(
        mil::text::load(&body(&format!(
            "tensor<fp16, [{}]> c = fill(shape = tensor<int32, [64]>([{}]), value = fp16(1));",
            axes(64),
            axes(64)
        )))
        .is_ok()
    );
}

/// A program of constants alone.
fn constants(statements: &str, result: &str) -> String {
    format!("program(1.3)\n{{\n    func main<ios18>() {{\n        {statements}\n    }} -> ({result});\n}}")
}

#[test]
fn sizes_that_are_right_are_refused_when_they_run() {
    let shape = "tensor<int32, [3]> h = const()[val = tensor<int32, [3]>([1000, 1000, 1000])];";
    let fill = "tensor<fp16, [1000, 1000, 1000]> c = fill(shape = h, value = fp16(1));";
    let said = runs(&constants(&format!("{shape}\n{fill}"), "c")).expect_err("10⁹ elements");
    assert_eq!(
        said,
        "`c` would be tensor<fp16, [1000, 1000, 1000]>; the reference engine holds at most 268435456 elements of a value"
    );
    // Many values, each of them small enough.
    let mut text = "tensor<int32, [1]> h = const()[val = tensor<int32, [1]>([100000000])];\n".to_owned();
    for i in 0..8 {
        text += &format!("tensor<bool, [100000000]> c{i} = fill(shape = h, value = bool(true));\n");
    }
    let said = runs(&constants(&text, "c0, c1, c2, c3, c4, c5, c6, c7"));
    assert_eq!(
        said.expect_err("8·10⁸ elements"),
        "with `c5`, tensor<bool, [100000000]>, values of more than 536870912 elements would be held, the most that the reference engine does"
    );
}

#[test]
fn loops_that_do_not_end_are_ended() {
    let text = "bool yes = const()[val = bool(true)];\n        bool c = while_loop(loop_vars = (yes))(bool i) { } -> (i)(bool j) { } -> (j);";
    assert_eq!(
        runs(&constants(text, "c")).expect_err("no end"),
        "the loop that computes `c` does not end: loops have run 1048576 times"
    );
}
