//! For each rule that a text decides: a program that breaks it, and one that does not.

use super::check;
use anelint::rules::{self, Chip};
use mil::diag::Place;

/// A rule, a chip, and two programs: parameters, operations, results. `T` is `tensor<fp16, [1, 64, 1, 64]>`; a `!` at
/// the start stands for a whole text.
struct Case(&'static str, Chip, [&'static str; 3], [&'static str; 3]);

const A: &str = "T a";
const FLAT: &str = "F a, F c";
const AFFINE_INPUT: &str = "tensor<fp16, [16, 1024]> a";
const WIDE_INPUT: &str = "tensor<fp16, [1, 10240]> a";

/// Short for what is long to write: `F` two axes, `R` a reshape to four of them, `T4` its type, a number for each channel.
fn spell(text: &str) -> String {
    let numbers = |n: usize, varied: bool| {
        let rows: Vec<&str> = (0..n).map(|i| if varied && i % 7 == 1 { "[[2]]" } else { "[[1]]" }).collect();
        format!("tensor<fp16, [1, {n}, 1, 1]>([[{}]])", rows.join(", "))
    };
    let words = [
        ("F ", "tensor<fp16, [64, 64]> ".to_owned()),
        ("RW ", "W4 r = reshape(x = a, shape = tensor<int32, [4]>([1, 10240, 1, 1])); ".to_owned()),
        ("R ", "T4 r = reshape(x = a, shape = tensor<int32, [4]>([16, 1024, 1, 1])); ".to_owned()),
        ("S2W", "tensor<int32, [2]>([1, 10240])".to_owned()),
        ("S2", "tensor<int32, [2]>([16, 1024])".to_owned()),
        ("W4 ", "tensor<fp16, [1, 10240, 1, 1]> ".to_owned()),
        ("T4 ", "tensor<fp16, [16, 1024, 1, 1]> ".to_owned()),
        ("VARIED", numbers(1024, true)),
        ("EQUAL", numbers(1024, false)),
        ("MANY", numbers(10240, true)),
    ];
    words.into_iter().fold(text.to_owned(), |text, (word, long)| text.replace(word, &long))
}

fn expand([params, body, results]: [&str; 3]) -> String {
    let whole = match params.strip_prefix('!') {
        Some(text) => text.to_owned(),
        None => format!(
            "program(1.3)\n[buildInfo = dict<string, string>({{}})]\n{{\n    func main<ios18>({params}) {{\n        {body}\n    }} -> ({results});\n}}\n"
        ),
    };
    spell(&whole.replace("CONV", CONV)).replace("T ", "tensor<fp16, [1, 64, 1, 64]> ")
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
    // Orion's programs name other folders, and 14 of 17 ran on M4 Max.
    case!(
        "W3",
        M4,
        [
            A,
            r#"T w = const()[val = T (BLOBFILE(path = string("@model_path/"), offset = uint64(64)))]; T b = add(x = a, y = w);"#,
            "b"
        ],
        [
            A,
            r#"T w = const()[val = T (BLOBFILE(path = string("@model_path/layer0/wq.bin"), offset = uint64(64)))]; T b = add(x = a, y = w);"#,
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
    // Reports differ on new engines: 17920 is refused on M3 Ultra, 32000 on A16.
    case!(
        "S12",
        M3,
        ["tensor<fp16, [1, 1024, 1, 17920]> a", "tensor<fp16, [1, 1024, 1, 17920]> b = op(x = a);", "b"],
        ["tensor<fp16, [1, 1024, 1, 16384]> a", "tensor<fp16, [1, 1024, 1, 16384]> b = op(x = a);", "b"]
    ),
    case!(
        "S12",
        A16,
        ["tensor<fp16, [1, 768, 1, 32000]> a", "T b = op(x = a);", "b"],
        [A, "tensor<fp16, [1, 768, 32000, 1]> b = op(x = a);", "b"]
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
    // Tables of compressed weights have six axes, and run.
    case!(
        "S13",
        M4,
        ["tensor<fp16, [1, 1, 1, 1, 64, 64]> a", "T b = op(x = a);", "b"],
        [
            A,
            "tensor<fp16, [1, 1, 1, 1, 2, 1]> l = const()[val = tensor<fp16, [1, 1, 1, 1, 2, 1]>([[[[[[0], [1]]]]]])]; \
             T w = constexpr_lut_to_dense(indices = l, lut = l); T b = add(x = a, y = w);",
            "b"
        ]
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
        "S21",
        M4,
        [
            "T a, state<tensor<fp16, [1, 8, 64, 270]>> s",
            "tensor<fp16, [1, 8, 64, 270]> r = read_state(input = s); T b = op(x = r);",
            "b"
        ],
        [
            "T a, state<tensor<fp16, [1, 8, 64, 256]>> s",
            "tensor<fp16, [1, 8, 64, 256]> r = read_state(input = s); T b = op(x = r);",
            "b"
        ]
    ),
    // A multiple of 16 is not enough for a state.
    case!("S21", M1, ["T a, state<tensor<fp16, [1, 272]>> s", "T b = relu(x = a);", "b"], SOUND),
    case!("S21", M6, ["T a, state<tensor<fp32, [1, 40]>> s", "T b = relu(x = a);", "b"], SOUND),
    case!(
        "S22",
        M1,
        ["tensor<fp16, [16384, 16384]> a", "tensor<fp16, [16384, 16384]> b = matmul(x = a, y = a);", "b"],
        ["tensor<fp16, [16384, 8192]> a", "tensor<fp16, [16384, 16384]> b = op(x = a);", "b"]
    ),
    // All products of a program are one dispatch.
    case!(
        "S22",
        M2,
        [
            "tensor<fp16, [16384, 16384]> a, tensor<fp16, [16384, 8192]> w",
            "tensor<fp16, [16384, 8192]> b = matmul(x = a, y = w); tensor<fp16, [16384, 8192]> c = matmul(x = a, y = b);",
            "c"
        ],
        [
            "tensor<fp16, [16384, 16384]> a, tensor<fp16, [16384, 8192]> w",
            "tensor<fp16, [16384, 8192]> b = matmul(x = a, y = w);",
            "b"
        ]
    ),
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
    case!("T17", M4, [A, "T b = rsqrt(x = a);", "b"], [A, "T b = pow(x = a, y = fp16(-0.5));", "b"]),
    case!("T17", M3, [A, "T b = rsqrt(x = a, epsilon = fp16(0.001));", "b"], [A, "T b = sqrt(x = a);", "b"]),
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
    case!(
        "T25",
        M1,
        ["tensor<int32, [1, 64]> a", "tensor<int32, [1, 64]> b = add(x = a, y = a);", "b"],
        SOUND
    ),
    // These ran on engines with right numbers.
    case!(
        "T25",
        M4,
        [A, "tensor<uint32, [1, 64]> b = op(x = a);", "b"],
        [
            A,
            "tensor<int8, [1, 64, 1, 64]> q = quantize(input = a, output_dtype = string(\"int8\"), scale = fp16(0.1)); \
             T b = dequantize(input = q, scale = fp16(0.1));",
            "b"
        ]
    ),
    case!(
        "T25",
        M3,
        [A, "tensor<int64, [1, 64]> b = op(x = a);", "b"],
        [
            "T a, T c",
            "tensor<bool, [1, 64, 1, 64]> g = greater(x = a, y = c); tensor<bool, [1, 64, 1, 64]> n = logical_not(x = g); \
             T b = select(a = a, b = c, cond = n);",
            "b"
        ]
    ),
    case!(
        "T25",
        A15,
        ["T a, tensor<int32, [1]> i", "T b = gather_nd(x = a, indices = i);", "b"],
        [
            A,
            "tensor<int8, [1, 64, 1, 64]> q = cast(x = a, dtype = string(\"int8\")); \
             tensor<int32, [1, 1, 1, 64]> m = reduce_argmax(x = a, axis = int32(1)); T b = cast(x = q, dtype = string(\"fp16\"));",
            "b"
        ]
    ),
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
        M5,
        [A, "tensor<fp16, [64, 64, 3, 16]> w = op(x = a); T b = conv(x = a, weight = w);", "b"],
        [A, "tensor<fp16, [64, 64, 31, 15]> w = op(x = a); T b = conv(x = a, weight = w);", "b"]
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
    case!("T34", M3, [A, "T b = acos(x = a);", "b"], [A, "T b = atan(x = a);", "b"]),
    case!("T34", M4, [A, "T b = atanh(x = a);", "b"], [A, "T b = tanh(x = a);", "b"]),
    case!("T34", M4, [A, "T b = cosh(x = a);", "b"], [A, "T b = cos(x = a);", "b"]),
    case!(
        "T34",
        M4,
        [A, "T b = cumsum(x = a, axis = int32(-1));", "b"],
        [A, "T b = reduce_max(x = a);", "b"]
    ),
    case!(
        "T34",
        M4,
        [
            A,
            "tensor<fp16, [64]> r = range_1d(start = fp16(0), end = fp16(64), step = fp16(1)); T b = add(x = a, y = r);",
            "b"
        ],
        [
            A,
            "tensor<bool, [1, 64, 1, 64]> n = logical_not(x = a); T b = cast(x = n, dtype = string(\"fp16\"));",
            "b"
        ]
    ),
    case!("T34", M1, [A, "T b = reverse_sequence(x = a);", "b"], [A, "T b = reverse(x = a);", "b"]),
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
        "T37",
        M4,
        [
            "T a, tensor<fp16, [1, 1, 1, 64]> u, tensor<int32, [4]> i, tensor<int32, [4]> j",
            "T b = slice_update(x = a, update = u, begin = i, end = j);",
            "b"
        ],
        [
            "T a, tensor<fp16, [1, 1, 1, 64]> u",
            "T b = slice_update(x = a, update = u, begin = tensor<int32, [4]>([0, 3, 0, 0]), end = tensor<int32, [4]>([1, 4, 1, 64]));",
            "b"
        ]
    ),
    // A begin that is computed from a position, an end that is constant.
    case!(
        "T37",
        M5,
        [
            "T a, tensor<fp16, [1, 1, 1, 64]> u, tensor<int32, [4]> i",
            "tensor<int32, [4]> j = add(x = i, y = i); T b = slice_update(x = a, update = u, begin = j, end = tensor<int32, [4]>([1, 4, 1, 64]));",
            "b"
        ],
        SOUND
    ),
    case!(
        "T38",
        M1,
        [
            AFFINE_INPUT,
            "R T4 m = mul(x = r, y = VARIED); tensor<fp16, [16, 1024]> b = reshape(x = m, shape = S2);",
            "b"
        ],
        [
            AFFINE_INPUT,
            "R T4 m = mul(x = r, y = EQUAL); tensor<fp16, [16, 1024]> b = reshape(x = m, shape = S2);",
            "b"
        ]
    ),
    // A shift alone, behind other operations; without a reshape back nothing is refused.
    case!(
        "T38",
        M2,
        [
            AFFINE_INPUT,
            "R T4 e = exp(x = r); T4 m = add(x = VARIED, y = e); T4 n = relu(x = m); tensor<fp16, [16, 1024]> b = reshape(x = n, shape = S2);",
            "b"
        ],
        [AFFINE_INPUT, "R T4 b = mul(x = r, y = VARIED);", "b"]
    ),
    case!(
        "T38",
        M1,
        [
            AFFINE_INPUT,
            "R T4 m = mul(x = r, y = VARIED); T4 n = add(x = m, y = EQUAL); tensor<fp16, [16, 1024]> b = reshape(x = n, shape = S2);",
            "b"
        ],
        [
            AFFINE_INPUT,
            "R tensor<fp16, [16, 1024]> f = reshape(x = r, shape = S2); tensor<fp16, [16, 1024]> b = mul(x = f, y = a);",
            "b"
        ]
    ),
    case!(
        "T39",
        M5,
        [
            WIDE_INPUT,
            "RW W4 m = mul(x = r, y = MANY); W4 n = add(x = m, y = MANY); tensor<fp16, [1, 10240]> b = reshape(x = n, shape = S2W);",
            "b"
        ],
        [
            WIDE_INPUT,
            "RW W4 m = mul(x = r, y = MANY); tensor<fp16, [1, 10240]> b = reshape(x = m, shape = S2W);",
            "b"
        ]
    ),
    case!(
        "T39",
        M2,
        [
            WIDE_INPUT,
            "RW W4 m = mul(x = MANY, y = r); W4 n = add(x = MANY, y = m); W4 o = relu(x = n); tensor<fp16, [1, 10240]> b = reshape(x = o, shape = S2W);",
            "b"
        ],
        [
            AFFINE_INPUT,
            "R T4 m = mul(x = r, y = VARIED); T4 n = add(x = m, y = VARIED); tensor<fp16, [16, 1024]> b = reshape(x = n, shape = S2);",
            "b"
        ]
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
        "N27",
        M4,
        [
            FLAT,
            "F z = matmul(x = a, y = c); F g = sigmoid_hard(x = z, alpha = fp16(0.1667), beta = fp16(0.5)); F b = mul(x = z, y = g);",
            "b"
        ],
        [
            "T a, T c",
            "T z = matmul(x = a, y = c); T g = sigmoid_hard(x = z, alpha = fp16(0.1667), beta = fp16(0.5)); T b = mul(x = z, y = g);",
            "b"
        ]
    ),
    case!(
        "N27",
        M1,
        [
            FLAT,
            "F z = linear(x = a, weight = c); F g = sigmoid_hard(x = z, alpha = fp16(0.2), beta = fp16(0.5)); F b = mul(x = g, y = z);",
            "b"
        ],
        [
            FLAT,
            "F z = matmul(x = a, y = c); F e = relu(x = z); F g = sigmoid_hard(x = e, alpha = fp16(0.2), beta = fp16(0.5)); F b = mul(x = e, y = g);",
            "b"
        ]
    ),
    case!(
        "N27",
        M5,
        [
            FLAT,
            "F z = matmul(x = a, y = c); F g = sigmoid_hard(x = z, alpha = fp16(0.2), beta = fp16(0.5)); F b = mul(x = z, y = g); F d = relu(x = b);",
            "d"
        ],
        [
            FLAT,
            "F z = matmul(x = a, y = c); F g = sigmoid_hard(x = a, alpha = fp16(0.2), beta = fp16(0.5)); F b = mul(x = z, y = g);",
            "b"
        ]
    ),
    case!(
        "N28",
        M4,
        [A, "fp16 low = const()[val = fp16(-inf)]; T b = mul(x = a, y = low);", "b"],
        [A, "fp16 low = const()[val = fp16(-65504)]; T b = mul(x = a, y = low);", "b"]
    ),
    case!(
        "N28",
        M1,
        [
            A,
            "tensor<fp16, [2]> m = const()[val = tensor<fp16, [2]>([0, nan])]; T b = add(x = a, y = m);",
            "b"
        ],
        [A, "T b = clip(x = a, alpha = fp16(0), beta = fp16(inf));", "b"]
    ),
    case!(
        "N28",
        M6,
        [
            A,
            "fp32 low = const()[val = fp32(-1e9)]; fp16 h = cast(x = low, dtype = string(\"fp16\")); T b = add(x = a, y = h);",
            "b"
        ],
        [
            A,
            "fp32 low = const()[val = fp32(-1e4)]; fp16 h = cast(x = low, dtype = string(\"fp16\")); T b = add(x = a, y = h);",
            "b"
        ]
    ),
    case!("N29", M1, [A, "T b = softplus(x = a);", "b"], [A, "T b = softsign(x = a);", "b"]),
    case!("N29", M4, [A, "T b = softplus_parametric(x = a);", "b"], SOUND),
    case!(
        "N30",
        M4,
        [A, "T b = reduce_log_sum_exp(x = a, axes = tensor<int32, [1]>([1]));", "b"],
        [A, "T b = reduce_max(x = a, axes = tensor<int32, [1]>([1]));", "b"]
    ),
    case!("N30", M1, [A, "T b = reduce_log_sum_exp(x = a);", "b"], SOUND),
    case!(
        "N31",
        M1,
        [A, "T p = softmax(x = a, axis = int32(1)); T b = log(x = p, epsilon = fp16(0x1p-24));", "b"],
        [A, "T p = sigmoid(x = a); T b = log(x = p, epsilon = fp16(0x1p-24));", "b"]
    ),
    case!(
        "N31",
        M4,
        [A, "T p = softmax(x = a); T b = log(x = p);", "b"],
        [A, "T p = softmax(x = a); T b = exp(x = p);", "b"]
    ),
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
