//! The header of a GGUF file: keys with values, and the position of each tensor. Versions 2 and 3, little endian.
//!
//! Input is untrusted: each count is compared with the remaining bytes before memory is allocated.
//! Source: ggml `docs/gguf.md`.

use super::blocks::{BlockFormat, UNREADABLE};
use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read};

/// The most bytes of a header: the largest vocabularies with their merges and a `tokenizer.json` take half of it.
const LARGEST: u64 = 64 << 20;
/// The most entries of all arrays: in memory they are larger than in the file. The largest vocabularies need half of them.
const MOST_ENTRIES: u64 = 1 << 21;
/// The most tensors and the most keys.
const MOST: u64 = 1 << 16;

/// A parsed header.
#[derive(Debug)]
pub struct Header {
    /// The keys, in the order of the file.
    pub keys: Vec<(String, MetadataValue)>,
    /// The tensors.
    pub tensors: Vec<TensorInfo>,
    /// Offset of the tensors' data in the file.
    pub data: u64,
}

/// The value of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataValue {
    /// Any integer type.
    Int(i128),
    /// Either float type.
    Float(f64),
    /// A bool.
    Bool(bool),
    /// A text.
    Str(String),
    /// An array of integers or bools.
    Ints(Vec<i64>),
    /// An array of floats.
    Floats(Vec<f64>),
    /// An array of texts.
    Strs(Vec<String>),
}

impl fmt::Display for MetadataValue {
    /// Lists by their kind alone; texts cut short.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MetadataValue::Int(n) => write!(f, "{n}"),
            MetadataValue::Float(x) => write!(f, "{x}"),
            MetadataValue::Bool(b) => write!(f, "{b}"),
            MetadataValue::Str(text) => write!(f, "\"{}\"", printable(text)),
            MetadataValue::Ints(_) => f.write_str("a list of integers"),
            MetadataValue::Floats(_) => f.write_str("a list of floats"),
            MetadataValue::Strs(_) => f.write_str("a list of texts"),
        }
    }
}

/// A text of the file as it can be shown: control characters escaped, and at most 60 characters of it.
pub fn printable(text: &str) -> String {
    let mut shown: String = text.chars().take(60).flat_map(|c| c.escape_debug()).collect();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

/// A tensor of the file.
#[derive(Debug)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its axes, slowest first, as PyTorch has them.
    pub shape: Vec<usize>,
    /// The format of its blocks.
    pub format: &'static BlockFormat,
    /// The number of its file among the parts of a model.
    pub part: usize,
    /// Its first byte in the file.
    pub start: u64,
    /// Its bytes.
    pub bytes: usize,
}

/// An invalid or unsupported header.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    #[error("it does not begin with `GGUF`")]
    Magic,
    #[error("its byte order is big-endian; only little-endian files can be read")]
    BigEndian,
    #[error("its version is {got}; versions 2 and 3 can be read")]
    Version { got: u32 },
    #[error("it ends within {what}")]
    Cut { what: &'static str },
    #[error("its header is larger than {} MiB", LARGEST >> 20)]
    Large,
    #[error("{what} has {got} entries; at most {most} can be read")]
    Count { what: String, got: u64, most: u64 },
    #[error("{what} is not UTF-8")]
    Utf8 { what: String },
    #[error("key `{key}` has a value of type {got}, which is not one of GGUF's")]
    ValueType { key: String, got: u32 },
    #[error("key `{key}` is an array of arrays, which cannot be read")]
    Nested { key: String },
    #[error("`{name}` occurs twice")]
    Twice { name: String },
    #[error("`general.alignment` is {got}, not a power of two from 1 to 65536")]
    Alignment { got: String },
    #[error("tensor `{name}` has {got} axes; 1 to 4 are possible")]
    Axes { name: String, got: u32 },
    #[error("tensor `{name}` is stored as {got}, which cannot be read")]
    Format { name: String, got: String },
    #[error("tensor `{name}` has rows of {row} numbers, which are not whole blocks of {format} ({block})")]
    Row { name: String, row: u64, format: &'static str, block: usize },
    #[error("tensor `{name}` reaches to byte {end} of a file of {len}")]
    Outside { name: String, end: u128, len: u64 },
    #[error("tensor `{name}` begins at byte {start} of the data, which is not a multiple of {alignment}")]
    Unaligned { name: String, start: u64, alignment: u64 },
    #[error("tensors `{first}` and `{second}` overlap")]
    Overlap { first: String, second: String },
    #[error(transparent)]
    Read(#[from] io::Error),
}

impl HeaderError {
    /// Whether the file may be whole, and this program cannot read its kind.
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self,
            Self::BigEndian | Self::Version { .. } | Self::Nested { .. } | Self::Format { .. } | Self::Large
        )
    }
}

