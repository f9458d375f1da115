//! How large and how small surfaces and axes can be.

use super::prober::{Case, Outcome, uneven};
use super::slots::any_fails;
use super::{Finding, Probe, Prober};
use mil::ty;

pub(super) const PROBES: &[Probe] = &[
    Probe {
        id: "surface-bytes",
        rules: &["S4"],
        question: "What is the smallest surface?",
        compiles: 7,
        ask: surface_bytes,
    },
    Probe {
        id: "last-axis",
        rules: &["S6", "S7"],
        question: "Which sizes can the last axis have?",
        compiles: 9,
        ask: last_axis,
    },
    Probe {
        id: "alignment",
        rules: &["S9"],
        question: "Is a surface accepted whose size is not a multiple of 128 bytes?",
        compiles: 1,
        ask: |prober| {
            vec![prober.try_bare(&affine([1, 1537, 1, 16]), 0.0).fails("S9", "a surface of 49184 bytes")]
        },
    },
    Probe {
        id: "width",
        rules: &["S12"],
        question: "How wide can an input be, around 16384 and around 65536?",
        compiles: 5,
        ask: width,
    },
    Probe {
        id: "narrow-gap",
        rules: &["S11"],
        question: "Do widths from 14593 to 14622 fail?",
        compiles: 3,
        ask: |prober| {
            let [below, inside, above] = [14592, 14608, 14624].map(|w| prober.try_out(&long(w), 0.0));
            let says =
                format!("14592 wide: {}; 14608: {}; 14624: {}", below.says(), inside.says(), above.says());
            let around = below.is_right() && above.is_right();
            vec![match (around, &inside) {
                (true, Outcome::Right { .. }) => Finding::holds_not("S11", says),
                (true, Outcome::Failed { .. } | Outcome::Zeros | Outcome::Wrong { .. }) => {
                    Finding::holds("S11", says).leads_to(inside.consequence())
                }
                _ => Finding::unclear("S11", says),
            }]
        },
    },
    Probe {
        id: "ranks",
        rules: &["S13"],
        question: "Are tensors of six axes, and products of five, accepted?",
        compiles: 3,
        ask: ranks,
    },
    Probe {
        id: "flat",
        rules: &["S14"],
        question: "Does an element-wise operation on a flat tensor of more than 16384 elements end?",
        compiles: 1,
        ask: |prober| {
            vec![prober.try_out(&affine([16640]), 0.0).fails("S14", "a sum of 16640 elements in a row")]
        },
    },
];

/// `y = 2x + 1/4`, exact.
fn affine<const N: usize>(shape: [usize; N]) -> Case {
    let x = uneven(ty::f16(shape), 7, 9, 8.0);
    Case::new("affine", vec![("x", x)], |_, v| vec![("y", v[0] * 2.0 + 0.25)])
}

/// `y = x + 8·1/8` in eight steps, `[1, 4, 1, width]`.
fn long(width: usize) -> Case {
    let x = uneven(ty::f16([1, 4, 1, width]), 7, 9, 8.0);
    Case::new("long", vec![("x", x)], |_, v| vec![("y", (0..8).fold(v[0], |y, _| y + 0.125))])
}

fn surface_bytes(prober: &Prober<'_>) -> Vec<Finding> {
    let sizes =
        [16usize, 32, 64, 128, 256, 512, 768].map(|c| (c * 64, prober.try_bare(&affine([1, c, 1, 32]), 0.0)));
    let least = sizes.iter().rev().take_while(|(_, o)| o.is_right()).last().map(|(bytes, _)| *bytes);
    let lost = sizes.iter().find(|(_, o)| matches!(o, Outcome::Lost(_)));
    let failing = sizes.iter().rev().find(|(_, o)| !o.is_right());
    let finding = match (least, lost, failing) {
        (_, Some((bytes, o)), _) => Finding::unclear("S4", format!("{bytes} bytes: {}", o.says())),
        (Some(least), _, Some((bytes, o))) => Finding::holds(
            "S4",
            format!("the smallest surface that runs has {least} bytes; one of {bytes} {}", o.says()),
        )
        .leads_to(o.consequence()),
        (Some(least), _, None) => Finding::holds_not(
            "S4",
            format!("surfaces run down to {least} bytes, the smallest that was tried"),
        ),
        (None, _, _) => Finding::unclear("S4", format!("no size runs: {}", sizes[6].1.says())),
    };
    vec![match least {
        Some(least) => finding.with("least_bytes", least as f64),
        None => finding,
    }]
}

