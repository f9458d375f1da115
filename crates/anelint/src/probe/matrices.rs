//! Probes of products: accepted operands, cost, and attention.

use super::numbers::not_seen;
use super::prober::{Case, Loaded, Outcome, failed, uneven};
use super::slots::{SHAPE, WRONG, any_fails, plain};
use super::{Finding, Probe, Prober};
use ane::Device;
use ane::chain::{Stack, StackPrecision, unpacked};
use mil::{Builder, DType, Data, Literal, Tensor, TensorType, Var, ty};
use std::time::Instant;

/// How far sums may be off, as a share of the largest: engines may add in fp16.
const SUMS: f64 = 1.0 / 256.0;

pub(super) const PROBES: &[Probe] = &[
    Probe {
        id: "conv-channels",
        rules: &["T6"],
        question: "Are convolutions of 256, 384, 768 and 1024 channels right, if their weight file is as it should be?",
        compiles: 4,
        ask: conv_channels,
    },
    Probe {
        id: "matmul-constant",
        rules: &["T11"],
        question: "Is a constant operand of `matmul` accepted?",
        compiles: 1,
        ask: |prober| {
            let case = Case::new("constant", vec![("x", heads(7))], |b, v| {
                vec![("y", v[0].matmul(b.constant("w", heads(5)), false, false))]
            });
            vec![prober.try_out(&case, SUMS).fails("T11", "a product with a constant")]
        },
    },
    Probe {
        id: "matmul-singletons",
        rules: &["T12"],
        question: "Are operands `[1, 1, M, K]` of `matmul` accepted?",
        compiles: 1,
        ask: |prober| {
            let case = Case::new("singletons", vec![("a", plain(7)), ("b", plain(5))], |_, v| {
                let [a, b] = [v[0], v[1]].map(|x| x.reshape(&[1, 1, SHAPE[1], SHAPE[3]]));
                vec![("y", a.matmul(b, true, false))]
            });
            vec![prober.try_out(&case, SUMS).fails("T12", "a product of matrices with one channel")]
        },
    },
    Probe {
        id: "matmul-inner",
        rules: &["T13"],
        question: "Is an inner size of `matmul` accepted that is not a multiple of 32?",
        compiles: 4,
        ask: matmul_inner,
    },
    Probe {
        id: "conv-runtime-weight",
        rules: &["T14"],
        question: "Does a `conv` use a weight that is an input?",
        compiles: 1,
        ask: |prober| {
            let square = ty::f16([1, 64, 1, 64]);
            let inputs = vec![("a", uneven(square.clone(), 7, 9, 8.0)), ("w", uneven(square, 5, 9, 16.0))];
            let case = Case::new("runtime", inputs, |_, v| {
                vec![("y", v[0].conv1x1(v[1].reshape(&[64, 64, 1, 1]), 1))]
            });
            vec![prober.try_out(&case, SUMS).fails("T14", "a convolution with a weight that is an input")]
        },
    },
    Probe {
        id: "attention-mask",
        rules: &["T15"],
        question: "Does `scaled_dot_product_attention` use its mask?",
        compiles: 1,
        ask: attention_mask,
    },
    Probe {
        id: "int8",
        rules: &["N16"],
        question: "Is a stack of convolutions right whose weights and activations are in int8?",
        compiles: 2,
        ask: int8,
    },
    Probe {
        id: "int8-overflow",
        rules: &["N17"],
        question: "Do sums with weights in int8 overflow at about 30000?",
        compiles: 1,
        ask: int8_overflow,
    },
    Probe {
        id: "ways-to-multiply",
        rules: &["P4"],
        question: "How long does a product of 256×256 take: baked, as a constant, packed into the input, as an input?",
        compiles: 4,
        ask: ways_to_multiply,
    },
];

/// Data `[1, 6, 64, 64]`.
fn heads(step: usize) -> Tensor {
    uneven(ty::f16([1, 6, 64, 64]), step, 9, 8.0)
}

