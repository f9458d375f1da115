//! Inputs of a program: values from files, zeros for states, random numbers on request.

use super::arrays::{ArrayFile, numpy_name};
use super::program::Source;
use super::shapes::{ShapeArg, known_types, unknown_input};
use crate::error::CommandError;
use crate::ui::Ui;
use mil::eval::LARGEST;
use mil::text::tree::Func;
use mil::{DType, Data, Function, Tensor, TensorType, ValueId};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names of a file's arrays that a person is shown.
const SHOWN: usize = 20;

/// `NAME=FILE`, or a file that has names in it.
#[derive(Clone, Debug)]
pub struct InputArg {
    name: Option<String>,
    file: PathBuf,
}

/// Reads `NAME=FILE.npy`, `NAME=FILE.safetensors` or `FILE.safetensors`.
pub fn input(text: &str) -> Result<InputArg, String> {
    let is_name = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let arg = match text.split_once('=') {
        Some((name, file)) if is_name(name) => InputArg { name: Some(name.to_owned()), file: file.into() },
        _ => InputArg { name: None, file: text.into() },
    };
    let named = has_names(&arg.file);
    match (named, &arg.name) {
        (true, _) | (false, Some(_)) if !arg.file.as_os_str().is_empty() => Ok(arg),
        _ => Err("NAME=FILE.npy or FILE.safetensors is needed".to_owned()),
    }
}

/// Whether the values of a file have names.
pub fn has_names(file: &Path) -> bool {
    file.extension().is_some_and(|e| e == "safetensors")
}

/// Where the values of the parameters come from.
#[derive(Debug)]
pub struct InputSources<'a> {
    pub files: &'a [InputArg],
    pub shapes: &'a [ShapeArg],
    /// The seed of random values, for parameters without a file.
    pub random: Option<u64>,
}

impl InputSources<'_> {
    /// The value of each parameter of `function`, in order.
    ///
    /// # Errors
    /// If a file cannot be read, a value is not what the parameter takes, a name is no parameter's, or one has no
    /// value.
    pub fn values(
        &self,
        ui: &Ui,
        source: &Source,
        function: &Function,
        tree: &Func<'_>,
    ) -> Result<Vec<Tensor>, CommandError> {
        let mut given = self.read(ui, function)?;
        let is_state = |id: ValueId| function.states.iter().any(|s| s.input == id);
        let absent: Vec<ValueId> =
            function.inputs.iter().copied().filter(|id| !given.contains_key(id)).collect();
        let missing: Vec<ValueId> = absent.iter().copied().filter(|&id| !is_state(id)).collect();
        if self.random.is_none() && !missing.is_empty() {
            return Err(not_given(source, function, &missing));
        }
        // The types of those without a value; the others have theirs.
        let mut open = function.clone();
        for (id, tensor) in &given {
            open.values[id.index()].ty = tensor.ty.clone();
        }
        let types = known_types(&open, tree, self.shapes)?;
        for (at, (&id, ty)) in function.inputs.iter().zip(&types).enumerate() {
            if given.contains_key(&id) {
                continue;
            }
            let name = &function.value(id).name;
            if ty.elements() > LARGEST || ty.dtype == DType::Str {
                return Err(CommandError::input(
                    format!("`{name}` is {ty}, for which no values can be made"),
                    format!("Give it with `--input {name}=FILE.npy`, or smaller sizes with `--shape`."),
                ));
            }
            let data = match self.random.filter(|_| !is_state(id)) {
                Some(seed) => random(ty, seed, at as u64),
                None => Data::zeros(ty.dtype, ty.elements()),
            };
            given.insert(id, Tensor { ty: ty.clone(), data }.rounded());
        }
        Ok(function.inputs.iter().filter_map(|id| given.remove(id)).collect())
    }

    /// The values that files give.
    fn read(&self, ui: &Ui, function: &Function) -> Result<BTreeMap<ValueId, Tensor>, CommandError> {
        let mut given = BTreeMap::new();
        for arg in self.files {
            let is_named = has_names(&arg.file);
            let mut file = if is_named { ArrayFile::safetensors } else { ArrayFile::npy }(&arg.file)?;
            // The name of a parameter, and that of an array.
            let mut values: Vec<(String, String)> = Vec::new();
            match (is_named, &arg.name) {
                (true, None) => {
                    values.extend(file.types().iter().map(|(n, _)| (n.to_string(), n.to_string())))
                }
                (true, Some(name)) => values.push((name.clone(), name.clone())),
                (false, name) => values.push((name.clone().unwrap_or_default(), String::new())),
            }
            for (name, array) in values {
                let ty = type_of(&arg.file, &file, &array)?.clone();
                let parameter = function.inputs.iter().find(|&&id| function.value(id).name == name);
                let Some(&id) = parameter else { return Err(unknown_input(function, &name)) };
                let unsuited = |(why, hint)| {
                    let what =
                        format!("`{}` does not suit the parameter `{name}`: {why}", arg.file.display());
                    CommandError::input(what, hint)
                };
                // Before elements are read: they may be more than there is memory for.
                has_shape(&ty, function.ty(id)).map_err(unsuited)?;
                let (value, note) = fit(file.read(&array)?, function.ty(id)).map_err(unsuited)?;
                if let Some(note) = note {
                    ui.say(format!("note: `{name}` is rounded {note}"));
                }
                if given.insert(id, value).is_some() {
                    return Err(CommandError::input(
                        format!("the parameter `{name}` has more than one value"),
                        "Leave all but one of its values away.",
                    ));
                }
            }
        }
        Ok(given)
    }
}

