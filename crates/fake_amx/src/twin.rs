//! The arithmetic of TDPBF16PS and TDPB{SS,SU,US,UU}D on one element of the result.
//!
//! Source: bit-exact model of 200,000 random cases on Emerald Rapids (facts of the project), and the operation in Intel's
//! SDM, volume 2.

/// A bf16 as an f32; the unit takes a subnormal one for 0.
#[inline(always)]
pub fn widened(bits: u16) -> f32 {
    flushed(f32::from_bits(u32::from(bits) << 16))
}

/// `x`, or 0 with its sign if it is subnormal.
#[inline(always)]
pub fn flushed(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { f32::from_bits(x.to_bits() & 0x8000_0000) } else { x }
}

/// One element of TDPBF16PS: `c + (E + O)`, where `E` is the chain of fused multiply-adds over the even elements of the
/// inner dimension, `O` over the odd ones, each from 0 in ascending order. Rounded to nearest even; subnormal numbers are 0.
///
/// Shapes: `a`, `b` are bf16, `[K]` each, K even, at most 32.
pub fn dot_bf16(c: f32, a: &[u16], b: &[u16]) -> f32 {
    let chain = |first: usize| {
        let pairs = a.iter().zip(b).skip(first).step_by(2);
        pairs.fold(0.0, |sum: f32, (&a, &b)| flushed(widened(a).mul_add(widened(b), sum)))
    };
    flushed(flushed(c) + flushed(chain(0) + chain(1)))
}

/// Whether the factors of an integer product are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs {
    /// Those of the left side.
    pub a: bool,
    /// Those of the right side.
    pub b: bool,
}

/// One element of the integer products: `c` plus the sum of products of bytes, which wraps at 32 bits.
pub fn dot_int8(c: i32, a: &[u8], b: &[u8], signs: Signs) -> i32 {
    let wide = |x: u8, signed: bool| if signed { i32::from(x as i8) } else { i32::from(x) };
    a.iter().zip(b).fold(c, |sum, (&a, &b)| sum.wrapping_add(wide(a, signs.a) * wide(b, signs.b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bf16(x: f32) -> u16 {
        assert_eq!(x.to_bits() & 0xFFFF, 0, "{x} is no bf16");
        (x.to_bits() >> 16) as u16
    }

    #[test]
    fn even_and_odd_elements_are_summed_apart() {
        // 2²⁴ + 1 rounds to 2²⁴: in one chain both ones would be lost. Apart they are 2.
        let (a, one) = ([bf16(16_777_216.0), bf16(1.0), bf16(0.0), bf16(1.0)], [bf16(1.0); 4]);
        assert_eq!(dot_bf16(0.0, &a, &one), 16_777_218.0);
        let a = [bf16(1.0), bf16(16_777_216.0), bf16(1.0), bf16(0.0)];
        assert_eq!(dot_bf16(0.0, &a, &one), 16_777_218.0);
        // The old sum comes last: 2²⁴ + (1 + 1).
        let a = [bf16(1.0), bf16(1.0)];
        assert_eq!(dot_bf16(16_777_216.0, &a, &one), 16_777_218.0);
        assert_eq!(dot_bf16(16_777_216.0, &a[..1], &one), 16_777_216.0);
    }

    #[test]
    fn subnormal_numbers_are_zero() {
        let small = 0x0040; // half of the smallest normal number
        assert_eq!(dot_bf16(0.0, &[small, 0], &[bf16(2f32.powi(100)); 2]), 0.0);
        assert_eq!(dot_bf16(f32::MIN_POSITIVE / 2.0, &[0, 0], &[0, 0]), 0.0);
        let root = bf16(2f32.powi(-65));
        assert_eq!(dot_bf16(0.0, &[root, 0], &[root, 0]), 0.0, "2⁻¹³⁰ is subnormal");
        assert_eq!(dot_bf16(0.0, &[bf16(2f32.powi(-63)), 0], &[bf16(2f32.powi(-63)), 0]), 2f32.powi(-126));
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        let inf = bf16(f32::INFINITY);
        assert_eq!(dot_bf16(0.0, &[inf, 0], &[bf16(-1.0), 0]), f32::NEG_INFINITY);
        assert!(dot_bf16(0.0, &[inf, 0], &[0, 0]).is_nan(), "∞ · 0");
        assert!(dot_bf16(f32::NAN, &[0, 0], &[0, 0]).is_nan());
    }

    #[test]
    fn integers_wrap_and_have_the_signs_of_the_instruction() {
        let signs = |a, b| Signs { a, b };
        assert_eq!(dot_int8(1, &[0xFF, 2], &[0xFF, 3], signs(true, true)), 1 + 1 + 6);
        assert_eq!(dot_int8(0, &[0xFF], &[0xFF], signs(true, false)), -255);
        assert_eq!(dot_int8(0, &[0xFF], &[0x80], signs(false, true)), -128 * 255);
        assert_eq!(dot_int8(0, &[0xFF], &[0xFF], signs(false, false)), 255 * 255);
        assert_eq!(dot_int8(i32::MAX, &[1], &[1], signs(true, true)), i32::MIN);
    }
}
