//! Encoding of numbers in ggml's formats, to the bits of ggml.
//!
//! Source: ggml `ggml-quants.c`, `quantize_row_q8_0_ref` and `quantize_row_q4_0_ref`; expectations recorded from the `gguf`
//! Python package.

use half::f16;

use super::super::weight_type::WeightType;
use crate::fs::float_bytes;

/// Numbers of a block of either quantised format.
pub const BLOCK: usize = 32;

impl WeightType {
    /// Its number in tensor infos.
    pub(super) fn ggml_id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::BF16 => 30,
            Self::Q8_0 => 8,
            Self::Q4_0 => 2,
        }
    }

    /// The value of `general.file_type`.
    pub(super) fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::BF16 => 32,
            Self::Q8_0 => 7,
            Self::Q4_0 => 2,
        }
    }
}

/// Appends `numbers` as `kind`. Blocks need a multiple of [`BLOCK`] numbers; a rest is left out.
pub fn encode(kind: WeightType, numbers: &[f32], bytes: &mut Vec<u8>) {
    let blocks = numbers.as_chunks::<BLOCK>().0;
    match (kind, kind.float()) {
        (_, Some(float)) => float_bytes(numbers, float, bytes),
        (WeightType::Q4_0, _) => blocks.iter().for_each(|block| q4_0(block, bytes)),
        _ => blocks.iter().for_each(|block| q8_0(block, bytes)),
    }
}

/// f16 d, then 32 signed bytes q: d is the largest magnitude over 127, q the nearest to x/d, ties away from zero.
fn q8_0(block: &[f32; BLOCK], bytes: &mut Vec<u8>) {
    let largest = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    let (d, inverse) = scale(largest / 127.0);
    bytes.extend(d.to_le_bytes());
    bytes.extend(block.iter().map(|x| (x * inverse).round() as i8 as u8));
}

/// f16 d, then 32 nibbles, low ones first: the number of largest magnitude becomes −8.
fn q4_0(block: &[f32; BLOCK], bytes: &mut Vec<u8>) {
    // The first of equal magnitudes.
    let largest = block.iter().fold(0.0f32, |m, &x| if x.abs() > m.abs() { x } else { m });
    let (d, inverse) = scale(largest / -8.0);
    bytes.extend(d.to_le_bytes());
    let nibble = |x: f32| ((x * inverse + 8.5) as u8).min(15);
    let (low, high) = block.split_at(BLOCK / 2);
    bytes.extend(low.iter().zip(high).map(|(&low, &high)| nibble(low) | nibble(high) << 4));
}

/// A block's scale as it is stored, and the factor of its numbers.
fn scale(d: f32) -> (f16, f32) {
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    // A scale below 2⁻¹²⁸ is stored as 0.
    (f16::from_f32(d), if inverse.is_finite() { inverse } else { 0.0 })
}
