//! Resolves words: opsets, types, literals, and suggestions for misspelt names.

use crate::diag::{Diagnostic, Place, Report, Severity};
use crate::ir::{self, LiteralData};
use crate::text::known;
use crate::text::tree::{self, Name, Type, Value};
use crate::ty::{Opset, TensorType};

/// The opset called `name`; the newest one, with an error or a warning, if it is unknown.
pub(super) fn opset(name: Name<'_>, report: &mut Report) -> Opset {
    if let Some(opset) = Opset::from_name(name.text) {
        return opset;
    }
    let place = Place::Text(name.span.range());
    if let Some(opset) = known::opset(name.text) {
        let text = format!("the opset `{name}` is treated as {opset}");
        report.push(Diagnostic::new("other-opset", text, place).severity(Severity::Warning));
        return opset;
    }
    let all = Opset::ALL.map(Opset::name).join(", ");
    let text = format!("there is no opset `{name}`");
    report.push(Diagnostic::new("unknown-opset", text, place).help(format!("use one of {all}")));
    Opset::NEWEST
}

/// The type of a tensor or scalar; `None` for any other.
pub(super) fn tensor_type(ty: &Type<'_>) -> Option<TensorType> {
    let Type::Tensor { dtype, dims } = ty else { return None };
    let size = |d: &Option<usize>| d.unwrap_or(TensorType::UNKNOWN);
    Some(TensorType::new(*dtype, dims.iter().map(size).collect::<Vec<_>>()))
}

/// The literal of a tensor or scalar; `None` for any other.
pub(super) fn literal(l: &tree::Literal<'_>) -> Option<ir::Literal> {
    let Type::Tensor { dtype, .. } = l.ty else { return None };
    let data = match &l.value {
        Value::Tensor { data, shape } => {
            let ty = TensorType::new(dtype, shape.clone());
            return Some(ir::Literal { ty, data: LiteralData::Inline(std::sync::Arc::clone(data)) });
        }
        Value::Blob { path, offset } => {
            LiteralData::Blob { path: path.clone().into_owned(), offset: *offset }
        }
        _ => return None,
    };
    Some(ir::Literal { ty: tensor_type(&l.ty)?, data })
}

/// The word that differs least from `word`, if by a few letters.
pub(super) fn nearest<'w>(word: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    const CLOSE: usize = 3;
    if word.len() > 40 {
        return None;
    }
    let near = words.filter(|w| w.len().abs_diff(word.len()) < CLOSE).take(10_000);
    let distances = near.map(|w| (distance(word, w), w)).filter(|(d, w)| *d < CLOSE && *d * 2 < w.len());
    distances.min().map(|(_, w)| w)
}

/// How many letters must be added, dropped or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.bytes().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, &y) in b.iter().enumerate() {
            let here = (before + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            before = std::mem::replace(&mut row[j + 1], here);
        }
    }
    row[b.len()]
}
