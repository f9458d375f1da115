//! The examples of a run: their tokens in one file, where each begins and what counts in another.
//!
//! `examples.bin`, little-endian: the mark `bpexamp1`, XXH3 of what follows, then 64-bit numbers (examples to train on,
//! examples to validate on, empty records, examples of which only the last answer counts), then for each example 32-bit numbers:
//! its tokens, the number of its counted ranges, and their ends.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rand::seq::SliceRandom;
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::example::{Encoding, Example, Unusable};
use super::records::{Keys, Lines};
use super::token_layout::width_of;
use crate::error::TrainError;
use crate::fs::{AtomicFile, read_limited, write_atomically};
use host::rng::{Purpose, stream};

/// Lines parsed and encoded at a time.
const LINES_AT_ONCE: usize = 512;

const MARK: &[u8; 8] = b"bpexamp1";

/// The largest index file: two hundred million examples.
const LARGEST: u64 = 4 << 30;

/// Files of examples to train on, and to validate on if there are any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExampleSource {
    /// The name in messages.
    pub(super) name: PathBuf,
    /// Files to train on.
    pub(super) train: Vec<PathBuf>,
    /// The file to validate on.
    pub(super) valid: Option<PathBuf>,
}

/// Where an example's tokens are in the file of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    start: u64,
    len: u32,
    /// Its ranges in [`ExampleSet::counted`].
    counted: Range<usize>,
}

/// The examples of a run.
#[derive(Clone, Debug)]
pub struct ExampleSet {
    places: Vec<Place>,
    counted: Vec<Range<u32>>,
    /// The number of examples to train on, which come first.
    train: usize,
    /// Records without anything to learn from.
    pub(crate) empty: u64,
    /// Chats of which only the last answer counts, because the template writes earlier ones otherwise.
    pub(crate) last_only: u64,
    fingerprint: u64,
}

/// An index while it is made.
#[derive(Default)]
struct Index {
    counts: [u64; 4],
    body: Vec<u8>,
    tokens: u64,
    chats: u64,
}

/// What was encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded {
    /// Tokens of all examples.
    pub(crate) tokens: u64,
    /// Examples that are chats.
    pub(crate) chats: u64,
}

impl Index {
    fn add(&mut self, example: &Example, is_valid: bool) {
        self.counts[usize::from(is_valid)] += 1;
        self.counts[3] += u64::from(example.last_only);
        self.tokens += example.tokens.len() as u64;
        self.chats += u64::from(example.is_chat);
        let ends = example.counted.iter().flat_map(|range| [range.start, range.end]);
        let sizes = [example.tokens.len() as u32, example.counted.len() as u32];
        self.body.extend(sizes.into_iter().chain(ends).flat_map(u32::to_le_bytes));
    }

    fn bytes(&self) -> Vec<u8> {
        let mut rest: Vec<u8> = self.counts.iter().flat_map(|count| count.to_le_bytes()).collect();
        rest.extend(&self.body);
        [&MARK[..], &xxh3_64(&rest).to_le_bytes(), &rest].concat()
    }
}

impl ExampleSource {
    /// The name in messages.
    pub(crate) fn name(&self) -> &Path {
        &self.name
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files().filter_map(|(path, _)| path.metadata().ok()).map(|file| file.len()).sum()
    }

    /// All files, and whether one is for validation.
    fn files(&self) -> impl Iterator<Item = (&Path, bool)> {
        let train = self.train.iter().map(|path| (path.as_path(), false));
        train.chain(self.valid.iter().map(|path| (path.as_path(), true)))
    }

    /// Encodes all examples into a file of `tokens` and an index, each atomically.
    ///
    /// `progress` gets the bytes read. The files do not depend on the number of threads.
    ///
    /// # Errors
    /// [`TrainError::Record`] for the first line that is no record; [`TrainError::TokenizerTooLarge`],
    /// [`TrainError::NoExamples`], [`TrainError::Io`].
    pub(crate) fn encode(
        &self,
        keys: &Keys,
        encoding: &Encoding<'_>,
        vocab: usize,
        (tokens, index): (&Path, &Path),
        progress: &mut dyn FnMut(u64),
    ) -> Result<Encoded, TrainError> {
        encoding.tokenizer.check_vocab(vocab)?;
        let width = width_of(vocab) as usize;
        let mut file = AtomicFile::create(tokens)?;
        let (mut made, mut done) = (Index::default(), 0);
        for (path, is_valid) in self.files() {
            let mut lines = Lines::open(path)?;
            loop {
                let batch = lines.by_ref().take(LINES_AT_ONCE).collect::<Result<Vec<_>, _>>()?;
                if batch.is_empty() {
                    break;
                }
                let encoded: Vec<_> = batch
                    .par_iter()
                    .map(|(line, text)| encode_line(path, *line, text, keys, encoding))
                    .collect();
                for example in encoded {
                    let example = example?;
                    if example.counted.iter().all(|range| range.end <= 1) {
                        // A first token is no target.
                        made.counts[2] += 1;
                        continue;
                    }
                    // Ids fit: the vocabulary was checked above.
                    let bytes = example.tokens.iter().flat_map(|id| id.to_le_bytes().into_iter().take(width));
                    file.write(&bytes.collect::<Vec<u8>>())?;
                    made.add(&example, is_valid);
                }
                done += batch.iter().map(|(_, text)| text.len() as u64).sum::<u64>();
                progress(done);
            }
        }
        if made.counts[0] == 0 {
            return Err(TrainError::NoExamples { path: self.name.clone(), empty: made.counts[2] });
        }
        file.commit()?;
        write_atomically(index, &made.bytes())?;
        Ok(Encoded { tokens: made.tokens, chats: made.chats })
    }
}

