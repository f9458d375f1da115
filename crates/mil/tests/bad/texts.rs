//! Texts that are no programs, or wrong ones.

use super::{bodies, body, group};
use mil::text;

const F: &str = "    func main<ios18>(fp16 x) {\n    } -> (x);\n";

#[test]
fn around_functions() {
    let of = |text: &str| text.to_owned();
    insta::assert_snapshot!(group(&[
        ("an empty text", of("")),
        ("another language", of("def main(x):\n    return x\n")),
        ("no version", format!("program()\n{{\n{F}}}")),
        ("no function", of("program(1.3)\n{\n}")),
        ("a function without opset", of("program(1.3)\n{\n    func main(fp16 x) {\n    } -> (x);\n}")),
        ("an opset that does not exist", format!("program(1.3)\n{{\n{}}}", F.replace("ios18", "ios99"))),
        ("two functions of one name", format!("program(1.3)\n{{\n{F}{F}}}")),
        (
            "two parameters of one name",
            format!("program(1.3)\n{{\n{}}}", F.replace("fp16 x", "fp16 x, fp32 x"))
        ),
        ("a function that returns nothing", format!("program(1.3)\n{{\n{}}}", F.replace("(x);", "();"))),
        ("a result that nothing defines", format!("program(1.3)\n{{\n{}}}", F.replace("(x);", "(y);"))),
        ("no semicolon behind a function", format!("program(1.3)\n{{\n{}}}", F.replace("(x);", "(x)"))),
        ("text behind the program", format!("program(1.3)\n{{\n{F}}}\n}}")),
        (
            "build information that is no dictionary",
            format!("program(1.3)\n[buildInfo = int32(1)]\n{{\n{F}}}")
        ),
        ("a name that is a number", format!("program(1.3)\n{{\n{}}}", F.replace("main", "1st"))),
    ]));
}

#[test]
fn syntax() {
    insta::assert_snapshot!(bodies(&[
        ("no `=`", "fp16 c mul(x = x);"),
        ("no comma", "fp16 c = mul(x = x y = x);"),
        (
            "no semicolon",
            "tensor<fp16, [2, 3]> c = relu(x = x)\n        tensor<fp16, [2, 3]> d = relu(x = c);"
        ),
        ("positional arguments", "tensor<fp16, [2, 3]> c = add(x, x);"),
        ("a bare number", "tensor<fp16, [2, 3]> c = mul(x = x, y = -1.5);"),
        ("a bare truth", "tensor<fp16, [2, 3]> c = mul(x = x, y = true);"),
        ("a bare list", "tensor<fp16, [2, 3]> c = transpose(perm = [1, 0], x = x);"),
        ("a bare word", "tensor<fp16, [2, 3]> c = cast(dtype = \"fp16\", x = x);"),
        ("a letter that MIL has not", "tensor<fp16, [2, 3]> größe = relu(x = x);"),
        ("a string that never ends", "string c = const()[val = string(\"valid)];"),
        ("a comma behind the last", "tensor<int32, [1]> c = const()[val = tensor<int32, [1]>([1,])];"),
        ("attributes that never end", "int32 c = const()[val = int32(1);"),
        ("an operation without brackets", "fp16 c = relu;"),
        ("a closing bracket of another kind", "tensor<fp16, [2, 3]> c = relu(x = x];"),
    ]));
}

