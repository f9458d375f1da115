//! Texts that are made to break a reader: too deep, too long, too many. Nothing here is measured; what would take more
//! than linear time or memory would not end.

use super::body;
use mil::text;

/// Reads, checks and reports; prints what was read.
fn tried(source: &str) -> Vec<&'static str> {
    let read = text::read(source);
    let checked = text::check(&read);
    let shown = checked.report.render("hostile.mil", source);
    assert!(shown.len() < 300_000, "{} bytes are said of it", shown.len());
    if !read.report.has_errors() {
        assert!(text::read(&text::format(&read.tree)).tree == read.tree);
    }
    let codes = checked.report.diagnostics.iter().map(|d| d.code).collect();
    let _ = checked.executable();
    codes
}

const MANY: usize = 100_000;

#[test]
fn deep() {
    for open in ["[", "(", "{", "<", "tuple<", "list<", "dict<string, ", "state<", "fp16(", "tensor<fp16, ["]
    {
        let deep = open.repeat(MANY);
        for text in [
            deep.clone(),
            format!("program(1.3) [a = {deep}"),
            format!("program(1.3) {{ func f<ios18>({deep}"),
            body(&format!("fp16 c = const()[val = {deep}")),
            body(&format!("{deep} c = relu(x = x);")),
            body(&format!("fp16 c = relu(x = {deep}")),
        ] {
            assert!(!tried(&text).is_empty());
        }
    }
    let block = "bool c = cond(pred = b)() { ".repeat(MANY);
    assert!(tried(&body(&block)).contains(&"too-deep"));
    let values = format!("int32 c = const()[val = {}int32{}(1)]", "list<".repeat(MANY), ", 1>".repeat(MANY));
    assert!(!tried(&body(&values)).is_empty());
}

#[test]
fn long() {
    let names = |n: usize, f: fn(usize) -> String| (0..n).map(f).collect::<Vec<_>>();
    // One line of many statements; many arguments; many results.
    let line = names(MANY, |i| format!("tensor<fp16, [2, 3]> c{i} = relu(x = x);")).concat();
    assert!(tried(&body(&line)).is_empty());
    let arguments = names(MANY, |i| format!("p{i} = x")).join(", ");
    assert!(
        tried(&body(&format!("tensor<fp16, [2, 3]> c = relu({arguments});"))).contains(&"unknown-parameter")
    );
    let again = vec!["x = x"; MANY].join(", ");
    assert!(
        tried(&body(&format!("tensor<fp16, [2, 3]> c = relu({again});"))).contains(&"repeated-parameter")
    );
    let others = vec!["y = x"; MANY].join(", ");
    let both = format!("tensor<fp16, [2, 3]> c = add({again}, {others});");
    assert!(tried(&body(&both)).contains(&"repeated-parameter"));
    let list = vec!["x"; MANY].join(", ");
    let concat = format!(
        "tensor<fp16, [{}, 3]> c = concat(axis = int32(0), interleave = bool(false), values = ({list}));",
        2 * MANY
    );
    assert!(tried(&body(&concat)).is_empty());
    let immediate = vec!["fp16(1)"; MANY].join(", ");
    let stack = format!("tensor<fp16, [{MANY}]> c = stack(axis = int32(0), values = ({immediate}));");
    assert!(tried(&body(&stack)).is_empty());
    let results = names(MANY, |i| format!("tensor<fp16, [2, 3]> r{i}")).join(", ");
    assert!(tried(&body(&format!("{results} = relu(x = x);"))).contains(&"result-count"));
    // Long words, strings, numbers and comments.
    let word = "a".repeat(10 * MANY);
    for text in [
        format!("fp16 {word} = relu(x = {word});"),
        format!("{word} c = {word}({word} = {word});"),
        format!("string c = const()[val = string(\"{word}\")];"),
        format!("fp32 c = const()[val = fp32(0x{word}p+{})];", "7".repeat(MANY)),
        format!("fp32 c = const()[val = fp32(1.{})];", "7".repeat(MANY)),
        format!("// {word}"),
        "/ ".repeat(MANY),
        "// a\n".repeat(MANY),
        "/*a*/ // a".repeat(MANY),
        "\"".repeat(MANY),
        "\\".repeat(MANY),
        "é".repeat(MANY),
    ] {
        tried(&body(&text));
    }
}

