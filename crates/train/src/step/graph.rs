//! The tasks of an optimizer step, in order, with what each reads and writes.

use super::buffers::Window;
use super::network::Role;
use super::{Network, StepError};
use crate::config::ParamKind;
use crate::host::Store;
use flow::{Graph, Lane, Plan, Resource, Trace};
use mil::ValueId;
use mil::pass::Provider;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Forward and backward of all micro-batches of an optimizer step, as a plan that runs many times.
#[derive(Debug)]
pub struct StepGraph {
    plan: Plan<'static, StepError>,
    network: Arc<Network>,
    micro_batches: usize,
}

/// The resources behind the network's memory.
struct Resources {
    inputs: Vec<Vec<Resource>>,
    outputs: Vec<Vec<Resource>>,
    x: Vec<Resource>,
    x2: Vec<Resource>,
    dx: Vec<Resource>,
    dx2: Vec<Resource>,
    d_heads: Vec<[Resource; 2]>,
    normed: Vec<Vec<Resource>>,
    head: Resource,
    logits: Resource,
    loss: Resource,
    scratch: Resource,
    gradient_scratch: Resource,
    grads: Vec<Resource>,
}

impl Resources {
    fn new(n: &Network, g: &mut Graph<'static, StepError>) -> Resources {
        let b = &n.buffers;
        let mut list = |stem: &str, count: usize| -> Vec<Resource> {
            (0..count).map(|i| g.resource(format!("{stem} {i}"))).collect()
        };
        let (inputs, outputs) =
            (b.inputs.iter().zip(&n.kernels.kernels), b.outputs.iter().zip(&n.kernels.kernels));
        Resources {
            outputs: outputs.map(|(ring, k)| list(&format!("{}.out", k.name), ring.len())).collect(),
            inputs: inputs.map(|(ring, k)| list(&format!("{}.in", k.name), ring.len())).collect(),
            x: list("x", b.x.len()),
            x2: list("x2", b.x2.len()),
            dx: list("dx", b.dx.len()),
            dx2: list("dx2", b.dx2.len()),
            d_heads: b
                .d_heads
                .iter()
                .enumerate()
                .map(|(i, _)| [0, 1].map(|j| list(&format!("dqk {i}.{j}"), 1)[0]))
                .collect(),
            normed: (0..b.normed.len()).map(|i| list(&format!("normed {i}"), n.cfg.layers)).collect(),
            grads: n.specs.iter().map(|p| list(&format!("grad {}", p.name), 1)[0]).collect(),
            head: list("head", 1)[0],
            logits: list("logits", 1)[0],
            loss: list("loss", 1)[0],
            scratch: list("scratch", 1)[0],
            gradient_scratch: list("gradient scratch", 1)[0],
        }
    }

    fn role(&self, layer: usize, role: Role) -> Resource {
        match role {
            Role::X => self.x[layer],
            Role::X2 => self.x2[layer],
            Role::Dy => self.dx[(layer + 1) % self.dx.len()],
            Role::Dx2 => self.dx2[layer % self.dx2.len()],
            Role::DHead(i) => self.d_heads[layer % self.d_heads.len()][i],
            Role::Normed(site) => self.normed[site][layer],
        }
    }

    fn input(&self, k: usize, layer: usize) -> Resource {
        self.inputs[k][layer % self.inputs[k].len()]
    }

    fn output(&self, k: usize, layer: usize) -> Resource {
        self.outputs[k][layer % self.outputs[k].len()]
    }

    /// Where value `v` of `layer` is.
    fn value(&self, n: &Network, layer: usize, v: ValueId) -> Option<Resource> {
        match n.role(v) {
            Some(role) => Some(self.role(layer, role)),
            None => n.kernels.provider(v).map(|(k, _)| self.output(k, layer)),
        }
    }
}

struct Writer<'a> {
    network: &'a Arc<Network>,
    graph: Graph<'static, StepError>,
    r: Resources,
}

impl StepGraph {
    /// The schedule for `micro_batches` windows.
    ///
    /// # Errors
    /// If the tasks make no schedule: a mistake of this module.
    pub fn new(network: Arc<Network>, micro_batches: usize) -> Result<StepGraph, StepError> {
        let mut graph = Graph::new();
        let r = Resources::new(&network, &mut graph);
        let mut w = Writer { network: &network, graph, r };
        for micro in 0..micro_batches {
            w.micro_batch(micro);
        }
        let plan = w.graph.plan()?;
        Ok(StepGraph { plan, network, micro_batches })
    }

