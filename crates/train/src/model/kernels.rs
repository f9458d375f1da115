//! The kernels of a layer: cut by a plan, packed for an engine.

use super::plan::has_norm;
use super::{KernelPlan, Layer, ModelError, NormSite};
use crate::config::{ParamKind, ParamSpec};
use ane::pack::{Packed, SurfaceRegion, pack_separately, pack_with_weights};
use ane::{DeviceError, SliceMut, Surface};
use mil::blob::{BlobError, FIRST_ENTRY};
use mil::pass::{Baked, Crossing, Cut, Part, Provider, Selection, cut};
use mil::stats::Stats;
use mil::{DType, TensorType, ValueId, Weights};
use rayon::prelude::*;
use softane::convert;
use std::collections::{BTreeMap, BTreeSet};

/// The kernels of a layer.
#[derive(Clone, Debug)]
pub struct LayerKernels {
    /// In order of dispatch.
    pub kernels: Vec<KernelSpec>,
    /// The number of forward kernels, which come first.
    pub forward: usize,
}

/// A kernel: a packed program, and the positions of values and weights on its surfaces.
#[derive(Clone, Debug)]
pub struct KernelSpec {
    /// Its name.
    pub name: String,
    /// The program with the types of its surfaces.
    pub packed: Packed,
    /// The values that it reads, in order of parameters.
    pub inputs: Vec<Binding>,
    /// The values that it writes, in order of channels.
    pub outputs: Vec<Binding>,
    /// Its weight files, if weights are baked in.
    pub const_weights: Vec<ConstWeight>,
    /// The weights on the surface that it reads, if they are not.
    pub input_weights: Vec<InputWeight>,
    /// The factors of adapters on the surface that it reads: written anew for each dispatch, so that layers share surfaces.
    pub adapters: Vec<InputWeight>,
    /// Counts of operations and bytes.
    pub stats: Stats,
    /// Whether it contains an RMSNorm that the host could compute: [`super::Norms`].
    pub has_norm: bool,
}

/// The position of a layer's value on a surface.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The value.
    pub value: ValueId,
    /// Its region.
    pub region: SurfaceRegion,
    /// The kernel that writes it, or the host.
    pub from: Provider,
}

/// A weight file of a kernel.
#[derive(Clone, Debug)]
pub struct ConstWeight {
    /// The path in the program.
    pub path: String,
    /// The type in the program.
    pub ty: TensorType,
    /// The weight.
    pub kind: ParamKind,
    /// Whether the file holds its transpose.
    pub transposed: bool,
}

impl ConstWeight {
    /// Writes a weight of this `shape` to `to`, rounded and, if `transposed`, transposed; on the current rayon pool.
    ///
    /// # Panics
    /// If `to` has another number of elements, or its elements are not floats.
    pub fn put(&self, shape: &[usize], values: &[f32], to: SliceMut<'_>) {
        assert_eq!(to.as_slice().len(), values.len(), "elements of {:?}", self.kind);
        match (self.transposed, shape, to) {
            (true, &[rows, cols], SliceMut::F16(to)) => {
                convert::par_narrow_transposed(values, rows, cols, to)
            }
            (false, _, SliceMut::F16(to)) => convert::par_narrow(values, to),
            (true, &[rows, cols], SliceMut::F32(to)) => {
                to.par_chunks_mut(rows.max(1)).enumerate().for_each(|(col, to)| {
                    to.iter_mut().zip(values[col..].iter().step_by(cols)).for_each(|(to, &x)| *to = x);
                });
            }
            (false, _, SliceMut::F32(to)) => to.copy_from_slice(values),
            (_, shape, to) => panic!("a weight {shape:?} as {:?}", to.dtype()),
        }
    }
}

/// A weight on the surface that a kernel reads.
#[derive(Clone, Debug)]
pub struct InputWeight {
    /// The weight.
    pub kind: ParamKind,
    /// Its region, and whether it is stored transposed.
    pub region: SurfaceRegion,
}