/// The type of the array called `name` in an open file.
fn type_of<'f>(path: &Path, file: &'f ArrayFile, name: &str) -> Result<&'f TensorType, CommandError> {
    let types = file.types();
    let found = types.iter().find(|(n, _)| *n == name);
    found.map(|&(_, ty)| ty).ok_or_else(|| {
        let mut names: Vec<String> = types.iter().take(SHOWN).map(|(n, _)| format!("`{n}`")).collect();
        if types.len() > SHOWN {
            names.push(format!("and {} more", types.len() - SHOWN));
        }
        CommandError::input(
            format!("`{}` has no tensor `{name}`", path.display()),
            format!("It has {}.", names.join(", ")),
        )
    })
}

fn not_given(source: &Source, function: &Function, missing: &[ValueId]) -> CommandError {
    let list = missing.iter().map(|&id| {
        let value = function.value(id);
        format!("`{}` {}", value.name, value.ty)
    });
    let list = list.collect::<Vec<_>>().join(", ");
    let first = missing.first().map_or("", |&id| function.value(id).name.as_str());
    CommandError::input(
        format!("function `{}` of `{}` needs {list}", function.name, source.name),
        format!("Give each with `--input {first}=FILE.npy`, or all of them with `--random SEED`."),
    )
}

/// Whether an array of type `got` has the shape of a parameter of type `want`.
///
/// # Errors
/// The reason, and a remedy.
fn has_shape(got: &TensorType, want: &TensorType) -> Result<(), (String, String)> {
    if !got.is_known() || !want.with_dtype(got.dtype).admits(got) {
        let why = format!("it is {got}, expected {want}");
        return Err((why, "Give an array of that shape.".to_owned()));
    }
    if got.elements() > LARGEST {
        let why = format!("it has {} elements, at most {LARGEST} are read", got.elements());
        return Err((why, "Give a smaller array.".to_owned()));
    }
    Ok(())
}

