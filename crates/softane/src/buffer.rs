//! Buffers: aligned words viewed as elements of one type.

use crate::quant::QuantMatrix;
use half::f16;
use mil::DType;
use std::ops::Range;

/// Buffers begin at multiples of this many bytes: a cache line, and the widest vector register.
pub(crate) const ALIGN: usize = 64;

/// Zeroed memory that begins at a multiple of 64 bytes.
#[derive(Debug, Default)]
pub struct Buffer {
    words: Vec<u32>,
    start: usize,
    bytes: usize,
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        let mut copy = Buffer::zeroed(self.bytes);
        copy.bytes_mut().copy_from_slice(self.bytes());
        copy
    }
}

impl Buffer {
    /// `bytes` zero bytes.
    pub fn zeroed(bytes: usize) -> Buffer {
        let words = vec![0; bytes.div_ceil(4) + ALIGN / 4];
        let over = words.as_ptr().addr() % ALIGN;
        let start = if over == 0 { 0 } else { (ALIGN - over) / 4 };
        Buffer { words, start, bytes }
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words[self.start..])[..self.bytes]
    }

    /// Its words as f32.
    pub(crate) fn f32s(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.words[self.start..])[..self.bytes / 4]
    }

    /// Its words as f32, to write.
    pub(crate) fn f32s_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.words[self.start..])[..self.bytes / 4]
    }

    /// Its bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words[self.start..])[..self.bytes]
    }
}

/// What a caller has got wrong who reads quantised elements one by one.
const QUANTISED: &str = "quantised elements are read by products only";

/// Elements to read.
#[derive(Clone, Copy, Debug)]
pub enum Slice<'a> {
    /// Half precision.
    F16(&'a [f16]),
    /// Single precision.
    F32(&'a [f32]),
    /// Half precision, kept in fewer bits. Only an input of a program may be this.
    Quant(&'a QuantMatrix),
    /// Anything else, as bytes.
    Other(DType, &'a [u8]),
}

impl<'a> Slice<'a> {
    /// Sees `bytes` as elements of `dtype`; trailing bytes that make no element are left out.
    ///
    /// # Panics
    /// If `bytes` does not begin at a multiple of the element's size.
    pub fn of(dtype: DType, bytes: &'a [u8]) -> Slice<'a> {
        match dtype {
            DType::F16 => Slice::F16(bytemuck::cast_slice(&bytes[..bytes.len() & !1])),
            DType::F32 => Slice::F32(bytemuck::cast_slice(&bytes[..bytes.len() & !3])),
            other => Slice::Other(other, bytes),
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Slice::F16(_) | Slice::Quant(_) => DType::F16,
            Slice::F32(_) => DType::F32,
            Slice::Other(d, _) => *d,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Slice::F16(v) => v.len(),
            Slice::F32(v) => v.len(),
            Slice::Quant(matrix) => matrix.elements(),
            Slice::Other(d, v) => v.len() / d.size().unwrap_or(1),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `elements` elements from `start` on.
    ///
    /// # Panics
    /// If they are quantised.
    pub(crate) fn from(&self, start: usize, elements: usize) -> Slice<'a> {
        match *self {
            Slice::F16(v) => Slice::F16(&v[start..start + elements]),
            Slice::F32(v) => Slice::F32(&v[start..start + elements]),
            Slice::Other(d, v) => {
                // Strings have no bytes here.
                let size = d.size().unwrap_or(0);
                Slice::Other(d, &v[start * size..(start + elements) * size])
            }
            Slice::Quant(_) => panic!("{QUANTISED}"),
        }
    }

    /// The same elements, if they are of a type that kernels compute with, each in its place.
    pub fn floats(self) -> Option<Elements<'a>> {
        match self {
            Slice::F16(data) => Some(Elements::F16(data)),
            Slice::F32(data) => Some(Elements::F32(data)),
            Slice::Quant(_) | Slice::Other(..) => None,
        }
    }

    /// Their bytes.
    ///
    /// # Panics
    /// If they are quantised.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        match self {
            Slice::F16(v) => bytemuck::cast_slice(v),
            Slice::F32(v) => bytemuck::cast_slice(v),
            Slice::Other(_, v) => v,
            Slice::Quant(_) => panic!("{QUANTISED}"),
        }
    }
}

/// Elements to read of a type that kernels compute with.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    /// Half precision.
    F16(&'a [f16]),
    /// Single precision.
    F32(&'a [f32]),
}

impl<'a> Elements<'a> {
    /// The elements of `range`.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Elements<'a> {
        match self {
            Elements::F16(v) => Elements::F16(&v[range]),
            Elements::F32(v) => Elements::F32(&v[range]),
        }
    }

    pub(crate) fn get(&self, at: usize) -> f32 {
        match self {
            Elements::F16(v) => v[at].to_f32(),
            Elements::F32(v) => v[at],
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Elements::F16(v) => v.len(),
            Elements::F32(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a [f32]> for Elements<'a> {
    fn from(data: &'a [f32]) -> Self {
        Elements::F32(data)
    }
}

impl<'a> From<&'a [f16]> for Elements<'a> {
    fn from(data: &'a [f16]) -> Self {
        Elements::F16(data)
    }
}

/// Elements to write.
#[derive(Debug)]
pub enum SliceMut<'a> {
    /// Half precision.
    F16(&'a mut [f16]),
    /// Single precision.
    F32(&'a mut [f32]),
    /// Anything else, as bytes.
    Other(DType, &'a mut [u8]),
}

impl<'a> SliceMut<'a> {
    /// Sees `bytes` as elements of `dtype`; trailing bytes that make no element are left out.
    ///
    /// # Panics
    /// If `bytes` does not begin at a multiple of the element's size.
    pub fn of(dtype: DType, bytes: &'a mut [u8]) -> SliceMut<'a> {
        let len = bytes.len();
        match dtype {
            DType::F16 => SliceMut::F16(bytemuck::cast_slice_mut(&mut bytes[..len & !1])),
            DType::F32 => SliceMut::F32(bytemuck::cast_slice_mut(&mut bytes[..len & !3])),
            other => SliceMut::Other(other, bytes),
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            SliceMut::F16(_) => DType::F16,
            SliceMut::F32(_) => DType::F32,
            SliceMut::Other(d, _) => *d,
        }
    }

    /// Bytes of one element.
    pub(crate) fn element(&self) -> usize {
        self.dtype().size().unwrap_or(1)
    }

    /// The same elements, to read.
    pub fn as_slice(&self) -> Slice<'_> {
        match self {
            SliceMut::F16(v) => Slice::F16(v),
            SliceMut::F32(v) => Slice::F32(v),
            SliceMut::Other(d, v) => Slice::Other(*d, v),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            SliceMut::F16(v) => bytemuck::cast_slice(v),
            SliceMut::F32(v) => bytemuck::cast_slice(v),
            SliceMut::Other(_, v) => v,
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            SliceMut::F16(v) => bytemuck::cast_slice_mut(v),
            SliceMut::F32(v) => bytemuck::cast_slice_mut(v),
            SliceMut::Other(_, v) => v,
        }
    }
}
