use super::*;
use crate::text::read;

fn messages(a: &str, b: &str) -> Vec<String> {
    let source = |body: &str| format!("program(1.3) {{ func main<ios18>{body}; }}");
    let (a, b) = (source(a), source(b));
    let (a, b) = (read(&a), read(&b));
    assert!(!a.report.has_errors() && !b.report.has_errors(), "{}{}", a.report, b.report);
    diff(&a.tree, &b.tree, &mut |_, _, _| None).into_iter().map(|d| d.message).collect()
}

const BASE: &str = "(tensor<fp16, [2]> x, tensor<fp16, [2]> y) {
    fp16 k = const()[val = fp16(2)];
    tensor<fp16, [2]> a = mul(x = x, y = k)[name = string(\"a\")];
    tensor<fp16, [2]> b = exp(x = y);
    tensor<fp16, [2]> z = add(x = a, y = b);
} -> (z)";

#[test]
fn names_order_and_spelling_make_no_difference() {
    let other = "(tensor<fp16, [2]> p, tensor<fp16, [2]> q) {
        tensor<fp16, [2]> e = exp(x = q);
        tensor<fp16, [2]> m = mul(y = fp16(0x1p+1), x = p)[name = string(\"elsewhere\"), milId = uint64(7)];
        tensor<fp16, [2]> s = add(x = m, y = e);
    } -> (s)";
    assert_eq!(messages(BASE, other), Vec::<String>::new());
    // Parameters of equal names may be in any order.
    let turned = BASE.replacen(
        "tensor<fp16, [2]> x, tensor<fp16, [2]> y",
        "tensor<fp16, [2]> y, tensor<fp16, [2]> x",
        1,
    );
    assert_eq!(messages(BASE, &turned), Vec::<String>::new());
}

#[test]
fn the_first_difference_is_told() {
    for (from, to, want) in [
        ("exp(x = y)", "sqrt(x = y)", "`exp` in the first, `sqrt` in the second"),
        ("fp16(2)", "fp16(2.5)", "the constant is 2.0 in the first, 2.5 in the second"),
        ("exp(x = y)", "exp(x = x)", "the parameter `y` in the first, the parameter `x` in the second"),
        (
            "mul(x = x, y = k)",
            "mul(x = x, y = x)",
            "a constant fp16 in the first, the parameter `x` in the second",
        ),
        ("add(x = a, y = b)", "add(x = b, y = a)", "`mul` in the first, `exp` in the second"),
        ("-> (z)", "-> (z, a)", "results: 1 in the first, 2 in the second"),
        (
            "x, tensor<fp16, [2]> y",
            "x, tensor<fp32, [2]> y",
            "the parameter `y` is tensor<fp16, [2]>, `y` is tensor<fp32, [2]>",
        ),
        (
            "= exp(x = y);",
            "= exp(x = y); tensor<fp16, [2]> d = exp(x = b);",
            "the second has a `exp` that changes no result; the first has it not",
        ),
    ] {
        let other = BASE.replace(from, to);
        assert_ne!(other, BASE);
        assert_eq!(messages(BASE, &other).first().map(String::as_str), Some(want), "{from} → {to}");
    }
}

#[test]
fn states_and_blocks_are_compared() {
    let state = "(tensor<fp16, [2]> x, state<tensor<fp16, [2]>> s) {
        tensor<fp16, [2]> a = read_state(input = s);
        tensor<fp16, [2]> b = add(x = a, y = x);
        write_state(data = b, input = s);
        tensor<fp16, [2]> y = read_state(input = s);
    } -> (y)";
    assert!(messages(state, state).is_empty());
    let early = state.replace("write_state(data = b, input = s);\n", "").replace("b = add", "b0 = add");
    assert!(!messages(state, &early).is_empty());
    let other = state.replace("data = b", "data = x");
    assert_eq!(messages(state, &other)[0], "a result of `add` in the first, the parameter `x` in the second");
    let cond = "(tensor<fp16, [2]> x, bool p) {
        tensor<fp16, [2]> y = cond(pred = p)() { tensor<fp16, [2]> i = exp(x = x); } -> (i) () { } -> (x);
    } -> (y)";
    let renamed = cond.replace(" i = ", " j = ").replace("-> (i)", "-> (j)");
    assert!(messages(cond, &renamed).is_empty());
    assert_eq!(messages(cond, &cond.replace("exp", "sin")), ["`exp` in the first, `sin` in the second"]);
}

/// A chain as long as programs are is no deep recursion.
#[test]
fn long_chains_are_compared() {
    let chain = |first: &str| {
        let mut body = format!("(tensor<fp16, [2]> x) {{ tensor<fp16, [2]> v0 = {first}(x = x);");
        for i in 1..20_000 {
            body.push_str(&format!("tensor<fp16, [2]> v{i} = exp(x = v{});\n", i - 1));
        }
        format!("{body} }} -> (v19999)")
    };
    assert!(messages(&chain("sin"), &chain("sin")).is_empty());
    assert_eq!(messages(&chain("sin"), &chain("cos")), ["`sin` in the first, `cos` in the second"]);
}

#[test]
fn weights_are_compared_by_what_is_in_them() {
    let weight = |path: &str, offset: u64| {
        format!(
            "program(1.3) {{ func main<ios18>(tensor<fp16, [2]> x) {{ tensor<fp16, [2]> w = const()[val = tensor<fp16, [2]>(BLOBFILE(path = string(\"{path}\"), offset = uint64({offset})))]; tensor<fp16, [2]> y = add(x = x, y = w); }} -> (y); }}"
        )
    };
    let (a, b) = (weight("@model_path/a.bin", 64), weight("@model_path/b.bin", 128));
    let inline = "program(1.3) { func main<ios18>(tensor<fp16, [2]> x) { tensor<fp16, [2]> y = add(x = x, y = tensor<fp16, [2]>([1, 2])); } -> (y); }";
    let (a, b, c) = (read(&a), read(&b), read(inline));
    assert_eq!(diff(&a.tree, &b.tree, &mut |_, _, _| None).len(), 1);
    let mut digester = Digester::new();
    digester.update(&[0x00, 0x3c, 0x00, 0x40]);
    let digest = digester.finish();
    assert!(diff(&a.tree, &b.tree, &mut |_, _, _| Some(digest)).is_empty());
    assert!(diff(&a.tree, &c.tree, &mut |_, _, _| Some(digest)).is_empty());
}