/// `value`, which has the shape of `want`, as a tensor of type `want`, and how it was rounded, if it was.
///
/// # Errors
/// The reason, and a remedy.
fn fit(value: Tensor, want: &TensorType) -> Result<(Tensor, Option<String>), (String, String)> {
    let got = value.ty.dtype;
    let ty = value.ty.with_dtype(want.dtype);
    if got == want.dtype {
        return Ok((value, None));
    }
    let hint = || format!("Convert it with `.astype(numpy.{})`.", numpy_name(want.dtype));
    let refuse = |at: usize, shown: String| {
        let why = format!("element {at} is {shown}, which is not a valid {}", want.dtype);
        Err((why, "Give values that the type has.".to_owned()))
    };
    match &value.data {
        Data::Float(from) if want.dtype.is_float() => {
            let to = Tensor { ty, data: value.data.clone() }.rounded();
            let both = || from.iter().zip(to.as_floats());
            if let Some(at) = both().position(|(a, b)| a.is_finite() && !b.is_finite()) {
                return refuse(at, format!("{:e}", from[at]));
            }
            let exact = both().all(|(a, b)| a == b || a.is_nan());
            let usual = matches!(want.dtype, DType::F16 | DType::F32);
            match exact {
                true => Ok((to, None)),
                false if usual => Ok((to, Some(format!("from {got} to {}", want.dtype)))),
                false => Err((
                    format!("it is {got}; converting to {} would change its values", want.dtype),
                    hint(),
                )),
            }
        }
        Data::Int(from) if want.dtype.is_int() => {
            let (low, high) = want.dtype.int_range().unwrap_or((0, 0));
            match from.iter().position(|n| !(low..=high).contains(n)) {
                Some(at) => refuse(at, from[at].to_string()),
                None => Ok((Tensor { ty, data: value.data }, None)),
            }
        }
        _ => Err((format!("its elements are {got}, expected {}", want.dtype), hint())),
    }
}

/// Floats from −1 to 1, integers from 0 to 7, truths by toss of a coin.
fn random(ty: &TensorType, seed: u64, stream: u64) -> Data {
    let mut draws = ChaCha8Rng::seed_from_u64(seed);
    draws.set_stream(stream);
    let n = ty.elements();
    match ty.dtype {
        DType::Bool => Data::Bool((0..n).map(|_| draws.random()).collect()),
        d if d.is_float() => Data::Float((0..n).map(|_| draws.random_range(-1.0..1.0)).collect()),
        d => {
            let most = d.int_range().map_or(0, |(_, high)| high.min(7));
            Data::Int((0..n).map(|_| draws.random_range(0..=most)).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_converted_only_if_nothing_is_lost() {
        let of = |dtype: DType, data: Data| Tensor { ty: TensorType::new(dtype, [data.len()]), data };
        let to = |dtype| TensorType::new(dtype, [TensorType::UNKNOWN]);
        let floats = |v: &[f64]| of(DType::F64, Data::Float(v.to_vec()));
        let (exact, note) = fit(floats(&[0.5]), &to(DType::F16)).expect("exact");
        assert_eq!((exact.as_floats(), note), (&[0.5][..], None));
        let (_, note) = fit(floats(&[0.1]), &to(DType::F16)).expect("rounded");
        assert_eq!(note.as_deref(), Some("from fp64 to fp16"));
        assert!(
            fit(floats(&[0.0, 1e6]), &to(DType::F16)).expect_err("too large").0.contains("element 1 is 1e6")
        );
        assert!(fit(floats(&[0.1]), &to(DType::BF16)).is_err());
        assert!(fit(floats(&[1.0]), &to(DType::I32)).expect_err("a float").1.contains("numpy.int32"));
        let ints = |v: &[i64]| of(DType::I64, Data::Int(v.to_vec()));
        assert!(fit(ints(&[3, -4]), &to(DType::I32)).is_ok());
        assert!(fit(ints(&[3, 1 << 40]), &to(DType::I32)).is_err());
        assert!(fit(ints(&[3]), &to(DType::F16)).is_err());
        let shape = has_shape(&ints(&[3]).ty, &TensorType::new(DType::I32, [2]));
        assert!(shape.expect_err("a shape").0.contains("expected"));
    }

    #[test]
    fn inputs_are_names_and_files() {
        assert!(input("x=a.npy").is_ok_and(|a| a.name.as_deref() == Some("x")));
        assert!(input("a.safetensors").is_ok_and(|a| a.name.is_none()));
        assert!(input("dir=1/a.safetensors").is_ok_and(|a| a.name.as_deref() == Some("dir")));
        for text in ["a.npy", "x=", "=a.npy", "", "a b=c.npy"] {
            assert!(input(text).is_err(), "{text}");
        }
    }
}
