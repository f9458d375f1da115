//! Verdicts of a chip, which override the table of rules.

use super::super::probe::read_submission;
use crate::error::CommandError;
use anelint::rules::{Chip, Measured, Profile};
use std::path::Path;

/// The observations of probes on the file's chip.
pub fn profile(path: &Path) -> Result<Profile, CommandError> {
    let submission = read_submission(path)?;
    let refused = |why: &str| {
        let message = format!("`{}` is not a file of verdicts on a chip: {why}", path.display());
        CommandError::input(
            message,
            "Run `backpropane probe all --submit-file FILE` on a Mac with Apple silicon.",
        )
    };
    if !submission.is_hardware() {
        return Err(refused("its verdicts are of the software engine, which breaks no rule"));
    }
    let chip = submission.chip_family.as_deref().and_then(Chip::parse);
    let chip =
        chip.ok_or_else(|| refused(&format!("`{}` is not a chip that rules distinguish", submission.chip)))?;
    let seen = submission.seen().map(|(rule, holds, consequence)| (rule, Measured { holds, consequence }));
    Ok(Profile::new(chip, seen))
}
