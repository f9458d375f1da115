//! The bytes of each token, and decoding to text without splitting characters.

/// The bytes of every token, back to back.
pub(super) struct TokenTable {
    bytes: Vec<u8>,
    /// Token i is `bytes[ends[i − 1]..ends[i]]`.
    ends: Vec<usize>,
    special: Vec<bool>,
    unknown: Option<u32>,
    leading_space: LeadingSpace,
}

/// Where encoding adds a space that is not the text's (SentencePiece's "dummy prefix").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LeadingSpace {
    /// Nowhere.
    #[default]
    Never,
    /// At the start of a text.
    First,
    /// At the start of a text, and after each special token.
    Always,
}

impl TokenTable {
    pub(super) fn new(leading_space: LeadingSpace) -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), special: Vec::new(), unknown: None, leading_space }
    }

    /// Names the token of what the vocabulary does not have, which is special and part of a text.
    pub(super) fn set_unknown(&mut self, token: Option<u32>) {
        self.unknown = token;
    }

    pub(super) fn push(&mut self, bytes: &[u8], special: bool) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
        self.special.push(special);
    }

    /// The token of what the vocabulary does not have.
    #[cfg(test)]
    pub(super) fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn bytes(&self, token: u32) -> &[u8] {
        let index = token as usize;
        let Some(&end) = self.ends.get(index) else { return &[] };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..end]
    }

    pub(super) fn is_special(&self, token: u32) -> bool {
        self.special.get(token as usize).copied().unwrap_or(false)
    }

    /// Whether any token that is not special contains a printable character followed by a space.
    pub(super) fn any_crosses_a_space(&self) -> bool {
        (0..self.len() as u32)
            .filter(|&id| !self.is_special(id))
            .any(|id| self.bytes(id).windows(2).any(|pair| pair[0].is_ascii_graphic() && pair[1] == b' '))
    }
}

/// A streaming decoder; it holds bytes until they form whole characters.
pub struct Decoder<'a> {
    table: &'a TokenTable,
    pending: Vec<u8>,
    at_start: bool,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(table: &'a TokenTable) -> Self {
        Self { table, pending: Vec::new(), at_start: true }
    }

    /// Adds one token and returns the text that is now complete; may be empty.
    pub fn push(&mut self, token: u32) -> String {
        if token as usize >= self.table.len() {
            self.pending.extend_from_slice("\u{fffd}".as_bytes());
            self.at_start = false;
            return self.complete();
        }
        let mut bytes = self.table.bytes(token);
        if self.table.is_special(token) && self.table.unknown != Some(token) {
            self.at_start |= self.table.leading_space == LeadingSpace::Always;
        } else {
            if self.at_start && self.table.leading_space != LeadingSpace::Never {
                bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            }
            self.at_start = false;
        }
        self.pending.extend_from_slice(bytes);
        self.complete()
    }

    /// The remaining text: an incomplete character becomes U+FFFD.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.pending).into_owned()
    }

    /// Removes and returns the whole characters at the front of `pending`, invalid bytes as U+FFFD, exactly as
    /// [`String::from_utf8_lossy`] would for the whole text.
    fn complete(&mut self) -> String {
        let mut text = String::new();
        let mut rest = self.pending.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    self.pending.clear();
                    return text;
                }
                Err(error) => {
                    let (valid, tail) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(invalid) = error.error_len() else {
                        self.pending = tail.to_vec();
                        return text;
                    };
                    text.push('\u{fffd}');
                    rest = &tail[invalid..];
                }
            }
        }
    }
}

/// The byte of a token such as `<0x41>`.
pub(super) fn byte_token(name: &str) -> Option<u8> {
    let hex = name.strip_prefix("<0x")?.strip_suffix('>')?;
    if hex.len() == 2 { u8::from_str_radix(hex, 16).ok() } else { None }
}
