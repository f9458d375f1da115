//! Probes of operation forms: one small program each, which a correct engine runs.

use super::prober::{Case, Outcome, uneven};
use super::slots::{SHAPE, any_fails, plain};
use super::{Finding, Probe, Prober};
use ane::chain::unpacked;
use mil::blob::BlobWriter;
use mil::build::Input;
use mil::{DType, Data, Literal, Opset, Tensor, TensorType, Var, Weights, ty};

/// How far functions may be off, as a share of the largest result: engines look them up in tables, see rule N14.
const TABLES: f64 = 0.02;

/// The probe of a rule that forbids a form.
macro_rules! form {
    ($id:literal, $rule:literal, $question:literal, $what:literal, $close:expr, $case:expr) => {
        Probe {
            id: $id,
            rules: &[$rule],
            question: $question,
            compiles: 1,
            ask: |prober| vec![prober.try_out(&$case, $close).fails($rule, $what)],
        }
    };
}

pub(super) const PROBES: &[Probe] = &[
    Probe {
        id: "opsets",
        rules: &["T1"],
        question: "Are functions for ios16, ios17 and ios18 accepted?",
        compiles: 3,
        ask: opsets,
    },
    form!(
        "reserved-names",
        "T5",
        "Do values called `mul`, `var` and `c` come out right?",
        "a program with these names",
        0.0,
        Case::new("names", vec![("x", plain(7))], |_, v| {
            let (double, more) = ((v[0] * 2.0).named("mul"), (v[0] + 1.0).named("var"));
            vec![("c", double + more)]
        })
    ),
    Probe {
        id: "shared-blob",
        rules: &["T7"],
        question: "Are two tensors in one weight file accepted?",
        compiles: 1,
        ask: |prober| vec![shared_blob(prober)],
    },
    form!(
        "conv-bias",
        "T8",
        "Is a `conv` with a bias accepted?",
        "a convolution with a bias",
        0.0,
        Case::new("bias", vec![("x", plain(7))], |b, v| {
            let w = b.constant("w", uneven(ty::f16([SHAPE[1], 1, 1, 1]), 5, 9, 4.0));
            let bias = b.constant("bias", uneven(ty::f16([SHAPE[1]]), 4, 9, 4.0));
            vec![("y", b.op("conv", convolution(v[0], w, SHAPE[1], "valid", Some(bias))))]
        })
    ),
    Probe {
        id: "concat",
        rules: &["T9"],
        question: "Is `concat` of two parts and of thirteen accepted?",
        compiles: 2,
        ask: concat,
    },
    form!(
        "gelu",
        "T16",
        "Is `gelu` accepted?",
        "`gelu` with a stated mode",
        TABLES,
        Case::new("gelu", vec![("x", plain(7))], |b, v| {
            vec![("y", b.op("gelu", [("x", v[0].into()), ("mode", "EXACT".into())]))]
        })
    ),
    Probe {
        id: "rsqrt",
        rules: &["T17"],
        question: "Is `rsqrt` accepted without its epsilon, and with it?",
        compiles: 2,
        ask: rsqrt,
    },
    form!(
        "pow-half",
        "T18",
        "Does `pow(x, -0.5)` run?",
        "`pow(x, -0.5)`",
        TABLES,
        Case::new("pow", vec![("x", positive())], |_, v| vec![("y", v[0].pow(-0.5))])
    ),
    form!(
        "log",
        "T19",
        "Is `log` accepted without its epsilon?",
        "`log` without an epsilon",
        TABLES,
        Case::new("log", vec![("x", positive())], |b, v| vec![("y", b.op("log", [("x", v[0].into())]))])
    ),
    form!(
        "root-of-reduction",
        "T20",
        "Is a `sqrt` directly after a reduction accepted?",
        "`sqrt` of a sum, which is subtracted again,",
        TABLES,
        Case::new("root", vec![("x", positive())], |b, v| {
            let root = b.op("sqrt", [("x", v[0].reduce_mean(&[1], true).into())]);
            vec![("y", v[0] - root)]
        })
    ),
    form!(
        "inverse",
        "T21",
        "Is `inverse` accepted?",
        "`inverse` with an epsilon",
        TABLES,
        Case::new("inverse", vec![("x", positive())], |b, v| {
            let epsilon = b.scalar(DType::F16, 1e-3);
            vec![("y", b.op("inverse", [("x", v[0].into()), ("epsilon", epsilon.into())]))]
        })
    ),
    form!(
        "reduce-mean",
        "T22",
        "Is `reduce_mean` accepted?",
        "a mean over channels, which is subtracted,",
        1.0 / 128.0,
        Case::new("mean", vec![("x", plain(7))], |_, v| vec![("y", v[0] - v[0].reduce_mean(&[1], true))])
    ),
    form!(
        "softmax-size",
        "T23",
        "Does `softmax` run over 48 elements, which is no power of two?",
        "`softmax` over 48",
        TABLES,
        Case::new("softmax", vec![("x", uneven(ty::f16([1, 512, 1, 48]), 7, 9, 2.0))], |_, v| {
            vec![("y", v[0].softmax(-1))]
        })
    ),
    Probe {
        id: "integers",
        rules: &["T25"],
        question: "Are casts to integers, and `gather`, accepted?",
        compiles: 2,
        ask: integers,
    },
    form!(
        "broadcast",
        "T28",
        "Is a product right that broadcasts the batch?",
        "a product that broadcasts the batch",
        0.0,
        Case::new("broadcast", vec![("x", uneven(ty::f16([2, 192, 1, 64]), 7, 9, 8.0))], |_, v| {
            vec![("y", v[0] * v[0].slice(&[0, 0, 0, 0], &[1, 192, 1, 64]))]
        })
    ),
    form!(
        "three-axes",
        "T29",
        "Is an input of three axes accepted?",
        "a program of one input `[1, 384, 64]`",
        0.0,
        Case::new("three", vec![("x", uneven(ty::f16([1, 384, 64]), 7, 9, 8.0))], |_, v| {
            vec![("y", v[0] * 2.0 + 0.25)]
        })
    ),
    form!(
        "affine-weights",
        "T30",
        "Are weights right that `constexpr_affine_dequantize` holds?",
        "a convolution with weights in int8",
        0.0,
        affine_weights()
    ),
    Probe {
        id: "conv-window",
        rules: &["T32"],
        question: "Is a window of width 17 accepted?",
        compiles: 2,
        ask: conv_window,
    },
    Probe {
        id: "no-path",
        rules: &["T34"],
        question: "Do `reduce_prod`, `mod`, `tan`, `asin` and `sinh` find a path to the engine?",
        compiles: 5,
        ask: no_path,
    },
    // The last of these: it reportedly breaks the process.
    Probe {
        id: "tile",
        rules: &["T27"],
        question: "Does `tile` run, and other programs after it?",
        compiles: 2,
        ask: tile,
    },
];

