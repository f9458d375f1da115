//! A lower bound of a model's memory, checked before allocation.

use std::fs;

use crate::config::{ModelConfig, RopeKind, Task};
use crate::error::TrainError;

/// The purpose for which a model is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Its weights are only read.
    Weights,
    /// Its layer is built as programs.
    Kernels,
    /// It runs forward passes.
    Infer,
    /// Adapters of it are trained.
    Adapt {
        /// Windows per step.
        windows: usize,
    },
    /// It is trained.
    Train {
        /// Windows per step.
        windows: usize,
    },
}

/// Memory assumed where the system does not report it: more than any Mac has.
const UNKNOWN: u64 = 512 << 30;

/// Bytes per element of a constant table while programs are built: one f64 copy and several of half the width or less.
/// Measured with windows of 1024 to 4096 tokens.
const TABLE: u128 = 20;

/// Bytes of a step's schedule per window and layer. Measured with 100 and 1000 windows.
const SCHEDULE: u128 = 8 << 10;

/// Fixed bytes of the kernels of a layer. Measured with 4 and 2000 layers.
const LAYER: u128 = 64 << 10;

/// Refuses a model that needs more memory than this machine has. The demand is a lower bound: a model that passes may
/// still be too large, a refused one cannot run.
///
/// # Errors
/// [`TrainError::Memory`], with the largest part.
pub fn check(config: &ModelConfig, what_for: Use) -> Result<(), TrainError> {
    check_against(config, what_for, available())
}

/// The least memory for this purpose, in bytes.
pub(crate) fn needed(config: &ModelConfig, what_for: Use) -> u128 {
    parts(config, what_for).iter().map(|part| part.0).sum()
}

fn check_against(config: &ModelConfig, what_for: Use, have: u64) -> Result<(), TrainError> {
    let parts = parts(config, what_for);
    let need = needed(config, what_for);
    match parts.into_iter().max_by_key(|part| part.0) {
        Some((most, what, keys)) if need > u128::from(have) => {
            Err(TrainError::Memory { need: gib(need), have: gib(have.into()), most: gib(most), what, keys })
        }
        _ => Ok(()),
    }
}

fn gib(bytes: u128) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

/// Bytes of each part, its name, and the settings that it depends on.
fn parts(c: &ModelConfig, what_for: Use) -> Vec<(u128, &'static str, &'static str)> {
    let wide = |n: usize| n as u128;
    let (l, s, e, h) = (wide(c.layers), wide(c.seq), wide(c.head_dim), wide(c.heads));
    let n = c.param_count_wide();
    let trains = matches!(what_for, Use::Train { .. } | Use::Adapt { .. });

    // Weights, gradients and two moments; kernels hold the matrices in half precision.
    let weights = n * if matches!(what_for, Use::Train { .. }) { 16 } else { 4 };
    let mut parts = vec![(weights, "weights", "`dim`, `hidden`, `layers` or `vocab`")];
    if what_for == Use::Weights {
        return parts;
    }
    if what_for == Use::Kernels {
        parts.clear();
    }
    let kinds = wide(c.layer_kinds().0.len());
    let mask = TABLE * s * s * kinds;
    // Probabilities and their gradients: three fp16 surfaces, and working memory.
    let attention = if trains { mask + 16 * h * s * s } else { mask };
    parts.push((attention, "attention within a window", "`seq`, or `heads`,"));
    let turn = if c.rope.kind == RopeKind::None { 0 } else { TABLE * (e * e + 2 * e * s) * kinds };
    parts.push((turn, "the tables of RoPE", "`head_dim` or `seq`"));
    if what_for == Use::Kernels {
        return parts;
    }
    parts.push((LAYER * l, "kernels of all layers", "`layers`"));
    let [activations, logits] = window(c, trains);
    parts.push((activations, "activations of a window", "`seq`, `layers`, `dim` or `hidden`"));
    if let Use::Train { windows } | Use::Adapt { windows } = what_for {
        if c.task == Task::Language {
            parts.push((logits, "logits of a window", "`vocab` or `seq`"));
        }
        let schedule = wide(windows) * (SCHEDULE * l + 4 * s);
        parts.push((schedule, "the windows of a step", "`--batch` or `--accum`"));
    }
    parts
}

