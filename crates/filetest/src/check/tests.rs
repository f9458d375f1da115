use super::check;
use std::path::Path;

const ADD: &str = "//! test read print verify\n//! test run engine=reference,apple\n//! test grad wrt=x\n\
    //! x = [1, 2]\n//! y = [2.5, 3.5]\nprogram(1.3)\n{\n    func main<ios18>(tensor<fp16, [2]> x) {\n\
    tensor<fp16, [2]> w = const()[val = tensor<fp16, [2]>([1.5, 1.5])];\n\
    tensor<fp16, [2]> y = add(x = x, y = w);\n    } -> (y);\n}\n";

fn failures(source: &str) -> Vec<String> {
    check(Path::new("add.mil"), source, false).failures
}

#[test]
fn a_sound_file_passes_and_names_what_it_could_not_try() {
    let checked = check(Path::new("add.mil"), ADD, false);
    assert_eq!((checked.failures, checked.blessed), (vec![], None));
    assert_eq!(checked.skipped, ["engine `apple` is not available"]);
}

#[test]
fn what_does_not_hold_is_said() {
    for (from, to, says) in [
        ("y = [2.5, 3.5]", "y = [2.5, 3.75]", "output `y` of engine `reference`: 3.5 at [1], expected 3.75"),
        ("y = [2.5, 3.5]", "y = [2.5]", "`y`: the rows of this literal are not [2]"),
        ("//! y = [2.5, 3.5]\n", "", "does not give its value"),
        ("//! x = [1, 2]\n", "", "input `x` is not given"),
        ("//! x =", "//! z = 1\n//! x =", "`z` is neither input nor output"),
        ("wrt=x", "wrt=z", "no input `z`"),
        ("add(", "ad(", "refused: unknown-op in line 10; expected: nothing"),
        (
            "add(x = x, y = w);",
            "add(x = x, y = w); // error[dtype]",
            "refused: nothing; expected: dtype in line 10",
        ),
        ("print", "print as=missing.mil", "missing.mil"),
    ] {
        let found = failures(&ADD.replace(from, to));
        assert!(found.iter().any(|f| f.contains(says)), "{says}: {found:?}");
    }
}

#[test]
fn a_wrong_gradient_is_found() {
    // No gradient in the table is wrong, so the differences are made wrong: `x` lies where the slope of
    // `pow` is too steep for them.
    let steep = ADD.replace("add(x = x", "pow(x = x").replace("[1, 2]", "[6e-8, 2]");
    let steep = steep.replace("([1.5, 1.5])", "([0.5, 1.5])");
    assert!(
        failures(&steep).iter().any(|f| f.contains("the gradient of `x` at [0]")),
        "{:?}",
        failures(&steep)
    );
}

#[test]
fn weights_are_given_as_files() {
    let blob = "tensor<fp16, [2]>(BLOBFILE(path = string(\"@w.bin\"), offset = uint64(64)))";
    let blob = ADD.replace("tensor<fp16, [2]>([1.5, 1.5])", blob);
    assert!(failures(&blob).iter().any(|f| f.contains("`@w.bin`, which is missing")));
    let given = |text: &str| failures(&blob.replace("//! x", &format!("//! @w.bin = {text}\n//! x")));
    assert_eq!(given("fp16 [1.5, 1.5]"), Vec::<String>::new());
    assert!(given("fp16 [1.5]")[0].contains("holds 2 bytes; expected 4"));
    assert!(given("fp32 [1.5, 1.5]")[0].contains("holds fp32; expected fp16"));
    assert!(given("fp16 [[1, 2], [3]]")[0].contains("not [2, 2]"));
}

#[test]
fn blessing_rewrites_what_does_not_hold_and_nothing_else() {
    let blessed = |source: &str| check(Path::new("add.mil"), source, true).blessed;
    assert_eq!(blessed(ADD), None);
    let wrong =
        ADD.replace("y = [2.5, 3.5]", "y = [0,\n//! 0]").replace("y = w);", "y = w); // error[dtype]");
    assert_eq!(blessed(&wrong).as_deref(), Some(ADD));
    let without = ADD.replace("//! y = [2.5, 3.5]\n", "");
    assert_eq!(blessed(&without).as_deref(), Some(ADD));
    let refused =
        "//! test verify\n//! error[dtype]\nprogram(1.3) {\nfunc f<ios18>(fp16 x) {\nq = 1;\n} -> (x);\n}\n";
    let want = "//! test verify\nprogram(1.3) {\nfunc f<ios18>(fp16 x) {\nq = 1; // error[unknown-type]\n} -> (x);\n}\n";
    assert_eq!(blessed(refused).as_deref(), Some(want));
}
