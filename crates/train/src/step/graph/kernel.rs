//! The task of a kernel: copying inputs onto surfaces, and the dispatch.

use super::super::StepError;
use super::super::buffers::{ValueGuard, ValueLocation};
use super::super::context::TaskContext;
use super::super::range::Watched;
use super::builder::Builder;
use crate::config::ParamKind;
use crate::model::{Binding, InputWeight};
use ane::{Kernel, Surface, SurfaceBlock};
use flow::{AccessError, Handle, List, ListMut};
use mil::ValueId;
use mil::pass::Provider;
use std::ops::Range;

/// The position of a kernel's input.
struct Place {
    /// Index of its surface among the kernel's input surfaces.
    surface: usize,
    block: SurfaceBlock,
}

/// A factor of an adapter, written to its place before each dispatch.
struct Fed {
    weight: InputWeight,
    from: Factor,
}

/// The values of a factor.
enum Factor {
    /// A parameter's, in the flat slice.
    Trained(Range<usize>),
    /// Zeros: the layer has no adapters.
    None(Vec<f32>),
}

/// Range checks of a kernel's inputs and outputs.
struct Check {
    /// With the index of the input.
    inputs: Vec<(usize, Watched)>,
    /// With the first channel on the output surface.
    outputs: Vec<(usize, Watched)>,
}

type Inputs<'a> = ListMut<'a, Handle<Surface>>;

impl Builder<'_> {
    /// Copies the inputs of kernel `k` of `layer` onto its surfaces and runs it.
    pub(super) fn kernel(&mut self, name: String, k: usize, layer: usize) -> Result<(), StepError> {
        let n = self.network;
        let spec = &n.kernels.specs.kernels[k];
        let values = spec.inputs.iter().map(|b| self.source(layer, b)).collect::<Result<Vec<_>, _>>()?;
        let place = |b: &Binding| Place { surface: b.region.surface, block: b.region.block() };
        let places: Vec<Place> = spec.inputs.iter().map(place).collect();
        let check = self.is_checked.then(|| self.check(k, layer));
        let (activations, s) = (&self.memory.activations, self.context());
        let adapters: Vec<Fed> = spec.adapters.iter().map(|weight| self.fed(layer, weight)).collect();
        let theta = (!adapters.is_empty()).then(|| n.params.theta.clone());
        self.graph
            .task(name)
            .on(self.lane)
            .reads((values, n.kernels.kernel(k, layer).clone(), theta))
            .writes((activations.inputs(k, layer).to_vec(), activations.output(k, layer).clone()))
            .run(move |(values, kernel, theta), (inputs, output)| {
                if let Some(check) = &check {
                    check.inputs.iter().try_for_each(|(i, watched)| {
                        values.read(*i)?.with(|elements, _| watched.check(elements))?
                    })?;
                }
                s.converting.time(|| s.feed(&places, &values, &inputs))?;
                for (fed, theta) in adapters.iter().zip(theta.iter().cycle()) {
                    let values = match &fed.from {
                        Factor::Trained(range) => &theta[range.clone()],
                        Factor::None(zeros) => zeros.as_slice(),
                    };
                    fed.weight.put(values, &*inputs.write(fed.weight.region.surface)?)?;
                }
                s.run(kernel.as_ref(), &inputs, &output)?;
                check.iter().flat_map(|check| &check.outputs).try_for_each(|(channel, watched)| {
                    output.with(*channel, watched.of, |elements| watched.check(elements))?
                })
            });
        Ok(())
    }

    /// The factor of an adapter of `layer` that belongs into this place.
    fn fed(&self, layer: usize, weight: &InputWeight) -> Fed {
        let n = self.network;
        let from = match n.params.get(Some(layer), weight.kind) {
            Ok(param) => Factor::Trained(param.spec.range()),
            Err(_) => {
                let is_it = |(_, kind): &(&ValueId, &ParamKind)| **kind == weight.kind;
                let value = n.layer.weights.iter().find(is_it);
                Factor::None(vec![0.0; value.map_or(0, |(&v, _)| n.layer.elements(v))])
            }
        };
        Fed { weight: weight.clone(), from }
    }

    /// The storage of an input of a kernel of `layer`.
    fn source(&self, layer: usize, binding: &Binding) -> Result<ValueLocation, StepError> {
        let n = self.network;
        match binding.from {
            Provider::Host => Ok(ValueLocation::Host(self.host(layer, binding.value)?)),
            Provider::Part(from) => {
                let outputs = &n.kernels.specs.kernels[from].outputs;
                let found = outputs.iter().find(|output| output.value == binding.value);
                let source = found.ok_or_else(|| {
                    let value = n.value_name(binding.value);
                    StepError::internal(format!("kernel {from} of a layer does not write `{value}`"))
                })?;
                let on = self.memory.activations.output(from, layer).clone();
                let elements = n.layer.elements(binding.value);
                Ok(ValueLocation::Surface { on, channel: source.region.channel, elements })
            }
        }
    }

    fn check(&self, k: usize, layer: usize) -> Check {
        let n = self.network;
        let spec = &n.kernels.specs.kernels[k];
        let inputs = spec.inputs.iter().enumerate().filter(|(_, b)| b.from == Provider::Host);
        Check {
            inputs: inputs.map(|(i, b)| (i, Watched::new(layer, &n.layer, b.value))).collect(),
            outputs: spec
                .outputs
                .iter()
                .map(|b| (b.region.channel, Watched::new(layer, &n.layer, b.value)))
                .collect(),
        }
    }
}

impl TaskContext {
    /// Copies the inputs of a kernel onto its surfaces.
    fn feed(
        &self,
        places: &[Place],
        values: &List<'_, ValueLocation>,
        inputs: &Inputs<'_>,
    ) -> Result<(), StepError> {
        for (i, Place { surface, block }) in places.iter().enumerate() {
            let surface = inputs.write(*surface)?;
            match values.read(i)? {
                ValueGuard::Host(values) => self.upload(&values, &surface, block)?,
                ValueGuard::Surface { on, channel, .. } => surface.copy_block(block, &on, channel)?,
            }
        }
        Ok(())
    }

    /// Dispatches a kernel on its surfaces.
    fn run(&self, kernel: &dyn Kernel, inputs: &Inputs<'_>, output: &Surface) -> Result<(), StepError> {
        if inputs.len() == 1 {
            let input = inputs.write(0)?;
            return self.dispatch(kernel, &[&*input], output);
        }
        let inputs = (0..inputs.len()).map(|i| inputs.write(i));
        let inputs = inputs.collect::<Result<Vec<_>, AccessError>>()?;
        self.dispatch(kernel, &inputs.iter().map(|input| &**input).collect::<Vec<_>>(), output)
    }
}