/// Data from 1/8 to 9/8.
fn positive() -> Tensor {
    let moved = plain(7).to_floats().into_iter().map(|x| x + 0.625);
    Tensor::floats(ty::f16(SHAPE), moved)
}

/// The arguments of a convolution with stride 1.
fn convolution<'b>(
    x: Var<'b>,
    weight: Var<'b>,
    groups: usize,
    pad_type: &str,
    bias: Option<Var<'b>>,
) -> Vec<(&'static str, Input<'b>)> {
    let mut args = vec![
        ("x", x.into()),
        ("weight", weight.into()),
        ("strides", vec![1, 1].into()),
        ("pad_type", pad_type.into()),
        ("pad", vec![0, 0, 0, 0].into()),
        ("dilations", vec![1, 1].into()),
        ("groups", (groups as i64).into()),
    ];
    args.extend(bias.map(|bias| ("bias", bias.into())));
    args
}

fn opsets(prober: &Prober<'_>) -> Vec<Finding> {
    let case = |opset| Case::of("opset", opset, vec![("x", plain(7))], |_, v| vec![("y", v[0] * 2.0 + 0.25)]);
    let tried = [("ios16", Opset::Ios16), ("ios17", Opset::Ios17), ("ios18", Opset::Ios18)]
        .map(|(name, opset)| (name, prober.try_out(&case(opset), 0.0)));
    let says: Vec<String> = tried.iter().map(|(name, o)| format!("{name}: {}", o.says())).collect();
    let bad = tried.iter().find(|(_, o)| !o.is_right());
    vec![match bad {
        None => Finding::holds("T1", says.join("; ")),
        Some((_, Outcome::Lost(_))) => Finding::unclear("T1", says.join("; ")),
        Some((_, o)) => Finding::holds_not("T1", says.join("; ")).leads_to(o.consequence()),
    }]
}

