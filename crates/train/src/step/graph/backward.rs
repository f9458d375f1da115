//! The backward pass of the layers, and the gradients of their weights.

use super::super::StepError;
use super::super::buffers::Activation;
use super::super::params::GradientSum;
use super::builder::{Builder, tokens, window};
use crate::config::ParamKind;
use crate::model::{BiasGrad, NormSite, WeightGrad};
use crate::step::Operand;
use flow::Handle;
use host::gemm::Elements;
use host::norm::NormGradient;
use host::squared_norms::Gradient;
use host::{Store, bias, embed};
use mil::ValueId;

impl Builder<'_> {
    /// The backward pass of micro-batch `micro`, from the gradient of the last layer's output.
    pub(super) fn backward(&mut self, micro: usize, store: Store) -> Result<(), StepError> {
        let n = self.network;
        // Layers before the first with a trained weight need no backward pass, unless what is before all of them does.
        let trained = |layer| n.params.trained().any(|p| p.spec.layer == Some(layer));
        let embeds = n.is_language() && n.params.get(None, ParamKind::Embedding)?.gradient.is_some();
        let first = if embeds { 0 } else { (0..n.cfg.layers).find(|&l| trained(l)).unwrap_or(n.cfg.layers) };
        for layer in (first..n.cfg.layers).rev() {
            self.backward_layer(micro, layer, store)?;
        }
        if !embeds {
            return Ok(());
        }
        let dx = self.host(0, self.network.layer.cotangent(self.network.layer.x)?)?;
        match self.network.buffers.embedded_of(micro) {
            None => self.embedding_gradient(micro, dx),
            Some(kept) => {
                let task = self.graph.task(format!("{micro}.embed.dx")).on(self.lane);
                task.reads(dx).writes(kept.clone()).run(|dx, mut kept| {
                    kept.copy_from_slice(&dx);
                    Ok(())
                });
                Ok(())
            }
        }
    }

    /// Ends window `micro` of `windows`: the last one of a group adds the gradients of the group's embedded tokens.
    pub(super) fn end_window(&mut self, micro: usize, windows: usize) -> Result<(), StepError> {
        let group = self.network.buffers.d_embedded.len();
        if group == 0 || !(micro + 1).is_multiple_of(group) && micro + 1 < windows {
            return Ok(());
        }
        for micro in micro / group * group..=micro {
            if let Some(dx) = self.network.buffers.embedded_of(micro) {
                self.embedding_gradient(micro, dx.clone())?;
            }
        }
        Ok(())
    }

    /// The backward kernels of a layer in order; after each, the host's work that its outputs make possible.
    fn backward_layer(&mut self, micro: usize, l: usize, store: Store) -> Result<(), StepError> {
        let n = self.network;
        let (layer, specs) = (&n.layer, &n.kernels.specs);
        let mut waiting: Vec<WeightGrad> = layer.weight_grads.clone();
        let mut biases: Vec<BiasGrad> = layer.bias_grads.clone();
        let mut norms: Vec<NormSite> = layer.norms.clone();
        let mut known: Vec<ValueId> = vec![layer.dy];
        self.dropout(&format!("{micro}.L{l}.dropout.dx"), micro, l);
        self.norm_gradients(micro, l, &mut norms, &mut known)?;
        self.matrix_gradients(micro, l, store, (&mut waiting, &known))?;
        self.bias_gradients(micro, l, &mut biases, &known)?;
        for k in specs.forward..specs.kernels.len() {
            self.kernel(format!("{micro}.L{l}.{}", specs.kernels[k].name), k, l)?;
            known.extend(specs.kernels[k].outputs.iter().map(|o| o.value));
            self.norm_gradients(micro, l, &mut norms, &mut known)?;
            self.matrix_gradients(micro, l, store, (&mut waiting, &known))?;
            self.bias_gradients(micro, l, &mut biases, &known)?;
        }
        if n.context.host.waits_for_each_layer() {
            let of = |outer: &WeightGrad| n.params.gradient_of(l, outer.kind).cloned();
            let gradients: Vec<_> = layer.weight_grads.iter().filter_map(of).collect();
            self.graph.task(format!("{micro}.L{l}.wait")).on(self.lane).reads(gradients).run(|_, ()| Ok(()));
        }
        Ok(())
    }

    /// Schedules the backward pass of the norms among `waiting` whose output's gradient is `known`; those of their inputs are
    /// known then.
    fn norm_gradients(
        &mut self,
        micro: usize,
        l: usize,
        waiting: &mut Vec<NormSite>,
        known: &mut Vec<ValueId>,
    ) -> Result<(), StepError> {
        let layer = &self.network.layer;
        loop {
            let is_ready = |site: &NormSite| layer.cotangent(site.output).is_ok_and(|dy| known.contains(&dy));
            let Some(place) = waiting.iter().position(is_ready) else { return Ok(()) };
            let site = waiting.remove(place);
            self.norm_backward(format!("{micro}.L{l}.{:?}.dx", site.kind), l, &site)?;
            known.push(layer.cotangent(site.input)?);
        }
    }

    /// The backward pass of a norm: the gradient of its input, including the gradient of the residual path.
    fn norm_backward(&mut self, name: String, layer: usize, site: &NormSite) -> Result<(), StepError> {
        let n = self.network;
        let param = n.params.get(Some(layer), site.kind)?;
        let (weight, dw) = (param.spec.range(), param.gradient.as_ref().map(Handle::update));
        let dy = self.value(layer, n.layer.cotangent(site.output)?)?;
        let x = self.value(layer, site.input)?;
        let past = site.past.map(|v| self.host(layer, n.layer.cotangent(v)?)).transpose()?;
        let dx = self.host(layer, n.layer.cotangent(site.input)?)?;
        let norm = n.context.norm(param.spec.count(), site.groups);
        let (elements, s) = (n.layer.elements(site.output), self.context());
        self.graph
            .task(name)
            .on(self.lane)
            .reads((dy, x, past, n.params.theta.clone()))
            .writes((dx, dw, self.memory.scratch.clone()))
            .run(move |(dy, x, past, theta), (mut dx, mut dw, mut scratch)| {
                let [scratch, dy_values, x_values] = &mut *scratch;
                let (dy_values, x_values) = (dy_values.take(elements), x_values.take(elements));
                s.download(&dy, dy_values)?;
                s.download(&x, x_values)?;
                let store = match &past {
                    Some(past) => {
                        dx.copy_from_slice(past);
                        Store::Add
                    }
                    None => Store::Replace,
                };
                let gradient = NormGradient {
                    x: x_values,
                    weight: &theta[weight.clone()],
                    dy: dy_values,
                    dx: &mut dx,
                    store,
                    dw: GradientSum::values_of(&mut dw),
                };
                s.host.norm_gradient(&norm, gradient, scratch);
                GradientSum::record(dw);
                Ok(())
            });
        Ok(())
    }

    /// Schedules the matrix gradients among `waiting` whose cotangent is `known`.
    fn matrix_gradients(
        &mut self,
        micro: usize,
        layer: usize,
        store: Store,
        (waiting, known): (&mut Vec<WeightGrad>, &[ValueId]),
    ) -> Result<(), StepError> {
        let (ready, rest) = waiting.iter().partition(|outer| known.contains(&outer.dz));
        *waiting = rest;
        let ready: Vec<WeightGrad> = ready;
        for outer in ready {
            if let Some(dw) = self.network.params.gradient_of(layer, outer.kind) {
                let name = format!("{micro}.L{layer}.{:?}.dw", outer.kind);
                self.matrix_gradient(name, layer, &outer, dw, store)?;
            }
        }
        Ok(())
    }

    fn matrix_gradient(
        &mut self,
        name: String,
        layer: usize,
        outer: &WeightGrad,
        dw: &Handle<GradientSum>,
        store: Store,
    ) -> Result<(), StepError> {
        let operands = (self.value(layer, outer.dz)?, self.value(layer, outer.a)?);
        let s = self.context();
        self.graph.task(name).on(self.gradient_lane).reads(operands).writes(dw.update()).run(
            move |(dz, a), mut dw| {
                let GradientSum { values, squares } = &mut *dw;
                let product = dz.with(|dz, is_host| {
                    let dz = Operand { elements: dz, is_host };
                    a.with(|a, is_host| {
                        let to = Gradient { values, squares, store };
                        s.host.weight_gradient(s.math, to, [dz, Operand { elements: a, is_host }], s.seq);
                    })
                });
                Ok(product??)
            },
        );
        Ok(())
    }

    /// Schedules the gradients of biases among `waiting` whose cotangent is `known`.
    fn bias_gradients(
        &mut self,
        micro: usize,
        layer: usize,
        waiting: &mut Vec<BiasGrad>,
        known: &[ValueId],
    ) -> Result<(), StepError> {
        let (ready, rest) = waiting.iter().partition(|bias| known.contains(&bias.dz));
        *waiting = rest;
        let ready: Vec<BiasGrad> = ready;
        for BiasGrad { kind, dz } in ready {
            let Some(db) = self.network.params.gradient_of(layer, kind) else { continue };
            let (dz, s) = (self.value(layer, dz)?, self.context());
            let name = format!("{micro}.L{layer}.{kind:?}.db");
            self.graph.task(name).on(self.gradient_lane).reads(dz).writes(db.update()).run(
                move |dz, mut db| {
                    let GradientSum { values, squares } = &mut *db;
                    dz.with(|dz, is_host| match dz {
                        Elements::F32(dz) if is_host => s.host.with_channel_first(dz, s.seq, &mut |dz| {
                            bias::add_row_sums(values, dz.into(), s.seq);
                        }),
                        dz => bias::add_row_sums(values, dz, s.seq),
                    })?;
                    squares.take(0, values);
                    Ok(())
                },
            );
        }
        Ok(())
    }

    /// Adds `dx`, the gradient of the embedded tokens, to that of the embedding.
    fn embedding_gradient(&mut self, micro: usize, dx: Activation) -> Result<(), StepError> {
        let n = self.network;
        let Some(dw) = &n.params.get(None, ParamKind::Embedding)?.gradient else { return Ok(()) };
        let s = self.context();
        self.graph
            .task(format!("{micro}.embed.dw"))
            .on(self.gradient_lane)
            .reads((dx, n.buffers.windows.clone()))
            .writes((dw.update(), self.memory.gradient_scratch.clone()))
            .run(move |(dx, windows), (mut dw, mut scratch)| {
                let tokens = &tokens(window(&windows, micro)?)?[..s.seq];
                let GradientSum { values, squares } = &mut *dw;
                let mut added = Ok(());
                s.host.with_channel_first(&dx, s.seq, &mut |dx| {
                    added = embed::scatter_add(values, squares, s.rows, tokens, dx, &mut scratch);
                });
                Ok(added?)
            });
        Ok(())
    }
}
