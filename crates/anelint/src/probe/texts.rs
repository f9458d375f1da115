//! Probes of syntax that our printer never writes: the engine reads these texts unchanged.

use super::prober::{Case, Outcome, uneven};
use super::slots::{any_fails, plain};
use super::{Finding, Probe, Prober};
use mil::{Tensor, Var, ty};

/// The probe of a rule that forbids a syntax.
macro_rules! written {
    ($id:literal, $rule:literal, $question:literal, $what:literal, $case:expr, $text:expr) => {
        Probe {
            id: $id,
            rules: &[$rule],
            question: $question,
            compiles: 1,
            ask: |prober| vec![prober.try_out(&$case.written($text), 0.0).fails($rule, $what)],
        }
    };
}

pub(super) const PROBES: &[Probe] = &[
    written!(
        "build-info",
        "T2",
        "Is a text without `buildInfo` accepted?",
        "a text without `buildInfo`",
        double(),
        NO_BUILD_INFO
    ),
    written!(
        "inline-literals",
        "T3",
        "Is a number accepted where a name is expected?",
        "a product with a number as argument",
        double(),
        INLINE
    ),
    Probe {
        id: "other-spellings",
        rules: &["T4"],
        question: "Are names accepted that begin with `%`, or are followed by their type?",
        compiles: 2,
        ask: |prober| {
            let texts = [("names that begin with `%`", PERCENT), ("types behind names", TYPE_BEHIND)];
            vec![all_fail(
                "T4",
                texts.map(|(what, text)| (what, prober.try_out(&double().written(text), 0.0))),
            )]
        },
    },
    Probe {
        id: "computed-transposes",
        rules: &["T10"],
        question: "Is a product with a computed transpose accepted?",
        compiles: 2,
        ask: computed_transposes,
    },
    Probe {
        id: "slices",
        rules: &["T24"],
        question: "Are slices with a computed begin, and empty slices, accepted?",
        compiles: 2,
        ask: |prober| {
            let moved = Case::new("moved", vec![("at", eights()), ("x", plain(7))], |_, v| {
                vec![("y", v[1].slice(&[0, 8, 0, 0], &[1, 192, 1, 64]))]
            });
            let empty = Case::new("empty", vec![("x", plain(7))], |_, v| {
                let parts = vec![v[0].slice(&[0, 0, 0, 0], &[1, 192, 1, 64]), v[0]];
                Var::concat(parts, 1).map(|y| vec![("y", y)]).unwrap_or_default()
            });
            let texts = [
                ("a slice that begins where a value says", moved.written(MOVED)),
                ("a slice of no channels, joined with one of 192 and all", empty.written(EMPTY)),
            ];
            vec![any_fails("T24", texts.map(|(what, case)| (what, prober.try_out(&case, 0.0))))]
        },
    },
    Probe {
        id: "states",
        rules: &["T26"],
        question: "Is a state accepted that is read or written twice?",
        compiles: 3,
        ask: states,
    },
];

/// `y = 2x`.
fn double() -> Case {
    Case::new("double", vec![("x", plain(7))], |_, v| vec![("y", v[0] * 2.0)])
}

/// Nothing but eights: where a slice begins.
fn eights() -> Tensor {
    let shape = super::slots::SHAPE;
    Tensor::floats(ty::f16(shape), (0..shape.iter().product()).map(|_: usize| 8.0))
}

/// A finding that holds if every form fails.
fn all_fail(about: &'static str, outcomes: [(&str, Outcome); 2]) -> Finding {
    let says: Vec<String> = outcomes.iter().map(|(what, o)| format!("{what}: {}", o.says())).collect();
    let (says, outcomes) = (says.join("; "), outcomes.map(|(_, o)| o));
    match &outcomes {
        all if all.iter().any(Outcome::is_right) => Finding::holds_not(about, says),
        all if all.iter().any(|o| matches!(o, Outcome::Lost(_))) => Finding::unclear(about, says),
        [first, _] => Finding::holds(about, says).leads_to(first.consequence()),
    }
}

fn computed_transposes(prober: &Prober<'_>) -> Vec<Finding> {
    let product = || {
        let [a, b] = [7, 5].map(|step| uneven(ty::f16([1, 8, 64, 64]), step, 5, 4.0));
        Case::new("product", vec![("a", a), ("b", b)], |_, v| vec![("y", v[0].matmul(v[1], false, true))])
    };
    let [constant, computed] =
        [product(), product().written(COMPUTED_TRANSPOSE)].map(|case| prober.try_out(&case, 0.0));
    vec![match constant.is_right() {
        true => computed.fails("T10", "with a transpose that `greater` computes, a product"),
        false => {
            Finding::unclear("T10", format!("even with constant transposes a product {}", constant.says()))
        }
    }]
}

