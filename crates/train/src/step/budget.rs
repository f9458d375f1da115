//! The number of programs that a process may compile.

use ane::{Device, Engine};
use std::fmt;

/// Why the kernels of a network have older weights than the network: they would have to be compiled again.
///
/// Such a process can save the run, and go on with it in a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetExhausted {
    /// New weights are `wanted` programs, and this process may compile no more than `left`.
    Budget {
        /// Programs that hold weights.
        wanted: u64,
        /// Programs that could be compiled.
        left: u32,
    },
    /// The engine's compiler refused a program that it has compiled with other weights before.
    Refused {
        /// Its message.
        said: String,
    },
}

impl fmt::Display for BudgetExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BudgetExhausted::Budget { wanted, left } => write!(
                f,
                "new weights mean compiling {wanted} programs, and this process may compile {left} more"
            ),
            BudgetExhausted::Refused { said } => f.write_str(said),
        }
    }
}

impl BudgetExhausted {
    /// Whether `device` lets this process compile `wanted` programs for a change of weights.
    pub(super) fn before(device: &dyn Device, wanted: u64) -> Option<BudgetExhausted> {
        let left = device.compiles_left()?;
        (wanted > u64::from(left)).then_some(BudgetExhausted::Budget { wanted, left })
    }
}

/// The remedy for a model of more programs than a process may compile.
pub(super) fn remedy(programs: u64, engine: Engine) -> String {
    match engine {
        Engine::Soft => {
            format!("Give `--compile-budget {programs}` or more, or none: the software engine needs none.")
        }
        Engine::Apple => format!(
            "Run with `--weights dynamic`, or with `--device soft`, or try `--compile-budget {programs}`: engines are said \
             to survive about 119."
        ),
    }
}
