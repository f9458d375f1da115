//! Functions of one number, written so that loops over them become vector code.
//!
//! No fused multiply-adds and no table: the same bits on every instruction set. Call them from loops that are compiled
//! for vectors, in functions that are inlined into the closures of `simd::vectorised`.

/// `eˣ`, within 2 ulp; overflows to infinity, is 0 where the result would be subnormal, keeps NaN.
///
/// Method: `x = n·ln 2 + r`, polynomial of degree 7 in `r`. Source: Cephes, `expf`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let (y, n) = exp_parts(if x > 89.0 { 89.0 } else { x });
    // 2ⁿ in two factors, as n reaches to 128.
    let half = n >> 1;
    let y = y * power_of_two(half) * power_of_two(n - half);
    if x < LOWEST { 0.0 } else { y }
}

/// `eˣ` for `x ≤ 0`, the same bits as [`exp`] in fewer instructions.
#[inline(always)]
pub fn exp_of_negative(x: f32) -> f32 {
    let (y, n) = exp_parts(x);
    let y = y * power_of_two(n);
    if x < LOWEST { 0.0 } else { y }
}

/// `ln 2⁻¹²⁶`: smaller results would be subnormal, and are 0.
const LOWEST: f32 = -87.336_54;

/// `eˣ = y·2ⁿ`, for `x` up to 89; `x` below [`LOWEST`] counts as that.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, i32) {
    const MAGIC: f32 = 12_582_912.0; // 1.5·2²³: adding it rounds to an integer
    let x = if x < LOWEST { LOWEST } else { x };
    let shifted = x * std::f32::consts::LOG2_E + MAGIC;
    let n = shifted - MAGIC;
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5e-1;
    let y = p * (r * r) + r + 1.0;
    (y, shifted.to_bits().wrapping_sub(MAGIC.to_bits()) as i32)
}

#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) as u32) << 23)
}

/// `1 / (1 + e⁻ˣ)`, within 4 ulp.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `tanh x`, within 4 ulp. Source of the polynomial near 0: Cephes, `tanhf`.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    let z = x * x;
    let p = -5.704_988_7e-3;
    let p = p * z + 2.063_909e-2;
    let p = p * z + -5.373_971_6e-2;
    let p = p * z + 1.333_144_2e-1;
    let p = p * z + -3.333_328e-1;
    let near = p * z * x + x;
    let far = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    if a < 0.625 { near } else { far.copysign(x) }
}

/// `1 − erf x` for any `x`, relative error within 1.2e-7 and that of `exp(−x²)`.
/// Source: Press et al., Numerical Recipes, §6.2.2, `erfcc`.
#[inline(always)]
pub fn erfc(x: f32) -> f32 {
    let z = x.abs();
    let t = 1.0 / (1.0 + 0.5 * z);
    let p = 0.170_872_77;
    let p = p * t - 0.822_152_23;
    let p = p * t + 1.488_515_9;
    let p = p * t - 1.135_204;
    let p = p * t + 0.278_868_07;
    let p = p * t - 0.186_288_06;
    let p = p * t + 0.096_784_18;
    let p = p * t + 0.374_091_96;
    let p = p * t + 1.000_023_7;
    let p = p * t - 1.265_512_2;
    let y = t * exp(p - z * z);
    if x >= 0.0 { y } else { 2.0 - y }
}

/// `erf x`, within 1e-6 relative. Near 0 by its series (Abramowitz & Stegun, 7.1.5), where `1 − erfc x` would cancel.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let z = x * x;
    let p = 1.0 / 9360.0;
    let p = p * z - 1.0 / 1320.0;
    let p = p * z + 1.0 / 216.0;
    let p = p * z - 1.0 / 42.0;
    let p = p * z + 1.0 / 10.0;
    let p = p * z - 1.0 / 3.0;
    let near = std::f32::consts::FRAC_2_SQRT_PI * (p * z * x + x);
    if x.abs() < 0.5 { near } else { 1.0 - erfc(x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest error of `f` against `want` on a grid, in units of the last place of `want`.
    fn worst(f: fn(f32) -> f32, want: fn(f64) -> f64, from: f32, to: f32) -> f64 {
        let grid = (0..20_000).map(|i| from + (to - from) * (i as f32 / 19_999.0));
        grid.map(|x| {
            let w = want(f64::from(x));
            let ulp = f64::from((w as f32).abs().max(f32::MIN_POSITIVE)) * f64::from(f32::EPSILON);
            (f64::from(f(x)) - w).abs() / ulp
        })
        .fold(0.0, f64::max)
    }

    #[test]
    fn functions_are_as_close_as_they_say() {
        assert!(worst(exp, f64::exp, -87.0, 88.7) < 2.0);
        assert!(worst(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -80.0, 80.0) < 4.0);
        assert!(worst(tanh, f64::tanh, -12.0, 12.0) < 4.0);
        assert!(worst(tanh, f64::tanh, -0.01, 0.01) < 4.0);
    }

    #[test]
    fn exp_keeps_the_edges() {
        assert_eq!([exp(0.0), exp(f32::NEG_INFINITY), exp(f32::INFINITY)], [1.0, 0.0, f32::INFINITY]);
        assert_eq!([exp(88.8), exp(1e30), exp(-65504.0)], [f32::INFINITY, f32::INFINITY, 0.0]);
        assert!(exp(f32::NAN).is_nan() && exp_of_negative(f32::NAN).is_nan());
        let down = (0..10_000).map(|i| -0.01 * i as f32);
        assert!(down.clone().all(|x| exp(x).to_bits() == exp_of_negative(x).to_bits()));
        assert_eq!([exp(-87.4), exp(-100.0), exp(LOWEST).max(f32::MIN_POSITIVE)], [0.0, 0.0, exp(LOWEST)]);
    }

    #[test]
    fn erfc_is_relatively_close_far_out() {
        // erfc(1), erfc(2), erfc(4), erfc(−1): Abramowitz & Stegun, table 7.1 and 7.3
        let known =
            [(1.0, 0.157_299_207), (2.0, 4.677_734_98e-3), (4.0, 1.541_725_79e-8), (-1.0, 1.842_700_793)];
        for (x, want) in known {
            let got = f64::from(erfc(x));
            assert!((got / want - 1.0).abs() < 3e-6, "erfc({x}) is {got:e}");
        }
    }
}