fn encode_line(
    path: &Path,
    line: u64,
    text: &[u8],
    keys: &Keys,
    encoding: &Encoding<'_>,
) -> Result<Example, TrainError> {
    let wrong = |problem| TrainError::Record { path: path.to_owned(), line, problem };
    let record = keys.record(text).map_err(wrong)?;
    encoding.example(record).map_err(|unusable| match unusable {
        Unusable::NoTemplate => TrainError::NoTemplate { path: path.to_owned(), line },
        Unusable::Train(error @ (TrainError::ChatTemplate { .. } | TrainError::Tokenizer { .. })) => {
            wrong(error.to_string())
        }
        Unusable::Train(error) => error,
    })
}

impl ExampleSet {
    /// Reads an index whose tokens are `tokens` many.
    ///
    /// # Errors
    /// [`TrainError::Io`], [`TrainError::FileFormat`] if it is damaged or of other tokens.
    pub(crate) fn open(path: &Path, tokens: u64) -> Result<Self, TrainError> {
        let bytes = read_limited(path, "list of examples", LARGEST)?;
        let damaged = |problem: &str| TrainError::FileFormat {
            path: path.to_owned(),
            kind: "list of examples",
            problem: problem.to_owned(),
        };
        let rest = bytes.strip_prefix(MARK).and_then(|rest| rest.split_first_chunk::<8>());
        let Some((sum, rest)) = rest else { return Err(damaged("it does not begin as one")) };
        let fingerprint = u64::from_le_bytes(*sum);
        if xxh3_64(rest) != fingerprint {
            return Err(damaged("its checksum is wrong"));
        }
        let Some((counts, body)) = rest.split_first_chunk::<32>() else {
            return Err(damaged("it is truncated"));
        };
        let count = |at: usize| u64::from_le_bytes(counts.as_chunks::<8>().0[at]);
        let mut numbers = body.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
        let (mut places, mut counted, mut start) = (Vec::new(), Vec::new(), 0);
        while let (Some(len), Some(ranges)) = (numbers.next(), numbers.next()) {
            let first = counted.len();
            for _ in 0..ranges {
                let (Some(from), Some(to)) = (numbers.next(), numbers.next()) else {
                    return Err(damaged("it is truncated"));
                };
                counted.push(from..to);
            }
            places.push(Place { start, len, counted: first..counted.len() });
            start += u64::from(len);
        }
        if start != tokens || places.len() as u64 != count(0) + count(1) {
            return Err(damaged(&format!("it is of {start} tokens, there are {tokens}")));
        }
        let train = places.len() - usize::try_from(count(1)).unwrap_or(0);
        Ok(Self { places, counted, train, empty: count(2), last_only: count(3), fingerprint })
    }

    /// A hash of the index, to check that a resumed run has the same examples.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Tokens of an example.
    pub(super) fn len_of(&self, example: usize) -> usize {
        self.places[example].len as usize
    }

    /// Where the tokens of an example begin.
    pub(super) fn start_of(&self, example: usize) -> u64 {
        self.places[example].start
    }

    /// The ranges of an example's tokens that count as targets.
    pub(super) fn counted_of(&self, example: usize) -> &[Range<u32>] {
        &self.counted[self.places[example].counted.clone()]
    }

    /// The number of targets among the first `len` tokens of an example; its first token is none.
    pub(super) fn targets(&self, example: usize, len: usize) -> usize {
        let clamped = |at: u32| (at as usize).clamp(1, len.max(1));
        self.counted_of(example).iter().map(|range| clamped(range.end) - clamped(range.start)).sum()
    }

    /// The number of examples.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The examples to train on and those to validate on: of a file of its own, else a share `fraction` of all that is drawn by
    /// the run's seed. A single example is both.
    pub(super) fn split(&self, seed: u64, fraction: f64) -> (Vec<usize>, Vec<usize>) {
        let all = self.places.len();
        if self.train < all || all < 2 {
            let valid = if all < 2 { 0..all } else { self.train..all };
            return ((0..self.train).collect(), valid.collect());
        }
        let mut drawn: Vec<usize> = (0..all).collect();
        drawn.shuffle(&mut stream(seed, Purpose::Split, 0));
        let share = ((all as f64 * fraction) as usize).clamp(1, all - 1);
        let (valid, train) = drawn.split_at_mut(share);
        valid.sort_unstable();
        train.sort_unstable();
        (train.to_vec(), valid.to_vec())
    }
}
