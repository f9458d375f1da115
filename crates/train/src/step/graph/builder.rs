//! The builder of a network's graphs, with the forward pass that training, evaluation and decoding share.

use super::super::buffers::{Activation, ValueLocation, Window, WindowBuffers};
use super::super::context::TaskContext;
use super::super::params::Values;
use super::super::{Network, Param, StepError};
use crate::config::ParamKind;
use crate::model::{ModelError, NormSite, masked};
use flow::{Graph, Lane, Plan};
use host::dropout::Place;
use host::{dropout, embed, residual};
use mil::ValueId;
use std::sync::Arc;

/// Adds tasks of a network to a graph.
pub(in crate::step) struct Builder<'n> {
    pub(super) network: &'n Network,
    pub(super) graph: Graph<'static, StepError>,
    /// The memory of the current window.
    pub(super) memory: &'n WindowBuffers,
    /// The lane of the current window's kernels, and of the host's work that they wait for.
    pub(super) lane: Lane,
    /// The lane of its gradients of matrices and of the embedding.
    pub(super) gradient_lane: Lane,
    /// Whether the range of every input and output of kernels is checked.
    pub(super) is_checked: bool,
    /// Whether dropout leaves anything out: only in training.
    pub(super) drops: bool,
}

/// The window of micro-batch `micro`.
///
/// # Errors
/// `Internal`, if there are fewer.
pub(super) fn window(windows: &[Window], micro: usize) -> Result<&Window, StepError> {
    let got = windows.len();
    windows.get(micro).ok_or_else(|| StepError::internal(format!("window {micro} of {got} is wanted")))
}

/// The tokens of a window.
///
/// # Errors
/// `Internal`, if it has none.
pub(super) fn tokens(window: &Window) -> Result<&[u32], StepError> {
    match window {
        Window::Tokens(tokens) | Window::Weighted { tokens, .. } => Ok(tokens),
        _ => Err(StepError::internal("a language model got a window of activations")),
    }
}

/// The positions at which the documents of a window begin.
fn starts(window: &Window) -> &[usize] {
    match window {
        Window::Weighted { starts, .. } => starts,
        _ => &[],
    }
}

/// The weights of a window's targets; `None` if all count alike.
pub(super) fn weights(window: &Window) -> Option<&[f32]> {
    match window {
        Window::Weighted { weights, .. } => Some(weights),
        _ => None,
    }
}

impl<'n> Builder<'n> {
    /// An empty graph on the memory of `network`.
    pub(in crate::step) fn new(network: &'n Network, is_checked: bool) -> Builder<'n> {
        let mut graph = Graph::new(&network.arena);
        let pool = network.pool.clone();
        graph.around(move |task| pool.install(task));
        let (memory, gradient_lane) = (network.buffers.first(), network.context.host.gradient_lane());
        Builder { network, graph, memory, lane: Lane::Engine, gradient_lane, is_checked, drops: false }
    }

    /// Continues with window number `micro` of several side by side: all its tasks run on one worker.
    ///
    /// # Errors
    /// `Internal`, if there are more workers than lanes can be.
    pub(super) fn beside(&mut self, micro: usize) -> Result<(), StepError> {
        let buffers = &self.network.buffers;
        let worker = u16::try_from(micro % buffers.in_flight());
        let worker = worker.map_err(|_| StepError::internal("more windows in flight than lanes"))?;
        self.memory = buffers.window(micro);
        (self.lane, self.gradient_lane) = (Lane::Worker(worker), Lane::Worker(worker));
        Ok(())
    }

    /// The graph as a plan.
    ///
    /// # Errors
    /// If the tasks do not form a plan, which is a bug of this module.
    pub(in crate::step) fn plan(self) -> Result<Plan<'static, StepError>, StepError> {
        Ok(self.graph.plan()?)
    }

    pub(super) fn context(&self) -> Arc<TaskContext> {
        Arc::clone(&self.network.context)
    }

