//! Probes of operations that reportedly need a newer engine: one small program each.

use super::prober::{Case, Outcome, Prober, uneven};
use super::slots::{SHAPE, plain};
use super::{Finding, Probe};
use crate::facts;
use crate::rules::Chip;
use mil::build::{Builder, Input};
use mil::{DType, Data, Tensor, TensorType, Var, ty};

pub(super) const PROBES: &[Probe] = &[Probe {
    id: "newer-operations",
    rules: &["T33"],
    question: "Which operations run that reportedly need a newer engine?",
    compiles: 16,
    ask: |prober| vec![newer(prober)],
}];

/// How far functions and places between pixels may be off: see rule N14.
const CLOSE: f64 = 0.02;

/// How far mean and deviation of 24,576 draws may be off, as a share of the larger.
const DRAWN: f64 = 0.05;

/// The known property of an operation's result.
enum Known {
    /// Its numbers, up to this share of the largest.
    Numbers(f64),
    /// Mean and deviation of the samples.
    Drawn(f64, f64),
}

type Args<'b> = Vec<(&'static str, Input<'b>)>;

/// The operations, so that one that old engines lack stands beside one that they have: after four refusals in a row the
/// compiler is not called any more.
const OPERATIONS: [&str; 16] = [
    "sin",
    "topk",
    "cos",
    "argsort",
    "reduce_argmax",
    "resize_nearest_neighbor",
    "reduce_argmin",
    "resize_bilinear",
    "random_uniform",
    "resize",
    "random_normal",
    "affine",
    "random_bernoulli",
    "crop_resize",
    "random_categorical",
    REFLECTED,
];

/// A way of `pad`, which is taken otherwise.
const REFLECTED: &str = "pad by reflection";

/// The first generation that has it.
fn since(op: &str) -> u8 {
    let table = facts::SINCE_GENERATION.value;
    let found = table.iter().find(|(name, _)| *name == op);
    found.map_or(facts::REFLECT_AND_DYNAMIC_SLICE.value, |&(_, since)| since)
}

fn newer(prober: &Prober<'_>) -> Finding {
    let tried = OPERATIONS.map(|op| (op, tried(prober, op)));
    let expected = |op: &str| prober.chip().map(|chip: Chip| chip.generation() >= since(op));
    let lost = |o: &Outcome| matches!(o, Outcome::Lost(_));
    // Where the chip is not known, the rule holds if anything fails.
    let so = match prober.chip() {
        Some(_) => tried.iter().all(|(op, o)| lost(o) || expected(op) == Some(o.is_right())),
        None => tried.iter().any(|(_, o)| o.consequence().is_some()),
    };
    let running: Vec<&str> = tried.iter().filter(|(_, o)| o.is_right()).map(|(op, _)| *op).collect();
    let mut says = vec![match running.len() {
        n if n == tried.len() => "all run, with the right results".to_owned(),
        0 => "none runs".to_owned(),
        _ => format!("right: {}", running.join(", ")),
    }];
    for (op, outcome) in tried.iter().filter(|(_, o)| !o.is_right()) {
        let wanted = if expected(op) == Some(true) { ", which the table does not say" } else { "" };
        says.push(format!("{op}: {}{wanted}", outcome.says()));
    }
    let says = says.join("; ");
    let unclear = tried.iter().any(|(_, o)| lost(o)) && so == prober.chip().is_some();
    let mut finding = match unclear {
        true => Finding::unclear("T33", says),
        false => Finding::whether(so, "T33", says).leads_to(tried.iter().find_map(|(_, o)| o.consequence())),
    };
    for (op, outcome) in tried.iter().filter(|(_, o)| !lost(o)) {
        finding = finding.with(*op, f64::from(u8::from(outcome.is_right())));
    }
    finding
}

