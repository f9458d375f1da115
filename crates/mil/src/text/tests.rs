use super::{load, parse, print};
use crate::diag::Place;
use crate::ir::{Arg, ArgValue, Function, Literal, Operation, Program, Scope, ValueId};
use crate::op::{Op, Role};
use crate::tensor::{Data, Tensor, round_float};
use crate::ty::{DType, Opset, TensorType, f16 as fp16};
use crate::{Builder, Verified, grad};
use half::f16;
use proptest::prelude::*;
use std::path::PathBuf;

/// The program as parsed from its text: values numbered in order of definition, those without a definition
/// dropped, arguments in order of the parameters, no scopes, no labels that repeat a name.
fn canonical(program: &Program) -> Program {
    let mut out = program.clone();
    for f in &mut out.functions {
        let mut order = f.inputs.clone();
        order.extend(f.ops.iter().flat_map(|o| o.results.iter().copied()));
        let place = |id: &mut ValueId| {
            let at = order.iter().position(|o| o == id).expect("defined");
            *id = ValueId(at as u32);
        };
        let values = order.iter().map(|&id| f.value(id).clone()).collect();
        f.inputs.iter_mut().chain(&mut f.outputs).for_each(place);
        for operation in &mut f.ops {
            operation.scope = Scope::default();
            operation.results.iter_mut().for_each(place);
            operation.args.sort_by_key(|a| a.param);
            for arg in &mut operation.args {
                match &mut arg.value {
                    ArgValue::Value(id) => place(id),
                    ArgValue::List(ids) => ids.iter_mut().for_each(place),
                    ArgValue::Literal(_) => {}
                }
            }
        }
        f.values = values;
        for operation in &mut f.ops {
            let first = operation.results.first().map(|r| f.values[r.index()].name.clone());
            if operation.label == first {
                operation.label = None;
            }
        }
    }
    out
}

fn returns(program: &Program) {
    let text = print(program);
    match parse(&text) {
        Ok(back) => {
            assert_eq!(back, canonical(program), "{text}");
            assert_eq!(print(&back), text);
        }
        Err(report) => panic!("{}\n{text}", report.render("printed", &text)),
    }
}

/// A program that uses every operation of the table with all its parameters, verified or not.
fn every_op() -> Program {
    let mut f = Function::empty("main", Opset::Ios18);
    let x = f.add_value("x", fp16([1, 2]));
    f.inputs.push(x);
    // The forms of the opset alone.
    for op in Op::all().filter(|op| Op::find(op.name()) == Some(*op)) {
        let literal = Literal::inline(Tensor::floats(fp16([1, 2]), [0.1, -0.0]));
        let value = |role| match role {
            Role::Tensor | Role::Const | Role::Known | Role::Bound => ArgValue::Value(x),
            Role::Variadic => ArgValue::List(vec![x, x]),
            Role::Attribute => ArgValue::Literal(literal.clone()),
        };
        // Backwards: in a program the arguments are in any order.
        let args = op.params.iter().enumerate().rev();
        let args = args.map(|(param, p)| Arg { param, value: value(p.role) }).collect();
        let result = f.add_value(format!("{}_result", op.name()), fp16([1, 2]));
        f.ops.push(Operation::new(op, args, vec![result]));
    }
    f.outputs = vec![x];
    Program::of(f)
}

fn attention() -> Verified<Program> {
    let b = Builder::new("main", Opset::Ios18);
    let x = b.input("x", fp16([1, 8, 1, 4]));
    b.enter("attention");
    let w = b.weight("w", fp16([8, 8, 1, 1]), "@model_path/weights/\"w\\.bin", 192);
    let y = x.conv1x1(w, 1).reshape(&[2, 4, 4]);
    let p = (y.matmul(y, true, false) * 0.3).softmax(-1);
    let z = p.matmul(y, false, true).sigmoid() + 1e-7;
    let parts = vec![z, z.slice(&[0, 0, 0], &[2, 4, 2])];
    let out = crate::Var::concat(parts, 2).expect("two parts");
    b.finish([("z", out), ("p", p)]).expect("valid")
}

