//! The buffers of a step: each is declared here once, as a cell of the arena.

use super::StepError;
use crate::config::{ModelConfig, Task};
use crate::model::{Layer, LayerKernels, NormSite};
use ane::{Device, DeviceError, Surface};
use flow::{AccessError, Arena, Declaration, Handle, Permit};
use host::Scratch;
use host::gemm::Elements;
use host::head::positions_at_a_time;
use mil::{TensorType, ValueId};
use std::collections::HashMap;
use std::sync::RwLockReadGuard;

/// Layers whose backward buffers exist at once: the matrix gradients of one layer overlap the dispatches of the next.
const RING: usize = 2;

/// An activation of the host, `[C, S]`, f32.
pub(super) type Activation = Handle<Vec<f32>>;

/// The data of one micro-batch.
#[derive(Clone, Debug)]
pub enum Window {
    /// S + 1 tokens: inputs are all but the last, targets all but the first.
    Tokens(Vec<u32>),
    /// As [`Window::Tokens`], with a weight for each target.
    Weighted {
        /// S + 1 tokens.
        tokens: Vec<u32>,
        /// The position at which each document begins, in order.
        starts: Vec<usize>,
        /// The weight of each target in the window's loss, `[S]`; 0 for one that does not count.
        weights: Vec<f32>,
    },
    /// For regression: the input of the layers and the target of their output, `[D, S]` each.
    Sample {
        /// The input.
        x: Vec<f32>,
        /// The target.
        target: Vec<f32>,
    },
    /// For measurements: the loss `Σ y·dy`, linear in the output y of the layers; `[D, S]` each.
    Linear {
        /// The input.
        x: Vec<f32>,
        /// The gradient of the layers' output.
        dy: Vec<f32>,
    },
}

/// The storage of a layer's value.
#[derive(Clone, Debug)]
pub(super) enum ValueLocation {
    /// In an activation of the host.
    Host(Activation),
    /// On a surface that a kernel writes.
    Surface {
        /// The surface.
        on: Handle<Surface>,
        /// Its first channel there.
        channel: usize,
        /// Its elements.
        elements: usize,
    },
}

/// A value that a task may read.
pub(super) enum ValueGuard<'a> {
    Host(RwLockReadGuard<'a, Vec<f32>>),
    Surface { on: RwLockReadGuard<'a, Surface>, channel: usize, elements: usize },
}

impl flow::Read for ValueLocation {
    type Guard<'a> = ValueGuard<'a>;

    fn declare_reads(&self, to: &mut Declaration) {
        match self {
            ValueLocation::Host(cell) => cell.declare_reads(to),
            ValueLocation::Surface { on, .. } => on.declare_reads(to),
        }
    }

    fn lock_reads<'a>(&'a self, permit: &'a Permit) -> Result<ValueGuard<'a>, AccessError> {
        Ok(match self {
            ValueLocation::Host(cell) => ValueGuard::Host(cell.lock_reads(permit)?),
            ValueLocation::Surface { on, channel, elements } => {
                ValueGuard::Surface { on: on.lock_reads(permit)?, channel: *channel, elements: *elements }
            }
        })
    }
}

impl ValueGuard<'_> {
    /// Calls `f` with the elements, and whether they are a host activation.
    pub(super) fn with<R>(&self, f: impl FnOnce(Elements<'_>, bool) -> R) -> Result<R, DeviceError> {
        match self {
            ValueGuard::Host(values) => Ok(f(Elements::F32(values), true)),
            ValueGuard::Surface { on, channel, elements } => {
                on.with(*channel, *elements, |elements| f(elements, false))
            }
        }
    }
}

/// The memory of a model besides its parameters.
#[derive(Debug)]
pub struct Buffers {
    /// The data of each micro-batch.
    pub(super) windows: Handle<Vec<Window>>,
    /// The sum of the losses of the micro-batches.
    pub(super) loss: Handle<f64>,
    /// The memory of each window in flight. Forward-only passes use the first.
    in_flight: Vec<WindowBuffers>,
    /// The gradients of embedded tokens, `[D, S]`, of a group of windows: they are added to a tied embedding when the heads of
    /// the group have been. Empty if each window adds its own.
    pub(super) d_embedded: Vec<Activation>,
    /// The positions whose logits a window stores at once in a training step.
    pub(super) positions: usize,
    /// The position whose logits are requested.
    pub(super) position: Handle<usize>,
    /// Its logits, `[V]`.
    pub(super) last_logits: Activation,
}

/// The memory of one window in flight.
#[derive(Debug)]
pub(super) struct WindowBuffers {
    /// The activations of the window.
    pub(super) activations: Activations,
    /// The final norm's result, `[D, S]`.
    pub(super) head: Activation,
    /// The gradient of [`WindowBuffers::head`]; empty without a backward pass.
    pub(super) d_head: Activation,
    /// Logits `[V, S]`, or in a training step those of [`Buffers::positions`], which their exponentials replace; none if the
    /// classifier is frozen. Resized by the first task that writes them.
    pub(super) logits: Activation,
    /// The largest logits and sums of exponentials, from the head's forward pass for its backward pass.
    pub(super) head_stats: Handle<Scratch>,
    /// Working memory of the engine's lane.
    pub(super) scratch: Handle<[Scratch; 3]>,
    /// Working memory of the lane of matrix gradients.
    pub(super) gradient_scratch: Handle<Scratch>,
}

/// The inputs that determine the memory of a model.
pub(super) struct Sizes<'a> {
    pub cfg: &'a ModelConfig,
    pub layer: &'a Layer,
    pub kernels: &'a LayerKernels,
    /// Norms of the forward pass that the host computes.
    pub host_norms: &'a [(usize, NormSite)],
    /// Whether there is a backward pass.
    pub backward: bool,
    /// Whether it has a classifier, and a gradient of that.
    pub trains_classifier: bool,
    /// The windows of a step.
    pub windows: usize,
}