#[test]
fn many() {
    let of = |n: usize, f: &dyn Fn(usize) -> String| (0..n).map(f).collect::<String>();
    let functions = of(MANY, &|i| format!("func f{i}<ios18>(fp16 x) {{ }} -> (x);"));
    assert!(tried(&format!("program(1.3) {{ {functions} }}")).is_empty());
    let lost = of(1000, &|i| format!("func f{i}<ios18>(fp16 x) {{ fp16 y = = a{i}; }} -> (x);"));
    assert!(!tried(&format!("program(1.3) {{ {lost} }}")).is_empty());
    let twice = of(MANY, &|_| "func f<ios18>(fp16 x) { } -> (x);".into());
    assert!(tried(&format!("program(1.3) {{ {twice} }}")).contains(&"duplicate-name"));
    let same = of(MANY, &|_| "tensor<fp16, [2, 3]> c = relu(x = x);".into());
    assert!(tried(&body(&same)).contains(&"duplicate-name"));
    let unknown = of(MANY, &|i| format!("tensor<fp16, [2, 3]> c{i} = relu(x = undefined_name_{i});"));
    assert!(tried(&body(&unknown)).contains(&"undefined"));
    let unknown = of(MANY, &|i| format!("tensor<fp16, [2, 3]> c{i} = operation_{i}(x = x);"));
    assert!(tried(&body(&unknown)).contains(&"unknown-op"));
    let wrong = of(MANY, &|i| format!("tensor<fp16, [3, 2]> c{i} = relu(x = x);"));
    assert!(tried(&body(&wrong)).contains(&"result-type"));
    let syntax = of(MANY, &|i| format!("tensor<fp16, [3, 2]> c{i} = = relu(x = x);"));
    assert!(tried(&body(&syntax)).contains(&"syntax"));
    let chain = of(MANY, &|i| format!("tensor<fp16, [2, 3]> c{} = add(x = x, y = c{i});", i + 1));
    assert!(tried(&body(&format!("tensor<fp16, [2, 3]> c0 = relu(x = x);{chain}"))).is_empty());
    let blocks = of(MANY / 10, &|i| {
        format!("tensor<fp16, [2, 3]> c{i} = cond(pred = b)() {{ }} -> (x)() {{ }} -> (x);")
    });
    assert!(tried(&body(&blocks)).is_empty());
    let shapes = of(MANY, &|i| {
        format!(
            "tensor<int32, [2]> s{i} = shape(x = x); tensor<fp16, [?, ?]> c{i} = reshape(shape = s{i}, x = x);"
        )
    });
    assert!(tried(&body(&shapes)).is_empty());
}

#[test]
fn wide() {
    let row = vec!["1"; 10 * MANY].join(", ");
    let n = 10 * MANY;
    let literal = format!("tensor<int32, [{n}]> c = const()[val = tensor<int32, [{n}]>([{row}])];");
    assert!(tried(&body(&literal)).is_empty());
    assert!(tried(&body(&format!("tensor<fp16, [{row}]> c = relu(x = x);"))).contains(&"too-many-axes"));
    let column = vec!["[1]"; MANY].join(", ");
    let literal =
        format!("tensor<int32, [{MANY}, 1]> c = const()[val = tensor<int32, [{MANY}, 1]>([{column}])];");
    assert!(tried(&body(&literal)).is_empty());
    // One table that many operations read: it is not copied for each.
    let reads: String = (0..1000)
        .map(|i| format!("int32 i{i} = gather(axis = int32(0), indices = n, x = c); tensor<int32, [1]> s{i} = shape(x = c); tensor<fp16, [?]> f{i} = fill(shape = s{i}, value = fp16(1));"))
        .collect();
    let literal = format!("tensor<int32, [{n}]> c = const()[val = tensor<int32, [{n}]>([{row}])];{reads}");
    assert!(tried(&body(&literal)).is_empty());
}
