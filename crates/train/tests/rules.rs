//! What the rules of real engines say of our own kernels: nothing is refused, and what is doubtful is known.

use anelint::rules::{self, Chip, Route, Violation};
use mil::diag::Severity;
use std::collections::BTreeSet;
use train::config::{ModelConfig, PRESETS};
use train::model::{KernelPlan, KernelSpec, Layer, LayerKernels, Precision};

/// Findings in the kernels of every preset, and why the kernels are as they are.
const EVERYWHERE: &[(&str, &str)] = &[
    ("N10", "softmax's gradient sums p·dp over S in fp16: products of probabilities, far from fp16's end"),
    ("P1", "a plan of six kernels a layer has small ones"),
    ("P5", "a norm's sum of squares has one channel, and the feed-forward layer ends by narrowing"),
    ("T5", "the layer's input is `x`, as in maderix/ANE; only M1 is said to mind"),
    ("T9", "an engine binds one output: packing joins several with `concat`, as maderix/ANE does"),
    ("T18", "RMSNorm writes `pow(x, -0.5)`, as maderix/ANE does"),
];

/// Findings in kernels with dynamic weights, which are products.
const DYNAMIC: &[(&str, &str)] = &[
    (
        "N13",
        "weights begin inside the last axis, in sdpaBwd1, ffnBwd and qkvBwd also activations, as in maderix/ANE's dynamic \
         kernels; none comes near 4094, and only M1 and M2 mind",
    ),
    ("T12", "weights and activations are `[1, 1, M, N]`, as in maderix/ANE's dynamic kernels"),
];

/// Findings in the kernels that turn positions.
const ROPE: &[(&str, &str)] = &[
    ("P4", "the table that turns pairs is small: its product costs little"),
    ("T11", "the table is a constant; rustane multiplies by one on M3 Ultra"),
    ("T12", "the table is `[1, 1, E, E]`, one for all heads"),
];

/// What else is found in the kernels of one preset.
fn besides(preset: &str, dynamic: bool) -> &'static [(&'static str, &'static str)] {
    const NARROW_CHANNELS: (&str, &str) = ("P6", "768 or more channels, which M3 Pro alone is slow with");
    const INNER: (&str, &str) =
        ("T13", "heads are narrower than 32, or no multiple of it; only M1 is said to mind");
    match preset {
        "tiny" => &[("S4", "64 channels of 32 columns are 4,096 bytes: for tests, not for engines"), INNER],
        "stories15m" if dynamic => &[INNER],
        "stories15m" => &[INNER, NARROW_CHANNELS],
        "shakespeare" => &[],
        // The sum of squares of 768 channels.
        "layer768" | "stories110m" => &[NARROW_CHANNELS],
        _ if dynamic => &[],
        _ => &[NARROW_CHANNELS],
    }
}

/// The findings of every kernel of `preset`, for every chip, with the kernel's name.
fn findings(preset: &str, dynamic: bool) -> Vec<(String, Violation)> {
    let cfg = ModelConfig::preset(preset).expect("a preset");
    let layer = Layer::new(&cfg, Precision::F16).expect("a layer");
    let make = if dynamic { LayerKernels::dynamic } else { LayerKernels::new };
    let kernels = make(&layer, &KernelPlan::six()).expect("kernels").kernels;
    let of = |kernel: &KernelSpec| {
        let text = mil::text::print(&kernel.packed.program);
        let read = mil::text::read(&text);
        assert!(!read.report.has_errors(), "{}", read.report);
        let found = rules::check(&read, &Chip::ALL, Route::Both);
        found.into_iter().map(|f| (kernel.name.clone(), f)).collect::<Vec<_>>()
    };
    kernels.iter().flat_map(of).collect()
}

#[test]
fn our_kernels_break_no_rule_for_sure_and_the_doubtful_ones_are_known() {
    for (preset, dynamic) in PRESETS.iter().flat_map(|p| [(p, false), (p, true)]) {
        // One layer alone has no positions.
        let rope = if *preset == "layer768" { &[] } else { ROPE };
        let weights = if dynamic { DYNAMIC } else { &[] };
        let expected: BTreeSet<_> = EVERYWHERE
            .iter()
            .chain(rope)
            .chain(weights)
            .chain(besides(preset, dynamic))
            .map(|e| e.0)
            .collect();
        let found = findings(preset, dynamic);
        for (kernel, finding) in &found {
            let severity = finding.severity();
            let what = finding.diagnostic();
            assert!(severity < Severity::Error, "{preset}, dynamic {dynamic}, {kernel}: {what:?}");
        }
        let ids: BTreeSet<_> = found.iter().map(|(_, f)| f.rule.id).collect();
        assert_eq!(ids, expected, "{preset}, dynamic: {dynamic}");
    }
}