/// Two products per channel with adjacent weights.
fn shared_blob(prober: &Prober<'_>) -> Finding {
    let (path, ty) = ("@model_path/weights/both.bin", ty::f16([SHAPE[1], 1, 1, 1]));
    let mut writer = BlobWriter::new(path);
    let offsets: Result<Vec<u64>, _> =
        [5, 4].map(|step| writer.add(&uneven(ty.clone(), step, 9, 4.0))).into_iter().collect();
    let mut weights = Weights::new();
    weights.insert(path, writer.finish());
    match offsets.as_deref() {
        Ok(&[first, second]) => {
            let case = Case::new("shared", vec![("x", plain(7))], |b, v| {
                let (w, u) =
                    (b.weight("w", ty.clone(), path, first), b.weight("u", ty.clone(), path, second));
                vec![("y", v[0].conv1x1(w, SHAPE[1]) - v[0].conv1x1(u, SHAPE[1]) * 2.0)]
            });
            prober.try_out(&case.weights(weights), 0.0).fails("T7", "a program with two tensors in one file")
        }
        _ => Finding::unclear("T7", "the weight file could not be written"),
    }
}

fn concat(prober: &Prober<'_>) -> Vec<Finding> {
    let of = |parts: usize| {
        let x = uneven(ty::f16([1, 32 * parts, 1, 64]), 7, 9, 8.0);
        Case::new("concat", vec![("x", x)], move |_, v| {
            let part = |i: usize| v[0].slice(&[0, 32 * i, 0, 0], &[1, 32, 1, 64]) * (i + 1) as f64;
            let joined = Var::concat((0..parts).rev().map(part).collect(), 1);
            joined.map(|y| vec![("y", y)]).unwrap_or_default()
        })
    };
    let tried = [2, 13].map(|n| (format!("of {n} parts"), prober.try_out(&of(n), 0.0)));
    vec![any_fails("T9", tried)]
}

fn rsqrt(prober: &Prober<'_>) -> Vec<Finding> {
    let case = |stated: bool| {
        Case::new("rsqrt", vec![("x", positive())], |b, v| {
            let mut args = vec![("x", v[0].into())];
            if stated {
                args.push(("epsilon", b.scalar(DType::F16, 1e-3).into()));
            }
            vec![("y", b.op("rsqrt", args))]
        })
    };
    let [without, with] = [false, true].map(|stated| prober.try_out(&case(stated), TABLES));
    let mut finding = without.fails("T17", "without its epsilon `rsqrt`");
    finding.says = format!("{}; with it: {}", finding.says, with.says());
    vec![finding]
}

fn integers(prober: &Prober<'_>) -> Vec<Finding> {
    let cast = Case::new("cast", vec![("x", plain(7))], |_, v| {
        vec![("y", (v[0] * 8.0).cast(DType::I32).cast(DType::F16) + 0.5)]
    });
    let gather = Case::new("gather", vec![("x", plain(7))], |b, v| {
        let picked = (0..SHAPE[1] as i64).map(|i| i * 5 % SHAPE[1] as i64).collect();
        let ty = TensorType::new(DType::I32, [SHAPE[1]]);
        let picked = Tensor { ty, data: Data::Int(picked) };
        let indices = b.constant("indices", picked);
        vec![("y", b.op("gather", [("x", v[0].into()), ("indices", indices.into()), ("axis", 1i64.into())]))]
    });
    let tried = [("a cast to int32 and back", cast), ("`gather` by constant indices", gather)];
    vec![any_fails("T25", tried.map(|(what, case)| (what, prober.try_out(&case, 0.0))))]
}

