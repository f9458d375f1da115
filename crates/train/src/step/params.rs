//! The parameters of a model: a table of specification, offset and gradient.

use super::StepError;
use crate::config::{ModelConfig, ParamKind, ParamSpec};
use crate::host::squared_norms::RowSquaredNorms;
use flow::{Arena, Handle};
use std::collections::HashMap;

/// A gradient, summed over micro-batches, with the loss scale.
#[derive(Debug)]
pub struct GradientSum {
    /// In the order of the parameter's elements.
    pub values: Vec<f32>,
    /// The squared norms of its rows, recorded by each writer of a row.
    pub squares: RowSquaredNorms,
}

impl GradientSum {
    fn zero(spec: &ParamSpec) -> GradientSum {
        let squares = match spec.shape[..] {
            [rows, columns] => RowSquaredNorms::new(rows, columns),
            _ => RowSquaredNorms::new(1, spec.count()),
        };
        GradientSum { values: vec![0.0; spec.count()], squares }
    }

    /// Sets it to 0.
    pub(super) fn clear(&mut self) {
        self.values.fill(0.0);
        self.squares.clear();
    }
}

/// A parameter of the model.
#[derive(Debug)]
pub struct Param {
    /// Name, shape, kind, layer, offset in the flat slices of weights and moments, and whether it decays.
    pub spec: ParamSpec,
    /// Its gradient, if it is trained.
    pub gradient: Option<Handle<GradientSum>>,
}

/// All parameters of a model, in checkpoint order.
#[derive(Debug)]
pub struct Params {
    /// The weights, fp32, `[N]`.
    pub theta: Handle<Vec<f32>>,
    table: Vec<Param>,
    places: HashMap<(Option<usize>, ParamKind), usize>,
}

impl Params {
    /// The table of `cfg` with weights `theta`, `[N]`; parameters for which `is_trained` holds have gradients.
    ///
    /// # Errors
    /// `Weights`, if `theta` has another number of elements.
    pub(super) fn new(
        cfg: &ModelConfig,
        theta: Vec<f32>,
        arena: &mut Arena,
        is_trained: impl Fn(&ParamSpec) -> bool,
    ) -> Result<Params, StepError> {
        let want = cfg.param_count();
        if theta.len() != want {
            return Err(StepError::Weights { want, got: theta.len() });
        }
        let theta = arena.cell("theta", theta);
        let mut param = |spec: ParamSpec| {
            let name = || format!("grad {}", spec.name);
            let gradient = is_trained(&spec).then(|| arena.cell(name(), GradientSum::zero(&spec)));
            Param { gradient, spec }
        };
        let table: Vec<Param> = cfg.params().into_iter().map(&mut param).collect();
        let places = table.iter().enumerate().map(|(i, p)| ((p.spec.layer, p.spec.kind), i)).collect();
        Ok(Params { theta, table, places })
    }

    /// All parameters in checkpoint order.
    pub fn iter(&self) -> std::slice::Iter<'_, Param> {
        self.table.iter()
    }

    /// The specification of each parameter.
    pub fn specs(&self) -> impl Iterator<Item = &ParamSpec> + Clone {
        self.table.iter().map(|p| &p.spec)
    }

    /// The parameter of this kind, of `layer` or of the model.
    ///
    /// # Errors
    /// `Internal`, if the model has none.
    pub(super) fn get(&self, layer: Option<usize>, kind: ParamKind) -> Result<&Param, StepError> {
        let found = self.places.get(&(layer, kind)).and_then(|&i| self.table.get(i));
        found.ok_or_else(|| StepError::internal(format!("the model has no {kind:?} of layer {layer:?}")))
    }

    /// The parameter with this name.
    pub fn named(&self, name: &str) -> Option<&Param> {
        self.table.iter().find(|p| p.spec.name == name)
    }

    /// The gradients of all trained parameters.
    pub(super) fn gradients(&self) -> impl Iterator<Item = &Handle<GradientSum>> {
        self.table.iter().filter_map(|p| p.gradient.as_ref())
    }
}
