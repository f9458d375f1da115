//! The report at the end of a run: as text, and as JSON.

use crate::ui::{Ui, program, word};
use crate::units;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::PathBuf;
use train::run::{StepRecord, Validation};

/// The report of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The model's name.
    pub model: String,
    /// Number of weights.
    pub parameters: usize,
    /// The engine's name.
    pub device: String,
    /// The engine's chip or the processor's instruction set.
    pub chip: String,
    /// Number of compute threads.
    pub threads: usize,
    /// Kernels per layer.
    pub kernels_per_layer: usize,
    /// Steps of the run, those of earlier processes included.
    pub steps: u64,
    /// Work since the command was given.
    pub work: Work,
    /// Smoothed loss of the last steps.
    pub loss: Option<f64>,
    /// The last validation, on all held-out windows.
    pub validation: Option<Validation>,
    /// Memory, in bytes.
    pub memory: MemoryReport,
    /// The run's folder.
    pub folder: PathBuf,
    /// Files in it.
    pub files: Vec<String>,
    /// A text by the model.
    pub sample: Option<String>,
    /// Whether the model is one to chat with.
    #[serde(skip)]
    pub is_chat: bool,
}

/// Sums over the steps of one call, over all its processes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Work {
    /// Steps.
    pub steps: u64,
    /// Steps without an update, because a gradient was not finite.
    pub skipped: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Dispatches to the engine.
    pub dispatches: u64,
    /// Total time of steps, in seconds.
    pub step_s: f64,
    /// Seconds of the engine's dispatches.
    pub engine_s: f64,
    /// Seconds of the host's work, which overlaps the engine's.
    pub host_s: f64,
    /// Part of `host_s`: copying values to and from surfaces.
    pub convert_s: f64,
    /// Part of `host_s`: the optimizer.
    pub update_s: f64,
    /// Part of `host_s`: recompiling kernels with new weights.
    pub compile_s: f64,
    /// Seconds in which the engine's lane waited for the host's lane.
    pub wait_s: f64,
    /// Seconds from the first step to the end, with validations and checkpoints.
    pub wall_s: f64,
    /// Tokens trained on per second of steps.
    pub tokens_per_s: f64,
    /// Restarts in a new process, where the number of compilations per process is limited.
    pub restarts: u64,
    /// Seconds from the last step of a process to the first of the next.
    pub restart_s: f64,
}

/// Bytes of a run.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryReport {
    /// Weights in f32.
    pub weights: usize,
    /// Gradients and moments of the optimizer.
    pub optimizer: usize,
    /// Surfaces and the host's buffers.
    pub surfaces: usize,
    /// Constants of the compiled kernels.
    pub kernels: usize,
    /// Working memory that all kernels share.
    pub shared: usize,
    /// Peak of the process, where the system reports it.
    pub process_peak: Option<u64>,
}

impl Work {
    /// Adds a step on `tokens` tokens.
    pub fn add(&mut self, record: &StepRecord, tokens: u64) {
        self.steps += 1;
        self.skipped += u64::from(record.skipped);
        self.tokens += tokens;
        self.dispatches += record.dispatches;
        self.step_s += record.ms / 1e3;
        self.engine_s += record.engine_ms / 1e3;
        self.host_s += record.host_ms / 1e3;
        self.convert_s += record.convert_ms / 1e3;
        self.update_s += record.update_ms / 1e3;
        self.compile_s += record.compile_ms / 1e3;
        self.wait_s += record.wait_ms / 1e3;
        self.tokens_per_s = self.tokens as f64 / self.step_s.max(1e-9);
    }

    /// A table of a step's time: one row for each kind of work.
    pub fn profile(&self) -> String {
        let host = self.host_s - self.convert_s - self.update_s - self.compile_s;
        let mut rows = vec![
            ("engine", self.engine_s, "dispatches"),
            ("conversion", self.convert_s, "copies to and from surfaces"),
            ("host", host.max(0.0), "norms, sums, loss, matrix gradients; partly overlaps the engine"),
            ("waiting", self.wait_s, "the engine's lane waits for the host, or a window for another"),
            ("optimizer", self.update_s, "the update, new weights"),
            ("compiling", self.compile_s, "recompiling kernels for new weights"),
            ("step", self.step_s, "all of it"),
        ];
        if self.restarts > 0 {
            rows.push(("restarts", self.restart_s, "between steps: saving, starting, reading, compiling"));
        }
        let steps = units::plural(self.steps as usize, "step");
        let mut out = format!("{:<14}{:>13}{:>8}    of {steps}", "profile", "ms a step", "share");
        for (name, seconds, what) in rows {
            let (ms, share) = (1e3 * seconds / self.steps.max(1) as f64, self.share(seconds));
            // Writing to a string cannot fail.
            let _ = write!(out, "\n  {name:<12}{ms:>13.3}{share:>6.1} %    {what}");
        }
        out
    }