fn states(prober: &Prober<'_>) -> Vec<Finding> {
    let sound = prober.compiles("state", STATE);
    if let Err(outcome) = sound {
        let says = format!("even a state that is read once and written once: {}", outcome.says());
        return vec![Finding::unclear("T26", says)];
    }
    let compiled = |text| match prober.compiles("states", text) {
        Ok(()) => ("compiles".to_owned(), None, false),
        Err(outcome) => (outcome.says(), outcome.consequence(), matches!(outcome, Outcome::Lost(_))),
    };
    let tried = [("read twice", compiled(READ_TWICE)), ("written twice", compiled(WRITTEN_TWICE))];
    let says: Vec<String> = tried.iter().map(|(what, (says, ..))| format!("{what}: {says}")).collect();
    let says = format!("once read and once written a state compiles; {}", says.join("; "));
    let failing = tried.iter().find_map(|(_, (_, consequence, _))| *consequence);
    vec![match failing {
        Some(consequence) => Finding::holds("T26", says).leads_to(Some(consequence)),
        None if tried.iter().any(|(_, (.., lost))| *lost) => Finding::unclear("T26", says),
        None => Finding::holds_not("T26", says),
    }]
}

const NO_BUILD_INFO: &str = r#"program(1.3)
{
    func main<ios18>(tensor<fp16, [1, 384, 1, 64]> x) {
            fp16 two = const()[name = string("two"), val = fp16(0x1p+1)];
            tensor<fp16, [1, 384, 1, 64]> y = mul(x = x, y = two)[name = string("y")];
        } -> (y);
}
"#;

const INLINE: &str = r#"program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios18>(tensor<fp16, [1, 384, 1, 64]> x) {
            tensor<fp16, [1, 384, 1, 64]> y = mul(x = x, y = fp16(0x1p+1))[name = string("y")];
        } -> (y);
}
"#;

const PERCENT: &str = r#"program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios18>(tensor<fp16, [1, 384, 1, 64]> %x) {
            fp16 %two = const()[name = string("two"), val = fp16(0x1p+1)];
            tensor<fp16, [1, 384, 1, 64]> %y = mul(x = %x, y = %two)[name = string("y")];
        } -> (%y);
}
"#;

const TYPE_BEHIND: &str = r#"program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios18>(x: tensor<fp16, [1, 384, 1, 64]>) {
            two: fp16 = const()[name = string("two"), val = fp16(0x1p+1)];
            y: tensor<fp16, [1, 384, 1, 64]> = mul(x = x, y = two)[name = string("y")];
        } -> (y);
}
"#;

const COMPUTED_TRANSPOSE: &str = r#"program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios18>(tensor<fp16, [1, 8, 64, 64]> a, tensor<fp16, [1, 8, 64, 64]> b) {
            bool no = const()[name = string("no"), val = bool(false)];
            fp16 one = const()[name = string("one"), val = fp16(0x1p+0)];
            fp16 two = const()[name = string("two"), val = fp16(0x1p+1)];
            bool yes = greater(x = two, y = one)[name = string("yes")];
            tensor<fp16, [1, 8, 64, 64]> y = matmul(transpose_x = no, transpose_y = yes, x = a, y = b)[name = string("y")];
        } -> (y);
}
"#;

/// `at` is 8: the slice begins at `[0, 8, 0, 0]`.
const MOVED: &str = r#"program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios18>(tensor<fp16, [1, 384, 1, 64]> at, tensor<fp16, [1, 384, 1, 64]> x) {
            tensor<int32, [4]> origin = const()[name = string("origin"), val = tensor<int32, [4]>([0, 0, 0, 0])];
            tensor<int32, [4]> four = const()[name = string("four"), val = tensor<int32, [4]>([1, 1, 1, 4])];
            tensor<int32, [1]> row = const()[name = string("row"), val = tensor<int32, [1]>([4])];
            tensor<fp16, [4]> channel = const()[name = string("channel"), val = tensor<fp16, [4]>([0x0p+0, 0x1p+0, 0x0p+0, 0x0p+0])];
            string whole = const()[name = string("whole"), val = string("int32")];
            tensor<int32, [4]> size = const()[name = string("size"), val = tensor<int32, [4]>([1, 192, 1, 64])];
            tensor<fp16, [1, 1, 1, 4]> said = slice_by_size(begin = origin, size = four, x = at)[name = string("said")];
            tensor<fp16, [4]> flat = reshape(shape = row, x = said)[name = string("flat")];
            tensor<fp16, [4]> place = mul(x = flat, y = channel)[name = string("place")];
            tensor<int32, [4]> begin = cast(dtype = whole, x = place)[name = string("begin")];
            tensor<fp16, [1, 192, 1, 64]> y = slice_by_size(begin = begin, size = size, x = x)[name = string("y")];
        } -> (y);
}
"#;

