//! Progress of a run: a bar on a terminal, a line from time to time elsewhere.

use crate::timestamp::Timestamp;
use crate::ui::Ui;
use crate::units;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use train::run::{Notice, StepRecord, Validation};

/// Longest time between two lines where there is no bar.
const MAX_INTERVAL: Duration = Duration::from_secs(10);
/// Lines of a whole run, at least, where there is no bar.
const LINES: u64 = 20;

/// An exponential moving average without bias at the start; half of the weight is on the last 13 values.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Smooth {
    sum: f64,
    weight: f64,
}

impl Smooth {
    const KEEP: f64 = 0.95;

    /// Adds `x` and returns the average.
    pub fn add(&mut self, x: f64) -> f64 {
        self.sum = Self::KEEP * self.sum + (1.0 - Self::KEEP) * x;
        self.weight = Self::KEEP * self.weight + (1.0 - Self::KEEP);
        self.get()
    }

    /// The average so far; NaN before the first value.
    pub fn get(&self) -> f64 {
        self.sum / self.weight
    }
}

/// Progress of a run at the end of a process, for the next one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pace {
    from: u64,
    began: Timestamp,
    spoke: (Timestamp, u64),
    loss: Smooth,
    rate: Smooth,
    validated: Option<f64>,
}

/// Displays the progress of a run.
#[derive(Debug)]
pub struct Progress<'a> {
    ui: &'a Ui,
    bar: Option<ProgressBar>,
    phase: &'static str,
    /// Steps done when training began; then steps done now, and the steps of the whole run.
    from: u64,
    done: u64,
    total: u64,
    began: Instant,
    spoke: (Instant, u64),
    loss: Smooth,
    rate: Smooth,
    validated: Option<f64>,
}

impl<'a> Progress<'a> {
    /// Displays nothing yet.
    pub fn new(ui: &'a Ui) -> Progress<'a> {
        let now = Instant::now();
        Progress {
            ui,
            bar: None,
            phase: "",
            from: 0,
            done: 0,
            total: 0,
            began: now,
            spoke: (now, 0),
            loss: Smooth::default(),
            rate: Smooth::default(),
            validated: None,
        }
    }

    /// Displays a notice from opening a run.
    pub fn notice(&mut self, notice: Notice<'_>) {
        match notice {
            Notice::Tokenizing { done, total } => {
                let said = format!("{} of {}", units::bytes(done), units::bytes(total));
                self.advance("tokenizing", done, total, &said);
            }
            Notice::TrainingTokenizer { vocab } => {
                self.advance("training a tokenizer", 0, 1, &units::plural(vocab, "token"));
            }
            Notice::Compiling { done, total } => {
                let said = format!("{done} of {}", units::plural(total, "layer"));
                self.advance("compiling", done as u64, total as u64, &said);
            }
            // `Ladder` reports these.
            Notice::Kernels(_) => {}
            Notice::Warning(line) => self.ui.warn(line),
        }
    }

    fn advance(&mut self, phase: &'static str, done: u64, total: u64, said: &str) {
        if self.phase != phase {
            self.clear();
            self.phase = phase;
            self.bar = self.ui.bar(phase, total);
            if self.bar.is_none() && !self.ui.is_watched() {
                self.ui.say(phase);
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(said.to_owned());
        }
    }

    /// Starts the display of training, after `done` of `total` steps.
    pub fn start(&mut self, done: u64, total: u64) {
        self.clear();
        self.phase = "training";
        (self.from, self.done, self.total) = (done, done, total);
        self.began = Instant::now();
        self.spoke = (self.began, done);
        self.bar = self.ui.bar("training", total);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(format!("{done}/{total}"));
        }
    }

    /// The state for the next process.
    pub fn pace(&self) -> Pace {
        Pace {
            from: self.from,
            began: self.began.into(),
            spoke: (self.spoke.0.into(), self.spoke.1),
            loss: self.loss,
            rate: self.rate,
            validated: self.validated,
        }
    }

    /// Continues the display of the previous process, after `done` of `total` steps.
    pub fn go_on(&mut self, pace: &Pace, done: u64, total: u64) {
        self.start(done, total);
        let Pace { from, began, spoke, loss, rate, validated } = pace.clone();
        (self.from, self.began, self.spoke) = (from, began.into(), (spoke.0.into(), spoke.1));
        (self.loss, self.rate, self.validated) = (loss, rate, validated);
    }

    /// Displays a completed step.
    pub fn step(&mut self, record: &StepRecord) {
        self.done = record.step;
        if record.loss.is_finite() {
            self.loss.add(record.loss);
        }
        self.rate.add(record.tokens_per_s);
        if record.skipped {
            let at = record.loss_scale.filter(|_| record.loss.is_finite());
            let at = at.map_or(String::new(), |scale| format!(" at the loss scale {scale}, which is halved"));
            self.ui.say(format!(
                "step {}: a gradient is not finite{at}; the weights are unchanged",
                record.step
            ));
        }
        let said = self.line(record.loss);
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            bar.set_message(said);
            return;
        }
        let (when, at) = self.spoke;
        let is_due = (self.done - at) * LINES >= self.total - self.from;
        if is_due || when.elapsed() >= MAX_INTERVAL || self.done == self.total {
            self.spoke = (Instant::now(), self.done);
            self.ui.say(format!("step {said}"));
        }
    }

    /// `120/600  loss 4.123  val 4.201  41.2k tok/s  0:48 left`
    fn line(&self, loss: f64) -> String {
        let smoothed = if loss.is_finite() { self.loss.get() } else { loss };
        let per_step = self.began.elapsed().as_secs_f64() / (self.done - self.from).max(1) as f64;
        let left = units::clock(per_step * (self.total - self.done) as f64);
        let val = self.validated.map(|v| format!("  val {v:.3}")).unwrap_or_default();
        let width = self.total.to_string().len();
        format!(
            "{:>width$}/{}  loss {smoothed:.3}{val}  {} tok/s  {left} left",
            self.done,
            self.total,
            units::count(self.rate.get()),
        )
    }

    /// Displays a validation.
    pub fn validation(&mut self, v: &Validation) {
        self.validated = Some(v.loss);
        let width = self.total.to_string().len();
        let bits = v.bits_per_byte.map(|b| format!("  {b:.3} bits/byte")).unwrap_or_default();
        // There is none in a process that took no step.
        let loss = self.loss().map(|loss| format!("loss {loss:.3}  ")).unwrap_or_default();
        self.ui.say(format!(
            "step {:>width$}/{}  {loss}validation {}{bits}",
            v.step,
            self.total,
            self.ui.bold(&format!("{:.3}", v.loss)),
        ));
    }

    /// The smoothed loss, once there is one.
    pub fn loss(&self) -> Option<f64> {
        Some(self.loss.get()).filter(|loss| loss.is_finite())
    }

    /// Displays `what` as work of unknown length.
    pub fn busy(&mut self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}/{}  {what}", self.done, self.total));
        }
    }

    /// Removes the bar.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smoothed_constant_is_itself_from_the_first_value() {
        let mut smooth = Smooth::default();
        for _ in 0..3 {
            // Tolerance: a few roundings of f64.
            assert!((smooth.add(4.0) - 4.0).abs() < 1e-14);
        }
        assert!(smooth.add(0.0) < 3.9);
    }
}
