//! Weights that are parameters: a 1×1 convolution with one is written as a product of matrices.
//!
//! An engine ignores or refuses a convolution weight that is not constant (rule T14). `matmul` accepts it, transposed
//! or not, so a transposition before the convolution is free.

use super::region::{PackError, SurfaceRegion};
use mil::op::Call;
use mil::{Builder, Function, Literal, Operation, ValueId, Var};
use std::collections::{HashMap, HashSet};

/// The layout of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WeightForm {
    /// `[O, I, 1, 1]`, used by products only.
    Matrix {
        rows: usize,
        columns: usize,
        /// Whether products use its transpose, which is then preferred.
        turn: bool,
    },
    /// One column.
    Vector { rows: usize },
}

/// The weights of a function and the operations that use them.
pub(super) struct RuntimeWeights<'f> {
    function: &'f Function,
    literals: Vec<Option<&'f Literal>>,
    /// Weights and their transposes: the weight, and whether its first two axes are swapped.
    matrices: HashMap<ValueId, (ValueId, bool)>,
    /// Constants used only by operations that become products.
    idle: HashSet<ValueId>,
    forms: HashMap<ValueId, WeightForm>,
    /// The activations `[1, I, 1, S]` of products, reshaped to `[1, 1, I, S]`.
    columns: HashMap<ValueId, ValueId>,
}

