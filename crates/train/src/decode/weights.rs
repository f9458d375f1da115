//! The weights of a model for decoding: those of layers on surfaces, embedding and classifier in the same element type.

use super::kernels::DecodeKernels;
use crate::config::{ModelConfig, ParamKind, ParamSpec};
use crate::host::gemm::Elements;
use crate::model::{DecodePart, Precision};
use crate::step::StepError;
use ane::Surface;
use half::f16;
use softane::convert;

/// All weights, held once for programs of all sizes.
#[derive(Debug)]
pub(super) struct DecodeWeights {
    /// Of each layer, those of each part, in the order of `DecodeSpec::weights`.
    layers: Vec<[Vec<Surface>; DecodePart::ALL.len()]>,
    /// `[V, D]`.
    pub(super) embedding: Table,
    /// `[V, D]`; `None`: the embedding.
    classifier: Option<Table>,
    /// `[D]`.
    pub(super) final_norm: Vec<f32>,
    /// Of each layer, those of the norms before attention and feed-forward part, `[D]`, if the host computes these.
    pub(super) host_norms: Vec<[Vec<f32>; 2]>,
}

/// A matrix on the host.
#[derive(Debug)]
pub(super) enum Table {
    F16(Vec<f16>),
    F32(Vec<f32>),
}

impl Table {
    /// `values`, in half precision where that is wanted and they fit.
    fn new(values: &[f32], precision: Precision) -> Table {
        if precision == Precision::F32 || !values.iter().all(|x| x.abs() <= f16::MAX.to_f32()) {
            return Table::F32(values.to_vec());
        }
        let mut narrow = vec![f16::ZERO; values.len()];
        convert::par_narrow(values, &mut narrow);
        Table::F16(narrow)
    }

    pub(super) fn elements(&self) -> Elements<'_> {
        match self {
            Table::F16(values) => Elements::F16(values),
            Table::F32(values) => Elements::F32(values),
        }
    }

    /// Writes row `row`, times `scale`, to column `column` of `x`, `[D, columns]`.
    pub(super) fn take(&self, row: usize, scale: f32, x: &mut [f32], [column, columns]: [usize; 2]) {
        let d = x.len() / columns;
        let to = x[column..].iter_mut().step_by(columns);
        match self {
            Table::F16(all) => to.zip(&all[row * d..][..d]).for_each(|(to, v)| *to = v.to_f32() * scale),
            Table::F32(all) => to.zip(&all[row * d..][..d]).for_each(|(to, v)| *to = v * scale),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Table::F16(values) => 2 * values.len(),
            Table::F32(values) => 4 * values.len(),
        }
    }
}

impl DecodeWeights {
    /// Writes the weights `theta` of `cfg`, in checkpoint order, to new surfaces.
    ///
    /// # Errors
    /// `WeightRange`, if one does not fit into the element type; or if a surface cannot be allocated.
    pub(super) fn new(
        cfg: &ModelConfig,
        theta: &[f32],
        kernels: &DecodeKernels,
    ) -> Result<DecodeWeights, StepError> {
        let specs = cfg.params();
        let find = |layer: Option<usize>, kind: ParamKind| -> Result<(&ParamSpec, &[f32]), StepError> {
            let found = specs.iter().find(|s| s.layer == layer && s.kind == kind);
            let missing = || StepError::internal(format!("the model has no {kind:?} of layer {layer:?}"));
            let spec = found.ok_or_else(missing)?;
            Ok((spec, &theta[spec.range()]))
        };
        let mut layers: Vec<[Vec<Surface>; 4]> = (0..cfg.layers).map(|_| Default::default()).collect();
        for (p, part) in DecodePart::ALL.into_iter().enumerate() {
            let spec = kernels.spec(part, [1, 1])?;
            for (l, layer) in layers.iter_mut().enumerate() {
                for weight in &spec.weights {
                    let (param, values) = find(Some(l), weight.kind)?;
                    check_range(param, values, kernels.precision)?;
                    let ty = spec.packed.reads().nth(weight.region.surface);
                    let size = ty.map_or([0; 2], |ty| [ty.shape[1], ty.shape[3]]);
                    let surface = kernels.input(&param.name, size, (part, 1))?;
                    weight.put(values, &surface)?;
                    layer[p].push(surface);
                }
            }
        }
        let norms = [ParamKind::AttentionNorm, ParamKind::FeedForwardNorm];
        let mut host_norms = Vec::new();
        for layer in 0..if kernels.host_norms { cfg.layers } else { 0 } {
            let [first, second] =
                norms.map(|kind| find(Some(layer), kind).map(|(_, values)| values.to_vec()));
            host_norms.push([first?, second?]);
        }
        let table = |kind| Ok::<_, StepError>(Table::new(find(None, kind)?.1, kernels.precision));
        Ok(DecodeWeights {
            layers,
            embedding: table(ParamKind::Embedding)?,
            classifier: if cfg.tied { None } else { Some(table(ParamKind::Classifier)?) },
            final_norm: find(None, ParamKind::FinalNorm)?.1.to_vec(),
            host_norms,
        })
    }

    /// The weights of a part of a layer.
    pub(super) fn of(&self, layer: usize, part: DecodePart) -> &[Surface] {
        &self.layers[layer][part as usize]
    }

    /// The classifier, `[V, D]`.
    pub(super) fn classifier(&self) -> Elements<'_> {
        self.classifier.as_ref().unwrap_or(&self.embedding).elements()
    }

    /// The bytes that a pass over one token reads, and those of all weights.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let surfaces = self.layers.iter().flatten().flatten().map(Surface::bytes).sum::<usize>();
        let head = self.classifier.as_ref().unwrap_or(&self.embedding).bytes();
        let own = self.classifier.as_ref().map_or(0, Table::bytes);
        (surfaces + head, surfaces + own + self.embedding.bytes())
    }
}

fn check_range(spec: &ParamSpec, values: &[f32], precision: Precision) -> Result<(), StepError> {
    let largest = if precision == Precision::F16 { f16::MAX.to_f32() } else { f32::MAX };
    match values.iter().filter(|x| x.is_nan() || x.abs() > largest).count() {
        0 => Ok(()),
        count => Err(StepError::WeightRange { name: spec.name.clone(), count, of: values.len() }),
    }
}
