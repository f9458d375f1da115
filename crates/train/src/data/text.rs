//! Text files and folders, read in chunks of bounded size.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::bundled;
use crate::error::TrainError;
use crate::tokenizer::{Ends, last_cut};

/// Bytes per chunk: a batch of chunks keeps all threads busy and takes little memory.
const CHUNK: usize = 128 << 10;

/// The most bytes of a chunk of text without spaces.
const LONGEST_CHUNK: usize = 512 << 10;

/// Some editors write it at the start of UTF-8 files; it is not part of the text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One text or several: the bundled one, a file, or the `.txt` files of a folder in the order of their paths.
#[derive(Clone, Debug)]
pub struct TextSource {
    name: PathBuf,
    files: Vec<PathBuf>,
    bytes: u64,
}

/// A chunk of a document.
pub(crate) struct Chunk {
    pub(crate) text: String,
    /// Whether it contains the document's start or end.
    pub(crate) ends: Ends,
}

impl TextSource {
    /// The text that is built into the program.
    pub fn bundled() -> Self {
        Self { name: "(bundled text)".into(), files: Vec::new(), bytes: bundled().len() as u64 }
    }

    /// A text file, or every `.txt` file in a folder and its subfolders, sorted by path.
    ///
    /// # Errors
    /// [`TrainError::Io`], [`TrainError::NoTextFiles`] for a folder without any, [`TrainError::EmptyText`] if
    /// there is not one byte of text, [`TrainError::NotAFile`] for a device or a pipe.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let size = |file: &Path| match fs::metadata(file).map_err(TrainError::io("read", file))? {
            found if found.is_file() => Ok(found.len()),
            _ => Err(TrainError::NotAFile { path: file.to_owned() }),
        };
        let mut files = Vec::new();
        if path.is_dir() {
            collect(path, &mut files)?;
            files.sort();
            if files.is_empty() {
                return Err(TrainError::NoTextFiles { path: path.to_owned() });
            }
        } else {
            files.push(path.to_owned());
        }
        let bytes = files.iter().map(|file| size(file)).sum::<Result<u64, _>>()?;
        if bytes == 0 {
            return Err(TrainError::EmptyText { path: path.to_owned() });
        }
        Ok(Self { name: path.to_owned(), files, bytes })
    }

    /// The path that it was opened with.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Size of all its files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All documents in chunks, each cut before a single space between printable ASCII characters, where
    /// [`crate::tokenizer::Tokenizer::splits_at_spaces`] tokenizers cut anyway; uncut if `whole`.
    pub(crate) fn chunks(&self, whole: bool) -> Chunks<'_> {
        let documents = if self.files.is_empty() {
            vec![Document::Bundled]
        } else {
            self.files.iter().map(|path| Document::File(path)).collect()
        };
        Chunks { documents: documents.into_iter(), open: None, chunk: if whole { usize::MAX } else { CHUNK } }
    }
}

/// Adds the `.txt` files below `folder`; links to folders are not followed, so the walk ends.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), TrainError> {
    let reading = || TrainError::io("read", folder);
    for entry in fs::read_dir(folder).map_err(reading())? {
        let entry = entry.map_err(reading())?;
        let path = entry.path();
        if entry.file_type().map_err(reading())?.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("txt")) && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

enum Document<'a> {
    Bundled,
    File(&'a Path),
}

/// The chunks of all documents, in order.
pub(crate) struct Chunks<'a> {
    documents: std::vec::IntoIter<Document<'a>>,
    open: Option<OpenDocument<'a>>,
    chunk: usize,
}

/// A document while it is read.
struct OpenDocument<'a> {
    path: PathBuf,
    reader: Box<dyn Read + Send + 'a>,
    /// Bytes read and not yet returned.
    held: Vec<u8>,
    /// Offset of `held` in the document.
    offset: u64,
    /// Whether a chunk was returned.
    begun: bool,
    ended: bool,
}

