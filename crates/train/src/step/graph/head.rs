//! The part after the last layer: in training the loss with the head's backward pass, in forward-only plans an ending.

use super::super::StepError;
use super::super::buffers::Window;
use super::super::context::TaskContext;
use super::super::params::{GradientSum, Values};
use super::super::passes::Ending;
use super::super::range::Watched;
use super::builder::{Builder, tokens, weights, window};
use flow::Handle;
use half::f16;
use host::gemm::{Elements, Matrix, MatrixMut, matmul};
use host::head::{Head, HeadMemory};
use host::norm::NormGradient;
use host::{Scratch, Store, regression};
use std::ops::Range;

/// A loss of the last layer's output: `(y, target or gradient, scale, dy) -> loss`.
type ActivationLoss = fn(&[f32], &[f32], f32, &mut [f32]) -> f64;

/// The weights of the final norm and of the classifier: their places among all weights.
#[derive(Clone)]
struct HeadRanges {
    norm: Range<usize>,
    classifier: Range<usize>,
    /// The classifier, if it is in half precision.
    half: Option<Handle<Vec<f16>>>,
}

/// The targets of a window.
#[derive(Clone, Copy)]
struct Targets<'a> {
    tokens: &'a [u32],
    weights: Option<&'a [f32]>,
}

impl<'a> Targets<'a> {
    /// Those of `window`.
    fn of(window: &'a Window) -> Result<Targets<'a>, StepError> {
        Ok(Targets { tokens: &tokens(window)?[1..], weights: weights(window) })
    }
}

impl Builder<'_> {
    fn head_ranges(&self) -> Result<HeadRanges, StepError> {
        let (norm, classifier) = self.head_params()?;
        let Values { half, range } = classifier.values();
        Ok(HeadRanges { norm: norm.spec.range(), classifier: range, half })
    }

    /// Ends a forward-only plan.
    pub(in crate::step) fn end(&mut self, ending: Ending) -> Result<(), StepError> {
        self.check_stream();
        match ending {
            Ending::Stream | Ending::Checked => Ok(()),
            Ending::Logits => self.logits(),
            Ending::Loss => self.loss_alone(),
            Ending::LastLogits => self.last_logits(),
        }
    }

    /// Checks that the mean square of the residual stream does not overflow.
    fn check_stream(&mut self) {
        let n = self.network;
        let watched = Watched::stream(n.cfg.layers - 1, &n.layer);
        self.graph
            .task("check.stream")
            .on(self.lane)
            .reads(self.memory.activations.x[n.cfg.layers].clone())
            .run(move |x, ()| watched.check_stream(&x));
    }

    /// Logits of all positions.
    fn logits(&mut self) -> Result<(), StepError> {
        let n = self.network;
        let (ranges, s, w) = (self.head_ranges()?, self.context(), self.memory);
        self.graph
            .task("logits")
            .on(self.lane)
            .reads((w.activations.x[n.cfg.layers].clone(), n.params.theta.clone(), ranges.half.clone()))
            .writes((w.head.clone(), w.logits.clone(), w.scratch.clone()))
            .run(move |(x, theta, half), (mut head, mut logits, mut scratch)| {
                let [scratch, ..] = &mut *scratch;
                s.final_norm(&x, &theta[ranges.norm.clone()], &mut head, scratch);
                logits.resize(s.vocab * s.seq, 0.0);
                s.host.with_channel_first(&head, s.seq, &mut |head| {
                    s.classify(Values::of(&ranges.classifier, &theta, &half), head, &mut logits);
                });
                Ok(())
            });
        Ok(())
    }

