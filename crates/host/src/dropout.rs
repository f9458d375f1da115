//! Dropout: the factors of a step, as a function of seed and place.

use super::CHUNK;
use crate::rng::{Purpose, stream};
use rand::Rng;
use rayon::prelude::*;
use softane::pool::for_each;

/// The random numbers of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    /// The seed of the run.
    pub seed: u64,
    /// The optimizer step.
    pub step: u64,
}

/// Where factors belong within a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The window of the step.
    pub window: usize,
    /// The layer.
    pub layer: usize,
    /// Which of the layer's dropped values.
    pub site: usize,
}

impl Place {
    /// The streams of the place's chunks begin here; places have no stream in common.
    fn first_stream(self) -> u64 {
        ((self.window as u64) << 44) | ((self.layer as u64) << 30) | ((self.site as u64) << 27)
    }
}

/// Numbers that are drawn at a time.
const BLOCK: usize = 256;

/// Writes the factors of a value: 0 with probability `rate`, rounded up to a multiple of 2⁻¹⁶, else the inverse of the
/// probability that it is kept, so that the expectation is 1.
///
/// Numerics: a function of the arguments; the result does not depend on the number of threads.
/// Source: Srivastava et al. 2014, JMLR 15, inverted as in `torch.nn.Dropout`.
///
/// # Panics
/// If `rate` is not below 1.
pub fn factors(out: &mut [f32], rate: f64, draw: Draw, place: Place) {
    const ALL: f64 = 65536.0;
    let dropped = (rate * ALL).ceil();
    assert!((0.0..ALL).contains(&dropped), "a rate of {rate}");
    let (kept, dropped) = ((ALL / (ALL - dropped)) as f32, dropped as u16);
    for_each(out.par_chunks_mut(CHUNK).enumerate(), |(chunk, out)| {
        let mut rng = stream(draw.seed, Purpose::Dropout, draw.step);
        rng.set_stream(place.first_stream() | chunk as u64);
        let mut bytes = [0u8; 2 * BLOCK];
        for out in out.chunks_mut(BLOCK) {
            rng.fill_bytes(&mut bytes);
            for (out, drawn) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *out = if u16::from_le_bytes(*drawn) < dropped { 0.0 } else { kept };
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{bits, on_threads};

    const DRAW: Draw = Draw { seed: 42, step: 3 };
    const PLACE: Place = Place { window: 1, layer: 2, site: 3 };

    fn of(n: usize, rate: f64, draw: Draw, place: Place) -> Vec<f32> {
        let mut out = vec![0.0; n];
        factors(&mut out, rate, draw, place);
        out
    }

    #[test]
    fn a_share_is_0_and_the_mean_is_1() {
        let n = 5 * CHUNK + 77;
        for rate in [0.05, 0.5, 0.9] {
            let all = of(n, rate, DRAW, PLACE);
            let zeros = all.iter().filter(|&&x| x == 0.0).count() as f64 / n as f64;
            // Five standard deviations of a share of n numbers.
            let close = 5.0 * (rate * (1.0 - rate) / n as f64).sqrt();
            assert!((zeros - rate).abs() < close, "{zeros}, not {rate}");
            let kept = all.iter().find(|&&x| x != 0.0).copied().expect("one is kept");
            assert!(all.iter().all(|&x| x == 0.0 || x == kept));
            assert!((f64::from(kept) * (1.0 - rate) - 1.0).abs() < 2e-4, "{kept}");
        }
    }

    #[test]
    fn factors_differ_in_every_coordinate_and_repeat_on_any_number_of_threads() {
        let n = 2 * CHUNK + 5;
        let mut seen = std::collections::HashSet::new();
        for (draw, place) in [
            (DRAW, PLACE),
            (Draw { seed: 43, ..DRAW }, PLACE),
            (Draw { step: 4, ..DRAW }, PLACE),
            (DRAW, Place { window: 0, ..PLACE }),
            (DRAW, Place { layer: 3, ..PLACE }),
            (DRAW, Place { site: 0, ..PLACE }),
        ] {
            let once = on_threads(1, || of(n, 0.5, draw, place));
            assert!(bits(&once) == bits(&on_threads(3, || of(n, 0.5, draw, place))));
            // Neither chunk repeats one of another place, or of this.
            for chunk in once.chunks_exact(CHUNK) {
                assert!(seen.insert(bits(chunk)), "{draw:?} {place:?}");
            }
        }
    }
}
