//! How a step is carried out around its kernels.

use crate::host::Layout;

/// Choices of the host that change how long a step takes, never what it computes: the same bits come of all of them.
///
/// The default is the fast one of each; the others are there to be measured against (`bench::ablation`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepOptions {
    /// How the host's activations lie. Surfaces are channel-first, so what is row-major is transposed on its way there and
    /// back, and wherever the host itself wants columns.
    pub layout: Layout,
    /// Whether the host's norms go by vectors and on all threads, and not one number after the other.
    pub vector_norms: bool,
    /// Whether gradients of matrices are computed on the cpu's lane, beside dispatches, and not in line with them.
    pub gradients_beside: bool,
    /// Whether the gradients of a layer's matrices may be computed until somebody needs them or their operands' memory,
    /// and not only until the layer's backward pass ends.
    pub deferred_waits: bool,
}

impl Default for StepOptions {
    fn default() -> StepOptions {
        StepOptions {
            layout: Layout::ChannelFirst,
            vector_norms: true,
            gradients_beside: true,
            deferred_waits: true,
        }
    }
}
