//! GGUF's tensor types: elements and bytes per block, and decoding.
//!
//! Values equal those of ggml to the bit: products and sums in f32 in its order, without fused multiply-add.
//! Source: ggml `ggml-common.h` and `ggml-quants.c`; expectations recorded from the `gguf` Python package.

use half::{bf16, f16};

/// A tensor type that can be read.
#[derive(Clone, Copy, Debug)]
pub struct BlockFormat {
    /// Its number in tensor infos.
    pub id: u32,
    /// Its name in ggml.
    pub name: &'static str,
    /// Elements of a block.
    pub elements: usize,
    /// Bytes of a block.
    pub bytes: usize,
    /// Decodes one block: `bytes` bytes to `elements` numbers.
    pub decode: fn(&[u8], &mut [f32]),
}

/// Every type that can be read.
pub const FORMATS: [BlockFormat; 18] = [
    format(0, "F32", 1, 4, |b, y| y[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
    format(1, "F16", 1, 2, |b, y| y[0] = half_at(b, 0)),
    format(30, "BF16", 1, 2, |b, y| y[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32()),
    format(2, "Q4_0", 32, 18, |b, y| nibbles(&b[2..], y, |q| (f32::from(q) - 8.0) * half_at(b, 0))),
    format(3, "Q4_1", 32, 20, |b, y| {
        let (d, m) = (half_at(b, 0), half_at(b, 2));
        nibbles(&b[4..], y, |q| f32::from(q) * d + m);
    }),
    format(6, "Q5_0", 32, 22, |b, y| {
        let d = half_at(b, 0);
        fifths(&b[2..6], &b[6..], y, |q| (f32::from(q) - 16.0) * d);
    }),
    format(7, "Q5_1", 32, 24, |b, y| {
        let (d, m) = (half_at(b, 0), half_at(b, 2));
        fifths(&b[4..8], &b[8..], y, |q| f32::from(q) * d + m);
    }),
    format(8, "Q8_0", 32, 34, |b, y| {
        let d = half_at(b, 0);
        y.iter_mut().zip(&b[2..]).for_each(|(y, &q)| *y = signed(q) * d);
    }),
    format(10, "Q2_K", 256, 84, q2_k),
    format(11, "Q3_K", 256, 110, q3_k),
    format(12, "Q4_K", 256, 144, |b, y| q45_k(b, None, &b[16..], y)),
    format(13, "Q5_K", 256, 176, |b, y| q45_k(b, Some(&b[16..48]), &b[48..], y)),
    format(14, "Q6_K", 256, 210, q6_k),
    format(20, "IQ4_NL", 32, 18, |b, y| {
        let d = half_at(b, 0);
        nibbles(&b[2..], y, |q| d * IQ4[usize::from(q)]);
    }),
    format(23, "IQ4_XS", 256, 136, iq4_xs),
    format(39, "MXFP4", 32, 17, |b, y| {
        // The table holds doubled values, so the scale is halved: 2^(e − 128).
        let e = u32::from(b[0]);
        let d = f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 });
        nibbles(&b[1..], y, |q| MXFP4[usize::from(q)] * d);
    }),
    format(24, "I8", 1, 1, |b, y| y[0] = signed(b[0])),
    format(28, "F64", 1, 8, |b, y| {
        y[0] = f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32;
    }),
];

/// Types that ggml has and this program cannot read, for messages.
pub const UNREADABLE: [(u32, &str); 14] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (25, "I16"),
    (26, "I32"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (40, "NVFP4"),
];

/// The non-linear levels of IQ4_NL and IQ4_XS.
const IQ4: [f32; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0,
];
/// E2M1, doubled.
const MXFP4: [f32; 16] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];

const fn format(
    id: u32,
    name: &'static str,
    elements: usize,
    bytes: usize,
    decode: fn(&[u8], &mut [f32]),
) -> BlockFormat {
    BlockFormat { id, name, elements, bytes, decode }
}

impl BlockFormat {
    /// The type with number `id`.
    pub fn find(id: u32) -> Option<&'static BlockFormat> {
        FORMATS.iter().find(|f| f.id == id)
    }

    /// Bytes of `elements` numbers; `None` if they are not whole blocks or too many.
    pub fn size(&self, elements: usize) -> Option<usize> {
        match elements.is_multiple_of(self.elements) {
            true => (elements / self.elements).checked_mul(self.bytes),
            false => None,
        }
    }

    /// Decodes whole blocks.
    ///
    /// # Panics
    /// If `from` is not as long as [`BlockFormat::size`] says for `to`.
    pub fn decode_all(&self, from: &[u8], to: &mut [f32]) {
        assert_eq!(self.size(to.len()), Some(from.len()), "bytes of {} numbers as {}", to.len(), self.name);
        let blocks = from.chunks_exact(self.bytes).zip(to.chunks_exact_mut(self.elements));
        blocks.for_each(|(from, to)| (self.decode)(from, to));
    }
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

fn signed(byte: u8) -> f32 {
    f32::from(byte as i8)
}

/// Low nibbles of `from`, then high ones.
fn nibbles(from: &[u8], to: &mut [f32], value: impl Fn(u8) -> f32) {
    let (low, high) = to.split_at_mut(from.len());
    for ((low, high), byte) in low.iter_mut().zip(high).zip(from) {
        *low = value(byte & 15);
        *high = value(byte >> 4);
    }
}

