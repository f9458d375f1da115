//! The entries of the table of rules.

use super::chip::{Chip, Chips};
use super::evidence::{self, Claim};
use super::matches::Matches;
use super::subject::Subject;
use std::fmt;

/// Something that holds of real engines.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// A letter and a number: W for process and daemon, S for surfaces and shapes, T for text, N for numbers, P for
    /// speed.
    pub id: &'static str,
    /// One sentence: the constraint on a program or its user.
    pub title: &'static str,
    /// The chips that it holds on.
    pub chips: Chips,
    /// The way to the engine that it holds on.
    pub route: Route,
    /// The consequence of breaking it.
    pub consequence: Consequence,
    /// How sure it is.
    pub confidence: Confidence,
    /// The reports: projects that saw it hold, and projects for which a violation ran.
    pub source: &'static [Claim],
    /// How reports differ, if they do.
    pub conflict: Option<&'static str>,
    /// The remedy: one sentence.
    pub repair: &'static str,
    /// How a text is checked, or why it cannot be.
    pub check: Check,
}

impl Rule {
    /// The defaults of entries.
    pub(super) const DEFAULT: Rule = Rule {
        id: "",
        title: "",
        chips: Chips::Any,
        route: Route::Both,
        consequence: Consequence::Informative,
        confidence: Confidence::C,
        source: &[],
        conflict: None,
        repair: "",
        check: Check::Never(""),
    };

    /// Whether what is reported is enough to call a breach an error: two independent reports, or one with a published
    /// test, and none of success.
    pub fn is_sure(&self) -> bool {
        self.conflict.is_none() && self.confidence != Confidence::C && evidence::suffice(self.source)
    }

    /// Whether a text can be checked for it.
    pub fn is_checked(&self) -> bool {
        !matches!(self.check, Check::Never(_))
    }
}

/// How a text is checked.
#[derive(Clone, Copy)]
pub enum Check {
    /// The same for all chips.
    Text(fn(&Subject<'_>, &mut Matches)),
    /// For one chip at a time.
    Chip(fn(&Subject<'_>, Chip, &mut Matches)),
    /// Why a text cannot decide it.
    Never(&'static str),
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::Text(_) => f.write_str("Text"),
            Check::Chip(_) => f.write_str("Chip"),
            Check::Never(why) => write!(f, "Never({why:?})"),
        }
    }
}

/// The consequence of breaking a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consequence {
    /// The compiler refuses the program.
    Refused,
    /// It compiles, and does not load.
    LoadFailure,
    /// It loads, and each evaluation fails.
    Evaluation,
    /// The process or the compiler service dies or never answers.
    Crash,
    /// It runs, and the numbers are zeros or wrong.
    WrongNumbers,
    /// It runs, slower than it need.
    Slow,
    /// Nothing: it is good to know.
    Informative,
}

impl Consequence {
    /// Every consequence, the worst first.
    pub const ALL: [Consequence; 7] = [
        Consequence::Refused,
        Consequence::LoadFailure,
        Consequence::Evaluation,
        Consequence::Crash,
        Consequence::WrongNumbers,
        Consequence::Slow,
        Consequence::Informative,
    ];

    /// The consequence that is shown as `text`.
    pub fn parse(text: &str) -> Option<Consequence> {
        Consequence::ALL.into_iter().find(|c| c.to_string() == text)
    }
}

impl fmt::Display for Consequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Consequence::Refused => "refused at compile",
            Consequence::LoadFailure => "load failure",
            Consequence::Evaluation => "error 0x1d at evaluation",
            Consequence::Crash => "crash or hang",
            Consequence::WrongNumbers => "silent zeros or wrong numbers",
            Consequence::Slow => "slow",
            Consequence::Informative => "good to know",
        })
    }
}

/// How sure a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// Measured by two or more projects, or with a published test.
    A,
    /// One project, with a test or probe.
    B,
    /// Asserted only.
    C,
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Confidence::A => "A (measured by several, or with a published test)",
            Confidence::B => "B (measured by one)",
            Confidence::C => "C (asserted only)",
        })
    }
}

/// A way to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// MIL text handed to the compiler in memory (`_ANEInMemoryModel`).
    InMemory,
    /// The C interface of the runtime beneath Core ML (`e5rt`).
    E5rt,
    /// Both of them.
    Both,
}

impl Route {
    /// Every route.
    pub const ALL: [Route; 3] = [Route::InMemory, Route::E5rt, Route::Both];

    /// The route called `name`: `in-memory`, `e5rt` or `both`.
    pub fn parse(name: &str) -> Option<Route> {
        Route::ALL.into_iter().find(|r| r.name() == name)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Route::InMemory => "in-memory",
            Route::E5rt => "e5rt",
            Route::Both => "both",
        }
    }

    /// Whether a rule of this route applies to `route`.
    pub(super) fn meets(self, route: Route) -> bool {
        self == route || self == Route::Both || route == Route::Both
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
