//! The layout of the kernel with BFMMLA, and its arithmetic to the bit.
//!
//! BFDOT and BFMMLA do not sum like f32 multiply-adds, unless a process sets FPCR.EBF, which none does by default: they round
//! products and sums to odd, each by itself, and take subnormal numbers for 0, in factors, products and sums. Source: Arm
//! Architecture Reference Manual for A-profile (DDI 0487), pseudocode `BFDotAdd`, `BFMulH`, `BFAdd` and `BFRound`.

use super::format::{EXPONENT, PAIRS, PackFormat};
#[cfg(test)]
use super::format::{PlainLoops, halves};

/// Two bf16 in a word.
pub(crate) const BF16_PAIRS: PackFormat = PackFormat {
    #[cfg(test)]
    plain: PlainLoops {
        product: |row, column, steps| {
            (0..steps).fold(0.0, |sum, step| dot_add(sum, halves(row(step)), halves(column(step))))
        },
        ..PAIRS.plain
    },
    ..PAIRS
};

/// The bits of `x` rounded to bf16, to nearest, ties to even; a subnormal number becomes 0, as the instructions take it.
pub(crate) fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    let (sign, magnitude) = (bits & 0x8000_0000, bits & 0x7FFF_FFFF);
    let nearest = (magnitude + 0x7FFF + (magnitude >> 16 & 1)) >> 16;
    let quiet_nan = magnitude >> 16 | 0x40;
    let finite_or_infinite = if magnitude < 0x0080_0000 { 0 } else { nearest };
    sign >> 16 | if magnitude > EXPONENT { quiet_nan } else { finite_or_infinite }
}

/// `sum + (x₀y₀ + x₁y₁)` as BFDOT and BFMMLA compute it: rounded to odd after each operation.
#[cfg(test)]
pub(crate) fn dot_add(sum: f32, x: [f32; 2], y: [f32; 2]) -> f32 {
    add(sum, add(multiply(x[0], y[0]), multiply(x[1], y[1])))
}

/// 0 with the sign of `x`, if `x` is subnormal.
#[cfg(test)]
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// The product of two bf16: its 16 bits fit in an f32, so that only the exponent can leave the range.
#[cfg(test)]
fn multiply(x: f32, y: f32) -> f32 {
    flushed(flushed(x) * flushed(y))
}

/// The sum, rounded to odd: of the two neighbours of an inexact sum the one whose last bit is 1.
#[cfg(test)]
fn add(x: f32, y: f32) -> f32 {
    let (x, y) = (flushed(x), flushed(y));
    let sum = x + y;
    if sum.is_infinite() && x.is_finite() && y.is_finite() {
        // The largest number is odd; only from 2¹²⁸ on the exponent overflows. Near it the sum is exact in f64.
        let is_below = (f64::from(x) + f64::from(y)).abs() < 2f64.powi(128);
        return if is_below { f32::MAX.copysign(sum) } else { sum };
    }
    if !sum.is_finite() {
        return sum;
    }
    // The error of a sum in f32 is a number in f32. Source: Knuth, The Art of Computer Programming, vol. 2, 4.2.2, theorem B.
    let part = sum - x;
    let error = (x - (sum - part)) + (y - part);
    match (error.partial_cmp(&0.0), sum.to_bits() & 1) {
        (Some(std::cmp::Ordering::Greater), 0) => sum.next_up(),
        (Some(std::cmp::Ordering::Less), 0) => sum.next_down(),
        _ => flushed(sum),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    #[test]
    fn factors_are_rounded_as_the_half_crate_rounds_them() {
        // Every upper half, with lower halves around a tie.
        for upper in 0..=u32::from(u16::MAX) {
            for lower in [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF] {
                let x = f32::from_bits(upper << 16 | lower);
                let want = bf16::from_f32(flushed(x));
                let got = bf16::from_bits(bf16_bits(x) as u16);
                assert!(
                    got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
                    "{x}: {got} {want}"
                );
            }
        }
    }

    #[test]
    fn a_row_is_multiplied_pair_by_pair() {
        let (row, column) = ([1.5f32, -2.0, 3.0], [4.0f32, 0.5, 2f32.powi(-30)]);
        let word = |from: &[f32; 3], step| {
            (BF16_PAIRS.plain.word)(&|k| from.get(k).copied().unwrap_or(0.0), step, (BF16_PAIRS.steps)(3))
        };
        let product = (BF16_PAIRS.plain.product)(&|step| word(&row, step), &|step| word(&column, step), 2);
        // 1.5·4 − 2·0.5 = 5, then 3·2⁻³⁰, of which rounding to odd leaves the last bit.
        assert_eq!(product, 5f32.next_up());
        assert!((BF16_PAIRS.is_finite)(&[word(&row, 0)], 1));
        assert!(!(BF16_PAIRS.is_finite)(&[word(&[1.0, f32::INFINITY, 0.0], 0)], 1));
    }

    #[test]
    fn sums_are_rounded_to_odd() {
        let ulp = f32::EPSILON;
        // Exact sums stay; of others the odd neighbour is taken, wherever the sum lies between the two.
        assert_eq!(add(1.0, 1.0), 2.0);
        assert_eq!(add(1.0, ulp), 1.0 + ulp);
        for part in [2f32.powi(-100), 0.25 * ulp, 0.5 * ulp, 0.75 * ulp] {
            assert_eq!(add(1.0, part), 1.0 + ulp, "{part}");
            assert_eq!(add(-1.0, -part), -1.0 - ulp, "{part}");
            assert_eq!(add(1.0 + ulp, part), 1.0 + ulp, "{part}");
        }
        assert_eq!(add(1.0, -0.25 * ulp), 1.0 - 0.5 * ulp);
    }

    #[test]
    fn subnormal_numbers_are_zero_and_the_largest_ones_do_not_overflow_early() {
        let least = f32::MIN_POSITIVE;
        assert_eq!(multiply(least, 0.5), 0.0);
        assert_eq!(add(1.5 * least, -least), 0.0, "a subnormal difference");
        assert_eq!(multiply(0.5 * least, 2f32.powi(100)), 0.0, "a subnormal factor");
        let (most, step) = (f32::MAX, 2f32.powi(104));
        assert_eq!(add(most, 0.75 * step), most, "to nearest it would be infinite");
        assert_eq!(add(most, step), f32::INFINITY);
        assert_eq!(add(-most, -step), f32::NEG_INFINITY);
        assert!(dot_add(0.0, [f32::INFINITY, 1.0], [0.0, 1.0]).is_nan());
    }
}
