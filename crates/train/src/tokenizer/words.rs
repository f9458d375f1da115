//! Places where a text can be cut without changing its tokens: before a single space between printable ASCII characters.
//! GPT-2's pattern always splits there, and no SentencePiece token crosses such a place.

/// Whether a chunk is the first or last of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// It is the first.
    pub(crate) first: bool,
    /// It is the last.
    pub(crate) last: bool,
}

impl Ends {
    /// The chunk is a whole text.
    pub(crate) const BOTH: Self = Self { first: true, last: true };
}

fn cuts_at_middle(window: &[u8]) -> bool {
    window[0].is_ascii_graphic() && window[1] == b' ' && window[2].is_ascii_graphic()
}

/// The last place in `bytes` where the text may be cut.
pub(crate) fn last_cut(bytes: &[u8]) -> Option<usize> {
    bytes.windows(3).rposition(cuts_at_middle).map(|before| before + 1)
}

/// Splits the text at every possible place; an empty text has no parts.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let cut = rest.as_bytes().windows(3).position(cuts_at_middle).map_or(rest.len(), |before| before + 1);
        let (word, tail) = rest.split_at(cut);
        rest = tail;
        Some(word)
    })
}
