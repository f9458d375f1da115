//! A lower bound of a model's memory, checked before allocation.

use std::fs;

use crate::config::{ModelConfig, RopeKind, Task};
use crate::error::TrainError;
use host::head::{frozen_positions, positions_at_a_time, sums_of_frozen, sums_of_trained};

/// The purpose for which a model is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Its weights are only read.
    Weights,
    /// Its layer is built as programs.
    Kernels,
    /// It runs forward passes.
    Infer,
    /// Its logits and gradients of one window are written down.
    Gradients,
    /// Adapters of it are trained.
    Adapt(Training),
    /// It is trained.
    Train(Training),
}

/// How a model is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Training {
    /// Windows per step.
    pub windows: usize,
    /// Whether a window holds several examples.
    pub packed: bool,
    /// Whether the classifier, or the embedding that is tied to it, is trained.
    pub classifier: bool,
}

impl Use {
    /// All of it is trained, by `windows` windows per step.
    pub const fn train(windows: usize) -> Use {
        Use::Train(Training { windows, packed: false, classifier: true })
    }

    /// Adapters alone are trained, by `windows` windows per step.
    pub const fn adapt(windows: usize) -> Use {
        Use::Adapt(Training { windows, packed: false, classifier: false })
    }

    /// How it is trained, if it has a backward pass.
    fn training(self) -> Option<Training> {
        match self {
            Use::Train(training) | Use::Adapt(training) => Some(training),
            Use::Gradients => Some(Training { windows: 1, packed: false, classifier: true }),
            Use::Weights | Use::Kernels | Use::Infer => None,
        }
    }
}

/// Memory assumed where the system does not report it: more than any Mac has.
const UNKNOWN: u64 = 512 << 30;

/// Bytes per element of a constant table while programs are built: one f64 copy and several of half the width or less.
/// Measured with windows of 1024 to 4096 tokens.
const TABLE: u128 = 20;

/// Bytes per element of the mask between examples: the host's f32, and fp16 on the surfaces of the two kernels that read it.
const DOCUMENTS: u128 = 8;

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

/// Bytes of a part, its name, and the settings that it depends on.
type Part = (u128, &'static str, &'static str);

/// Each part.
fn parts(c: &ModelConfig, what_for: Use) -> Vec<Part> {
    let (l, s, e, h) = (wide(c.layers), wide(c.seq), wide(c.head_dim), wide(c.heads));
    let n = c.param_count_wide();
    let training = what_for.training();

    // Weights, gradients and two moments; kernels hold the matrices in half precision.
    let each = match what_for {
        Use::Train(_) => 16,
        Use::Gradients => 8,
        Use::Weights | Use::Kernels | Use::Infer | Use::Adapt(_) => 4,
    };
    let mut parts = vec![(n * each, "weights", "`dim`, `hidden`, `layers` or `vocab`")];
    if what_for == Use::Weights {
        return parts;
    }
    if what_for == Use::Kernels {
        parts.clear();
    }
    let kinds = wide(c.layer_kinds().0.len());
    let mask = TABLE * s * s * kinds;
    // Probabilities and their gradients: three fp16 surfaces, and working memory.
    let attention = if training.is_some() { mask + 16 * h * s * s } else { mask };
    parts.push((attention, "attention within a window", "`seq`, or `heads`,"));
    let turn = if c.rope.kind == RopeKind::None { 0 } else { TABLE * (e * e + 2 * e * s) * kinds };
    parts.push((turn, "the tables of RoPE", "`head_dim` or `seq`"));
    if what_for == Use::Kernels {
        return parts;
    }
    parts.push((LAYER * l, "kernels of all layers", "`layers`"));
    let activations = activations(c, training.is_some());
    parts.push((activations, "activations of a window", "`seq`, `layers`, `dim` or `hidden`"));
    if let Some(Training { windows, packed, classifier }) = training {
        if c.task == Task::Language {
            parts.extend(head(c, classifier));
        }
        if packed {
            parts.push((DOCUMENTS * s * s, "the mask between examples", "`seq`"));
        }
        let schedule = wide(windows) * (SCHEDULE * l + 4 * s);
        parts.push((schedule, "the windows of a step", "`--batch` or `--accum`"));
    }
    if what_for == Use::Gradients {
        // As they are computed, a copy of these, and as they are written.
        parts.push((
            12 * wide(c.vocab) * s,
            "logits of all positions",
            "the vocabulary, or the number of tokens,",
        ));
    }
    parts
}

fn wide(n: usize) -> u128 {
    n as u128
}

/// Bytes of a window's activations.
fn activations(c: &ModelConfig, trains: bool) -> u128 {
    let (d, l, s, e) = (wide(c.dim), wide(c.layers), wide(c.seq), wide(c.head_dim));
    let (q, kv) = (wide(c.heads) * e, wide(c.kv_heads) * e);
    // The residual stream in f32, and the outputs of forward kernels in fp16: of all layers with a backward pass.
    let taps = 2 * s * (4 * d + 2 * q + 2 * kv + 3 * wide(c.hidden)) * if trains { l } else { 1 };
    let streams = 4 * s * d * (2 * l + 1);
    taps + streams
}

/// What the loss and its gradient take. A frozen classifier stores no logits.
fn head(c: &ModelConfig, trains_classifier: bool) -> Vec<Part> {
    let (v, d, s) = (c.vocab, c.dim, c.seq);
    let (positions, sums) = match trains_classifier {
        true => (positions_at_a_time(v, d, s), sums_of_trained(v, d)),
        false => (frozen_positions(v, d, s), sums_of_frozen(v, d)),
    };
    let mut parts =
        vec![(4 * wide(sums) * wide(positions), "the gradient of the last layer", "`dim` or `seq`")];
    if trains_classifier {
        parts.push((4 * wide(v) * wide(positions), "logits of a window", "`vocab` or `seq`"));
    }
    parts
}

/// Bytes that each window in flight of a training step takes, at least.
pub(crate) fn window_bytes(config: &ModelConfig, trains_classifier: bool) -> u128 {
    let head = head(config, trains_classifier);
    activations(config, true) + head.into_iter().map(|part| part.0).sum::<u128>()
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
        match check_against(config, Use::train(windows), 16 << 30) {
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
        let [weights, infer, train] = [Use::Weights, Use::Infer, Use::train(1)].map(need);
        assert!(weights < infer && infer < train, "{weights} {infer} {train}");
        // The run in the README's table peaks at 2219 MiB.
        assert!((1 << 30..2219 << 20).contains(&train), "{train}");
    }

    #[test]
    fn a_mask_between_examples_counts_and_logits_of_a_frozen_classifier_do_not() {
        let config = ModelConfig { vocab: 262_144, seq: 512, ..ModelConfig::preset("tiny").unwrap() };
        let adapt = |packed| needed(&config, Use::Adapt(Training { windows: 1, packed, classifier: false }));
        assert_eq!(adapt(true) - adapt(false), 8 * 512 * 512);
        let of_logits = |what_for| {
            let parts = parts(&config, what_for);
            parts.into_iter().filter(|part| part.1.starts_with("logits")).map(|part| part.0).sum::<u128>()
        };
        assert_eq!(of_logits(Use::adapt(1)), 0);
        // An eighth of the positions at a time.
        let stored = 4 * 262_144 * 64;
        assert_eq!(of_logits(Use::train(1)), stored);
        let embeddings = Use::Adapt(Training { windows: 1, packed: false, classifier: true });
        assert_eq!(of_logits(embeddings), stored);
        // `grads` keeps the logits of all positions.
        assert_eq!(of_logits(Use::Gradients), stored + 12 * 262_144 * 512);
    }
}
