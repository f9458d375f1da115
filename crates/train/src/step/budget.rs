//! The budget of programs that a process may compile.

use ane::{Device, Engine};
use std::fmt;

/// Why the kernels of a network have older weights than the network: they could not be recompiled.
///
/// The process can save the run; a new process can continue it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BudgetExhausted {
    /// New weights need `wanted` compilations, and this process has `left`.
    Budget {
        /// Programs that hold weights.
        wanted: u64,
        /// Programs that the process may still compile.
        left: u32,
    },
    /// The engine's compiler refused a program that it had compiled with other weights.
    Refused {
        /// Its message.
        message: String,
    },
}

impl fmt::Display for BudgetExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BudgetExhausted::Budget { wanted, left } => write!(
                f,
                "new weights need {wanted} programs to be compiled, and this process may compile {left} more"
            ),
            BudgetExhausted::Refused { message } => f.write_str(message),
        }
    }
}

impl BudgetExhausted {
    /// Checks whether this process may compile `wanted` programs for a change of weights on `device`.
    pub(super) fn before(device: &dyn Device, wanted: u64) -> Option<BudgetExhausted> {
        let left = device.compiles_left()?;
        (wanted > u64::from(left)).then_some(BudgetExhausted::Budget { wanted, left })
    }
}

/// The hint for a model of more programs than a process may compile.
pub(super) fn remedy(programs: u64, engine: Engine) -> String {
    match engine {
        Engine::Soft => {
            format!("Give `--compile-budget {programs}` or more, or none: the software engine needs none.")
        }
        Engine::Apple => format!(
            "Run with `--weights dynamic`, or with `--device soft`, or try `--compile-budget {programs}`: engines are reported \
             to survive about 119."
        ),
    }
}