impl Header {
    /// Parses the header of a file of `len` bytes.
    ///
    /// # Errors
    /// The first problem.
    pub fn read(from: impl Read, len: u64) -> Result<Header, HeaderError> {
        let mut r = Reader { from, at: 0, len, entries: 0 };
        if r.take::<4>("its magic number").map_err(|_| HeaderError::Magic)? != *b"GGUF" {
            return Err(HeaderError::Magic);
        }
        match r.u32("its version")? {
            2 | 3 => {}
            got if matches!(got.swap_bytes(), 1..=3) => return Err(HeaderError::BigEndian),
            got => return Err(HeaderError::Version { got }),
        }
        let (tensors, keys) = (r.u64("its counts")?, r.u64("its counts")?);
        // The smallest key: a length, a type and a value of one byte; the smallest tensor: a length, an axis, a type, an offset.
        let (tensors, keys) = (
            r.count("the list of tensors", tensors, 32, MOST)?,
            r.count("the list of keys", keys, 13, MOST)?,
        );
        let mut header = Header { keys: Vec::with_capacity(keys), tensors: Vec::new(), data: 0 };
        let mut names = HashSet::new();
        for _ in 0..keys {
            let key = r.text(|| "the name of a key".to_owned())?;
            let kind = r.u32("the type of a key")?;
            let value = r.value(&key, kind)?;
            if !names.insert(key.clone()) {
                return Err(HeaderError::Twice { name: printable(&key) });
            }
            header.keys.push((key, value));
        }
        let alignment = header.alignment()?;
        let infos = (0..tensors).map(|_| r.tensor()).collect::<Result<Vec<_>, _>>()?;
        header.data = r.at.next_multiple_of(alignment);
        header.place(infos, alignment, len)?;
        Ok(header)
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&MetadataValue> {
        self.keys.iter().find(|(k, _)| k == key).map(|(_, value)| value)
    }

    /// The tensor called `name`.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.iter().find(|t| t.name == name)
    }

    fn alignment(&self) -> Result<u64, HeaderError> {
        match self.get("general.alignment") {
            None => Ok(32),
            Some(MetadataValue::Int(n @ 1..=65536)) if n.count_ones() == 1 => Ok(*n as u64),
            Some(value) => Err(HeaderError::Alignment { got: value.to_string() }),
        }
    }

    /// Checks that every tensor consists of whole blocks inside the file, has a unique name, and does not overlap another.
    fn place(&mut self, infos: Vec<Info>, alignment: u64, len: u64) -> Result<(), HeaderError> {
        let mut names = HashSet::new();
        for Info { name, shape, format: id, offset } in infos {
            // Messages show it; a tensor of such a name is none of a model's.
            let name = printable(&name);
            if !names.insert(name.clone()) {
                return Err(HeaderError::Twice { name });
            }
            let Some(format) = BlockFormat::find(id) else {
                let known = UNREADABLE.iter().find(|(n, _)| *n == id);
                let got = known.map_or_else(|| format!("type {id}"), |(_, name)| (*name).to_owned());
                return Err(HeaderError::Format { name, got });
            };
            let row = shape.last().copied().unwrap_or(1);
            if !row.is_multiple_of(format.elements as u64) {
                return Err(HeaderError::Row { name, row, format: format.name, block: format.elements });
            }
            if !offset.is_multiple_of(alignment) {
                return Err(HeaderError::Unaligned { name, start: offset, alignment });
            }
            let elements: u128 =
                shape.iter().try_fold(1u128, |n, &axis| n.checked_mul(u128::from(axis))).unwrap_or(u128::MAX);
            let bytes = (elements / format.elements as u128).saturating_mul(format.bytes as u128);
            let end = (u128::from(self.data) + u128::from(offset)).saturating_add(bytes);
            if end > u128::from(len) {
                return Err(HeaderError::Outside { name, end, len });
            }
            let shape = shape.iter().map(|&n| n as usize).collect();
            self.tensors.push(TensorInfo {
                name,
                shape,
                format,
                part: 0,
                start: self.data + offset,
                bytes: bytes as usize,
            });
        }
        let mut order: Vec<&TensorInfo> = self.tensors.iter().filter(|t| t.bytes > 0).collect();
        order.sort_by_key(|t| t.start);
        match order.windows(2).find(|pair| pair[0].start + pair[0].bytes as u64 > pair[1].start) {
            Some(pair) => {
                Err(HeaderError::Overlap { first: pair[0].name.clone(), second: pair[1].name.clone() })
            }
            None => Ok(()),
        }
    }
}

