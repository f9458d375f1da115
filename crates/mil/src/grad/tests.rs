use super::*;
use crate::ir::Program;
use crate::text;

/// The backward program as text, of a program with parameters `a` and `b`.
fn backward_of(body: &str, wrt: &[&str]) -> Result<String, GradError> {
    let source = format!(
        "program(1.3) {{ func main<ios15>(tensor<fp16, [2]> a, tensor<fp16, [2]> b) {{ {body} }} -> (y); }}"
    );
    let program = text::load(&source).unwrap_or_else(|report| panic!("{report}"));
    let forward = program.entry();
    let wrt: Vec<ValueId> = wrt.iter().map(|name| forward.find(name).expect("a value")).collect();
    let text = text::print(&Program::of(backward_function(forward, &wrt)?));
    text::load(&text).unwrap_or_else(|report| panic!("{report}\n{text}"));
    Ok(text)
}

#[test]
fn a_backward_program_is_a_program_with_agreed_names() {
    let text = backward_of("tensor<fp16, [2]> y = mul(x = a, y = b);", &["b", "a"]).expect("derived");
    assert!(text.contains("[2]> b, tensor<fp16, [2]> d_y)") && text.contains("-> (d_b, d_a);"), "{text}");
    // A shared cotangent that is a parameter; a value whose name is needed; a literal as an argument.
    let text = backward_of(
        "tensor<fp16, [2]> d_a = mul(x = b, y = fp16(3)); tensor<fp16, [2]> y = add(x = a, y = d_a);",
        &["a", "b"],
    );
    assert!(text.is_ok_and(|text| text.contains("-> (d_a, d_b);")));
    // A constant, and nothing that is of no use.
    let text = backward_of(
        "tensor<fp16, [2]> k = const()[val = tensor<fp16, [2]>([1, 2])]; tensor<fp16, [2]> no = exp(x = b); tensor<fp16, [2]> y = mul(x = a, y = k);",
        &["k"],
    );
    assert!(text.is_ok_and(|text| text.contains("-> (d_k);") && !text.contains(" no ")));
}

#[test]
fn what_has_no_cotangent_is_named() {
    let unconnected = backward_of("tensor<fp16, [2]> y = exp(x = a);", &["b"]);
    assert!(matches!(unconnected, Err(GradError::Unconnected { name }) if name == "b"));
}