impl Iterator for Chunks<'_> {
    type Item = Result<Chunk, TrainError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(document) = &mut self.open else {
                match OpenDocument::new(self.documents.next()?) {
                    Ok(document) => self.open = Some(document),
                    Err(error) => return Some(Err(error)),
                }
                continue;
            };
            let result = document.next_chunk(self.chunk).transpose();
            // After an error the rest of the document is skipped.
            if !matches!(result, Some(Ok(_))) {
                self.open = None;
            }
            if result.is_some() {
                return result;
            }
        }
    }
}

impl<'a> OpenDocument<'a> {
    fn new(document: Document<'a>) -> Result<Self, TrainError> {
        let (path, reader): (_, Box<dyn Read + Send>) = match document {
            Document::Bundled => (PathBuf::new(), Box::new(bundled().as_bytes())),
            Document::File(path) => {
                (path.to_owned(), Box::new(File::open(path).map_err(TrainError::io("read", path))?))
            }
        };
        Ok(Self { path, reader, held: Vec::new(), offset: 0, begun: false, ended: false })
    }

    /// The next chunk of at least `target` bytes, or the rest; `None` at the end.
    fn next_chunk(&mut self, target: usize) -> Result<Option<Chunk>, TrainError> {
        let mut wanted = target;
        let cut = loop {
            self.fill(wanted)?;
            if !self.begun && self.offset == 0 && self.held.starts_with(BYTE_ORDER_MARK) {
                self.held.drain(..BYTE_ORDER_MARK.len());
                self.offset = BYTE_ORDER_MARK.len() as u64;
            }
            if self.ended {
                break self.held.len();
            }
            if let Some(cut) = last_cut(&self.held) {
                break cut;
            }
            if self.held.len() >= LONGEST_CHUNK.max(target) {
                break last_character(&self.held);
            }
            wanted = self.held.len().saturating_add(target);
        };
        if cut == 0 {
            return Ok(None);
        }
        let rest = self.held.split_off(cut);
        let bytes = std::mem::replace(&mut self.held, rest);
        self.refuse_binary(&bytes)?;
        let text = String::from_utf8(bytes).map_err(|error| TrainError::NotUtf8 {
            path: self.path.clone(),
            offset: self.offset + error.utf8_error().valid_up_to() as u64,
        })?;
        let ends = Ends { first: !self.begun, last: self.held.is_empty() };
        self.begun = true;
        self.offset += cut as u64;
        Ok(Some(Chunk { text, ends }))
    }

    /// Refuses UTF-16 and bytes that do not occur in text.
    fn refuse_binary(&self, bytes: &[u8]) -> Result<(), TrainError> {
        let refused = |at: usize, utf16: bool| {
            let (path, offset) = (self.path.clone(), self.offset + at as u64);
            Err(TrainError::NotText { path, offset, byte: bytes.get(at).copied().unwrap_or(0), utf16 })
        };
        if self.offset == 0 && (bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff")) {
            return refused(0, true);
        }
        let Some(at) = bytes.iter().position(|&byte| byte == 0) else { return Ok(()) };
        // In UTF-16, Latin text has a zero in the same half of each pair and none in the other half.
        let sample = &bytes[..bytes.len().min(1024)];
        let zeros = |half: usize| sample.iter().skip(half).step_by(2).filter(|&&byte| byte == 0).count();
        let (even, odd) = (zeros(0), zeros(1));
        refused(at, even.min(odd) == 0 && 4 * even.max(odd) >= sample.len())
    }

    /// Reads until `wanted` bytes are held or the document ends.
    fn fill(&mut self, wanted: usize) -> Result<(), TrainError> {
        let missing = wanted.saturating_sub(self.held.len()) as u64;
        if !self.ended && missing > 0 {
            let got = self.reader.by_ref().take(missing).read_to_end(&mut self.held);
            self.ended = (got.map_err(TrainError::io("read", &self.path))? as u64) < missing;
        }
        Ok(())
    }
}

/// The offset of the last character.
fn last_character(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|b| b & 0xc0 != 0x80).filter(|&at| at > 0).unwrap_or(bytes.len())
}
