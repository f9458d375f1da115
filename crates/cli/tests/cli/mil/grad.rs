//! `backpropane mil grad`.

use super::{npy_floats, programs};
use crate::place::Place;
use mil::DType;

/// `Σ c·y(x)` of a program with one result, on the reference engine.
fn loss(place: &Place, program: &str, x: &[f64]) -> f64 {
    place.write("x.npy", npy_floats(DType::F32, &[2, 2], x));
    let json = place.succeed(&format!("mil run {program} --input x=x.npy --engine reference --json")).json();
    let y: Vec<f64> =
        json["outputs"][0]["data"].as_array().expect("data").iter().filter_map(|v| v.as_f64()).collect();
    y.iter().zip([1.0, -2.0, 0.5, 3.0]).map(|(y, c)| y * c).sum()
}

const PROGRAM: &str = "program(1.3) {
    func main<ios18>(tensor<fp32, [2, 2]> x) {
        tensor<fp32, [2, 2]> W = const()[val = tensor<fp32, [2, 2]>([[0.5, -1], [2, 0.25]])];
        tensor<fp32, [2, 2]> unused = exp(x = x);
        tensor<fp32, [2, 2]> h = matmul(x = x, y = W);
        tensor<fp32, [2, 2]> y = tanh(x = h);
    } -> (y);
}";

#[test]
fn the_backward_program_gives_what_differences_give() {
    let place = programs();
    place.write("p.mil", PROGRAM);
    let outcome = place.succeed("mil grad p.mil --wrt x,W --out back.mil");
    assert_eq!(outcome.stdout, "");
    let text = String::from_utf8(place.read("back.mil")).expect("text");
    assert!(text.contains("-> (d_x, d_W)") && text.contains("> d_y)") && !text.contains("unused"), "{text}");
    // It is laid out, and stdout has the same.
    assert_eq!(place.succeed("mil grad p.mil --wrt x,W").stdout, text);
    place.succeed("mil fmt --check back.mil");

    let x = [0.3, -0.2, 0.1, 0.4];
    place.write("x.npy", npy_floats(DType::F32, &[2, 2], &x));
    place.write("dy.npy", npy_floats(DType::F32, &[2, 2], &[1.0, -2.0, 0.5, 3.0]));
    let json = place.succeed("mil run back.mil --input x=x.npy --input d_y=dy.npy --json").json();
    assert_eq!(json["outputs"][0]["name"], "d_x");
    let step = 1e-2;
    for i in 0..4 {
        let at = |by: f64| {
            let mut x = x;
            x[i] += by;
            loss(&place, "p.mil", &x)
        };
        let want = (at(step) - at(-step)) / (2.0 * step);
        let got = json["outputs"][0]["data"][i].as_f64().expect("a number");
        // Tolerance: the third derivative of tanh times step², and fp32 divided by the step.
        assert!((got - want).abs() < 2e-3, "{i}: {got} {want}");
    }
}

#[test]
fn every_cotangent_has_a_name_of_its_own() {
    let place = programs();
    // Both parameters share a cotangent, which is the parameter `d_y`; and a value has a cotangent's name.
    place.write(
        "sum.mil",
        "program(1.3) { func main<ios15>(tensor<fp16, [2]> a, tensor<fp16, [2]> b) {
            tensor<fp16, [2]> d_a = mul(x = b, y = fp16(1));
            tensor<fp16, [2]> y = add(x = a, y = d_a);
        } -> (y); }",
    );
    let text = place.succeed("mil grad sum.mil --wrt a,b").stdout;
    assert!(text.contains("-> (d_a, d_b)"), "{text}");
    mil::text::load(&text).unwrap_or_else(|report| panic!("{report}"));
}

#[test]
fn a_missing_gradient_is_shown_where_it_is_missing() {
    let place = programs();
    place.write(
        "arg.mil",
        "program(1.3) { func main<ios18>(tensor<fp16, [2]> x, bool p) {
            tensor<fp16, [2]> y = cond(pred = p)() { tensor<fp16, [2]> a = exp(x = x); } -> (a) () { } -> (x);
        } -> (y); }",
    );
    let outcome = place.run("mil grad arg.mil --wrt x");
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("error[no-gradient]: `cond`"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("arg.mil:2:"), "{}", outcome.stderr);
}