    /// The loss of a forward-only plan.
    fn loss_alone(&mut self) -> Result<(), StepError> {
        let n = self.network;
        let (ranges, s, m, w) = (self.head_ranges()?, self.context(), &n.buffers, self.memory);
        self.graph
            .task("loss")
            .on(self.lane)
            .reads((
                (w.activations.x[n.cfg.layers].clone(), m.windows.clone()),
                (n.params.theta.clone(), ranges.half.clone()),
            ))
            .writes((m.loss.clone(), w.head.clone(), w.scratch.clone()))
            .run(move |((x, windows), (theta, half)), (mut loss, mut head, mut scratch)| {
                let [scratch, ..] = &mut *scratch;
                s.final_norm(&x, &theta[ranges.norm.clone()], &mut head, scratch);
                let of = Targets::of(window(&windows, 0)?)?;
                let mut found = Ok(0.0);
                s.host.with_channel_first(&head, s.seq, &mut |x| {
                    let head = s.head(Values::of(&ranges.classifier, &theta, &half), x, of);
                    found = head.frozen(None, scratch);
                });
                *loss = found?;
                Ok(())
            });
        Ok(())
    }

    /// Logits of one position.
    fn last_logits(&mut self) -> Result<(), StepError> {
        let n = self.network;
        let (ranges, s, m, w) = (self.head_ranges()?, self.context(), &n.buffers, self.memory);
        self.graph
            .task("logits")
            .on(self.lane)
            .reads((
                (w.activations.x[n.cfg.layers].clone(), m.position.clone()),
                (n.params.theta.clone(), ranges.half.clone()),
            ))
            .writes((w.head.clone(), m.last_logits.clone(), w.scratch.clone()))
            .run(move |((x, position), (theta, half)), (mut head, mut logits, mut scratch)| {
                let [scratch, column, _] = &mut *scratch;
                s.final_norm(&x, &theta[ranges.norm.clone()], &mut head, scratch);
                let column = column.take(s.dim);
                s.host.with_channel_first(&head, s.seq, &mut |head| {
                    let values = head.iter().skip(*position).step_by(s.seq);
                    column.iter_mut().zip(values).for_each(|(to, x)| *to = *x);
                });
                logits.resize(s.vocab, 0.0);
                s.classify(Values::of(&ranges.classifier, &theta, &half), column, &mut logits);
                Ok(())
            });
        Ok(())
    }

    /// The loss of a micro-batch and its gradient with respect to the last layer's output; `store` says whether the
    /// classifier's gradient is replaced or added to.
    pub(super) fn loss(&mut self, micro: usize, store: Store) -> Result<(), StepError> {
        if !self.network.is_language() {
            return self.activation_loss(micro);
        }
        match self.head_params()?.1.gradient {
            None => self.frozen_head(micro)?,
            Some(_) if self.network.buffers.positions < self.network.cfg.seq => {
                self.head_by_positions(micro, store)?;
            }
            Some(_) => {
                self.token_loss(micro)?;
                self.head_backward(micro, store)?;
            }
        }
        self.final_norm_backward(micro)
    }

    /// The loss, which leaves exponentials of all logits for [`Builder::head_backward`].
    fn token_loss(&mut self, micro: usize) -> Result<(), StepError> {
        let n = self.network;
        let (ranges, s, m, w) = (self.head_ranges()?, self.context(), &n.buffers, self.memory);
        self.graph
            .task(format!("{micro}.loss"))
            .on(self.lane)
            .reads((w.activations.x[n.cfg.layers].clone(), m.windows.clone(), n.params.theta.clone()))
            .writes((
                m.loss.update(),
                w.scratch.clone(),
                w.logits.clone(),
                w.head.clone(),
                w.head_stats.clone(),
            ))
            .run(move |(x, windows, theta), (mut loss, mut scratch, mut logits, mut head, mut stats)| {
                let [scratch, ..] = &mut *scratch;
                s.final_norm(&x, &theta[ranges.norm.clone()], &mut head, scratch);
                let of = Targets::of(window(&windows, micro)?)?;
                logits.resize(s.vocab * s.seq, 0.0);
                let mut found = Ok(0.0);
                s.host.with_channel_first(&head, s.seq, &mut |x| {
                    let head = s.head((&theta[ranges.classifier.clone()]).into(), x, of);
                    found = head.forward(&mut logits, &mut stats, scratch);
                });
                *loss += found?;
                Ok(())
            });
        Ok(())
    }

