//! Learning-rate schedules.

use serde::{Deserialize, Serialize};

/// A schedule of the learning rate, relative to its peak.
///
/// Steps are optimizer steps (not micro-batches), counted from 0. During warm-up the rate rises linearly and reaches the
/// peak at the last of the `warmup` steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Schedule {
    /// Warm-up, then cosine decay from the peak to `min_ratio` of it at step `total`, then constant.
    Cosine {
        /// Steps of warm-up.
        warmup: u32,
        /// Steps of the whole run. If `warmup` is as large, there is no decay.
        total: u32,
        /// The rate at the end over the peak; commonly 0.1.
        min_ratio: f64,
    },
    /// Warm-up, then constant at the peak, then linear decay to 0 at step `total`, then 0.
    Linear {
        /// Steps of warm-up.
        warmup: u32,
        /// Steps of the whole run. If `warmup` is as large, there is no decay.
        total: u32,
        /// The share of the steps after warm-up over which the rate decays: above 0, at most 1.
        decay: f64,
    },
    /// Warm-up, then constant at the peak.
    Constant {
        /// Steps of warm-up.
        warmup: u32,
    },
}

impl Schedule {
    /// The rate of step `step`, counted from 0, over the peak: in 0..=1 and never NaN.
    ///
    /// Source: SGDR's cosine (Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5) without restarts.
    pub fn ratio_at(&self, step: u32) -> f64 {
        let (Self::Cosine { warmup, .. } | Self::Linear { warmup, .. } | Self::Constant { warmup }) = *self;
        if step < warmup {
            return (f64::from(step) + 1.0) / f64::from(warmup);
        }
        match *self {
            Self::Constant { .. } => 1.0,
            Self::Cosine { total, min_ratio, .. } if step >= total => min_ratio,
            Self::Cosine { total, min_ratio, .. } => {
                // warmup ≤ step < total: no division by 0.
                let progress = f64::from(step - warmup) / f64::from(total - warmup);
                min_ratio + (1.0 - min_ratio) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
            Self::Linear { total, .. } if step >= total => 0.0,
            Self::Linear { total, decay, .. } => {
                // As above. The last step has a rate above 0.
                let left = f64::from(total - step) / f64::from(total - warmup);
                (left / decay).min(1.0)
            }
        }
    }

    /// The learning rate of step `step`, counted from 0, for a peak of `peak`.
    pub fn lr_at(&self, step: u32, peak: f64) -> f32 {
        (peak * self.ratio_at(step)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosine_rises_falls_and_stays() {
        let schedule = Schedule::Cosine { warmup: 4, total: 24, min_ratio: 0.1 };
        let want = [(0, 0.25), (3, 1.0), (4, 1.0), (14, 0.55), (24, 0.1), (25, 0.1), (u32::MAX, 0.1)];
        for (step, ratio) in want {
            assert!((schedule.ratio_at(step) - ratio).abs() < 1e-12, "step {step}");
        }
        assert!((4..24).all(|step| schedule.ratio_at(step) > schedule.ratio_at(step + 1)));
        assert_eq!(schedule.lr_at(0, 1e-3), 2.5e-4);
    }

    #[test]
    fn linear_rises_stays_and_falls_to_zero() {
        let whole = Schedule::Linear { warmup: 4, total: 24, decay: 1.0 };
        let end = Schedule::Linear { warmup: 4, total: 24, decay: 0.25 };
        let want = [(0, 0.25, 0.25), (3, 1.0, 1.0), (4, 1.0, 1.0), (14, 0.5, 1.0), (19, 0.25, 1.0)];
        let last = [(23, 0.05, 0.2), (24, 0.0, 0.0), (u32::MAX, 0.0, 0.0)];
        for (step, linear, late) in want.into_iter().chain(last) {
            assert!((whole.ratio_at(step) - linear).abs() < 1e-12, "step {step}");
            assert!((end.ratio_at(step) - late).abs() < 1e-12, "step {step}");
        }
        // No step of a run has a rate of 0, however short it is.
        for (warmup, total) in [(0, 1), (5, 5), (5, 3), (1, 2)] {
            let schedule = Schedule::Linear { warmup, total, decay: 0.4 };
            assert!((0..total).all(|step| schedule.ratio_at(step) > 0.0), "{schedule:?}");
        }
    }

    #[test]
    fn constant_rises_and_stays() {
        let schedule = Schedule::Constant { warmup: 2 };
        assert_eq!([0, 1, 2, 1000].map(|step| schedule.ratio_at(step)), [0.5, 1.0, 1.0, 1.0]);
        assert_eq!(Schedule::Constant { warmup: 0 }.ratio_at(0), 1.0);
    }

    #[test]
    fn no_run_is_too_short() {
        for (warmup, total) in [(0, 0), (0, 1), (5, 5), (5, 3), (5, 0), (1, 2)] {
            let schedule = Schedule::Cosine { warmup, total, min_ratio: 0.1 };
            for step in 0..10 {
                let ratio = schedule.ratio_at(step);
                assert!(ratio > 0.0 && ratio <= 1.0, "{schedule:?} at {step}: {ratio}");
                if step < warmup {
                    assert_eq!(ratio, f64::from(step + 1) / f64::from(warmup));
                }
            }
        }
        assert_eq!(Schedule::Cosine { warmup: 0, total: 1, min_ratio: 0.1 }.ratio_at(0), 1.0);
        assert_eq!(Schedule::Cosine { warmup: 0, total: 0, min_ratio: 0.1 }.ratio_at(0), 0.1);
    }
}
