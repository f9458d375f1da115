//! Probes of arithmetic: overflow, underflow and rounding.

use super::prober::{Case, Outcome, uneven};
use super::slots::{SHAPE, WRONG, plain};
use super::{Finding, Probe, Prober};
use mil::{Tensor, ty};

/// Columns of these programs, and results of their sums.
const SIDE: usize = 64;

pub(super) const PROBES: &[Probe] = &[
    Probe {
        id: "saturation",
        rules: &["N8", "N1"],
        question: "What do sums give that reach 2^15, or return from there?",
        compiles: 1,
        ask: saturation,
    },
    Probe {
        id: "small-products",
        rules: &["N2"],
        question: "Which products vanish in sums?",
        compiles: 1,
        ask: small_products,
    },
    Probe {
        id: "subnormals",
        rules: &["N9"],
        question: "Do element-wise operations keep subnormal numbers, and numbers up to 65504?",
        compiles: 1,
        ask: subnormals,
    },
    Probe {
        id: "tiles",
        rules: &["N6", "N7"],
        question: "Are long sums rounded on the way, in products and in 1×1 convolutions?",
        compiles: 2,
        ask: tiles,
    },
    Probe {
        id: "rounding",
        rules: &["N4"],
        question: "How are sums rounded that lie halfway?",
        compiles: 1,
        ask: rounding,
    },
    Probe {
        id: "infinities",
        rules: &["N5"],
        question: "Do infinities and NaN count as numbers in products?",
        compiles: 1,
        ask: infinities,
    },
    Probe {
        id: "undefined",
        rules: &["N11"],
        question: "What are the root of -1, and infinity less infinity?",
        compiles: 2,
        ask: undefined,
    },
    Probe {
        id: "narrow-sum",
        rules: &["N10"],
        question: "Does `reduce_sum` count past 2048?",
        compiles: 1,
        ask: narrow_sum,
    },
    Probe {
        id: "softmax-maximum",
        rules: &["N12"],
        question: "Does `softmax` subtract the largest element first?",
        compiles: 1,
        ask: |prober| {
            let case = Case::new("softmax", vec![("x", uneven(ty::f16(SHAPE), 7, 9, 0.1))], |_, v| {
                vec![("y", v[0].softmax(1))]
            });
            vec![prober.try_out(&case, 0.02).passes("N12", "`softmax` of numbers up to 40")]
        },
    },
    Probe {
        id: "width-slice",
        rules: &["N13"],
        question: "Does a slice that begins inside the last axis keep numbers above 4094?",
        compiles: 1,
        ask: |prober| {
            let x = uneven(ty::f16([1, 192, 1, 128]), 7, 9, 1.0 / 1280.0);
            let case = Case::new("slice", vec![("x", x)], |_, v| {
                vec![("y", v[0].slice(&[0, 0, 0, 64], &[1, 192, 1, 64]) * 0.5)]
            });
            vec![prober.try_out(&case, 0.0).fails("N13", "a slice of numbers up to 5120")]
        },
    },
    Probe {
        id: "tables",
        rules: &["N14"],
        question: "What are the errors of sigmoid, tanh, silu and gelu?",
        compiles: 4,
        ask: tables,
    },
    Probe {
        id: "exact-operations",
        rules: &["N15"],
        question: "Are `relu`, `abs`, `sign` and `square` exact?",
        compiles: 1,
        ask: |prober| {
            let case = Case::new("exact", vec![("x", plain(7))], |b, v| {
                let of = |op| b.op(op, [("x", v[0].into())]);
                vec![("y", of("relu") + of("abs") * 2.0 + of("sign") * 4.0 + of("square"))]
            });
            vec![prober.try_out(&case, 0.0).passes("N15", "a sum of the four")]
        },
    },
    Probe {
        id: "round",
        rules: &["N18"],
        question: "Is `round` right for halves and above 1024?",
        compiles: 1,
        ask: |prober| {
            let values = [0.5, 1.5, -2.5, 3.25, 1023.5, 1025.0, 2047.0, -4100.0, 30000.0];
            let case = Case::new("round", vec![("x", repeated(&values))], |b, v| {
                vec![("y", b.op("round", [("x", v[0].into())]))]
            });
            vec![prober.try_out(&case, 0.0).fails("N18", "`round`")]
        },
    },
];

/// These values again and again, in the shape that engines take.
fn repeated(values: &[f64]) -> Tensor {
    let ty = ty::f16(SHAPE);
    let n = ty.elements();
    Tensor::floats(ty, values.iter().copied().cycle().take(n))
}

