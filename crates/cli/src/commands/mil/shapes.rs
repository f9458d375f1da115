//! Sizes that a program leaves open.

use super::program::Source;
use crate::error::CommandError;
use crate::ui::Ui;
use mil::pass::specialise;
use mil::text::tree::{Func, Value};
use mil::verify::verify;
use mil::{Data, Function, Program, TensorType, Verified};
use std::collections::BTreeMap;

/// `NAME=1,3,224`.
#[derive(Clone, Debug)]
pub struct ShapeArg {
    pub name: String,
    pub shape: Vec<usize>,
}

/// Reads `NAME=1,3,224`.
pub fn shape(text: &str) -> Result<ShapeArg, String> {
    let want = || "NAME=1,3,224 is needed: a parameter and its sizes".to_owned();
    let (name, sizes) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(want)?;
    let sizes = sizes.trim_matches(['[', ']']);
    let size = |s: &str| s.trim().parse().ok().filter(|&n| n < TensorType::UNKNOWN);
    let shape = match sizes {
        "" => Some(Vec::new()),
        sizes => sizes.split(',').map(size).collect(),
    };
    Ok(ShapeArg { name: name.to_owned(), shape: shape.ok_or_else(want)? })
}

/// The types of the parameters of `function`: as they are written; unknown sizes from `given`, or else the default
/// shapes that the function names.
///
/// # Errors
/// If a name of `given` is no parameter's, a shape is not one of its type, or sizes stay unknown.
pub fn known_types(
    function: &Function,
    tree: &Func<'_>,
    given: &[ShapeArg],
) -> Result<Vec<TensorType>, CommandError> {
    for arg in given {
        let Some(&id) = function.inputs.iter().find(|&&id| function.value(id).name == arg.name) else {
            return Err(unknown_input(function, &arg.name));
        };
        let ty = function.ty(id);
        if !ty.admits(&TensorType::new(ty.dtype, arg.shape.clone())) {
            return Err(CommandError::input(
                format!("`{}` is {ty}, which cannot have the shape {:?}", arg.name, arg.shape),
                "Repeat the known sizes unchanged.",
            ));
        }
    }
    let defaults = default_shapes(tree);
    let known = |&id: &mil::ValueId| {
        let value = function.value(id);
        let given = given.iter().rfind(|arg| arg.name == value.name).map(|arg| &arg.shape);
        let shape = given.or_else(|| defaults.get(value.name.as_str())).filter(|_| !value.ty.is_known());
        let ty = match shape.map(|shape| TensorType::new(value.ty.dtype, shape.clone())) {
            Some(ty) if value.ty.admits(&ty) => ty,
            _ => value.ty.clone(),
        };
        if ty.is_known() {
            return Ok(ty);
        }
        Err(CommandError::input(
            format!("`{}` is {ty}, and the program names no default for it", value.name),
            format!("Give its sizes with `--shape {}=…`.", value.name),
        ))
    };
    function.inputs.iter().map(known).collect()
}

/// There is no parameter of that name.
pub fn unknown_input(function: &Function, name: &str) -> CommandError {
    let names = function.inputs.iter().map(|&id| format!("`{}`", function.value(id).name));
    let names = names.collect::<Vec<_>>().join(", ");
    let hint = match names.is_empty() {
        true => "It takes none.".to_owned(),
        false => format!("It takes {names}."),
    };
    CommandError::input(format!("function `{}` has no parameter `{name}`", function.name), hint)
}

/// The shapes that the function's attribute `FlexibleShapeInformation` names as defaults.
fn default_shapes<'t>(tree: &'t Func<'_>) -> BTreeMap<&'t str, Vec<usize>> {
    let attr = tree.attrs.iter().find(|a| a.name.text == "FlexibleShapeInformation");
    let Some(Value::Tuple(items)) = attr.map(|a| &a.literal.value) else { return BTreeMap::new() };
    let defaults = items.iter().find_map(|item| match item {
        Value::Tuple(pair) => match &pair[..] {
            [kind, Value::Dict(entries)] if kind.as_str() == Some("DefaultShapes") => Some(entries),
            _ => None,
        },
        _ => None,
    });
    let shape = |value: &Value<'_>| match value {
        Value::Tensor { data, .. } => match &**data {
            Data::Int(sizes) => sizes.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<_>>>(),
            _ => None,
        },
        _ => None,
    };
    let entries = defaults.into_iter().flatten();
    entries.filter_map(|(name, sizes)| Some((name.as_str()?, shape(sizes)?))).collect()
}

/// `function` for parameters of these types, as engines take it.
///
/// # Errors
/// If it does not take them, or a size depends on elements; what is wrong has then been shown.
pub fn specialised(
    ui: &Ui,
    source: &Source,
    function: &Function,
    types: &[TensorType],
    program: &Program,
) -> Result<Verified<Program>, CommandError> {
    let refuse = |report: mil::Report| {
        source.explain(ui, &report);
        CommandError::input(
            format!("function `{}` of `{}` does not take these inputs", function.name, source.name),
            "Give inputs of other shapes, or correct the program.",
        )
    };
    let function = match specialise::is_needed(function) {
        true => specialise::specialise(function, types).map_err(refuse)?,
        false => function.clone(),
    };
    let program = Program {
        version: program.version.clone(),
        build_info: program.build_info.clone(),
        functions: vec![function],
    };
    verify(program).map_err(refuse)
}
