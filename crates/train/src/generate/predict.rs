//! What predicts the next token.

use crate::decode::{Conversation, Session};
use crate::run::RunError;
use crate::step::Network;

/// Predicts the token after others.
pub trait Predict {
    /// The logits `[V]` after `tokens`; `None` if there is no position for another one.
    ///
    /// # Errors
    /// If a token is out of range, or the engine fails.
    fn predict(&mut self, tokens: &[u32]) -> Result<Option<Vec<f32>>, RunError>;
}

/// A forward pass over the whole window for each token: for a network of training. It sees the last S tokens.
#[derive(Debug)]
pub struct Whole<'a> {
    network: &'a Network,
    window: Vec<u32>,
    is_checked: bool,
}

impl<'a> Whole<'a> {
    /// Predicts with `network`.
    pub fn new(network: &'a Network) -> Whole<'a> {
        Whole { network, window: vec![0; network.cfg.seq + 1], is_checked: false }
    }
}

impl Predict for Whole<'_> {
    fn predict(&mut self, tokens: &[u32]) -> Result<Option<Vec<f32>>, RunError> {
        let seen = &tokens[tokens.len().saturating_sub(self.network.cfg.seq)..];
        // Attention is causal: tokens after the last one do not matter.
        self.window.fill(0);
        self.window[..seen.len()].copy_from_slice(seen);
        if !std::mem::replace(&mut self.is_checked, true) && self.network.hides_infinity() {
            self.network.check_range(&self.window)?;
        }
        Ok(Some(self.network.logits_at(&self.window, seen.len() - 1)?))
    }
}

/// A conversation of a session: each token is computed once.
#[derive(Debug)]
pub struct Cached<'a> {
    session: &'a mut Session,
    conversation: &'a mut Conversation,
    /// Whether the oldest tokens are forgotten when there are no more positions.
    slides: bool,
    /// Tokens that were forgotten.
    forgotten: usize,
}

impl<'a> Cached<'a> {
    /// Predicts with a conversation of `session`, which keeps what it has in common with the tokens. If it `slides`, the older
    /// half of the tokens is forgotten when there is no position for another; the newer half is then computed anew.
    pub fn new(session: &'a mut Session, conversation: &'a mut Conversation, slides: bool) -> Cached<'a> {
        Cached { session, conversation, slides, forgotten: 0 }
    }
}

impl Predict for Cached<'_> {
    fn predict(&mut self, tokens: &[u32]) -> Result<Option<Vec<f32>>, RunError> {
        let context = self.session.context();
        if tokens.len() - self.forgotten > context {
            if !self.slides {
                return Ok(None);
            }
            self.forgotten = tokens.len() - context.div_ceil(2);
        }
        Ok(Some(self.session.follow(self.conversation, &tokens[self.forgotten..])?))
    }
}
