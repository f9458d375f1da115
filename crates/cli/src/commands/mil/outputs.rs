//! Outputs of a program: shown, and written to files.

use super::arrays::{numbers, safetensors_file};
use super::inputs::has_names;
use super::npy;
use crate::error::CommandError;
use mil::text::tree::Func;
use mil::{Data, Function, Tensor};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use train::fs::write_atomically;

/// Elements of a value that a person is shown.
const SHOWN: usize = 4;

/// The names of the results of `function`: those of its values, and for a state its own.
pub fn names(function: &Function, tree: &Func<'_>) -> Vec<String> {
    let plain = tree.block.results.len().min(function.outputs.len());
    let (results, written) = function.outputs.split_at(plain);
    let mut names: Vec<String> = results.iter().map(|&v| function.value(v).name.clone()).collect();
    let mut states = function.states.iter();
    for output in written {
        // States that are never written are not results.
        let state = states.find(|s| s.output == *output);
        names.push(state.map_or_else(|| function.value(*output).name.clone(), |s| s.name.clone()));
    }
    names
}

/// Writes `values` to `to`: a safetensors file, or a folder of .npy files.
///
/// # Errors
/// If it cannot be written, or holds no such elements.
pub fn write(to: &Path, values: &[(String, Tensor)]) -> Result<(), CommandError> {
    let refuse = |why: String| CommandError::input(why, "Leave `--out` away to see the results.");
    if has_names(to) {
        return Ok(write_atomically(to, &safetensors_file(values).map_err(refuse)?)?);
    }
    let files: Vec<(&String, Vec<u8>)> = values
        .iter()
        .map(|(name, tensor)| Ok((name, npy::file(tensor)?)))
        .collect::<Result<_, String>>()
        .map_err(refuse)?;
    fs::create_dir_all(to).map_err(|e| {
        let text = format!("cannot make the folder `{}`: {e}", to.display());
        CommandError::input(text, "Name another folder, or a file that ends in .safetensors.")
    })?;
    for (name, file) in files {
        write_atomically(&to.join(format!("{name}.npy")), &file)?;
    }
    Ok(())
}

/// Smallest, mean and largest of the numbers of a value; none if it has none.
fn extent(tensor: &Tensor) -> Option<(f64, f64, f64)> {
    let values = numbers(tensor);
    if values.is_empty() {
        return None;
    }
    let nan = values.iter().any(|x| x.is_nan());
    let fold = |f: fn(f64, f64) -> f64| values.iter().copied().reduce(f).filter(|_| !nan).unwrap_or(f64::NAN);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    Some((fold(f64::min), mean, fold(f64::max)))
}

/// A table: a line for each value, with its extent and first elements.
pub fn table(values: &[(String, Tensor)]) -> String {
    let mut rows = vec![["output", "type", "min", "mean", "max", "first elements"].map(str::to_owned)];
    for (name, tensor) in values {
        let [min, mean, max] = match extent(tensor) {
            Some((min, mean, max)) => [min, mean, max].map(number),
            None => ["-"; 3].map(str::to_owned),
        };
        rows.push([name.clone(), tensor.ty.to_string(), min, mean, max, first(tensor)]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut out = String::new();
    for [name, ty, min, mean, max, first] in &rows {
        let [a, b, c, d, e, _] = widths[..] else { break };
        let line = format!("{name:<a$}  {ty:<b$}  {min:>c$}  {mean:>d$}  {max:>e$}  {first}");
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out.trim_end().to_owned()
}

/// The first elements.
fn first(tensor: &Tensor) -> String {
    let shown: Vec<String> = match &tensor.data {
        Data::Float(v) => v.iter().take(SHOWN).map(|&x| number(x)).collect(),
        Data::Int(v) => v.iter().take(SHOWN).map(i64::to_string).collect(),
        Data::Bool(v) => v.iter().take(SHOWN).map(bool::to_string).collect(),
        Data::Str(v) => v.iter().take(SHOWN).map(|s| format!("{s:?}")).collect(),
    };
    let more = if tensor.data.len() > SHOWN { " …" } else { "" };
    format!("{}{more}", shown.join(" "))
}

/// A number in four or so digits.
fn number(x: f64) -> String {
    let size = x.abs();
    if x == x.trunc() && size < 1e6 {
        format!("{x:.0}")
    } else if (1e-3..1e6).contains(&size) {
        format!("{x:.4}")
    } else if x.is_finite() {
        format!("{x:.3e}")
    } else {
        x.to_string()
    }
}

/// A value in JSON, with all of its elements.
#[derive(Debug, Serialize)]
pub struct Listed {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    min: Option<Value>,
    mean: Option<Value>,
    max: Option<Value>,
    data: Vec<Value>,
}

impl Listed {
    pub fn of(name: &str, tensor: &Tensor) -> Listed {
        let extent = extent(tensor);
        let data = match &tensor.data {
            Data::Float(v) => v.iter().map(|&x| float(x)).collect(),
            Data::Int(v) => v.iter().map(|&x| json!(x)).collect(),
            Data::Bool(v) => v.iter().map(|&x| json!(x)).collect(),
            Data::Str(v) => v.iter().map(|x| json!(x)).collect(),
        };
        Listed {
            name: name.to_owned(),
            dtype: tensor.ty.dtype.name(),
            shape: tensor.ty.shape.clone(),
            min: extent.map(|e| float(e.0)),
            mean: extent.map(|e| float(e.1)),
            max: extent.map(|e| float(e.2)),
            data,
        }
    }
}

/// JSON has no non-finite numbers; these are the names that JavaScript and Python read.
fn float(x: f64) -> Value {
    if x.is_finite() {
        json!(x)
    } else if x.is_nan() {
        json!("NaN")
    } else if x > 0.0 {
        json!("Infinity")
    } else {
        json!("-Infinity")
    }
}
