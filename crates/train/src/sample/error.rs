//! Errors of sampling.

/// An error of sampling.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// The temperature is negative or not a number.
    #[error("temperature {got} is invalid: it must be a number of at least 0")]
    Temperature {
        /// The invalid value.
        got: f64,
    },
    /// The share of probability to keep is not in 0..=1.
    #[error("top-p {got} is invalid: it must be above 0 and at most 1")]
    TopP {
        /// The invalid value.
        got: f64,
    },
    /// An option is not in its range.
    #[error("{what} {got} is invalid: it must be {want}")]
    Option {
        /// The option.
        what: &'static str,
        /// The invalid value.
        got: f64,
        /// The valid values.
        want: &'static str,
    },
    /// There is a bias for a token that the vocabulary does not have.
    #[error("the logit bias of token {token}: the model has {vocab} tokens")]
    Bias {
        /// The token.
        token: u32,
        /// V.
        vocab: usize,
    },
    /// A logit is NaN or +∞.
    #[error("the model's logit for token {token} is {got}")]
    Logit {
        /// The token with that logit.
        token: u32,
        /// The logit.
        got: f32,
    },
    /// No token has a logit above −∞, or there are none.
    #[error("none of the model's {vocab} logits allows a token")]
    Nothing {
        /// The number of logits.
        vocab: usize,
    },
}

impl SampleError {
    /// What the user can do about it, if anything: one sentence, imperative.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Temperature { .. } => {
                Some("Use 0 for the likeliest token each time, or a value around 0.8.")
            }
            Self::TopP { .. } => Some("Use 1 to allow every token, or a value around 0.95."),
            Self::Option { .. } => None,
            Self::Bias { .. } => Some("Name tokens by their ids: `--json` shows those of a text."),
            Self::Logit { .. } | Self::Nothing { .. } => {
                Some("Generate from an earlier checkpoint: this model's weights are not usable.")
            }
        }
    }
}
