//! Whether two programs are the same, and where not.
//!
//! Every value of both programs gets a number that identifies how it is computed (value numbering): equal operations on
//! values of equal numbers give equal numbers. So names, the order of independent operations, the spelling of
//! constants and values that are computed twice make no difference. What the text says beside the computation (version,
//! build information, labels, remarks of engines, comments) is not compared.

mod difference;
mod digest;
mod explain;
mod number;

pub use difference::{Difference, Side};
pub use digest::{Digest, Digester};

use crate::text::tree::{Func, Tree};
use difference::TOLD;
use explain::Explain;
use number::{Numbered, Numbers};
use std::ops::Range;

/// The differences; consequences of one difference are not reported.
///
/// Parameters are matched by name if both programs use the same names, else by order; results by order.
/// `contents` gives the digest of the elements of a weight, by path and offset; without a digest, weights are equal
/// if path and offset are.
pub fn diff<'t>(
    first: &'t Tree<'t>,
    second: &'t Tree<'t>,
    contents: &mut dyn FnMut(Side, &str, u64) -> Option<Digest>,
) -> Vec<Difference> {
    let mut found = Vec::new();
    for (a, b) in pairs(first, second, &mut found) {
        function(a, b, contents, &mut found);
    }
    found.truncate(TOLD);
    found
}

/// Pairs of functions: those of equal names, or the only ones.
fn pairs<'t>(
    first: &'t Tree<'t>,
    second: &'t Tree<'t>,
    found: &mut Vec<Difference>,
) -> Vec<(&'t Func<'t>, &'t Func<'t>)> {
    if let ([a], [b]) = (&first.functions[..], &second.functions[..]) {
        return vec![(a, b)];
    }
    let mut pairs = Vec::new();
    for a in &first.functions {
        match second.functions.iter().find(|b| b.name == a.name) {
            Some(b) => pairs.push((a, b)),
            None => found.push(Difference {
                message: format!("the second program has no function `{}`", a.name),
                first: Some((a.name.span.range(), String::new())),
                second: None,
            }),
        }
    }
    for b in second.functions.iter().filter(|b| first.functions.iter().all(|a| a.name != b.name)) {
        found.push(Difference {
            message: format!("the first program has no function `{}`", b.name),
            first: None,
            second: Some((b.name.span.range(), String::new())),
        });
    }
    pairs
}

fn function<'t>(
    a: &'t Func<'t>,
    b: &'t Func<'t>,
    contents: &mut dyn FnMut(Side, &str, u64) -> Option<Digest>,
    found: &mut Vec<Difference>,
) {
    let before = found.len();
    let both = |message: String, x: Range<usize>, y: Range<usize>| Difference {
        message,
        first: Some((x, String::new())),
        second: Some((y, String::new())),
    };
    if a.opset != b.opset {
        let text = format!("the first is for {}, the second for {}", a.opset, b.opset);
        found.push(both(text, a.opset.span.range(), b.opset.span.range()));
    }
    let counts = [("parameters", a.params.len(), b.params.len())];
    let counts = counts.into_iter().chain([("results", a.block.results.len(), b.block.results.len())]);
    for (what, x, y) in counts.filter(|(_, x, y)| x != y) {
        let text = format!("{what}: {x} in the first, {y} in the second");
        found.push(both(text, a.name.span.range(), b.name.span.range()));
    }
    let order = order(a, b);
    for (x, &at) in a.params.iter().zip(&order) {
        if let Some(y) = b.params.get(at).filter(|y| y.ty != x.ty) {
            let text = format!("the parameter `{}` is {}, `{}` is {}", x.name, x.ty, y.name, y.ty);
            found.push(both(text, x.ty_span.range(), y.ty_span.range()));
        }
    }
    if found.len() > before {
        // Everything would follow from it.
        return;
    }
    let mut numbers = Numbers::default();
    let straight: Vec<usize> = (0..a.params.len()).collect();
    let first = Numbered::of(a, &straight, &mut numbers, &mut |path, at| contents(Side::First, path, at));
    // Parameter `order[i]` of the second is parameter i of the first.
    let mut turned = straight;
    for (i, &at) in order.iter().enumerate() {
        turned[at] = i;
    }
    let second = Numbered::of(b, &turned, &mut numbers, &mut |path, at| contents(Side::Second, path, at));
    Explain { numbers: &numbers, first: &first, second: &second }.all(found);
}

/// For each parameter of `a`, the position of the one of `b` that it corresponds to.
fn order(a: &Func<'_>, b: &Func<'_>) -> Vec<usize> {
    let by_name = |name| b.params.iter().position(|p| p.name == name);
    let named: Option<Vec<usize>> = a.params.iter().map(|p| by_name(p.name)).collect();
    let straight = (0..a.params.len().min(b.params.len())).collect();
    match named {
        Some(named) if a.params.len() == b.params.len() && is_permutation(&named) => named,
        _ => straight,
    }
}

fn is_permutation(order: &[usize]) -> bool {
    let mut seen = vec![false; order.len()];
    order.iter().all(|&at| seen.get_mut(at).is_some_and(|seen| !std::mem::replace(seen, true)))
}

#[cfg(test)]
mod tests;
