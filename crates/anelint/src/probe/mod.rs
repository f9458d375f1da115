//! Probes: questions about an engine that small programs answer.
//!
//! A [`Probe`] asks an engine one question: it compiles small programs, runs them on data that is the same in no two
//! places, and compares with the reference meaning. What it [finds](Finding) is set beside our table of rules
//! ([`rules`](crate::rules)): as there, different, or undecided. The software engine breaks no rule, so there a
//! probe shows what a correct engine answers, and nothing about hardware.
//!
//! Not here: how a verdict is shown (`cli`).

mod calls;
mod finding;
mod forms;
mod matrices;
mod newer;
mod numbers;
mod prober;
mod process;
mod sizes;
mod slots;
mod texts;

pub use finding::{Finding, Observed, Verdict};
pub use prober::Prober;

/// A question about an engine.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Its name, as it is typed.
    pub id: &'static str,
    /// The rules that it decides, as [`rules::find`](crate::rules::find) knows them.
    pub rules: &'static [&'static str],
    /// What is asked: one sentence.
    pub question: &'static str,
    /// Programs that it compiles, at most: a process has a budget of them.
    pub compiles: u32,
    ask: fn(&Prober<'_>) -> Vec<Finding>,
}

impl Probe {
    /// Asks the engine of `prober`: one finding for each rule, and for what no rule says yet.
    pub fn ask(&self, prober: &Prober<'_>) -> Vec<Finding> {
        (self.ask)(prober)
    }
}

/// Every probe; those that use up the process's budget come last.
pub fn all() -> impl Iterator<Item = &'static Probe> {
    [
        slots::PROBES,
        sizes::PROBES,
        texts::PROBES,
        forms::PROBES,
        newer::PROBES,
        matrices::PROBES,
        numbers::PROBES,
        calls::PROBES,
        process::PROBES,
    ]
    .into_iter()
    .flatten()
}

/// The probe called `id`, in any case.
pub fn find(id: &str) -> Option<&'static Probe> {
    all().find(|p| p.id.eq_ignore_ascii_case(id))
}