#[test]
fn programs_return() {
    returns(&every_op());
    let program = attention();
    returns(&program);
    assert_eq!(load(&print(&program)).map(|p| canonical(&p)).ok(), Some(canonical(&program)));

    // Autodiff adds parameters behind other values; labels, several functions and outputs are kept.
    let f = program.entry();
    let mut joint = grad::backward(f, &f.outputs, &f.inputs).expect("differentiable").function;
    joint.outputs = f.inputs.clone();
    joint.ops[3].label = Some("weights \"of\" layer\\0, größer".into());
    let mut second = f.clone();
    second.name = "second".into();
    let mut both = Program::of(joint);
    both.functions.push(second);
    returns(&both);
    both.version = "1.0".into();
    returns(&both);
    assert!(print(&both).contains("offset = tensor<uint64, []>(192)"), "{}", print(&both));
    both.build_info.clear();
    returns(&both);
}

#[test]
fn the_layout_is_that_of_apples_compiler() {
    let b = Builder::new("main", Opset::Ios17);
    let x = b.input("x", TensorType::new(DType::F32, [5]));
    let half = Tensor::floats(TensorType::new(DType::F32, [2, 2]), [0.5, 1.0, -3.0, 0.0]);
    let half = b.constant("half", half).reshape(&[4]);
    let y = x.slice(&[1], &[4]).named("part") + half.named("row");
    let program = b.finish([("y", y)]).expect("valid");
    let want = r#"program(1.3)
[buildInfo = dict<string, string>({{"coremlc-component-MIL", "3510.2.1"}, {"coremlc-version", "3505.4.1"}, {"coremltools-component-milinternal", ""}, {"coremltools-version", "9.0"}})]
{
    func main<ios17>(tensor<fp32, [5]> x) {
            tensor<fp32, [2, 2]> half = const()[name = string("half"), val = tensor<fp32, [2, 2]>([[0x1p-1, 0x1p+0], [-0x1.8p+1, 0x0p+0]])];
            tensor<int32, [1]> const_0 = const()[name = string("const_0"), val = tensor<int32, [1]>([4])];
            tensor<fp32, [4]> row = reshape(shape = const_0, x = half)[name = string("row")];
            tensor<int32, [1]> const_1 = const()[name = string("const_1"), val = tensor<int32, [1]>([1])];
            tensor<fp32, [4]> part = slice_by_size(begin = const_1, size = const_0, x = x)[name = string("part")];
            tensor<fp32, [4]> y = add(x = part, y = row)[name = string("y")];
        } -> (y);
}"#;
    assert_eq!(print(&program), want);
}

const LOOSE: &str = r#"program(1.3)
[buildInfo=dict<string,string>({{"coremlc-version","3505.4.1"}})]
{ // a comment
    func main<ios18>(tensor<fp16,[1,3]>x){
        fp16 half=const()[val=fp16(5e-1),name=string("h")];
        tensor<bool, [2]> flags=const()[val=tensor<bool,[2]>([true,false])];
        string kind = const()[val=string("a // b \"c\" \\")];
        tensor<fp16,[1,3]>y=mul(y=half,x=x);
        tensor<fp16, [1, 3]> z = softmax(axis = int32(-1), x = y)[name = string("z")];
    } -> ( z , y ) ;
}
"#;

#[test]
fn loose_spacing_is_read() {
    let program = parse(LOOSE).expect("readable");
    let f = program.main().expect("one function");
    assert_eq!(f.ops[0].label.as_deref(), Some("h"));
    assert_eq!(f.ops[4].label, None);
    assert_eq!(f.ops[0].const_literal().and_then(Literal::data), Some(&Data::Float(vec![0.5])));
    assert_eq!(
        f.ops[2].const_literal().and_then(Literal::data),
        Some(&Data::Str(vec!["a // b \"c\" \\".into()]))
    );
    assert!(matches!(f.ops[4].arg("axis"), Some(ArgValue::Literal(l)) if l.ty.rank() == 0));
    assert_eq!(f.outputs.len(), 2);
    returns(&program);
}