fn last_axis(prober: &Prober<'_>) -> Vec<Finding> {
    let widths = [4usize, 8, 12, 16, 20, 24, 28, 32, 48];
    // All surfaces have 49152 bytes or a little more, so that S4 has no say.
    let tried = widths.map(|w| (w, prober.try_out(&affine([1, 24576usize.div_ceil(w), 1, w]), 0.0)));
    let list = |right: bool| {
        let those = tried.iter().filter(|(_, o)| o.is_right() == right);
        those.map(|(w, _)| w.to_string()).collect::<Vec<_>>().join(", ")
    };
    let lost = tried.iter().find(|(_, o)| matches!(o, Outcome::Lost(_)));
    if let Some((w, o)) = lost {
        let says = format!("{w} wide: {}", o.says());
        return vec![Finding::unclear("S6", says.clone()), Finding::unclear("S7", says)];
    }
    let odd = tried.iter().find(|(w, o)| w % 16 != 0 && !o.is_right());
    let whole = tried.iter().find(|(w, o)| w % 16 == 0 && *w >= 32 && !o.is_right());
    let s6 = match (odd, whole) {
        (_, Some((w, o))) => Finding::unclear("S6", format!("even {w} columns fail: {}", o.says())),
        (None, _) => Finding::holds_not("S6", format!("all run: {}", list(true))),
        (Some((w, o)), _) => {
            let says = format!("{} run, {} fail; {w} {}", list(true), list(false), o.says());
            Finding::holds("S6", says).leads_to(o.consequence())
        }
    };
    let sixteen = &tried[3].1;
    let s7 = match whole {
        Some(_) => Finding::unclear("S7", "32 columns fail too"),
        None => sixteen.fails("S7", "an input of 16 columns"),
    };
    vec![s6, s7]
}

fn width(prober: &Prober<'_>) -> Vec<Finding> {
    let tried =
        [16384usize, 16640, 17920, 65536, 66048].map(|w| (w, prober.try_out(&affine([1, 4, 1, w]), 0.0)));
    let widest = tried.iter().take_while(|(_, o)| o.is_right()).last().map_or(0, |(w, _)| *w);
    let outcomes = tried.into_iter().map(|(w, o)| (format!("{w} wide"), o));
    vec![any_fails("S12", outcomes).with("widest_that_runs", widest as f64)]
}

fn ranks(prober: &Prober<'_>) -> Vec<Finding> {
    let relu = |shape: &[usize]| {
        let x = uneven(ty::f16(shape), 7, 9, 8.0);
        Case::new("relu", vec![("x", x)], |b, v| vec![("y", b.op("relu", [("x", v[0].into())]))])
    };
    let five = prober.try_out(&relu(&[1, 2, 96, 2, 64]), 0.0);
    let x = uneven(ty::f16([1, 2, 4, 64, 64]), 7, 9, 8.0);
    let product = Case::new("matmul", vec![("x", x)], |_, v| vec![("y", v[0].matmul(v[0], false, true))]);
    let outcomes = [
        ("`relu` of six axes", prober.try_out(&relu(&[1, 2, 48, 2, 2, 64]), 0.0)),
        ("`matmul` of five axes", prober.try_out(&product, 1.0 / 256.0)),
    ];
    vec![match five {
        Outcome::Right { .. } => any_fails("S13", outcomes),
        other => Finding::unclear("S13", format!("even `relu` of five axes {}", other.says())),
    }]
}
