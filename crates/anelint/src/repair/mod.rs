//! Repairs: rewrites of a program that keep its meaning and make a Neural Engine accept it.
//!
//! [`REPAIRS`] is the table, one entry a repair, in the order in which they are tried. [`repair`] applies them until
//! none finds anything to do; [`prove`] runs the program before and after on random inputs and compares; and
//! [`repair_proven`] applies only what can be proven. The mapping of parameters and results, which may be renamed,
//! padded or split, is in [`PortMap`].
//!
//! ```
//! # let text = "program(1.3) { func main<ios18>(tensor<fp16, [1, 20]> x) {
//! #     tensor<fp16, [1, 20]> y = pow(x = x, y = fp16(2))[name = string(\"y\")]; } -> (y); }";
//! let program = mil::text::load(text)?;
//! let repaired = anelint::repair::repair_proven(&program, None, &mil::Weights::new(), 42);
//! for applied in &repaired.applied {
//!     println!("{}: {}", applied.repair.name, applied.changes.join("; "));
//! }
//! // Inputs are wider now, and outputs must be cropped.
//! assert_eq!(repaired.ports[0].outputs[0].pieces[0].ty, mil::ty::f16([1, 32]));
//! assert_eq!(repaired.ports[0].outputs[0].pieces[0].len, 20);
//! # Ok::<(), mil::Report>(())
//! ```
//!
//! Operations inside blocks (`cond`, `while_loop`) are not repaired: no engine runs these.
//!
//! Not here: what an engine refuses, and why; see the catalogue of rules, whose ids are used here.

mod arithmetic;
mod attention;
mod axes;
mod call;
mod defaults;
mod header;
mod masks;
mod names;
mod pad;
mod pieces;
mod ports;
mod prove;
mod rewritten;
mod shapes;
mod split;
mod stable;

pub use ports::{MovedPort, Piece, PortMap};
pub use prove::{Proof, ProveError, prove};
pub use rewritten::Rewritten;

use call::rounded;
use mil::verify::verify;
use mil::{Function, Operation, Program, ValueId, Verified, Weights};
use std::collections::HashSet;

/// One repair.
#[derive(Debug)]
pub struct Repair {
    /// The rules whose violations it repairs.
    pub rules: &'static [&'static str],
    /// Its name, in words with hyphens.
    pub name: &'static str,
    /// Its effect: one sentence.
    pub does: &'static str,
    /// Whether it is applied by default: yes, unless an engine is known to accept the original form.
    pub by_default: bool,
    /// The largest difference that it may make in exact arithmetic, relative to the largest element of a result.
    pub exact: f64,
    /// How it does it.
    pub apply: Apply,
}

/// The largest relative difference in exact arithmetic that sums in another order make.
const EXACT: f64 = 1e-9;

/// How a repair is applied.
#[derive(Clone, Copy, Debug)]
pub enum Apply {
    /// Applies to the header: the changes, in words; empty if there are none.
    Program(fn(&mut Program) -> Vec<String>),
    /// Applies to a function: `None` if there is nothing to do.
    ///
    /// # Errors
    /// Why it cannot be done, although it should.
    Function(fn(&Function) -> Result<Option<Rewritten>, String>),
}

/// All repairs, in the order in which they are tried.
pub static REPAIRS: &[Repair] = &[
    header::VERSION,
    header::BUILD_INFO,
    names::LITERALS,
    attention::MASKED,
    attention::UNMASKED,
    masks::FINITE,
    stable::SOFTPLUS,
    stable::LOG_SUM_EXP,
    stable::LOG_SOFTMAX,
    shapes::HARDSWISH,
    shapes::AFFINE,
    arithmetic::POW,
    arithmetic::RSQRT_POWER,
    arithmetic::INVERSE,
    arithmetic::MEAN,
    arithmetic::GELU_FORMULA,
    defaults::CONV_BIAS,
    defaults::CONV,
    defaults::CONCAT,
    defaults::MATMUL,
    defaults::RSQRT,
    defaults::LOG,
    defaults::GELU,
    defaults::ARGUMENTS,
    split::SPLIT,
    pad::PAD,
    names::ORDER,
];

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

