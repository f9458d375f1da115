//! Sizes that a program leaves open: the description has their defaults and ranges, MIL text the function attribute
//! `FlexibleShapeInformation`.

use super::name;
use crate::error::{At, Problem, quoted};
use crate::proto::model::{
    ArrayFeatureType, FeatureDescription, ImageFeatureType, ModelDescription, SizeRange, array_feature_type,
    feature_type, image_feature_type,
};
use mil::text::tree::{Attr, Dim, Literal, Param, Span, Type, Value};
use mil::{DType, Data};
use std::collections::HashMap;
use std::sync::Arc;

/// The descriptions of inputs, by function and name.
pub struct Shapes<'p> {
    functions: HashMap<&'p str, HashMap<&'p str, &'p FeatureDescription>>,
}

impl<'p> Shapes<'p> {
    /// Of all functions.
    pub fn of(description: &'p ModelDescription) -> Shapes<'p> {
        let by_name =
            |inputs: &'p [FeatureDescription]| inputs.iter().map(|i| (i.name.as_str(), i)).collect();
        let mut functions: HashMap<_, _> =
            description.functions.iter().map(|f| (f.name.as_str(), by_name(&f.input))).collect();
        if functions.is_empty() {
            // The one function of a model is called so.
            functions.insert("main", by_name(&description.input));
        }
        Shapes { functions }
    }
}

/// Sizes of one input: a range for each axis, or whole shapes.
enum Choice {
    Ranges(Vec<[i64; 2]>),
    Shapes(Vec<Vec<i64>>),
}

/// The default shape of an input, and what else it may have.
type Described = (Vec<i64>, Option<Choice>);

/// The attribute for those of `params` that leave sizes open and are described.
///
/// # Errors
/// If a description has sizes that are none, or for other axes than the parameter has.
pub fn flexible<'s>(
    function: &str,
    params: &[Param<'s>],
    shapes: &Shapes<'_>,
) -> Result<Option<Attr<'s>>, Problem> {
    let Some(inputs) = shapes.functions.get(function) else { return Ok(None) };
    let (mut defaults, mut ranges, mut enumerated) = (Vec::new(), Vec::new(), Vec::new());
    for param in params {
        let Type::Tensor { dims, .. } = &param.ty else { continue };
        if !dims.contains(&None) {
            continue;
        }
        let Some(input) = inputs.get(param.name.text) else { continue };
        let place = || format!("the description of {}", quoted(&input.name));
        let Some((default, choice)) = described(input, dims).at(place)? else { continue };
        let key = text(param.name.text);
        defaults.push((key.clone(), numbers(&default).at(place)?));
        match choice {
            Some(Choice::Ranges(own)) => {
                let axes = own.iter().map(|range| numbers(range)).collect::<Result<_, _>>().at(place)?;
                ranges.push((key, Value::List(axes)));
            }
            Some(Choice::Shapes(own)) => {
                for (i, shape) in own.iter().enumerate() {
                    let entry = (key.clone(), numbers(shape).at(place)?);
                    if enumerated.len() == i {
                        enumerated.push(Vec::new());
                    }
                    enumerated[i].push(entry);
                }
            }
            None => {}
        }
    }
    Ok((!defaults.is_empty()).then(|| attribute(defaults, ranges, enumerated)))
}

/// What the description says of an input; `None` if it is no array and no image.
fn described(input: &FeatureDescription, dims: &[Dim]) -> Result<Option<Described>, Problem> {
    let (default, choice) = match input.r#type.as_ref().and_then(|ty| ty.kind.as_ref()) {
        Some(feature_type::Kind::MultiArray(array)) => of_array(array),
        Some(feature_type::Kind::Image(image)) => of_image(image, dims)?,
        _ => return Ok(None),
    };
    let axes = |n: usize| match n == dims.len() {
        true => Ok(()),
        false => Err(Problem::new(format!("it has sizes for {n} axes, and the parameter {}", dims.len()))),
    };
    axes(default.len())?;
    match &choice {
        Some(Choice::Ranges(ranges)) => axes(ranges.len())?,
        Some(Choice::Shapes(shapes)) => shapes.iter().try_for_each(|shape| axes(shape.len()))?,
        None => {}
    }
    Ok(Some((default, choice)))
}

