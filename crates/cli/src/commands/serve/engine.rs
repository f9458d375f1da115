//! The model that writes texts.

use super::language::refused;
use ::serve::{Finish, Likely, Piece, Reading, Refusal, Sampling, TextOptions, Token, Writer};
use train::decode::{Conversation, Session};
use train::generate::{Language, TextStream};
use train::sample::{Sampler, SamplingOptions, logprob};
use train::tokenizer::Tokenizer;

/// Tokens of a prompt that are read at a time: those of one pass.
const CHUNK: usize = 256;

/// A model on an engine.
pub struct Engine {
    session: Session,
    tokenizer: &'static Tokenizer,
    /// Tokens that end texts, besides special ones; and all that do.
    ends: (Vec<u32>, Vec<u32>),
    /// The most tokens of a text with its prompt.
    context: usize,
    /// Conversations of texts that have ended, the oldest first: the next one may begin likewise.
    idle: Vec<Conversation>,
    /// The most conversations, and those in use.
    slots: (usize, usize),
}

/// A text under way.
pub struct Text {
    conversation: Conversation,
    prompt: Vec<u32>,
    /// Tokens of the prompt that are read.
    read: usize,
    /// The token that is read next.
    last: u32,
    sampler: Sampler,
    stream: TextStream<'static>,
    /// Tokens that may still come.
    left: usize,
    stop_ids: Vec<u32>,
    ignore_end: bool,
    logprobs: Option<usize>,
}

impl Engine {
    pub fn new(
        session: Session,
        tokenizer: &'static Tokenizer,
        ends: Vec<u32>,
        (context, slots): (usize, usize),
    ) -> Engine {
        let language = Language { tokenizer, ends: &ends };
        let vocab = session.cfg().vocab as u32;
        let all = (0..vocab).filter(|&token| language.ends_a_text(token)).collect();
        Engine { session, tokenizer, ends: (ends, all), context, idle: Vec::new(), slots: (slots, 0) }
    }

    /// A conversation for a text after `prompt`: an idle one that the text goes on with, else a new one, else the oldest.
    fn conversation(&mut self, prompt: &[u32]) -> Conversation {
        let same = |idle: &Conversation| idle.tokens().iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let (most, used) = &mut self.slots;
        *used += 1;
        let best = (0..self.idle.len()).max_by_key(|&i| same(&self.idle[i]));
        let is_full = *used + self.idle.len() > *most;
        let mut conversation = match best.filter(|&i| 2 * same(&self.idle[i]) > self.idle[i].tokens().len()) {
            Some(best) => self.idle.remove(best),
            None if is_full && !self.idle.is_empty() => self.idle.remove(0),
            None => self.session.conversation(),
        };
        // The last token is read in any case: what follows it is wanted.
        let kept = same(&conversation).min(prompt.len().saturating_sub(1));
        self.session.truncate(&mut conversation, kept);
        conversation
    }

    /// Chooses the token after those of a text.
    fn choose(&self, text: &mut Text, logits: &mut [f32]) -> Result<Piece, Refusal> {
        let language = Language { tokenizer: self.tokenizer, ends: &self.ends.0 };
        language.rule_out(logits, &text.stop_ids);
        if text.ignore_end {
            self.ends.1.iter().for_each(|&end| logits[end as usize] = f32::NEG_INFINITY);
        }
        let next = text.sampler.next(logits).map_err(|e| refused(&e))?.token;
        if language.ends_a_text(next) || text.stop_ids.contains(&next) {
            return Ok(Piece { text: text.stream.finish(), token: None, finish: Some(Finish::Stop) });
        }
        let likely = |token: u32| Likely {
            bytes: self.tokenizer.bytes_of(token).to_vec(),
            logprob: logprob(logits, token),
        };
        let token = Token {
            own: text.logprobs.map(|_| likely(next)),
            top: likeliest(logits, text.logprobs.unwrap_or(0)).into_iter().map(likely).collect(),
        };
        (text.last, text.left) = (next, text.left.saturating_sub(1));
        let mut piece = Piece { text: text.stream.push(next), token: Some(token), finish: None };
        if text.stream.is_stopped() {
            piece.finish = Some(Finish::Stop);
        } else if text.left == 0 {
            piece.finish = Some(Finish::Length);
            piece.text.push_str(&text.stream.finish());
        }
        Ok(piece)
    }
}