/// Compiles and runs an operation.
fn tried(prober: &Prober<'_>, op: &'static str) -> Outcome {
    let (case, known) = case(op);
    let (mean, deviation) = match known {
        Known::Numbers(close) => return prober.try_out(&case, close),
        Known::Drawn(mean, deviation) => (mean, deviation),
    };
    let got = match case.verified().map_err(Outcome::Lost).and_then(|_| prober.gives(&case)) {
        Ok(got) => got.into_iter().flatten().collect::<Vec<f64>>(),
        Err(outcome) => return outcome,
    };
    let n = got.len().max(1) as f64;
    let middle = got.iter().sum::<f64>() / n;
    let spread = (got.iter().map(|x| (x - middle).powi(2)).sum::<f64>() / n).sqrt();
    Outcome::of(&[vec![middle, spread]], &[vec![mean, deviation]], DRAWN)
}

fn case(op: &'static str) -> (Case, Known) {
    let of = |x: Tensor, body: for<'b> fn(&'b Builder, Var<'b>) -> Var<'b>| {
        Case::new("newer", vec![("x", x)], |b, v| vec![("y", body(b, v[0]))])
    };
    let numbers = |close: f64, case: Case| (case, Known::Numbers(close));
    // Draws alone are no program of an input: it is added, and is zero.
    let drawn = |mean: f64, deviation: f64, body: for<'b> fn(&'b Builder, Var<'b>) -> Var<'b>| {
        (of(Tensor::floats(ty::f16(SHAPE), [0.0; SHAPE[1] * SHAPE[3]]), body), Known::Drawn(mean, deviation))
    };
    // No two elements of a row are equal.
    let rows = || uneven(ty::f16(SHAPE), 7, 64, 8.0);
    let image = || uneven(ty::f16([1, 24, 16, 64]), 7, 9, 8.0);
    match op {
        "sin" => numbers(CLOSE, of(plain(7), |b, x| b.op("sin", [("x", x.into())]))),
        "cos" => numbers(CLOSE, of(plain(7), |b, x| b.op("cos", [("x", x.into())]))),
        "topk" => numbers(
            0.0,
            of(rows(), |b, x| {
                let args: Args<'_> = vec![("x", x.into()), ("k", 16i64.into()), ("axis", 3i64.into())];
                b.op_many("topk", args).first().copied().unwrap_or(x)
            }),
        ),
        "argsort" => numbers(
            0.0,
            of(rows(), |b, x| b.op("argsort", [("x", x.into()), ("axis", 3i64.into())]).cast(DType::F16)),
        ),
        "reduce_argmax" => numbers(0.0, of(rows(), |b, x| place(b, "reduce_argmax", x))),
        "reduce_argmin" => numbers(0.0, of(rows(), |b, x| place(b, "reduce_argmin", x))),
        "resize_nearest_neighbor" => {
            numbers(0.0, of(image(), |b, x| b.op("resize_nearest_neighbor", twice(x, "STAYS"))))
        }
        "resize_bilinear" => {
            numbers(CLOSE, of(image(), |b, x| b.op("resize_bilinear", twice(x, "STRICT_ALIGN_CORNERS"))))
        }
        "resize" => numbers(
            CLOSE,
            of(image(), |b, x| {
                let ty = TensorType::new(DType::U32, [1]);
                let last = b.constant("last", Tensor { ty, data: Data::Int(vec![2]) });
                let args: Args<'_> = vec![
                    ("x", x.into()),
                    ("shape", vec![32, 128].into()),
                    ("resized_dims", last.into()),
                    ("interpolation_mode", "LINEAR".into()),
                    ("sampling_mode", "STRICT_ALIGN_CORNERS".into()),
                ];
                b.op("resize", args)
            }),
        ),
        "affine" => numbers(CLOSE, of(image(), mirrored)),
        "crop_resize" => numbers(CLOSE, of(image(), cropped)),
        "random_uniform" => drawn(0.5, 1.0 / 12f64.sqrt(), |b, x| {
            let (low, high) = (b.scalar(DType::F16, 0.0), b.scalar(DType::F16, 1.0));
            b.op("random_uniform", [wanted(), ("low", low.into()), ("high", high.into())]) + x
        }),
        "random_normal" => drawn(0.0, 1.0, |b, x| {
            let (mean, deviation) = (b.scalar(DType::F16, 0.0), b.scalar(DType::F16, 1.0));
            b.op("random_normal", [wanted(), ("mean", mean.into()), ("stddev", deviation.into())]) + x
        }),
        "random_bernoulli" => drawn(0.5, 0.5, |b, x| {
            let even = b.scalar(DType::F16, 0.5);
            b.op("random_bernoulli", [wanted(), ("prob", even.into())]) + x
        }),
        // 64 places of the same weight.
        "random_categorical" => drawn(31.5, (4095.0 / 12f64).sqrt(), |b, x| {
            b.op("random_categorical", [("x", x.into()), ("mode", "logits".into()), ("size", 64i64.into())])
        }),
        _ => numbers(
            0.0,
            of(plain(7), |b, x| {
                let ends = vec![0, 0, 0, 0, 0, 0, 16, 16];
                b.op("pad", [("x", x.into()), ("pad", ends.into()), ("mode", "reflect".into())])
            }),
        ),
    }
}

