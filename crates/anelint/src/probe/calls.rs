//! Probes of evaluation calls: after an idle period, and with another quality of service.

use super::prober::{Loaded, Outcome, Prober};
use super::process::scaled;
use super::slots::WRONG;
use super::{Finding, Probe};
use std::thread;
use std::time::{Duration, Instant};

pub(super) const PROBES: &[Probe] = &[
    Probe {
        id: "rest",
        rules: &["P13"],
        question: "Is the first evaluation slower after two seconds of rest?",
        compiles: 1,
        ask: |prober| vec![rest(prober)],
    },
    Probe {
        id: "quality-of-service",
        rules: &["W8"],
        question: "Are 9, 21 and 33 accepted as quality of service, with the same numbers in the same time?",
        compiles: 1,
        ask: |prober| vec![quality(prober)],
    },
];

/// How long an engine rests, and how often: ten seconds in all.
const REST: Duration = Duration::from_secs(2);
const RESTS: usize = 5;

/// Evaluations of a series.
const SERIES: usize = 40;

/// Times from the shortest to the longest.
struct Times(Vec<f64>);

impl Times {
    fn of(mut times: Vec<f64>) -> Times {
        times.sort_by(f64::total_cmp);
        Times(times)
    }

    /// The time that this share of them is below.
    fn at(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
    }
}

/// Milliseconds of one evaluation.
fn timed(loaded: &Loaded) -> Result<f64, Outcome> {
    let began = Instant::now();
    loaded.dispatch()?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// Milliseconds of a series of evaluations.
fn series(loaded: &Loaded) -> Result<Vec<f64>, Outcome> {
    (0..SERIES).map(|_| timed(loaded)).collect()
}

/// The result of comparing two noisy series of times.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Separation {
    /// One series is longer by at least half, beyond the noise.
    Longer,
    /// They are as long.
    Alike,
    /// The noise is too large to decide.
    Unclear,
}

fn compare_times(steady: &Times, rested: &Times) -> Separation {
    let ratio = rested.at(0.5) / steady.at(0.5);
    match (ratio >= 1.5 && rested.at(0.25) > steady.at(0.9), ratio) {
        (true, _) => Separation::Longer,
        (false, ..1.25) => Separation::Alike,
        _ => Separation::Unclear,
    }
}

fn rest(prober: &Prober<'_>) -> Finding {
    let run = || -> Result<(Times, Times), Outcome> {
        let loaded = Loaded::open(prober.device(), &scaled(5))?;
        let (mut steady, mut rested) = (Vec::new(), Vec::new());
        series(&loaded)?;
        for _ in 0..RESTS {
            steady.extend(series(&loaded)?);
            thread::sleep(REST);
            rested.push(timed(&loaded)?);
        }
        Ok((Times::of(steady), Times::of(rested)))
    };
    let (steady, rested) = match run() {
        Ok(times) => times,
        Err(outcome) => return Finding::unclear("P13", format!("the program {}", outcome.says())),
    };
    let says = format!(
        "after two seconds of rest an evaluation takes {:.3} ms (median of {RESTS}, {:.3} to {:.3}), in a series {:.3} ms \
         (nine of ten up to {:.3})",
        rested.at(0.5),
        rested.at(0.0),
        rested.at(1.0),
        steady.at(0.5),
        steady.at(0.9),
    );
    let finding = match compare_times(&steady, &rested) {
        Separation::Longer => Finding::holds("P13", says),
        Separation::Alike => Finding::holds_not("P13", says),
        Separation::Unclear => Finding::unclear("P13", format!("{says}: the noise is as large")),
    };
    finding.with("rested_ms", rested.at(0.5)).with("steady_ms", steady.at(0.5))
}

/// The compared values: those in reports, and the one in between that we use.
const QUALITIES: [u32; 3] = [9, 21, 33];

/// Medians of interleaved series, equally many for each value.
const ROUNDS: usize = 7;

