//! The entry of a probe.

use super::finding::Finding;
use super::prober::Prober;

/// A question about an engine.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Its name, as it is typed.
    pub id: &'static str,
    /// The rules that it decides, as [`rules::find`](crate::rules::find) knows them.
    pub rules: &'static [&'static str],
    /// The question: one sentence.
    pub question: &'static str,
    /// Programs that it compiles, at most: a process has a budget of them.
    pub compiles: u32,
    pub(super) ask: fn(&Prober<'_>) -> Vec<Finding>,
}

impl Probe {
    /// Runs the probe on the engine of `prober`: one finding for each rule or topic.
    pub fn ask(&self, prober: &Prober<'_>) -> Vec<Finding> {
        (self.ask)(prober)
    }
}
