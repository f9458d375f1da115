//! Where a text can be cut without changing its tokens: before a single space between printable ASCII
//! characters. GPT-2's pattern cuts there in any case, and no SentencePiece token reaches across.

/// Whether a piece of a text is its first or last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The text begins with it.
    pub(crate) first: bool,
    /// The text ends with it.
    pub(crate) last: bool,
}

impl Ends {
    /// A whole text.
    pub(crate) const BOTH: Self = Self { first: true, last: true };
}

fn cuts_at_middle(window: &[u8]) -> bool {
    window[0].is_ascii_graphic() && window[1] == b' ' && window[2].is_ascii_graphic()
}

/// The last place in `bytes` where the text may be cut.
pub(crate) fn last_cut(bytes: &[u8]) -> Option<usize> {
    bytes.windows(3).rposition(cuts_at_middle).map(|before| before + 1)
}

/// The text in as many parts as it may be cut into; none for an empty text.
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