impl<'f> RuntimeWeights<'f> {
    /// Analyses the weights of `function` that `is_weight` selects.
    ///
    /// # Errors
    /// `Weight`, if one is neither a vector nor used only by 1×1 convolutions.
    pub fn new(
        function: &'f Function,
        is_weight: impl Fn(ValueId) -> bool,
    ) -> Result<RuntimeWeights<'f>, PackError> {
        let mut weights = RuntimeWeights {
            function,
            literals: function.literals(),
            matrices: HashMap::new(),
            idle: HashSet::new(),
            forms: HashMap::new(),
            columns: HashMap::new(),
        };
        for v in function.inputs.iter().copied().filter(|&v| is_weight(v)) {
            let form = weights.form(v).ok_or_else(|| {
                let value = function.value(v);
                PackError::Weight { name: value.name.clone(), ty: value.ty.clone() }
            })?;
            weights.forms.insert(v, form);
        }
        let (absorbed, others): (Vec<&Operation>, Vec<&Operation>) =
            function.ops.iter().partition(|op| weights.absorbs(op));
        let used =
            |ops: Vec<&Operation>| ops.into_iter().flat_map(Operation::uses).collect::<HashSet<ValueId>>();
        let (inside, outside) = (used(absorbed), used(others));
        weights.idle = inside.difference(&outside).copied().collect();
        Ok(weights)
    }

    /// The layout of `v`, if it is a weight.
    pub fn of(&self, v: ValueId) -> Option<WeightForm> {
        self.forms.get(&v).copied()
    }

    /// Whether the constant `v` has become unused.
    pub fn is_idle(&self, v: ValueId) -> bool {
        self.idle.contains(&v)
    }

    /// Classifies the uses of `v` and records matrices.
    fn form(&mut self, v: ValueId) -> Option<WeightForm> {
        let users = |v: ValueId| self.function.ops.iter().filter(move |op| op.uses().any(|u| u == v));
        let ty = self.function.ty(v);
        let mut found = vec![(v, false)];
        let (mut plain, mut swapped, mut others) = (0, 0, 0);
        for op in users(v) {
            if self.is_product(op, v) {
                plain += 1;
            } else if let Some(result) = self.swapped(op, v) {
                let uses = users(result).filter(|op| self.is_product(op, result)).count();
                others += users(result).count() - uses;
                swapped += uses;
                found.push((result, true));
            } else {
                others += 1;
            }
        }
        match *ty.shape {
            [rows, columns, 1, 1] if others == 0 && plain + swapped > 0 => {
                self.matrices.extend(found.into_iter().map(|(value, transposed)| (value, (v, transposed))));
                Some(WeightForm::Matrix { rows, columns, turn: swapped > plain })
            }
            _ if ty.shape.iter().filter(|&&d| d != 1).count() <= 1 && plain + swapped == 0 => {
                Some(WeightForm::Vector { rows: ty.elements() })
            }
            _ => None,
        }
    }

    /// Whether `op` is a 1×1 convolution that uses `v` only as its weight.
    fn is_product(&self, op: &Operation, v: ValueId) -> bool {
        if op.op.name() != "conv" || op.arg_value("weight") != Some(v) || op.arg("bias").is_some() {
            return false;
        }
        let call = Call::new(self.function, &self.literals, op);
        let Some((axes, groups)) = mil::ops::conv::geometry(&call) else { return false };
        let single = axes.iter().all(|a| a.size == 1 && a.stride == 1 && a.count == a.len && a.before == 0);
        single && groups == 1 && matches!(*call.ty("x").shape, [1, _, _, _]) && op.arg_value("x") != Some(v)
    }

    /// The result of `op`, if it is `v` with its first two axes swapped and not a result of the function.
    fn swapped(&self, op: &Operation, v: ValueId) -> Option<ValueId> {
        if op.op.name() != "transpose" || op.arg_value("x") != Some(v) {
            return None;
        }
        let call = Call::new(self.function, &self.literals, op);
        let result = *op.results.first()?;
        (call.ints("perm") == [1, 0, 2, 3] && !self.function.outputs.contains(&result)).then_some(result)
    }

    /// Whether [`RuntimeWeights::carry_out`] replaces `op`.
    fn absorbs(&self, op: &Operation) -> bool {
        let is_matrix = |param| op.arg_value(param).is_some_and(|v| self.matrices.contains_key(&v));
        match op.op.name() {
            "conv" => is_matrix("weight"),
            "transpose" => is_matrix("x"),
            _ => false,
        }
    }

    /// Rewrites `op` if it uses a weight. `map` maps the values of the function, `slots` holds the regions of the weights.
    pub fn carry_out(
        &mut self,
        op: &Operation,
        builder: &Builder,
        slots: &HashMap<ValueId, &SurfaceRegion>,
        map: &mut HashMap<ValueId, ValueId>,
    ) -> bool {
        if !self.absorbs(op) {
            return false;
        }
        let given = |param| op.arg_value(param);
        if let (Some(weight), Some(x), [result]) = (given("weight"), given("x"), op.results.as_slice())
            && let Some(&(weight, swapped)) = self.matrices.get(&weight)
            && let (Some(&matrix), Some(slot), Some(&x)) = (map.get(&weight), slots.get(&weight), map.get(&x))
        {
            let columns = *self.columns.entry(x).or_insert_with(|| {
                let x = builder.var(x);
                let inner = x.shape().get(1).copied().unwrap_or(1);
                x.reshape(&[1, 1, inner, x.ty().elements() / inner.max(1)]).id() // [1, 1, I, S]
            });
            let (matrix, columns) = (builder.var(matrix), builder.var(columns));
            let product = matrix.matmul(columns, swapped != slot.transposed, false); // [1, 1, O, S]
            let shaped = product.reshape(&self.function.ty(*result).shape); //      [1, O, 1, S]
            map.insert(*result, shaped.named(&self.function.value(*result).name).id());
        }
        true
    }
}

/// The matrix or vector stored in the block `part`, in the shape that its uses expect.
pub(super) fn taken<'b>(part: Var<'b>, form: WeightForm, shape: &[usize]) -> Var<'b> {
    match (form, part.shape().as_slice()) {
        (WeightForm::Matrix { .. }, &[_, rows, _, columns]) => part.reshape(&[1, 1, rows, columns]),
        (_, own) if own == shape => part,
        _ => part.reshape(shape),
    }
}
