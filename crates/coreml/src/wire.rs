//! The encoding of protocol buffers: fields in the order in which they come.
//!
//! Source: protobuf.dev, "Encoding".

use crate::error::ModelError;

/// One field of a message.
pub struct Field<'b> {
    /// Its number in the schema.
    pub number: u32,
    /// What it holds.
    pub payload: Payload<'b>,
}

/// What a field holds.
pub enum Payload<'b> {
    /// An integer, a boolean, an enumeration.
    Varint,
    /// Four or eight bytes.
    Fixed,
    /// A message, a text, bytes, or packed numbers.
    Bytes(&'b [u8]),
}

/// The head of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number in the schema.
    pub number: u32,
    /// Bytes of the head itself, of a varint with its value.
    pub head: usize,
    /// Bytes that follow.
    pub body: u64,
    /// Whether they are a message, a text, bytes, or packed numbers.
    pub is_delimited: bool,
    is_varint: bool,
}

/// The longest head: two varints.
pub const LONGEST_HEAD: usize = 20;

/// The varint that `bytes` begin with, and how many bytes it takes.
fn varint(bytes: &[u8]) -> Result<(u64, usize), &'static str> {
    let mut value = 0u64;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        // The tenth byte holds the last bit.
        if i == 9 && byte > 1 {
            return Err("a number of more than 64 bits");
        }
        value |= u64::from(byte & 0x7F) << (7 * i);
        if byte < 0x80 {
            return Ok((value, i + 1));
        }
    }
    Err(if bytes.len() < 10 {
        "the end of the file inside a number"
    } else {
        "a number of more than 64 bits"
    })
}

/// The head of the field that `bytes` begin with.
pub fn head(bytes: &[u8]) -> Result<Head, String> {
    let (tag, length) = varint(bytes)?;
    let number = u32::try_from(tag >> 3).ok().filter(|&n| n > 0 && n < 1 << 29);
    let number = number.ok_or_else(|| "a field without a valid number".to_owned())?;
    let head = |head, body, kind| Head { number, head, body, is_delimited: kind == 2, is_varint: kind == 0 };
    match tag & 7 {
        0 => Ok(head(length + varint(&bytes[length..])?.1, 0, 0)),
        1 => Ok(head(length, 8, 1)),
        2 => {
            let (body, more) = varint(&bytes[length..])?;
            Ok(head(length + more, body, 2))
        }
        5 => Ok(head(length, 4, 5)),
        kind => Err(format!("a field of kind {kind}, which protocol buffers do not have")),
    }
}

/// The fields of a message that begins at byte `start` of the file.
pub struct Fields<'b> {
    bytes: &'b [u8],
    at: usize,
    start: u64,
}

impl<'b> Fields<'b> {
    pub fn new(bytes: &'b [u8], start: u64) -> Fields<'b> {
        Fields { bytes, at: 0, start }
    }

    /// The byte of the file at which the next field begins.
    pub fn at(&self) -> u64 {
        self.start + self.at as u64
    }

    /// The next field with the byte of the file at which its payload begins; `None` at the end.
    ///
    /// # Errors
    /// If the bytes are no field, or end before it does.
    pub fn next(&mut self) -> Result<Option<(Field<'b>, u64)>, ModelError> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let at = self.at();
        let head = head(rest).map_err(|what| ModelError::Wire { what, at })?;
        let behind = &rest[head.head..];
        let body = usize::try_from(head.body).ok().and_then(|n| behind.get(..n));
        let Some(body) = body else {
            let what =
                format!("field {} of {} bytes, of which {} are there", head.number, head.body, behind.len());
            return Err(ModelError::Wire { what, at });
        };
        let payload = match (head.is_delimited, head.is_varint) {
            (true, _) => Payload::Bytes(body),
            (_, true) => Payload::Varint,
            _ => Payload::Fixed,
        };
        self.at += head.head + body.len();
        Ok(Some((Field { number: head.number, payload }, at + head.head as u64)))
    }
}
