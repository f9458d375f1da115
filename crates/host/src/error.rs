//! Errors of the host's maths.

/// Invalid data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A token has no row in the embedding, or no logit.
    #[error("token {token} at position {position} of the {role}: the vocabulary has {vocab} tokens")]
    TokenOutOfRange {
        /// The role of the tokens: `"input"` or `"targets"`.
        role: &'static str,
        /// Position in the sequence, counted from 0.
        position: usize,
        /// The invalid token.
        token: u32,
        /// V, the size of the vocabulary.
        vocab: usize,
    },
}

impl HostError {
    /// What the user can do about it, if anything: one sentence, imperative.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::TokenOutOfRange { .. } => Some(
                "Encode the data with the tokenizer of this model, or set the model's vocabulary to the tokenizer's size.",
            ),
        }
    }
}

/// Checks that every token is below `vocab`.
pub fn check_tokens(role: &'static str, tokens: &[u32], vocab: usize) -> Result<(), HostError> {
    match tokens.iter().position(|&token| token as usize >= vocab) {
        None => Ok(()),
        Some(position) => Err(HostError::TokenOutOfRange { role, position, token: tokens[position], vocab }),
    }
}
