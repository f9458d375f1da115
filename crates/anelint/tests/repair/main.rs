//! Repairs as files: a program, what becomes of it, and what is said. Each is proven, and a second repair finds nothing.

mod apple;
mod file;
mod random;

use anelint::repair::{REPAIRS, prove, repair, repair_proven};
use file::Case;
use mil::ir::LiteralData;
use mil::{ArgValue, Literal, Program, Tensor, TensorType, Weights};
use std::collections::BTreeSet;
use std::path::Path;

/// The literals of a program that are in weight files: path and type.
pub fn blobs(program: &Program) -> Vec<(String, TensorType)> {
    let operations = program.functions.iter().flat_map(|f| &f.ops);
    let blob = |arg: &mil::ir::Arg| match &arg.value {
        ArgValue::Literal(Literal { ty, data: LiteralData::Blob { path, .. } }) => {
            Some((path.clone(), ty.clone()))
        }
        _ => None,
    };
    operations.flat_map(|op| &op.args).filter_map(blob).collect()
}

/// Weight files of zeros would prove little: each holds a ramp.
pub fn ramps(program: &Program) -> Weights {
    let mut weights = Weights::new();
    for (path, ty) in blobs(program) {
        let ramp = (0..ty.elements()).map(|i| ((i * 7919) % 101) as f64 / 50.0 - 1.0);
        weights.add_tensor(path, &Tensor::floats(ty, ramp)).expect("fits");
    }
    weights
}

