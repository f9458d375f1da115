//! Hardware limits used for packing and back-off, each with its source. All others are in `anelint::facts`.

use std::fmt;
use std::time::Duration;

/// A number about the hardware, with its source.
#[derive(Clone, Copy, Debug)]
pub struct Fact<T> {
    /// The value to work with.
    pub value: T,
    /// The evidence.
    pub basis: Basis,
    /// How to measure it again.
    pub remeasure: &'static str,
}

/// The evidence for a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Basis {
    /// A report by a project.
    Reported { by: &'static str, on: &'static str, says: &'static str },
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Basis::Reported { by, on, says } = self;
        write!(f, "{by} ({on}): {says}")
    }
}

/// A fact reported by a project.
pub const fn reported<T>(
    value: T,
    by: &'static str,
    on: &'static str,
    says: &'static str,
    remeasure: &'static str,
) -> Fact<T> {
    Fact { value, basis: Basis::Reported { by, on, says }, remeasure }
}

/// The last axis of a surface's tensor is a multiple of this, in elements.
pub const LAST_AXIS_MULTIPLE: Fact<usize> = Fact {
    value: 32,
    basis: Basis::Reported {
        by: "h3 and rustane, projects that build on maderix/ANE",
        on: "M3 Ultra",
        says: "rows are padded to 64 bytes; a width that is not a multiple of 16 corrupts data or is slow",
    },
    remeasure: "write a ramp through an identity program of width 8, 16, 24, 32 and compare",
};

/// Programs that one process compiles before the compiler service stops answering.
pub const COMPILE_BUDGET: Fact<u32> = Fact {
    value: 100,
    basis: Basis::Reported {
        by: "maderix/ANE; Orion; pull request 23",
        on: "M4, macOS 15 and 26",
        says: "about 119, between 119 and 132; pull request 26 counts 169",
    },
    remeasure: "compile `identity` with a constant that differs each time, until it fails",
};

/// The pause before the compiler service is called again after a refused program.
pub const REFUSED_PAUSE: Fact<Duration> = Fact {
    value: Duration::from_secs(15),
    basis: Basis::Reported {
        by: "ane-guide; ANEForge",
        on: "M1 to M5",
        says: "wait about 15 s after a refusal; compiling again at once can wedge the service",
    },
    remeasure: "have a program refused, then compile `identity` after rising times",
};

/// Consecutive refusals after which the compiler service is not called again.
pub const REFUSED_IN_A_ROW: Fact<u32> = Fact {
    value: 5,
    basis: Basis::Reported {
        by: "ANEForge",
        on: "M1 to M5",
        says: "a circuit breaker stops after a few refusals; the number is ours",
    },
    remeasure: "have programs refused, with pauses, until `identity` does not compile",
};

/// The largest size of one axis.
pub const MAX_AXIS: Fact<usize> = Fact {
    value: 65536,
    basis: Basis::Reported {
        by: "maderix/ANE, issue 26; ANEForge",
        on: "M4; A16 and later",
        says: "a vocabulary of 151936 had to be split; older families have smaller limits",
    },
    remeasure: "compile `identity` of [1, N, 1, 32] around N = 65536",
};

/// The widest last axis of an input.
pub const MAX_INPUT_WIDTH: Fact<usize> = Fact {
    value: 16384,
    basis: Basis::Reported {
        by: "rustane, issue 13",
        on: "M3 Ultra",
        says: "16384 passes, 17920 is refused",
    },
    remeasure: "compile `identity` of [1, 64, 1, N] around N = 16384",
};

/// The smallest surface, in bytes.
pub const MIN_SURFACE_BYTES: Fact<usize> = Fact {
    value: 49152,
    basis: Basis::Reported {
        by: "Orion; ane-train says 2048; maderix/ANE uses 64 channels or more",
        on: "M4 Max; M1",
        says: "smaller ones compile, but fail when evaluated",
    },
    remeasure: "run `identity` of [1, C, 1, 32] in fp16 for falling C",
};

/// A surface's size is a multiple of this, in bytes.
pub const SURFACE_ALIGNMENT: Fact<usize> = reported(
    128,
    "maderix/ANE, pull request 35",
    "M5",
    "a suite on alignment passes with it",
    "write a ramp through surfaces of 64 and 128 times n bytes",
);

/// The most inputs of a program that are known to be bound correctly.
pub const SAFE_INPUTS: Fact<usize> = reported(
    8,
    "h3.c-ane",
    "M4",
    "more than 8 are bound wrongly; others ran 10 and 98",
    "add N inputs of different values for N around 8",
);