/// Weights of ±1/4 to ±1 in int8, by channel.
fn affine_weights() -> Case {
    let ty = TensorType::new(DType::I8, [SHAPE[1], 1, 1, 1]);
    let values = (0..SHAPE[1] as i64).map(|i| i * 5 % 9 - 4).collect();
    let path = "@model_path/weights/int8.bin";
    Case::new("affine", vec![("x", plain(7))], |b, v| {
        let w = unpacked(b, Literal::blob(ty.clone(), path, mil::blob::FIRST_ENTRY), 0.25);
        vec![("y", v[0].conv1x1(w, SHAPE[1]))]
    })
    .weight(path, &Tensor { ty, data: Data::Int(values) })
}

fn conv_window(prober: &Prober<'_>) -> Vec<Finding> {
    let of = |width: usize| {
        let x = uneven(ty::f16([1, 8, 48, 64]), 7, 9, 8.0);
        Case::new("window", vec![("x", x)], move |b, v| {
            let w = b.constant("w", uneven(ty::f16([8, 1, 1, width]), 5, 9, 8.0));
            vec![("y", b.op("conv", convolution(v[0], w, 8, "same", None)))]
        })
    };
    let [narrow, wide] = [9, 17].map(|width| prober.try_out(&of(width), 1.0 / 256.0));
    vec![match narrow {
        Outcome::Right { .. } => wide.fails("T32", "a window of 1×17"),
        other => Finding::unclear("T32", format!("even a window of 1×9 {}", other.says())),
    }]
}

fn no_path(prober: &Prober<'_>) -> Vec<Finding> {
    let unary = |op: &'static str| {
        Case::new("unary", vec![("x", plain(7))], move |b, v| vec![("y", b.op(op, [("x", v[0].into())]))])
    };
    let product = Case::new("product", vec![("x", positive())], |b, v| {
        let args = [("x", v[0].into()), ("axes", vec![2].into()), ("keep_dims", true.into())];
        vec![("y", b.op("reduce_prod", args))]
    });
    let remainder = Case::new("remainder", vec![("x", positive())], |b, v| {
        let y = b.scalar(DType::F16, 0.5);
        vec![("y", b.op("mod", [("x", v[0].into()), ("y", y.into())]))]
    });
    let cases = [
        ("reduce_prod", product),
        ("mod", remainder),
        ("tan", unary("tan")),
        ("asin", unary("asin")),
        ("sinh", unary("sinh")),
    ];
    let tried = cases.map(|(op, case)| (op, prober.try_out(&case, TABLES)));
    let running: Vec<&str> = tried.iter().filter(|(_, o)| o.is_right()).map(|(op, _)| *op).collect();
    let says: Vec<String> = tried.iter().map(|(op, o)| format!("`{op}` {}", o.says())).collect();
    let lost = tried.iter().any(|(_, o)| matches!(o, Outcome::Lost(_)));
    let consequence = tried.iter().find_map(|(_, o)| o.consequence());
    vec![match (running.is_empty(), lost) {
        (false, _) => Finding::holds_not("T34", says.join("; ")),
        (true, true) => Finding::unclear("T34", says.join("; ")),
        (true, false) => Finding::holds("T34", says.join("; ")).leads_to(consequence),
    }]
}

fn tile(prober: &Prober<'_>) -> Vec<Finding> {
    let x = || uneven(ty::f16([1, 192, 1, 64]), 7, 9, 8.0);
    let tile = Case::new("tile", vec![("x", x())], |b, v| {
        vec![("y", b.op("tile", [("x", v[0].into()), ("reps", vec![1, 2, 1, 1].into())]))]
    });
    let after = Case::new("after", vec![("x", plain(7))], |_, v| vec![("y", v[0] * 2.0 + 0.25)]);
    let tried = [("`tile`", tile), ("another program after it", after)];
    vec![any_fails("T27", tried.map(|(what, case)| (what, prober.try_out(&case, 0.0))))]
}
