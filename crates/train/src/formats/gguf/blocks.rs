//! GGUF's tensor types: elements and bytes per block, and decoding.
//!
//! Values equal those of ggml to the bit: products and sums in f32 in its order, without fused multiply-add.
//! Source: ggml `ggml-common.h` and `ggml-quants.c`; expectations recorded from the `gguf` Python package.

use half::{bf16, f16};
use softane::quant::{Coding, QuantMatrix, RUN};

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
    content: Content,
}

/// What a block holds.
#[derive(Clone, Copy, Debug)]
enum Content {
    /// One number.
    Number(fn(&[u8]) -> f32),
    /// Codes, and scales and shifts of groups: unpacks both. Codes are zero before.
    Codes(Coding, fn(&[u8], &mut [u8], &mut [[f32; 2]])),
}

/// Every type that can be read.
pub const FORMATS: [BlockFormat; 18] = [
    number(0, "F32", 4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
    number(1, "F16", 2, |b| half_at(b, 0)),
    number(30, "BF16", 2, |b| bf16::from_le_bytes([b[0], b[1]]).to_f32()),
    codes(2, "Q4_0", [32, 18], four(levels(-8), 32), scaled),
    codes(3, "Q4_1", [32, 20], four(levels(0), 32), |b, codes, scales| {
        codes.copy_from_slice(&b[4..]);
        scales[0] = [half_at(b, 0), half_at(b, 2)];
    }),
    codes(6, "Q5_0", [32, 22], eight(32), |b, codes, scales| {
        fifths(&b[2..6], &b[6..], |i, q| codes[i] = q.wrapping_sub(16));
        scales[0] = [half_at(b, 0), NONE];
    }),
    codes(7, "Q5_1", [32, 24], eight(32), |b, codes, scales| {
        fifths(&b[4..8], &b[8..], |i, q| codes[i] = q);
        scales[0] = [half_at(b, 0), half_at(b, 2)];
    }),
    codes(8, "Q8_0", [32, 34], eight(32), scaled),
    codes(10, "Q2_K", [256, 84], four(levels(0), 16), q2_k),
    codes(11, "Q3_K", [256, 110], four(levels(-4), 16), q3_k),
    codes(12, "Q4_K", [256, 144], four(levels(0), 32), |b, codes, scales| {
        q45_k(b, &b[16..], scales, |i, q| put(codes, i, q));
    }),
    codes(13, "Q5_K", [256, 176], eight(32), |b, codes, scales| {
        q45_k(b, &b[48..], scales, |i, q| codes[i] = q | (b[16 + i % 32] >> (i / 32) & 1) << 4);
    }),
    codes(14, "Q6_K", [256, 210], eight(16), q6_k),
    codes(20, "IQ4_NL", [32, 18], four(IQ4, 32), scaled),
    codes(23, "IQ4_XS", [256, 136], four(IQ4, 32), iq4_xs),
    codes(39, "MXFP4", [32, 17], four(MXFP4, 32), |b, codes, scales| {
        codes.copy_from_slice(&b[1..]);
        // The table holds doubled values, so the scale is halved: 2^(e − 128).
        let e = u32::from(b[0]);
        scales[0] = [f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 }), NONE];
    }),
    number(24, "I8", 1, |b| signed(b[0])),
    number(28, "F64", 8, |b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32),
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

/// No shift: adding it changes no number, not even the sign of zero.
const NONE: f32 = -0.0;

const fn number(id: u32, name: &'static str, bytes: usize, of: fn(&[u8]) -> f32) -> BlockFormat {
    BlockFormat { id, name, elements: 1, bytes, content: Content::Number(of) }
}

const fn codes(
    id: u32,
    name: &'static str,
    [elements, bytes]: [usize; 2],
    coding: Coding,
    unpack: fn(&[u8], &mut [u8], &mut [[f32; 2]]),
) -> BlockFormat {
    BlockFormat { id, name, elements, bytes, content: Content::Codes(coding, unpack) }
}

const fn four(levels: [f32; 16], group: usize) -> Coding {
    Coding { levels: Some(levels), group }
}

const fn eight(group: usize) -> Coding {
    Coding { levels: None, group }
}

/// 16 whole numbers from `first` on.
const fn levels(first: i32) -> [f32; 16] {
    let (mut levels, mut i) = ([0.0; 16], 0);
    while i < 16 {
        levels[i as usize] = (first + i) as f32;
        i += 1;
    }
    levels
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

    /// Decodes whole blocks. `kept` is working memory.
    ///
    /// # Panics
    /// If `from` is not as long as [`BlockFormat::size`] says for `to`.
    pub fn decode_all(&self, from: &[u8], to: &mut [f32], kept: &mut Kept) {
        assert_eq!(self.size(to.len()), Some(from.len()), "bytes of {} numbers as {}", to.len(), self.name);
        match self.content {
            Content::Number(of) => {
                let each = from.chunks_exact(self.bytes).zip(to);
                each.for_each(|(from, to)| *to = of(from));
            }
            Content::Codes(coding, _) => {
                kept.codes.clear();
                kept.scales.clear();
                self.unpack_all(from, kept);
                coding.decode_all(&kept.codes, &kept.scales, to);
            }
        }
    }

    /// Adds the codes of whole blocks, with scales and shifts of groups, to `kept`; nothing if this type has none.
    pub fn unpack_all(&self, from: &[u8], kept: &mut Kept) {
        let Content::Codes(coding, unpack) = self.content else { return };
        let elements = from.len() / self.bytes * self.elements;
        let (code, scale) = (kept.codes.len(), kept.scales.len());
        kept.codes.resize(code + elements / RUN * coding.run_bytes(), 0);
        kept.scales.resize(scale + elements / coding.group, [0.0; 2]);
        let (codes, scales) = (&mut kept.codes[code..], &mut kept.scales[scale..]);
        let each = codes.chunks_exact_mut(self.elements / RUN * coding.run_bytes());
        let each = each.zip(scales.chunks_exact_mut(self.elements / coding.group));
        for (from, (codes, scales)) in from.chunks_exact(self.bytes).zip(each) {
            unpack(from, codes, scales);
        }
    }

    /// Whether numbers are kept as codes.
    pub fn has_codes(&self) -> bool {
        matches!(self.content, Content::Codes(..))
    }

    /// The matrix `[rows, cols]` whose codes are `kept`, if this type has codes.
    pub fn matrix(&self, shape: [usize; 2], kept: Kept) -> Option<QuantMatrix> {
        match self.content {
            Content::Number(_) => None,
            Content::Codes(coding, _) => QuantMatrix::new(coding, shape, kept.codes, kept.scales),
        }
    }
}