impl InputWeight {
    /// Writes the weight to its region of `surface`, rounded, on the current rayon pool.
    ///
    /// # Errors
    /// If there is no such region, or `values` has another length.
    pub fn put(&self, values: &[f32], surface: &Surface) -> Result<(), DeviceError> {
        match self.region.transposed {
            true => surface.write_block_transposed(&self.region.block(), values),
            false => surface.write_block(&self.region.block(), values),
        }
    }
}

impl KernelSpec {
    /// The kernel's weight files for `layer` of a model with parameters `specs` and weights `theta` `[N]`, in checkpoint order.
    ///
    /// # Errors
    /// If a weight is missing or has another size than in the program, because `specs` is of another model.
    pub fn weights(&self, specs: &[ParamSpec], layer: usize, theta: &[f32]) -> Result<Weights, BlobError> {
        let mut weights = self.empty_weights()?;
        self.rewrite(specs.iter(), layer, theta, &mut weights)?;
        Ok(weights)
    }

    /// The kernel's weight files with its constants, and zeros for the weights of a layer.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub fn empty_weights(&self) -> Result<Weights, BlobError> {
        let mut weights = Weights::new();
        for (path, tensor) in &self.packed.constants {
            weights.add_tensor(path, tensor)?;
        }
        for b in &self.const_weights {
            weights.add_zeros(&b.path, &b.ty)?;
        }
        Ok(weights)
    }

    /// Writes `theta` into existing weight files from [`KernelSpec::weights`].
    ///
    /// # Errors
    /// As there.
    pub fn rewrite<'p>(
        &self,
        specs: impl Iterator<Item = &'p ParamSpec> + Clone,
        layer: usize,
        theta: &[f32],
        weights: &mut Weights,
    ) -> Result<(), BlobError> {
        for b in &self.const_weights {
            let found = specs.clone().find(|s| s.layer == Some(layer) && s.kind == b.kind);
            let spec = found.ok_or_else(|| BlobError::Missing { path: b.path.clone() })?;
            let values = &theta[spec.range()];
            let mut entry = weights.entry_mut(&b.path, FIRST_ENTRY)?;
            // The same bits as `Weights::write_f32`, but vectorised and multithreaded; fp16 records are usually aligned.
            if let (DType::F16, Ok(half)) = (entry.dtype(), bytemuck::try_cast_slice_mut(entry.bytes_mut()))
                && half.len() == values.len()
            {
                b.put(&spec.shape, values, SliceMut::F16(half));
                continue;
            }
            match (b.transposed, spec.shape.as_slice()) {
                (true, &[rows, cols]) => {
                    weights.write_f32_transposed(&b.path, FIRST_ENTRY, rows, cols, values)?;
                }
                _ => weights.write_f32(&b.path, FIRST_ENTRY, values)?,
            }
        }
        Ok(())
    }
}

impl LayerKernels {
    /// Cuts `layer` by `plan` and packs the parts; weights are baked in.
    ///
    /// # Errors
    /// If the plan does not fit the layer.
    pub fn new(layer: &Layer, plan: &KernelPlan) -> Result<LayerKernels, ModelError> {
        LayerKernels::cut(layer, plan, (&files(layer), false), false)
    }

    /// As [`LayerKernels::new`], with a surface for each value that a kernel reads, so that no kernel slices an input.
    ///
    /// # Errors
    /// As [`LayerKernels::new`].
    pub fn separate(layer: &Layer, plan: &KernelPlan) -> Result<LayerKernels, ModelError> {
        LayerKernels::cut(layer, plan, (&files(layer), false), true)
    }

    /// As [`LayerKernels::new`], with weights on the kernels' input surfaces: one set of kernels serves all layers.
    ///
    /// # Errors
    /// As [`LayerKernels::new`], or if the weights of a kernel are too large for a surface.
    pub fn dynamic(layer: &Layer, plan: &KernelPlan) -> Result<LayerKernels, ModelError> {
        LayerKernels::cut(layer, plan, (&BTreeMap::new(), false), false)
    }