impl Sizes<'_> {
    /// The windows of a group; 0 if there are no groups.
    ///
    /// A window's head adds to the embedding before its backward pass, and its tokens after it. With groups the head of the
    /// next window need not wait for that. The order of sums follows from the size of a group, so this may depend on nothing
    /// but the model and the windows of a step.
    fn group(&self) -> usize {
        let Sizes { cfg, backward, windows, .. } = *self;
        let is_shared = cfg.task == Task::Language && cfg.tied && backward;
        if is_shared && windows > 1 { windows.min(LARGEST_GROUP) } else { 0 }
    }
}

/// The most windows of a group: bounds the memory of [`Buffers::d_embedded`].
const LARGEST_GROUP: usize = 8;

impl Buffers {
    /// Memory for `in_flight` windows at a time, at least one.
    ///
    /// # Errors
    /// If a surface cannot be allocated, or the layer lacks a required gradient.
    pub(super) fn new(
        sizes: &Sizes<'_>,
        in_flight: usize,
        device: &dyn Device,
        arena: &mut Arena,
    ) -> Result<Buffers, StepError> {
        let mut window = || WindowBuffers::new(sizes, device, arena);
        let windows = (0..in_flight.max(1)).map(|_| window()).collect::<Result<_, _>>()?;
        let stream = sizes.cfg.dim * sizes.cfg.seq;
        let embedded = (0..sizes.group()).map(|i| arena.cell(format!("d embedded {i}"), vec![0.0; stream]));
        Ok(Buffers {
            d_embedded: embedded.collect(),
            in_flight: windows,
            positions: positions_at_a_time(sizes.cfg.vocab, sizes.cfg.dim, sizes.cfg.seq),
            windows: arena.cell("windows", Vec::new()),
            loss: arena.cell("loss", 0.0),
            position: arena.cell("position", 0),
            last_logits: arena.cell("last logits", Vec::new()),
        })
    }

    /// The number of windows that there is memory for at a time.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The memory of window number `micro` of a step.
    pub(super) fn window(&self, micro: usize) -> &WindowBuffers {
        &self.in_flight[micro % self.in_flight.len()]
    }

