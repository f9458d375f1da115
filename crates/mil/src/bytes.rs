//! Little-endian encodings of elements: in memory, and in blobs, where elements of less than a byte are packed.

use crate::tensor::Data;
use crate::ty::DType;
use half::{bf16, f16};

/// The elements in memory: each takes [`DType::size`] bytes. Floats are rounded to `dtype`; strings have no bytes.
pub fn to_memory(dtype: DType, data: &Data) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() * dtype.size().unwrap_or(0));
    match data {
        Data::Float(v) => v.iter().for_each(|&x| push_float(&mut out, dtype, x)),
        Data::Int(v) => {
            // The low bytes of an integer in range are that integer in fewer bytes.
            let size = dtype.size().unwrap_or(0);
            v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()[..size]));
        }
        Data::Bool(v) => out.extend(v.iter().map(|&x| u8::from(x))),
        Data::Str(_) => {}
    }
    out
}

/// The elements that [`to_memory`] wrote; bytes that make no element are left out.
pub fn from_memory(dtype: DType, bytes: &[u8]) -> Data {
    fn each<const N: usize, T>(bytes: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|&b| f(b)).collect()
    }
    match dtype {
        DType::Str => Data::Str(Vec::new()),
        DType::Bool => Data::Bool(bytes.iter().map(|&b| b != 0).collect()),
        DType::F16 => Data::Float(each(bytes, |b| f16::from_le_bytes(b).to_f64())),
        DType::BF16 => Data::Float(each(bytes, |b| bf16::from_le_bytes(b).to_f64())),
        DType::F32 => Data::Float(each(bytes, |b| f64::from(f32::from_le_bytes(b)))),
        DType::F64 => Data::Float(each(bytes, f64::from_le_bytes)),
        DType::F8E4M3 => Data::Float(each(bytes, |[b]| f8_to_float(b, 3, true))),
        DType::F8E5M2 => Data::Float(each(bytes, |[b]| f8_to_float(b, 2, false))),
        DType::I4 | DType::I8 => Data::Int(each(bytes, |b| i64::from(i8::from_le_bytes(b)))),
        DType::U1 | DType::U2 | DType::U3 | DType::U4 | DType::U6 | DType::U8 => {
            Data::Int(bytes.iter().map(|&b| i64::from(b)).collect())
        }
        DType::I16 => Data::Int(each(bytes, |b| i64::from(i16::from_le_bytes(b)))),
        DType::U16 => Data::Int(each(bytes, |b| i64::from(u16::from_le_bytes(b)))),
        DType::I32 => Data::Int(each(bytes, |b| i64::from(i32::from_le_bytes(b)))),
        DType::U32 => Data::Int(each(bytes, |b| i64::from(u32::from_le_bytes(b)))),
        DType::I64 => Data::Int(each(bytes, i64::from_le_bytes)),
        // Values beyond i64 saturate.
        DType::U64 => Data::Int(each(bytes, |b| i64::try_from(u64::from_le_bytes(b)).unwrap_or(i64::MAX))),
    }
}

/// Bytes that `elements` of `dtype` take in a blob; `None` for strings.
pub fn packed_size(dtype: DType, elements: usize) -> Option<usize> {
    let bits = dtype.bits()? as usize;
    Some(if bits < 8 { elements.saturating_mul(bits).div_ceil(8) } else { elements.saturating_mul(bits / 8) })
}

/// The elements in a blob: packed from the lowest bit of each byte on, across the borders of bytes.
pub fn pack(dtype: DType, data: &Data) -> Vec<u8> {
    let (bits, Data::Int(values)) = (dtype.bits().unwrap_or(8) as usize, data) else {
        return to_memory(dtype, data);
    };
    if bits >= 8 {
        return to_memory(dtype, data);
    }
    let mut out = vec![0u8; packed_size(dtype, values.len()).unwrap_or(0)];
    for (i, &value) in values.iter().enumerate() {
        // An element and its shift take at most 6 + 7 bits.
        let (at, shift) = (i * bits / 8, i * bits % 8);
        let spread = (value as u16 & ((1 << bits) - 1)) << shift;
        out[at] |= spread as u8;
        if spread > 0xFF {
            out[at + 1] |= (spread >> 8) as u8;
        }
    }
    out
}

/// `elements` elements that [`pack`] wrote; fewer if `bytes` end before.
pub fn unpack(dtype: DType, bytes: &[u8], elements: usize) -> Data {
    let bits = dtype.bits().unwrap_or(8) as usize;
    if bits >= 8 {
        return from_memory(dtype, bytes);
    }
    let signed = dtype.int_range().is_some_and(|(low, _)| low < 0);
    let element = |i: usize| {
        let (at, shift) = (i * bits / 8, i * bits % 8);
        let both = u16::from(bytes[at]) | u16::from(bytes.get(at + 1).copied().unwrap_or(0)) << 8;
        let value = i64::from(both >> shift & ((1 << bits) - 1));
        if signed && value >> (bits - 1) != 0 { value - (1 << bits) } else { value }
    };
    let elements = elements.min(bytes.len().saturating_mul(8) / bits);
    Data::Int((0..elements).map(element).collect())
}

