//! Finds the places of parameters and results in the text, for refusals that only name them.

use super::tree::{Statement, Tree};
use crate::diag::{Place, Report};
use std::collections::HashMap;

/// Resolves every label on a parameter or result to its place in the text.
pub(super) fn resolve(report: &mut Report, tree: &Tree<'_>) {
    let is_open = |place: &Place| matches!(place, Place::Param(_) | Place::Result(_));
    if !report.diagnostics.iter().any(|d| d.labels.iter().any(|(place, _)| is_open(place))) {
        return;
    }
    let statements: HashMap<u32, &Statement<'_>> =
        tree.statements().map(|statement| (statement.op.span.start, statement)).collect();
    for d in &mut report.diagnostics {
        let Place::Text(range) = &d.place else { continue };
        let Some(statement) = statements.get(&(range.start as u32)) else { continue };
        for (place, _) in &mut d.labels {
            let found = match place {
                Place::Param(name) => {
                    let attr = || statement.attr(name).map(|a| a.name.span.to(a.literal.span));
                    // The last of several: that is the one too many.
                    let args = statement.args.iter().rev();
                    args.clone().find(|a| a.name.text == *name).map(|a| a.span()).or_else(attr)
                }
                Place::Result(n) => statement.outputs.get(*n).map(|p| p.ty_span),
                _ => None,
            };
            if let Some(span) = found {
                *place = Place::Text(span.range());
            }
        }
    }
}
