//! llama2.c's `tokenizer.bin`: a simple form of SentencePiece's BPE.
//!
//! File: i32 longest token in bytes, then for each token f32 score, i32 length, bytes; little-endian, no
//! count. Ids 0, 1, 2 are unknown, start and end; id 3 + b is byte b, spelled `<0xNN>`. Encoding starts from
//! the text's characters (bytes where a character has no token) and merges the neighbours whose joined token
//! has the best score, the leftmost of equals first. Source: karpathy/llama2.c `run.c`, `encode`, `decode`.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use super::decode::{LeadingSpace, TokenTable, byte_token};

/// Start of a text.
pub(super) const START: u32 = 1;
/// End of a text.
pub(super) const END: u32 = 2;
const FIRST_BYTE: u32 = 3;
/// Ids below this are control and byte tokens, which are no results of merges.
const FIRST_PIECE: u32 = FIRST_BYTE + 256;

/// A tokenizer read from `tokenizer.bin`.
pub(super) struct Llama2c {
    file: Vec<u8>,
    scores: Vec<f32>,
    pieces: HashMap<Vec<u8>, u32>,
}

impl Llama2c {
    /// Parses the file's bytes; the error says what is wrong with them.
    pub(super) fn parse(file: Vec<u8>, vocab: Option<usize>) -> Result<(Self, TokenTable), String> {
        let mut reader = Reader { bytes: &file, at: 0 };
        let longest = reader.i32("the length of the longest token")?;
        let mut scores = Vec::new();
        let mut pieces = HashMap::new();
        let mut table = TokenTable::new(LeadingSpace::Always);
        while reader.at < file.len() {
            let id = scores.len() as u32;
            if vocab.is_some_and(|vocab| scores.len() >= vocab) {
                return Err(format!("it holds more than the {id} tokens of the model's vocabulary"));
            }
            let score = f32::from_bits(reader.i32("a token's score")? as u32);
            let length = reader.i32("a token's length")?;
            if !score.is_finite() || length < 0 || length > longest {
                return Err(format!(
                    "token {id} has length {length} and score {score}, where the longest token has {longest}"
                ));
            }
            let piece = reader.take(length as usize, "a token")?;
            scores.push(score);
            match id {
                0..FIRST_BYTE => table.push(b"", true),
                FIRST_BYTE..FIRST_PIECE => {
                    let byte = (id - FIRST_BYTE) as u8;
                    if std::str::from_utf8(piece).ok().and_then(byte_token) != Some(byte) {
                        return Err(format!("token {id} is not `<0x{byte:02X}>`"));
                    }
                    table.push(&[byte], false);
                }
                _ => {
                    table.push(piece, false);
                    if !piece.is_empty() {
                        pieces.entry(piece.to_vec()).or_insert(id);
                    }
                }
            }
        }
        if scores.len() < FIRST_PIECE as usize {
            return Err(format!("it ends after {} tokens, before the 256 byte tokens", scores.len()));
        }
        if let Some(vocab) = vocab.filter(|&vocab| vocab != scores.len()) {
            return Err(format!("it ends after {} tokens, the model's vocabulary has {vocab}", scores.len()));
        }
        Ok((Self { file, scores, pieces }, table))
    }

    /// The file it was read from.
    pub(super) fn file(&self) -> &[u8] {
        &self.file
    }

    /// The bytes and score of each token, as the file has them.
    pub(super) fn scored_pieces(&self) -> Vec<(&[u8], f32)> {
        let mut reader = Reader { bytes: &self.file, at: 4 };
        let mut piece = |&score: &f32| {
            reader.at += 4;
            let length = reader.i32("a token's length").ok()?;
            Some((reader.take(length as usize, "a token").ok()?, score))
        };
        self.scores.iter().map_while(&mut piece).collect()
    }