/// The decimal number of an f32: 1e-5 instead of the nearest f32 to it.
pub(super) fn decimal(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// A tensor's entry.
struct Info {
    name: String,
    /// Slowest axis first.
    shape: Vec<u64>,
    format: u32,
    offset: u64,
}

struct Reader<R> {
    from: R,
    at: u64,
    len: u64,
    /// Entries of the arrays so far.
    entries: u64,
}

impl<R: Read> Reader<R> {
    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], HeaderError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    fn fill(&mut self, to: &mut [u8], what: &'static str) -> Result<(), HeaderError> {
        self.at = self.at.saturating_add(to.len() as u64);
        if self.at > self.len {
            return Err(HeaderError::Cut { what });
        }
        if self.at > LARGEST {
            return Err(HeaderError::Large);
        }
        self.from.read_exact(to).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => HeaderError::Cut { what },
            _ => HeaderError::Read(e),
        })
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, HeaderError> {
        Ok(u32::from_le_bytes(self.take(what)?))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, HeaderError> {
        Ok(u64::from_le_bytes(self.take(what)?))
    }

    /// Checks a count of items of at least `each` bytes.
    fn count(&self, what: &str, got: u64, each: u64, most: u64) -> Result<usize, HeaderError> {
        let most = most.min((self.len - self.at) / each);
        match usize::try_from(got) {
            Ok(n) if got <= most => Ok(n),
            _ => Err(HeaderError::Count { what: what.to_owned(), got, most }),
        }
    }

    fn text(&mut self, what: impl Fn() -> String) -> Result<String, HeaderError> {
        let length = self.u64("the length of a text")?;
        let left = self.len - self.at;
        if length > left {
            return Err(HeaderError::Cut { what: "a text" });
        }
        if length > LARGEST {
            return Err(HeaderError::Large);
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes, "a text")?;
        String::from_utf8(bytes).map_err(|_| HeaderError::Utf8 { what: what() })
    }

    fn value(&mut self, key: &str, kind: u32) -> Result<MetadataValue, HeaderError> {
        match kind {
            8 => Ok(MetadataValue::Str(self.text(|| format!("the value of `{}`", printable(key)))?)),
            9 => self.array(key),
            _ => self.scalar(key, kind),
        }
    }

    fn scalar(&mut self, key: &str, kind: u32) -> Result<MetadataValue, HeaderError> {
        const WHAT: &str = "the value of a key";
        Ok(match kind {
            0 => MetadataValue::Int(u8::from_le_bytes(self.take(WHAT)?).into()),
            1 => MetadataValue::Int(i8::from_le_bytes(self.take(WHAT)?).into()),
            2 => MetadataValue::Int(u16::from_le_bytes(self.take(WHAT)?).into()),
            3 => MetadataValue::Int(i16::from_le_bytes(self.take(WHAT)?).into()),
            4 => MetadataValue::Int(u32::from_le_bytes(self.take(WHAT)?).into()),
            5 => MetadataValue::Int(i32::from_le_bytes(self.take(WHAT)?).into()),
            6 => MetadataValue::Float(decimal(f32::from_le_bytes(self.take(WHAT)?))),
            7 => MetadataValue::Bool(self.take::<1>(WHAT)? != [0]),
            10 => MetadataValue::Int(u64::from_le_bytes(self.take(WHAT)?).into()),
            11 => MetadataValue::Int(i64::from_le_bytes(self.take(WHAT)?).into()),
            12 => MetadataValue::Float(f64::from_le_bytes(self.take(WHAT)?)),
            got => return Err(HeaderError::ValueType { key: printable(key), got }),
        })
    }

    fn array(&mut self, key: &str) -> Result<MetadataValue, HeaderError> {
        let kind = self.u32("the type of an array")?;
        let count = self.u64("the length of an array")?;
        let each = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => return Err(HeaderError::Nested { key: printable(key) }),
            got => return Err(HeaderError::ValueType { key: printable(key), got }),
        };
        let most = MOST_ENTRIES.saturating_sub(self.entries);
        let count = self.count(&format!("`{}`", printable(key)), count, each, most)?;
        self.entries += count as u64;
        match kind {
            8 => {
                let text = |_| self.text(|| format!("an entry of `{}`", printable(key)));
                Ok(MetadataValue::Strs((0..count).map(text).collect::<Result<_, _>>()?))
            }
            6 | 12 => {
                let floats = (0..count).map(|_| match self.scalar(key, kind)? {
                    MetadataValue::Float(x) => Ok(x),
                    _ => Err(HeaderError::ValueType { key: printable(key), got: kind }),
                });
                Ok(MetadataValue::Floats(floats.collect::<Result<_, HeaderError>>()?))
            }
            _ => {
                let ints = (0..count).map(|_| match self.scalar(key, kind)? {
                    // ggml's arrays have no larger integers.
                    MetadataValue::Int(n) => Ok(i64::try_from(n).unwrap_or(i64::MAX)),
                    MetadataValue::Bool(b) => Ok(b.into()),
                    _ => Err(HeaderError::ValueType { key: printable(key), got: kind }),
                });
                Ok(MetadataValue::Ints(ints.collect::<Result<_, HeaderError>>()?))
            }
        }
    }

    fn tensor(&mut self) -> Result<Info, HeaderError> {
        let name = self.text(|| "the name of a tensor".to_owned())?;
        let axes = self.u32("the shape of a tensor")?;
        if !(1..=4).contains(&axes) {
            return Err(HeaderError::Axes { name: printable(&name), got: axes });
        }
        let mut shape =
            (0..axes).map(|_| self.u64("the shape of a tensor")).collect::<Result<Vec<_>, _>>()?;
        shape.reverse();
        let (format, offset) = (self.u32("the type of a tensor")?, self.u64("the place of a tensor")?);
        Ok(Info { name, shape, format, offset })
    }
}