/// Repairs that undo each other's work would go on for ever; this many rounds are more than any program needs.
const ROUNDS: usize = 16;

/// Repairs `program` until nothing is left that a repair would change.
///
/// With `rules`, only repairs of these rules, including those that are not applied by default.
pub fn repair(program: &Verified<Program>, rules: Option<&[&str]>) -> Repaired {
    repair_if(program, rules, |_, _| Ok(None))
}

/// Repairs `program` like [`repair`], but keeps only steps that [`prove`] confirms; other steps become an [`Obstacle`].
///
/// A program that is too large to run is compared in parts: each replaced operation with its
/// replacement. Nothing is lost by that in exact arithmetic; how rounding errors add up in the whole is then not seen.
///
/// `weights` are those of the program, `seed` decides the random inputs.
pub fn repair_proven(
    program: &Verified<Program>,
    rules: Option<&[&str]>,
    weights: &Weights,
    seed: u64,
) -> Repaired {
    repair_if(program, rules, |before, after| {
        let proof = match prove(before, &after.program, after, weights, seed) {
            Err(e @ ProveError::TooLarge { .. }) => pieces::prove(before, after, weights, seed).ok_or(e),
            done => Ok(done),
        };
        proof.and_then(|p| p).map(Some).map_err(|e| e.to_string())
    })
}

/// Repairs `program`; `holds` judges each step, from the exact program before it.
fn repair_if(
    program: &Verified<Program>,
    rules: Option<&[&str]>,
    holds: impl Fn(&Verified<Program>, &Repaired) -> Result<Option<Proof>, String>,
) -> Repaired {
    let asked = |repair: &Repair| match rules {
        Some(ids) => repair.rules.iter().any(|r| ids.contains(r)),
        None => repair.by_default,
    };
    let repairs: Vec<&'static Repair> = REPAIRS.iter().filter(|r| asked(r)).collect();
    let mut done = Repaired::untouched(program);
    let mut withheld: Vec<Obstacle> = Vec::new();
    for _ in 0..ROUNDS {
        let (mut changed, mut obstacles) = (false, Vec::new());
        for &repair in &repairs {
            for at in 0..done.exact.functions.len() {
                let function = &done.exact.functions[at].name;
                let same = |o: &Obstacle| std::ptr::eq(o.repair, repair) && o.function == *function;
                if withheld.iter().any(same) {
                    continue;
                }
                let obstacle = |reason| Obstacle { repair, function: function.clone(), reason };
                match done.step(repair, at) {
                    Err(reason) => obstacles.push(obstacle(reason)),
                    Ok(None) => {}
                    Ok(Some(mut step)) => match holds(&done.exact, &step) {
                        Ok(proof) => {
                            changed = true;
                            step.applied.iter_mut().for_each(|a| a.proof = proof);
                            done.follow(step);
                        }
                        Err(reason) => withheld.push(obstacle(reason)),
                    },
                }
            }
        }
        if !changed {
            done.obstacles = obstacles;
            break;
        }
    }
    done.obstacles.extend(withheld);
    done
}

impl Repaired {
    /// `program` as it is.
    fn untouched(program: &Verified<Program>) -> Repaired {
        Repaired {
            program: program.clone(),
            exact: program.clone(),
            applied: Vec::new(),
            obstacles: Vec::new(),
            ports: program.functions.iter().map(PortMap::unchanged).collect(),
        }
    }

    /// Applies `repair` to the function at `at`, as a separate step; the first step includes the header.
    fn step(&self, repair: &'static Repair, at: usize) -> Result<Option<Repaired>, String> {
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
    fn follow(&mut self, step: Repaired) {
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
