//! Parses and prints elements in MIL syntax.

use mil::tensor::round_float;
use mil::{Data, Tensor, TensorType, text};

/// Parses `elements`, nested by the shape of `ty`, as a MIL literal.
pub fn parse(ty: &TensorType, elements: &str) -> Result<Tensor, String> {
    let source =
        format!("program(1.3) {{ func f<ios18>() {{ {ty} v = const()[val = {ty}({elements})]; }} -> (v); }}");
    let program = text::parse(&source).map_err(|report| {
        let messages: Vec<String> = report.diagnostics.into_iter().map(|d| d.message).collect();
        format!("{}; expected {ty}", messages.join("; "))
    })?;
    let f = program.functions.first();
    let literal = f.and_then(|f| f.ops.first()).and_then(mil::ir::Operation::const_literal);
    let data = literal.and_then(|l| l.data()).ok_or("the elements must be in this file")?;
    Tensor::new(ty.clone(), data.clone()).ok_or(format!("the elements do not match {ty}"))
}

/// Writes the elements so that [`parse`] reads them back, floats with the fewest decimals that do.
pub fn print(tensor: &Tensor) -> String {
    let mut out = String::new();
    let mut at = 0;
    rows(tensor, &tensor.ty.shape, &mut at, &mut out);
    out
}

fn rows(tensor: &Tensor, shape: &[usize], at: &mut usize, out: &mut String) {
    let Some((&n, inner)) = shape.split_first() else {
        *out += &match &tensor.data {
            Data::Float(v) => shortest(v[*at], tensor.ty.dtype),
            Data::Int(v) => v[*at].to_string(),
            Data::Bool(v) => v[*at].to_string(),
            Data::Str(v) => format!("{:?}", v[*at]),
        };
        *at += 1;
        return;
    };
    *out += "[";
    for i in 0..n {
        if i > 0 {
            *out += ", ";
        }
        rows(tensor, inner, at, out);
    }
    *out += "]";
}

fn shortest(x: f64, dtype: mil::DType) -> String {
    let digits = (0..=17).map(|digits| format!("{x:.digits$e}"));
    let read = |text: String| text.parse::<f64>().ok();
    let same = |y: &f64| round_float(*y, dtype).to_bits() == x.to_bits();
    match digits.filter_map(read).find(same) {
        Some(y) if (1e-4..1e6).contains(&y.abs()) || y == 0.0 => format!("{y:?}"),
        Some(y) => format!("{y:e}"),
        None => format!("{x}").to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::{parse, print};
    use mil::{DType, TensorType};

    #[test]
    fn elements_return() {
        let f16 = |shape: &[usize]| TensorType::new(DType::F16, shape);
        for (ty, text) in [
            (f16(&[2, 2]), "[[0.09003, 1.0], [-0.0, inf]]"),
            (f16(&[3]), "[6e-8, 65500.0, -inf]"),
            (TensorType::new(DType::F32, [1, 2]), "[[16777216.0, 0.1]]"),
            (TensorType::new(DType::I32, [3]), "[-1, 0, 7]"),
            (TensorType::scalar(DType::Bool), "true"),
        ] {
            let tensor = parse(&ty, text).expect(text);
            let back = parse(&ty, &print(&tensor)).expect("printed");
            assert_eq!(back, tensor);
        }
        assert_eq!(print(&parse(&f16(&[2, 1]), "[[0.0900], [2]]").expect("two rows")), "[[0.09], [2.0]]");
    }

    #[test]
    fn wrong_elements_are_refused() {
        let refused = parse(&TensorType::new(DType::I32, [2]), "[1, 2, 3]").expect_err("three");
        assert!(refused.contains("not [2]"), "{refused}");
        assert!(parse(&TensorType::new(DType::I32, [1]), "[1.5]").is_err());
        assert!(parse(&TensorType::new(DType::I32, [1]), "[1])]; } -> (v); }").is_err());
    }
}
