//! What a step is made of: each function is one task, on the memory of [`Buffers`](super::Buffers).

use super::buffers::{Activation, Window};
use super::network::Role;
use super::{Network, StepError};
use crate::config::ParamKind;
use crate::host::gemm::{Elements, Matrix, MatrixMut, Store, matmul};
use crate::host::head::Head;
use crate::host::norm::RmsNorm;
use crate::host::squared_norms::Gradient;
use crate::host::{Layout, embed, loss, residual, weight_grad};
use crate::model::NormSite;
use mil::ValueId;
use mil::pass::Provider;
use rayon::prelude::*;

impl Network {
    /// Calls `f` with a value of `layer`, wherever it is.
    pub(super) fn with_value<R>(
        &self,
        layer: usize,
        v: ValueId,
        f: impl FnOnce(Elements<'_>) -> R,
    ) -> Result<R, StepError> {
        if let Some(role) = self.role(v) {
            return Ok(f(Elements::F32(&self.activation(layer, role).read()?)));
        }
        let Some((k, slot)) = self.kernels.provider(v) else {
            let value = self.value_name(v).to_owned();
            return Err(crate::model::ModelError::Unprovided { value }.into());
        };
        let surface = self.buffers.output(k, layer);
        Ok(surface.with(slot.channel, self.elements(v), |elements| f(elements.into()))?)
    }

    /// Elements of a value of the layer.
    pub(super) fn elements(&self, v: ValueId) -> usize {
        self.layer.joint.function.ty(v).elements()
    }

    pub(super) fn norm(&self, channels: usize, groups: usize) -> RmsNorm {
        RmsNorm { channels, groups, seq: self.cfg.seq, eps: self.cfg.rms_eps as f32 }
    }

    /// Puts what kernel `k` reads on its surface, and runs it.
    pub(super) fn run_kernel(&self, k: usize, layer: usize) -> Result<(), StepError> {
        self.converting.time(|| self.feed_kernel(k, layer))?;
        self.dispatch(k, layer)
    }

    /// Puts what kernel `k` reads on its surface.
    fn feed_kernel(&self, k: usize, layer: usize) -> Result<(), StepError> {
        let surfaces = self.buffers.inputs(k, layer);
        for lying in &self.kernels.kernels[k].inputs {
            let surface = &surfaces[lying.slot.surface];
            match (lying.from, self.role(lying.value)) {
                (Provider::Part(from), _) => {
                    let source = self.kernels.kernels[from].outputs.iter().find(|l| l.value == lying.value);
                    let Some(source) = source else { continue };
                    let from = self.buffers.output(from, layer);
                    surface.copy_block(&lying.slot.block(), from, source.slot.channel)?;
                }
                (Provider::Host, Some(role)) => {
                    self.upload(surface, &lying.slot.block(), &self.activation(layer, role).read()?)?;
                }
                // `assign_roles` has refused this.
                (Provider::Host, None) => {}
            }
        }
        Ok(())
    }

    /// Writes the embedded tokens of a micro-batch, or its input, before the first layer.
    pub(super) fn embed(&self, micro: usize) -> Result<(), StepError> {
        let mut x = self.buffers.x[0].write()?;
        match &self.buffers.windows.read()?[micro] {
            Window::Tokens(tokens) => {
                let Some(table) = self.place(None, ParamKind::Embedding) else { return Ok(()) };
                let theta = self.theta.read()?;
                let tokens = &tokens[..self.cfg.seq];
                embed::gather(&theta[self.specs[table].range()], self.cfg.dim, tokens, &mut x)?;
            }
            Window::Sample { x: input, .. } | Window::Linear { x: input, .. } => x.copy_from_slice(input),
        }
        self.from_channel_first(&mut x, &mut *self.buffers.transposed.lock()?);
        Ok(())
    }

    /// `x2 = x + o`.
    pub(super) fn add_attention(&self, layer: usize) -> Result<(), StepError> {
        let (b, l) = (&self.buffers, &self.layer);
        self.add(layer, &b.x[layer], l.o, &b.x2[layer])
    }

    /// `y = x2 + ffn`, before the next layer.
    pub(super) fn add_feed_forward(&self, layer: usize) -> Result<(), StepError> {
        let (b, l) = (&self.buffers, &self.layer);
        self.add(layer, &b.x2[layer], l.ffn, &b.x[layer + 1])
    }

    fn add(&self, layer: usize, x: &Activation, branch: ValueId, sum: &Activation) -> Result<(), StepError> {
        let mut sum = sum.write()?;
        self.download(layer, branch, &mut sum)?;
        residual::add(&mut sum, &x.read()?);
        Ok(())
    }

    /// The final norm's result.
    fn final_norm(&self) -> Result<(), StepError> {
        let Some(place) = self.place(None, ParamKind::FinalNorm) else { return Ok(()) };
        let b = &self.buffers;
        let (x, mut y, theta) = (b.x[self.cfg.layers].read()?, b.head[0].write()?, self.theta.read()?);
        let [scratch, ..] = &mut *b.scratch.lock()?;
        let norm = self.norm(self.cfg.dim, 1);
        self.norm_columns(&norm, &x, &theta[self.specs[place].range()], &mut y, scratch);
        Ok(())
    }

    /// Final norm and classifier: logits `[V, S]`.
    fn classify(&self, logits: &mut [f32]) -> Result<(), StepError> {
        self.final_norm()?;
        let Some(classifier) = self.classifier() else { return Ok(()) };
        let (xf, theta) = (self.buffers.head[0].read()?, self.theta.read()?);
        let (v, d, s) = (self.cfg.vocab, self.cfg.dim, self.cfg.seq);
        matmul(
            self.math(),
            MatrixMut::new(logits, v, s),
            Store::Replace,
            1.0,
            Matrix::new(&theta[self.specs[classifier].range()], v, d),
            Matrix::new(&xf[..], d, s),
        );
        Ok(())
    }

    /// The loss of a micro-batch, and its gradient before the head: that of the logits, or of the last layer.
    pub(super) fn loss(&self, micro: usize) -> Result<(), StepError> {
        let b = &self.buffers;
        let windows = b.windows.read()?;
        let window = &windows[micro];
        self.to_channel_first(&mut b.x[self.cfg.layers].write()?, &mut *b.transposed.lock()?);
        let loss = match window {
            Window::Tokens(tokens) => {
                self.final_norm()?;
                let (x, theta) = (b.head[0].read()?, self.theta.read()?);
                let Some(head) = self.head(&theta, &x, &tokens[1..]) else { return Ok(()) };
                let [scratch, stats, _] = &mut *b.scratch.lock()?;
                head.forward(&mut b.logits.write()?, stats, scratch)?
            }
            Window::Sample { target: with, .. } | Window::Linear { dy: with, .. } => {
                let layers = self.cfg.layers;
                let (y, mut dy) = (b.x[layers].read()?, b.dx[layers % b.dx.len()].write()?);
                let loss = if matches!(window, Window::Sample { .. }) { loss::mse } else { loss::linear };
                let loss = loss(&y, with, self.loss_scale(), &mut dy);
                self.from_channel_first(&mut dy, &mut *b.transposed.lock()?);
                loss
            }
        };
        *b.loss.lock()? += loss;
        Ok(())
    }

    /// The classifier with its loss.
    fn head<'a>(&self, theta: &'a [f32], x: &'a [f32], targets: &'a [u32]) -> Option<Head<'a>> {
        let weight = &theta[self.specs[self.classifier()?].range()];
        Some(Head { math: self.math(), weight, x, targets, scale: self.loss_scale() })
    }

    /// From the logits to the gradients of the classifier and of the last layer's result.
    pub(super) fn head_backward(&self, micro: usize, store: Store) -> Result<(), StepError> {
        let (Some(classifier), Some(norm)) = (self.classifier(), self.place(None, ParamKind::FinalNorm))
        else {
            return Ok(());
        };
        let b = &self.buffers;
        let layers = self.cfg.layers;
        let windows = b.windows.read()?;
        let Window::Tokens(tokens) = &windows[micro] else { return Ok(()) };
        let (x, theta) = (b.head[0].read()?, self.theta.read()?);
        let Some(head) = self.head(&theta, &x, &tokens[1..]) else { return Ok(()) };
        let mut dxf = b.head[1].write()?;
        let [scratch, stats, _] = &mut *b.scratch.lock()?;
        let mut dw = b.grads[classifier].write()?;
        let to = Gradient { values: &mut dw, squares: &b.squares[classifier], store };
        head.backward(&b.logits.read()?, stats, to, &mut dxf, scratch);
        drop(dw);
        let squares = &b.squares[norm];
        let (x, mut dx) = (b.x[layers].read()?, b.dx[layers % b.dx.len()].write()?);
        let (weight, mut dw) = (&theta[self.specs[norm].range()], b.grads[norm].write()?);
        let norm = self.norm(self.cfg.dim, 1);
        match self.options.vector_norms {
            true => norm.backward(&x, weight, &dxf, &mut dx, Store::Replace, &mut dw, scratch),
            false => {
                let layout = Layout::ChannelFirst;
                norm.backward_scalar(layout, &x, weight, &dxf, &mut dx, Store::Replace, &mut dw, scratch);
            }
        }
        squares.take(0, &dw);
        self.from_channel_first(&mut dx, &mut *b.transposed.lock()?);
        Ok(())
    }

    /// Whether the first micro-batch overwrites the gradient of weight `place`, so that it need not be 0 before.
    pub(super) fn is_replaced(&self, place: usize) -> bool {
        let is_outer = |kind| self.layer.outers.iter().any(|o| o.kind == kind);
        Some(place) == self.classifier() || is_outer(self.specs[place].kind)
    }

    /// The gradient of the embedding.
    pub(super) fn embedding_gradient(&self, micro: usize) -> Result<(), StepError> {
        let Some(table) = self.place(None, ParamKind::Embedding) else { return Ok(()) };
        let b = &self.buffers;
        let windows = b.windows.read()?;
        let Window::Tokens(tokens) = &windows[micro] else { return Ok(()) };
        let scratch = &mut *b.gradient_scratch.lock()?;
        if self.is_row_major() {
            self.to_channel_first(&mut b.dx[0].write()?, scratch);
        }
        let dx = b.dx[0].read()?;
        let mut grad = b.grads[table].write()?;
        let tokens = &tokens[..self.cfg.seq];
        Ok(embed::scatter_add(&mut grad, &b.squares[table], self.cfg.dim, tokens, &dx, scratch)?)
    }

    /// The backward pass of a norm: from the gradient of its result to that of its input, what reaches the input
    /// past the norm included.
    pub(super) fn norm_backward(&self, layer: usize, site: &NormSite) -> Result<(), StepError> {
        let Some(place) = self.place(Some(layer), site.kind) else { return Ok(()) };
        let b = &self.buffers;
        let [scratch, dy, x] = &mut *b.scratch.lock()?;
        let n = self.elements(site.output);
        let (dy, x) = (dy.take(n), x.take(n));
        self.download(layer, self.layer.cotangent(site.output)?, dy)?;
        self.download(layer, site.input, x)?;
        let theta = self.theta.read()?;
        let weight = &theta[self.specs[place].range()];
        let (past, to, store) = match site.kind {
            ParamKind::FeedForwardNorm => (Some(Role::Dy), self.activation(layer, Role::Dx2), Store::Add),
            ParamKind::AttentionNorm => (Some(Role::Dx2), &b.dx[layer % b.dx.len()], Store::Add),
            ParamKind::QueryNorm => (None, self.activation(layer, Role::DHead(0)), Store::Replace),
            _ => (None, self.activation(layer, Role::DHead(1)), Store::Replace),
        };
        let mut dx = to.write()?;
        if let Some(role) = past {
            dx.copy_from_slice(&self.activation(layer, role).read()?);
        }
        let norm = self.norm(weight.len(), site.groups);
        let mut dw = b.grads[place].write()?;
        self.norm_backward_kept(&norm, x, weight, dy, &mut dx, store, &mut dw, scratch)?;
        b.squares[place].take(0, &dw);
        Ok(())
    }

    /// The gradient of a matrix of `layer`.
    pub(super) fn matrix_gradient(&self, layer: usize, outer: usize, store: Store) -> Result<(), StepError> {
        let outer = &self.layer.outers[outer];
        let Some(place) = self.place(Some(layer), outer.kind) else { return Ok(()) };
        let mut dw = self.buffers.grads[place].write()?;
        let dw = Gradient { values: &mut dw, squares: &self.buffers.squares[place], store };
        if self.is_row_major() {
            return self.gradient_of_rows(layer, [outer.dz, outer.a], dw);
        }
        self.with_value(layer, outer.dz, |dz| {
            self.with_value(layer, outer.a, |a| {
                weight_grad::outer_product(self.math(), dw, dz, a, self.cfg.seq);
            })
        })?
    }

    /// The mean squared error of what the layers make of `x`, for regression.
    ///
    /// # Errors
    /// If the device fails.
    pub fn evaluate_sample(&self, x: &[f32], target: &[f32]) -> Result<f64, StepError> {
        self.pool().install(|| {
            self.pass(Window::Sample { x: x.to_vec(), target: Vec::new() }, false)?;
            let y = self.buffers.x[self.cfg.layers].read()?;
            Ok(loss::mse(&y, target, 1.0, &mut vec![0.0; y.len()]))
        })
    }

    fn forward(&self, tokens: &[u32]) -> Result<(), StepError> {
        if tokens.len() != self.cfg.seq + 1 {
            return Err(StepError::Window { want: self.cfg.seq + 1, got: tokens.len() });
        }
        self.pass(Window::Tokens(tokens.to_vec()), false)
    }

    /// The forward pass of one window, up to the last layer's result, `[D, S]`; if `checked`, with a look at every value.
    pub(super) fn pass(&self, window: Window, checked: bool) -> Result<(), StepError> {
        *self.buffers.windows.write()? = vec![window];
        self.embed(0)?;
        for layer in 0..self.cfg.layers {
            for k in 0..self.kernels.forward {
                for (_, site) in self.host_norms.iter().filter(|(wants, _)| *wants == k) {
                    self.norm_forward(layer, site)?;
                }
                if checked {
                    self.check_inputs(k, layer)?;
                }
                self.run_kernel(k, layer)?;
                if checked {
                    self.check_outputs(k, layer)?;
                }
                for (value, add) in [
                    (self.layer.o, Self::add_attention as fn(&_, _) -> _),
                    (self.layer.ffn, Self::add_feed_forward),
                ] {
                    if self.kernels.provider(value).is_some_and(|(p, _)| p == k) {
                        add(self, layer)?;
                    }
                }
            }
        }
        self.to_channel_first(
            &mut self.buffers.x[self.cfg.layers].write()?,
            &mut *self.buffers.transposed.lock()?,
        );
        self.check_residual()
    }

    /// Logits `[V, S]` of the first S of S + 1 `tokens`.
    ///
    /// # Errors
    /// If the window has another length, a token is out of range, a logit is not finite, or the device fails.
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>, StepError> {
        self.pool().install(|| {
            self.forward(tokens)?;
            let mut logits = vec![0.0; self.cfg.vocab * self.cfg.seq];
            self.classify(&mut logits)?;
            match logits.par_iter().all(|x| x.is_finite()) {
                true => Ok(logits),
                false => Err(self.blame("a logit", tokens)),
            }
        })
    }

    /// Logits `[V]` after position `at` of the first S of S + 1 `tokens`.
    ///
    /// # Errors
    /// As [`Network::logits`].
    pub fn logits_at(&self, tokens: &[u32], at: usize) -> Result<Vec<f32>, StepError> {
        self.pool().install(|| self.last_logits(tokens, at))
    }

    fn last_logits(&self, tokens: &[u32], at: usize) -> Result<Vec<f32>, StepError> {
        self.forward(tokens)?;
        self.final_norm()?;
        let Some(classifier) = self.classifier() else { return Ok(Vec::new()) };
        let (xf, theta) = (self.buffers.head[0].read()?, self.theta.read()?);
        let (v, d) = (self.cfg.vocab, self.cfg.dim);
        let column: Vec<f32> = xf.iter().skip(at).step_by(self.cfg.seq).copied().collect();
        let mut logits = vec![0.0; v];
        matmul(
            self.math(),
            MatrixMut::new(&mut logits, v, 1),
            Store::Replace,
            1.0,
            Matrix::new(&theta[self.specs[classifier].range()], v, d),
            Matrix::new(&column[..], d, 1),
        );
        match logits.iter().all(|x| x.is_finite()) {
            true => Ok(logits),
            false => Err(self.blame("a logit", tokens)),
        }
    }

    /// The mean loss of a window of S + 1 `tokens`, in nats a token.
    ///
    /// # Errors
    /// As [`Network::logits`].
    pub fn evaluate(&self, tokens: &[u32]) -> Result<f64, StepError> {
        match self.pool().install(|| self.window_loss(tokens))? {
            loss if loss.is_finite() => Ok(loss),
            _ => Err(self.blame("the loss", tokens)),
        }
    }

    fn window_loss(&self, tokens: &[u32]) -> Result<f64, StepError> {
        self.forward(tokens)?;
        let mut logits = self.buffers.logits.write()?;
        let n = self.cfg.vocab * self.cfg.seq;
        if logits.len() != n {
            logits.resize(n, 0.0);
        }
        self.classify(&mut logits)?;
        let [scratch, ..] = &mut *self.buffers.scratch.lock()?;
        let loss = loss::cross_entropy(&logits, &tokens[1..], scratch)?;
        Ok(loss)
    }
}
