//! The memory of a step: surfaces on the engine's side, f32 activations and gradients on the host's.

use crate::config::{ModelConfig, ParamSpec};
use crate::host::Scratch;
use crate::host::squared_norms::RowSquaredNorms;
use crate::model::LayerKernels;
use ane::{Device, DeviceError, Surface};
use mil::TensorType;
use std::sync::{Mutex, RwLock};

/// Layers whose backward surfaces are held at once: the matrix gradients of one are computed beside the dispatches of
/// the next.
const RING: usize = 2;

/// A host activation `[C, S]`, f32.
pub(super) type Activation = RwLock<Vec<f32>>;

/// What one micro-batch learns from.
#[derive(Clone, Debug)]
pub enum Window {
    /// S + 1 tokens: inputs are all but the last, targets all but the first.
    Tokens(Vec<u32>),
    /// For regression: the layers' input and what they are to make of it, `[D, S]` each.
    Sample {
        /// The input.
        x: Vec<f32>,
        /// The target.
        target: Vec<f32>,
    },
    /// For measurements: a loss linear in what the layers make of `x`, `Σ y·dy`; `[D, S]` each.
    Linear {
        /// The input.
        x: Vec<f32>,
        /// The gradient of the layers' output.
        dy: Vec<f32>,
    },
}

/// All memory of a step.
///
/// Everything is behind a lock that is never waited for: the schedule's hazards keep tasks that share memory apart.
#[derive(Debug)]
pub struct Buffers {
    /// The surfaces that each kernel reads, one if values do not lie apart: for each layer if weights lie on it, else such
    /// that all layers use in turn.
    pub(super) inputs: Vec<Vec<Vec<Surface>>>,
    /// The surfaces that each kernel writes: one a layer for forward kernels, whose taps live until the backward
    /// pass, and a ring for backward ones.
    pub(super) outputs: Vec<Vec<Surface>>,
    /// The residual stream before each layer and after the last, `[D, S]`.
    pub(super) x: Vec<Activation>,
    /// The residual stream between the halves of each layer.
    pub(super) x2: Vec<Activation>,
    /// The gradient of the residual stream before a layer, in a ring.
    pub(super) dx: Vec<Activation>,
    /// The gradient of the residual stream between the halves of a layer, in a ring.
    pub(super) dx2: Vec<Activation>,
    /// The gradients of queries and keys before their norms, in a ring; empty if they have none.
    pub(super) d_heads: Vec<[Activation; 2]>,
    /// What comes of each norm that the host computes in the forward pass, one a layer.
    pub(super) normed: Vec<Vec<Activation>>,
    /// The final norm's result, `[D, S]`, and its gradient.
    pub(super) head: [Activation; 2],
    /// Logits `[V, S]`, then their exponentials.
    pub(super) logits: Activation,
    /// What each micro-batch is to learn from.
    pub(super) windows: RwLock<Vec<Window>>,
    /// The sum of the micro-batches' losses.
    pub(super) loss: Mutex<f64>,
    /// The gradient of each weight, summed over micro-batches.
    pub(super) grads: Vec<RwLock<Vec<f32>>>,
    /// Its sums of squares, which every writer of a gradient takes.
    pub(super) squares: Vec<RowSquaredNorms>,
    /// Working memory of the engine lane.
    pub(super) scratch: Mutex<[Scratch; 3]>,
    /// Activations of the engine lane on their way between row-major and channel-first.
    pub(super) transposed: Mutex<Scratch>,
    /// Working memory of the lane of matrix gradients.
    pub(super) gradient_scratch: Mutex<Scratch>,
}

impl Buffers {
    /// Memory for a model with these kernels; without `backward`, for the forward pass alone. Of each layer, the host
    /// computes norms with so many elements as `normed` says.
    ///
    /// # Errors
    /// If the device gives no surface.
    pub(super) fn new(
        cfg: &ModelConfig,
        specs: &[ParamSpec],
        kernels: &LayerKernels,
        device: &dyn Device,
        backward: bool,
        normed: &[usize],
    ) -> Result<Buffers, DeviceError> {
        let (layers, s) = (cfg.layers, cfg.seq);
        let used = if backward { kernels.kernels.len() } else { kernels.forward };
        let mut inputs = Vec::new();
        let mut outputs = Vec::new();
        for (k, kernel) in kernels.kernels.iter().take(used).enumerate() {
            let (count, what) = if kernel.carried.is_empty() { (1, "shared") } else { (layers, "layer") };
            // An engine binds inputs of one size.
            let least = kernel.packed.reads().filter_map(TensorType::bytes).max().unwrap_or(0);
            let made = (0..count).map(|i| {
                let name = format!("{}.in {what} {i}", kernel.name);
                kernel.packed.reads().map(|ty| device.surface_of(&name, ty, least)).collect()
            });
            inputs.push(made.collect::<Result<Vec<Vec<_>>, _>>()?);
            let (count, what) = if !backward {
                (1, "shared")
            } else if k < kernels.forward {
                (layers, "layer")
            } else {
                (RING, "ring")
            };
            let made = (0..count)
                .map(|i| device.surface(&format!("{}.out {what} {i}", kernel.name), &kernel.packed.output));
            outputs.push(made.collect::<Result<Vec<_>, _>>()?);
        }
        let zeros = |n: usize| RwLock::new(vec![0.0; n]);
        let list = |count: usize, n: usize| (0..count).map(|_| zeros(n)).collect::<Vec<_>>();
        let squares = |p: &ParamSpec| match p.shape[..] {
            [rows, columns] if backward => RowSquaredNorms::new(rows, columns),
            _ => RowSquaredNorms::new(usize::from(backward), p.count()),
        };
        let stream = cfg.dim * s;
        let ring = if backward { RING } else { 0 };
        let heads = if cfg.qk_norm { ring } else { 0 };
        let language = cfg.task == crate::config::Task::Language;
        Ok(Buffers {
            inputs,
            outputs,
            x: list(layers + 1, stream),
            x2: list(layers, stream),
            dx: list(ring, stream),
            dx2: list(ring, stream),
            d_heads: (0..heads).map(|_| [zeros(cfg.q_dim() * s), zeros(cfg.kv_dim() * s)]).collect(),
            normed: normed.iter().map(|&n| list(layers, n)).collect(),
            head: [zeros(stream), zeros(if backward { stream } else { 0 })],
            logits: zeros(if language && backward { cfg.vocab * s } else { 0 }),
            windows: RwLock::default(),
            loss: Mutex::default(),
            grads: specs.iter().map(|p| zeros(if backward { p.count() } else { 0 })).collect(),
            squares: specs.iter().map(squares).collect(),
            scratch: Mutex::default(),
            transposed: Mutex::default(),
            gradient_scratch: Mutex::default(),
        })
    }

    /// The surfaces that kernel `k` reads for `layer`.
    pub(super) fn inputs(&self, k: usize, layer: usize) -> &[Surface] {
        let ring = &self.inputs[k];
        &ring[layer % ring.len()]
    }

    /// The surface that kernel `k` writes for `layer`.
    pub(super) fn output(&self, k: usize, layer: usize) -> &Surface {
        let ring = &self.outputs[k];
        &ring[layer % ring.len()]
    }

    /// Bytes of all surfaces.
    pub fn surface_bytes(&self) -> usize {
        let inputs = self.inputs.iter().flatten().flatten();
        inputs.chain(self.outputs.iter().flatten()).map(Surface::bytes).sum()
    }
}