/// `Σ w[o, i]·x[i]` of each of these rows, by a 1×1 convolution; in odd columns x has the other sign.
fn sums(prober: &Prober<'_>, x: &[f64], rows: &[Vec<f64>]) -> Result<Vec<f64>, Outcome> {
    let k = x.len();
    let columns = x.iter().flat_map(|&x| (0..SIDE).map(move |s| if s % 2 == 0 { x } else { -x }));
    let input = Tensor::floats(ty::f16([1, k, 1, SIDE]), columns);
    let weight = (0..SIDE).flat_map(|o| rows.get(o).cloned().unwrap_or_else(|| vec![0.0; k]));
    let weight = Tensor::floats(ty::f16([SIDE, k, 1, 1]), weight);
    let path = "@model_path/weights/rows.bin";
    let case = Case::new("sums", vec![("x", input)], |b, v| {
        vec![("y", v[0].conv1x1(b.weight("w", weight.ty.clone(), path, mil::blob::FIRST_ENTRY), 1))]
    });
    let got = prober.gives(&case.weight(path, &weight))?;
    let all = got.first().map_or(&[][..], Vec::as_slice);
    Ok(all.chunks(SIDE).take(rows.len()).map(|row| row[0]).collect())
}

/// Findings for a program that failed before any measurement.
pub(super) fn not_seen(abouts: &[&'static str], outcome: &Outcome) -> Vec<Finding> {
    abouts.iter().map(|&about| Finding::unclear(about, format!("the program {}", outcome.says()))).collect()
}

/// "2^-12".
fn power(k: i32) -> String {
    format!("2^{k}")
}

fn saturation(prober: &Prober<'_>) -> Vec<Finding> {
    let targets = [1024.0, 16384.0, 32000.0, 32752.0, 32768.0, 33024.0, 49152.0, 65504.0];
    let mut rows: Vec<Vec<f64>> = targets.iter().map(|t| vec![t / SIDE as f64; SIDE]).collect();
    // Up to 32768, and back to 512.
    rows.push((0..SIDE).map(|i| if i < SIDE / 2 { 1024.0 } else { -1008.0 }).collect());
    let got = match sums(prober, &[1.0; SIDE], &rows) {
        Ok(got) => got,
        Err(outcome) => return not_seen(&["N8", "N1"], &outcome),
    };
    let (flat, back) = (&got[..targets.len()], got[targets.len()]);
    let pairs: Vec<(f64, f64)> = targets.iter().copied().zip(flat.iter().copied()).collect();
    let shown: Vec<String> = pairs.iter().map(|(want, got)| format!("{want}: {got}")).collect();
    let shown = format!("sums of 64 products, each with what it gives: {}", shown.join(", "));
    let right = |(want, got): &(f64, f64)| want == got;
    let last = pairs.iter().take_while(|p| right(p)).last().map_or(0.0, |p| p.0);
    let first = match (pairs[..2].iter().all(right), pairs.iter().all(right)) {
        (false, _) => Finding::unclear("N8", shown),
        (true, true) => Finding::holds_not("N8", shown),
        (true, false) => Finding::holds("N8", shown).leads_to(WRONG),
    };
    let says = format!("a sum that reaches 32768 and returns to 512 gives {back}");
    let second = match back {
        512.0 => Finding::holds_not("N1", says),
        x if x.is_infinite() => Finding::holds("N1", says).leads_to(WRONG),
        _ => Finding::unclear("N1", says),
    };
    vec![first.with("largest_right_sum", last), second.with("up_and_back", back)]
}

fn small_products(prober: &Prober<'_>) -> Vec<Finding> {
    // x is 2^-8, weights 2^-o: products from 2^-8 to 2^-22, 64 of each.
    let rows: Vec<Vec<f64>> = (0..=14).map(|o| vec![0.5f64.powi(o); SIDE]).collect();
    let got = match sums(prober, &[0.5f64.powi(8); SIDE], &rows) {
        Ok(got) => got,
        Err(outcome) => return not_seen(&["N2"], &outcome),
    };
    let right = |o: usize| got[o] == 0.5f64.powi(2 + o as i32);
    let kept = (0..got.len()).take_while(|&o| right(o)).last();
    let vanished = (0..got.len()).find(|&o| got[o] == 0.0);
    vec![match (kept, vanished) {
        (None, _) => Finding::unclear("N2", format!("64 products of {} give {}", power(-8), got[0])),
        (Some(14), None) => Finding::holds_not("N2", format!("products down to {} are kept", power(-22)))
            .with("smallest_product_exponent", -22.0),
        (Some(kept), vanished) => {
            let kept = -8 - kept as i32;
            let gone = match vanished {
                Some(o) => format!("those of {} vanish", power(-8 - o as i32)),
                None => format!("those of {} come out wrong", power(kept - 1)),
            };
            Finding::holds("N2", format!("products down to {} are kept, {gone}", power(kept)))
                .leads_to(WRONG)
                .with("smallest_product_exponent", f64::from(kept))
        }
    }]
}

fn subnormals(prober: &Prober<'_>) -> Vec<Finding> {
    let small = [15, 17, 20, 23, 24].map(|k| 0.5f64.powi(k));
    let values: Vec<f64> = small.iter().copied().chain([3.0 * small[4], 30000.0, -32752.0, 1.0]).collect();
    let case = Case::new("double", vec![("a", repeated(&values)), ("b", repeated(&values))], |_, v| {
        vec![("y", v[0] + v[1])]
    });
    // To the bit: subnormal numbers are far below any share of the largest.
    let outcome = prober.try_out(&case, 0.0);
    vec![outcome.passes("N9", "a sum of two numbers from 2^-24 to 32752")]
}

/// 4096 and 1024 ones: an engine that rounds sums of tiles to fp16 loses some of them.
fn tiles(prober: &Prober<'_>) -> Vec<Finding> {
    let k = 17 * SIDE;
    let value = |c: usize| match c {
        0 => 4096.0,
        1..=1024 => 1.0,
        _ => 0.0,
    };
    let says = |what: &str, got: f64| format!("4096 and 1024 ones add up to {got} in a {what}");
    let x = Tensor::floats(ty::f16([1, k, 1, SIDE]), (0..k * SIDE).map(|i| value(i / SIDE)));
    let ones = Tensor::floats(ty::f16([1, k, 1, SIDE]), vec![1.0; k * SIDE]);
    let case = Case::new("tiles", vec![("a", x), ("b", ones)], |_, v| {
        let [a, b] = [v[0], v[1]].map(|x| x.reshape(&[1, 1, k, SIDE]));
        vec![("y", a.matmul(b, true, false))]
    });
    let n6 = match prober.gives(&case) {
        Err(outcome) => not_seen(&["N6"], &outcome),
        Ok(got) => match got[0][0] {
            5120.0 => vec![Finding::holds_not("N6", says("product", 5120.0))],
            // Only intermediate rounding explains a near value.
            near if (5000.0..5240.0).contains(&near) => {
                vec![Finding::holds("N6", says("product", near)).leads_to(WRONG).with("sum", near)]
            }
            other => vec![Finding::unclear("N6", says("product", other))],
        },
    };
    let x: Vec<f64> = (0..k).map(value).collect();
    let n7 = match sums(prober, &x, &[vec![1.0; k]]) {
        Err(outcome) => not_seen(&["N7"], &outcome),
        Ok(got) => {
            vec![
                Finding::whether(got[0] == 5120.0, "N7", says("1×1 convolution", got[0])).with("sum", got[0]),
            ]
        }
    };
    [n6, n7].concat()
}

fn rounding(prober: &Prober<'_>) -> Vec<Finding> {
    // Halfway between two numbers of fp16; the even one is the smaller in magnitude.
    let pairs = [[2048.0, 1.0], [2052.0, 1.0], [-2048.0, -1.0]];
    let row = |pair: &[f64; 2]| {
        let mut row = vec![0.0; SIDE];
        row[..2].copy_from_slice(pair);
        row
    };
    match sums(prober, &[1.0; SIDE], &pairs.each_ref().map(row)) {
        Err(outcome) => not_seen(&["N4"], &outcome),
        Ok(got) => {
            let says = format!("2049 becomes {}, 2053 {}, -2049 {}", got[0], got[1], got[2]);
            vec![match got[..] {
                [2050.0, 2054.0, -2050.0] => Finding::holds("N4", says),
                [2048.0, 2052.0, -2048.0] => Finding::holds_not("N4", format!("{says}: to even")),
                [2050.0, 2054.0, -2048.0] => Finding::holds_not("N4", format!("{says}: up")),
                _ => Finding::unclear("N4", says),
            }]
        }
    }
}

fn infinities(prober: &Prober<'_>) -> Vec<Finding> {
    let mut x = vec![0.0; SIDE];
    (x[0], x[1]) = (f64::INFINITY, f64::NAN);
    // One product at a time: a weight of 0 must not meet the other.
    let ty = ty::f16([1, SIDE, 1, SIDE]);
    let input = Tensor::floats(ty, x.iter().flat_map(|&x| vec![x; SIDE]));
    let weight = Tensor::floats(ty::f16([SIDE, 1, 1, 1]), vec![0.25; SIDE]);
    let case = Case::new("infinities", vec![("x", input)], |b, v| {
        vec![("y", v[0].conv1x1(b.constant("w", weight.clone()), SIDE))]
    });
    match prober.gives(&case) {
        Err(outcome) => not_seen(&["N5"], &outcome),
        Ok(got) => {
            let (inf, nan) = (got[0][0], got[0][SIDE]);
            let says = format!("a quarter of infinity is {inf}, a quarter of NaN {nan}");
            vec![match (inf.is_finite(), nan.is_nan()) {
                (true, _) => Finding::holds("N5", says).leads_to(WRONG),
                (false, true) => Finding::holds_not("N5", says),
                (false, false) => Finding::unclear("N5", says),
            }]
        }
    }
}

fn undefined(prober: &Prober<'_>) -> Vec<Finding> {
    let root = Case::new("root", vec![("x", repeated(&[-1.0, 4.0]))], |b, v| {
        vec![("y", b.op("sqrt", [("x", v[0].into())]))]
    });
    let infinite = || repeated(&[f64::INFINITY, 4.0]);
    let less = Case::new("less", vec![("a", infinite()), ("b", infinite())], |_, v| vec![("y", v[0] - v[1])]);
    let (root, less) = match (prober.gives(&root), prober.gives(&less)) {
        (Ok(root), Ok(less)) => (root[0][0], less[0][0]),
        (Err(outcome), _) | (_, Err(outcome)) => return not_seen(&["N11"], &outcome),
    };
    let says = format!("the root of -1 is {root}, infinity less infinity {less}");
    vec![match (root.is_nan(), less.is_nan()) {
        (true, true) => Finding::holds_not("N11", says),
        (false, false) => Finding::holds("N11", says).leads_to(WRONG),
        _ => Finding::unclear("N11", says),
    }]
}

/// 3008 elements of a row whose sums are even numbers, which fp16 has up to 4096.
fn narrow_sum(prober: &Prober<'_>) -> Vec<Finding> {
    let (rows, n) = (16, 3008);
    let odd = |i: usize| if i.is_multiple_of(n) { (2 * (i / n % 8) + 1) as f64 } else { 1.0 };
    let x = Tensor::floats(ty::f16([1, rows, 1, n]), (0..rows * n).map(odd));
    let case =
        Case::new("sum", vec![("x", x)], |_, v| vec![("y", v[0] + v[0] + v[0].reduce_sum(&[3], true))]);
    vec![prober.try_out(&case, 0.0).fails("N10", "a sum of 3008 small numbers")]
}

fn tables(prober: &Prober<'_>) -> Vec<Finding> {
    let n = ty::f16(SHAPE).elements();
    let grid = || Tensor::floats(ty::f16(SHAPE), (0..n).map(|i| i as f64 / n as f64 * 16.0 - 8.0));
    let mut numbers = Vec::new();
    for op in ["sigmoid", "tanh", "silu", "gelu"] {
        let case =
            Case::new("table", vec![("x", grid())], |b, v| vec![("y", b.op(op, [("x", v[0].into())]))]);
        let error = prober.gives(&case).and_then(|got| Ok((got, case.means().map_err(Outcome::Lost)?)));
        match error {
            Ok((got, want)) => {
                let apart = got[0].iter().zip(&want[0]).map(|(g, w)| (g - w).abs());
                numbers.push((
                    op,
                    apart.fold(0.0, |m: f64, x| if x.is_nan() { f64::INFINITY } else { m.max(x) }),
                ));
            }
            Err(Outcome::Failed { .. }) => {}
            Err(outcome) => return not_seen(&["N14"], &outcome),
        }
    }
    let says: Vec<String> = numbers.iter().map(|(op, e)| format!("{op} {e:.1e}")).collect();
    let says = format!("largest errors from -8 to 8: {}", says.join(", "));
    // One unit of fp16 is 5e-4 below 1, and 4e-3 at 8.
    let bounded = numbers.iter().filter(|(op, _)| ["sigmoid", "tanh"].contains(op)).map(|(_, e)| *e);
    let finding = match bounded.reduce(f64::max) {
        Some(worst) => Finding::whether(worst > 1.2e-3, "N14", says),
        None => Finding::unclear("N14", "neither sigmoid nor tanh runs"),
    };
    vec![numbers.iter().fold(finding, |f, (op, error)| f.with(*op, *error))]
}
