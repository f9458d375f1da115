//! From a pair of values that differ to the operations in which they do.

use super::difference::{Difference, TOLD};
use super::number::{Elements, Key, Number, Numbered, Numbers, OpKey, Origin};
use crate::tensor::Data;
use crate::text::tree::{Literal, Value};
use std::collections::HashSet;
use std::ops::Range;

/// Pairs of values that are looked at, at most.
const PAIRS: usize = 1 << 20;

/// Two functions, to be compared.
pub(super) struct Explain<'e, 't> {
    pub numbers: &'e Numbers<'t>,
    pub first: &'e Numbered<'t>,
    pub second: &'e Numbered<'t>,
}

/// Two values, each with the place of its use.
struct Pair {
    numbers: (Number, Number),
    used: (Range<usize>, Range<usize>),
}

impl Explain<'_, '_> {
    /// Adds the first differences of the functions to `found`.
    pub fn all(&self, found: &mut Vec<Difference>) {
        let before = found.len();
        let mut seen: HashSet<(Number, Number)> = HashSet::new();
        let results = self.first.results.iter().zip(&self.second.results);
        let mut todo: Vec<Pair> = results
            .map(|(a, b)| Pair { numbers: (a.0, b.0), used: (a.1.clone(), b.1.clone()) })
            .rev()
            .collect();
        while let Some(pair) = todo.pop() {
            let (a, b) = pair.numbers;
            if a == b || seen.len() > PAIRS || found.len() >= TOLD || !seen.insert((a, b)) {
                continue;
            }
            let children = todo.len();
            if let Some(message) = self.compare(&pair, &mut todo) {
                let place = |number, side: &super::number::Numbered<'_>, used: Range<usize>| {
                    let origin = side.origins.get(&number).copied();
                    let range = origin.map_or(used, Origin::range);
                    Some((range, String::new()))
                };
                found.push(Difference {
                    message,
                    first: place(a, self.first, pair.used.0),
                    second: place(b, self.second, pair.used.1),
                });
            } else {
                // The first argument first.
                todo[children..].reverse();
            }
        }
        let (a, b) = (self.first.results.len(), self.second.results.len());
        if a != b {
            let message =
                format!("the first gives {a} results, states and operations without results, the second {b}");
            found.push(Difference { message, first: None, second: None });
        }
        if found.len() == before {
            self.unused(found);
        }
    }

    /// The difference of this pair itself; `None` if its operands differ, which are then added to `todo`.
    fn compare(&self, pair: &Pair, todo: &mut Vec<Pair>) -> Option<String> {
        let (a, b) = pair.numbers;
        let (Some(x), Some(y)) = (self.numbers.key(a), self.numbers.key(b)) else { return None };
        match (x, y) {
            (Key::Result(x, n), Key::Result(y, m)) if n == m => {
                todo.push(Pair { numbers: (*x, *y), used: pair.used.clone() });
                None
            }
            (Key::Result(_, n), Key::Result(_, m)) => {
                Some(format!("result {n} is used in the first, result {m} in the second"))
            }
            (Key::Op(x), Key::Op(y)) => self.operations(pair, x, y, todo),
            (Key::Constant(t, x), Key::Constant(u, y)) => Some(self.constants(pair, (t, x), (u, y))),
            _ => Some(format!("{} in the first, {} in the second", self.what(a, true), self.what(b, false))),
        }
    }

    fn operations(&self, pair: &Pair, x: &OpKey<'_>, y: &OpKey<'_>, todo: &mut Vec<Pair>) -> Option<String> {
        if x.op != y.op {
            return Some(format!("`{}` in the first, `{}` in the second", x.op, y.op));
        }
        if x.opset != y.opset {
            return Some(format!("`{}` is of another opset", x.op));
        }
        let has = |op: &OpKey<'_>, name: &str| op.args.iter().any(|(n, _)| *n == name);
        for (one, other, side) in [(x, y, "first"), (y, x, "second")] {
            if let Some((name, _)) = one.args.iter().find(|(name, _)| !has(other, name)) {
                return Some(format!("`{}` has `{name}` only in the {side}", x.op));
            }
        }
        if x.blocks.len() != y.blocks.len() {
            return Some(format!("`{}` has {} blocks and {}", x.op, x.blocks.len(), y.blocks.len()));
        }
        let used = || {
            let place = |number, side: &Numbered<'_>, used: &Range<usize>| {
                side.origins.get(&number).map_or(used.clone(), |origin| origin.range())
            };
            (
                place(pair.numbers.0, self.first, &pair.used.0),
                place(pair.numbers.1, self.second, &pair.used.1),
            )
        };
        let mut push = |xs: &[Number], ys: &[Number]| {
            let different = xs.iter().zip(ys).filter(|(x, y)| x != y);
            todo.extend(different.map(|(&x, &y)| Pair { numbers: (x, y), used: used() }));
        };
        for ((name, xs), (_, ys)) in x.args.iter().zip(&y.args) {
            if xs.len() != ys.len() {
                return Some(format!("`{name}` of `{}` has {} values and {}", x.op, xs.len(), ys.len()));
            }
            push(xs, ys);
        }
        for ((takes, xs), (other, ys)) in x.blocks.iter().zip(&y.blocks) {
            if takes != other || xs.len() != ys.len() {
                return Some(format!("the blocks of `{}` have other parameters or results", x.op));
            }
            push(xs, ys);
        }
        if x.args == y.args && x.blocks == y.blocks {
            let list = |types: &[String]| types.join(", ");
            return Some(format!("`{}` gives {} and {}", x.op, list(&x.types), list(&y.types)));
        }
        None
    }

    fn constants(&self, pair: &Pair, x: (&String, &Elements), y: (&String, &Elements)) -> String {
        if x.0 != y.0 {
            return format!("the constant is {} in the first, {} in the second", x.0, y.0);
        }
        let literal = |number, side: &Numbered<'_>| -> Option<Vec<String>> {
            match side.origins.get(&number)? {
                Origin::Literal(Literal { value: Value::Tensor { data, .. }, .. }) => Some(shown(data)),
                _ => None,
            }
        };
        let both = literal(pair.numbers.0, self.first).zip(literal(pair.numbers.1, self.second));
        let different = both.and_then(|(a, b)| {
            let at = a.iter().zip(&b).position(|(a, b)| a != b)?;
            Some(match a.len() {
                1 => format!("the constant is {} in the first, {} in the second", a[0], b[0]),
                _ => {
                    format!("element {at} of the constant is {} in the first, {} in the second", a[at], b[at])
                }
            })
        });
        match (x.1, y.1) {
            _ if different.is_some() => different.unwrap_or_default(),
            (Elements::Blob(p, n), Elements::Blob(q, m)) => {
                format!("the weight is at {n} of `{p}` in the first, at {m} of `{q}` in the second")
            }
            _ => "the elements of the constant differ".to_owned(),
        }
    }

    /// A short description of a number's value.
    fn what(&self, number: Number, first: bool) -> String {
        let side = if first { self.first } else { self.second };
        match (self.numbers.key(number), side.origins.get(&number)) {
            (_, Some(Origin::Param(p))) => format!("the parameter `{}`", p.name),
            (Some(Key::Constant(ty, _)), _) => format!("a constant {ty}"),
            (_, Some(Origin::Statement(s))) => format!("a result of `{}`", s.op),
            _ => "something else".to_owned(),
        }
    }

    /// Operations with unused results that the other function lacks.
    fn unused(&self, found: &mut Vec<Difference>) {
        for (one, other, is_first) in [(self.first, self.second, true), (self.second, self.first, false)] {
            let others: HashSet<Number> = other.ops.iter().copied().collect();
            let (this, that) = if is_first { ("first", "second") } else { ("second", "first") };
            for number in one.ops.iter().filter(|n| !others.contains(n)) {
                if found.len() >= TOLD {
                    return;
                }
                let Some(Origin::Statement(s)) = one.origins.get(number) else { continue };
                let message =
                    format!("the {this} has a `{}` that changes no result; the {that} has it not", s.op);
                let place = Some((s.op.span.range(), String::new()));
                let (first, second) = if is_first { (place, None) } else { (None, place) };
                found.push(Difference { message, first, second });
            }
        }
    }
}

/// The elements as text; floats to the last digit.
fn shown(data: &Data) -> Vec<String> {
    match data {
        Data::Float(v) => v.iter().map(|x| format!("{x:?}")).collect(),
        Data::Int(v) => v.iter().map(i64::to_string).collect(),
        Data::Bool(v) => v.iter().map(bool::to_string).collect(),
        Data::Str(v) => v.iter().map(|s| format!("{s:?}")).collect(),
    }
}
