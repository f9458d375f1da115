//! For each rule that a text decides: a program that breaks it, and one that does not.

use super::check;
use ane::rules::{self, Chip};
use mil::diag::Place;

/// A rule, a chip, and two programs: parameters, operations, results. `T` is `tensor<fp16, [1, 64, 1, 64]>`; a `!` at
/// the start stands for a whole text.
struct Case(&'static str, Chip, [&'static str; 3], [&'static str; 3]);

const A: &str = "T a";

fn expand([params, body, results]: [&str; 3]) -> String {
    let whole = match params.strip_prefix('!') {
        Some(text) => text.to_owned(),
        None => format!(
            "program(1.3)\n[buildInfo = dict<string, string>({{}})]\n{{\n    func main<ios18>({params}) {{\n        {body}\n    }} -> ({results});\n}}\n"
        ),
    };
    whole.replace("T ", "tensor<fp16, [1, 64, 1, 64]> ").replace("CONV", CONV)
}

/// What `conv` has to state.
const CONV: &str = "strides = tensor<int32, [2]>([1, 1]), pad = tensor<int32, [4]>([0, 0, 0, 0]), \
    pad_type = string(\"valid\"), dilations = tensor<int32, [2]>([1, 1]), groups = int32(1)";

/// An operation on one value: `T b = op(x = a, …);`.
macro_rules! case {
    ($id:literal, $chip:ident, $bad:expr, $good:expr) => {
        Case($id, Chip::$chip, $bad, $good)
    };
}

const SOUND: [&str; 3] = [A, "T b = relu(x = a);", "b"];

const CASES: &[Case] = &[
    case!(
        "W3",
        M4,
        [
            A,
            r#"T w = const()[val = T (BLOBFILE(path = string("w.bin"), offset = uint64(64)))]; T b = add(x = a, y = w);"#,
            "b"
        ],
        [
            A,
            r#"T w = const()[val = T (BLOBFILE(path = string("@model_path/weights/w.bin"), offset = uint64(64)))]; T b = add(x = a, y = w);"#,
            "b"
        ]
    ),
    case!(
        "W11",
        M4,
        [
            "T a0, T a1, T a2, T a3, T a4, T a5, T a6, T a7, T a8, T a9, T b0, T b1, T b2, T b3, T b4, T b5, T b6, T b7, T b8, T b9, T c0, T c1, T c2, T c3, T c4, T c5, T c6, T c7, T c8, T c9, T d0, T d1, T d2",
            "T z = relu(x = a0);",
            "z"
        ],
        SOUND
    ),
    case!(
        "S1",
        M4,
        ["T b, T a", "T z = add(x = a, y = b);", "z"],
        ["T a, T b", "T z = add(x = a, y = b);", "z"]
    ),
    case!("S2", M4, ["T a, T b, T c, T d, T e, T f, T g, T h, T i", "T z = add(x = a, y = b);", "z"], SOUND),
    case!(
        "S3",
        M4,
        ["T a, tensor<fp16, [1, 32, 1, 64]> b", "T z = relu(x = a);", "z"],
        ["T a, T b", "T z = add(x = a, y = b);", "z"]
    ),
    case!(
        "S4",
        A17,
        ["tensor<fp16, [1, 4, 1, 64]> a", "T b = op(x = a);", "b"],
        ["tensor<fp16, [1, 256, 1, 64]> a", "tensor<fp16, [1, 256, 1, 64]> b = relu(x = a);", "b"]
    ),
    case!("S6", M4, ["tensor<fp16, [1, 64, 1, 24]> a", "T b = op(x = a);", "b"], SOUND),
    case!("S7", M3, ["tensor<fp16, [1, 64, 1, 16]> a", "T b = op(x = a);", "b"], SOUND),
    case!("S8", M4, ["tensor<fp16, [1, 64, 1, 16]> a", "T b = op(x = a);", "b"], SOUND),
    case!("S9", M5, ["tensor<fp16, [1, 1, 1, 48]> a", "T b = op(x = a);", "b"], SOUND),
    case!(
        "S11",
        M4,
        ["tensor<fp16, [1, 64, 1, 14600]> a", "T b = op(x = a);", "b"],
        ["tensor<fp16, [1, 64, 1, 14592]> a", "T b = op(x = a);", "b"]
    ),
    case!(
        "S12",
        M2,
        [A, "tensor<fp16, [1, 1, 1, 20000]> b = op(x = a);", "b"],
        [A, "tensor<fp16, [1, 20000, 1, 64]> b = op(x = a);", "b"]
    ),
    case!(
        "S12",
        M4,
        [A, "tensor<fp16, [1, 70000, 1, 64]> b = op(x = a);", "b"],
        [A, "tensor<fp16, [1, 70000, 1, 64]> b = conv(x = a, weight = a);", "b"]
    ),
    case!(
        "S13",
        M4,
        [A, "tensor<fp16, [1, 1, 1, 1, 64, 64]> b = op(x = a);", "b"],
        [A, "tensor<fp16, [1, 1, 1, 64, 64]> b = op(x = a);", "b"]
    ),
    case!(
        "S13",
        M4,
        ["tensor<fp16, [1, 1, 1, 64, 64]> a", "T b = matmul(x = a, y = a);", "b"],
        [A, "T b = matmul(x = a, y = a);", "b"]
    ),
    case!(
        "S14",
        M1,
        ["tensor<fp16, [32768]> a", "tensor<fp16, [32768]> b = add(x = a, y = a);", "b"],
        [A, "T b = add(x = a, y = a);", "b"]
    ),
    case!("S15", M4, ["tensor<fp32, [1, 64, 1, 64]> a", "T b = op(x = a);", "b"], SOUND),
    case!("S16", M4, [A, "T b = relu(x = a);", "a"], SOUND),
    case!("S16", M4, [A, "tensor<int32, [1, 64]> b = op(x = a);", "b"], SOUND),
    case!("S16", M4, [A, "fp16 b = const()[val = fp16(1)];", "b"], SOUND),
    case!(
        "S17",
        M4,
        [
            A,
            r#"tensor<fp16, [65536, 65536]> w = const()[val = tensor<fp16, [65536, 65536]>(BLOBFILE(path = string("@model_path/weights/w.bin"), offset = uint64(64)))]; T b = op(x = w);"#,
            "b"
        ],
        SOUND
    ),
    case!("S19", M4, ["tensor<fp16, [1, ?, 1, 64]> a", "T b = op(x = a);", "b"], SOUND),
    case!(
        "T1",
        M4,
        ["!program(2.0)\n{ func main<ios18>(T a) { T b = relu(x = a); } -> (b); }", "", ""],
        SOUND
    ),
    case!(
        "T1",
        M4,
        ["!program(1.0)\n{ func main<ios14>(T a) { T b = relu(x = a); } -> (b); }", "", ""],
        ["!program(1.0)\n{ func main<ios16>(T a) { T b = relu(x = a); } -> (b); }", "", ""]
    ),
    case!(
        "T2",
        M4,
        ["!program(1.3)\n{ func main<ios18>(T a) { T b = relu(x = a); } -> (b); }", "", ""],
        SOUND
    ),
    case!(
        "T3",
        M4,
        [A, "T b = mul(x = a, y = fp16(2));", "b"],
        [A, "fp16 two = const()[val = fp16(2)]; T b = mul(x = a, y = two);", "b"]
    ),
    case!("T5", M1, ["T x", "T b = relu(x = x);", "b"], SOUND),
    case!(
        "T6",
        M4,
        [
            A,
            r#"T w = const()[val = T (BLOBFILE(path = string("@model_path/weights/w.bin"), offset = uint64(128)))]; T b = add(x = a, y = w);"#,
            "b"
        ],
        [
            A,
            r#"T w = const()[val = T (BLOBFILE(path = string("@model_path/weights/w.bin"), offset = uint64(64)))]; T b = add(x = a, y = w);"#,
            "b"
        ]
    ),
    case!(
        "T7",
        M1,
        [
            A,
            r#"T w = const()[val = T (BLOBFILE(path = string("@model_path/weights/w.bin"), offset = uint64(64)))]; T v = const()[val = T (BLOBFILE(path = string("@model_path/weights/w.bin"), offset = uint64(8384)))]; T b = add(x = v, y = w);"#,
            "b"
        ],
        [
            A,
            r#"T w = const()[val = T (BLOBFILE(path = string("@model_path/weights/w.bin"), offset = uint64(64)))]; T v = const()[val = T (BLOBFILE(path = string("@model_path/weights/w.bin"), offset = uint64(64)))]; T b = add(x = v, y = w);"#,
            "b"
        ]
    ),
    case!(
        "T8",
        M4,
        ["T a, T w", "T b = conv(x = a, weight = w);", "b"],
        ["T a, T w", "T b = conv(x = a, weight = w, CONV);", "b"]
    ),
    case!(
        "T8",
        M4,
        ["T a, T w", "T b = conv(x = a, weight = w, bias = w, CONV);", "b"],
        ["T a, T w", "T b = conv(x = a, weight = w, CONV);", "b"]
    ),
    case!("T9", M4, ["T a, T c", "T b = concat(values = (a, c), axis = int32(1));", "b"], SOUND),
    case!(
        "T9",
        M4,
        ["T a, T c", "T b = concat(values = (a, c), axis = int32(1), interleave = bool(false));", "b"],
        SOUND
    ),
    case!(
        "T10",
        M4,
        ["T a, bool t", "T b = matmul(x = a, y = a, transpose_y = t);", "b"],
        [A, "T b = matmul(x = a, y = a, transpose_y = bool(true));", "b"]
    ),
    case!(
        "T11",
        M4,
        [A, "fp16 w = const()[val = fp16(1)]; T b = matmul(x = a, y = w);", "b"],
        [A, "T b = matmul(x = a, y = a);", "b"]
    ),
    case!(
        "T12",
        M4,
        [A, "T b = matmul(x = a, y = a);", "b"],
        ["tensor<fp16, [1, 12, 64, 64]> a", "T b = matmul(x = a, y = a);", "b"]
    ),
    case!(
        "T13",
        M1,
        ["tensor<fp16, [1, 64, 48]> a", "T b = matmul(x = a, y = a, transpose_y = bool(true));", "b"],
        [A, "T b = matmul(x = a, y = a);", "b"]
    ),
    case!(
        "T14",
        M3,
        ["T a, T w", "T b = conv(x = a, weight = w);", "b"],
        [
            A,
            "tensor<fp16, [1]> w = const()[val = tensor<fp16, [1]>([1])]; T b = conv(x = a, weight = w);",
            "b"
        ]
    ),
    case!(
        "T15",
        M4,
        [
            "T a, T m",
            "T b = scaled_dot_product_attention(query = a, key = a, value = a, attn_mask = m);",
            "b"
        ],
        [A, "T b = scaled_dot_product_attention(query = a, key = a, value = a);", "b"]
    ),
    case!(
        "T15",
        M4,
        [
            "tensor<fp16, [1, 8, 4096, 64]> a",
            "T b = scaled_dot_product_attention(query = a, key = a, value = a);",
            "b"
        ],
        SOUND
    ),
    case!("T16", M4, [A, "T b = gelu(x = a);", "b"], SOUND),
    case!("T17", M4, [A, "T b = rsqrt(x = a);", "b"], [A, "T b = rsqrt(x = a, epsilon = fp16(0.001));", "b"]),
    case!(
        "T18",
        M4,
        [A, "T b = pow(x = a, y = fp16(-0.5));", "b"],
        [A, "T b = pow(x = a, y = fp16(2));", "b"]
    ),
    case!("T19", A17, [A, "T b = log(x = a);", "b"], [A, "T b = log(x = a, epsilon = fp16(0.001));", "b"]),
    case!(
        "T20",
        M4,
        [A, "T s = reduce_sum(x = a); T b = rsqrt(x = s);", "b"],
        [A, "T s = reduce_sum(x = a); T e = add(x = s, y = fp16(1)); T b = rsqrt(x = e);", "b"]
    ),
    case!("T21", M4, [A, "T b = inverse(x = a);", "b"], SOUND),
    case!("T22", M4, [A, "T b = reduce_mean(x = a);", "b"], SOUND),
    case!(
        "T23",
        M3,
        ["tensor<fp16, [1, 64, 1, 96]> a", "T b = softmax(x = a, axis = int32(-1));", "b"],
        [A, "T b = softmax(x = a, axis = int32(-1));", "b"]
    ),
    case!(
        "T24",
        M4,
        [
            "T a, tensor<int32, [4]> i",
            "T b = slice_by_size(x = a, begin = i, size = tensor<int32, [4]>([1, 1, 1, 1]));",
            "b"
        ],
        [
            A,
            "T b = slice_by_size(x = a, begin = tensor<int32, [4]>([0, 0, 0, 0]), size = tensor<int32, [4]>([1, 1, 1, 1]));",
            "b"
        ]
    ),
    case!("T24", M4, [A, "tensor<fp16, [1, 0, 1, 64]> b = slice_by_size(x = a);", "b"], SOUND),
    case!("T25", M4, [A, "tensor<int32, [1, 64]> b = cast(x = a, dtype = string(\"int32\"));", "b"], SOUND),
    case!("T25", M4, ["T a, tensor<int32, [1]> i", "T b = gather(x = a, indices = i);", "b"], SOUND),
    case!(
        "T26",
        M4,
        [
            "T a, state<tensor<fp16, [1, 64]>> s",
            "T r = read_state(input = s); T q = read_state(input = s); write_state(input = s, data = a); T b = add(x = r, y = q);",
            "b"
        ],
        [
            "T a, state<tensor<fp16, [1, 64]>> s",
            "T r = read_state(input = s); write_state(input = s, data = a); T b = add(x = r, y = a);",
            "b"
        ]
    ),
    case!("T27", M4, [A, "T b = tile(x = a);", "b"], SOUND),
    case!(
        "T28",
        M4,
        ["T a, tensor<fp16, [8, 64, 1, 64]> c", "T b = mul(x = a, y = c);", "b"],
        ["T a, T c", "T b = mul(x = a, y = c);", "b"]
    ),
    case!(
        "T28",
        M1,
        ["tensor<fp16, [1, 64, 64]> a, tensor<fp16, [1, 64, 1]> c", "T b = mul(x = a, y = c);", "b"],
        SOUND
    ),
    case!(
        "T28",
        M1,
        [
            "T a, tensor<fp16, [1, 1, 1, 64]> c",
            "tensor<fp16, [1, 1, 1, 64]> r = sqrt(x = c); T b = mul(x = a, y = r);",
            "b"
        ],
        SOUND
    ),
    case!(
        "T29",
        M1,
        ["tensor<fp16, [1, 64, 64]> a", "T b = relu(x = a);", "b"],
        ["tensor<fp16, [1, 64, 64]> a, tensor<fp16, [1, 64, 64]> c", "T b = matmul(x = a, y = c);", "b"]
    ),
    case!(
        "T30",
        M3,
        [A, "T w = constexpr_affine_dequantize()[axis = int32(0)]; T b = add(x = a, y = w);", "b"],
        SOUND
    ),
    case!(
        "T32",
        M1,
        [A, "tensor<fp16, [64, 64, 1, 14]> w = op(x = a); T b = conv(x = a, weight = w);", "b"],
        [A, "tensor<fp16, [64, 64, 1, 13]> w = op(x = a); T b = conv(x = a, weight = w);", "b"]
    ),
    case!(
        "T32",
        M4,
        [A, "T b = conv_transpose(x = a, strides = tensor<int32, [2]>([4, 4]));", "b"],
        [A, "T b = conv_transpose(x = a, strides = tensor<int32, [2]>([2, 2]));", "b"]
    ),
    case!(
        "T32",
        M4,
        [A, "T b = conv(x = a, weight = a, groups = int32(3));", "b"],
        [A, "T b = conv(x = a, groups = int32(4));", "b"]
    ),
    case!(
        "T32",
        M4,
        [A, "T b = pad(x = a, pad = tensor<int32, [6]>([1, 1, 0, 0, 0, 0]));", "b"],
        [A, "T b = pad(x = a, pad = tensor<int32, [6]>([0, 0, 1, 1, 1, 1]));", "b"]
    ),
    case!(
        "T32",
        M4,
        ["tensor<fp16, [1, 4096]> a", "T b = reduce_argmax(x = a, axis = int32(-1));", "b"],
        ["tensor<fp16, [1, 2048]> a", "T b = reduce_argmax(x = a, axis = int32(-1));", "b"]
    ),
    case!(
        "T32",
        M4,
        [A, "T b = topk(x = a, k = int32(4));", "b"],
        [A, "T b = topk(x = a, k = int32(5));", "b"]
    ),
    case!("T33", M1, [A, "T b = sin(x = a);", "b"], [A, "T b = topk(x = a, k = int32(5));", "b"]),
    case!(
        "T33",
        A13,
        [A, "T b = pad(x = a, mode = string(\"reflect\"));", "b"],
        [A, "T b = pad(x = a, mode = string(\"constant\"));", "b"]
    ),
    case!("T34", M4, [A, "T b = tan(x = a);", "b"], SOUND),
    case!(
        "T35",
        M4,
        [A, "T s = reduce_max(x = a); T b = mul(x = s, y = fp16(0));", "b"],
        [A, "T s = reduce_max(x = a); T b = mul(x = s, y = fp16(1));", "b"]
    ),
    case!("T35", M4, [A, "T b = identity(x = a);", "b"], SOUND),
    case!(
        "T35",
        M4,
        [A, "tensor<fp16, [1, 200000]> r = reshape(x = a); T b = concat(values = (r, r));", "b"],
        [A, "tensor<fp16, [1, 2000]> r = reshape(x = a); T b = concat(values = (r, r));", "b"]
    ),
    case!(
        "T35",
        M4,
        ["tensor<fp16, [128, 64, 1, 64]> a", "T b = conv(x = a);", "b"],
        [A, "T b = conv(x = a);", "b"]
    ),
    case!(
        "N10",
        M4,
        [A, "T b = reduce_sum(x = a, axes = tensor<int32, [1]>([1]));", "b"],
        [A, "T b = reduce_sum(x = a, axes = tensor<int32, [1]>([2]));", "b"]
    ),
    case!(
        "N13",
        M1,
        [A, "T b = slice_by_size(x = a, begin = tensor<int32, [4]>([0, 0, 0, 8]));", "b"],
        [A, "T b = slice_by_size(x = a, begin = tensor<int32, [4]>([0, 8, 0, 0]));", "b"]
    ),
    case!(
        "N17",
        M4,
        [A, "T w = constexpr_affine_dequantize()[axis = int32(0)]; T b = add(x = a, y = w);", "b"],
        SOUND
    ),
    case!("N18", M4, [A, "T b = round(x = a);", "b"], SOUND),
    case!(
        "P1",
        M4,
        SOUND,
        ["tensor<fp16, [1, 4096, 4096]> a", "tensor<fp16, [1, 4096, 4096]> b = matmul(x = a, y = a);", "b"]
    ),
    case!(
        "P4",
        M4,
        [A, "fp16 w = const()[val = fp16(1)]; T b = linear(x = a, weight = w);", "b"],
        [A, "T b = matmul(x = a, y = a);", "b"]
    ),
    case!(
        "P5",
        M4,
        ["tensor<fp16, [1, 256, 1, 64]> a", "T b = conv(x = a);", "b"],
        [A, "tensor<fp16, [1, 256, 1, 64]> b = conv(x = a);", "b"]
    ),
    case!(
        "P6",
        M3,
        ["tensor<fp16, [1, 768, 1, 64]> a", "T b = conv(x = a);", "b"],
        [A, "T b = conv(x = a);", "b"]
    ),
    case!(
        "P8",
        M6,
        [A, "tensor<fp16, [64, 64, 1, 9]> w = op(x = a); T b = conv(x = a, weight = w);", "b"],
        [A, "tensor<fp16, [64, 64, 3, 3]> w = op(x = a); T b = conv(x = a, weight = w);", "b"]
    ),
    case!("P12", M4, [A, "tensor<fp32, [1, 64]> b = cast(x = a, dtype = string(\"fp32\"));", "b"], SOUND),
    case!(
        "P15",
        M1,
        [A, "T w = constexpr_affine_dequantize()[axis = int32(0)]; T b = add(x = a, y = w);", "b"],
        [A, "T w = constexpr_lut_to_dense()[axis = int32(0)]; T b = add(x = a, y = w);", "b"]
    ),
];

#[test]
fn each_rule_is_found_where_it_is_broken_and_nowhere_else() {
    let mut wrong = Vec::new();
    for &Case(id, chip, broken, sound) in CASES {
        let text = expand(broken);
        let found = check(&text, &[chip]);
        match found.iter().find(|f| f.rule.id == id) {
            None => wrong.push(format!("{id} is not found in\n{text}")),
            Some(finding) => {
                let diagnostic = finding.diagnostic();
                assert_eq!((diagnostic.code, &finding.chips[..]), (id, &[chip][..]));
                assert!(diagnostic.message.contains(&chip.to_string()), "{}", diagnostic.message);
                assert!(matches!(&diagnostic.place, Place::Text(r) if r.end <= text.len()), "{diagnostic:?}");
            }
        }
        let text = expand(sound);
        if let Some(f) = check(&text, &[chip]).iter().find(|f| f.rule.id == id) {
            wrong.push(format!("{id} is found ({}) in\n{text}", f.message));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_rule_with_a_check_has_a_case() {
    for rule in rules::all().filter(|r| r.is_checked()) {
        assert!(CASES.iter().any(|c| c.0 == rule.id), "{} has no case", rule.id);
    }
}

#[test]
fn too_many_operations_do_not_load() {
    let body: String = (0..3165).map(|i| format!("T v{i} = relu(x = a);\n")).collect();
    let found = check(&expand([A, &body, "v0"]), &[Chip::M4]);
    let finding = found.iter().find(|f| f.rule.id == "S17").expect("found");
    assert_eq!(finding.message, "`main` has 3165 operations, more than 3164");
}
