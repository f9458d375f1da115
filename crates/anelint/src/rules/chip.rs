//! Chips that have a Neural Engine.

use std::fmt;

/// A chip that rules distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is named as Apple names it; Pro, Max and Ultra share the engine")]
pub enum Chip {
    A13,
    A14,
    A15,
    A16,
    A17,
    M1,
    M2,
    M3,
    M4,
    M5,
    M6,
}

impl Chip {
    /// Every chip.
    pub const ALL: [Chip; 11] = [
        Chip::A13,
        Chip::A14,
        Chip::A15,
        Chip::A16,
        Chip::A17,
        Chip::M1,
        Chip::M2,
        Chip::M3,
        Chip::M4,
        Chip::M5,
        Chip::M6,
    ];

    /// Name, and the generation of its engine, counted as the A series is.
    const fn row(self) -> (&'static str, u8) {
        match self {
            Chip::A13 => ("A13", 13),
            Chip::A14 => ("A14", 14),
            Chip::A15 => ("A15", 15),
            Chip::A16 => ("A16", 16),
            Chip::A17 => ("A17", 17),
            Chip::M1 => ("M1", 14),
            Chip::M2 => ("M2", 15),
            Chip::M3 => ("M3", 16),
            Chip::M4 => ("M4", 17),
            Chip::M5 => ("M5", 18),
            Chip::M6 => ("M6", 19),
        }
    }

    /// Its name, as Apple writes it.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The generation of its engine: that of the A-series chip with the same one (M1: 14, M4: 17), and counted on.
    /// Source: the architecture names h13g (M1) to h18g (M6), and h16 for the A17 Pro.
    pub const fn generation(self) -> u8 {
        self.row().1
    }

    /// The chip called `name`, in any case: `m1`, `M4`, `a17`.
    pub fn parse(name: &str) -> Option<Chip> {
        Chip::ALL.into_iter().find(|c| c.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The chips that a rule holds on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chips {
    /// As far as is known, all of them.
    Any,
    /// These.
    Only(&'static [Chip]),
}

impl Chips {
    /// Whether `chip` is among them.
    pub fn has(self, chip: Chip) -> bool {
        match self {
            Chips::Any => true,
            Chips::Only(chips) => chips.contains(&chip),
        }
    }

    /// A list of chips in words: `any chip` for all of them.
    pub fn spell(chips: &[Chip]) -> String {
        if Chip::ALL.iter().all(|c| chips.contains(c)) {
            return "any chip".to_owned();
        }
        chips.iter().map(|c| c.name()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Chips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Chips::Any => f.write_str("any"),
            Chips::Only(chips) => f.write_str(&Chips::spell(chips)),
        }
    }
}
