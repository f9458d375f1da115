//! The function attribute `FlexibleShapeInformation`, as descriptions of inputs hold it.

use crate::proto::model::array_feature_type::Flexibility;
use crate::proto::model::{EnumeratedShapes, Shape, ShapeRange, SizeRange};
use mil::Data;
use mil::text::tree::{Func, Value};
use std::collections::HashMap;

/// What the attribute of a function says, by the names of its inputs.
pub struct Flexible {
    defaults: HashMap<String, Vec<i64>>,
    ranges: HashMap<String, ShapeRange>,
    enumerated: HashMap<String, EnumeratedShapes>,
}

impl Flexible {
    /// Of this function; empty without the attribute.
    pub fn of(f: &Func<'_>) -> Flexible {
        let attr = f.attrs.iter().find(|a| a.name.text == "FlexibleShapeInformation");
        let items = match attr.map(|a| &a.literal.value) {
            Some(Value::Tuple(items)) => &items[..],
            _ => &[],
        };
        let part = |kind: &str| {
            let found = items.iter().find_map(|item| match item {
                Value::Tuple(pair) => match &pair[..] {
                    [name, entries] if name.as_str() == Some(kind) => Some(named(entries)),
                    _ => None,
                },
                _ => None,
            });
            found.unwrap_or_default()
        };
        let defaults = part("DefaultShapes").into_iter();
        let ranges = part("RangeDims").into_iter();
        let mut enumerated: HashMap<String, EnumeratedShapes> = HashMap::new();
        for (input, shape) in part("EnumeratedShapes").into_iter().flat_map(|(_, shapes)| named(shapes)) {
            if let Some(shape) = ints(shape) {
                enumerated.entry(input.to_owned()).or_default().shapes.push(Shape { shape });
            }
        }
        Flexible {
            defaults: defaults.filter_map(|(input, shape)| Some((input.to_owned(), ints(shape)?))).collect(),
            ranges: ranges.filter_map(|(input, axes)| Some((input.to_owned(), range(axes)?))).collect(),
            enumerated,
        }
    }

    /// The default shape of an input.
    pub fn default_shape(&self, input: &str) -> Option<Vec<i64>> {
        self.defaults.get(input).cloned()
    }

    /// What else it may have.
    pub fn flexibility(&self, input: &str) -> Option<Flexibility> {
        let range = self.ranges.get(input).cloned().map(Flexibility::ShapeRange);
        range.or_else(|| self.enumerated.get(input).cloned().map(Flexibility::EnumeratedShapes))
    }
}

/// The entries of a dictionary whose keys are texts.
fn named<'v, 's>(value: &'v Value<'s>) -> Vec<(&'v str, &'v Value<'s>)> {
    match value {
        Value::Dict(entries) => {
            entries.iter().filter_map(|(key, value)| Some((key.as_str()?, value))).collect()
        }
        _ => Vec::new(),
    }
}

fn range(axes: &Value<'_>) -> Option<ShapeRange> {
    let Value::List(axes) = axes else { return None };
    let range = |axis: &Value<'_>| match ints(axis)?[..] {
        [lower, upper] => Some(SizeRange { lower_bound: u64::try_from(lower).ok()?, upper_bound: upper }),
        _ => None,
    };
    Some(ShapeRange { size_ranges: axes.iter().map(range).collect::<Option<_>>()? })
}

fn ints(value: &Value<'_>) -> Option<Vec<i64>> {
    match value {
        Value::Tensor { data, .. } => match &**data {
            Data::Int(v) => Some(v.clone()),
            _ => None,
        },
        _ => None,
    }
}
