//! The windows of examples that a run trains and validates on.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rand::seq::SliceRandom;

use super::example_set::ExampleSet;
use super::token_file::TokenFile;
use crate::error::TrainError;
use host::rng::{Purpose, stream};

/// A window of examples: S + 1 tokens, padded at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExampleWindow {
    pub(crate) tokens: Vec<u32>,
    /// Whether the target of each of the S positions counts.
    pub(crate) counted: Vec<bool>,
    /// The position at which each example begins.
    pub(crate) starts: Vec<usize>,
    /// Tokens of examples, without padding.
    pub(crate) used: usize,
}

impl ExampleWindow {
    /// The number of targets that count.
    pub(crate) fn targets(&self) -> usize {
        self.counted.iter().filter(|&&counts| counts).count()
    }

    /// The tokens up to the first target that counts: a prompt; `None` if it is the first of all.
    pub(crate) fn prompt(&self) -> Option<&[u32]> {
        let first = self.counted.iter().position(|&counts| counts).filter(|&at| at > 0)?;
        self.tokens.get(..=first)
    }

    /// The weight of each target, if each that counts has `weight`.
    pub(crate) fn weights(&self, weight: f32) -> Vec<f32> {
        self.counted.iter().map(|&counts| if counts { weight } else { 0.0 }).collect()
    }
}

/// What became of the examples of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExampleCounts {
    /// Examples to train on.
    pub train: usize,
    /// Examples to validate on.
    pub valid: usize,
    /// Windows to train on.
    pub windows: usize,
    /// Targets that count in an epoch.
    pub targets: u64,
    /// Examples that are longer than a window: they are cut.
    pub cut: usize,
    /// Examples of which the window holds no target that counts: they are left out.
    pub dropped: usize,
    /// Records without anything to learn from.
    pub empty: u64,
    /// Chats of which only the last answer counts, because the template writes earlier ones otherwise.
    pub last_only: u64,
}

/// Groups of examples, each of which is a window.
#[derive(Debug, Default)]
struct Groups {
    members: Vec<usize>,
    /// Group i is `members[ends[i − 1]..ends[i]]`.
    ends: Vec<usize>,
}

impl Groups {
    fn push(&mut self, members: impl IntoIterator<Item = usize>) {
        self.members.extend(members);
        self.ends.push(self.members.len());
    }

    fn get(&self, at: usize) -> &[usize] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.members[start..self.ends[at]]
    }
}

/// The windows of a run. The order of an epoch is a function of the seed and its number, so a resumed run takes the same ones.
#[derive(Debug)]
pub(crate) struct ExampleWindows {
    set: ExampleSet,
    seq: usize,
    seed: u64,
    train: Groups,
    valid: Groups,
    counts: ExampleCounts,
    /// The last epoch that was asked for, and its order.
    order: Mutex<Option<(u64, Vec<u32>)>>,
}

impl ExampleWindows {
    /// Windows of `seq` predictions: one example in each, or as many as fit if they are `packed`. A share `fraction` of the
    /// examples validates, if no file of its own does.
    ///
    /// `None` if no example to train on has a target that counts.
    pub(crate) fn new(set: ExampleSet, seq: usize, seed: u64, fraction: f64, packed: bool) -> Option<Self> {
        let (mut train, mut valid) = set.split(seed, fraction);
        let (all, most) = (train.len() + valid.len(), seq + 1);
        let fits = |&example: &usize| set.targets(example, set.len_of(example).min(most)) > 0;
        train.retain(fits);
        valid.retain(fits);
        let kept = || train.iter().chain(&valid).copied();
        let mut counts = ExampleCounts {
            train: train.len(),
            valid: valid.len(),
            windows: 0,
            targets: train.iter().map(|&e| set.targets(e, set.len_of(e).min(most)) as u64).sum(),
            cut: kept().filter(|&example| set.len_of(example) > most).count(),
            dropped: all - train.len() - valid.len(),
            empty: set.empty,
            last_only: set.last_only,
        };
        let group = |examples: &[usize]| {
            if packed { pack(&set, examples, most) } else { singles(examples) }
        };
        let (train, valid) = (group(&train), group(&valid));
        counts.windows = train.ends.len();
        (counts.windows > 0).then(|| Self { set, seq, seed, train, valid, counts, order: Mutex::default() })
    }