    /// The schedule.
    pub fn plan(&self) -> &Plan<'static, StepError> {
        &self.plan
    }

    /// Computes the gradients of `windows`, one a micro-batch, and returns the mean loss.
    ///
    /// The gradients are left in the network's memory: sums over windows, times the loss scale.
    ///
    /// # Errors
    /// If number or length of the windows is not the model's, one has a token out of range, or the device fails.
    pub fn run(&self, windows: Vec<Window>, trace: &mut Trace) -> Result<f64, StepError> {
        let b = &self.network.buffers;
        if windows.len() != self.micro_batches {
            return Err(StepError::Windows { want: self.micro_batches, got: windows.len() });
        }
        let stream = self.network.cfg.dim * self.network.cfg.seq;
        for window in &windows {
            let (want, got) = match window {
                Window::Tokens(tokens) => (self.network.cfg.seq + 1, tokens.len()),
                Window::Sample { x, target: y } | Window::Linear { x, dy: y } if x.len() == stream => {
                    (stream, y.len())
                }
                Window::Sample { x, .. } | Window::Linear { x, .. } => (stream, x.len()),
            };
            if want != got {
                return Err(StepError::Window { want, got });
            }
        }
        *b.windows.write()? = windows;
        *b.loss.lock()? = 0.0;
        for (place, grad) in b.grads.iter().enumerate() {
            if !self.network.is_replaced(place) {
                grad.write()?.fill(0.0);
                b.squares[place].clear();
            }
        }
        // The engine's lane is one of the pool's own threads: its tasks need not be handed over and waited for.
        let idle = || {
            if rayon::yield_now() != Some(rayon::Yield::Executed) {
                std::thread::yield_now();
            }
        };
        let run = || self.plan.run_busy(trace, &idle).map_err(StepError::from);
        self.network.pool().busy(run)?;
        Ok(*b.loss.lock()? / self.micro_batches as f64)
    }
}

/// Where gradients of matrices are computed.
fn gradient_lane(n: &Network) -> Lane {
    if n.options.gradients_beside { Lane::Cpu } else { Lane::Engine }
}

/// Of micro-batches after the first, gradients are added.
fn stored(micro: usize) -> Store {
    if micro == 0 { Store::Replace } else { Store::Add }
}