/// The same with a fifth bit each: bit i of `high` belongs to element i.
fn fifths(high: &[u8], from: &[u8], to: &mut [f32], value: impl Fn(u8) -> f32) {
    let bits = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    let bit = |i: usize| ((bits >> i & 1) << 4) as u8;
    for (i, byte) in from.iter().enumerate() {
        to[i] = value(byte & 15 | bit(i));
        to[i + 16] = value(byte >> 4 | bit(i + 16));
    }
}

/// 16 bytes of scales and minima, 64 bytes of 2-bit numbers, d, dmin.
fn q2_k(b: &[u8], y: &mut [f32]) {
    let (d, min) = (half_at(b, 80), half_at(b, 82));
    for (group, y) in y.chunks_exact_mut(16).enumerate() {
        let scale = b[group];
        let (scale, least) = (d * f32::from(scale & 15), min * f32::from(scale >> 4));
        let (from, shift) = two_bits(group);
        for (i, y) in y.iter_mut().enumerate() {
            *y = scale * f32::from(b[16 + from + i] >> shift & 3) - least;
        }
    }
}

/// The position of a group of 16 2-bit numbers: first byte and shift.
///
/// Each half of 128 elements has 32 bytes; each shift by two bits gives 32 elements of them.
fn two_bits(group: usize) -> (usize, usize) {
    let (half, part) = (group / 8, group % 8);
    (32 * half + 16 * (part % 2), 2 * (part / 2))
}

/// 32 bytes of high bits, 64 bytes of 2-bit numbers, 12 bytes of 6-bit scales, d.
fn q3_k(b: &[u8], y: &mut [f32]) {
    let (d, packed) = (half_at(b, 108), &b[96..108]);
    for (group, y) in y.chunks_exact_mut(16).enumerate() {
        let low = packed[group % 8] >> (4 * (group / 8)) & 15;
        let high = packed[8 + group % 4] >> (2 * (group / 4)) & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        let (from, shift) = two_bits(group);
        for (i, y) in y.iter_mut().enumerate() {
            let high = b[from % 32 + i] >> (group / 2) & 1;
            let q = f32::from(b[32 + from + i] >> shift & 3) - if high == 0 { 4.0 } else { 0.0 };
            *y = scale * q;
        }
    }
}

/// d, dmin, 12 bytes of 6-bit scales and minima, then numbers of 4 bits, or of 5 with the fifth in `high`.
fn q45_k(b: &[u8], high: Option<&[u8]>, from: &[u8], y: &mut [f32]) {
    let (d, min, packed) = (half_at(b, 0), half_at(b, 2), &b[4..16]);
    for (group, y) in y.chunks_exact_mut(32).enumerate() {
        let (scale, least) = scale_and_min(packed, group);
        let (scale, least) = (d * f32::from(scale), min * f32::from(least));
        for (i, y) in y.iter_mut().enumerate() {
            let q = from[32 * (group / 2) + i] >> (4 * (group % 2)) & 15;
            let fifth = high.map_or(0, |high| (high[i] >> group & 1) << 4);
            *y = scale * f32::from(q | fifth) - least;
        }
    }
}

/// The 6-bit scale and minimum of a group of 32.
fn scale_and_min(packed: &[u8], group: usize) -> (u8, u8) {
    match group {
        0..4 => (packed[group] & 63, packed[group + 4] & 63),
        _ => {
            let (low, a, b) = (packed[group + 4], packed[group - 4] >> 6, packed[group] >> 6);
            (low & 15 | a << 4, low >> 4 | b << 4)
        }
    }
}

/// 128 bytes of low nibbles, 64 bytes of two high bits, 16 signed scales, d.
fn q6_k(b: &[u8], y: &mut [f32]) {
    let d = half_at(b, 208);
    for (group, y) in y.chunks_exact_mut(16).enumerate() {
        let scale = d * signed(b[192 + group]);
        // Of each half: four runs of 32 elements, the first two in low nibbles of 64 bytes, the others in high ones.
        let (half, run, side) = (group / 8, group % 8 / 2, 16 * (group % 2));
        for (i, y) in y.iter_mut().enumerate() {
            let low = b[64 * half + 32 * (run % 2) + side + i] >> (4 * (run / 2)) & 15;
            let high = b[128 + 32 * half + side + i] >> (2 * run) & 3;
            *y = scale * (f32::from(low | high << 4) - 32.0);
        }
    }
}

/// d, two high bits of each scale, their four low ones, nibbles.
fn iq4_xs(b: &[u8], y: &mut [f32]) {
    let (d, high) = (half_at(b, 0), u16::from_le_bytes([b[2], b[3]]));
    for (group, y) in y.chunks_exact_mut(32).enumerate() {
        let low = b[4 + group / 2] >> (4 * (group % 2)) & 15;
        let scale = d * (f32::from(low | ((high >> (2 * group) & 3) as u8) << 4) - 32.0);
        nibbles(&b[8 + 16 * group..][..16], y, |q| scale * IQ4[usize::from(q)]);
    }
}
