//! The header of a program.

use super::{Apply, EXACT, Repair};
use mil::{Function, Opset, Program};

/// The version of the text.
pub(super) const VERSION: Repair = Repair {
    rules: &["T1"],
    name: "text-version",
    does: "Writes a program for iOS17 or later as version 1.3 of the text; older ones are known to be accepted only as 1.0.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Program(|program| {
        let newest = accepted().version;
        if program.version == newest || program.functions.iter().any(|f| f.opset < Opset::Ios17) {
            return Vec::new();
        }
        let old = std::mem::replace(&mut program.version, newest);
        vec![format!("`program({old})` is written as `program({})`", program.version)]
    }),
};

/// The dictionary without which nothing compiles.
pub(super) const BUILD_INFO: Repair = Repair {
    rules: &["T2"],
    name: "build-info",
    does: "Adds the `buildInfo` dictionary that an engine's compiler insists on.",
    by_default: true,
    exact: EXACT,
    apply: Apply::Program(|program| {
        if !program.build_info.is_empty() {
            return Vec::new();
        }
        program.build_info = accepted().build_info;
        vec!["the program has a `buildInfo` dictionary now".to_owned()]
    }),
};

/// A program whose header an engine is known to accept.
fn accepted() -> Program {
    Program::of(Function::empty("main", Opset::Ios18))
}
