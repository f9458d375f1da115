//! The parameters of a model: a table of specification, offset and gradient.

use super::StepError;
use crate::config::{ParamKind, ParamSpec};
use crate::host::squared_norms::RowSquaredNorms;
use flow::{Arena, Handle};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::RwLockWriteGuard;

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

    /// The elements of `gradient`; none of a frozen parameter.
    pub(super) fn values_of<'g>(
        gradient: &'g mut Option<RwLockWriteGuard<'_, GradientSum>>,
    ) -> &'g mut [f32] {
        gradient.as_mut().map_or(&mut [], |gradient| &mut gradient.values)
    }

    /// Records the squared norm of a vector that was added to.
    pub(super) fn record(gradient: Option<RwLockWriteGuard<'_, GradientSum>>) {
        if let Some(gradient) = gradient {
            gradient.squares.take(0, &gradient.values);
        }
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
    /// Its place in the moments of the optimizer, which only trained parameters have.
    pub moments: Range<usize>,
}

/// All parameters of a model, in checkpoint order; adapters after those of the model. Where a model is frozen, the trained
/// ones first, and no frozen matrices of layers.
#[derive(Debug)]
pub struct Params {
    /// The weights, fp32, `[N]`.
    pub theta: Handle<Vec<f32>>,
    table: Vec<Param>,
    /// Elements of `theta` that a checkpoint stores: its first ones.
    stored: usize,
    places: HashMap<(Option<usize>, ParamKind), usize>,
}

impl Params {
    /// The table `specs` with weights `theta`, `[N]`; parameters for which `is_trained` holds have gradients.
    ///
    /// # Errors
    /// `Weights`, if `theta` has another number of elements.
    pub(super) fn new(
        specs: Vec<ParamSpec>,
        theta: Vec<f32>,
        arena: &mut Arena,
        is_trained: impl Fn(&ParamSpec) -> bool,
    ) -> Result<Params, StepError> {
        let want = specs.last().map_or(0, |spec| spec.range().end);
        if theta.len() != want {
            return Err(StepError::Weights { want, got: theta.len() });
        }
        let theta = arena.cell("theta", theta);
        let mut moments = 0;
        let mut param = |spec: ParamSpec| {
            let name = || format!("grad {}", spec.name);
            let gradient = is_trained(&spec).then(|| arena.cell(name(), GradientSum::zero(&spec)));
            let first = moments;
            moments += if gradient.is_some() { spec.count() } else { 0 };
            Param { gradient, spec, moments: first..moments }
        };
        let table: Vec<Param> = specs.into_iter().map(&mut param).collect();
        let places = places(&table);
        Ok(Params { theta, table, stored: want, places })
    }

    /// Takes out all parameters, as kernels are compiled with them, and keeps those that the host reads: the trained ones
    /// come first then, in the order of their moments, and frozen matrices of layers are gone.
    ///
    /// # Errors
    /// If the weights are in use.
    pub(super) fn split_frozen(&mut self, arena: &mut Arena) -> Result<Params, StepError> {
        let whole = self.table.iter();
        let whole: Vec<Param> =
            whole.map(|p| Param { spec: p.spec.clone(), gradient: None, moments: 0..0 }).collect();
        let all = std::mem::take(&mut *self.theta.write()?);
        let is_trained = |param: &Param| param.gradient.is_some();
        let (trained, frozen): (Vec<Param>, Vec<Param>) =
            std::mem::take(&mut self.table).into_iter().partition(is_trained);
        let frozen = frozen.into_iter().filter(|param| param.spec.layer_matrix().is_none());
        self.stored = trained.iter().map(|param| param.spec.count()).sum();
        self.table = trained.into_iter().chain(frozen).collect();
        let mut kept = Vec::with_capacity(self.table.iter().map(|param| param.spec.count()).sum());
        for param in &mut self.table {
            let offset = kept.len();
            kept.extend_from_slice(&all[param.spec.range()]);
            param.spec.offset = offset;
        }
        *self.theta.write()? = kept;
        self.places = places(&self.table);
        let (stored, places): (usize, HashMap<_, _>) = (all.len(), places(&whole));
        Ok(Params { theta: arena.cell("frozen theta", all), table: whole, stored, places })
    }

    /// Releases the memory of the weights from `layer` on.
    ///
    /// # Errors
    /// If they are in use.
    pub(super) fn release_from(&self, layer: usize) -> Result<(), StepError> {
        let first = self.specs().find(|spec| spec.layer == Some(layer)).map_or(0, |spec| spec.offset);
        let theta = &mut *self.theta.write()?;
        theta.truncate(first);
        theta.shrink_to_fit();
        Ok(())
    }

    /// The number of elements of `theta` that a checkpoint stores: its first ones.
    pub fn stored(&self) -> usize {
        self.stored
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

    /// The gradient of the parameter of this kind and layer; `None` if it is frozen or the layer has none.
    pub(super) fn gradient_of(&self, layer: usize, kind: ParamKind) -> Option<&Handle<GradientSum>> {
        let place = *self.places.get(&(Some(layer), kind))?;
        self.table.get(place)?.gradient.as_ref()
    }

    /// The parameter with this name.
    pub fn named(&self, name: &str) -> Option<&Param> {
        self.table.iter().find(|p| p.spec.name == name)
    }

    /// The trained parameters, in checkpoint order.
    pub fn trained(&self) -> impl Iterator<Item = &Param> + Clone {
        self.table.iter().filter(|p| p.gradient.is_some())
    }

    /// Number of trained weights.
    pub fn trained_count(&self) -> usize {
        self.trained().map(|p| p.moments.len()).sum()
    }

    /// The gradients of all trained parameters.
    pub(super) fn gradients(&self) -> impl Iterator<Item = &Handle<GradientSum>> {
        self.table.iter().filter_map(|p| p.gradient.as_ref())
    }
}

fn places(table: &[Param]) -> HashMap<(Option<usize>, ParamKind), usize> {
    table.iter().enumerate().map(|(i, p)| ((p.spec.layer, p.spec.kind), i)).collect()
}
