//! How much there is of everything in a `tokenizer.json`, and how much of it is read.

/// What there is in a `tokenizer.json`.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// Tokens of the vocabulary.
    pub(super) vocabulary: Sum,
    /// Whether the vocabulary is a list of pieces with scores.
    pub(super) scored: bool,
    /// Distinct beginnings of pieces with scores: the library makes a table of each.
    pub(super) beginnings: usize,
    /// Merges, if there is a list of them.
    pub(super) merges: Option<Sum>,
    /// Added tokens.
    pub(super) added: Sum,
    /// Values of all other parts.
    pub(super) rest: Sum,
}

/// A number of texts and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum {
    pub(super) count: usize,
    /// Length of the longest text, in bytes.
    pub(super) longest: usize,
    /// Bytes of all texts.
    pub(super) bytes: usize,
}

impl Sum {
    pub(super) fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.longest = self.longest.max(bytes);
        self.bytes += bytes;
    }
}

/// Most values of all that is not vocabulary, merges or added tokens: tokenizers in use have a few hundred.
const MAX_VALUES: usize = 1 << 14;

/// Most bytes of texts among these values: SentencePiece's character maps have 320 kB.
const MAX_TEXT: usize = 1 << 21;

/// Longest added token, in bytes; the library's time grows with its square.
const MAX_ADDED: usize = 1 << 10;

/// Most added tokens: Gemma 3 has 6,415.
const MAX_ADDED_TOKENS: usize = 1 << 15;

/// Most bytes of all added tokens, as the normalizer makes them: Gemma 3's have 80 kB, and the library takes 60 bytes for each.
pub(super) const MAX_ADDED_BYTES: usize = 1 << 20;

/// Most entries of a vocabulary: Gemma has 262,144. The library and this program take 280 bytes for each.
const MAX_VOCABULARY: usize = 3 << 17;

/// Longest name of a vocabulary's token, in bytes: those in use have a few hundred, and the library recurses into each.
const MAX_NAME: usize = 1 << 12;

/// Most bytes of all names of a vocabulary: those in use have 3 MB.
const MAX_NAMES: usize = 1 << 23;

/// Most distinct beginnings of pieces with scores, for each of which the library takes 340 bytes: 250,002 pieces in the
/// scripts that XLM-R has come to about 800,000.
const MAX_BEGINNINGS: usize = 5 << 18;

/// Most merges: Gemma has 514,906. The library takes 200 bytes for each while it reads them.
const MAX_MERGES: usize = 5 << 17;

/// Most bytes of all merges: Gemma's have 6 MB.
const MAX_MERGES_BYTES: usize = 1 << 24;

/// Whether another value is kept while a file is read.
pub(super) fn keeps_value(rest: &Sum) -> bool {
    rest.count <= MAX_VALUES && rest.bytes <= MAX_TEXT
}

/// Whether another name is kept.
pub(super) fn keeps_name(vocabulary: &Sum) -> bool {
    vocabulary.count <= MAX_VOCABULARY && vocabulary.bytes <= MAX_NAMES
}

/// Whether another added token is kept.
pub(super) fn keeps_added(added: &Sum) -> bool {
    added.count <= MAX_ADDED_TOKENS && added.bytes <= MAX_ADDED_BYTES
}

/// Refuses what there is more of than `most`; `what` says it with `#` for the number.
pub(super) fn most(what: &str, has: usize, most: usize) -> Result<(), String> {
    match has > most {
        true => Err(format!("{} this program reads {most}", what.replace('#', &has.to_string()))),
        false => Ok(()),
    }
}

/// Refuses what has more of anything than tokenizers in use have.
pub(super) fn check(sizes: &Sizes) -> Result<(), String> {
    let merges = sizes.merges.unwrap_or_default();
    most("its vocabulary has # tokens,", sizes.vocabulary.count, MAX_VOCABULARY)?;
    most("its vocabulary has a token of # bytes,", sizes.vocabulary.longest, MAX_NAME)?;
    most("the names of its vocabulary have # bytes,", sizes.vocabulary.bytes, MAX_NAMES)?;
    most("its pieces have # distinct beginnings,", sizes.beginnings, MAX_BEGINNINGS)?;
    most("it has # merges,", merges.count, MAX_MERGES)?;
    most("its merges have # bytes,", merges.bytes, MAX_MERGES_BYTES)?;
    most("it adds # tokens,", sizes.added.count, MAX_ADDED_TOKENS)?;
    most("it adds a token of # bytes,", sizes.added.longest, MAX_ADDED)?;
    most("it adds tokens of # bytes,", sizes.added.bytes, MAX_ADDED_BYTES)?;
    most("its other parts have # values,", sizes.rest.count, MAX_VALUES)?;
    most("its other parts have # bytes of texts,", sizes.rest.bytes, MAX_TEXT)
}
