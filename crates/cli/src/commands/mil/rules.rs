//! `backpropane mil rules`, and the flags that name chips and routes.

use super::profile::profile;
use crate::error::CommandError;
use crate::output::print_json;
use crate::ui::Ui;
use anelint::rules::{Check, Chip, Claim, Profile, Route, Rule, Stance};
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;

/// Explain what real Neural Engines refuse
///
/// Lists the rules that projects report of real engines, or explains those that are named: what a program has to keep
/// to, on which chips and by which way to the engine, what happens if it does not, who reports it, how sure it is, and
/// how reports differ where they do. `backpropane mil check --chip` applies those that a text can be checked for.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  backpropane mil rules                 all of them, a line each
  backpropane mil rules S6 T15          two of them, explained
  backpropane mil rules --chip m1       those that hold on an M1
  backpropane mil rules --json | jq '.[] | select(.checked) | .id'")]
pub struct RulesArgs {
    /// Rules to explain, as S6
    #[arg(value_name = "ID", value_parser = rule)]
    ids: Vec<&'static Rule>,

    /// Only rules that hold on one of these chips: m1,m4
    #[arg(long, value_name = "CHIPS", value_parser = chips)]
    chip: Option<ChipList>,

    /// Verdicts of a chip, by `backpropane probe all --submit-file`: what was seen of each rule is shown, and counts
    /// more than the table
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,

    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

/// Chips of a flag.
#[derive(Clone, Debug)]
pub struct ChipList(pub Vec<Chip>);

/// `m1,m4` or `all`.
pub fn chips(text: &str) -> Result<ChipList, String> {
    if text.eq_ignore_ascii_case("all") {
        return Ok(ChipList(Chip::ALL.to_vec()));
    }
    let one = |name: &str| {
        Chip::parse(name.trim()).ok_or_else(|| {
            let all: Vec<String> = Chip::ALL.iter().map(|c| c.name().to_lowercase()).collect();
            format!("there is no chip `{name}`; use all, or some of {}", all.join(","))
        })
    };
    text.split(',').map(one).collect::<Result<_, _>>().map(ChipList)
}

/// `in-memory`, `e5rt` or `both`.
pub fn route(text: &str) -> Result<Route, String> {
    Route::parse(text).ok_or_else(|| "use in-memory, e5rt or both".to_owned())
}

fn rule(id: &str) -> Result<&'static Rule, String> {
    anelint::rules::find(id)
        .ok_or_else(|| "there is no such rule; `backpropane mil rules` lists them".to_owned())
}

/// A rule in JSON.
#[derive(Debug, Serialize)]
struct Listed {
    id: &'static str,
    title: &'static str,
    chips: String,
    route: &'static str,
    consequence: String,
    confidence: String,
    /// The projects that saw it hold.
    source: Vec<&'static str>,
    /// Projects that publish a test of it.
    tested: Vec<&'static str>,
    /// The projects for which a violation ran.
    against: Vec<&'static str>,
    /// Whether that is enough for an error.
    sure: bool,
    conflict: Option<&'static str>,
    repair: &'static str,
    checked: bool,
    unchecked_because: Option<&'static str>,
    /// Repairs that `mil check --fix` has for it.
    fixes: Vec<&'static str>,
    /// The observation of a probe on the profile's chip.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<String>,
}

impl Listed {
    fn of(rule: &'static Rule, profile: Option<&Profile>) -> Listed {
        let unchecked_because = match rule.check {
            Check::Never(why) => Some(why),
            _ => None,
        };
        Listed {
            id: rule.id,
            title: rule.title,
            chips: rule.chips.to_string(),
            route: rule.route.name(),
            consequence: rule.consequence.to_string(),
            confidence: rule.confidence.to_string(),
            source: by(rule, |says| says != Stance::Ran),
            tested: by(rule, |says| says == Stance::Tested),
            against: by(rule, |says| says == Stance::Ran),
            sure: rule.is_sure(),
            conflict: rule.conflict,
            repair: rule.repair,
            checked: rule.is_checked(),
            unchecked_because,
            fixes: fixes(rule),
            measured: measured(rule, profile),
        }
    }
}

/// The projects with this stance on a rule.
fn by(rule: &Rule, what: impl Fn(Stance) -> bool) -> Vec<&'static str> {
    rule.source.iter().filter(|r| what(r.says)).map(|r| r.by).collect()
}