fn push_float(out: &mut Vec<u8>, dtype: DType, x: f64) {
    use crate::tensor::round_float;
    match dtype {
        DType::F16 => out.extend(f16::from_f64(round_float(x, dtype)).to_le_bytes()),
        DType::BF16 => out.extend(bf16::from_f64(round_float(x, dtype)).to_le_bytes()),
        DType::F64 => out.extend(x.to_le_bytes()),
        DType::F8E4M3 => out.push(f8_from_float(round_float(x, dtype), 3, true)),
        DType::F8E5M2 => out.push(f8_from_float(round_float(x, dtype), 2, false)),
        _ => out.extend((x as f32).to_le_bytes()),
    }
}

/// The exponent bias of an 8-bit float with `mantissa` fraction bits.
fn f8_bias(mantissa: u32) -> i32 {
    (1 << (6 - mantissa)) - 1
}

/// Decodes an 8-bit float. A `finite` format has no infinities, and only all ones encode NaN.
fn f8_to_float(byte: u8, mantissa: u32, finite: bool) -> f64 {
    let sign = if byte >> 7 == 1 { -1.0 } else { 1.0 };
    let (exponent, digits) = (i32::from(byte & 0x7F) >> mantissa, byte & ((1 << mantissa) - 1));
    let fraction = f64::from(digits) / f64::from(1 << mantissa);
    let last = (1 << (7 - mantissa)) - 1;
    let size = match exponent {
        e if e == last && finite && byte & 0x7F == 0x7F => f64::NAN,
        e if e == last && !finite => {
            if digits == 0 {
                f64::INFINITY
            } else {
                f64::NAN
            }
        }
        0 => fraction * 2f64.powi(1 - f8_bias(mantissa)),
        e => (1.0 + fraction) * 2f64.powi(e - f8_bias(mantissa)),
    };
    size.copysign(sign)
}

/// Writes a number that an 8-bit float holds exactly.
fn f8_from_float(x: f64, mantissa: u32, finite: bool) -> u8 {
    let sign = u8::from(x.is_sign_negative()) << 7;
    let last = ((1u8 << (7 - mantissa)) - 1) << mantissa;
    let size = match x.abs() {
        _ if x.is_nan() => 0x7F,
        s if s.is_infinite() => {
            if finite {
                0x7F
            } else {
                last
            }
        }
        0.0 => 0,
        s => {
            let lowest = 1 - f8_bias(mantissa);
            let exponent = ((s.to_bits() >> 52) as i32 - 1023).max(lowest);
            // In units of the last place; a normal number's leading bit becomes part of the exponent.
            let units = (s / 2f64.powi(exponent - mantissa as i32)) as i32;
            (((exponent - lowest) << mantissa) + units) as u8
        }
    };
    sign | size
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::round_float;

    /// The examples of blob storage: 4, 3 and 6 bits, lowest first.
    #[test]
    fn elements_are_packed_from_the_lowest_bit() {
        for (dtype, values, bytes) in [
            (DType::I4, vec![-8, 7, 1, -1, 3], vec![0x78, 0xf1, 0x03]),
            (DType::U3, vec![7, 1, 2, 5, 3], vec![0x8f, 0x3a]),
            (DType::U6, vec![63, 1, 2, 5, 3], vec![0x7f, 0x20, 0x14, 0x03]),
            (DType::U1, vec![1, 0, 0, 1, 0, 0, 0, 0, 1], vec![0x09, 0x01]),
        ] {
            let data = Data::Int(values);
            assert_eq!(pack(dtype, &data), bytes, "{dtype}");
            assert_eq!(unpack(dtype, &bytes, data.len()), data, "{dtype}");
        }
    }

    #[test]
    fn every_small_float_returns_with_its_bits() {
        for dtype in [DType::F8E4M3, DType::F8E5M2, DType::BF16] {
            for n in 0..=u16::MAX {
                let bytes = &n.to_le_bytes()[..dtype.size().expect("a float")];
                let data = from_memory(dtype, bytes);
                let Data::Float(v) = &data else { panic!("{dtype}") };
                let back = to_memory(dtype, &data);
                assert!(v[0].is_nan() || back == bytes, "{dtype} {n:#x} {} {back:x?}", v[0]);
                assert!(v[0].is_nan() || round_float(v[0], dtype) == v[0], "{dtype} {}", v[0]);
            }
        }
        assert_eq!(from_memory(DType::F8E4M3, &[0x7E]), Data::Float(vec![448.0]));
        assert_eq!(from_memory(DType::F8E5M2, &[0x7B, 0x7C]), Data::Float(vec![57344.0, f64::INFINITY]));
        assert!(round_float(1e9, DType::F8E4M3).is_nan());
        assert_eq!(round_float(1e9, DType::F8E5M2), f64::INFINITY);
        assert_eq!(round_float(1.0 + 2f64.powi(-8), DType::BF16), 1.0);
    }
}
