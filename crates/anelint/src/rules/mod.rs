//! The rules of real Neural Engines: one table, and the checker that applies it to a program's text.
//!
//! Each [`Rule`] states a constraint, its chips and routes, the consequence of breaking it, its reports and how certain
//! they are, and where reports differ. Most carry a check of the text, which stands below the
//! entry; the others say why a text cannot decide them. A new rule is one entry in the file of its subject, its name in
//! that file's `RULES`, and a file of examples (`tests/rules/examples`). Numbers stand in [`facts`](crate::facts).
//!
//! We measured nothing here: [`Rule::source`] names the reports.

mod affine;
mod chip;
mod evidence;
mod functions;
mod limits;
mod matches;
mod numeric;
mod peers;
mod process;
mod products;
mod profile;
mod rule;
mod sizes;
mod speed;
mod subject;
mod surfaces;
mod training;
mod values;
mod violation;
mod work;
mod written;

pub use chip::{Chip, Chips};
pub use evidence::{Claim, Stance};
pub use matches::Matches;
pub use profile::{Measured, Profile};
pub use rule::{Check, Confidence, Consequence, Route, Rule};
pub use subject::{FunctionIndex, OpCall, Port, Subject, TensorShape, ValueInfo};
pub use violation::Violation;

use mil::text::Read;

/// Every rule: W, S, T, N, P.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    let tables = [
        process::RULES,
        surfaces::RULES,
        sizes::RULES,
        written::RULES,
        products::RULES,
        functions::RULES,
        values::RULES,
        limits::RULES,
        affine::RULES,
        numeric::RULES,
        training::RULES,
        speed::RULES,
    ];
    tables.into_iter().flatten()
}

/// The rule called `id`, in any case.
pub fn find(id: &str) -> Option<&'static Rule> {
    all().find(|r| r.id.eq_ignore_ascii_case(id))
}

/// The rules that a program breaks on engines of `chips`, reached by `route`, in the order of the table.
///
/// Reads the syntax tree alone, so programs with operations that are not in MIL's table or with unknown sizes are checked
/// as far as they say something; what the language itself refuses is [`mil::text::check`]'s. One violation stands for
/// all places that break a rule in the same way.
pub fn check(read: &Read<'_>, chips: &[Chip], route: Route) -> Vec<Violation> {
    check_with(read, chips, route, None)
}

/// [`check`], where the measurements of `profile` override the table on its chip.
pub fn check_with(
    read: &Read<'_>,
    chips: &[Chip],
    route: Route,
    profile: Option<&Profile>,
) -> Vec<Violation> {
    let subject = Subject::new(&read.tree);
    let mut violations = Vec::new();
    for rule in all().filter(|r| r.route.meets(route)) {
        let measured = |chip| profile.and_then(|p| p.on(rule, chip));
        let holds = |&chip: &Chip| measured(chip).map_or_else(|| rule.chips.has(chip), |m| m.holds);
        // Violations on chips where the rule was measured are kept apart from those that are only reported.
        let (on_measured, on_reported): (Vec<Chip>, Vec<Chip>) =
            chips.iter().copied().filter(holds).partition(|&c| measured(c).is_some());
        for chips in [on_reported, on_measured] {
            let Some(measured) = chips.first().map(|&c| measured(c)) else { continue };
            match rule.check {
                Check::Never(_) => {}
                Check::Text(check) => {
                    let mut matches = Matches::default();
                    check(&subject, &mut matches);
                    violation::file(matches, rule, &chips, measured, &mut violations);
                }
                Check::Chip(check) => {
                    for chip in chips {
                        let mut matches = Matches::default();
                        check(&subject, chip, &mut matches);
                        violation::file(matches, rule, &[chip], measured, &mut violations);
                    }
                }
            }
        }
    }
    violations
}