    /// From the logits to the gradients of the classifier and of its input.
    fn head_backward(&mut self, micro: usize, store: Store) -> Result<(), StepError> {
        let n = self.network;
        let (_, classifier) = self.head_params()?;
        let gradient = classifier.gradient.as_ref().map(Handle::update);
        let (ranges, s, m, w) = (self.head_ranges()?, self.context(), &n.buffers, self.memory);
        self.graph
            .task(format!("{micro}.head.dx"))
            .on(self.lane)
            .reads((w.logits.clone(), w.head.clone(), m.windows.clone(), n.params.theta.clone()))
            .writes((w.d_head.clone(), w.scratch.clone(), w.head_stats.update(), gradient))
            .run(move |(logits, head, windows, theta), (mut d_head, mut scratch, mut stats, mut sum)| {
                let [scratch, ..] = &mut *scratch;
                let of = Targets::of(window(&windows, micro)?)?;
                let mut to = Some(GradientSum::to(&mut sum, store)?);
                s.host.with_channel_first(&head, s.seq, &mut |x| {
                    let head = s.head((&theta[ranges.classifier.clone()]).into(), x, of);
                    if let Some(to) = to.take() {
                        head.backward(&logits, &mut stats, to, &mut d_head, scratch);
                    }
                });
                Ok(())
            });
        Ok(())
    }

    /// The loss with the gradients of the classifier and of its input, some positions at a time.
    fn head_by_positions(&mut self, micro: usize, store: Store) -> Result<(), StepError> {
        let n = self.network;
        let (_, classifier) = self.head_params()?;
        let gradient = classifier.gradient.as_ref().map(Handle::update);
        let (ranges, s, m, w) = (self.head_ranges()?, self.context(), &n.buffers, self.memory);
        let positions = m.positions;
        self.graph
            .task(format!("{micro}.loss"))
            .on(self.lane)
            .reads((w.activations.x[n.cfg.layers].clone(), m.windows.clone(), n.params.theta.clone()))
            .writes((
                (m.loss.update(), w.scratch.clone(), w.logits.clone()),
                (w.head.clone(), w.d_head.clone(), w.head_stats.clone()),
                gradient,
            ))
            .run(move |(x, windows, theta), (sums, heads, mut sum)| {
                let (mut loss, mut scratch, mut logits) = sums;
                let (mut head, mut d_head, mut stats) = heads;
                let [scratch, columns, _] = &mut *scratch;
                s.final_norm(&x, &theta[ranges.norm.clone()], &mut head, scratch);
                let of = Targets::of(window(&windows, micro)?)?;
                logits.resize(s.vocab * positions, 0.0);
                let mut to = Some(GradientSum::to(&mut sum, store)?);
                let mut found = Ok(0.0);
                s.host.with_channel_first(&head, s.seq, &mut |x| {
                    let head = s.head((&theta[ranges.classifier.clone()]).into(), x, of);
                    let (logits, stats) = (&mut *logits, &mut *stats);
                    let memory = HeadMemory { logits, stats, scratch, columns };
                    if let Some(to) = to.take() {
                        found = head.by_positions(memory, to, &mut d_head);
                    }
                });
                *loss += found?;
                Ok(())
            });
        Ok(())
    }

    /// The loss with the gradient of the input of a frozen classifier.
    fn frozen_head(&mut self, micro: usize) -> Result<(), StepError> {
        let n = self.network;
        let (ranges, s, m, w) = (self.head_ranges()?, self.context(), &n.buffers, self.memory);
        self.graph
            .task(format!("{micro}.loss"))
            .on(self.lane)
            .reads((
                (w.activations.x[n.cfg.layers].clone(), m.windows.clone()),
                (n.params.theta.clone(), ranges.half.clone()),
            ))
            .writes((m.loss.update(), w.scratch.clone(), w.head.clone(), w.d_head.clone()))
            .run(move |((x, windows), (theta, half)), (mut loss, mut scratch, mut head, mut d_head)| {
                let [scratch, ..] = &mut *scratch;
                s.final_norm(&x, &theta[ranges.norm.clone()], &mut head, scratch);
                let of = Targets::of(window(&windows, micro)?)?;
                let mut found = Ok(0.0);
                s.host.with_channel_first(&head, s.seq, &mut |x| {
                    let head = s.head(Values::of(&ranges.classifier, &theta, &half), x, of);
                    found = head.frozen(Some(&mut d_head), scratch);
                });
                *loss += found?;
                Ok(())
            });
        Ok(())
    }