/// Runs a stack once, and looks at its results.
fn stacked(device: &dyn Device, stack: &Stack) -> Outcome {
    let kernel = device.compile("stack", &stack.program, &stack.weights);
    match kernel.and_then(|kernel| stack.dispatch_once(device, kernel.as_ref())) {
        Err(e) => failed(&e),
        Ok((.., got)) => match stack.wrong(&got) {
            None => Outcome::Right { off: 0.0 },
            Some(_) if got.iter().all(|&x| x == 0.0) => Outcome::Zeros,
            Some((at, got, want)) => Outcome::Wrong { output: 0, at, got: f64::from(got), want, count: 1 },
        },
    }
}

/// A stack of this size and kind, run.
fn try_stack(prober: &Prober<'_>, channels: usize, depth: usize, precision: StackPrecision) -> Outcome {
    match Stack::new(channels, depth, [1, 64], precision) {
        Ok(stack) => stacked(prober.device(), &stack),
        Err(e) => Outcome::Lost(e.to_string()),
    }
}

fn conv_channels(prober: &Prober<'_>) -> Vec<Finding> {
    let tried = [256usize, 384, 768, 1024].map(|c| (c, try_stack(prober, c, 1, StackPrecision::F16)));
    let says: Vec<String> = tried.iter().map(|(c, o)| format!("{c}: {}", says(o))).collect();
    let bad = tried.iter().find(|(_, o)| !o.is_right());
    vec![match bad {
        None => Finding::holds("T6", says.join("; ")),
        Some((_, Outcome::Lost(_))) => Finding::unclear("T6", says.join("; ")),
        Some((_, o)) => Finding::holds_not("T6", says.join("; ")).leads_to(o.consequence()),
    }]
}

/// Runs a stack; its results are compared with a tolerance.
fn says(outcome: &Outcome) -> String {
    if outcome.is_right() { "right".to_owned() } else { outcome.says() }
}

fn int8(prober: &Prober<'_>) -> Vec<Finding> {
    let tried =
        [(64, 3), (256, 4)].map(|(c, depth)| (c, depth, try_stack(prober, c, depth, StackPrecision::W8A8)));
    let said: Vec<String> =
        tried.iter().map(|(c, depth, o)| format!("{depth} layers of {c} channels: {}", says(o))).collect();
    let bad = tried.iter().find(|(_, _, o)| !o.is_right());
    vec![match bad {
        None => Finding::holds("N16", said.join("; ")),
        Some((_, _, Outcome::Lost(_))) => Finding::unclear("N16", said.join("; ")),
        Some((_, _, o)) => Finding::holds_not("N16", said.join("; ")).leads_to(o.consequence()),
    }]
}

/// Channels, results and columns of [`int8_overflow`].
const ROWS: usize = 64;

fn int8_overflow(prober: &Prober<'_>) -> Vec<Finding> {
    // Sums of 64 weights of four times these.
    let levels = [100i64, 120, 127];
    let ty = TensorType::new(DType::I8, [ROWS, ROWS, 1, 1]);
    let values = (0..ROWS * ROWS).map(|i| levels[i / ROWS % 3]).collect();
    let quantized = Tensor { ty: ty.clone(), data: Data::Int(values) };
    let ones = Tensor::floats(ty::f16([1, ROWS, 1, ROWS]), vec![1.0; ROWS * ROWS]);
    let path = "@model_path/weights/int8.bin";
    let case = Case::new("int8", vec![("x", ones)], |b, v| {
        let w = unpacked(b, Literal::blob(ty, path, mil::blob::FIRST_ENTRY), 4.0);
        vec![("y", v[0].conv1x1(w, 1))]
    });
    let case = case.weight(path, &quantized);
    match Loaded::open(prober.device(), &case).and_then(|loaded| loaded.run()) {
        Err(outcome) => not_seen(&["N17"], &outcome),
        Ok(got) => {
            let sums: Vec<(f64, f64)> =
                levels.iter().enumerate().map(|(o, l)| ((256 * l) as f64, got[0][o * ROWS])).collect();
            let shown: Vec<String> = sums.iter().map(|(want, got)| format!("{want}: {got}")).collect();
            let says = format!("sums with weights in int8, each with what it gives: {}", shown.join(", "));
            let wrong = sums.iter().any(|(want, got)| want != got);
            vec![match sums[0].0 == sums[0].1 {
                false => Finding::unclear("N17", says),
                true => Finding::whether(wrong, "N17", says).leads_to(WRONG.filter(|_| wrong)),
            }]
        }
    }
}

