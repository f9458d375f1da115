//! A repaired program: what was changed, step by step.

use super::call::rounded;
use super::entry::{Apply, Repair};
use super::ports::PortMap;
use super::proof::Proof;
use mil::verify::verify;
use mil::{Function, Operation, Program, ValueId, Verified};
use std::collections::HashSet;

/// A repaired program, and the changes.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// The program, with its constants rounded to their types.
    pub program: Verified<Program>,
    /// The same program with unrounded new constants, for exact arithmetic.
    pub exact: Verified<Program>,
    /// The changes, in order.
    pub applied: Vec<Applied>,
    /// Repairs that were needed but not possible.
    pub obstacles: Vec<Obstacle>,
    /// The mapping of the parameters and results of each function, by position.
    pub ports: Vec<PortMap>,
}

/// A repair that was applied.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Which.
    pub repair: &'static Repair,
    /// The function; `None` for the header.
    pub function: Option<String>,
    /// The change, in words.
    pub changes: Vec<String>,
    /// The proof of equivalence, if requested.
    pub proof: Option<Proof>,
}

/// A repair that could not be applied.
#[derive(Clone, Debug)]
pub struct Obstacle {
    /// Which.
    pub repair: &'static Repair,
    /// In which function.
    pub function: String,
    /// Why not.
    pub reason: String,
}

impl Repaired {
    /// `program` as it is.
    pub(super) fn untouched(program: &Verified<Program>) -> Repaired {
        Repaired {
            program: program.clone(),
            exact: program.clone(),
            applied: Vec::new(),
            obstacles: Vec::new(),
            ports: program.functions.iter().map(PortMap::unchanged).collect(),
        }
    }

    /// Applies `repair` to the function at `at`, as a separate step; the first step includes the header.
    pub(super) fn step(&self, repair: &'static Repair, at: usize) -> Result<Option<Repaired>, String> {
        let mut ports: Vec<PortMap> = self.exact.functions.iter().map(PortMap::unchanged).collect();
        let (program, function, changes) = match repair.apply {
            Apply::Program(apply) if at == 0 => {
                let mut program = (*self.exact).clone();
                let changes = apply(&mut program);
                (program, None, changes)
            }
            Apply::Program(_) => return Ok(None),
            Apply::Function(apply) => {
                let before = &self.exact.functions[at];
                let Some(mut new) = apply(before)? else { return Ok(None) };
                sweep(before, &mut new.function);
                let mut program = (*self.exact).clone();
                program.functions[at] = new.function;
                ports[at] = new.ports;
                (program, Some(before.name.clone()), new.changes)
            }
        };
        if changes.is_empty() {
            return Ok(None);
        }
        let wrong = |report| format!("the repaired program is wrong: {report}");
        let exact = verify(program).map_err(wrong)?;
        let program = verify(rounded((*exact).clone())).map_err(wrong)?;
        let applied = vec![Applied { repair, function, changes, proof: None }];
        Ok(Some(Repaired { program, exact, applied, obstacles: Vec::new(), ports }))
    }

    /// Advances by `step`.
    pub(super) fn follow(&mut self, step: Repaired) {
        self.program = step.program;
        self.exact = step.exact;
        self.applied.extend(step.applied);
        for (ports, next) in self.ports.iter_mut().zip(&step.ports) {
            *ports = ports.then(next);
        }
    }

    /// Whether nothing was done.
    pub fn is_unchanged(&self) -> bool {
        self.applied.is_empty()
    }
}

/// Removes operations whose results have become unused.
fn sweep(before: &Function, after: &mut Function) {
    fn used(f: &Function) -> HashSet<ValueId> {
        let captured = f.ops.iter().flat_map(Operation::captures);
        captured.chain(f.outputs.iter().copied()).collect()
    }
    let old = used(before);
    loop {
        let (new, count) = (used(after), after.ops.len());
        after.ops.retain(|op| {
            let left = |r: &ValueId| old.contains(r) && !new.contains(r);
            op.results.is_empty() || !op.results.iter().all(left)
        });
        if after.ops.len() == count {
            break;
        }
    }
}
