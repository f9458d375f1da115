//! A file of little-endian 16-bit tokens without header, read at any position.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::split::Split;
use crate::error::TrainError;

/// Tokens read at a time when the whole file is walked through.
const CHUNK: usize = 1 << 19;

/// An open token file whose tokens are all inside the vocabulary.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    file: PositionedFile,
    len: u64,
    fingerprint: u64,
}

impl TokenFile {
    /// Opens a token file and checks every token once.
    ///
    /// # Errors
    /// [`TrainError::Io`], [`TrainError::EmptyText`], [`TrainError::TokenFileSize`] for an odd number of bytes,
    /// [`TrainError::TokenOutOfRange`] for a token not below `vocab`.
    pub fn open(path: &Path, vocab: usize) -> Result<Self, TrainError> {
        let file = File::open(path).map_err(TrainError::io("read", path))?;
        let bytes = file.metadata().map_err(TrainError::io("read", path))?.len();
        if bytes == 0 {
            return Err(TrainError::EmptyText { path: path.to_owned() });
        }
        if bytes % 2 != 0 {
            return Err(TrainError::TokenFileSize { path: path.to_owned(), bytes });
        }
        let file = PositionedFile::new(file);
        let mut opened = Self { path: path.to_owned(), file, len: bytes / 2, fingerprint: 0 };
        let mut hash = Fnv::default();
        opened.walk(0..opened.len, |start, tokens| {
            for (index, &id) in tokens.iter().enumerate() {
                if id as usize >= vocab {
                    let position = start + index as u64;
                    return Err(TrainError::TokenOutOfRange { path: path.to_owned(), position, id, vocab });
                }
                hash.add(id);
            }
            Ok(())
        })?;
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
        self.len
    }

    /// A hash of all tokens, to tell whether a resumed run still trains on the same data.
    ///
    /// Source: Fowler, Noll and Vo, FNV-1a with 64 bits, over the tokens' low and high bytes.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Reads `window.len()` tokens from position `start` on.
    ///
    /// # Errors
    /// [`TrainError::TokenFileShrank`] if the file no longer reaches that far, otherwise [`TrainError::Io`].
    pub fn window(&self, start: u64, window: &mut [u32]) -> Result<(), TrainError> {
        let mut bytes = vec![0; 2 * window.len()];
        self.file.read_exact_at(&mut bytes, 2 * start).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => TrainError::TokenFileShrank {
                path: self.path.clone(),
                start,
                end: start + window.len() as u64,
            },
            _ => TrainError::Io { doing: "read", path: self.path.clone(), source },
        })?;
        for (token, pair) in window.iter_mut().zip(bytes.chunks_exact(2)) {
            *token = u32::from(u16::from_le_bytes([pair[0], pair[1]]));
        }
        Ok(())
    }

    /// How many bytes of text the tokens in `range` stand for, by each token's length
    /// ([`crate::tokenizer::Tokenizer::text_lengths`]).
    ///
    /// # Errors
    /// As [`TokenFile::window`].
    pub fn text_bytes(&self, range: Range<u64>, lengths: &[u32]) -> Result<u64, TrainError> {
        let mut total = 0;
        self.walk(range, |_, tokens| {
            let length = |&id: &u32| u64::from(lengths.get(id as usize).copied().unwrap_or(0));
            total += tokens.iter().map(length).sum::<u64>();
            Ok(())
        })?;
        Ok(total)
    }

    /// Divides the file into training and validation parts for windows of `seq` tokens and their targets.
    ///
    /// The last `fraction` of the tokens, and at least one window, is for validation; a file too short for two
    /// windows is trained on as a whole, and its last window validates.
    ///
    /// # Errors
    /// [`TrainError::TooFewTokens`] if there is not even one window.
    pub fn split(&self, seq: usize, fraction: f64) -> Result<Split, TrainError> {
        Split::new(self.len, seq, fraction).ok_or_else(|| TrainError::TooFewTokens {
            path: self.path.clone(),
            got: self.len,
            want: seq as u64 + 1,
            seq,
        })
    }

    /// Hands the tokens of `range` to `visit` chunk by chunk, each with its position.
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

/// FNV-1a over 16-bit tokens.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, token: u32) {
        for byte in (token as u16).to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// A file read at given positions, by any number of threads.
#[cfg(unix)]
#[derive(Debug)]
struct PositionedFile(File);

#[cfg(unix)]
impl PositionedFile {
    fn new(file: File) -> Self {
        Self(file)
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, bytes, offset)
    }
}

/// A file read at given positions, by one thread at a time.
#[cfg(not(unix))]
#[derive(Debug)]
struct PositionedFile(std::sync::Mutex<File>);

#[cfg(not(unix))]
impl PositionedFile {
    fn new(file: File) -> Self {
        Self(std::sync::Mutex::new(file))
    }

    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        use std::io::{Read, Seek};
        // A poisoned lock leaves only an arbitrary position, and every read seeks first.
        let mut file = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(io::SeekFrom::Start(offset))?;
        file.read_exact(bytes)
    }
}