    /// As [`LayerKernels::new`], with weights that never change: kernels transpose them as they read, so that those of the
    /// backward pass hold the same constants as those of the forward pass, once.
    ///
    /// # Errors
    /// As [`LayerKernels::new`].
    pub fn frozen(layer: &Layer, plan: &KernelPlan) -> Result<LayerKernels, ModelError> {
        LayerKernels::cut(layer, plan, (&files(layer), true), false)
    }

    fn cut(
        layer: &Layer,
        plan: &KernelPlan,
        (baked, as_is): (&BTreeMap<ValueId, String>, bool),
        separate_surfaces: bool,
    ) -> Result<LayerKernels, ModelError> {
        let function = &layer.joint.function;
        let mut kept: BTreeSet<ValueId> = [layer.o, layer.ffn].into();
        kept.extend(layer.weight_grads.iter().flat_map(|o| [o.dz, o.a]));
        kept.extend(layer.bias_grads.iter().map(|b| b.dz));
        for norm in &layer.norms {
            kept.extend([norm.input, layer.cotangent(norm.output)?]);
        }
        let selections = plan.kernels();
        let parts =
            cut(&Cut { function, selections: &selections, baked, as_is, kept: &kept, width: layer.width })?;
        let kernels = parts.into_iter().zip(&selections);
        let kernels =
            kernels.map(|(part, of)| spec(layer, part, of, separate_surfaces)).collect::<Result<_, _>>()?;
        Ok(LayerKernels { kernels, forward: plan.forward.len() })
    }

    /// The norms of the forward pass that no kernel computes, each with the first kernel that reads its result; if that is
    /// a branch of the residual stream, which no kernel reads, with the kernel that writes its input.
    pub fn host_norms(&self, layer: &Layer) -> Vec<(usize, NormSite)> {
        let wants = |k: &KernelSpec, site: &NormSite| {
            k.inputs.iter().any(|l| l.value == site.output && l.from == Provider::Host)
        };
        let first = |site: &NormSite| match self.kernels.iter().position(|k| wants(k, site)) {
            None if [layer.o, layer.ffn].contains(&site.output) && self.provider(site.output).is_none() => {
                Some((self.provider(site.input)?.0, *site))
            }
            reader => Some((reader?, *site)),
        };
        layer.norms.iter().filter_map(first).collect()
    }

    /// The first kernel that writes `value`, and the region of its output surface.
    pub fn provider(&self, value: ValueId) -> Option<(usize, &SurfaceRegion)> {
        self.kernels.iter().enumerate().find_map(|(i, k)| {
            let output = k.outputs.iter().find(|output| output.value == value)?;
            Some((i, &output.region))
        })
    }
}

/// The weight file of each parameter of `layer`; adapters have none.
fn files(layer: &Layer) -> BTreeMap<ValueId, String> {
    let matrices = layer.weights.iter().filter(|(_, kind)| !kind.is_adapter());
    matrices.map(|(&v, _)| (v, layer.joint.function.value(v).name.clone())).collect()
}

