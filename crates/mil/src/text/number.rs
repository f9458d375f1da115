//! Floats as text: C99 hexadecimal when printed, that or decimal when read.

use crate::tensor::round_float;
use crate::ty::DType;
use std::fmt;

/// Prints a float exactly: `0x1.8p-3`, `-0x0p+0`, `inf`, `-nan`.
pub(super) struct HexFloat(pub f64);

const MANTISSA_BITS: u32 = f64::MANTISSA_DIGITS - 1;

impl fmt::Display for HexFloat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let x = self.0;
        if x.is_sign_negative() {
            f.write_str("-")?;
        }
        if x.is_nan() {
            return f.write_str("nan");
        }
        if x.is_infinite() {
            return f.write_str("inf");
        }
        if x == 0.0 {
            return f.write_str("0x0p+0");
        }
        // Values too small for a normal f64 are scaled up first, so that the digit before the point is 1.
        let scale: i64 = if x.is_normal() { 0 } else { 64 };
        let bits = (x * 2f64.powi(scale as i32)).to_bits();
        let exponent = (bits >> MANTISSA_BITS & 0x7ff) as i64 - 1023 - scale;
        let mantissa = bits & ((1 << MANTISSA_BITS) - 1);
        f.write_str("0x1")?;
        if mantissa != 0 {
            let digits = format!("{mantissa:013x}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        write!(f, "p{exponent:+}")
    }
}

/// Reads a float and rounds it to `dtype`, to nearest, ties to even; `None` if `text` is not a number.
pub(super) fn parse_float(text: &str, dtype: DType) -> Option<f64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let sign = if negative { -1.0 } else { 1.0 };
    let size = match digits {
        "inf" => f64::INFINITY,
        "nan" => f64::NAN,
        _ if digits.starts_with("0x") => round_float(parse_hex(&digits[2..])?, dtype),
        // Rust's parser also reads words and signs, which are no digits here.
        _ if !digits.starts_with(|c: char| c.is_ascii_digit()) => return None,
        // Read as f32 directly, so that it is rounded once.
        _ if dtype == DType::F32 => f64::from(digits.parse::<f32>().ok()?),
        _ => round_float(digits.parse().ok()?, dtype),
    };
    Some(size.copysign(sign))
}

/// Reads a decimal integer: `None` if `text` is none, `Some(None)` if it is one that an i64 cannot hold.
pub(super) fn parse_int(text: &str) -> Option<Option<i64>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().ok())
}

/// Reads `1.8p-3`, the part behind `0x`. Digits that an f64 cannot hold are gathered in its last bit ("round to
/// odd"), so that rounding the result to fp16 or fp32 rounds the number written.
fn parse_hex(text: &str) -> Option<f64> {
    let (digits, exponent) = match text.split_once(['p', 'P']) {
        Some((d, e)) => (d, e),
        None => (text, "0"),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() {
        return None;
    }
    let (mut mantissa, mut dropped) = (0u64, 0i64);
    for c in whole.chars().chain(fraction.chars()) {
        let digit = u64::from(c.to_digit(16)?);
        if mantissa >> (MANTISSA_BITS + 1 - 4) == 0 {
            mantissa = mantissa << 4 | digit;
        } else {
            mantissa |= u64::from(digit != 0);
            dropped += 4;
        }
    }
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Beyond this every f64 is 0 or infinite, however many digits are written.
    let limit = 1i64 << 40;
    let size = unsigned.parse().unwrap_or(limit).min(limit);
    let written = if exponent.starts_with('-') { -size } else { size };
    let exponent = written + dropped - 4 * i64::try_from(fraction.len()).ok()?;
    Some(scaled(mantissa as f64, exponent))
}

/// `x · 2^exponent`.
fn scaled(mut x: f64, exponent: i64) -> f64 {
    let mut left = exponent.clamp(-3000, 3000) as i32;
    while left != 0 {
        let step = left.clamp(-1000, 1000);
        x *= 2f64.powi(step);
        left -= step;
    }
    x
}

#[cfg(test)]
mod tests {
    use super::{HexFloat, parse_float};
    use crate::ty::DType;
    use half::f16;
    use proptest::prelude::*;

    #[test]
    fn floats_print_as_apples_compiler_prints_them() {
        for (x, text) in [
            (0.0, "0x0p+0"),
            (-0.0, "-0x0p+0"),
            (-1.0, "-0x1p+0"),
            (0.5, "0x1p-1"),
            (f16::from_bits(0x0001).to_f64(), "0x1p-24"),
            (f16::from_bits(0x00a8).to_f64(), "0x1.5p-17"),
            (65504.0, "0x1.ffcp+15"),
            (f64::from(f32::from_bits(1)), "0x1p-149"),
            (f64::from_bits(1), "0x1p-1074"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(HexFloat(x).to_string(), text);
        }
    }

    #[test]
    fn every_fp16_returns_with_its_bits() {
        for bits in 0..=u16::MAX {
            let x = f16::from_bits(bits);
            let text = HexFloat(x.to_f64()).to_string();
            let back = f16::from_f64(parse_float(&text, DType::F16).expect("a number"));
            let same = back.to_bits() == bits
                || (x.is_nan() && back.is_nan() && x.is_sign_negative() == back.is_sign_negative());
            assert!(same, "{bits:#06x} {text} {:#06x}", back.to_bits());
        }
    }

    #[test]
    fn long_numbers_are_round_float() {
        // A bit far below the tie between 1 and 1 + 2⁻¹⁰ decides.
        assert_eq!(parse_float("0x1.0020000000000000001p+0", DType::F16), Some(1.0 + 1.0 / 1024.0));
        assert_eq!(parse_float("0x1.0020000000000000000p+0", DType::F16), Some(1.0));
        assert_eq!(parse_float("0x1.000001000000000000001p+0", DType::F32), Some(1.0 + 2f64.powi(-23)));
        assert_eq!(parse_float("1.000000059604644775390626", DType::F32), Some(1.0 + 2f64.powi(-23)));
        assert_eq!(parse_float("0x1p+99999999999999999999", DType::F32), Some(f64::INFINITY));
        assert_eq!(parse_float("-0x1p-99999999999999999999", DType::F32), Some(-0.0));
    }

    #[test]
    fn words_are_no_numbers() {
        for text in
            ["", "-", "0x", "0xp1", "0x1p", "0x1p+", "0x1pe", "1_0", "infinity", "--1", "-+1", "1e", "+1"]
        {
            assert_eq!(parse_float(text, DType::F32), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_fp32_returns_with_its_bits(bits: u32) {
            let x = f32::from_bits(bits);
            let back = parse_float(&HexFloat(f64::from(x)).to_string(), DType::F32).expect("a number") as f32;
            prop_assert!(back.to_bits() == bits || (x.is_nan() && back.is_nan()));
        }

        #[test]
        fn every_f64_prints_what_rust_reads_back(bits: u64) {
            let x = f64::from_bits(bits);
            prop_assume!(x.is_finite());
            // Printed exactly, so the value of the digits is that of `x`.
            let text = HexFloat(x.abs()).to_string();
            let back = super::parse_hex(&text[2..]).expect("a number");
            prop_assert_eq!(back, x.abs());
        }
    }
}