#[test]
fn types_and_literals() {
    insta::assert_snapshot!(bodies(&[
        ("a type that does not exist", "fp12 c = const()[val = fp12(1)];"),
        ("a type in capitals", "Tensor<fp16, [2]> c = relu(x = x);"),
        ("a tensor without a shape", "tensor<fp16> c = relu(x = x);"),
        ("a negative size", "tensor<fp16, [-2, 3]> c = relu(x = x);"),
        ("a size that no machine has", "tensor<fp16, [99999999999999999999]> c = relu(x = x);"),
        ("a size with a point", "tensor<fp16, [2.5]> c = relu(x = x);"),
        ("too many rows", "tensor<int32, [2]> c = const()[val = tensor<int32, [2]>([1, 2, 3])];"),
        ("too deep rows", "tensor<int32, [2]> c = const()[val = tensor<int32, [2]>([[1, 2]])];"),
        ("ragged rows", "tensor<int32, [2, 2]> c = const()[val = tensor<int32, [2, 2]>([[1, 2], [3]])];"),
        ("a list for a number", "int32 c = const()[val = int32([1])];"),
        ("a number for a list", "tensor<int32, [1]> c = const()[val = tensor<int32, [1]>(1)];"),
        ("a fraction as an integer", "int32 c = const()[val = int32(1.5)];"),
        ("a word as a number", "fp16 c = const()[val = fp16(one)];"),
        ("a number as a truth", "bool c = const()[val = bool(1)];"),
        ("a number as a string", "string c = const()[val = string(1)];"),
        ("hexadecimal digits without a number", "fp32 c = const()[val = fp32(0x)];"),
        ("an exponent without digits", "fp32 c = const()[val = fp32(0x1p)];"),
        ("out of an integer's range", "int8 c = const()[val = int8(128)];"),
        ("a negative unsigned number", "uint8 c = const()[val = uint8(-1)];"),
        ("an integer that no machine has", "int32 c = const()[val = int32(99999999999999999999)];"),
        ("an integer in hexadecimal", "int32 c = const()[val = int32(0xFFFFFFFFFF)];"),
        ("1e400", "fp32 c = const()[val = fp32(1e400)];"),
        ("hexadecimal overflow", "fp16 c = const()[val = fp16(0x1p+99999)];"),
        ("a float that rounds to infinity", "fp16 c = const()[val = fp16(65520)];"),
        ("a very long number", &format!("int32 c = const()[val = int32({})];", "7".repeat(1000))),
        ("a state's literal", "int32 c = const()[val = state<int32>(1)];"),
        ("a dictionary for a tensor", "int32 c = const()[val = dict<string, int32>({{\"a\", 1}})];"),
        (
            "a blob without offset",
            "fp16 c = const()[val = fp16(BLOBFILE(path = string(\"@model_path/w.bin\")))];"
        ),
        ("a blob with another field", "fp16 c = const()[val = fp16(BLOBFILE(file = string(\"w.bin\")))];"),
        (
            "a negative offset",
            "fp16 c = const()[val = fp16(BLOBFILE(path = string(\"w.bin\"), offset = int64(-64)))];",
        ),
        (
            "an offset beyond 64 bits",
            "fp16 c = const()[val = fp16(BLOBFILE(path = string(\"w.bin\"), offset = uint64(99999999999999999999)))];",
        ),
        (
            "a path that is no string",
            "fp16 c = const()[val = fp16(BLOBFILE(path = int32(1), offset = uint64(64)))];"
        ),
    ]));
}

#[test]
fn parameters() {
    insta::assert_snapshot!(bodies(&[
        ("an operation that does not exist", "tensor<fp16, [2, 3]> c = sotfmax(axis = n, x = x);"),
        ("an operation that is like none", "tensor<fp16, [2, 3]> c = frobnicate(x = x);"),
        ("a parameter that does not exist", "tensor<fp16, [2, 3]> c = softmax(axes = n, x = x);"),
        ("a parameter like none", "tensor<fp16, [2, 3]> c = mul(x = x, z = x);"),
        ("an attribute that does not exist", "tensor<fp16, [2, 3]> c = relu(x = x)[axis = int32(1)];"),
        ("an attribute among the arguments", "fp16 c = const(val = fp16(1));"),
        ("an argument among the attributes", "tensor<fp16, [2, 3]> c = mul(x = x)[y = fp16(1)];"),
        ("a missing argument", "tensor<fp16, [2, 3]> c = mul(x = x);"),
        ("a missing attribute", "fp16 c = const()[name = string(\"c\")];"),
        ("an argument given twice", "tensor<fp16, [2, 3]> c = mul(x = x, y = x, x = x);"),
        ("an attribute given twice", "fp16 c = const()[val = fp16(1), val = fp16(2)];"),
        ("a list where one value is taken", "tensor<fp16, [2, 3]> c = relu(x = (x, x));"),
        ("a computed value that must be constant", "tensor<fp16, [2, 3]> c = softmax(axis = n, x = x);"),
        ("a name that is no string", "tensor<fp16, [2, 3]> c = relu(x = x)[name = int32(1)];"),
        ("a newer operation", "tensor<fp16, [2, 3]> c = relu<ios99>(x = x);"),
        ("blocks where none are taken", "tensor<fp16, [2, 3]> c = relu(x = x)() { } -> (x);"),
        ("an argument of another dtype", "tensor<fp16, [2, 3]> c = logical_not(x = x);"),
        ("two dtypes", "tensor<fp16, [2, 3]> c = mul(x = x, y = n);"),
        ("shapes that do not go together", "tensor<fp16, [2, 3]> c = matmul(x = x, y = x);"),
        ("an axis out of range", "tensor<fp16, [2, 3]> c = softmax(axis = int32(5), x = x);"),
        ("a result of another type", "tensor<fp16, [3, 2]> c = relu(x = x);"),
        ("too many results", "tensor<fp16, [2, 3]> c, tensor<fp16, [2, 3]> d = relu(x = x);"),
        ("a constant of another type", "fp32 c = const()[val = fp16(1)];"),
    ]));
}