fn matmul_inner(prober: &Prober<'_>) -> Vec<Finding> {
    let of = |inner: usize| {
        let n = SHAPE[1] / inner;
        Case::new("inner", vec![("a", plain(7)), ("b", plain(5))], move |_, v| {
            let x = v[0].reshape(&[1, n, 64, inner]);
            vec![("y", x.matmul(v[1].reshape(&[1, n, inner, 64]), false, false))]
        })
    };
    let [whole, others @ ..] =
        [32usize, 16, 24, 48].map(|k| (format!("{k} inside"), prober.try_out(&of(k), SUMS)));
    vec![match whole.1 {
        Outcome::Right { .. } => any_fails("T13", others),
        other => Finding::unclear("T13", format!("even 32 inside {}", other.says())),
    }]
}

fn attention_mask(prober: &Prober<'_>) -> Vec<Finding> {
    let causal = |masked: bool| {
        let inputs = vec![("k", heads(5)), ("q", heads(7)), ("v", heads(4))];
        Case::new("attention", inputs, move |b, v| {
            let mut args = vec![("query", v[1].into()), ("key", v[0].into()), ("value", v[2].into())];
            if masked {
                let ty = ty::f16([1, 1, 64, 64]);
                let hidden = |i: usize| if i % 64 > i / 64 { -65504.0 } else { 0.0 };
                args.push((
                    "attn_mask",
                    b.constant("mask", Tensor::floats(ty, (0..64 * 64).map(hidden))).into(),
                ));
            }
            vec![("y", b.op("scaled_dot_product_attention", args))]
        })
    };
    let (masked, open) = (causal(true), causal(false));
    let outcome = prober.try_out(&masked, 0.02);
    vec![match outcome {
        Outcome::Right { .. } => {
            Finding::holds_not("T15", format!("with a causal mask it {}", outcome.says()))
        }
        Outcome::Lost(why) => Finding::unclear("T15", why),
        other => {
            let ignored = match (prober.gives(&masked), open.means()) {
                (Ok(got), Ok(want)) => Outcome::of(&got, &want, 0.02).is_right(),
                _ => false,
            };
            let says = match ignored {
                true => "the mask is ignored: the result is that of attention without one".to_owned(),
                false => format!("with a causal mask it {}", other.says()),
            };
            Finding::holds("T15", says).leads_to(other.consequence())
        }
    }]
}

/// Channels, and columns, of the products that are timed.
const SIDE: usize = 256;

/// Dispatches that are timed.
const DISPATCHES: usize = 20;