#[test]
fn both_spellings_are_one_program() {
    let old = LOOSE
        .replace("1.3", "1.0")
        .replace("dict<string,string>", "dict<tensor<string, []>, tensor<string, []>>")
        .replace("string(\"", "tensor<string, []>(\"")
        .replace("string kind", "tensor<string, []> kind")
        .replace("fp16 half", "tensor<fp16, []> half")
        .replace("fp16(", "tensor<fp16, []>(")
        .replace("int32(", "tensor<int32, []>(");
    let (old, new) = (parse(&old).expect("readable"), parse(LOOSE).expect("readable"));
    assert_eq!(old.functions, new.functions);
    assert_eq!(old.build_info, new.build_info);
    let text = print(&old);
    assert!(text.contains("tensor<fp16, []> half = const()"), "{text}");
    assert!(text.contains("val = tensor<fp16, []>(0x1p-1)"), "{text}");
    returns(&old);
}

/// The refusals of a program whose function holds `body`: code and the text at its place.
fn refusals(body: &str) -> Vec<(&'static str, String)> {
    let text = format!("program(1.3)\n{{\n func main<ios18>(fp16 x) {{\n{body}\n}} -> (x);\n}}");
    let report = match parse(&text) {
        Ok(program) => panic!("read: {program:?}"),
        Err(report) => report,
    };
    let at = |d: &crate::Diagnostic| match &d.place {
        Place::Text(range) => text[range.clone()].to_owned(),
        place => panic!("{} has place {place:?}", d.code),
    };
    report.diagnostics.iter().map(|d| (d.code, at(d))).collect()
}

#[test]
fn each_mistake_has_its_code_and_place() {
    for (body, code, at) in [
        ("fp16 y = soft(x = x);", "unknown-op", "soft"),
        ("fp16 y = mul(x = x, z = x);", "unknown-parameter", "z"),
        ("fp16 y = mul(x = x, y = w);", "undefined", "w"),
        ("fp16 y = mul(x = x, y = y);", "undefined", "y"),
        ("fp16 x = mul(x = x, y = x);", "duplicate-name", "x"),
        ("fp16 y = mul(x = x, y = true);", "bare-literal", "true"),
        ("fp16 y = mul(x = x, y = -1);", "bare-literal", "-1"),
        ("fp16 y = mul(x = x, y = [0, 1]);", "bare-literal", "["),
        ("fp16 y = concat(values = (x, 1));", "bare-literal", "1"),
        ("fp16 y = mul(x = x, y = x)[axis = int32(1)];", "unknown-parameter", "axis"),
        ("fp16 y = mul(x = x)[y = fp16(1)];", "misplaced-parameter", "y"),
        ("fp16 y = const(val = fp16(1));", "misplaced-parameter", "val"),
        ("int8 c = const()[val = int8(128)];", "literal-range", "128"),
        ("int32 c = const()[val = int32(99999999999999999999)];", "literal-range", "99999999999999999999"),
        ("fp16 c = const()[val = fp16(65520)];", "literal-range", "65520"),
        ("fp32 c = const()[val = fp32(1e39)];", "literal-range", "1e39"),
        ("int32 c = const()[val = int32(1.5)];", "wrong-literal", "1.5"),
        ("fp16 c = const()[val = fp16(one)];", "wrong-literal", "one"),
        ("bool c = const()[val = bool(1)];", "wrong-literal", "1"),
        ("string c = const()[val = string(1)];", "wrong-literal", "1"),
        ("tensor<int32, [2]> c = const()[val = tensor<int32, [2]>([1])];", "literal-shape", "]"),
        ("tensor<int32, [2]> c = const()[val = tensor<int32, [2]>([[1, 2]])];", "literal-shape", "["),
        ("tensor<int32, [1, 2]> c = const()[val = tensor<int32, [1, 2]>([1, 2])];", "literal-shape", "1"),
        ("tensor<int32, [1]> c = const()[val = tensor<int32, [1]>(1)];", "literal-shape", "1"),
        ("tensor<int32, [1]> c = const()[val = tensor<int32, [1]>([1,])];", "syntax", "]"),
        ("fp12 c = mul(x = x, y = x);", "unknown-type", "fp12"),
        ("fp16 c = mul(x = x, y = x)(fp16 z) { } -> (z);", "blocks", "mul"),
        ("fp16 c = const()[val = fp16(BLOBFILE(path = string(\"a\")))];", "missing-parameter", "("),
        ("fp16 c = const()[val = fp16(BLOBFILE(file = string(\"a\")))];", "unknown-parameter", "file"),
        ("fp16 c = const()[val = fp16(BLOBFILE(offset = fp16(64)))];", "wrong-literal", "fp16"),
        ("fp16 c = const()[val = fp16(BLOBFILE(path = int32(64)))];", "wrong-literal", "int32"),
        ("fp16 c = const()[name = int32(64)];", "wrong-literal", "int32(64)"),
        ("fp16 c mul(x = x);", "syntax", "mul"),
        ("fp16 c = mul(x = x) y = x);", "syntax", "y"),
        ("fp16 c = mul(x x);", "syntax", "x"),
        ("é fp16 c = mul(x = x);", "syntax", "é"),
    ] {
        assert_eq!(refusals(body), [(code, at.to_owned())], "{body}");
    }
}