    /// The place of the gradient of the embedded tokens of window number `micro`, if they are added in groups.
    pub(super) fn embedded_of(&self, micro: usize) -> Option<&Activation> {
        self.d_embedded.get(micro.checked_rem(self.d_embedded.len())?)
    }

    /// The memory of the window of forward-only passes.
    pub(super) fn first(&self) -> &WindowBuffers {
        self.window(0)
    }

    /// Bytes of all surfaces.
    pub fn surface_bytes(&self) -> usize {
        let surfaces = self.in_flight.iter().flat_map(|window| window.activations.surfaces());
        surfaces.map(|surface| surface.read().map_or(0, |s| s.bytes())).sum()
    }
}

impl WindowBuffers {
    fn new(sizes: &Sizes<'_>, device: &dyn Device, arena: &mut Arena) -> Result<WindowBuffers, StepError> {
        let Sizes { cfg, backward, .. } = *sizes;
        let stream = cfg.dim * cfg.seq;
        let positions = positions_at_a_time(cfg.vocab, cfg.dim, cfg.seq);
        let logits = if sizes.trains_classifier { cfg.vocab * positions } else { 0 };
        Ok(WindowBuffers {
            activations: Activations::new(sizes, device, arena)?,
            head: arena.cell("head", vec![0.0; stream]),
            d_head: arena.cell("dhead", vec![0.0; if backward { stream } else { 0 }]),
            logits: arena.cell("logits", vec![0.0; logits]),
            head_stats: arena.cell("head stats", Scratch::new()),
            scratch: arena.cell("scratch", Default::default()),
            gradient_scratch: arena.cell("gradient scratch", Scratch::new()),
        })
    }
}

/// The surfaces and the host's activations of one window.
#[derive(Debug)]
pub(super) struct Activations {
    /// The input surfaces of each kernel; several if each value has its own. One set per layer if weights are on them, else
    /// one set shared by all layers.
    inputs: Vec<Vec<Vec<Handle<Surface>>>>,
    /// The output surface of each kernel: one per layer for forward kernels, as the backward pass reads them, and a ring for
    /// backward kernels.
    outputs: Vec<Vec<Handle<Surface>>>,
    /// The mask between documents, shared by all layers, with its value; `None` if windows hold one.
    pub(super) documents: Option<(ValueId, Activation)>,
    /// The factors of dropout of the current layer, in the order of [`Layer::dropout`].
    pub(super) dropout: Vec<Activation>,
    /// The residual stream before each layer and after the last, `[D, S]`.
    pub(super) x: Vec<Activation>,
    /// The host's activations of each layer, by value.
    host: Vec<HashMap<ValueId, Activation>>,
}

impl Activations {
    fn new(sizes: &Sizes<'_>, device: &dyn Device, arena: &mut Arena) -> Result<Activations, StepError> {
        let (inputs, outputs) = surfaces(sizes, device, arena)?;
        let Sizes { cfg, layer, host_norms, backward, .. } = *sizes;
        let layers = cfg.layers;
        let mut list = |stem: &str, count: usize, v: ValueId| -> Vec<Activation> {
            let zeros = || vec![0.0; layer.elements(v)];
            (0..count).map(|i| arena.cell(format!("{stem} {i}"), zeros())).collect()
        };
        let x = list("x", layers + 1, layer.x);
        let x2 = list("x2", layers, layer.x2);
        let mut host: Vec<HashMap<ValueId, Activation>> = Vec::new();
        for l in 0..layers {
            host.push([(layer.x, x[l].clone()), (layer.x2, x2[l].clone())].into());
        }
        for (i, (_, site)) in host_norms.iter().enumerate() {
            let normed = list(&format!("normed {i}"), layers, site.output);
            host.iter_mut().zip(normed).for_each(|(host, cell)| {
                host.insert(site.output, cell);
            });
        }
        let documents = layer.documents.map(|v| (v, list("documents", 1, v).remove(0)));
        if let Some((v, mask)) = &documents {
            host.iter_mut().for_each(|host| _ = host.insert(*v, mask.clone()));
        }
        let mut dropout = Vec::new();
        for (site, &v) in layer.dropout.iter().enumerate() {
            let factors = list(&format!("dropout {site}"), 1, v).remove(0);
            host.iter_mut().for_each(|host| _ = host.insert(v, factors.clone()));
            dropout.push(factors);
        }
        if backward {
            // The gradient of the stream after layer l is that before layer l + 1.
            let dx = list("dx", RING, layer.dy);
            let dx_value = layer.cotangent(layer.x)?;
            let mut of_layer = vec![(layer.cotangent(layer.x2)?, "dx2".to_owned())];
            for site in layer.norms.iter().filter(|site| site.past.is_none()) {
                of_layer.push((layer.cotangent(site.input)?, format!("d {:?}", site.kind)));
            }
            for (l, host) in host.iter_mut().enumerate() {
                host.insert(layer.dy, dx[(l + 1) % RING].clone());
                host.insert(dx_value, dx[l % RING].clone());
            }
            for (v, name) in of_layer {
                let ring = list(&name, RING, v);
                host.iter_mut().enumerate().for_each(|(l, host)| {
                    host.insert(v, ring[l % RING].clone());
                });
            }
        }
        Ok(Activations { inputs, outputs, documents, dropout, x, host })
    }