/// The shape of the samples.
fn wanted<'b>() -> (&'static str, Input<'b>) {
    ("shape", SHAPE.map(|n| n as i64).to_vec().into())
}

/// `x` with the place of an extreme of each row added.
fn place<'b>(b: &'b Builder, op: &str, x: Var<'b>) -> Var<'b> {
    let args: Args<'b> = vec![("x", x.into()), ("axis", 3i64.into()), ("keep_dims", true.into())];
    b.op(op, args).cast(DType::F16) + x
}

/// Arguments of a resizing to twice the size.
fn twice<'b>(x: Var<'b>, mode: &str) -> Args<'b> {
    let mut args: Args<'b> =
        vec![("x", x.into()), ("target_size_height", 32i64.into()), ("target_size_width", 128i64.into())];
    if mode != "STAYS" {
        args.push(("sampling_mode", mode.into()));
    }
    args
}

/// `x` mirrored from left to right.
fn mirrored<'b>(b: &'b Builder, x: Var<'b>) -> Var<'b> {
    let mirror = Tensor::floats(ty::f16([1, 6]), [-1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    let args: Args<'b> = vec![
        ("x", x.into()),
        ("transform_matrix", b.constant("mirror", mirror).into()),
        ("output_height", 16i64.into()),
        ("output_width", 64i64.into()),
        ("sampling_mode", "bilinear".into()),
        ("padding_mode", "constant".into()),
        ("padding_value", b.scalar(DType::F16, 0.0).into()),
        ("coordinates_mode", "normalized_minus_one_to_one".into()),
        ("align_corners", true.into()),
    ];
    b.op("affine", args)
}

/// The part of `x` from row 2 and column 16 on, 8 rows and 32 columns: whole pixels.
fn cropped<'b>(b: &'b Builder, x: Var<'b>) -> Var<'b> {
    let bounds = Tensor::floats(ty::f16([1, 4]), [2.0, 16.0, 9.0, 47.0]);
    let ty = TensorType::new(DType::I32, [1]);
    let first = b.constant("first", Tensor { ty, data: Data::Int(vec![0]) });
    let args: Args<'b> = vec![
        ("x", x.into()),
        ("boxes", b.constant("bounds", bounds).into()),
        ("box_indices", first.into()),
        ("target_height", 8i64.into()),
        ("target_width", 32i64.into()),
        ("box_coordinate_mode", "CORNERS_HEIGHT_FIRST".into()),
        ("sampling_mode", "STRICT_ALIGN_CORNERS".into()),
    ];
    b.op("crop_resize", args)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_of_the_table_is_asked_and_no_four_that_one_chip_lacks_in_a_row() {
        for (op, _) in facts::SINCE_GENERATION.value {
            assert!(OPERATIONS.contains(op), "{op}");
        }
        assert_eq!(OPERATIONS.len(), facts::SINCE_GENERATION.value.len() + 1);
        for four in OPERATIONS.windows(4) {
            assert!(four.iter().any(|op| since(op) <= 14), "{four:?}");
        }
        for op in OPERATIONS {
            let (case, _) = case(op);
            assert!(case.means().is_ok(), "{op}: {:?}", case.means());
            let text = mil::text::print(case.verified().expect("verified"));
            let name = op.split(' ').next().expect("a word");
            assert!(text.contains(&format!(" = {name}(")), "{op}: {text}");
        }
    }
}
