//! Layouts of token files: bare tokens, tokens after llm.c's header, NumPy arrays, tensors in safetensors.
//!
//! llm.c: 256 i32 (mark, version, number of tokens, zeros), then the tokens; the mark 20240520 has 16-bit tokens,
//! 20240801 32-bit ones. Source: karpathy/llm.c `dev/data/data_common.py`. NumPy: `\x93NUMPY`, version, length of a
//! dictionary in Python's spelling, the dictionary, the numbers. Source: numpy `lib/format.py`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::error::TrainError;
use crate::fs::TensorFile;

const LLMC_HEADER: u64 = 1024;
const LLMC_16: i32 = 20_240_520;
const LLMC_32: i32 = 20_240_801;
const LLMC_VERSION: i32 = 1;
const NUMPY: &[u8] = b"\x93NUMPY";
/// Longest dictionary of a NumPy array that is read.
const NUMPY_HEADER: u64 = 1 << 16;

/// A file whose first bytes, at least this many, are all printable is text.
const ENOUGH: usize = 64;

/// The layout of a token file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bytes before the first token.
    pub(super) start: u64,
    /// Bytes of a token, little-endian: 1, 2, 4 or 8.
    pub(super) width: u64,
    /// Number of tokens.
    pub(super) len: u64,
    /// Whether the width is known from the file, and not assumed from the vocabulary.
    pub(super) said: bool,
}

/// Bytes per token in a bare file for a vocabulary of `vocab`.
pub(super) fn width_of(vocab: usize) -> u64 {
    if vocab > 1 << 16 { 4 } else { 2 }
}

impl Layout {
    /// The layout of a file of `bytes` bytes that is nothing but tokens of `width` bytes.
    pub(super) fn bare(path: &Path, bytes: u64, width: u64) -> Result<Self, TrainError> {
        match bytes % width {
            0 => Ok(Self { start: 0, width, len: bytes / width, said: false }),
            _ => Err(TrainError::TokenFileSize { path: path.to_owned(), bytes, width }),
        }
    }

    /// The layout of `file`; without a header, tokens have the width that `vocab` needs.
    pub(super) fn detect(path: &Path, mut file: &File, vocab: usize) -> Result<Self, TrainError> {
        let bytes = file.metadata().map_err(TrainError::io("read", path))?.len();
        let mut head = Vec::new();
        let mut read = || {
            file.seek(SeekFrom::Start(0))?;
            file.take(NUMPY_HEADER).read_to_end(&mut head)
        };
        read().map_err(TrainError::io("read", path))?;
        let layout = if head.starts_with(NUMPY) {
            numpy(&head, bytes).map(Some)
        } else if is_safetensors(&head) {
            safetensors(path).map(Some)
        } else if let Some((_, what)) = OTHERS.iter().find(|(mark, _)| head.starts_with(mark)) {
            Err(format!("it is {what}"))
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy")) {
            Err("it does not begin as a NumPy array does".to_owned())
        } else if head.len() >= ENOUGH
            && head.iter().all(|b| matches!(b, b' '..=b'~' | b'\n' | b'\r' | b'\t'))
        {
            Err("it is text: `.bin` is for tokens, rename it".to_owned())
        } else {
            llmc(&head, bytes)
        };
        match layout {
            Ok(Some(layout)) => Ok(layout),
            Ok(None) => Self::bare(path, bytes, width_of(vocab)),
            Err(problem) => Err(TrainError::TokenFormat { path: path.to_owned(), problem }),
        }
    }
}