const EMPTY: &str = r#"program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios18>(tensor<fp16, [1, 384, 1, 64]> x) {
            tensor<int32, [4]> begin = const()[name = string("begin"), val = tensor<int32, [4]>([0, 0, 0, 0])];
            tensor<int32, [4]> none = const()[name = string("none"), val = tensor<int32, [4]>([1, 0, 1, 64])];
            tensor<int32, [4]> half = const()[name = string("half"), val = tensor<int32, [4]>([1, 192, 1, 64])];
            int32 axis = const()[name = string("axis"), val = int32(1)];
            bool interleave = const()[name = string("interleave"), val = bool(false)];
            tensor<fp16, [1, 0, 1, 64]> nothing = slice_by_index(begin = begin, end = none, x = x)[name = string("nothing")];
            tensor<fp16, [1, 192, 1, 64]> part = slice_by_size(begin = begin, size = half, x = x)[name = string("part")];
            tensor<fp16, [1, 576, 1, 64]> y = concat(axis = axis, interleave = interleave, values = (nothing, part, x))[name = string("y")];
        } -> (y);
}
"#;

const STATE: &str = r#"program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios18>(tensor<fp16, [1, 384, 1, 64]> x, state<tensor<fp16, [1, 384, 1, 64]>> s) {
            tensor<fp16, [1, 384, 1, 64]> old = read_state(input = s)[name = string("old")];
            tensor<fp16, [1, 384, 1, 64]> y = add(x = old, y = x)[name = string("y")];
            write_state(data = y, input = s)[name = string("kept")];
        } -> (y);
}
"#;

const READ_TWICE: &str = r#"program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios18>(tensor<fp16, [1, 384, 1, 64]> x, state<tensor<fp16, [1, 384, 1, 64]>> s) {
            tensor<fp16, [1, 384, 1, 64]> old = read_state(input = s)[name = string("old")];
            tensor<fp16, [1, 384, 1, 64]> again = read_state(input = s)[name = string("again")];
            tensor<fp16, [1, 384, 1, 64]> both = add(x = old, y = again)[name = string("both")];
            tensor<fp16, [1, 384, 1, 64]> y = add(x = both, y = x)[name = string("y")];
            write_state(data = y, input = s)[name = string("kept")];
        } -> (y);
}
"#;

const WRITTEN_TWICE: &str = r#"program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios18>(tensor<fp16, [1, 384, 1, 64]> x, state<tensor<fp16, [1, 384, 1, 64]>> s) {
            tensor<fp16, [1, 384, 1, 64]> old = read_state(input = s)[name = string("old")];
            tensor<fp16, [1, 384, 1, 64]> y = add(x = old, y = x)[name = string("y")];
            write_state(data = x, input = s)[name = string("first")];
            write_state(data = y, input = s)[name = string("second")];
        } -> (y);
}
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{self, Chip, Route};

    /// The rules of what an M4 refuses that a text breaks.
    fn broken(text: &str) -> Vec<&'static str> {
        let read = mil::text::read(text);
        let found = rules::check(&read, &[Chip::M4], Route::InMemory);
        let refused = |v: &rules::Violation| v.rule.consequence == rules::Consequence::Refused;
        found.iter().filter(|f| refused(f)).map(|f| f.rule.id).collect()
    }

    #[test]
    fn each_text_breaks_the_rule_that_it_asks_about() {
        for (about, text) in [
            ("T2", NO_BUILD_INFO),
            ("T3", INLINE),
            ("T10", COMPUTED_TRANSPOSE),
            ("T24", MOVED),
            ("T24", EMPTY),
            ("T26", READ_TWICE),
            ("T26", WRITTEN_TWICE),
        ] {
            let found = broken(text);
            assert!(found.contains(&about), "{about}: {found:?}");
            // Computed bounds and booleans are integers, and `concat` has a rule of its own.
            let others = ["T25", "T9"];
            assert!(found.iter().all(|id| *id == about || others.contains(id)), "{about}: {found:?}");
        }
        assert!(broken(STATE).is_empty(), "{:?}", broken(STATE));
        for text in [PERCENT, TYPE_BEHIND] {
            assert!(mil::text::load(text).is_err(), "a spelling that is none of ours");
        }
    }
}