#[test]
fn names() {
    insta::assert_snapshot!(bodies(&[
        ("nothing of this name", "tensor<fp16, [2, 3]> c = mul(x = x, y = w);"),
        (
            "a slip of the pen",
            "fp16 scale = const()[val = fp16(2)];\n        tensor<fp16, [2, 3]> c = mul(x = x, y = scael);"
        ),
        (
            "use before definition",
            "tensor<fp16, [2, 3]> c = relu(x = d);\n        tensor<fp16, [2, 3]> d = relu(x = x);"
        ),
        ("a value of itself", "tensor<fp16, [2, 3]> c = relu(x = c);"),
        ("a circle", "tensor<fp16, [2, 3]> c = relu(x = d);\n        tensor<fp16, [2, 3]> d = relu(x = c);"),
        (
            "a name twice",
            "tensor<fp16, [2, 3]> c = relu(x = x);\n        tensor<fp16, [2, 3]> c = relu(x = x);"
        ),
        ("a parameter's name", "tensor<fp16, [2, 3]> x = relu(x = x);"),
        (
            "many mistakes, no consequences",
            "fp16 c = sotfmax(x = x);\n        fp16 d = mul(x = c, y = q);\n        fp12 e = mul(x = x, y = d);\n        fp16 g = = x;\n        fp16 h = mul(x = e, y = g);",
        ),
    ]));
}

#[test]
fn blocks_and_states() {
    let cond =
        |yes: &str, no: &str| format!("tensor<fp16, [2, 3]> c = cond(pred = b)() {{ {yes} }} -> ({no});");
    let first = cond("", "x) () { } -> (x");
    let loops = |condition: &str, body: &str| {
        format!("tensor<fp16, [2, 3]> c = while_loop(loop_vars = (x)){condition}{body};")
    };
    let go = "(tensor<fp16, [2, 3]> i) { } -> (b)";
    let on = "(tensor<fp16, [2, 3]> j) { } -> (j)";
    assert!(mil::text::load(&body(&first)).is_ok(), "the case itself");
    assert!(mil::text::load(&body(&loops(go, on))).is_ok(), "the case itself");
    insta::assert_snapshot!(bodies(&[
        ("one block of two", &cond("", "x")),
        ("a condition that is no truth", &first.replace("pred = b", "pred = x")),
        ("blocks of different types", &first.replacen("(x)", "(n)", 1)),
        (
            "a block's own value used outside",
            &format!(
                "{}\n        tensor<fp16, [2, 3]> d = relu(x = y);",
                cond("tensor<fp16, [2, 3]> y = relu(x = x);", "y) () { } -> (x")
            )
        ),
        (
            "a name that stands outside already",
            &cond("tensor<fp16, [2, 3]> x = relu(x = x);", "x) () { } -> (x")
        ),
        ("parameters where none are given", &first.replacen("()", "(fp16 p)", 1)),
        ("a loop without a body", &loops(go, "")),
        ("a loop that goes on for a number", &loops("(tensor<fp16, [2, 3]> i) { } -> (n)", on)),
        ("a body with other parameters", &loops(go, "(fp16 j) { } -> (x)")),
        ("a body with other results", &loops(go, "(tensor<fp16, [2, 3]> j) { } -> (n)")),
        ("a loop without variables", &loops(go, on).replace("loop_vars = (x)", "")),
        ("a block that never ends", "tensor<fp16, [2, 3]> c = cond(pred = b)() { } -> (x) () {"),
        (
            "a state inside a block",
            &cond("tensor<fp16, [2, 3]> y = read_state(input = s);", "y) () { } -> (x")
        ),
        ("a state of another type", "write_state(data = n, input = s);"),
    ]));
}

#[test]
fn bytes_that_are_no_text() {
    let mut out = String::new();
    let cases: [(&str, &[u8]); 5] = [
        ("a byte of Latin-1", b"program(1.3)\n{ // gr\xfc\xdfe\n}"),
        ("a character cut off", b"program(1.3)\n\xe2\x82"),
        ("UTF-16", b"\xff\xfep\0r\0o\0g\0r\0a\0m\0"),
        ("a file in binary form", b"\x08\x09\x12\x00\xa2\x1f"),
        ("behind other characters", "größe\n größe \u{1F600}".as_bytes()),
    ];
    for (about, bytes) in cases {
        let mut bytes = bytes.to_vec();
        if about.starts_with("behind") {
            bytes.push(0x80);
        }
        let report = text::from_utf8(&bytes).expect_err(about);
        out += &format!("──── {about}\n{}\n", report.render("bad.mil", &String::from_utf8_lossy(&bytes)));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn truncated() {
    let text = body(
        "tensor<int32, [2]> p = const()[name = string(\"p\"), val = tensor<int32, [2]>([1, 0])];\n        tensor<fp16, [3, 2]> c = transpose(perm = p, x = x);",
    );
    let places = [
        "1.3",
        "main<",
        "[2",
        "3]> x",
        "state<",
        "{\n        tens",
        "const()[",
        "string(\"p",
        ">([1",
        "0])",
        "transpose(",
        "perm = ",
        "x = x)",
        "} ->",
        "} -> (x",
    ];
    let cases: Vec<_> = places
        .iter()
        .map(|place| {
            let at = text.rfind(place).expect(place) + place.len();
            (*place, text[..at].to_owned())
        })
        .collect();
    insta::assert_snapshot!(group(&cases));
    for end in 0..text.len() {
        assert!(text::load(&text[..end]).is_err());
    }
}