/// Beginnings of files that hold no tokens.
const OTHERS: [(&[u8], &str); 5] = [
    (b"\x1f\x8b\x08", "packed with gzip: unpack it"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd: unpack it"),
    (b"PK\x03\x04", "an archive: unpack it"),
    (b"GGUF", "a model, for `--model`"),
    (b"PAR1", "a table of Parquet: save its tokens alone"),
];

/// Whether a file that begins with `head` says by itself that it holds tokens.
pub(super) fn says_tokens(head: &[u8]) -> bool {
    let mark = head.first_chunk().map(|word| i32::from_le_bytes(*word));
    head.starts_with(NUMPY)
        || is_safetensors(head)
        || mark.is_some_and(|mark| [LLMC_16, LLMC_32].contains(&mark))
}

/// The length of a header, then the header, which is JSON.
fn is_safetensors(head: &[u8]) -> bool {
    let Some((length, text)) = head.split_first_chunk::<8>() else { return false };
    (2..=100_000_000).contains(&u64::from_le_bytes(*length)) && text.starts_with(b"{\"")
}

/// The layout of the tensor `tokens`, or of the only one.
fn safetensors(path: &Path) -> Result<Layout, String> {
    let file = TensorFile::open(path).map_err(|e| e.to_string())?;
    let names = file.names();
    let name = match &names[..] {
        [only] => only,
        several => several
            .iter()
            .find(|name| *name == "tokens")
            .ok_or_else(|| format!("it has {} tensors, none called `tokens`", several.len()))?,
    };
    let (place, shape, format) = file.place(name).map_err(|e| e.to_string())?;
    let width = match format.as_str() {
        "U8" => 1,
        "U16" => 2,
        "I32" | "U32" => 4,
        "I64" | "U64" => 8,
        other => {
            return Err(format!("its tensor `{name}` holds {other} numbers, not U16, I32, U32, I64 or U64"));
        }
    };
    // All axes but the last have one entry.
    let (len, axes) = shape.split_last().map_or((1, shape), |(len, axes)| (*len as u64, axes));
    if axes.iter().any(|&n| n != 1) {
        return Err(format!("its tensor `{name}` has shape {shape:?}, a stream of tokens has one axis"));
    }
    Ok(Layout { start: place, width, len, said: true })
}

/// The layout after llm.c's header, if the file has one.
fn llmc(head: &[u8], bytes: u64) -> Result<Option<Layout>, String> {
    let word = |index: usize| head.as_chunks::<4>().0.get(index).map_or(0, |&word| i32::from_le_bytes(word));
    let width = match word(0) {
        LLMC_16 => 2,
        LLMC_32 => 4,
        mark if [LLMC_16, LLMC_32].contains(&mark.swap_bytes()) => {
            return Err("its header is llm.c's, in the other byte order".to_owned());
        }
        _ => return Ok(None),
    };
    if bytes < LLMC_HEADER {
        return Err(format!("its header is llm.c's, cut after {bytes} of {LLMC_HEADER} bytes"));
    }
    if word(1) != LLMC_VERSION {
        return Err(format!("its header is llm.c's of version {}, not {LLMC_VERSION}", word(1)));
    }
    let (len, has) = (u64::from(word(2) as u32), bytes - LLMC_HEADER);
    if len * width != has {
        return Err(format!(
            "its header says {len} tokens of {width} bytes, the file has {has} bytes of tokens"
        ));
    }
    Ok(Some(Layout { start: LLMC_HEADER, width, len, said: true }))
}

/// The layout of a NumPy array.
fn numpy(head: &[u8], bytes: u64) -> Result<Layout, String> {
    let cut = || "its header is cut or too long".to_owned();
    let after = NUMPY.len() + 2;
    let (length, begins) = match (head.get(NUMPY.len()), head.get(after..)) {
        (Some(1), Some(&[a, b, ..])) => (u64::from(u16::from_le_bytes([a, b])), after + 2),
        (Some(2 | 3), Some(&[a, b, c, d, ..])) => (u64::from(u32::from_le_bytes([a, b, c, d])), after + 4),
        _ => return Err(cut()),
    };
    let start = begins as u64 + length;
    let text = usize::try_from(start).ok().and_then(|end| head.get(begins..end)).ok_or_else(cut)?;
    let text = String::from_utf8_lossy(text);
    let value = |key: &str| {
        let after = text.split_once(&format!("'{key}':"))?.1.trim_start();
        Some(after.to_owned())
    };
    let descr = value("descr").ok_or_else(cut)?;
    let descr = descr.split(['\'', '"']).nth(1).unwrap_or_default();
    let width = match descr {
        "|u1" => 1,
        "<u2" => 2,
        "<u4" | "<i4" => 4,
        "<u8" | "<i8" => 8,
        other => return Err(format!("its numbers are `{other}`, not `<u2`, `<u4`, `<i4` or `<i8`")),
    };
    let shape = value("shape").ok_or_else(cut)?;
    let shape = shape.trim_start_matches('(').split(')').next().unwrap_or_default();
    let axes: Vec<&str> = shape.split(',').map(str::trim).filter(|axis| !axis.is_empty()).collect();
    let len = match axes[..] {
        [axis] => axis.parse::<u64>().map_err(|_| cut())?,
        _ => return Err(format!("its shape is ({shape}), a stream of tokens has one axis")),
    };
    let has = bytes.saturating_sub(start);
    if len.checked_mul(width) != Some(has) {
        return Err(format!(
            "its header says {len} tokens of {width} bytes, the file has {has} bytes of tokens"
        ));
    }
    Ok(Layout { start, width, len, said: true })
}
