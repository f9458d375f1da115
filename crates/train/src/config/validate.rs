//! Validation of configurations.

use super::problem::{Problem, Spelling};
use super::{ModelConfig, RopeKind, RopeScaling, Task};

/// Largest size of one axis: beyond any model, and small enough that products of three stay inside 64 bits.
const MAX_AXIS: usize = 1 << 20;

/// Most layers: the table of the parameters of so many takes 25 MiB, and is copied.
const MAX_LAYERS: usize = 1 << 14;

/// Token ids are 32 bits wide.
const MAX_VOCAB: u64 = 1 << 32;

/// Most weights a model may have: 2³⁴ f32 weights are 64 GiB, before gradients and optimizer state.
const MAX_PARAMS: u128 = 1 << 34;

/// The first impossible value of `config`, with keys named as `spelling` has them.
pub(super) fn check(config: &ModelConfig, spelling: Spelling) -> Result<(), Problem> {
    let c = config;
    let key = |short| spelling.of(short);

    let axes = [
        ("dim", c.dim),
        ("hidden", c.hidden),
        ("layers", c.layers),
        ("heads", c.heads),
        ("kv_heads", c.kv_heads),
        ("head_dim", c.head_dim),
        ("seq", c.seq),
    ];
    for (short, value) in axes {
        let k = key(short);
        if value == 0 {
            return Err(Problem::value(k, format!("`{k}` is 0"), format!("Set `{k}` to 1 or more.")));
        }
        let most = if short == "layers" { MAX_LAYERS } else { MAX_AXIS };
        if value > most {
            let problem = format!("`{k}` = {value} is more than the {most} this program handles");
            return Err(Problem::value(k, problem, format!("Set `{k}` to {most} or less.")));
        }
    }

    if !c.heads.is_multiple_of(c.kv_heads) {
        let (h, k) = (key("heads"), key("kv_heads"));
        let problem = format!(
            "`{h}` = {} is not a multiple of `{k}` = {}, so the query heads cannot share the key/value heads evenly",
            c.heads, c.kv_heads
        );
        let fits: Vec<_> =
            (1..=c.heads.min(64)).filter(|n| c.heads.is_multiple_of(*n)).map(|n| n.to_string()).collect();
        return Err(Problem::value(k, problem, format!("Set `{k}` to one of {}.", fits.join(", "))));
    }

    if c.rope.kind != RopeKind::None {
        if !c.head_dim.is_multiple_of(2) {
            let k = key("head_dim");
            let problem = format!("`{k}` = {} is odd, and RoPE turns channels in pairs", c.head_dim);
            let remedy = format!("Make `{k}` even, or set `rope` to \"none\".");
            return Err(Problem::value(k, problem, remedy));
        }
        positive(key("rope_theta"), c.rope.theta, "10000")?;
        check_scaling(c)?;
    }
    positive(key("rms_eps"), c.rms_eps, "1e-5")?;
    check_vocab(c, key("vocab"))?;

    let params = c.param_count_wide();
    if params > MAX_PARAMS {
        let k = key("dim");
        let problem = format!("these sizes make {params} weights, this program handles {MAX_PARAMS} at most");
        let remedy =
            format!("Make `{k}`, `{}`, `{}` or `{}` smaller.", key("hidden"), key("layers"), key("vocab"));
        return Err(Problem::value(k, problem, remedy));
    }
    Ok(())
}

/// Checks that RoPE's scaling fits the heads.
fn check_scaling(c: &ModelConfig) -> Result<(), Problem> {
    let pairs = c.head_dim / 2;
    if let RopeScaling::LongRope { short_factor, long_factor, .. } = &c.variant.scaling {
        for (key, list) in [("short_factor", short_factor), ("long_factor", long_factor)] {
            if list.len() != pairs {
                let problem =
                    format!("`{key}` has {} numbers, and a head has {pairs} pairs of channels", list.len());
                return Err(Problem::value(key, problem, format!("Give `{key}` {pairs} numbers.")));
            }
        }
    }
    let local = c.variant.local_rope.iter().map(|(theta, scaling)| (*theta, scaling));
    let is_usable = |x: &f64| x.is_finite() && *x > 0.0;
    let makes_sense = |(theta, scaling): (f64, &RopeScaling)| {
        let frequencies = scaling.frequencies(theta, c.head_dim, c.seq);
        frequencies.per_position.iter().chain([&frequencies.amplitude]).all(is_usable)
    };
    if local.chain([(c.rope.theta, &c.variant.scaling)]).all(makes_sense) {
        return Ok(());
    }
    let problem = "`rope_scaling` makes frequencies that are no positive numbers";
    Err(Problem::value("rope_scaling", problem, "Set its factors to those that the model was trained with."))
}

/// Checks that only language models have a vocabulary.
fn check_vocab(c: &ModelConfig, k: &'static str) -> Result<(), Problem> {
    let vocab = c.vocab as u64;
    let (problem, remedy) = match c.task {
        Task::Language if vocab < 2 => {
            (format!("`{k}` = {vocab} leaves nothing to predict"), "the tokenizer's size, at least 2")
        }
        Task::Language if vocab > MAX_VOCAB => {
            (format!("`{k}` = {vocab} does not fit 32-bit token ids"), "4294967296 or less")
        }
        Task::Regression if vocab != 0 => {
            (format!("`{k}` = {vocab}, but the regression task has no tokens"), "0")
        }
        _ => return Ok(()),
    };
    Err(Problem::value(k, problem, format!("Set `{k}` to {remedy}.")))
}

/// `value` must be a positive number that f32 can hold.
fn positive(key: &'static str, value: f64, usual: &str) -> Result<(), Problem> {
    if value.is_finite() && value as f32 > 0.0 && (value as f32).is_finite() {
        return Ok(());
    }
    let problem = format!("`{key}` = {value} is not a positive number of 32-bit range");
    Err(Problem::value(key, problem, format!("Set `{key}` to a positive number; {usual} is usual.")))
}
