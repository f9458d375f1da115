//! Errors of building a model's kernels.

/// An error of building a model's kernels.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ModelError {
    #[error("the layer is not a valid program: {0}")]
    Layer(#[from] mil::Report),
    #[error("the layer has no gradient: {0}")]
    Gradient(#[from] mil::grad::GradError),
    #[error("the plan does not fit the layer: {0}")]
    Cut(#[from] mil::pass::CutError),
    #[error("kernel `{kernel}` does not fit on surfaces: {source}")]
    Pack { kernel: String, source: ane::pack::PackError },
    #[error("no kernel of the plan computes {value} of the layer")]
    Unprovided { value: String },
}
