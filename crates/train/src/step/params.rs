//! The parameters of a model: a table of specification, offset and gradient.

use super::StepError;
use crate::config::{ParamKind, ParamSpec};
use crate::model::Precision;
use flow::{Arena, Handle};
use half::f16;
use host::Store;
use host::gemm::Elements;
use host::squared_norms::{Gradient, RowSquaredNorms};
use rayon::prelude::*;
use softane::convert;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{RwLockReadGuard, RwLockWriteGuard};

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

    /// Where the product of a matrix's gradient goes.
    ///
    /// # Errors
    /// `Internal`, if the parameter is frozen.
    pub(super) fn to<'g>(
        gradient: &'g mut Option<RwLockWriteGuard<'_, GradientSum>>,
        store: Store,
    ) -> Result<Gradient<'g>, StepError> {
        let sum = gradient.as_mut().ok_or_else(|| StepError::internal("a frozen matrix has no gradient"))?;
        let GradientSum { values, squares } = &mut **sum;
        Ok(Gradient { values, squares, store })
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
    /// Its values, if they are in half precision instead of among the weights: a frozen embedding or classifier.
    pub(super) half: Option<Handle<Vec<f16>>>,
}

/// The values of a parameter, for a task that reads them.
#[derive(Clone)]
pub(super) struct Values {
    /// To read besides all weights.
    pub half: Option<Handle<Vec<f16>>>,
    /// Their place among all weights otherwise.
    pub range: Range<usize>,
}

impl Values {
    /// The elements, among the weights `theta` or in `half`.
    pub(super) fn of<'v>(
        range: &Range<usize>,
        theta: &'v [f32],
        half: &'v Option<RwLockReadGuard<'_, Vec<f16>>>,
    ) -> Elements<'v> {
        match half {
            Some(half) => half.as_slice().into(),
            None => theta[range.clone()].into(),
        }
    }
}

impl Param {
    /// Its values.
    pub(super) fn values(&self) -> Values {
        Values { half: self.half.clone(), range: self.spec.range() }
    }

    /// Whether its values are among the weights of [`Params::theta`].
    pub fn is_in_theta(&self) -> bool {
        self.half.is_none()
    }
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
            Param { gradient, spec, moments: first..moments, half: None }
        };
        let table: Vec<Param> = specs.into_iter().map(&mut param).collect();
        let places = places(&table);
        Ok(Params { theta, table, stored: want, places })
    }

    /// Takes out all parameters, as kernels are compiled with them, and keeps those that the host reads: the trained ones
    /// come first then, in the order of their moments, and frozen matrices of layers are gone. In half precision, a frozen
    /// embedding or classifier is rounded as the kernels' matrices are, if that only rounds it.
    ///
    /// # Errors
    /// If the weights are in use.
    pub(super) fn split_frozen(
        &mut self,
        arena: &mut Arena,
        precision: Precision,
    ) -> Result<Params, StepError> {
        let whole = self.table.iter();
        let whole: Vec<Param> = whole
            .map(|p| Param { spec: p.spec.clone(), gradient: None, moments: 0..0, half: None })
            .collect();
        let all = std::mem::take(&mut *self.theta.write()?);
        let is_trained = |param: &Param| param.gradient.is_some();
        let (trained, frozen): (Vec<Param>, Vec<Param>) =
            std::mem::take(&mut self.table).into_iter().partition(is_trained);
        let frozen = frozen.into_iter().filter(|param| param.spec.layer_matrix().is_none());
        self.stored = trained.iter().map(|param| param.spec.count()).sum();
        self.table = trained.into_iter().chain(frozen).collect();
        for param in self.table.iter_mut().filter(|param| param.gradient.is_none()) {
            let is_end = matches!(param.spec.kind, ParamKind::Embedding | ParamKind::Classifier);
            if is_end && precision == Precision::F16 {
                let half = halved(&all[param.spec.range()]);
                param.half = half.map(|half| arena.cell(format!("half {}", param.spec.name), half));
            }
        }
        let in_theta = self.table.iter().filter(|param| param.is_in_theta());
        let mut kept = Vec::with_capacity(in_theta.map(|param| param.spec.count()).sum());
        for param in &mut self.table {
            let offset = kept.len();
            if param.is_in_theta() {
                kept.extend_from_slice(&all[param.spec.range()]);
            }
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

    /// Bytes of all weights.
    pub fn bytes(&self) -> usize {
        let halves = self.table.iter().filter_map(|param| param.half.as_ref());
        let halves: usize = halves.map(|half| half.read().map_or(0, |half| 2 * half.len())).sum();
        halves + self.theta.read().map_or(0, |theta| 4 * theta.len())
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

/// Elements whose errors a task sums.
const CHUNK: usize = 1 << 16;

/// `values` in half precision; `None` if that changes them by more than rounding, as some are out of its range or most
/// are below its normal numbers.
fn halved(values: &[f32]) -> Option<Vec<f16>> {
    let mut half = vec![f16::ZERO; values.len()];
    convert::par_narrow(values, &mut half);
    let chunks = values.par_chunks(CHUNK).zip(half.par_chunks(CHUNK));
    let squares: Vec<[f64; 2]> = chunks
        .map(|(values, half)| {
            values.iter().zip(half).fold([0.0; 2], |[error, size], (&x, h)| {
                let (x, off) = (f64::from(x), f64::from(x - h.to_f32()));
                [error + off * off, size + x * x]
            })
        })
        .collect();
    let [error, size] =
        squares.iter().fold([0.0; 2], |[error, size], part| [error + part[0], size + part[1]]);
    // Rounding changes a normal number by at most 2⁻¹¹ of it. An infinity has an error that is not finite.
    (error <= size * 2f64.powi(-22) && size.is_finite()).then_some(half)
}

fn places(table: &[Param]) -> HashMap<(Option<usize>, ParamKind), usize> {
    table.iter().enumerate().map(|(i, p)| ((p.spec.layer, p.spec.kind), i)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_is_taken_where_it_only_rounds() {
        let values: Vec<f32> = (0..100_000).map(|i| (i as f32 * 0.37).sin() * 0.05).collect();
        let half = halved(&values).unwrap();
        assert!(values.iter().zip(&half).all(|(&x, &h)| f16::from_f32(x) == h));
        // A few small ones do not matter, nor do zeros.
        assert!(halved(&[1e-9, 0.5, 0.0]).is_some() && halved(&[0.0; 9]).is_some());
        for bad in [65_536.0, f32::INFINITY, f32::NAN] {
            assert!(halved(&[0.5, bad, 0.5]).is_none(), "{bad}");
        }
        let small: Vec<f32> = values.iter().map(|x| x * 1e-5).collect();
        assert!(halved(&small).is_none(), "numbers below the normal ones lose most of their digits");
    }
}