    /// From the gradient of the final norm's output to that of the last layer's output.
    fn final_norm_backward(&mut self, micro: usize) -> Result<(), StepError> {
        let n = self.network;
        let (norm, _) = self.head_params()?;
        let gradient = norm.gradient.as_ref().map(Handle::update);
        let dx = self.host(n.cfg.layers - 1, n.layer.dy)?;
        let (ranges, s, w) = (self.head_ranges()?, self.context(), self.memory);
        self.graph
            .task(format!("{micro}.FinalNorm.dx"))
            .on(self.lane)
            .reads((w.activations.x[n.cfg.layers].clone(), n.params.theta.clone()))
            .writes((dx, w.d_head.update(), w.scratch.clone(), gradient))
            .run(move |(x, theta), (mut dx, mut d_head, mut scratch, mut d_norm)| {
                let [scratch, ..] = &mut *scratch;
                s.host.to_host_layout(&mut d_head, s.seq);
                let gradient = NormGradient {
                    x: &x,
                    weight: &theta[ranges.norm.clone()],
                    dy: &d_head,
                    dx: &mut dx,
                    store: Store::Replace,
                    dw: GradientSum::values_of(&mut d_norm),
                };
                s.host.norm_gradient(&s.norm(s.dim, 1), gradient, scratch);
                GradientSum::record(d_norm);
                Ok(())
            });
        Ok(())
    }

    /// The loss of the last layer's output, and its gradient.
    fn activation_loss(&mut self, micro: usize) -> Result<(), StepError> {
        let n = self.network;
        let (s, m, w) = (self.context(), &n.buffers, self.memory);
        let dx = self.host(n.cfg.layers - 1, n.layer.dy)?;
        self.graph
            .task(format!("{micro}.loss"))
            .on(self.lane)
            .reads((w.activations.x[n.cfg.layers].clone(), m.windows.clone()))
            .writes((m.loss.update(), dx))
            .run(move |(y, windows), (mut loss, mut dy)| {
                let (of, with): (ActivationLoss, _) = match window(&windows, micro)? {
                    Window::Sample { target, .. } => (regression::mse, target),
                    Window::Linear { dy, .. } => (regression::linear, dy),
                    Window::Tokens(_) | Window::Weighted { .. } => {
                        return Err(StepError::internal("a regression model got tokens"));
                    }
                };
                s.host.with_channel_first(&y, s.seq, &mut |y| {
                    *loss += of(y, with, s.loss().scale, &mut dy);
                });
                s.host.to_host_layout(&mut dy, s.seq);
                Ok(())
            });
        Ok(())
    }
}

impl TaskContext {
    /// The final norm of the host's activation `x`.
    fn final_norm(&self, x: &[f32], weight: &[f32], y: &mut [f32], scratch: &mut Scratch) {
        self.host.norm(&self.norm(self.dim, 1), x, weight, y, scratch);
    }

    /// `logits = classifier · x`, bounded: `[V, D] · [D, n]`.
    fn classify(&self, classifier: Elements<'_>, x: &[f32], logits: &mut [f32]) {
        let (v, d, columns) = (self.vocab, self.dim, x.len() / self.dim);
        let (classifier, x) = (Matrix::new(classifier, v, d), Matrix::new(x, d, columns));
        let to = MatrixMut::new(&mut *logits, v, columns);
        matmul(self.math, to, Store::Replace, 1.0, classifier, x);
        if let Some(cap) = self.cap {
            cap.apply(logits);
        }
    }

    /// The classifier with its loss.
    fn head<'a>(&self, weight: Elements<'a>, x: &'a [f32], of: Targets<'a>) -> Head<'a> {
        let Targets { tokens: targets, weights } = of;
        Head { math: self.math, weight, x, targets, weights, cap: self.cap, loss: self.loss() }
    }
}
