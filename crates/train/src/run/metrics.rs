//! `metrics.jsonl`: one line per step or validation.

use super::RunError;
use crate::error::TrainError;
use crate::fs::{refuse_link, write_atomically};
use serde::{Deserialize, Deserializer, Serialize};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// One optimizer step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The number of the step, counted from 1.
    pub step: u64,
    /// Mean loss of its windows: nats per token, or mean squared error. NaN is `null` in JSON.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// The learning rate.
    pub lr: f64,
    /// The global norm of the gradient before clipping.
    #[serde(deserialize_with = "number")]
    pub grad_norm: f64,
    /// Wall time, in milliseconds.
    pub ms: f64,
    /// Tokens trained on, per second.
    pub tokens_per_s: f64,
    /// Time of the engine's dispatches, in milliseconds; the mean of the threads if windows run side by side, as are the times
    /// below of forward and backward pass.
    pub engine_ms: f64,
    /// Time of the host's work, overlapped work included, in milliseconds.
    pub host_ms: f64,
    /// Time of copying values to and from surfaces, part of `host_ms`, in milliseconds.
    #[serde(default)]
    pub convert_ms: f64,
    /// Time in which the engine's lane waited for the host's, or threads for the windows of others, in milliseconds.
    #[serde(default)]
    pub wait_ms: f64,
    /// Time of AdamW and of updating weights, part of `host_ms`, in milliseconds.
    #[serde(default)]
    pub update_ms: f64,
    /// Time of recompiling kernels with new weights, part of `host_ms`, in milliseconds.
    #[serde(default)]
    pub compile_ms: f64,
    /// In the first step of a new process, the time since the last step of the previous one, in milliseconds: saving,
    /// starting, reading, compiling. Not part of `ms`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restart_ms: f64,
    /// Dispatches to the engine.
    pub dispatches: u64,
    /// The loss scale of this step, if it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f32>,
    /// Whether the weights were not updated, because a gradient was not finite.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
}

/// One validation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// The last step before it.
    pub step: u64,
    /// Mean loss: nats per token, or mean squared error.
    #[serde(deserialize_with = "number")]
    pub loss: f64,
    /// `exp(loss)`.
    #[serde(deserialize_with = "number")]
    pub perplexity: f64,
    /// Bits per byte of the predicted text; `None` if the text of the tokens is unknown.
    pub bits_per_byte: Option<f64>,
    /// Number of windows.
    pub windows: usize,
}

/// Whether serde omits a time.
fn is_zero(x: &f64) -> bool {
    *x == 0.0
}

/// Deserialises a number; `null` is NaN.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Line {
    Step(StepRecord),
    Validation(Validation),
}

impl Line {
    fn step(&self) -> u64 {
        match self {
            Line::Step(s) => s.step,
            Line::Validation(v) => v.step,
        }
    }
}

/// The metrics file of a run, open for appending.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
    /// The validations so far.
    validations: Vec<Validation>,
}

