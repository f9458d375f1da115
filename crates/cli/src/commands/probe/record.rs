//! Records of probes: shown, written and read again.

use crate::error::CommandError;
use crate::machine::{chip, system};
use ane::{DeviceInfo, Engine};
use anelint::probe::{Finding, Observed, Verdict};
use anelint::rules::{self, Chip, Consequence, Rule};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The first field of a file of verdicts, which identifies it.
const FORMAT: &str = "backpropane verdicts 1";

/// The note on results of the software engine.
const LABEL: &str = "software engine: it breaks no rule, so this is what a correct engine answers, and nothing about \
                     hardware";

/// All that a user sends.
#[derive(Debug, Serialize, Deserialize)]
pub struct Submission {
    format: String,
    version: String,
    system: String,
    /// The processor, as the system calls it.
    pub chip: String,
    /// The chip, if rules distinguish it.
    pub chip_family: Option<String>,
    /// `apple` or `soft`.
    pub engine: String,
    engine_name: String,
    /// A note for readers.
    label: String,
    as_in_the_table: usize,
    differ: usize,
    could_not_tell: usize,
    /// One record per probe that ran.
    pub probes: Vec<Record>,
}

/// The record of a probe.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    pub question: String,
    pub seconds: f64,
    pub findings: Vec<FindingRecord>,
}

/// The finding of a probe on one rule.
#[derive(Debug, Serialize, Deserialize)]
pub struct FindingRecord {
    /// The rule's id, or the probe's if there is no rule yet.
    pub about: String,
    rule: Option<String>,
    /// `holds`, `holds-not` or `unclear`.
    pub seen: String,
    /// `as-in-the-table`, `differs` or `could-not-tell`.
    pub verdict: String,
    pub says: String,
    /// The consequence of breaking the rule, in the terms of `mil rules`.
    pub consequence: Option<String>,
    numbers: BTreeMap<String, f64>,
}

impl FindingRecord {
    pub fn of(f: &Finding, chip: Option<Chip>) -> FindingRecord {
        // JSON has no infinities.
        let numbers = f.numbers.iter().filter(|(_, x)| x.is_finite()).cloned().collect();
        FindingRecord {
            about: f.about.to_owned(),
            rule: rules::find(f.about).map(|r| r.title.to_owned()),
            seen: match f.seen {
                Observed::Holds => "holds",
                Observed::HoldsNot => "holds-not",
                Observed::Unclear => "unclear",
            }
            .to_owned(),
            verdict: f.verdict(chip).name().to_owned(),
            says: f.says.clone(),
            consequence: f.consequence.map(|c| c.to_string()),
            numbers,
        }
    }

    /// Nothing was learnt of this.
    pub fn unclear(about: &str, says: &str) -> FindingRecord {
        FindingRecord {
            about: about.to_owned(),
            rule: rules::find(about).map(|r| r.title.to_owned()),
            seen: "unclear".to_owned(),
            verdict: Verdict::Unclear.name().to_owned(),
            says: says.to_owned(),
            consequence: None,
            numbers: BTreeMap::new(),
        }
    }
}

/// The chip in a processor's name such as `Apple M4 Pro`.
pub fn family(chip: &str) -> Option<Chip> {
    chip.strip_prefix("Apple ")?.split_whitespace().find_map(Chip::parse)
}

impl Submission {
    pub fn of(info: &DeviceInfo, probes: Vec<Record>) -> Submission {
        let chip = chip();
        let count = |verdict: Verdict| {
            probes.iter().flat_map(|p| &p.findings).filter(|f| f.verdict == verdict.name()).count()
        };
        Submission {
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            system: system(),
            chip_family: family(&chip).map(|c| c.to_string()),
            chip,
            engine: info.engine.to_string(),
            engine_name: info.name.clone(),
            label: match info.engine {
                Engine::Soft => LABEL.to_owned(),
                Engine::Apple => info.name.clone(),
            },
            as_in_the_table: count(Verdict::AsTable),
            differ: count(Verdict::Differs),
            could_not_tell: count(Verdict::Unclear),
            probes,
        }
    }

    /// Whether a hardware engine, or its fake, ran the probe.
    pub fn is_hardware(&self) -> bool {
        self.engine == Engine::Apple.to_string()
    }

    /// For people: a line for each rule.
    pub fn shown(&self) -> String {
        let mut lines = vec![self.label.clone()];
        let whose = if self.is_hardware() { "" } else { "software engine, " };
        for probe in &self.probes {
            for f in &probe.findings {
                let verdict = Verdict::parse(&f.verdict).unwrap_or(Verdict::Unclear);
                let about = if f.about == probe.id { "" } else { &f.about };
                lines.push(format!("{:<21} {about:<4} {whose}{verdict}: {}", probe.id, f.says));
            }
        }
        let Submission { as_in_the_table, differ, could_not_tell, .. } = self;
        lines.push(format!("{as_in_the_table} as in the table, {differ} differ, {could_not_tell} undecided"));
        lines.join("\n")
    }

    /// Each observed rule, whether it holds on the chip, and the consequence of breaking it.
    pub fn seen(&self) -> impl Iterator<Item = (&'static Rule, bool, Option<Consequence>)> {
        self.probes.iter().flat_map(|p| &p.findings).filter_map(|f| {
            let rule = rules::find(&f.about)?;
            let holds = match f.seen.as_str() {
                "holds" => true,
                "holds-not" => false,
                _ => return None,
            };
            let consequence = f.consequence.as_deref().and_then(Consequence::parse);
            Some((rule, holds, consequence))
        })
    }
}

/// The verdicts that a file holds.
pub fn read(path: &Path) -> Result<Submission, CommandError> {
    let refused = |why: String| {
        let message = format!("`{}` holds no verdicts: {why}", path.display());
        CommandError::input(message, "Name a file that `backpropane probe all --submit-file` wrote.")
    };
    let text = std::fs::read_to_string(path).map_err(|e| refused(e.to_string()))?;
    let submission: Submission = serde_json::from_str(&text).map_err(|e| refused(e.to_string()))?;
    match submission.format == FORMAT {
        true => Ok(submission),
        false => {
            Err(refused(format!("its format is `{}`, this version reads `{FORMAT}`", submission.format)))
        }
    }
}
