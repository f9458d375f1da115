//! A file of little-endian tokens, read at any position.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::split::Split;
use super::token_layout::Layout;
use crate::error::TrainError;
use crate::fs::SteadyFile;

/// Tokens read at a time when the whole file is walked through.
const CHUNK: usize = 1 << 19;

/// An open token file; all its tokens are in the vocabulary.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    file: SteadyFile,
    layout: Layout,
    fingerprint: u64,
}

/// The fewest tokens from which a wrong width is detected.
const ENOUGH: u64 = 16;

/// Larger than any vocabulary: such a token is a pair of 16-bit tokens.
const TOO_LARGE: u32 = 1 << 24;

/// More than the upper half of a 32-bit token of any vocabulary.
const SMALL: u32 = 64;

impl TokenFile {
    /// Opens a token file and checks every token once: a NumPy array of one axis, a tensor in safetensors, tokens behind llm.c's header, or
    /// tokens alone, of 16 bits if the vocabulary has at most 65536 tokens, else of 32.
    ///
    /// # Errors
    /// [`TrainError::Io`], [`TrainError::EmptyText`], [`TrainError::TokenFileSize`] for a part of a token at the end,
    /// [`TrainError::TokenFormat`] for a header that is not understood, [`TrainError::TokensOfOther`] for a token
    /// not below `vocab`, [`TrainError::TokenWidth`] if tokens are likely of another width.
    pub fn open(path: &Path, vocab: usize) -> Result<Self, TrainError> {
        Self::open_as(path, vocab, |file| Layout::detect(path, file, vocab))
    }

    /// Opens a file of `count` tokens without a header, which tells how wide they are; otherwise as
    /// [`TokenFile::open`].
    ///
    /// # Errors
    /// As [`TokenFile::open`].
    pub(crate) fn open_counted(path: &Path, vocab: usize, count: u64) -> Result<Self, TrainError> {
        Self::open_as(path, vocab, |file| {
            let bytes = file.metadata().map_err(TrainError::io("read", path))?.len();
            let width = if count.checked_mul(4) == Some(bytes) { 4 } else { 2 };
            Ok(Layout { said: true, ..Layout::bare(path, bytes, width)? })
        })
    }

