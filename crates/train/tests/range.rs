//! Values that leave fp16 are an error with the layer where they began, never a wrong result.

use ane::{DeviceKind, Pool, SoftOptions};
use train::config::{ModelConfig, ParamKind, init_params};
use train::model::{LADDER, Precision, Rung};
use train::step::{Build, Network, StepError};

/// The tiny model, compiled, with a weight of layer `layer` (or of the model, if `None`) times `factor`.
fn network(kind: ParamKind, layer: Option<usize>, factor: f32, build: &Build) -> Result<Network, StepError> {
    scaled(&[kind], layer, factor, build)
}

fn scaled(
    kinds: &[ParamKind],
    layer: Option<usize>,
    factor: f32,
    build: &Build,
) -> Result<Network, StepError> {
    let cfg = ModelConfig::preset("tiny").expect("a preset");
    let mut theta = init_params(&cfg, 3);
    for spec in cfg.params().iter().filter(|s| kinds.contains(&s.kind) && s.layer == layer) {
        theta[spec.range()].iter_mut().for_each(|x| *x *= factor);
    }
    let pool = Pool::new(2).expect("threads");
    let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("engine");
    Network::new(&cfg, theta, device, pool, build, &mut |_| {})
}

fn tokens(network: &Network) -> Vec<u32> {
    (0..=network.cfg.seq as u32).map(|i| i * i * 7 % network.cfg.vocab as u32).collect()
}

/// What is said of an evaluation, by logits and by loss.
fn said(network: &Network) -> Vec<String> {
    let tokens = tokens(network);
    let errors = [
        network.evaluate(&tokens).expect_err("not finite"),
        network.logits(&tokens).map(|_| ()).map(|()| 0.0).expect_err("not finite"),
        network.logits_at(&tokens, 3).map(|_| 0.0).expect_err("not finite"),
    ];
    errors.iter().map(|e| format!("{e}\n{}", e.hint().unwrap_or_default())).collect()
}

#[test]
fn a_gated_product_that_overflows_is_named() {
    let build = Build::train(Precision::F16);
    // h1 and h3 are some thousands then, their product some millions.
    let kinds = [ParamKind::W1, ParamKind::W3];
    let large = scaled(&kinds, Some(1), 4000.0, &build).expect("compiles");
    for said in said(&large) {
        assert!(said.contains("is not finite: layer 1: "), "{said}");
        assert!(said.contains(" elements of `gate`, the product silu(h1)·h3,"), "{said}");
        assert!(said.contains("do not fit into fp16; the largest finite one is "), "{said}");
        assert!(said.contains("--storage f32"), "{said}");
    }
    let exact = scaled(&kinds, Some(1), 4000.0, &Build::train(Precision::F32)).expect("compiles");
    assert!(exact.evaluate(&tokens(&exact)).expect("fits into fp32").is_finite());
}

#[test]
fn a_residual_stream_beyond_fp16_is_named_and_fits_where_the_host_computes_norms() {
    let build = Build::train(Precision::F16);
    let large = network(ParamKind::Embedding, None, 1e7, &build).expect("compiles");
    for said in said(&large) {
        assert!(
            said.contains("layer 0: ") && said.contains("`x`, the residual stream before attention,"),
            "{said}"
        );
        assert!(said.contains("Run with `--norms host`"), "{said}");
    }
    let build = build.rung(&LADDER[1], &ModelConfig::preset("tiny").expect("a preset"));
    let host = network(ParamKind::Embedding, None, 1e7, &build).expect("compiles");
    assert!(host.evaluate(&tokens(&host)).expect("fp32 on the host").is_finite());
}

#[test]
fn a_residual_stream_that_fits_is_right_at_any_size() {
    let cfg = ModelConfig::preset("tiny").expect("a preset");
    let loss = |factor, precision, rung: &Rung| {
        let build = Build::train(precision).rung(rung, &cfg);
        let network = network(ParamKind::Embedding, None, factor, &build).expect("compiles");
        network.evaluate(&tokens(&network)).expect("finite")
    };
    for factor in [0.05, 1.0, 20_000.0, 300_000.0] {
        let want = loss(factor, Precision::F32, &LADDER[1]);
        for rung in &LADDER[..2] {
            let got = loss(factor, Precision::F16, rung);
            // fp16 storage: a loss of the small model is within 1e-3, see `norms.rs`.
            assert!((got - want).abs() < 1e-3 * want, "{factor}, {}: {got}, not {want}", rung.name);
        }
    }
}

/// Whether the first half of a window is the same, to the bit, with other tokens in the second; `None` if a value leaves
/// the range of its type. The scores of layer 0 are those of the tiny model times the square of `factor`.
fn is_causal(factor: f32, precision: Precision) -> Option<bool> {
    let kinds = [ParamKind::Wq, ParamKind::Wk];
    let network = scaled(&kinds, Some(0), factor, &Build::train(precision)).expect("compiles");
    let (s, cut) = (network.cfg.seq, network.cfg.seq / 2);
    let first = tokens(&network);
    let mut other = first.clone();
    other[cut..].iter_mut().for_each(|t| *t = (*t + 7) % network.cfg.vocab as u32);
    let logits = |tokens: &[u32]| network.logits(tokens).ok();
    let seen = |logits: &[f32]| -> Vec<u32> {
        let positions = logits.chunks(s).flat_map(|row| &row[..cut]);
        positions.map(|x| x.to_bits()).collect()
    };
    Some(seen(&logits(&first)?) == seen(&logits(&other)?))
}

/// fp32 is what the errors above point to, so it has to hold scores of any size.
#[test]
fn no_position_sees_later_tokens_however_large_scores_are() {
    for factor in [1.0, 300.0, 3000.0] {
        assert_eq!(is_causal(factor, Precision::F32), Some(true), "scores times {factor}²");
    }
}

/// Up to scores of 65,504, and beyond them an error.
#[test]
fn in_fp16_neither() {
    let factors = (0..40).map(|i| 30.0 * 1.1_f32.powi(i));
    let found: Vec<Option<bool>> = factors.map(|factor| is_causal(factor, Precision::F16)).collect();
    assert!(!found.contains(&Some(false)), "{found:?}");
    let held = found.iter().flatten().count();
    assert!(held >= 10 && held < found.len(), "scores of all sizes: {found:?}");
}

#[test]
fn a_residual_stream_beyond_fp32s_squares_is_an_error() {
    let build = Build::train(Precision::F32);
    let large = network(ParamKind::Embedding, None, 1e21, &build).expect("compiles");
    for said in said(&large) {
        assert!(said.contains("the mean square of the residual stream is not finite: layer 1: "), "{said}");
    }
}

#[test]
fn weights_beyond_fp16_are_named() {
    let error = network(ParamKind::Wq, Some(0), 1e9, &Build::train(Precision::F16)).expect_err("too large");
    let said = error.to_string();
    assert!(
        said.contains("elements of `model.layers.0.self_attn.q_proj.weight` are larger than fp16's"),
        "{said}"
    );
    assert!(error.hint().expect("a remedy").contains("--storage f32"));
    network(ParamKind::Wq, Some(0), 1e9, &Build::train(Precision::F32)).expect("fits into fp32");
}

#[test]
fn a_weight_of_the_head_that_is_not_finite_is_no_layers_fault() {
    let build = Build::train(Precision::F16);
    let broken = network(ParamKind::FinalNorm, None, f32::INFINITY, &build).expect("compiles");
    for said in said(&broken) {
        assert!(
            said.contains("is not finite\n") && said.contains("look at the final norm's weight"),
            "{said}"
        );
    }
}
