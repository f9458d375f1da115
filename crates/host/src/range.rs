//! Magnitudes of many numbers.

use crate::simd;
use rayon::prelude::*;
use softane::gemm::Elements;

/// The number of elements that are NaN or larger than `limit` in magnitude, and the largest magnitude of the others; on the current
/// rayon pool.
pub fn survey(elements: Elements<'_>, limit: f32) -> (usize, f32) {
    let one = |x: f32| if x.abs() <= limit { (0, x.abs()) } else { (1, 0.0) };
    let join = |a: (usize, f32), b: (usize, f32)| (a.0 + b.0, a.1.max(b.1));
    match elements {
        Elements::F16(x) => x.par_iter().map(|x| one(x.to_f32())).reduce(|| (0, 0.0), join),
        Elements::F32(x) => x.par_iter().map(|&x| one(x)).reduce(|| (0, 0.0), join),
    }
}

/// The number of values that are NaN or beyond `limit` in magnitude.
pub fn count_beyond(values: &[f32], limit: f32) -> usize {
    // A count in 32 bits fills vectors; a part has far fewer values.
    let part = |values: &[f32]| {
        simd(
            #[inline(always)]
            || values.iter().map(|x| u32::from(x.is_nan() || x.abs() > limit)).sum::<u32>(),
        )
    };
    values.chunks(1 << 16).map(|values| part(values) as usize).sum()
}

/// The largest magnitude; of NaN nothing is said.
pub fn largest(values: &[f32]) -> f32 {
    simd(
        #[inline(always)]
        || {
            let mut lanes = [0.0f32; 32];
            let (chunks, rest) = values.as_chunks::<32>();
            for chunk in chunks {
                for (lane, x) in lanes.iter_mut().zip(chunk) {
                    *lane = lane.max(x.abs());
                }
            }
            lanes.iter().chain(rest).fold(0.0f32, |most, x| most.max(x.abs()))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    #[test]
    fn a_survey_counts_what_does_not_fit() {
        let values = [1.0, -70_000.0, f32::NAN, f32::INFINITY, 65_504.0, -3.0];
        assert_eq!(survey(Elements::F32(&values), 65_504.0), (3, 65_504.0));
        assert_eq!(survey(Elements::F32(&values), f32::MAX), (2, 70_000.0));
        let halves = [f16::INFINITY, f16::NAN, f16::MAX, f16::MIN];
        assert_eq!(survey(Elements::F16(&halves), 65_504.0), (2, 65_504.0));
    }

    #[test]
    fn each_number_counts() {
        let mut values: Vec<f32> = (0..70_000).map(|i| (i % 100) as f32 - 50.0).collect();
        assert_eq!((count_beyond(&values, 50.0), largest(&values)), (0, 50.0));
        assert_eq!(count_beyond(&values, 49.0), 700);
        for (place, x) in [(0, f32::NAN), (69_999, f32::INFINITY), (65_537, f32::NEG_INFINITY), (31, -51.0)] {
            values[place] = x;
        }
        assert_eq!((count_beyond(&values, f32::MAX), count_beyond(&values, 50.0)), (3, 4));
        values.truncate(40);
        assert_eq!(largest(&values), 51.0);
        assert_eq!((count_beyond(&[], 1.0), largest(&[])), (0, 0.0));
    }
}