#[test]
fn each_case_becomes_what_it_should_and_stays_what_it_means() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/repair/cases");
    let mut files: Vec<_> = folder.read_dir().expect("there").map(|f| f.expect("a file").path()).collect();
    files.sort();
    let (mut applied, mut wrong) = (BTreeSet::new(), Vec::new());
    for path in &files {
        let text = std::fs::read_to_string(path).expect("readable");
        let name = path.file_stem().expect("named").to_string_lossy().into_owned();
        let case = Case::read(&text);
        let before = mil::text::load(&case.before).unwrap_or_else(|e| panic!("{name}: {e}"));
        let rules: Vec<&str> = case.rules.iter().map(String::as_str).collect();
        let rules = (!rules.is_empty()).then_some(&rules[..]);
        let repaired = repair(&before, rules);
        let got = case.became(&repaired);
        if got != text {
            if std::env::var_os("BLESS").is_some() {
                std::fs::write(path, &got).expect("writable");
            } else {
                wrong.push(format!("{name}: now\n{got}"));
            }
        }
        applied.extend(repaired.applied.iter().map(|a| a.repair.name));
        let weights = ramps(&before);
        let proof = prove(&before, &repaired.program, &repaired, &weights, 7);
        let proof = proof.unwrap_or_else(|e| panic!("{name}: {e}"));
        println!("{name}: {} numbers, {:e}, {:.2} ulp", proof.elements, proof.exact, proof.typed_ulps);
        let again = repair(&repaired.program, rules);
        assert!(again.is_unchanged(), "{name}: once more: {:?}", case.became(&again));
        let proven = repair_proven(&before, rules, &weights, 3);
        assert_eq!(proven.program, repaired.program, "{name}: {:?}", proven.obstacles);
        // What is printed is what was repaired.
        let printed = mil::text::load(&mil::text::print(&repaired.program)).expect("reads");
        assert_eq!(mil::text::print(&printed), mil::text::print(&repaired.program), "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let untried: Vec<_> = REPAIRS.iter().map(|r| r.name).filter(|n| !applied.contains(n)).collect();
    assert!(untried.is_empty(), "no case shows {untried:?}");
}

#[test]
fn a_wrong_repair_is_not_proven() {
    let program = |op: &str| {
        let text = format!(
            "program(1.3) {{ func main<ios18>(tensor<fp16, [1, 16]> x) {{
                tensor<fp16, [1, 16]> y = {op}[name = string(\"y\")]; }} -> (y); }}"
        );
        mil::text::load(&text).expect("valid")
    };
    let (before, after) = (program("mul(x = x, y = x)"), program("add(x = x, y = x)"));
    let untouched = repair(&before, Some(&[]));
    let error = prove(&before, &after, &untouched, &Weights::new(), 1).expect_err("x² is not 2x");
    assert!(error.to_string().starts_with("`y` differs in exact arithmetic"), "{error}");
    let same = prove(&before, &before, &untouched, &Weights::new(), 1).expect("the same");
    assert_eq!((same.exact, same.typed_ulps, same.elements), (0.0, 0.0, 32));
}

/// A program whose body is `body`, from `x`, a square of size `n`, to `y`.
fn square(n: usize, body: &str) -> mil::Verified<Program> {
    let body = body.replace("TY", &format!("tensor<fp16, [1, 1, {n}, {n}]>"));
    let text = format!(
        "program(1.3)
        [buildInfo = dict<string, string>({{{{\"coremlc-version\", \"3505.4.1\"}}}})]
        {{ func main<ios18>(tensor<fp16, [1, 1, {n}, {n}]> x) {{ {body} }} -> (y); }}"
    );
    mil::text::load(&text).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn what_is_too_large_to_run_is_proven_piece_by_piece() {
    let program = square(
        4096,
        "TY m = matmul(x = x, y = x, transpose_x = bool(true))[name = string(\"m\")];
         tensor<fp16, [1, 1, 16, 4096]> s = slice_by_size(x = m, begin = tensor<int32, [4]>([0, 0, 0, 0]),
             size = tensor<int32, [4]>([1, 1, 16, 4096]))[name = string(\"s\")];
         tensor<fp16, [1, 1, 16, 4096]> q = pow(x = s, y = fp16(2))[name = string(\"q\")];
         tensor<fp16, [1, 1, 16, 4096]> y = inverse(x = q)[name = string(\"y\")];",
    );
    let too_large = prove(&program, &program, &repair(&program, Some(&[])), &Weights::new(), 1);
    assert!(matches!(too_large, Err(anelint::repair::ProveError::TooLarge { .. })), "{too_large:?}");
    let repaired = repair_proven(&program, None, &Weights::new(), 1);
    assert!(repaired.obstacles.is_empty(), "{:?}", repaired.obstacles);
    let proofs: Vec<_> = repaired.applied.iter().map(|a| (a.repair.name, a.proof.expect("proven"))).collect();
    let names: Vec<_> = proofs.iter().map(|(name, proof)| (*name, proof.pieces)).collect();
    let all = [("named-literals", 0), ("pow-products", 1), ("inverse-quotient", 1), ("matmul-transposes", 0)];
    assert_eq!(names, all);
    // What only says what held before has nothing to compare, and is told so.
    let counts: Vec<_> =
        repaired.applied.iter().filter_map(|a| a.proof).map(|p| (p.stated, p.elements > 0)).collect();
    assert_eq!(counts, [(3, false), (0, true), (0, true), (1, false)]);
    assert_eq!(repaired.program, repair(&program, None).program);
}

/// A mask that multiplies by infinity has no meaning to keep, and no number to compare.
#[test]
fn a_proof_that_compared_nothing_is_no_proof() {
    const TY: &str = "tensor<fp16, [1, 1, 4, 16]>";
    let repaired = |body: &str, results: &str| {
        let text = format!(
            "program(1.3)
            [buildInfo = dict<string, string>({{{{\"coremlc-version\", \"3505.4.1\"}}}})]
            {{ func main<ios18>({TY} a) {{
                fp16 low = const()[name = string(\"low\"), val = fp16(-inf)];
                fp16 none = const()[name = string(\"none\"), val = fp16(0)];
                fp16 eps = const()[name = string(\"eps\"), val = fp16(0.001)];
                {TY} drop = mul(x = a, y = none)[name = string(\"drop\")];
                {TY} bias = mul(x = drop, y = low)[name = string(\"bias\")];
                {body} }} -> ({results}); }}"
        );
        repair_proven(&mil::text::load(&text).unwrap_or_else(|e| panic!("{e}")), None, &Weights::new(), 1)
    };
    let inverse = |name: &str, of: &str| {
        format!("{TY} {name} = inverse(epsilon = eps, x = {of})[name = string(\"{name}\")];")
    };
    let nothing = repaired(&inverse("z", "bias"), "z");
    assert!(nothing.is_unchanged(), "{:?}", nothing.applied);
    let reasons: Vec<&str> = nothing.obstacles.iter().map(|o| o.reason.as_str()).collect();
    let said = |start: &str| reasons.iter().any(|r| r.starts_with(start));
    assert!(said("`z` of function `main` has no number to compare"), "{reasons:?}");
    assert!(said("`bias` multiplies with infinity"), "{reasons:?}");
    // One result with numbers is no proof of another without.
    let half = repaired(&(inverse("y", "a") + &inverse("z", "bias")), "y, z");
    assert!(half.is_unchanged(), "{:?}", half.applied);
    // Where both have numbers, both are proven.
    let sound = repaired(&(inverse("y", "a") + &inverse("z", "drop")), "y, z");
    assert!(!sound.is_unchanged(), "{:?}", sound.obstacles);
    assert!(sound.applied.iter().all(|a| a.proof.is_some_and(|p| p.elements > 0)), "{:?}", sound.applied);
}

/// A row without anything visible is no number before, and would be one after.
#[test]
fn a_mask_that_hides_a_row_stays() {
    let masked = |rows: &str| {
        let text = format!(
            "program(1.3)
            [buildInfo = dict<string, string>({{{{\"coremlc-version\", \"3505.4.1\"}}}})]
            {{ func main<ios18>(tensor<fp16, [2, 16]> a) {{
                tensor<fp16, [2, 1]> mask = const()[name = string(\"mask\"), val = tensor<fp16, [2, 1]>([{rows}])];
                int32 ax = const()[name = string(\"ax\"), val = int32(0)];
                tensor<fp16, [2, 16]> m = add(x = a, y = mask)[name = string(\"m\")];
                tensor<fp16, [2, 16]> z = softmax(axis = ax, x = m)[name = string(\"z\")]; }} -> (z); }}"
        );
        repair_proven(&mil::text::load(&text).unwrap_or_else(|e| panic!("{e}")), None, &Weights::new(), 1)
    };
    assert!(!masked("[-inf], [0]").is_unchanged());
    let hidden = masked("[-inf], [-inf]");
    assert!(hidden.is_unchanged() && hidden.obstacles.len() == 1, "{:?}", hidden.obstacles);
}

#[test]
fn what_is_too_large_to_try_is_not_applied() {
    let program = square(
        4096,
        "TY y = scaled_dot_product_attention(query = x, key = x, value = x)[name = string(\"y\")];",
    );
    let repaired = repair_proven(&program, None, &Weights::new(), 1);
    assert!(repaired.is_unchanged());
    let reason = &repaired.obstacles[0].reason;
    assert!(reason.contains("floating-point operations"), "{reason}");
    assert!(!repair(&program, None).is_unchanged());
}

#[test]
fn what_is_too_wide_is_cut_with_its_constants_and_sizes() {
    let b = mil::Builder::new("main", mil::Opset::Ios18);
    let wide = |shape: &[usize]| TensorType::new(mil::DType::F16, shape);
    let (x, y) = (b.input("x", wide(&[1, 2, 1, 20_000])), b.input("y", wide(&[20_000])));
    let ramp = (0..20_000).map(|i| f64::from(i % 97));
    let ramp = b.constant("ramp", Tensor::floats(wide(&[1, 20_000]), ramp));
    let rows = (x * y).reshape(&[2, 20_000]) + ramp;
    let transposed = rows.t().slice(&[0, 1], &[20_000, 1]).t();
    let parts = b.op_many("split", [("x", rows.into()), ("num_splits", 2.into()), ("axis", 0.into())]);
    let before = b.finish([("p", parts[0] + transposed), ("q", parts[1])]).unwrap_or_else(|e| panic!("{e}"));
    let repaired = repair(&before, None);
    assert!(repaired.obstacles.is_empty(), "{:?}", repaired.obstacles);
    let widths = |ports: &[anelint::repair::MovedPort]| -> Vec<Vec<usize>> {
        ports.iter().map(|p| p.pieces.iter().map(|p| p.len).collect()).collect()
    };
    let halves = vec![vec![10_016, 9_984]; 2];
    assert_eq!(widths(&repaired.ports[0].inputs), halves);
    assert_eq!(widths(&repaired.ports[0].outputs), halves);
    let function = repaired.program.entry();
    assert!(
        function.ops.iter().all(|op| op.results.iter().all(|&r| !function.ty(r).shape.contains(&20_000)))
    );
    let proof = prove(&before, &repaired.program, &repaired, &Weights::new(), 9);
    assert_eq!(proof.unwrap_or_else(|e| panic!("{e}")).exact, 0.0);
}

#[test]
fn values_that_are_bound_twice_cannot_be_ordered() {
    let text = "program(1.3)
        [buildInfo = dict<string, string>({{\"coremlc-version\", \"3505.4.1\"}})]
        { func main<ios18>(tensor<fp16, [1, 16]> a) {
            tensor<fp16, [1, 16]> z = relu(x = a)[name = string(\"z\")]; } -> (z, a); }";
    let repaired = repair(&mil::text::load(text).expect("valid"), None);
    assert!(repaired.is_unchanged());
    assert_eq!(repaired.obstacles[0].reason, "input `a` is an output too");
}