impl Writer for Engine {
    type Text = Text;

    fn begin(&mut self, prompt: Vec<u32>, options: TextOptions) -> Result<Text, Refusal> {
        let TextOptions { tokens, sampling, stops, stop_ids, ignore_end, logprobs } = options;
        let mut sampler = Sampler::new(sampling_options(sampling)).map_err(|e| refused(&e))?;
        sampler.note_prompt(&prompt);
        let room = self.context.saturating_sub(prompt.len());
        let stream = TextStream::new(self.tokenizer, &prompt, &stops);
        let conversation = self.conversation(&prompt);
        Ok(Text {
            read: conversation.tokens().len(),
            conversation,
            prompt,
            last: 0,
            sampler,
            stream,
            left: tokens.map_or(room, |tokens| tokens.min(room)),
            stop_ids,
            ignore_end,
            logprobs,
        })
    }

    fn read(&mut self, text: &mut Text) -> Result<Reading, Refusal> {
        let end = text.prompt.len().min(text.read + CHUNK);
        let tokens = &text.prompt[text.read..end];
        let mut logits = self.session.prefill(&mut text.conversation, tokens).map_err(|e| refused(&e))?;
        text.read = end;
        match end < text.prompt.len() {
            true => Ok(Reading::More),
            false => self.choose(text, &mut logits).map(Reading::First),
        }
    }

    fn write(&mut self, texts: &mut [&mut Text]) -> Vec<Result<Piece, Refusal>> {
        let mut next: Vec<_> = texts.iter_mut().map(|text| (&mut text.conversation, text.last)).collect();
        let logits = match self.session.decode(&mut next) {
            Ok(logits) => logits.into_iter().map(Ok).collect(),
            Err(error) if next.len() == 1 => vec![Err(refused(&error))],
            // One of them is at fault, and the others need not suffer for it.
            Err(_) => next.iter_mut().map(|one| self.alone(one)).collect(),
        };
        let each = texts.iter_mut().zip(logits);
        each.map(|(text, logits)| self.choose(text, &mut logits?)).collect()
    }

    fn end(&mut self, text: Text) {
        self.slots.1 -= 1;
        self.idle.push(text.conversation);
    }
}

impl Engine {
    /// The logits after one more token of one conversation.
    fn alone(&mut self, next: &mut (&mut Conversation, u32)) -> Result<Vec<f32>, Refusal> {
        self.session.prefill(next.0, &[next.1]).map_err(|e| refused(&e))
    }
}

/// The `count` likeliest tokens, the likeliest first; of equals the lowest.
fn likeliest(logits: &[f32], count: usize) -> Vec<u32> {
    let mut best: Vec<u32> = Vec::with_capacity(count + 1);
    for (token, &logit) in (0u32..).zip(logits) {
        let at = best.partition_point(|&other| logits[other as usize] >= logit);
        if at < count {
            best.insert(at, token);
            best.truncate(count);
        }
    }
    best
}

fn sampling_options(sampling: Sampling) -> SamplingOptions {
    let Sampling { temperature, top_k, top_p, min_p, .. } = sampling;
    SamplingOptions {
        temperature,
        top_k,
        top_p,
        min_p,
        repetition_penalty: sampling.repetition_penalty,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        logit_bias: sampling.logit_bias,
        seed: sampling.seed,
    }
}

#[cfg(test)]
mod tests {
    use super::likeliest;

    #[test]
    fn the_likeliest_come_first() {
        let logits = [1.0, 3.0, f32::NEG_INFINITY, 3.0, 2.0];
        assert_eq!(likeliest(&logits, 3), [1, 3, 4]);
        assert_eq!(likeliest(&logits, 9), [1, 3, 4, 0, 2]);
        assert!(likeliest(&logits, 0).is_empty());
    }
}