    /// The forward pass of micro-batch `micro`, up to the residual stream after the last layer.
    pub(in crate::step) fn forward(&mut self, micro: usize) -> Result<(), StepError> {
        let n = self.network;
        let (x, layer) = (&self.memory.activations.x, &n.layer);
        self.embed(micro)?;
        self.documents(micro);
        for l in 0..n.cfg.layers {
            let at = |name: &str| format!("{micro}.L{l}.{name}");
            self.dropout(&at("dropout"), micro, l);
            for k in 0..n.kernels.specs.forward {
                let here = n.host_norms.iter().filter(|(kernel, _)| *kernel == k).map(|(_, site)| site);
                let is_branch = |site: &&NormSite| [layer.o, layer.ffn].contains(&site.output);
                let (after, before): (Vec<&NormSite>, Vec<&NormSite>) = here.partition(is_branch);
                for site in before {
                    self.host_norm(at(&format!("{:?}", site.kind)), l, site)?;
                }
                self.kernel(at(&n.kernels.specs.kernels[k].name), k, l)?;
                for site in &after {
                    self.host_norm(at(&format!("{:?}", site.kind)), l, site)?;
                }
                let is_from_here = |v| {
                    n.kernels.specs.provider(v).is_some_and(|(p, _)| p == k)
                        || after.iter().any(|site| site.output == v)
                };
                let x2 = self.host(l, layer.x2)?;
                if is_from_here(layer.o) {
                    self.residual(at("residual1"), [&x[l], &x2], self.value(l, layer.o)?);
                }
                if is_from_here(layer.ffn) {
                    self.residual(at("residual2"), [&x2, &x[l + 1]], self.value(l, layer.ffn)?);
                }
            }
        }
        Ok(())
    }

    /// The host's activation of value `v` of `layer`.
    ///
    /// # Errors
    /// `Internal`, if none does.
    pub(super) fn host(&self, layer: usize, v: ValueId) -> Result<Activation, StepError> {
        let found = self.memory.activations.host(layer, v).cloned();
        found.ok_or_else(|| {
            StepError::internal(format!("the host has no memory for `{}`", self.network.value_name(v)))
        })
    }

    /// The storage of value `v` of `layer`.
    ///
    /// # Errors
    /// If neither the host nor a kernel has it.
    pub(super) fn value(&self, layer: usize, v: ValueId) -> Result<ValueLocation, StepError> {
        let n = self.network;
        if let Some(cell) = self.memory.activations.host(layer, v) {
            return Ok(ValueLocation::Host(cell.clone()));
        }
        let Some((k, slot)) = n.kernels.specs.provider(v) else {
            return Err(ModelError::Unprovided { value: n.value_name(v).to_owned() }.into());
        };
        let on = self.memory.activations.output(k, layer).clone();
        Ok(ValueLocation::Surface { on, channel: slot.channel, elements: n.layer.elements(v) })
    }

    /// The weight of the final norm, and that of the classifier: the embedding if they are tied.
    pub(super) fn head_params(&self) -> Result<(&'n Param, &'n Param), StepError> {
        let n = self.network;
        Ok((n.params.get(None, ParamKind::FinalNorm)?, n.params.get(None, n.cfg.classifier())?))
    }

    /// Writes the input of the first layer: embedded tokens, or activations.
    fn embed(&mut self, micro: usize) -> Result<(), StepError> {
        let n = self.network;
        let table = match n.is_language() {
            true => Some(n.params.get(None, ParamKind::Embedding)?.values()),
            false => None,
        };
        let (half, table) = table.map(|table| (table.half, table.range)).unzip();
        let s = self.context();
        self.graph
            .task(format!("{micro}.embed"))
            .on(self.lane)
            .reads((n.buffers.windows.clone(), n.params.theta.clone(), half.flatten()))
            .writes(self.memory.activations.x[0].clone())
            .run(move |(windows, theta, half), mut x| {
                match (window(&windows, micro)?, &table) {
                    (Window::Tokens(tokens) | Window::Weighted { tokens, .. }, Some(table)) => {
                        let table = Values::of(table, &theta, &half);
                        embed::gather(table, s.dim, &tokens[..s.seq], &mut x)?;
                        if s.rows.scale != 1.0 {
                            residual::scale(&mut x, s.rows.scale);
                        }
                    }
                    (Window::Sample { x: input, .. } | Window::Linear { x: input, .. }, None) => {
                        x.copy_from_slice(input);
                    }
                    _ => return Err(StepError::internal("a window does not fit the model's task")),
                }
                s.host.to_host_layout(&mut x, s.seq);
                Ok(())
            });
        Ok(())
    }