    /// The tokens of `text`; with `first`, preceded by the start token and a space.
    pub(super) fn encode(&self, text: &str, first: bool) -> Vec<u32> {
        let mut tokens = Vec::with_capacity(text.len() / 3 + 2);
        if first {
            tokens.push(START);
        }
        let mut chain = Chain::default();
        if first && !text.is_empty() {
            self.push_character(&mut chain, b" ");
        }
        for (start, c) in text.char_indices() {
            self.push_character(&mut chain, &text.as_bytes()[start..start + c.len_utf8()]);
        }
        self.merge(&mut chain);
        tokens.extend(chain.links.iter().filter(|link| link.alive).map(|link| link.token));
        tokens
    }

    fn push_character(&self, chain: &mut Chain, character: &[u8]) {
        match self.pieces.get(character) {
            Some(&id) => chain.push(id, character),
            None => character.iter().for_each(|&b| chain.push(FIRST_BYTE + u32::from(b), &[b])),
        }
    }

    /// Merges neighbours, best score first, until no two have a joined token.
    fn merge(&self, chain: &mut Chain) {
        let mut candidates = BinaryHeap::new();
        for left in 0..chain.links.len().saturating_sub(1) {
            candidates.extend(self.candidate(chain, left));
        }
        while let Some(best) = candidates.pop() {
            if !chain.still_holds(&best) {
                continue;
            }
            chain.join(&best);
            candidates.extend(self.candidate(chain, best.left));
            if let Some(before) = chain.links[best.left].before {
                candidates.extend(self.candidate(chain, before));
            }
        }
    }

    /// The merge of the link at `left` with its right neighbour, if their bytes have a token.
    fn candidate(&self, chain: &Chain, left: usize) -> Option<Candidate> {
        let right = chain.links[left].after?;
        // Byte tokens do not merge: their text is `<0xNN>`.
        if chain.links[left].is_byte() || chain.links[right].is_byte() {
            return None;
        }
        let joined = &chain.bytes[chain.links[left].start..chain.links[right].end];
        let token = *self.pieces.get(joined)?;
        Some(Candidate {
            score: self.scores[token as usize],
            left,
            right,
            end: chain.links[right].end,
            token,
        })
    }
}

/// The text as a doubly linked list of tokens.
#[derive(Default)]
struct Chain {
    bytes: Vec<u8>,
    links: Vec<Link>,
}

/// One token: the bytes `start..end` of the text and its neighbours.
struct Link {
    token: u32,
    start: usize,
    end: usize,
    before: Option<usize>,
    after: Option<usize>,
    alive: bool,
}

impl Link {
    fn is_byte(&self) -> bool {
        self.token < FIRST_PIECE
    }
}

impl Chain {
    fn push(&mut self, token: u32, bytes: &[u8]) {
        let index = self.links.len();
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let before = index.checked_sub(1);
        if let Some(before) = before {
            self.links[before].after = Some(index);
        }
        self.links.push(Link { token, start, end: self.bytes.len(), before, after: None, alive: true });
    }

    /// Whether `candidate` is still valid: neither neighbour was merged since.
    fn still_holds(&self, candidate: &Candidate) -> bool {
        let left = &self.links[candidate.left];
        left.alive
            && left.after == Some(candidate.right)
            && self.links[candidate.right].end == candidate.end
            && self.links[candidate.right].start == left.end
    }

    fn join(&mut self, candidate: &Candidate) {
        let after = self.links[candidate.right].after;
        self.links[candidate.right].alive = false;
        let left = &mut self.links[candidate.left];
        (left.token, left.end, left.after) = (candidate.token, candidate.end, after);
        if let Some(after) = after {
            self.links[after].before = Some(candidate.left);
        }
    }
}

/// A possible merge; the greatest is applied next.
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    end: usize,
    token: u32,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left)).then(other.end.cmp(&self.end))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// A cursor with bounds checks.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let Some(taken) = rest.get(..count) else {
            return Err(format!("it ends at byte {} in the middle of {what}", self.bytes.len()));
        };
        self.at += count;
        Ok(taken)
    }

    fn i32(&mut self, what: &str) -> Result<i32, String> {
        let mut word = [0; 4];
        word.copy_from_slice(self.take(4, what)?);
        Ok(i32::from_le_bytes(word))
    }
}
