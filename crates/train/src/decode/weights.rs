//! The weights of a model for decoding: those of layers on surfaces, embedding and classifier in the same element type. Matrices
//! that are stored in 8 bits or fewer an element are kept so, where the engine reads such.

use super::kernels::DecodeKernels;
use crate::config::{ModelConfig, ParamKind, ParamSpec};
use crate::formats::QuantWeights;
use crate::model::{DecodePart, InputWeight, Precision};
use crate::step::StepError;
use ane::{MatmulPrecision, Surface};
use half::f16;
use host::gemm::{Matrix, MatrixMut, Store, matmul, matmul_quant};
use host::range::count_beyond;
use mil::TensorType;
use softane::{QuantMatrix, convert};

/// The weights that a session is made of.
#[derive(Debug)]
pub struct ModelWeights<'a> {
    /// All, in checkpoint order.
    pub theta: &'a [f32],
    /// Matrices among them that are stored in 8 bits or fewer an element. One that `theta` has with other numbers, rounded to half
    /// precision, is not used: after the merge of an adapter, for example.
    pub quantised: QuantWeights,
}

impl<'a> From<&'a [f32]> for ModelWeights<'a> {
    fn from(theta: &'a [f32]) -> ModelWeights<'a> {
        ModelWeights { theta, quantised: QuantWeights::new() }
    }
}

impl<'a> From<&'a Vec<f32>> for ModelWeights<'a> {
    fn from(theta: &'a Vec<f32>) -> ModelWeights<'a> {
        theta.as_slice().into()
    }
}

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
    Quant(QuantMatrix),
}

impl Table {
    /// `values`, in half precision where that is wanted and they fit.
    fn new(values: &[f32], precision: Precision) -> Table {
        if precision == Precision::F32 || count_beyond(values, f16::MAX.to_f32()) > 0 {
            return Table::F32(values.to_vec());
        }
        let mut narrow = vec![f16::ZERO; values.len()];
        convert::par_narrow(values, &mut narrow);
        Table::F16(narrow)
    }

    /// Computes `c`, `[V, N]`, as the table times `x`, `[D, N]`.
    pub(super) fn multiply(
        &self,
        math: MatmulPrecision,
        c: MatrixMut<'_>,
        x: Matrix<'_>,
        [v, d]: [usize; 2],
    ) {
        let table = match self {
            Table::F16(values) => Matrix::new(values.as_slice(), v, d),
            Table::F32(values) => Matrix::new(values.as_slice(), v, d),
            Table::Quant(matrix) => return matmul_quant(math, c, matrix, x),
        };
        matmul(math, c, Store::Replace, 1.0, table, x);
    }

    /// Writes row `row`, times `scale`, to column `column` of `x`, `[D, columns]`.
    pub(super) fn take(&self, row: usize, scale: f32, x: &mut [f32], [column, columns]: [usize; 2]) {
        let d = x.len() / columns;
        let to = x[column..].iter_mut().step_by(columns);
        match self {
            Table::F16(all) => to.zip(&all[row * d..][..d]).for_each(|(to, v)| *to = v.to_f32() * scale),
            Table::F32(all) => to.zip(&all[row * d..][..d]).for_each(|(to, v)| *to = v * scale),
            Table::Quant(all) => {
                let mut own = vec![0.0; d];
                all.values(row * d, &mut own);
                to.zip(own).for_each(|(to, v)| *to = v * scale);
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Table::F16(values) => 2 * values.len(),
            Table::F32(values) => 4 * values.len(),
            Table::Quant(matrix) => matrix.bytes(),
        }
    }
}

impl DecodeWeights {
    /// Puts the weights of `cfg` on new surfaces.
    ///
    /// # Errors
    /// `WeightRange`, if one does not fit into the element type; or if a surface cannot be allocated.
    pub(super) fn new(
        cfg: &ModelConfig,
        ModelWeights { theta, mut quantised }: ModelWeights<'_>,
        kernels: &DecodeKernels,
    ) -> Result<DecodeWeights, StepError> {
        let specs = cfg.params();
        let find = |layer: Option<usize>, kind: ParamKind| -> Result<(&ParamSpec, &[f32]), StepError> {
            let found = specs.iter().find(|s| s.layer == layer && s.kind == kind);
            let missing = || StepError::internal(format!("the model has no {kind:?} of layer {layer:?}"));
            let spec = found.ok_or_else(missing)?;
            Ok((spec, &theta[spec.range()]))
        };
        // The quantised matrix of a parameter, if it has the same numbers.
        let mut kept = |param: &ParamSpec, values: &[f32]| {
            let matrix = quantised.remove(&param.name)?;
            (kernels.precision == Precision::F16 && matrix.is(values)).then_some(matrix)
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
                    let kept = kept(param, values).filter(|_| is_whole(weight, size));
                    if let Some(surface) = kept.and_then(|matrix| quant_surface(kernels, param, matrix)) {
                        layer[p].push(surface);
                        continue;
                    }
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
        let mut table = |kind| {
            let (param, values) = find(None, kind)?;
            let wide = || Table::new(values, kernels.precision);
            Ok::<_, StepError>(kept(param, values).map_or_else(wide, Table::Quant))
        };
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
    pub(super) fn classifier(&self) -> &Table {
        self.classifier.as_ref().unwrap_or(&self.embedding)
    }

    /// The bytes that a pass over one token reads, and those of all weights.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let surfaces = self.layers.iter().flatten().flatten().map(Surface::bytes).sum::<usize>();
        let head = self.classifier.as_ref().unwrap_or(&self.embedding).bytes();
        let own = self.classifier.as_ref().map_or(0, Table::bytes);
        (surfaces + head, surfaces + own + self.embedding.bytes())
    }
}

/// Whether a weight is all of its surface `[rows, columns]`, row by row.
fn is_whole(weight: &InputWeight, [rows, columns]: [usize; 2]) -> bool {
    let region = &weight.region;
    let block = [region.channel, region.channels, region.column, region.columns];
    !region.transposed && block == [0, rows, 0, columns]
}

/// A surface of a quantised matrix, if the engine reads such.
fn quant_surface(kernels: &DecodeKernels, param: &ParamSpec, matrix: QuantMatrix) -> Option<Surface> {
    let [rows, columns] = matrix.shape();
    let ty = TensorType::new(kernels.precision.dtype(), [1, rows, 1, columns]);
    (param.shape == [rows, columns]).then(|| kernels.device.quant_surface(&param.name, &ty, matrix))?
}

fn check_range(spec: &ParamSpec, values: &[f32], precision: Precision) -> Result<(), StepError> {
    let largest = if precision == Precision::F16 { f16::MAX.to_f32() } else { f32::MAX };
    match count_beyond(values, largest) {
        0 => Ok(()),
        count => Err(StepError::WeightRange { name: spec.name.clone(), count, of: values.len() }),
    }
}