    /// The input surfaces of kernel `k` of `layer`.
    pub(super) fn inputs(&self, k: usize, layer: usize) -> &[Handle<Surface>] {
        let ring = &self.inputs[k];
        &ring[layer % ring.len()]
    }

    /// The output surface of kernel `k` of `layer`.
    pub(super) fn output(&self, k: usize, layer: usize) -> &Handle<Surface> {
        let ring = &self.outputs[k];
        &ring[layer % ring.len()]
    }

    /// The host's activation of value `v` of `layer`, if there is one.
    pub(super) fn host(&self, layer: usize, v: ValueId) -> Option<&Activation> {
        self.host.get(layer)?.get(&v)
    }

    /// Every surface.
    fn surfaces(&self) -> impl Iterator<Item = &Handle<Surface>> {
        self.inputs.iter().flatten().flatten().chain(self.outputs.iter().flatten())
    }

    /// The number of kernels of a layer that have surfaces.
    pub(super) fn kernels(&self) -> usize {
        self.inputs.len()
    }
}

/// The input and output surfaces of each kernel.
type Surfaces = (Vec<Vec<Vec<Handle<Surface>>>>, Vec<Vec<Handle<Surface>>>);

fn surfaces(sizes: &Sizes<'_>, device: &dyn Device, arena: &mut Arena) -> Result<Surfaces, DeviceError> {
    let Sizes { cfg, kernels, backward, .. } = *sizes;
    let used = if backward { kernels.kernels.len() } else { kernels.forward };
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    for (k, kernel) in kernels.kernels.iter().take(used).enumerate() {
        let (count, what) =
            if kernel.input_weights.is_empty() { (1, "shared") } else { (cfg.layers, "layer") };
        // Engines bind inputs of equal size only.
        let least = kernel.packed.reads().filter_map(TensorType::bytes).max().unwrap_or(0);
        let mut ring = Vec::new();
        for i in 0..count {
            let name = format!("{}.in {what} {i}", kernel.name);
            let made = kernel.packed.reads().map(|ty| device.surface_of(&name, ty, least));
            let made = made.collect::<Result<Vec<_>, _>>()?.into_iter();
            ring.push(made.map(|surface| arena.cell(format!("{}.in {i}", kernel.name), surface)).collect());
        }
        inputs.push(ring);
        let (count, what) = if !backward {
            (1, "shared")
        } else if k < kernels.forward {
            (cfg.layers, "layer")
        } else {
            (RING, "ring")
        };
        let mut ring = Vec::new();
        for i in 0..count {
            let name = format!("{}.out {what} {i}", kernel.name);
            let surface = device.surface(&name, &kernel.packed.output)?;
            ring.push(arena.cell(format!("{}.out {i}", kernel.name), surface));
        }
        outputs.push(ring);
    }
    Ok((inputs, outputs))
}
