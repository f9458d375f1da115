//! The split into training and validation tokens, and the windows of each step.

use std::ops::Range;

use rand::RngExt;

use host::rng::{Purpose, stream};

/// The training and validation parts of a token file, as ranges of positions. A window is `seq` tokens and one more, the
/// last target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The training part.
    pub train: Range<u64>,
    /// The validation part; overlaps `train` only if the file is too short for two windows.
    pub val: Range<u64>,
    /// Tokens per window, without the last target.
    pub seq: usize,
}

impl Split {
    /// `None` if `len` tokens are fewer than one window.
    pub(super) fn new(len: u64, seq: usize, fraction: f64) -> Option<Self> {
        let window = seq as u64 + 1;
        if len < window {
            return None;
        }
        if len < 2 * window {
            return Some(Self { train: 0..len, val: len - window..len, seq });
        }
        // Clamped, so that any fraction leaves at least one window for each part.
        let share = (len as f64 * fraction) as u64;
        let cut = len - share.clamp(window, len - window);
        Some(Self { train: 0..cut, val: cut..len, seq })
    }

    /// Whether the parts overlap.
    pub fn overlaps(&self) -> bool {
        self.val.start < self.train.end
    }

    /// Starts of at most `limit` validation windows, spread evenly, without common targets.
    pub fn val_windows(&self, limit: usize) -> Vec<u64> {
        windows(self.val.clone(), self.seq, limit)
    }
}

/// Starts of at most `limit` windows in `range`, spread evenly. Windows are a multiple of `seq` apart: the last target of one
/// may be the first input of the next.
pub fn windows(range: Range<u64>, seq: usize, limit: usize) -> Vec<u64> {
    let room = (range.end - range.start).saturating_sub(1);
    let count = room / (seq as u64).max(1);
    let taken = count.min(limit as u64);
    (0..taken)
        .map(|i| range.start + (u128::from(i) * u128::from(count) / u128::from(taken)) as u64 * seq as u64)
        .collect()
}

/// Chooses training windows. The choice is a function of seed, step and index, so a resumed run takes the same windows.
#[derive(Clone, Debug)]
pub struct Sampler {
    seed: u64,
    train: Range<u64>,
    window: u64,
}

impl Sampler {
    /// A sampler over the training part of `split`.
    pub fn new(seed: u64, split: &Split) -> Self {
        Self { seed, train: split.train.clone(), window: split.seq as u64 + 1 }
    }

    /// The start of window `index` (counted over batch and accumulation) of optimizer step `step`, uniform over the training
    /// part.
    pub fn start(&self, step: u64, index: u64) -> u64 {
        let mut rng = stream(self.seed, Purpose::Batch, step);
        rng.set_stream(index);
        // A split has at least one window.
        let last = self.train.end.saturating_sub(self.window).max(self.train.start);
        rng.random_range(self.train.start..=last)
    }
}
