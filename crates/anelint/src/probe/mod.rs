//! Probes: questions about an engine that small programs answer.
//!
//! A [`Probe`] tests one question on an engine: it compiles small programs, runs them on data without repeated values,
//! and compares with the reference evaluator. Its [`Finding`]s are compared with the table of rules
//! ([`rules`](crate::rules)): they agree, differ, or are undecided. The software engine breaks no rule; a probe on it
//! shows how a correct engine behaves, and nothing about hardware.
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
mod question;
mod sizes;
mod slots;
mod texts;

pub use finding::{Finding, Observed, Verdict};
pub use prober::Prober;
pub use question::Probe;

/// All probes; those that exhaust the process's budget are last.
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
