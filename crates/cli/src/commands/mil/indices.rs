//! Indices beyond an axis: MIL leaves open what an operation does with them, and every engine does something else.

use crate::error::CommandError;
use crate::ui::Ui;
use mil::ir::LiteralData;
use mil::pass::specialise;
use mil::{ArgValue, Data, Function, Literal, Operation, Tensor, TensorType, ValueId};

/// The operations that take indices, with the parameter that these are indices of.
const INDEXED: [(&str, &str); 6] = [
    ("gather", "x"),
    ("gather_along_axis", "x"),
    ("gather_nd", "x"),
    ("scatter", "data"),
    ("scatter_along_axis", "data"),
    ("scatter_nd", "data"),
];

/// The indices of one operation.
#[derive(Debug)]
struct Use {
    operation: &'static str,
    /// The name of its result.
    result: String,
    indices: ValueId,
    /// The name of the indexed value.
    of: String,
    first_axis: usize,
    /// The sizes of the axes that a row of indices is for; of most operations a single one.
    sizes: Vec<usize>,
    /// Whether the program asks for an error, rather than leaving it open.
    validates: bool,
}

/// A function whose results are followed by the indices that it computes.
#[derive(Debug)]
pub struct Watched {
    pub function: Function,
    results: usize,
    uses: Vec<Use>,
}

impl Watched {
    /// `function` for parameters of these types; with `more` results if its engine can give integers.
    pub fn new(function: &Function, types: &[TensorType], more: bool) -> Watched {
        let known = match specialise::is_needed(function) {
            true => specialise::specialise(function, types).ok(),
            false => Some(function.clone()),
        };
        // Where sizes depend on elements, nothing is known before the run.
        let is_known = known.is_some();
        let mut function = known.unwrap_or_else(|| function.clone());
        let uses = if is_known { uses(&function) } else { Vec::new() };
        let results = function.outputs.len();
        let literals = function.literals();
        let mut added: Vec<ValueId> = Vec::new();
        for v in uses.iter().map(|u| u.indices).filter(|_| more) {
            let is_there =
                function.inputs.contains(&v) || function.outputs.contains(&v) || added.contains(&v);
            if !is_there && literals[v.index()].is_none() {
                added.push(v);
            }
        }
        function.outputs.extend(&added);
        Watched { function, results, uses }
    }

    /// Splits the function's own results off, and warns of indices beyond their axes.
    ///
    /// # Errors
    /// If the operation of such an index validates its indices.
    pub fn check(
        &self,
        ui: &Ui,
        inputs: &[Tensor],
        mut results: Vec<Tensor>,
    ) -> Result<Vec<Tensor>, CommandError> {
        let literals = self.function.literals();
        for u in &self.uses {
            let given = |ids: &[ValueId], at: &[Tensor]| -> Option<Vec<i64>> {
                let i = ids.iter().position(|&v| v == u.indices)?;
                at.get(i).and_then(|tensor| ints(&tensor.data))
            };
            let constant = || literals[u.indices.index()].and_then(Literal::data).and_then(ints);
            let values = given(&self.function.inputs, inputs)
                .or_else(|| given(&self.function.outputs, &results))
                .or_else(constant);
            let Some(beyond) = values.and_then(|values| u.beyond(&values)) else { continue };
            let indices = &self.function.value(u.indices).name;
            let Use { operation, result, of, validates, .. } = u;
            let said = format!(
                "`{operation}` of `{result}`: {} of `{indices}` is beyond {} of `{of}`",
                beyond.0, beyond.1
            );
            if *validates {
                return Err(CommandError::input(
                    said,
                    "Give indices within the axis: the program validates them.",
                ));
            }
            ui.warn(format!("{said}; what that gives is undefined, and here the nearest element is taken"));
        }
        results.truncate(self.results);
        Ok(results)
    }
}

impl Use {
    /// The first index that is beyond its axis, and that axis, both as messages call them.
    fn beyond(&self, values: &[i64]) -> Option<(String, String)> {
        values.iter().enumerate().find_map(|(at, &index)| {
            let which = at % self.sizes.len().max(1);
            let size = *self.sizes.get(which)? as i64;
            let axis = self.first_axis + which;
            // A negative one counts from the end.
            (!(-size..size).contains(&index))
                .then(|| (format!("index {index} (element {at})"), format!("axis {axis} (size {size})")))
        })
    }
}

/// The operations of `function` that take indices, outside of branches and loops.
fn uses(function: &Function) -> Vec<Use> {
    let literals = function.literals();
    let used = |op: &Operation| {
        let &(operation, of) = INDEXED.iter().find(|(name, _)| *name == op.op.name())?;
        let (of, indices) = (op.arg_value(of)?, op.arg_value("indices")?);
        let shape = &function.ty(of).shape;
        let number = |name: &str| integer(op, name, &literals).unwrap_or(0);
        let (first_axis, count) = if operation.ends_with("_nd") {
            (usize::try_from(number("batch_dims")).ok()?, *function.ty(indices).shape.last()?)
        } else {
            let axis = number("axis");
            (usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).ok()?, 1)
        };
        Some(Use {
            operation,
            result: function.value(*op.results.first()?).name.clone(),
            indices,
            of: function.value(of).name.clone(),
            first_axis,
            sizes: shape.get(first_axis..first_axis.checked_add(count)?)?.to_vec(),
            validates: number("validate_indices") != 0,
        })
    };
    function.ops.iter().filter_map(used).collect()
}

/// The constant number or truth `name` of `op`.
fn integer(op: &Operation, name: &str, literals: &[Option<&Literal>]) -> Option<i64> {
    let literal = match op.arg(name)? {
        ArgValue::Literal(literal) => literal,
        ArgValue::Value(v) => literals[v.index()]?,
        ArgValue::List(_) => return None,
    };
    match &literal.data {
        LiteralData::Inline(data) => ints(data)?.first().copied(),
        LiteralData::Blob { .. } => None,
    }
}

fn ints(data: &Data) -> Option<Vec<i64>> {
    match data {
        Data::Int(values) => Some(values.to_vec()),
        Data::Bool(values) => Some(values.iter().map(|&b| i64::from(b)).collect()),
        _ => None,
    }
}