    /// A window for each example, in order, all to validate on; as long as the longest example, at most `seq` predictions.
    /// `None` if no example has a target that counts.
    pub(crate) fn in_order(set: ExampleSet, seq: usize) -> Option<Self> {
        let longest = (0..set.len()).map(|example| set.len_of(example)).max()?;
        let seq = seq.min(longest.saturating_sub(1)).max(1);
        let fits = |&example: &usize| set.targets(example, set.len_of(example).min(seq + 1)) > 0;
        let valid = singles(&(0..set.len()).filter(fits).collect::<Vec<_>>());
        let counts = ExampleCounts { valid: valid.ends.len(), ..ExampleCounts::default() };
        let train = Groups::default();
        (counts.valid > 0).then(|| Self { set, seq, seed: 0, train, valid, counts, order: Mutex::default() })
    }

    /// Predictions of a window.
    pub(crate) fn seq(&self) -> usize {
        self.seq
    }

    pub(crate) fn counts(&self) -> ExampleCounts {
        self.counts
    }

    /// Tokens of the examples to train on and of those to validate on, as far as they are in windows.
    pub(crate) fn tokens(&self) -> (u64, u64) {
        let of = |groups: &Groups| {
            let len = |&example: &usize| self.set.len_of(example).min(self.seq + 1) as u64;
            groups.members.iter().map(len).sum()
        };
        (of(&self.train), of(&self.valid))
    }

    /// The window number `index` of the whole run.
    ///
    /// # Errors
    /// As [`TokenFile::window`].
    pub(crate) fn train(&self, file: &TokenFile, index: u64) -> Result<ExampleWindow, TrainError> {
        let count = self.train.ends.len();
        let (epoch, at) = (index / count as u64, (index % count as u64) as usize);
        let mut known = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|(of, _)| *of != epoch) {
            let mut order: Vec<u32> = (0..count as u32).collect();
            order.shuffle(&mut stream(self.seed, Purpose::Epoch, epoch));
            *known = Some((epoch, order));
        }
        let window = known.as_ref().map_or(at, |(_, order)| order[at] as usize);
        self.read(file, self.train.get(window))
    }

    /// The number of at most `limit` windows that validate.
    pub(crate) fn valid_windows(&self, limit: usize) -> usize {
        self.valid.ends.len().min(limit)
    }

    /// Window `at` of `taken` that are spread evenly over those that validate.
    ///
    /// # Errors
    /// As [`TokenFile::window`].
    pub(crate) fn valid(
        &self,
        file: &TokenFile,
        at: usize,
        taken: usize,
    ) -> Result<ExampleWindow, TrainError> {
        let all = self.valid.ends.len();
        let window = (at as u128 * all as u128 / taken.max(1) as u128) as usize;
        self.read(file, self.valid.get(window))
    }

    /// Reads the window with these examples.
    fn read(&self, file: &TokenFile, members: &[usize]) -> Result<ExampleWindow, TrainError> {
        let mut window = ExampleWindow {
            tokens: vec![0; self.seq + 1],
            counted: vec![false; self.seq],
            starts: Vec::with_capacity(members.len()),
            used: 0,
        };
        for &example in members {
            let start = window.used;
            let len = self.set.len_of(example).min(self.seq + 1 - start);
            file.window(self.set.start_of(example), &mut window.tokens[start..start + len])?;
            for range in self.set.counted_of(example) {
                // The target of position t is token t + 1; the first token of an example is none.
                let [from, to] = [range.start, range.end].map(|at| (at as usize).clamp(1, len));
                window.counted[start + from - 1..start + to - 1].fill(true);
            }
            window.starts.push(start);
            window.used += len;
        }
        Ok(window)
    }
}

/// A window for each example.
fn singles(examples: &[usize]) -> Groups {
    let mut groups = Groups::default();
    examples.iter().for_each(|&example| groups.push([example]));
    groups
}

/// Groups of examples that fit into windows of `most` tokens: the longest first, each into the fullest window that has room.
fn pack(set: &ExampleSet, examples: &[usize], most: usize) -> Groups {
    let mut longest_first = examples.to_vec();
    longest_first.sort_by_key(|&example| std::cmp::Reverse(set.len_of(example)));
    let mut windows: Vec<Vec<usize>> = Vec::new();
    // Windows by the room that they have.
    let mut open: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for example in longest_first {
        let len = set.len_of(example).min(most);
        let found =
            open.range_mut(len..).next().and_then(|(&room, of)| Some((room, of.pop()?, of.is_empty())));
        let (room, window) = match found {
            Some((room, window, is_last)) => {
                if is_last {
                    open.remove(&room);
                }
                (room, window)
            }
            None => {
                windows.push(Vec::new());
                (most, windows.len() - 1)
            }
        };
        windows[window].push(example);
        if room > len {
            open.entry(room - len).or_default().push(window);
        }
    }
    let mut groups = Groups::default();
    windows.into_iter().for_each(|members| groups.push(members));
    groups
}