impl Metrics {
    /// Opens the file of a run that is at step `step`; later lines, which a killed process wrote, are removed.
    ///
    /// # Errors
    /// If the file cannot be written, or is not a metrics file.
    pub(super) fn open(path: &Path, step: u64) -> Result<Metrics, RunError> {
        refuse_link(path)?;
        let mut validations = Vec::new();
        if path.exists() {
            let (lines, whole) = lines(path)?;
            let all = lines.len();
            let kept: Vec<Line> = lines.into_iter().filter(|l| l.step() <= step).collect();
            // Nothing to remove: keep the file as it is.
            if !whole || kept.len() < all {
                let text: String =
                    kept.iter().filter_map(|l| Some(serde_json::to_string(l).ok()? + "\n")).collect();
                write_atomically(path, text.as_bytes())?;
            }
            let validation = |line| if let Line::Validation(v) = line { Some(v) } else { None };
            validations = kept.into_iter().filter_map(validation).collect();
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(TrainError::io("write", path))?;
        Ok(Metrics { path: path.to_owned(), file, validations })
    }

    /// The validations so far, in the order in which they were made.
    pub(super) fn validations(&self) -> &[Validation] {
        &self.validations
    }

    /// Syncs the file.
    pub(super) fn sync(&self) -> Result<(), RunError> {
        Ok(self.file.sync_data().map_err(TrainError::io("write", &self.path))?)
    }

    /// Steps and validations of a metrics file.
    ///
    /// # Errors
    /// If it cannot be read, or is not a metrics file. An incomplete last line is left out.
    pub fn read(path: &Path) -> Result<(Vec<StepRecord>, Vec<Validation>), RunError> {
        let (mut steps, mut validations) = (Vec::new(), Vec::new());
        for line in lines(path)?.0 {
            match line {
                Line::Step(s) => steps.push(s),
                Line::Validation(v) => validations.push(v),
            }
        }
        Ok((steps, validations))
    }

    pub(super) fn step(&mut self, record: &StepRecord) -> Result<(), RunError> {
        self.write(&Line::Step(record.clone()))
    }

    pub(super) fn validation(&mut self, validation: &Validation) -> Result<(), RunError> {
        self.write(&Line::Validation(validation.clone()))?;
        self.validations.push(validation.clone());
        Ok(())
    }

    fn write(&mut self, line: &Line) -> Result<(), RunError> {
        let problem = |e: serde_json::Error| RunError::Metrics {
            path: self.path.clone(),
            line: 0,
            problem: e.to_string(),
        };
        let mut text = serde_json::to_string(line).map_err(problem)?;
        text.push('\n');
        Ok(self.file.write_all(text.as_bytes()).map_err(TrainError::io("write", &self.path))?)
    }
}

/// The lines of a metrics file, and whether the last one is complete; an incomplete one is left out.
fn lines(path: &Path) -> Result<(Vec<Line>, bool), RunError> {
    let text = std::fs::read_to_string(path).map_err(TrainError::io("read", path))?;
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let mut out = Vec::new();
    for (i, line) in text[..whole].lines().enumerate() {
        out.push(serde_json::from_str(line).map_err(|e| RunError::Metrics {
            path: path.to_owned(),
            line: i + 1,
            problem: e.to_string(),
        })?);
    }
    Ok((out, whole == text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(step: u64) -> StepRecord {
        StepRecord {
            step,
            loss: 2.5,
            lr: 1e-3,
            grad_norm: 0.7,
            ms: 10.0,
            tokens_per_s: 100.0,
            engine_ms: 4.0,
            host_ms: 6.0,
            convert_ms: 1.0,
            wait_ms: 0.5,
            update_ms: 2.0,
            compile_ms: 0.0,
            restart_ms: 0.0,
            dispatches: 12,
            loss_scale: None,
            skipped: false,
        }
    }

    #[test]
    fn a_resumed_run_writes_no_step_twice() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("metrics.jsonl");
        let mut metrics = Metrics::open(&path, 0).expect("new");
        for step in 1..=5 {
            metrics.step(&record(step)).expect("written");
        }
        // Killed while it wrote step 6; the checkpoint is of step 3.
        metrics.file.write_all(b"{\"kind\":\"step\",\"st").expect("written");
        let mut metrics = Metrics::open(&path, 3).expect("resumed");
        metrics.step(&record(4)).expect("written");
        let (steps, _) = Metrics::read(&path).expect("read");
        assert_eq!(steps.iter().map(|s| s.step).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn a_loss_that_is_no_number_can_be_read_back() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("metrics.jsonl");
        let mut metrics = Metrics::open(&path, 0).expect("new");
        let bad = StepRecord { loss: f64::NAN, grad_norm: f64::INFINITY, skipped: true, ..record(1) };
        metrics.step(&bad).expect("written");
        let (steps, _) = Metrics::read(&path).expect("read");
        assert!(steps[0].loss.is_nan() && steps[0].grad_norm.is_nan() && steps[0].skipped);
    }

    #[test]
    fn a_foreign_file_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, "hello\n").expect("written");
        let error = Metrics::open(&path, 0).expect_err("foreign");
        assert!(error.to_string().contains("line 1"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "hello\n");
    }
}
