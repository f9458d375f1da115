//! `backpropane mil check --fix`: repairs that keep the meaning, proven, and written.

use super::program::Source;
use super::weights::Folder;
use crate::error::CommandError;
use crate::ui::Ui;
use crate::units;
use anelint::repair::{MovedPort, Repaired, repair_proven};
use mil::text::Checked;
use std::path::{Path, PathBuf};
use train::fs::write_atomically;

/// Random inputs of proofs are drawn from this.
const SEED: u64 = 0;

/// Repairs the program of `source`, which has no errors: of the rules `broken`, or of all that repairs are for. Writes the
/// result to `out`, or over the text, and gives back where; `None` if there was nothing to repair and no `out`, where the
/// program stands as it was then.
pub fn fix(
    ui: &Ui,
    source: &Source,
    checked: Checked,
    weights: Option<&Path>,
    broken: Option<&[&str]>,
    out: Option<&Path>,
) -> Result<Option<PathBuf>, CommandError> {
    if source.model.is_some() && out.is_none() {
        return Err(CommandError::input(
            format!("`{}` is a model file, which is not repaired in place", source.name),
            "Say with `--out FILE` where the repaired text goes; `backpropane mil convert` makes a package of it.",
        ));
    }
    let program = match checked.executable() {
        Ok(program) => program,
        Err(report) => {
            source.explain(ui, &report);
            return Err(CommandError::input(
                format!("`{}` cannot be run, so nothing about it can be proven", source.name),
                "Repair it by hand; `backpropane mil rules ID` explains how.",
            ));
        }
    };
    let weights = Folder::new(&source.folder, weights).load(&program.functions)?;
    let repaired = repair_proven(&program, broken, &weights, SEED);
    ui.result(&told(&source.name, &repaired))?;
    if repaired.is_unchanged() {
        let Some(path) = out else { return Ok(None) };
        write_atomically(path, source.text.as_bytes())?;
        ui.say(format!("The program, as it was, is in `{}`", path.display()));
        return Ok(Some(path.to_owned()));
    }
    let path = out.unwrap_or(&source.path);
    let mut text = mil::text::print(&repaired.program);
    text.push('\n');
    write_atomically(path, text.as_bytes())?;
    ui.say(format!("The repaired program is in `{}`", path.display()));
    Ok(Some(path.to_owned()))
}

/// The changes and their proofs, the obstacles, and the mapping of inputs and outputs.
fn told(name: &str, repaired: &Repaired) -> String {
    let mut lines = Vec::new();
    for applied in &repaired.applied {
        let rules = applied.repair.rules.join(", ");
        lines.push(format!("{name}: {} ({rules})", applied.repair.does));
        lines.extend(applied.changes.iter().map(|change| format!("    {change}")));
        // Operations that compute the same as before need no comparison.
        if let Some(proof) = applied.proof.filter(|p| p.elements == 0) {
            let stated = match proof.stated {
                0 => "no operation is another than before".to_owned(),
                1 => "1 operation states its default".to_owned(),
                n => format!("{n} operations state their defaults"),
            };
            lines.push(format!("    the same: {stated}; no number was compared"));
        } else if let Some(proof) = applied.proof {
            let piecewise = match proof.pieces {
                0 => String::new(),
                n => format!(", {} one by one", units::plural(n, "operation")),
            };
            lines.push(format!(
                "    proven{piecewise}: {} compared, {} differ by at most {:.1e} in exact arithmetic and {:.1} ulp rounded",
                units::plural(proof.elements, "number"),
                units::plural(proof.runs, "run"),
                proof.exact,
                proof.typed_ulps,
            ));
        }
    }
    for obstacle in &repaired.obstacles {
        let what = obstacle.repair.name;
        lines.push(format!("{name}: not done: {what} in `{}`: {}", obstacle.function, obstacle.reason));
    }
    let functions = repaired.program.functions.iter().zip(&repaired.ports);
    for (function, ports) in functions {
        for (side, list) in [("input", &ports.inputs), ("output", &ports.outputs)] {
            for port in list.iter().filter(|p| !p.is_unchanged()) {
                lines.push(format!("{name}: {side} `{}` of `{}` {}", port.name, function.name, became(port)));
            }
        }
    }
    if lines.is_empty() {
        lines.push(format!("{name}: nothing to repair"));
    }
    lines.join("\n")
}

/// `is now `i00_x`, tensor<fp16, [1, 32]>, its first 20 of 32`.
fn became(port: &MovedPort) -> String {
    let width = port.ty.shape.last().copied().unwrap_or(1);
    let piece = |p: &anelint::repair::Piece| {
        let now = p.ty.shape.last().copied().unwrap_or(1);
        let part = match (p.len == width, p.len == now) {
            (true, true) => String::new(),
            (true, false) => format!(", the first {} of {now} along the last axis", p.len),
            _ => format!(", elements {} to {} of the last axis", p.start, p.start + p.len),
        };
        format!("`{}`, {}{part}", p.name, p.ty)
    };
    format!("is now {}", port.pieces.iter().map(piece).collect::<Vec<_>>().join(" and "))
}