    fn open_as(
        path: &Path,
        vocab: usize,
        layout: impl FnOnce(&File) -> Result<Layout, TrainError>,
    ) -> Result<Self, TrainError> {
        let file = File::open(path).map_err(TrainError::io("read", path))?;
        let layout = layout(&file)?;
        if layout.len == 0 {
            return Err(TrainError::EmptyText { path: path.to_owned() });
        }
        let bytes = file.metadata().map_err(TrainError::io("read", path))?.len();
        let file = SteadyFile::new(file, bytes);
        let mut opened = Self { path: path.to_owned(), file, layout, fingerprint: 0 };
        let mut hash = Fnv::default();
        let bare = |width: u64| layout.width == width && !layout.said;
        // Of tokens at even and at odd positions: all of their bits, and the largest.
        let (mut bits, mut largest) = ([0, 0], [0, 0]);
        let mut outside = None;
        opened.walk(0..layout.len, |start, tokens| {
            for (position, &id) in (start..).zip(tokens) {
                if bare(4) && id >= TOO_LARGE && id as usize >= vocab {
                    return Err(TrainError::TokenWidth {
                        path: path.to_owned(),
                        bits: 32,
                        likely: 16,
                        vocab,
                    });
                }
                if id as usize >= vocab && outside.is_none() {
                    outside = Some((position, id));
                }
                let half = (position % 2) as usize;
                bits[half] |= id;
                largest[half] = id.max(largest[half]);
                hash.add(id, layout.width);
            }
            Ok(())
        })?;
        if let Some((position, id)) = outside {
            // The upper halves of 32-bit tokens are small.
            let reason = if bare(2) && layout.len >= ENOUGH && largest[1] < SMALL && largest[0] >= SMALL {
                "it looks like 32-bit tokens of a larger vocabulary".to_owned()
            } else {
                let largest = largest[0].max(largest[1]);
                let least = u64::from(largest) + 1;
                format!(
                    "the largest is {largest}, so the tokenizer that made them has at least {least} tokens"
                )
            };
            return Err(TrainError::TokensOfOther { path: path.to_owned(), position, id, vocab, reason });
        }
        if bare(2) && layout.len >= ENOUGH && bits[1] == 0 && bits[0] != 0 {
            return Err(TrainError::TokenWidth { path: path.to_owned(), bits: 16, likely: 32, vocab });
        }
        opened.fingerprint = hash.0;
        Ok(opened)
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of tokens; never 0.
    #[expect(clippy::len_without_is_empty, reason = "an empty token file cannot be opened")]
    pub fn len(&self) -> u64 {
        self.layout.len
    }

    /// A hash of all tokens, to check that a resumed run trains on the same data.
    ///
    /// Source: Fowler, Noll and Vo, FNV-1a with 64 bits, over the tokens' bytes, two or four of each.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Reads `window.len()` tokens from position `start` on.
    ///
    /// # Errors
    /// [`TrainError::TokenFileShrank`] if the file has become shorter, [`TrainError::TokenFileChanged`] if its
    /// tokens have changed, otherwise [`TrainError::Io`].
    pub fn window(&self, start: u64, window: &mut [u32]) -> Result<(), TrainError> {
        let Layout { start: begins, width, .. } = self.layout;
        let mut bytes = vec![0; width as usize * window.len()];
        let (path, end) = (|| self.path.clone(), start + window.len() as u64);
        self.file.read_exact_at(&mut bytes, begins + width * start).map_err(|source| {
            match source.kind() {
                io::ErrorKind::UnexpectedEof => TrainError::TokenFileShrank { path: path(), start, end },
                io::ErrorKind::InvalidData => TrainError::TokenFileChanged { path: path(), start, end },
                _ => TrainError::Io { doing: "read", path: path(), source },
            }
        })?;
        match width {
            1 => convert(&bytes, window, |[b]: [u8; 1]| u32::from(b)),
            2 => convert(&bytes, window, |b| u32::from(u16::from_le_bytes(b))),
            4 => convert(&bytes, window, u32::from_le_bytes),
            // A token above 32 bits is outside every vocabulary.
            _ => convert(&bytes, window, |b| u32::try_from(u64::from_le_bytes(b)).unwrap_or(u32::MAX)),
        }
        Ok(())
    }

    /// Divides the file into training and validation parts for windows of `seq` tokens and their targets.
    ///
    /// The last `fraction` of the tokens, and at least one window, is for validation; a file too short for two
    /// windows is trained on as a whole, and its last window validates.
    ///
    /// # Errors
    /// [`TrainError::TooFewTokens`] if there is not even one window.
    pub fn split(&self, seq: usize, fraction: f64) -> Result<Split, TrainError> {
        Split::new(self.layout.len, seq, fraction).ok_or_else(|| TrainError::TooFewTokens {
            path: self.path.clone(),
            got: self.layout.len,
            want: seq as u64 + 1,
            seq,
        })
    }

    /// Calls `visit` with the tokens of `range`, chunk by chunk, and the position of each chunk.
    fn walk(
        &self,
        range: Range<u64>,
        mut visit: impl FnMut(u64, &[u32]) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let mut chunk = vec![0; CHUNK];
        let mut start = range.start;
        while start < range.end {
            let count = (range.end - start).min(CHUNK as u64) as usize;
            self.window(start, &mut chunk[..count])?;
            visit(start, &chunk[..count])?;
            start += count as u64;
        }
        Ok(())
    }
}

/// Widens little-endian numbers of `N` bytes.
fn convert<const N: usize>(bytes: &[u8], tokens: &mut [u32], number: impl Fn([u8; N]) -> u32) {
    for (token, &raw) in tokens.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *token = number(raw);
    }
}

/// FNV-1a over tokens of 16 bits, or of 32 where their file has wider ones.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, token: u32, width: u64) {
        let bytes = token.to_le_bytes();
        for &byte in if width > 2 { &bytes[..] } else { &bytes[..2] } {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
