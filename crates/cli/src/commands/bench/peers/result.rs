//! The times of programs and models.

use super::super::output::Subject;
use super::report::{Report, median};
use crate::machine;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How the names of compiled PyTorch's rows begin.
pub const COMPILED: &str = "PyTorch, compiled";

/// The times of all programs, and where they were measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct PeersResult {
    /// What was measured.
    #[serde(flatten)]
    pub subject: Subject,
    /// The processor's name.
    pub processor: String,
    /// The vector instructions of its that the software engine uses.
    pub instructions: String,
    /// Threads that run at once.
    pub cores: usize,
    /// The operating system.
    pub system: String,
    /// Year, month and day, in UTC.
    pub date: String,
    /// How often each program ran for each model.
    pub rounds: usize,
    /// For each program as many as there are models, in the same order.
    pub rows: Vec<Row>,
    /// What was not run, and why.
    pub left_out: Vec<String>,
}

/// The times of one program for one model.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    /// The program's name, without its version.
    pub program: String,
    /// The model's name.
    pub model: String,
    /// Whether it is this program.
    pub ours: bool,
    /// Whether factors of matrix products are rounded to bf16.
    pub bf16: bool,
    /// What it measured.
    pub rounds: Vec<Report>,
    /// Why the program has no time.
    pub problem: Option<String>,
}

impl Row {
    /// What `--log` writes of one round.
    pub fn line(&self, round: usize, threads: usize, result: &Result<Report, String>) -> Value {
        let (program, model, date) = (&self.program, &self.model, machine::date());
        match result {
            Ok(report) => json!({
                "date": date, "round": round, "threads": threads, "program": program, "model": model, "report": report,
            }),
            Err(problem) => json!({
                "date": date, "round": round, "threads": threads, "program": program, "model": model, "problem": problem,
            }),
        }
    }

    /// Whether it is compiled PyTorch, in bf16 or not.
    pub fn is_compiled_torch(&self, bf16: bool) -> bool {
        self.program.starts_with(COMPILED) && self.bf16 == bf16
    }

    /// The shortest step of all rounds, in ms.
    pub fn min(&self) -> Option<f64> {
        self.complete()?.iter().map(|round| round.min_ms).min_by(f64::total_cmp)
    }

    /// The median over the rounds of the median step, in ms.
    pub fn median(&self) -> Option<f64> {
        median(self.complete()?.iter().map(|round| round.median_ms).collect())
    }

    /// The largest peak memory of all rounds, in MiB; `None` where the system does not say.
    pub fn mib(&self) -> Option<u64> {
        self.complete()?.iter().map(|round| round.mib).max().filter(|&mib| mib > 0)
    }

    /// The rounds, unless one of them failed.
    fn complete(&self) -> Option<&[Report]> {
        (self.problem.is_none() && !self.rounds.is_empty()).then_some(&self.rounds)
    }
}