#[test]
fn all_mistakes_are_reported_and_no_consequences() {
    let body = "fp16 a = unknown(x = x);\nfp16 b = mul(x = a, y = q);\nfp12 c = mul(x = x, y = b);
                fp16 d = = x;\nfp16 e = mul(x = c, y = a);\nfp16 f = mul(x = e, yy = r);";
    let codes: Vec<&str> = refusals(body).into_iter().map(|(code, _)| code).collect();
    assert_eq!(
        codes,
        ["unknown-op", "undefined", "unknown-type", "syntax", "unknown-parameter", "undefined"]
    );
    let many =
        parse(&format!("program(1.3) {{ func f<ios18>() {{ {} }} -> (y); }}", "fp16 y = oh();".repeat(500)));
    let report = many.expect_err("wrong");
    assert_eq!(report.diagnostics.len(), 101);
    assert_eq!(report.diagnostics[100].message, "899 more are not shown");
}

#[test]
fn mistakes_around_functions_are_reported() {
    let code = |text: &str| match parse(text) {
        Ok(program) => panic!("read: {program:?}"),
        Err(report) => report.diagnostics.iter().map(|d| d.code).collect::<Vec<_>>(),
    };
    let f = "func f<ios18>(fp16 x) {} -> (x);";
    assert_eq!(code(""), ["syntax"]);
    assert_eq!(code("program(1.3) {"), ["syntax"]);
    assert_eq!(code("program(1.3) { } }"), ["syntax"]);
    assert_eq!(
        code("program(1.3) [buildInfo = dict<string, int32>({})] { }"),
        ["no-function", "wrong-literal"]
    );
    assert_eq!(code(&format!("program() {{ {f} }}")), ["syntax"]);
    assert_eq!(code(&format!("program(1.3) {{ {f} {f} }}")), ["duplicate-name"]);
    assert_eq!(code("program(1.3) { func f<ios99>(fp16 x) {} -> (x); }"), ["unknown-opset"]);
    assert_eq!(
        code("program(1.3) { func f<ios18>(fp16 x, fp16 x) {} -> (y); }"),
        ["duplicate-name", "undefined"]
    );
    assert_eq!(code(&format!("program(1.3) {{ func g(fp16 x) {{ }} -> (x); {f} }}")), ["syntax"]);
    assert!(parse(&format!("\u{feff}program(1.3)[]{{{f}}}")).is_ok());
}