fn spec(
    layer: &Layer,
    part: Part,
    selection: &Selection,
    separate_surfaces: bool,
) -> Result<KernelSpec, ModelError> {
    let parameters = part.inputs.iter().zip(&part.program.entry().inputs);
    let weights: BTreeSet<ValueId> =
        parameters.filter(|(c, _)| layer.weights.contains_key(&c.value)).map(|(_, &v)| v).collect();
    let packed = match separate_surfaces {
        true => pack_separately(&part.program, layer.width),
        false => pack_with_weights(&part.program, layer.width, &|v| weights.contains(&v)),
    };
    let packed = packed.map_err(|source| ModelError::Pack { kernel: part.name.clone(), source })?;
    let (mut inputs, mut input_weights, mut adapters) = (Vec::new(), Vec::new(), Vec::new());
    for (c, region) in part.inputs.iter().zip(&packed.inputs) {
        match layer.weights.get(&c.value) {
            Some(&kind) if kind.is_adapter() => adapters.push(InputWeight { kind, region: region.clone() }),
            Some(&kind) => input_weights.push(InputWeight { kind, region: region.clone() }),
            None => inputs.push(binding((c, region))),
        }
    }
    let const_weight = |b: &Baked| {
        let kind = layer.weights.get(&b.param).copied();
        let kind = kind.ok_or_else(|| ModelError::Unprovided { value: b.path.clone() })?;
        Ok(ConstWeight { path: b.path.clone(), ty: b.ty.clone(), kind, transposed: b.transposed })
    };
    let const_weights = part.baked.iter().map(const_weight).collect::<Result<_, ModelError>>()?;
    Ok(KernelSpec {
        inputs,
        outputs: part.outputs.iter().zip(&packed.outputs).map(binding).collect(),
        const_weights,
        input_weights,
        adapters,
        stats: Stats::of(packed.program.entry()),
        has_norm: has_norm(&selection.scopes),
        name: part.name,
        packed,
    })
}

fn binding((crossing, region): (&Crossing, &SurfaceRegion)) -> Binding {
    Binding { value: crossing.value, region: region.clone(), from: crossing.from }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ModelConfig;
    use crate::model::Precision;

    fn kernels(preset: &str) -> LayerKernels {
        let cfg = ModelConfig::preset(preset).expect("a preset");
        let layer = Layer::new(&cfg, Precision::F16).expect("a layer");
        LayerKernels::new(&layer, &KernelPlan::six()).expect("six kernels")
    }

    /// Six surfaces, hardly larger than their contents, and no weight file except the mask.
    #[test]
    fn dynamic_weights_lie_beside_activations() {
        let cfg = ModelConfig::preset("stories110m").expect("a preset");
        let layer = Layer::new(&cfg, Precision::F16).expect("a layer");
        let k = LayerKernels::dynamic(&layer, &KernelPlan::six()).expect("six kernels").kernels;
        assert!(k.iter().all(|k| k.const_weights.is_empty()));
        let (d, f, s, sc) = (768, 2048, 256, 12 * 256);
        let sizes: Vec<_> = k.iter().map(|k| (k.packed.input.shape[1], k.packed.input.shape[3])).collect();
        let want = [
            (d, s + 32 + 4 * d),
            (d, s + 32 + 3 * f),
            (f, 3 * s + 3 * d),
            (d, 4 * s + d),
            (2 * sc + 2 * d, s),
            (d, 3 * s + 3 * d),
        ];
        assert_eq!(sizes, want);
        let places = k.iter().flat_map(|k| k.input_weights.iter().map(|c| (k.name.as_str(), c.kind)));
        // Seven matrices forward and seven backward, two norms.
        assert_eq!(places.count(), 16);
    }

    /// Surfaces as in maderix/ANE: names and channels.
    #[test]
    fn the_seeds_layer_is_cut_as_the_seed_cut_it() {
        let k = kernels("layer768");
        let shown: Vec<String> = k
            .kernels
            .iter()
            .map(|k| {
                let list = |regions: &[Binding]| {
                    let each = regions.iter().map(|l| format!("{} {}", l.region.name, l.region.channels));
                    each.collect::<Vec<_>>().join(", ")
                };
                format!("{}: {} -> {}", k.name, list(&k.inputs), list(&k.outputs))
            })
            .collect();
        println!("{}", shown.join("\n"));
        assert_eq!(k.kernels.len(), 6);
        let (d, f, sc) = (768, 2048, 12 * 512);
        let channels: Vec<(usize, usize)> =
            k.kernels.iter().map(|k| (k.packed.input.shape[1], k.packed.output.shape[1])).collect();
        let want = [
            (d, 6 * d),
            (d, 2 * d + 3 * f),
            (d + 2 * f, d + 2 * f),
            (4 * d, d + 2 * sc),
            (2 * sc + 2 * d, 2 * d),
            (3 * d, d),
        ];
        assert_eq!(channels, want);
    }
}
