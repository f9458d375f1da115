//! What is asked of a model.

use serde_json::{Map, Value};

/// A conversation to be answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chat {
    /// The messages: objects with `role` and `content`, which is a string or null.
    pub messages: Vec<Value>,
    /// The tools that the answer may call, a list.
    pub tools: Option<Value>,
    /// Further variables of the chat template.
    pub variables: Map<String, Value>,
}

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 takes the likeliest token.
    pub temperature: f64,
    /// The number of likeliest tokens to choose from; 0: all.
    pub top_k: usize,
    /// The probability mass to choose from.
    pub top_p: f64,
    /// Tokens with less than this share of the likeliest one's probability are left out.
    pub min_p: f64,
    /// Logits of tokens that there are already are divided by it if positive, and multiplied otherwise.
    pub repetition_penalty: f64,
    /// Subtracted from the logits of tokens that the text has.
    pub presence_penalty: f64,
    /// Subtracted from the logits of tokens, as often as the text has them.
    pub frequency_penalty: f64,
    /// Added to the logits of tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Seed of the draws.
    pub seed: u64,
}

/// What text is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct TextOptions {
    /// The most tokens; `None`: as many as there is room for.
    pub tokens: Option<usize>,
    /// How they are chosen.
    pub sampling: Sampling,
    /// The text ends before the first of these.
    pub stops: Vec<String>,
    /// The text ends at these tokens, too.
    pub stop_ids: Vec<u32>,
    /// Whether tokens that end texts are ruled out.
    pub ignore_end: bool,
    /// With the logarithms of probabilities: of each token, and of so many of the likeliest ones in its place.
    pub logprobs: Option<usize>,
}

/// Something that a model cannot do, for the one who asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What is wrong, and what would help: sentences.
    pub message: String,
}

impl Refusal {
    /// A refusal with this message.
    pub fn new(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into() }
    }
}

/// A token with the logarithm of its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Likely {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability in the model.
    pub logprob: f64,
}

/// A token of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Token {
    /// The token, if [`TextOptions::logprobs`] asks for it.
    pub own: Option<Likely>,
    /// The likeliest ones in its place, the likeliest first.
    pub top: Vec<Likely>,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// At a token that ends texts, or before a stop string.
    Stop,
    /// It has as many tokens as were asked for, or as there is room for.
    Length,
}

impl Finish {
    /// OpenAI's word.
    pub fn reason(self) -> &'static str {
        match self {
            Finish::Stop => "stop",
            Finish::Length => "length",
        }
    }
}

/// What a text has got.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// The text that is certain now; may be empty.
    pub text: String,
    /// The token; `None` if it only ended the text.
    pub token: Option<Token>,
    /// Whether that was the end, and why.
    pub finish: Option<Finish>,
}

/// What came of reading a part of a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// There is more to read.
    More,
    /// All is read, and this is the first piece of the text.
    First(Piece),
}

/// Makes tokens of what was asked. Several threads use it.
pub trait Language: Send + Sync + 'static {
    /// The tokens of a conversation, up to where the answer begins.
    ///
    /// # Errors
    /// If the model has no template for conversations, or that refuses this one.
    fn chat(&self, chat: &Chat) -> Result<Vec<u32>, Refusal>;

    /// The tokens of a text that is to be continued.
    ///
    /// # Errors
    /// If the text has no tokens in the vocabulary.
    fn prompt(&self, text: &str) -> Result<Vec<u32>, Refusal>;

    /// V: tokens are below.
    fn vocab(&self) -> usize;
}

/// Writes texts, several at once, on one thread.
pub trait Writer: Send + 'static {
    /// A text under way.
    type Text;

    /// Begins a text after the tokens `prompt`, of which nothing is read yet.
    ///
    /// # Errors
    /// If the options make no sense.
    fn begin(&mut self, prompt: Vec<u32>, options: TextOptions) -> Result<Self::Text, Refusal>;

    /// Reads the next part of a text's prompt: so much that other texts do not wait long.
    ///
    /// # Errors
    /// If the model fails; the text is then over.
    fn read(&mut self, text: &mut Self::Text) -> Result<Reading, Refusal>;

    /// Adds a token to each of some texts whose prompts are read and which have not ended: their pieces, in this order.
    fn write(&mut self, texts: &mut [&mut Self::Text]) -> Vec<Result<Piece, Refusal>>;

    /// Takes back a text that has ended, or that nobody wants any longer.
    fn end(&mut self, text: Self::Text);
}