    fn share(&self, seconds: f64) -> f64 {
        100.0 * seconds / self.step_s.max(1e-9)
    }
}

impl Report {
    /// The report as a dozen lines of text.
    pub fn text(&self, ui: &Ui) -> String {
        let mut rows: Vec<(&str, String)> = Vec::new();
        if let Some(v) = &self.validation {
            let windows = units::plural(v.windows, "window");
            rows.push(("validation", format!("{} on {windows} without overlap", ui.bold(&loss(v)))));
        } else if let Some(loss) = self.loss {
            rows.push(("loss", format!("{loss:.4}")));
        }
        let w = &self.work;
        let skipped = if w.skipped > 0 { format!(", {} skipped", w.skipped) } else { String::new() };
        // A call may take no step and only write what is missing after the last.
        if let Some(tokens) = w.tokens.checked_div(w.steps) {
            let rate = units::count(w.tokens_per_s);
            let (steps, time) = (w.steps, units::clock(w.wall_s));
            rows.push((
                "speed",
                format!("{rate} tokens/s: {steps} steps{skipped} of {tokens} tokens in {time}"),
            ));
            let (engine, host) = (w.share(w.engine_s), w.share(w.host_s));
            // Two lanes overlap; threads with a window each do not, and times are means of theirs.
            let overlap = if engine + host > 100.0 { "; they overlap" } else { "" };
            rows.push(("time", format!("engine {engine:.0} %, host {host:.0} % of a step{overlap}")));
        }
        if w.restarts > 0 {
            let each = w.restart_s / w.restarts as f64;
            rows.push((
                "restarts",
                format!("{}, {each:.2} s from the last step of a process to the next", w.restarts),
            ));
        }
        rows.push(("memory", self.memory.text()));
        rows.push(("files", format!("{}: {}", self.folder.display(), self.files.join(", "))));
        if self.sample.is_some() {
            let folder = word(&self.folder);
            let next = match self.is_chat {
                true => format!("{} chat --model {folder}", program()),
                false => format!("{} generate --model {folder} --prompt TEXT", program()),
            };
            rows.push(("next", next));
        }
        let mut out = String::new();
        for (name, text) in rows {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{:<12}{text}", name);
        }
        out.trim_end().to_owned()
    }
}

/// `loss 1.765, perplexity 5.84, 2.48 bits per byte`
pub fn loss(v: &Validation) -> String {
    let perplexity = match v.perplexity {
        // `exp` overflows for losses above 709.78.
        x if x.is_infinite() => format!("perplexity above {:.1e}", f64::MAX),
        x => format!("perplexity {x:.2}"),
    };
    let bits = v.bits_per_byte.map_or(String::new(), |bits| format!(", {bits:.3} bits per byte"));
    format!("loss {:.4}, {perplexity}{bits}", v.loss)
}

impl MemoryReport {
    fn text(&self) -> String {
        let parts = [
            ("weights", self.weights),
            ("optimizer", self.optimizer),
            ("surfaces", self.surfaces),
            ("kernels", self.kernels),
            ("scratch", self.shared),
        ];
        let mut sizes: Vec<String> =
            parts.iter().map(|(what, n)| format!("{what} {}", units::bytes(*n as u64))).collect();
        if let Some(peak) = self.process_peak {
            sizes.push(format!("process peak {}", units::bytes(peak)));
        }
        sizes.join(", ")
    }
}

/// Peak resident memory of this process, where the system reports it (Linux).
pub fn process_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perplexity_beyond_all_numbers_is_bounded() {
        let v =
            |loss: f64| Validation { step: 1, loss, perplexity: loss.exp(), bits_per_byte: None, windows: 1 };
        assert_eq!(loss(&v(2.0)), "loss 2.0000, perplexity 7.39");
        assert_eq!(loss(&v(800.0)), "loss 800.0000, perplexity above 1.8e308");
    }
}
