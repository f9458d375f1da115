//! The function attribute `FlexibleShapeInformation`, as descriptions of inputs hold it.

use crate::proto::model::array_feature_type::Flexibility;
use crate::proto::model::{EnumeratedShapes, Shape, ShapeRange, SizeRange};
use mil::Data;
use mil::text::tree::{Func, Value};

/// What the attribute of a function says.
pub struct Flexible<'t> {
    defaults: Option<&'t [(Value<'t>, Value<'t>)]>,
    ranges: Option<&'t [(Value<'t>, Value<'t>)]>,
    enumerated: Option<&'t [(Value<'t>, Value<'t>)]>,
}

impl<'t> Flexible<'t> {
    /// Of this function; empty without the attribute.
    pub fn of(f: &'t Func<'_>) -> Flexible<'t> {
        let attr = f.attrs.iter().find(|a| a.name.text == "FlexibleShapeInformation");
        let items = match attr.map(|a| &a.literal.value) {
            Some(Value::Tuple(items)) => &items[..],
            _ => &[],
        };
        let part = |kind: &str| {
            items.iter().find_map(|item| match item {
                Value::Tuple(pair) => match &pair[..] {
                    [name, Value::Dict(entries)] if name.as_str() == Some(kind) => Some(&entries[..]),
                    _ => None,
                },
                _ => None,
            })
        };
        Flexible {
            defaults: part("DefaultShapes"),
            ranges: part("RangeDims"),
            enumerated: part("EnumeratedShapes"),
        }
    }

    /// The default shape of an input.
    pub fn default_shape(&self, input: &str) -> Option<Vec<i64>> {
        ints(find(self.defaults?, input)?)
    }

    /// What else it may have.
    pub fn flexibility(&self, input: &str) -> Option<Flexibility> {
        self.range(input).or_else(|| self.shapes(input))
    }

    fn range(&self, input: &str) -> Option<Flexibility> {
        let Value::List(axes) = find(self.ranges?, input)? else { return None };
        let range = |axis: &Value<'_>| match ints(axis)?[..] {
            [lower, upper] => Some(SizeRange { lower_bound: u64::try_from(lower).ok()?, upper_bound: upper }),
            _ => None,
        };
        let size_ranges = axes.iter().map(range).collect::<Option<_>>()?;
        Some(Flexibility::ShapeRange(ShapeRange { size_ranges }))
    }

    fn shapes(&self, input: &str) -> Option<Flexibility> {
        let each = self.enumerated?.iter().filter_map(|(_, shapes)| match shapes {
            Value::Dict(entries) => Some(Shape { shape: ints(find(entries, input)?)? }),
            _ => None,
        });
        let shapes: Vec<Shape> = each.collect();
        (!shapes.is_empty()).then_some(Flexibility::EnumeratedShapes(EnumeratedShapes { shapes }))
    }
}

fn find<'t>(entries: &'t [(Value<'t>, Value<'t>)], name: &str) -> Option<&'t Value<'t>> {
    entries.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
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
