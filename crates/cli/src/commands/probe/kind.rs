//! The probes that the command knows.

use super::sram;
use anelint::probe::{self, Probe};

/// A probe of the command.
#[derive(Clone, Copy)]
pub enum ProbeKind {
    Probe(&'static Probe),
    Sram,
}

impl ProbeKind {
    /// All probes; those that exhaust an engine are last.
    pub fn all() -> Vec<ProbeKind> {
        let mut all: Vec<ProbeKind> = probe::all().map(ProbeKind::Probe).collect();
        let wearing = all.iter().position(|a| a.compiles() > MANY).unwrap_or(all.len());
        all.insert(wearing, ProbeKind::Sram);
        all
    }

    pub fn find(id: &str) -> Option<ProbeKind> {
        ProbeKind::all().into_iter().find(|a| a.id().eq_ignore_ascii_case(id))
    }

    pub fn id(self) -> &'static str {
        match self {
            ProbeKind::Probe(probe) => probe.id,
            ProbeKind::Sram => sram::ID,
        }
    }

    pub fn rules(self) -> &'static [&'static str] {
        match self {
            ProbeKind::Probe(probe) => probe.rules,
            ProbeKind::Sram => &[],
        }
    }

    pub fn question(self) -> &'static str {
        match self {
            ProbeKind::Probe(probe) => probe.question,
            ProbeKind::Sram => sram::QUESTION,
        }
    }

    pub fn compiles(self) -> u32 {
        match self {
            ProbeKind::Probe(probe) => probe.compiles,
            ProbeKind::Sram => 16,
        }
    }
}

/// More programs than a process is known to compile.
pub const MANY: u32 = ane::facts::COMPILE_BUDGET.value;
