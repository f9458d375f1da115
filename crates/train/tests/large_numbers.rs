//! Activations as large as those of real checkpoints, in each architecture: with default settings a loss is within 1 % of the
//! one in fp32, which has float64's to 1e-4 (`architectures.rs`), or it is refused with layer, value and remedy.

use ane::{DeviceKind, Pool, SoftOptions};
use std::path::Path;
use train::config::{ModelConfig, ParamKind, ParamSpec};
use train::formats::{Model, open_model};
use train::model::Precision;
use train::step::{Build, Network, StepError};

const NAMES: [&str; 9] =
    ["llama_bias", "qwen2", "qwen3_bias", "rope_yarn", "smollm3", "mistral", "gemma", "gemma2", "gemma3"];

/// The channel of the residual stream that is large.
const CHANNEL: usize = 3;

fn open(name: &str) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/architectures").join(name);
    let mut model = open_model(&folder, None).expect(name);
    model.config.seq = 24;
    model
}

/// The loss of `model` with weights changed by `change`.
fn loss(
    model: &Model,
    precision: Precision,
    change: &dyn Fn(&ModelConfig, &ParamSpec, &mut [f32]),
) -> Result<f64, StepError> {
    let cfg = &model.config;
    let mut theta = model.params.clone();
    for spec in cfg.params() {
        change(cfg, &spec, &mut theta[spec.range()]);
    }
    let pool = Pool::new(1).expect("threads");
    let device = ane::open(DeviceKind::Soft, SoftOptions { pool: pool.clone() }).expect("an engine");
    let network = Network::new(cfg, theta, device, pool, &Build::train(precision), &mut |_| {})?;
    let tokens: Vec<u32> = (0..=cfg.seq as u32).map(|i| i * i * 7 % cfg.vocab as u32).collect();
    network.evaluate(&tokens)
}

/// Compares fp16 with fp32, for each architecture; returns the refusals.
fn compare(change: &dyn Fn(&ModelConfig, &ParamSpec, &mut [f32])) -> Vec<String> {
    let mut refusals = Vec::new();
    for name in NAMES {
        let model = open(name);
        let want = loss(&model, Precision::F32, change).expect("fits into fp32");
        match loss(&model, Precision::F16, change) {
            Ok(got) => {
                println!("{name}: {got}, fp32 {want}");
                assert!((got - want).abs() <= 0.01 * want, "{name}: {got}, in fp32 {want}");
            }
            Err(error) => {
                let said = format!("{name}: {error}");
                println!("{said}");
                assert!(said.contains("layer ") && said.contains('`') && error.hint().is_some(), "{said}");
                refusals.push(said);
            }
        }
    }
    refusals
}

/// Multiplies what a norm of this kind multiplies with.
fn scale_norm(cfg: &ModelConfig, weight: &mut [f32], factor: f32) {
    let offset = cfg.variant.family.norm_offset() as f32;
    weight.iter_mut().for_each(|w| *w = (*w + offset) * factor - offset);
}

#[test]
fn large_channels_of_the_residual_stream() {
    for size in [2e4, 6e4] {
        let refusals = compare(&|cfg, spec, weight| match spec.kind {
            ParamKind::Embedding => {
                let large = size / cfg.embedding_scale();
                weight.chunks_mut(cfg.dim).for_each(|row| row[CHANNEL] = large);
            }
            ParamKind::AttentionNorm | ParamKind::FeedForwardNorm | ParamKind::FinalNorm => {
                // As in real checkpoints: the norms make up for it.
                scale_norm(cfg, weight, 1000.0);
                weight[CHANNEL] = 0.001 - cfg.variant.family.norm_offset() as f32;
            }
            _ => {}
        });
        assert!(refusals.is_empty(), "{refusals:?}");
    }
}

#[test]
fn large_scores() {
    let refusals = compare(&|cfg, spec, weight| match spec.kind {
        ParamKind::QueryNorm | ParamKind::KeyNorm => scale_norm(cfg, weight, 100.0),
        ParamKind::Wq | ParamKind::Wk | ParamKind::Bq | ParamKind::Bk if !cfg.qk_norm => {
            weight.iter_mut().for_each(|w| *w *= 140.0);
        }
        _ => {}
    });
    assert!(refusals.is_empty(), "{refusals:?}");
}

#[test]
fn large_gated_products() {
    let by = |factor: f32| {
        compare(&|cfg, spec, weight| match spec.kind {
            ParamKind::W1 | ParamKind::W3 if spec.layer == Some(cfg.layers - 1) => {
                weight.iter_mut().for_each(|w| *w *= factor);
            }
            _ => {}
        })
    };
    let refusals = by(60.0);
    assert!(refusals.is_empty(), "{refusals:?}");
    // Beyond fp16: named, never a wrong number.
    let refusals = by(2000.0);
    assert_eq!(refusals.len(), NAMES.len(), "{refusals:?}");
    assert!(refusals.iter().all(|said| said.contains("`gate") && said.contains("fp16")), "{refusals:?}");
}