fn of_array(array: &ArrayFeatureType) -> Described {
    use array_feature_type::Flexibility;
    let choice = array.flexibility.as_ref().map(|flexibility| match flexibility {
        Flexibility::EnumeratedShapes(all) => {
            Choice::Shapes(all.shapes.iter().map(|shape| shape.shape.clone()).collect())
        }
        Flexibility::ShapeRange(range) => Choice::Ranges(range.size_ranges.iter().map(bounds).collect()),
    });
    (array.shape.clone(), choice)
}

/// Images are `[1, C, height, width]`.
fn of_image(image: &ImageFeatureType, dims: &[Dim]) -> Result<Described, Problem> {
    use image_feature_type::Flexibility;
    let [_, Some(channels), _, _] = dims else {
        return Err(Problem::new("an image has four axes, and a known number of channels"));
    };
    let channels = *channels as i64;
    let shape = |height: i64, width: i64| vec![1, channels, height, width];
    let choice = image.flexibility.as_ref().map(|flexibility| match flexibility {
        Flexibility::EnumeratedSizes(all) => Choice::Shapes(
            all.sizes.iter().map(|size| shape(size.height as i64, size.width as i64)).collect(),
        ),
        Flexibility::SizeRange(range) => {
            let [height, width] = [range.height, range.width].map(|r| bounds(&r.unwrap_or_default()));
            Choice::Ranges(vec![[1, 1], [channels, channels], height, width])
        }
    });
    Ok((shape(image.height, image.width), choice))
}

fn bounds(range: &SizeRange) -> [i64; 2] {
    [i64::try_from(range.lower_bound).unwrap_or(i64::MAX), range.upper_bound]
}

fn attribute<'s>(
    defaults: Vec<(Value<'s>, Value<'s>)>,
    ranges: Vec<(Value<'s>, Value<'s>)>,
    enumerated: Vec<Vec<(Value<'s>, Value<'s>)>>,
) -> Attr<'s> {
    let dict = |of| Type::Dict(Box::new((Type::scalar(DType::Str), of)));
    let shape = || Type::Tensor { dtype: DType::I32, dims: vec![None] };
    let mut items = vec![(dict(shape()), "DefaultShapes", Value::Dict(defaults))];
    if !ranges.is_empty() {
        let pair = Type::Tensor { dtype: DType::I32, dims: vec![Some(2)] };
        items.push((dict(Type::List(Box::new(pair), None)), "RangeDims", Value::Dict(ranges)));
    }
    if !enumerated.is_empty() {
        let each = enumerated.into_iter().enumerate();
        let all = each.map(|(i, shapes)| (text(&format!("shape_{i}")), Value::Dict(shapes)));
        items.push((dict(dict(shape())), "EnumeratedShapes", Value::Dict(all.collect())));
    }
    let types =
        items.iter().map(|(ty, ..)| Type::Tuple(vec![Type::scalar(DType::Str), ty.clone()])).collect();
    let values = items.into_iter().map(|(_, kind, value)| Value::Tuple(vec![text(kind), value])).collect();
    let literal = Literal { ty: Type::Tuple(types), value: Value::Tuple(values), span: Span::default() };
    Attr { name: name("FlexibleShapeInformation"), literal }
}

fn text<'s>(text: &str) -> Value<'s> {
    Value::Tensor { shape: Vec::new(), data: Arc::new(Data::Str(vec![text.to_owned()])) }
}

fn numbers<'s>(numbers: &[i64]) -> Result<Value<'s>, Problem> {
    if let Some(size) = numbers.iter().find(|&&n| i32::try_from(n).is_err()) {
        return Err(Problem::new(format!("{size} is too large for the size of an axis")));
    }
    Ok(Value::Tensor { shape: vec![numbers.len()], data: Arc::new(Data::Int(numbers.to_vec())) })
}
