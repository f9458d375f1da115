//! A model that decodes.

use super::cache::Conversation;
use super::kernels::LARGEST_CHUNK;
use super::loaded::Loaded;
use super::pass::{self, Next, Workspace};
use super::weights::ModelWeights;
use crate::config::{ModelConfig, RopeScaling};
use crate::model::Precision;
use crate::step::{StepError, hides_infinity};
use ane::{Device, Pool};
use host::error::check_tokens;
use host::range::count_beyond;

/// A model on an engine, for decoding.
#[derive(Debug)]
pub struct Session {
    model: Loaded,
    work: Workspace,
    pool: Pool,
}

impl Session {
    /// The model `cfg` with its weights on `device`, for conversations of at most `cfg.seq` tokens; they
    /// may be more than those of the windows that it was trained with only where the scaling of RoPE allows that. RoPE has the
    /// frequencies that a window of `cfg.seq` tokens has. If `host_norms`, the host computes norms of the residual stream, in f32.
    ///
    /// # Errors
    /// `Weights`, if the model has another number of weights; `WeightRange`, if a weight does not fit into `precision`; or if the device fails.
    pub fn new<'w>(
        cfg: &ModelConfig,
        weights: impl Into<ModelWeights<'w>>,
        device: Box<dyn Device>,
        pool: Pool,
        (precision, host_norms): (Precision, bool),
    ) -> Result<Session, StepError> {
        let weights = weights.into();
        let (want, got) = (cfg.param_count(), weights.theta.len());
        if want != got {
            return Err(StepError::Weights { want, got });
        }
        let model = pool.install(|| Loaded::new(cfg, weights, device, (precision, host_norms)))?;
        Ok(Session { model, work: Workspace::default(), pool })
    }

    /// The configuration; `seq` is the most tokens of a conversation.
    pub fn cfg(&self) -> &ModelConfig {
        &self.model.cfg
    }

    /// Compiles the programs that the first tokens of a conversation need.
    ///
    /// # Errors
    /// If the engine refuses one.
    pub fn prepare(&mut self) -> Result<(), StepError> {
        self.model.prepare(&self.pool)
    }

    /// A conversation without tokens.
    pub fn conversation(&self) -> Conversation {
        Conversation::default()
    }

    /// The most tokens of a conversation.
    pub fn context(&self) -> usize {
        self.model.cfg.seq
    }

    /// The bytes of weights that decoding one token reads, and those of all weights.
    pub fn weight_bytes(&self) -> (usize, usize) {
        self.model.weights.bytes()
    }

    /// The number of programs compiled so far.
    pub fn programs(&self) -> usize {
        self.model.kernels.count()
    }

    /// The engine.
    pub fn device(&self) -> &dyn Device {
        self.model.kernels.device.as_ref()
    }

    /// Adds `tokens` to a conversation, and returns the logits `[V]` after the last one.
    ///
    /// # Errors
    /// `Context`, if they do not fit into it, and none is added; if a token is out of range, there is none, a logit is not finite, or the
    /// device fails. The conversation then has the tokens of the passes before.
    pub fn prefill(
        &mut self,
        conversation: &mut Conversation,
        tokens: &[u32],
    ) -> Result<Vec<f32>, StepError> {
        self.check_room(conversation.tokens.len() + tokens.len())?;
        let mut logits = Vec::new();
        let chunks = tokens.len().div_ceil(LARGEST_CHUNK);
        for (i, chunk) in tokens.chunks(LARGEST_CHUNK).enumerate() {
            let mut next = [Next { conversation: &mut *conversation, tokens: chunk }];
            logits = self.pass(&mut next, i + 1 == chunks)?;
        }
        logits.pop().ok_or_else(|| StepError::internal("no tokens to add to a conversation"))
    }

    /// Makes `tokens` the tokens of a conversation, and returns the logits `[V]` after the last one. The tokens that both begin
    /// with are not computed again.
    ///
    /// # Errors
    /// As [`Session::prefill`].
    pub fn follow(&mut self, conversation: &mut Conversation, tokens: &[u32]) -> Result<Vec<f32>, StepError> {
        let same = conversation.tokens.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        // The last token is computed in any case: its logits are wanted.
        let kept = self.truncate(conversation, same.min(tokens.len().saturating_sub(1)));
        self.prefill(conversation, &tokens[kept..])
    }

    /// Adds one token to each of several conversations, and returns the logits `[V]` after each. The products with weights are
    /// done for all together.
    ///
    /// # Errors
    /// As [`Session::prefill`].
    pub fn decode(&mut self, next: &mut [(&mut Conversation, u32)]) -> Result<Vec<Vec<f32>>, StepError> {
        let mut logits = Vec::with_capacity(next.len());
        for some in next.chunks_mut(LARGEST_CHUNK) {
            let tokens: Vec<[u32; 1]> = some.iter().map(|(_, token)| [*token]).collect();
            let each = some.iter_mut().zip(&tokens);
            let mut next: Vec<Next<'_>> =
                each.map(|((conversation, _), tokens)| Next { conversation, tokens }).collect();
            logits.extend(self.pass(&mut next, true)?);
        }
        Ok(logits)
    }

    /// Forgets all tokens of a conversation but the first `len`; returns how many are left. These are none where a layer with a
    /// sliding window no longer has the keys that the next token sees.
    pub fn truncate(&self, conversation: &mut Conversation, len: usize) -> usize {
        conversation.truncate(len, &self.model.windows())
    }

    fn pass(&mut self, next: &mut [Next<'_>], with_logits: bool) -> Result<Vec<Vec<f32>>, StepError> {
        for Next { conversation, tokens } in next.iter() {
            self.check_room(conversation.tokens.len() + tokens.len())?;
            check_tokens("input", tokens, self.model.cfg.vocab)?;
        }
        let pool = self.pool.clone();
        let is_checked = hides_infinity(self.device(), &self.model.cfg);
        let logits = pool.busy(|| {
            let logits = pass::run(&mut self.model, &mut self.work, next, (with_logits, is_checked))?;
            if logits.iter().all(|logits| count_beyond(logits, f32::MAX) == 0) {
                return Ok(logits);
            }
            // The same pass again finds the first value that left its range.
            let found = match pass::run(&mut self.model, &mut self.work, next, (false, true)) {
                Err(StepError::NotFinite { found, .. }) => found,
                Err(other) => return Err(other),
                Ok(_) => None,
            };
            Err(StepError::NotFinite { what: "a logit", found })
        })?;
        for Next { conversation, tokens } in next.iter_mut() {
            conversation.tokens.extend_from_slice(tokens);
        }
        Ok(logits)
    }

    fn check_room(&self, got: usize) -> Result<(), StepError> {
        let want = self.model.cfg.seq;
        if got <= want { Ok(()) } else { Err(StepError::Context { want, got }) }
    }
}

/// The most positions of a model: those of its windows, more only where the scaling of RoPE follows the length.
pub fn most_positions(cfg: &ModelConfig) -> usize {
    match cfg.variant.scaling {
        RopeScaling::Dynamic { .. } => usize::MAX,
        _ => cfg.seq,
    }
}