/// The observation of a rule, as a phrase.
fn measured(rule: &Rule, profile: Option<&Profile>) -> Option<String> {
    let (profile, seen) = profile.and_then(|p| Some((p, p.of(rule)?)))?;
    let chip = profile.chip();
    Some(match (seen.holds, seen.consequence) {
        (false, _) => format!("it does not hold on this {chip}"),
        (true, None) => format!("it holds on this {chip}"),
        (true, Some(consequence)) => format!("it holds on this {chip}: {consequence}"),
    })
}

/// The repair of a rule by `mil check --fix`.
fn fixes(rule: &Rule) -> Vec<&'static str> {
    let repairs = anelint::repair::REPAIRS.iter().filter(|r| r.rules.contains(&rule.id));
    repairs.map(|r| r.does).collect()
}

pub fn run(ui: &Ui, args: &RulesArgs) -> Result<(), CommandError> {
    let profile = args.profile.as_deref().map(profile).transpose()?;
    let profile = profile.as_ref();
    let on = |rule: &Rule, chip| {
        let seen = profile.and_then(|p| p.on(rule, chip));
        seen.map_or_else(|| rule.chips.has(chip), |m| m.holds)
    };
    let holds = |rule: &&Rule| match &args.chip {
        Some(ChipList(chips)) => chips.iter().any(|&c| on(rule, c)),
        None => true,
    };
    let named: Vec<&'static Rule> = match args.ids.is_empty() {
        true => anelint::rules::all().filter(holds).collect(),
        false => args.ids.iter().copied().filter(holds).collect(),
    };
    if args.json {
        return print_json(ui, &named.into_iter().map(|r| Listed::of(r, profile)).collect::<Vec<_>>());
    }
    if !args.ids.is_empty() {
        let explained: Vec<String> = named.into_iter().map(|rule| explain(ui, rule, profile)).collect();
        return ui.result(&explained.join("\n\n"));
    }
    let mut out = String::new();
    for rule in named {
        let checked = if rule.is_checked() { ' ' } else { '·' };
        let seen = profile.and_then(|p| p.of(rule));
        let consequence = seen.and_then(|m| m.consequence).unwrap_or(rule.consequence).to_string();
        let consequence = match seen {
            Some(m) if !m.holds => "not here".to_owned(),
            _ => consequence,
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "{:<5}{checked} {consequence:<30} {}", rule.id, rule.title);
    }
    let _ = write!(out, "\nThose with a · cannot be checked in a text. `mil rules ID` explains a rule.");
    ui.result(&out)
}

/// The full description of a rule.
fn explain(ui: &Ui, rule: &Rule, profile: Option<&Profile>) -> String {
    let mut out = format!("{}  {}\n", ui.bold(rule.id), ui.bold(rule.title));
    let mut row = |name: &str, text: &str| {
        let indent = " ".repeat(14);
        let lines = wrapped(text, 96);
        let _ = write!(out, "\n  {name:<12}{}", lines.join(&format!("\n{indent}")));
    };
    row("if broken", &rule.consequence.to_string());
    row("chips", &rule.chips.to_string());
    row("route", rule.route.name());
    row("confidence", &rule.confidence.to_string());
    let named = |r: &Claim| match r.says {
        Stance::Tested => format!("{} (with a published test)", r.by),
        _ => r.by.to_owned(),
    };
    let holds = rule.source.iter().filter(|r| r.says != Stance::Ran);
    row("source", &holds.map(named).collect::<Vec<_>>().join("; "));
    let against = by(rule, |says| says == Stance::Ran);
    if !against.is_empty() {
        row("ran for", &against.join("; "));
    }
    if let Some(conflict) = rule.conflict {
        row("reports", conflict);
    }
    if let Some(measured) = measured(rule, profile) {
        row("measured", &measured);
    }
    if !rule.repair.is_empty() {
        row("what to do", rule.repair);
    }
    match rule.check {
        Check::Never(why) => row("check", &format!("a text cannot be checked for it: {why}")),
        _ => row("check", "`mil check --chip` looks for it"),
    }
    for does in fixes(rule) {
        row("--fix", does);
    }
    out
}

/// `text` in lines of at most `width` characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full =
            lines.last().is_some_and(|l| !l.is_empty() && l.chars().count() + word.chars().count() >= width);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