fn ways_to_multiply(prober: &Prober<'_>) -> Vec<Finding> {
    let square = || ty::f16([1, SIDE, 1, SIDE]);
    let (x, w) = (uneven(square(), 7, 9, 8.0), uneven(ty::f16([SIDE, SIDE, 1, 1]), 5, 9, 16.0));
    let transposed = Tensor { ty: square(), ..transposed(&w) };
    let want = vec![product(w.as_floats(), x.as_floats())];
    let matrix = |b: Var<'_>| b.reshape(&[1, 1, SIDE, SIDE]).id();
    // y = Wᵀ-as-it-is-staged, rows are columns of x: [1, 1, S, C]·[1, 1, C, O], transposed back.
    let multiplied = |b: &Builder, x: mil::ValueId, w: mil::ValueId| {
        b.var(x).matmul(b.var(w), true, false).t().reshape(&[1, SIDE, 1, SIDE]).id()
    };
    let packed: Vec<f64> = (0..SIDE)
        .flat_map(|c| {
            let row = |t: &Tensor| t.as_floats()[c * SIDE..(c + 1) * SIDE].to_vec();
            [row(&x), row(&transposed)].concat()
        })
        .collect();
    let cases = [
        (
            "baked into a convolution",
            Case::new("baked", vec![("x", x.clone())], |b, v| {
                vec![("y", v[0].conv1x1(b.constant("w", w.clone()), 1))]
            }),
        ),
        (
            "a constant of `matmul`",
            Case::new("constant", vec![("x", x.clone())], |b, v| {
                let w = b.constant("w", transposed.clone());
                vec![("y", b.var(multiplied(b, matrix(v[0]), matrix(w))))]
            }),
        ),
        (
            "packed into the input",
            Case::new(
                "packed",
                vec![("x", Tensor::floats(ty::f16([1, SIDE, 1, 2 * SIDE]), packed))],
                |b, v| {
                    let part = |at| v[0].slice(&[0, 0, 0, at], &[1, SIDE, 1, SIDE]);
                    vec![("y", b.var(multiplied(b, matrix(part(0)), matrix(part(SIDE)))))]
                },
            ),
        ),
        (
            "a second input",
            Case::new("input", vec![("a", x.clone()), ("w", transposed.clone())], |b, v| {
                vec![("y", b.var(multiplied(b, matrix(v[0]), matrix(v[1]))))]
            }),
        ),
    ];
    let tried = cases.map(|(what, case)| (what, timed(prober.device(), &case, &want)));
    let says: Vec<String> = tried
        .iter()
        .map(|(what, (outcome, ms))| match (outcome, ms) {
            (Outcome::Right { .. }, Some(ms)) => format!("{what}: {ms:.3} ms"),
            (outcome, _) => format!("{what}: {}", outcome.says()),
        })
        .collect();
    let [baked, constant, ..] = &tried;
    let finding = match (baked.1.1, constant.1.1) {
        (Some(conv), Some(matmul)) => {
            let ratio = matmul / conv;
            Finding::whether(ratio > 1.5, "P4", says.join("; ")).with("matmul_over_conv", ratio)
        }
        _ => Finding::unclear("P4", says.join("; ")),
    };
    vec![tried.iter().fold(finding, |f, (what, (_, ms))| match ms {
        Some(ms) => f.with(format!("{what}, ms"), *ms),
        None => f,
    })]
}

/// The outcome of a case, and the median time of its dispatches if it is correct.
fn timed(device: &dyn Device, case: &Case, want: &[Vec<f64>]) -> (Outcome, Option<f64>) {
    let loaded = match Loaded::open(device, case) {
        Ok(loaded) => loaded,
        Err(outcome) => return (outcome, None),
    };
    let outcome = match loaded.run() {
        Ok(got) => Outcome::of(&got, want, SUMS),
        Err(outcome) => return (outcome, None),
    };
    let mut times = Vec::new();
    for _ in 0..DISPATCHES {
        let began = Instant::now();
        if let Err(outcome) = loaded.dispatch() {
            return (outcome, None);
        }
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let median = outcome.is_right().then(|| times[DISPATCHES / 2]);
    (outcome, median)
}

/// Rows and columns of a square matrix exchanged.
fn transposed(w: &Tensor) -> Tensor {
    let values = w.as_floats();
    let at = |i: usize| values[i % SIDE * SIDE + i / SIDE];
    Tensor::floats(w.ty.clone(), (0..SIDE * SIDE).map(at))
}

/// `W·x`, both of `SIDE` rows and columns.
fn product(w: &[f64], x: &[f64]) -> Vec<f64> {
    let mut y = vec![0.0; SIDE * SIDE];
    for (row, w) in y.chunks_mut(SIDE).zip(w.chunks(SIDE)) {
        for (&w, x) in w.iter().zip(x.chunks(SIDE)) {
            row.iter_mut().zip(x).for_each(|(y, x)| *y += w * x);
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_product_is_that_of_the_reference() {
        let w = uneven(ty::f16([SIDE, SIDE, 1, 1]), 5, 9, 16.0);
        let eye = Tensor::floats(w.ty.clone(), (0..SIDE * SIDE).map(|i| f64::from(i / SIDE == i % SIDE)));
        assert_eq!(product(w.as_floats(), eye.as_floats()), w.as_floats());
        assert_eq!(product(eye.as_floats(), w.as_floats()), w.as_floats());
        assert_eq!(transposed(&transposed(&w)), w);
        assert_ne!(transposed(&w), w);
    }
}