fn quality(prober: &Prober<'_>) -> Finding {
    let loaded = match Loaded::open(prober.device(), &scaled(5)) {
        Ok(loaded) => loaded,
        Err(outcome) => return Finding::unclear("W8", format!("the program {}", outcome.says())),
    };
    let Ok(want) = scaled(5).means() else { return Finding::unclear("W8", "the program cannot be asked") };
    if !loaded.kernel.set_quality(QUALITIES[0]) {
        return Finding::unclear("W8", "this engine has no quality of service");
    }
    let mut medians = QUALITIES.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (value, medians) in QUALITIES.iter().zip(&mut medians) {
            loaded.kernel.set_quality(*value);
            let got = series(&loaded).and_then(|times| Ok((times, loaded.read()?)));
            match got {
                Ok((times, got)) if got == want => medians.push(Times::of(times).at(0.5)),
                Ok(_) => {
                    return Finding::holds_not("W8", format!("with {value} the numbers are wrong"))
                        .leads_to(WRONG);
                }
                Err(outcome) => {
                    return Finding::holds_not("W8", format!("with {value} the program {}", outcome.says()))
                        .leads_to(outcome.consequence());
                }
            }
        }
    }
    let times = medians.map(Times::of);
    let told: Vec<String> =
        QUALITIES.iter().zip(&times).map(|(value, t)| format!("{value}: {:.3} ms", t.at(0.5))).collect();
    let says = format!("all are accepted, with the same numbers; {}", told.join(", "));
    let finding = match spread(&times) {
        Separation::Alike => Finding::holds("W8", says),
        Separation::Longer => Finding::holds_not("W8", says),
        Separation::Unclear => Finding::unclear("W8", format!("{says}: the noise is as large")),
    };
    let numbers = QUALITIES.iter().zip(&times);
    numbers.fold(finding, |f, (value, t)| f.with(format!("quality_{value}_ms"), t.at(0.5)))
}

/// Whether the slowest of these is slower than the fastest, by a tenth and in nearly every round.
fn spread(times: &[Times; 3]) -> Separation {
    let by_median = |a: &&Times, b: &&Times| a.at(0.5).total_cmp(&b.at(0.5));
    let (Some(fast), Some(slow)) = (times.iter().min_by(by_median), times.iter().max_by(by_median)) else {
        return Separation::Unclear;
    };
    match (slow.at(0.5) / fast.at(0.5), slow.at(0.1) > fast.at(0.9)) {
        (..1.1, _) => Separation::Alike,
        (_, true) => Separation::Longer,
        _ => Separation::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(of: &[f64]) -> Times {
        Times::of(of.to_vec())
    }

    #[test]
    fn only_what_is_beyond_the_noise_is_told() {
        let steady = times(&[1.0, 1.1, 1.0, 1.0, 3.0, 1.0, 1.2, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(compare_times(&steady, &times(&[4.0, 5.0, 6.0, 4.0, 5.0])), Separation::Longer);
        assert_eq!(compare_times(&steady, &times(&[1.0, 1.1, 9.0, 1.0, 1.1])), Separation::Alike);
        // One of them was as fast as those that took no rest.
        assert_eq!(compare_times(&steady, &times(&[1.0, 1.1, 9.0, 9.0, 9.0])), Separation::Unclear);
    }

    #[test]
    fn a_quality_of_service_is_slower_in_nearly_every_round_or_not_at_all() {
        let fast = || times(&[1.0, 1.0, 1.1, 1.0, 1.0]);
        assert_eq!(spread(&[fast(), fast(), times(&[1.05, 1.0, 2.0, 1.05, 1.05])]), Separation::Alike);
        assert_eq!(spread(&[fast(), times(&[1.4, 1.5, 1.4, 1.6, 1.4]), fast()]), Separation::Longer);
        assert_eq!(spread(&[times(&[1.0, 1.5, 1.4, 1.0, 1.4]), fast(), fast()]), Separation::Unclear);
    }
}
