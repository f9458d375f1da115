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
mod entry;
mod header;
mod masks;
mod names;
mod pad;
mod pieces;
mod ports;
mod proof;
mod prove;
mod repaired;
mod rewritten;
mod shapes;
mod split;
mod stable;

pub use entry::{Apply, Repair};
pub use ports::{MovedPort, Piece, PortMap};
pub use proof::{Proof, ProveError};
pub use prove::prove;
pub use repaired::{Applied, Obstacle, Repaired};
pub use rewritten::Rewritten;

use entry::EXACT;
use mil::{Program, Verified, Weights};

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
