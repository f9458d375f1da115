//! Norms of queries and keys on the host, between the kernel that makes them and the kernel that turns them.

use super::{Network, StepError};
use crate::model::NormSite;

impl Network {
    /// A norm of the forward pass that no kernel computes, of what a kernel has written.
    pub(super) fn head_norm_forward(&self, layer: usize, site: &NormSite) -> Result<(), StepError> {
        let (Some(place), Some(to)) = (self.place(Some(layer), site.kind), self.role(site.output)) else {
            return Ok(());
        };
        let theta = self.theta.read()?;
        let weight = &theta[self.specs[place].range()];
        let norm = self.norm(weight.len(), site.groups);
        let [scratch, x, transposed] = &mut *self.buffers.scratch.lock()?;
        let x = x.take(self.elements(site.input));
        self.download(layer, site.input, x)?;
        let mut y = self.activation(layer, to).write()?;
        if !self.options.vector_norms {
            norm.forward_scalar(self.options.layout, x, weight, &mut y);
            return Ok(());
        }
        self.to_channel_first(x, transposed);
        norm.forward(x, weight, &mut y, scratch);
        self.from_channel_first(&mut y, transposed);
        Ok(())
    }
}