/// Bytes of a window's activations, and of its logits.
fn window(c: &ModelConfig, trains: bool) -> [u128; 2] {
    let wide = |n: usize| n as u128;
    let (d, l, s, e) = (wide(c.dim), wide(c.layers), wide(c.seq), wide(c.head_dim));
    let (q, kv) = (wide(c.heads) * e, wide(c.kv_heads) * e);
    // The residual stream in f32, and the outputs of forward kernels in fp16: of all layers with a backward pass.
    let taps = 2 * s * (4 * d + 2 * q + 2 * kv + 3 * wide(c.hidden)) * if trains { l } else { 1 };
    let streams = 4 * s * d * (2 * l + 1);
    [taps + streams, 4 * wide(c.vocab) * s]
}

/// Bytes that each window in flight of a training step takes, at least.
pub(crate) fn window_bytes(config: &ModelConfig) -> u128 {
    window(config, true).iter().sum()
}

/// The most memory that this process can have, in bytes, where the system reports it (Linux): the least of memory and
/// swap, the limit of its control group, and the limit of its address space.
fn available() -> u64 {
    let kib = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024);
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let of = |key: &str| text.lines().find(|line| line.starts_with(key)).and_then(kib);
        Some(of("MemTotal:")? + of("SwapTotal:").unwrap_or(0))
    });
    let group =
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let space = fs::read_to_string("/proc/self/limits").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("Max address space"))?;
        line.split_whitespace().next()?.parse().ok()
    });
    [machine, group, space].into_iter().flatten().min().unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(config: &ModelConfig, windows: usize) -> Option<&'static str> {
        match check_against(config, Use::Train { windows }, 16 << 30) {
            Err(TrainError::Memory { what, .. }) => Some(what),
            other => other.map(|()| None).unwrap(),
        }
    }

    #[test]
    fn the_part_that_takes_most_is_named() {
        let tiny = ModelConfig::preset("tiny").unwrap();
        for name in crate::config::PRESETS {
            assert_eq!(refusal(&ModelConfig::preset(name).unwrap(), 8), None, "{name}");
        }
        for (config, windows, want) in [
            (ModelConfig { seq: 65_536, ..tiny.clone() }, 4, "attention within a window"),
            (
                ModelConfig { heads: 1 << 20, kv_heads: 1, head_dim: 2, seq: 128, ..tiny.clone() },
                4,
                "attention within a window",
            ),
            (ModelConfig { vocab: 1 << 27, ..tiny.clone() }, 4, "weights"),
            (ModelConfig { dim: 1 << 20, ..tiny.clone() }, 4, "weights"),
            (ModelConfig { head_dim: 1 << 20, ..tiny.clone() }, 4, "the tables of RoPE"),
            (
                ModelConfig {
                    dim: 2,
                    hidden: 1,
                    heads: 1,
                    kv_heads: 1,
                    head_dim: 2,
                    layers: 1 << 20,
                    ..tiny.clone()
                },
                1,
                "kernels of all layers",
            ),
            (ModelConfig { layers: 24, ..tiny.clone() }, 1 << 20, "the windows of a step"),
        ] {
            assert_eq!(refusal(&config, windows), Some(want));
        }
    }

    #[test]
    fn reading_and_running_take_less_than_training() {
        let config = ModelConfig::preset("stories110m").unwrap();
        let need = |what_for| parts(&config, what_for).iter().map(|part| part.0).sum::<u128>();
        let [weights, infer, train] = [Use::Weights, Use::Infer, Use::Train { windows: 1 }].map(need);
        assert!(weights < infer && infer < train, "{weights} {infer} {train}");
        // The run in the README's table peaks at 2219 MiB.
        assert!((1 << 30..2219 << 20).contains(&train), "{train}");
    }
}
