//! Host activations as they lie: channel-first as on surfaces, or row-major and transposed at every border.

use super::network::Role;
use super::{Network, StepError};
use crate::host::gemm::{Elements, Store};
use crate::host::norm::RmsNorm;
use crate::host::squared_norms::Gradient;
use crate::host::transpose::transpose;
use crate::host::{Layout, Scratch, weight_grad};
use crate::model::NormSite;
use ane::{Block, Surface};
use mil::ValueId;
use softane::convert;

impl Network {
    /// Whether the host's activations are transposed at borders.
    pub(super) fn is_row_major(&self) -> bool {
        self.options.layout == Layout::RowMajor
    }

    /// Turns an activation that was just computed, `[C, S]`, into what the host keeps.
    pub(super) fn from_channel_first(&self, values: &mut [f32], scratch: &mut Scratch) {
        self.turn_in_place(values, values.len() / self.cfg.seq, self.cfg.seq, scratch);
    }

    /// Turns an activation that the host has kept into `[C, S]`.
    pub(super) fn to_channel_first(&self, values: &mut [f32], scratch: &mut Scratch) {
        self.turn_in_place(values, self.cfg.seq, values.len() / self.cfg.seq, scratch);
    }

    fn turn_in_place(&self, values: &mut [f32], rows: usize, columns: usize, scratch: &mut Scratch) {
        if self.is_row_major() {
            let copy = scratch.take(values.len());
            copy.copy_from_slice(values);
            transpose(copy, rows, columns, values);
        }
    }

    /// Puts an activation that the host has kept on a surface.
    pub(super) fn upload(&self, surface: &Surface, block: &Block, values: &[f32]) -> Result<(), StepError> {
        if !self.is_row_major() {
            return Ok(surface.write_block(block, values)?);
        }
        let scratch = &mut *self.buffers.transposed.lock()?;
        let transposed = scratch.take(values.len());
        transpose(values, self.cfg.seq, values.len() / self.cfg.seq, transposed);
        Ok(surface.write_block(block, transposed)?)
    }

    /// Copies a value of `layer` from wherever it is, widened, as the host keeps it; `transposed` is as long as `out`.
    fn fetch_by(
        &self,
        layer: usize,
        v: ValueId,
        out: &mut [f32],
        transposed: &mut [f32],
    ) -> Result<(), StepError> {
        let kept = self.role(v).is_some() || !self.is_row_major();
        let to = if kept { &mut *out } else { &mut *transposed };
        self.with_value(layer, v, |elements| match elements {
            Elements::F16(from) => convert::par_widen(from, to),
            Elements::F32(from) => to.copy_from_slice(from),
        })?;
        if !kept {
            transpose(transposed, out.len() / self.cfg.seq, self.cfg.seq, out);
        }
        Ok(())
    }

    /// As [`Network::fetch_by`], for tasks of the engine's lane.
    pub(super) fn download(&self, layer: usize, v: ValueId, out: &mut [f32]) -> Result<(), StepError> {
        let scratch = &mut *self.buffers.transposed.lock()?;
        let transposed = scratch.take(if self.is_row_major() { out.len() } else { 0 });
        self.converting.time(|| self.fetch_by(layer, v, out, transposed))
    }

    /// The gradient of a matrix from row-major operands, fetched like any other.
    pub(super) fn gradient_of_rows(
        &self,
        layer: usize,
        [dz, a]: [ValueId; 2],
        dw: Gradient<'_>,
    ) -> Result<(), StepError> {
        let scratch = &mut *self.buffers.gradient_scratch.lock()?;
        let [outputs, inputs] = [dz, a].map(|v| self.elements(v));
        let all = scratch.take(2 * (outputs + inputs));
        let (rows, transposed) = all.split_at_mut(outputs + inputs);
        let (dz_rows, a_rows) = rows.split_at_mut(outputs);
        self.fetch_by(layer, dz, dz_rows, &mut transposed[..outputs])?;
        self.fetch_by(layer, a, a_rows, &mut transposed[..inputs])?;
        weight_grad::outer_product_of_rows(self.math(), dw, dz_rows, a_rows, self.cfg.seq);
        Ok(())
    }

    /// A norm of channel-first activations.
    pub(super) fn norm_columns(
        &self,
        norm: &RmsNorm,
        x: &[f32],
        weight: &[f32],
        y: &mut [f32],
        scratch: &mut Scratch,
    ) {
        match self.options.vector_norms {
            true => norm.forward(x, weight, y, scratch),
            false => norm.forward_scalar(Layout::ChannelFirst, x, weight, y),
        }
    }

    /// A norm of the forward pass that no kernel computes.
    pub(super) fn norm_forward(&self, layer: usize, site: &NormSite) -> Result<(), StepError> {
        if self.role(site.input).is_none() {
            return self.head_norm_forward(layer, site);
        }
        let (Some(place), Some(from), Some(to)) =
            (self.place(Some(layer), site.kind), self.role(site.input), self.role(site.output))
        else {
            return Ok(());
        };
        let theta = self.theta.read()?;
        let weight = &theta[self.specs[place].range()];
        let norm = self.norm(weight.len(), site.groups);
        let (x, mut y) = (self.activation(layer, from).read()?, self.activation(layer, to).write()?);
        if !self.options.vector_norms {
            norm.forward_scalar(self.options.layout, &x, weight, &mut y);
            return Ok(());
        }
        let [scratch, transposed, _] = &mut *self.buffers.scratch.lock()?;
        if !self.is_row_major() {
            norm.forward(&x, weight, &mut y, scratch);
            return Ok(());
        }
        let columns = transposed.take(x.len());
        transpose(&x, self.cfg.seq, x.len() / self.cfg.seq, columns);
        norm.forward(columns, weight, &mut y, scratch);
        self.from_channel_first(&mut y, transposed);
        Ok(())
    }

    /// The backward pass of `norm`, of activations as the host keeps them; `x` and `dy` may be transposed on the way.
    #[expect(clippy::too_many_arguments, reason = "each is one tensor of the formula")]
    pub(super) fn norm_backward_kept(
        &self,
        norm: &RmsNorm,
        x: &mut [f32],
        weight: &[f32],
        dy: &mut [f32],
        dx: &mut [f32],
        store: Store,
        dw: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), StepError> {
        if !self.options.vector_norms {
            norm.backward_scalar(self.options.layout, x, weight, dy, dx, store, dw, scratch);
            return Ok(());
        }
        let transposed = &mut *self.buffers.transposed.lock()?;
        [&mut *x, &mut *dy, &mut *dx]
            .into_iter()
            .for_each(|values| self.to_channel_first(values, transposed));
        norm.backward(x, weight, dy, dx, store, dw, scratch);
        self.from_channel_first(dx, transposed);
        Ok(())
    }

    /// The host's memory of a kind of activation.
    pub(super) fn activation(&self, layer: usize, role: Role) -> &super::buffers::Activation {
        let b = &self.buffers;
        match role {
            Role::X => &b.x[layer],
            Role::X2 => &b.x2[layer],
            Role::Dy => &b.dx[(layer + 1) % b.dx.len()],
            Role::Dx2 => &b.dx2[layer % b.dx2.len()],
            Role::DHead(i) => &b.d_heads[layer % b.d_heads.len()][i],
            Role::Normed(site) => &b.normed[site][layer],
        }
    }
}