    /// Writes what is added to scores so that no document of a window sees an earlier one, if the layers take it.
    ///
    /// Positions go on from document to document: RoPE makes scores of the distance between two positions, which is the same.
    fn documents(&mut self, micro: usize) {
        let Some((_, mask)) = self.memory.activations.documents.clone() else { return };
        let (s, hidden) = (self.context(), masked(self.network.precision.dtype()) as f32);
        self.graph
            .task(format!("{micro}.documents"))
            .on(self.lane)
            .reads(self.network.buffers.windows.clone())
            .writes(mask)
            .run(move |windows, mut mask| {
                let starts = starts(window(&windows, micro)?);
                mask.fill(0.0);
                for (from, row) in mask.chunks_exact_mut(s.seq).enumerate() {
                    let own = starts.iter().rev().find(|&&start| start <= from).copied().unwrap_or(0);
                    row[..own].fill(hidden);
                }
                s.host.to_host_layout(&mut mask, s.seq);
                Ok(())
            });
    }

    /// Writes the factors of dropout of `layer`, if there are any: the same in the forward and the backward pass of a step.
    pub(super) fn dropout(&mut self, stem: &str, micro: usize, layer: usize) {
        let memory = self.memory;
        for (site, factors) in memory.activations.dropout.iter().enumerate() {
            let (s, drops, place) = (self.context(), self.drops, Place { window: micro, layer, site });
            self.graph.task(format!("{stem}.{site}")).on(self.lane).writes(factors.clone()).run(
                move |(), mut factors| {
                    match drops {
                        true => dropout::factors(&mut factors, s.dropout, s.draw(), place),
                        false => factors.fill(1.0),
                    }
                    s.host.to_host_layout(&mut factors, s.seq);
                    Ok(())
                },
            );
        }
    }

    /// A norm of the forward pass that no kernel computes.
    fn host_norm(&mut self, name: String, layer: usize, site: &NormSite) -> Result<(), StepError> {
        let n = self.network;
        let spec = &n.params.get(Some(layer), site.kind)?.spec;
        let (weight, norm, s) = (spec.range(), n.context.norm(spec.count(), site.groups), self.context());
        let elements = n.layer.elements(site.input);
        let (x, y) = (self.value(layer, site.input)?, self.host(layer, site.output)?);
        self.graph
            .task(name)
            .on(self.lane)
            .reads((x, n.params.theta.clone()))
            .writes((y, self.memory.scratch.clone()))
            .run(move |(x, theta), (mut y, mut scratch)| {
                let [scratch, columns, _] = &mut *scratch;
                let weight = &theta[weight.clone()];
                let x = s.host_values(&x, columns.take(elements))?;
                s.host.norm(&norm, x, weight, &mut y, scratch);
                Ok(())
            });
        Ok(())
    }

    /// `sum = x + branch`.
    fn residual(&mut self, name: String, [x, sum]: [&Activation; 2], branch: ValueLocation) {
        let s = self.context();
        self.graph.task(name).on(self.lane).reads((branch, x.clone())).writes(sum.clone()).run(
            move |(branch, x), mut sum| {
                s.download(&branch, &mut sum)?;
                residual::add(&mut sum, &x);
                Ok(())
            },
        );
    }
}