#[test]
fn brackets_may_be_nested_as_deep_as_the_text_is_long() {
    let deep = "[".repeat(1_000_000);
    for text in ["program(1.3) { func f<ios18>(fp16 x) { fp16 y = const()[val = fp16(", "program(1.3) "] {
        assert!(parse(&format!("{text}{deep}")).is_err());
    }
    let ones = "1, ".repeat(64);
    let shape = format!("[{}]", ones.trim_end_matches(", "));
    let ty = format!("tensor<int32, {shape}>");
    let rows = format!("{}7{}", "[".repeat(64), "]".repeat(64));
    let text =
        format!("program(1.3) {{ func f<ios18>() {{ {ty} y = const()[val = {ty}({rows})]; }} -> (y); }}");
    assert!(load(&text).is_ok());
}

fn literal() -> impl Strategy<Value = Tensor> {
    let dtype = prop::sample::select(DType::ALL.to_vec());
    (dtype, prop::collection::vec(0usize..4, 0..4)).prop_flat_map(|(dtype, shape)| {
        let ty = TensorType::new(dtype, shape);
        let range = dtype.int_range().unwrap_or((0, 0));
        let element = (any::<u16>(), any::<u32>(), range.0..=range.1, any::<bool>(), ".{0,4}");
        prop::collection::vec(element, ty.elements()).prop_map(move |elements| {
            let elements = elements.into_iter();
            // Infinities of types without them are no numbers.
            let finite = |x: f64| if x.is_finite() { x } else { 0.5 };
            let data = match dtype {
                DType::F16 => Data::Float(elements.map(|e| finite(f16::from_bits(e.0).to_f64())).collect()),
                DType::F64 => Data::Float(elements.map(|e| finite(f64::from(e.1) / 3.0)).collect()),
                float if float.is_float() => {
                    let rounded = |e: u32| round_float(finite(f64::from(f32::from_bits(e))), float);
                    Data::Float(elements.map(|e| finite(rounded(e.1))).collect())
                }
                DType::Bool => Data::Bool(elements.map(|e| e.3).collect()),
                DType::Str => Data::Str(elements.map(|e| e.4).collect()),
                _ => Data::Int(elements.map(|e| e.2).collect()),
            };
            Tensor { ty: ty.clone(), data }
        })
    })
}

proptest! {
    #[test]
    fn literals_return(tensor in literal()) {
        let b = Builder::new("main", Opset::Ios15);
        let c = b.constant("c", tensor);
        returns(&b.finish([("c", c)]).expect("valid"));
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&text);
        let _ = parse(&String::from_utf8_lossy(&bytes));
        let _ = parse(&format!("program(1.3) {{ func f<ios18>(fp16 x) {{ {text}"));
    }

    #[test]
    fn changed_programs_are_read_or_refused(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..6, "[\\[\\](){}<>;,=\"a0.\\-]{0,3}"), 1..5),
    ) {
        let mut text: Vec<char> = LOOSE.chars().collect();
        for (at, remove, insert) in &edits {
            let at = at.index(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        match load(&text) {
            Ok(program) => prop_assert!(load(&print(&program)).is_ok()),
            Err(report) => {
                prop_assert!(!report.diagnostics.is_empty());
                let _ = report.render("changed.mil", &text);
            }
        }
    }
}

#[test]
fn truncated_programs_are_refused() {
    let text = LOOSE.trim_end();
    for end in 0..text.len() {
        let report = parse(&text[..end]).expect_err("cut off");
        let _ = report.render("cut.mil", &text[..end]);
    }
}

#[test]
fn programs_that_an_engine_has_compiled_return() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/programs/ane"));
    for name in
        ["conv", "matmul", "qkvb", "ffn_fwd_taps", "ffn_bwd", "sdpa_fwd_taps", "sdpa_bwd1", "sdpa_bwd2"]
    {
        let text = std::fs::read_to_string(folder.join(name).with_extension("mil")).expect("readable");
        match load(&text) {
            Ok(program) => returns(&program),
            Err(report) => panic!("{}", report.render(name, &text)),
        }
    }
}
