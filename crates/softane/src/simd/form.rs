//! How products are computed, and how factors lie in packed panels for it.

/// How products are computed; sums are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MatmulPrecision {
    /// Factors in f32, fused multiply-adds.
    #[default]
    F32,
    /// Factors rounded to bf16 (8 bits of precision). Twice as fast where the processor sums their products in pairs
    /// and is quick at it; as fast as f32 where it is not.
    Bf16,
    /// Factors rounded to integers of 12 bits and a sign, with a power of two for each 128 of a row or column by which
    /// they are scaled; integers are multiplied and summed exactly. A factor is off by 2⁻¹² of the largest beside it
    /// at most, which is what half precision leaves of that one. A factor that is not finite makes NaNs.
    Int16,
}

impl MatmulPrecision {
    /// All there are.
    pub const ALL: [MatmulPrecision; 3] =
        [MatmulPrecision::F32, MatmulPrecision::Bf16, MatmulPrecision::Int16];

    /// The one of that name.
    pub fn named(name: &str) -> Option<MatmulPrecision> {
        MatmulPrecision::ALL.into_iter().find(|math| math.name() == name)
    }

    /// Its name, as flags and tables have it.
    pub fn name(self) -> &'static str {
        match self {
            MatmulPrecision::F32 => "f32",
            MatmulPrecision::Bf16 => "bf16",
            MatmulPrecision::Int16 => "int16",
        }
    }

    /// What it needs of a processor.
    pub fn needs(self) -> &'static str {
        match self {
            MatmulPrecision::F32 => "nothing",
            MatmulPrecision::Bf16 => "AVX-512 with BF16",
            MatmulPrecision::Int16 => "AVX-512 with VNNI",
        }
    }
}

/// How factors lie in packed panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PackFormat {
    /// One f32 in a word.
    Single,
    /// One number in a word, rounded to bf16 and written as f32.
    Rounded,
    /// Two bf16 in a word.
    Pairs,
    /// Two integers of 16 bits in a word; behind each [`SCALED`] elements, and at the end, their scale as an f32.
    Scaled,
}

/// Elements that have one scale: as many as products of integers up to [`MOST`] can be summed in 32 bits.
pub(crate) const SCALED: usize = 128;

/// Steps of a block of [`SCALED`] elements: its words and its scales.
pub(crate) const SCALED_STEPS: usize = SCALED / 2 + 1;

/// The largest integer that a factor becomes.
pub(crate) const MOST: i32 = 4095;

const _: () = assert!((SCALED as i64) * (MOST as i64) * (MOST as i64) < 1 << 31);

impl PackFormat {
    /// Words that `depth` elements of the inner dimension take in a panel, for each row or column.
    pub(crate) fn steps(self, depth: usize) -> usize {
        match self {
            PackFormat::Single | PackFormat::Rounded => depth,
            PackFormat::Pairs => depth.div_ceil(2),
            PackFormat::Scaled => depth.div_ceil(2) + depth.div_ceil(SCALED),
        }
    }

    /// Where the inner dimension may be cut: at multiples of so many elements.
    pub(crate) fn grain(self) -> usize {
        match self {
            PackFormat::Single | PackFormat::Rounded => 1,
            PackFormat::Pairs => 2,
            PackFormat::Scaled => SCALED,
        }
    }

    /// Elements of the inner dimension that are skipped together where all are 0: about 16 steps, whole grains.
    pub(crate) fn skipped(self) -> usize {
        (16 * self.grain()).min(SCALED)
    }
}

/// The power of two by which a factor is divided, and what it is multiplied by for that, where `largest` is the largest
/// magnitude of its block: then no integer is more than [`MOST`]. NaN and 0 for what is not finite, or would not be after
/// rounding; 0 and 0 where all magnitudes are below 2⁻¹¹⁵.
pub(crate) fn scale_of(largest: f32) -> (f32, f32) {
    // The exponent after rounding to 12 bits: half of the last of them is 2¹¹ of the 2²³ of an f32.
    let exponent = (largest.to_bits() + (1 << 11)) >> 23;
    match exponent {
        255.. => (f32::NAN, 0.0),
        12.. => (f32::from_bits((exponent - 11) << 23), f32::from_bits((265 - exponent) << 23)),
        _ => (0.0, 0.0),
    }
}

/// Where `steps` of [`PackFormat::Scaled`] have their scales: behind the first words, and so on.
pub(crate) fn blocks_of(steps: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..steps).step_by(SCALED_STEPS).map(move |at| at..steps.min(at + SCALED_STEPS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_use_all_bits_and_no_more() {
        let rounds_to = |x: f32| {
            let (scale, inverse) = scale_of(x);
            assert_eq!(scale * inverse, 1.0, "{x}");
            (x * inverse).round_ties_even()
        };
        assert_eq!(rounds_to(1.0), 2048.0);
        assert_eq!(rounds_to(4095.4), 4095.0);
        assert_eq!(rounds_to(4095.5), 2048.0, "4096 would be one too many");
        assert_eq!(scale_of(0.0), (0.0, 0.0));
        assert_eq!(scale_of(1e-36), (0.0, 0.0));
        for x in [f32::INFINITY, f32::NAN, f32::MAX] {
            let (scale, inverse) = scale_of(x);
            assert!(scale.is_nan() && inverse == 0.0, "{x}");
        }
    }

    #[test]
    fn steps_add_up_where_a_depth_is_cut() {
        for form in [PackFormat::Single, PackFormat::Rounded, PackFormat::Pairs, PackFormat::Scaled] {
            for (cut, depth) in [(128, 129), (256, 300), (1024, 2048)] {
                assert_eq!(form.steps(cut) + form.steps(depth - cut), form.steps(depth), "{form:?} {depth}");
            }
        }
        assert_eq!(blocks_of(PackFormat::Scaled.steps(130)).collect::<Vec<_>>(), [0..64, 65..66]);
        assert_eq!(blocks_of(0).count(), 0);
    }
}