/// Codes of blocks, and scales and shifts of their groups.
#[derive(Debug, Default)]
pub struct Kept {
    codes: Vec<u8>,
    scales: Vec<[f32; 2]>,
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

fn signed(byte: u8) -> f32 {
    f32::from(byte as i8)
}

/// Writes the 4-bit code of element `at`; it is zero before.
fn put(codes: &mut [u8], at: usize, code: u8) {
    let (run, i) = (at / RUN, at % RUN);
    codes[run * RUN / 2 + i % 16] |= code << (4 * (i / 16));
}

/// d, then codes as they are kept.
fn scaled(b: &[u8], codes: &mut [u8], scales: &mut [[f32; 2]]) {
    codes.copy_from_slice(&b[2..]);
    scales[0] = [half_at(b, 0), NONE];
}

/// Numbers of 32 nibbles, low ones first, with a fifth bit each: bit i of `high` belongs to element i.
fn fifths(high: &[u8], from: &[u8], mut each: impl FnMut(usize, u8)) {
    let bits = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    let bit = |i: usize| ((bits >> i & 1) << 4) as u8;
    for (i, byte) in from.iter().enumerate() {
        each(i, byte & 15 | bit(i));
        each(i + 16, byte >> 4 | bit(i + 16));
    }
}

/// 16 bytes of scales and minima, 64 bytes of 2-bit numbers, d, dmin.
fn q2_k(b: &[u8], codes: &mut [u8], scales: &mut [[f32; 2]]) {
    let (d, min) = (half_at(b, 80), half_at(b, 82));
    for (group, to) in scales.iter_mut().enumerate() {
        let scale = b[group];
        *to = [d * f32::from(scale & 15), -(min * f32::from(scale >> 4))];
        let (from, shift) = two_bits(group);
        (0..16).for_each(|i| put(codes, 16 * group + i, b[16 + from + i] >> shift & 3));
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
fn q3_k(b: &[u8], codes: &mut [u8], scales: &mut [[f32; 2]]) {
    let (d, packed) = (half_at(b, 108), &b[96..108]);
    for (group, to) in scales.iter_mut().enumerate() {
        let low = packed[group % 8] >> (4 * (group / 8)) & 15;
        let high = packed[8 + group % 4] >> (2 * (group / 4)) & 3;
        *to = [d * (f32::from(low | high << 4) - 32.0), NONE];
        let (from, shift) = two_bits(group);
        for i in 0..16 {
            let high = b[from % 32 + i] >> (group / 2) & 1;
            put(codes, 16 * group + i, b[32 + from + i] >> shift & 3 | high << 2);
        }
    }
}

/// d, dmin, 12 bytes of 6-bit scales and minima; the numbers' four low bits are in `from`.
fn q45_k(b: &[u8], from: &[u8], scales: &mut [[f32; 2]], mut each: impl FnMut(usize, u8)) {
    let (d, min, packed) = (half_at(b, 0), half_at(b, 2), &b[4..16]);
    for (group, to) in scales.iter_mut().enumerate() {
        let (scale, least) = scale_and_min(packed, group);
        *to = [d * f32::from(scale), -(min * f32::from(least))];
        (0..32).for_each(|i| each(32 * group + i, from[32 * (group / 2) + i] >> (4 * (group % 2)) & 15));
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
fn q6_k(b: &[u8], codes: &mut [u8], scales: &mut [[f32; 2]]) {
    let d = half_at(b, 208);
    for (group, (codes, to)) in codes.chunks_exact_mut(16).zip(scales).enumerate() {
        *to = [d * signed(b[192 + group]), NONE];
        // Of each half: four runs of 32 elements, the first two in low nibbles of 64 bytes, the others in high ones.
        let (half, run, side) = (group / 8, group % 8 / 2, 16 * (group % 2));
        for (i, code) in codes.iter_mut().enumerate() {
            let low = b[64 * half + 32 * (run % 2) + side + i] >> (4 * (run / 2)) & 15;
            let high = b[128 + 32 * half + side + i] >> (2 * run) & 3;
            *code = (low | high << 4).wrapping_sub(32);
        }
    }
}

/// d, two high bits of each scale, their four low ones, nibbles.
fn iq4_xs(b: &[u8], codes: &mut [u8], scales: &mut [[f32; 2]]) {
    let (d, high) = (half_at(b, 0), u16::from_le_bytes([b[2], b[3]]));
    for (group, to) in scales.iter_mut().enumerate() {
        let low = b[4 + group / 2] >> (4 * (group % 2)) & 15;
        *to = [d * (f32::from(low | ((high >> (2 * group) & 3) as u8) << 4) - 32.0), NONE];
    }
    codes.copy_from_slice(&b[8..]);
}