impl Writer<'_> {
    /// Adds a task that runs on the threads of the host's work.
    fn task(
        &mut self,
        name: String,
        lane: Lane,
        reads: impl IntoIterator<Item = Resource>,
        writes: impl IntoIterator<Item = Resource>,
        work: impl Fn(&Network) -> Result<(), StepError> + Send + Sync + 'static,
    ) {
        let network = Arc::clone(self.network);
        self.graph
            .task(name)
            .on(lane)
            .reads(reads)
            .writes(writes)
            .run(move || network.pool().install(|| work(&network)));
    }

    fn micro_batch(&mut self, micro: usize) {
        let n = Arc::clone(self.network);
        let layers = n.cfg.layers;
        let at = |layer: usize, name: &str| format!("{micro}.L{layer}.{name}");
        self.task(format!("{micro}.embed"), Lane::Engine, [], [self.r.x[0]], move |n| n.embed(micro));
        for l in 0..layers {
            for k in 0..n.kernels.forward {
                for &(_, site) in n.host_norms.iter().filter(|(wants, _)| *wants == k) {
                    let reads = self.r.value(&n, l, site.input);
                    let writes = self.r.value(&n, l, site.output).into_iter().chain([self.r.scratch]);
                    let name = at(l, &format!("{:?}", site.kind));
                    self.task(name, Lane::Engine, reads, writes, move |n| n.norm_forward(l, &site));
                }
                self.kernel(at(l, &n.kernels.kernels[k].name), k, l);
                let provides = |v| n.kernels.provider(v).is_some_and(|(p, _)| p == k);
                let out = self.r.output(k, l);
                if provides(n.layer.o) {
                    let (reads, writes) = ([out, self.r.x[l]], [self.r.x2[l]]);
                    self.task(at(l, "residual1"), Lane::Engine, reads, writes, move |n| n.add_attention(l));
                }
                if provides(n.layer.ffn) {
                    let (reads, writes) = ([out, self.r.x2[l]], [self.r.x[l + 1]]);
                    self.task(at(l, "residual2"), Lane::Engine, reads, writes, move |n| {
                        n.add_feed_forward(l)
                    });
                }
            }
        }
        self.head(micro);
        for l in (0..layers).rev() {
            self.backward_layer(micro, l);
        }
        if let Some(table) = n.place(None, ParamKind::Embedding) {
            let grad = self.r.grads[table];
            let reads = [self.r.dx[0], grad, self.r.gradient_scratch];
            // Row-major gradients are transposed in place.
            let transposed = n.is_row_major().then_some(self.r.dx[0]);
            let writes = [grad, self.r.gradient_scratch].into_iter().chain(transposed);
            let name = format!("{micro}.embed.dw");
            self.task(name, gradient_lane(&n), reads, writes, move |n| n.embedding_gradient(micro));
        }
    }

    fn head(&mut self, micro: usize) {
        let n = self.network;
        let (last, dx) = (self.r.x[n.cfg.layers], self.r.dx[n.cfg.layers % self.r.dx.len()]);
        let r = &self.r;
        let mut writes = vec![r.loss, r.scratch];
        writes.extend(n.is_row_major().then_some(last));
        match n.is_language() {
            true => writes.extend([r.logits, r.head]),
            false => writes.push(dx),
        }
        self.task(format!("{micro}.loss"), Lane::Engine, [last], writes, move |n| n.loss(micro));
        let (Some(classifier), Some(norm)) = (n.classifier(), n.place(None, ParamKind::FinalNorm)) else {
            return;
        };
        let (r, store) = (&self.r, stored(micro));
        let grads = [r.grads[classifier], r.grads[norm]];
        let reads = [r.logits, r.head, last].into_iter().chain(grads);
        let writes = [dx, r.head, r.scratch].into_iter().chain(grads);
        let name = format!("{micro}.head.dx");
        self.task(name, Lane::Engine, reads, writes, move |n| n.head_backward(micro, store));
    }

    fn kernel(&mut self, name: String, k: usize, layer: usize) {
        let n = self.network;
        let reads: Vec<Resource> = n.kernels.kernels[k]
            .inputs
            .iter()
            .filter_map(|l| match l.from {
                Provider::Part(from) => Some(self.r.output(from, layer)),
                Provider::Host => n.role(l.value).map(|role| self.r.role(layer, role)),
            })
            .collect();
        let writes = [self.r.input(k, layer), self.r.output(k, layer)];
        self.task(name, Lane::Engine, reads, writes, move |n| n.run_kernel(k, layer));
    }

    /// Backward kernels in order; after each, what of the host's work it makes possible.
    fn backward_layer(&mut self, micro: usize, l: usize) {
        let n = Arc::clone(self.network);
        let at = |name: &str| format!("{micro}.L{l}.{name}");
        let mut waiting: BTreeSet<usize> = (0..n.layer.outers.len()).collect();
        let mut known: BTreeSet<ValueId> = [n.layer.dy].into();
        self.ready_gradients(micro, l, &mut waiting, &known);
        for k in n.kernels.forward..n.kernels.kernels.len() {
            self.kernel(at(&n.kernels.kernels[k].name), k, l);
            known.extend(n.kernels.kernels[k].outputs.iter().map(|o| o.value));
            for site in &n.layer.norms {
                let Ok(dy) = n.layer.cotangent(site.output) else { continue };
                if n.kernels.provider(dy).is_none_or(|(p, _)| p != k) {
                    continue;
                }
                let Some(place) = n.place(Some(l), site.kind) else { continue };
                let r = &self.r;
                let (past, to) = match site.kind {
                    ParamKind::FeedForwardNorm => (Some(Role::Dy), r.role(l, Role::Dx2)),
                    ParamKind::AttentionNorm => (Some(Role::Dx2), r.dx[l % r.dx.len()]),
                    ParamKind::QueryNorm => (None, r.role(l, Role::DHead(0))),
                    _ => (None, r.role(l, Role::DHead(1))),
                };
                let mut reads = vec![r.output(k, l), r.grads[place]];
                reads.extend(r.value(&n, l, site.input));
                reads.extend(past.map(|role| r.role(l, role)));
                let writes = [to, r.grads[place], r.scratch];
                let site = *site;
                let name = at(&format!("{:?}.dx", site.kind));
                self.task(name, Lane::Engine, reads, writes, move |n| n.norm_backward(l, &site));
                known.extend(n.layer.cotangent(site.input));
            }
            self.ready_gradients(micro, l, &mut waiting, &known);
        }
        if !n.options.deferred_waits {
            let places = n.layer.outers.iter().filter_map(|o| n.place(Some(l), o.kind));
            let grads: Vec<Resource> = places.map(|place| self.r.grads[place]).collect();
            self.task(at("wait"), Lane::Engine, grads, [], |_| Ok(()));
        }
    }

    /// Schedules the matrix gradients whose cotangent is known.
    fn ready_gradients(
        &mut self,
        micro: usize,
        l: usize,
        waiting: &mut BTreeSet<usize>,
        known: &BTreeSet<ValueId>,
    ) {
        let n = Arc::clone(self.network);
        for i in waiting.clone() {
            let outer = n.layer.outers[i];
            if !known.contains(&outer.dz) {
                continue;
            }
            waiting.remove(&i);
            let Some(place) = n.place(Some(l), outer.kind) else { continue };
            let r = &self.r;
            let grad = r.grads[place];
            let mut reads = vec![grad];
            reads.extend([outer.dz, outer.a].into_iter().filter_map(|v| r.value(&n, l, v)));
            let writes = [grad].into_iter().chain(n.is_row_major().then_some(r.gradient_scratch));
            let name = format!("{micro}.L{l}.{:?}.dw", outer.kind);
            let store = stored(micro);
            self.task(name, gradient_lane(&n), reads, writes, move |n| n.matrix_gradient(l, i, store));
        }
    }
}
