//! A chat template: reading it from a model, and rendering a conversation with it.

use minijinja::value::{Serde, Value as Jinja};
use minijinja::{Environment, Error};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::SystemTime;

use super::dialect::{Raised, environment, set_time};
use super::generation::{MARKS, rewritten};
use crate::error::TrainError;
use crate::formats::FolderMetadata;
use crate::fs::read_limited;
use crate::tokenizer::Tokenizer;

/// The template for models without one whose tokenizer has the marks of ChatML: each message between `<|im_start|>` with its
/// role and `<|im_end|>`.
pub const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] \
     + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// The most bytes of a template.
const LARGEST: u64 = 1 << 20;

/// Names of special tokens that a template can use.
const SPECIAL: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// What a template is rendered with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conversation<'a> {
    /// The messages: objects with `role` and `content`, and whatever else the template reads.
    pub messages: &'a [Value],
    /// Descriptions of the tools that the assistant can call, a list.
    pub tools: Option<&'a Value>,
    /// Further variables of the template, such as `enable_thinking`.
    pub variables: Option<&'a Map<String, Value>>,
}

/// A chat template.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    text: String,
    /// Whether the template has another text for conversations with tools.
    for_tools: bool,
    /// Whether it marks what the assistant wrote.
    marks_answers: bool,
    /// Whether it asks for the time.
    tells_time: bool,
    special: Map<String, Value>,
}

/// Names of the templates in the environment.
const NAMES: [&str; 2] = ["chat template", "chat template for tools"];

impl Template {
    /// The template of a model, with the texts of its special tokens; `None` if it has none.
    ///
    /// A file `chat_template.jinja` comes first, then `chat_template.json` and the key `chat_template` of
    /// `tokenizer_config.json`, which can be a list of templates with names: `default`, and `tool_use` for conversations with
    /// tools.
    ///
    /// # Errors
    /// [`TrainError::ChatTemplate`] if it has a mistake of syntax.
    pub fn of(metadata: &FolderMetadata, tokenizer: Option<&Tokenizer>) -> Result<Option<Self>, TrainError> {
        let special = special_tokens(metadata, tokenizer);
        let object = |name: &str| {
            let bytes = metadata.companion_bytes(name).unwrap_or_default();
            serde_json::from_slice::<Value>(bytes).unwrap_or_default()
        };
        let found = match metadata.companion("chat_template.jinja") {
            Some(text) => Value::from(text),
            None => ["chat_template.json", "tokenizer_config.json"]
                .into_iter()
                .filter_map(|name| object(name).get("chat_template").cloned())
                .find(|found| !found.is_null())
                .unwrap_or_default(),
        };
        let named = |wanted: &str| {
            let list = found.as_array()?;
            let one = list.iter().find(|one| one["name"] == wanted)?;
            one["template"].as_str()
        };
        match found.as_str().or_else(|| named("default")) {
            Some(text) => Self::new(text, named("tool_use"), special).map(Some),
            None => Ok(None),
        }
    }

    /// Parses a template that is no model's; special tokens are those of the model.
    ///
    /// # Errors
    /// [`TrainError::ChatTemplate`] for a mistake of syntax.
    pub fn parse(
        text: &str,
        metadata: &FolderMetadata,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Self, TrainError> {
        Self::new(text, None, special_tokens(metadata, tokenizer))
    }

    /// Reads and parses the template in the file `path`; special tokens are those of the model.
    ///
    /// # Errors
    /// [`TrainError::Io`], [`TrainError::NotUtf8`], or as [`Template::parse`].
    pub fn read(
        path: &Path,
        metadata: &FolderMetadata,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Self, TrainError> {
        let text = String::from_utf8(read_limited(path, "chat template's", LARGEST)?).map_err(|error| {
            let offset = error.utf8_error().valid_up_to() as u64;
            TrainError::NotUtf8 { path: path.to_owned(), offset }
        })?;
        Self::parse(&text, metadata, tokenizer)
    }

    /// Parses a template; `special` holds the texts of special tokens by their names, such as `bos_token`.
    pub(super) fn new(
        text: &str,
        for_tools: Option<&str>,
        special: Map<String, Value>,
    ) -> Result<Self, TrainError> {
        let mut environment = environment();
        let (mut marks_answers, mut tells_time) = (false, false);
        for (name, text) in NAMES.into_iter().zip([Some(text), for_tools]) {
            let Some(text) = text else { continue };
            // Jinja reads all ends of lines as one character.
            let (text, marks) = rewritten(&text.replace("\r\n", "\n").replace('\r', "\n"));
            marks_answers |= marks;
            tells_time |= text.contains("strftime_now");
            environment.add_template_owned(name, text).map_err(|error| refused(&error))?;
        }
        Ok(Self {
            environment,
            text: text.to_owned(),
            for_tools: for_tools.is_some(),
            marks_answers,
            tells_time,
            special,
        })
    }

    /// As it is, with `now` as the time of `strftime_now`, which is otherwise the time of rendering.
    #[must_use]
    pub fn at(mut self, now: SystemTime) -> Self {
        set_time(&mut self.environment, Some(now));
        self
    }

    /// Whether what it renders can depend on the time, by `strftime_now`.
    pub fn tells_time(&self) -> bool {
        self.tells_time
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Renders a conversation. `add_generation_prompt` adds what stands before an answer of the assistant.
    ///
    /// Its tokens are those of [`Tokenizer::encode_rendered`]: the text has all marks, so the tokenizer adds none.
    ///
    /// # Errors
    /// [`TrainError::ChatTemplate`] if the template refuses the conversation or fails.
    pub fn render(&self, chat: &Conversation<'_>, add_generation_prompt: bool) -> Result<String, TrainError> {
        self.render_marked(chat, add_generation_prompt, ["", ""])
    }

    /// Whether the template marks what the assistant wrote.
    pub(super) fn marks_answers(&self) -> bool {
        self.marks_answers
    }

    /// As [`Template::render`], with `marks` around what the template says the assistant wrote.
    pub(super) fn render_marked(
        &self,
        chat: &Conversation<'_>,
        add_generation_prompt: bool,
        marks: [&str; 2],
    ) -> Result<String, TrainError> {
        let tools = chat.tools.filter(|tools| !tools.is_null());
        let mut context = self.special.clone();
        let messages: Vec<Value> = chat.messages.iter().map(with_reasoning).collect();
        context.insert("messages".to_owned(), messages.into());
        context.insert("tools".to_owned(), tools.cloned().unwrap_or_default());
        context.insert("documents".to_owned(), Value::Null);
        context.insert("add_generation_prompt".to_owned(), json!(add_generation_prompt));
        for (name, mark) in MARKS.into_iter().zip(marks) {
            context.insert(name.to_owned(), json!(mark));
        }
        context.extend(chat.variables.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        let name = NAMES[usize::from(self.for_tools && tools.is_some())];
        let rendered =
            self.environment.get_template(name).and_then(|t| t.render(Jinja::from(Serde(&context))));
        rendered.map_err(|error| refused(&error))
    }
}

/// Names of an answer's thoughts, the usual one first.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A message with its thoughts under the names that templates read, as transformers has them.
fn with_reasoning(message: &Value) -> Value {
    let mut message = message.clone();
    if let Value::Object(object) = &mut message
        && let Some(thoughts) = REASONING
            .iter()
            .filter_map(|name| object.get(*name))
            .find(|thoughts| !thoughts.is_null())
            .cloned()
    {
        if !object.contains_key("thinking") {
            object.insert("thinking".to_owned(), thoughts.clone());
        }
        object.insert("reasoning_content".to_owned(), thoughts);
    }
    message
}

/// The error of a template.
fn refused(error: &Error) -> TrainError {
    let mut source = std::error::Error::source(error);
    let mut raised = false;
    while let Some(inner) = source {
        raised |= inner.is::<Raised>();
        source = inner.source();
    }
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let problem = match raised {
        true => format!("it refuses this chat: {detail}"),
        false => format!("{}: {detail}", error.kind()),
    };
    TrainError::ChatTemplate { line: error.line(), problem }
}

/// The texts of special tokens by their names: those that the model's files name, by text or id, else those that the tokenizer
/// has.
fn special_tokens(metadata: &FolderMetadata, tokenizer: Option<&Tokenizer>) -> Map<String, Value> {
    let (mut special, mut named) = (Map::new(), Vec::new());
    for file in ["tokenizer_config.json", "special_tokens_map.json"] {
        let bytes = metadata.companion_bytes(file).unwrap_or_default();
        let settings: Value = serde_json::from_slice(bytes).unwrap_or_default();
        for name in SPECIAL {
            // A token that is said to be null is none.
            let Some(found) = settings.get(name).filter(|_| !named.contains(&name)) else { continue };
            named.push(name);
            if let Some(text) = found.as_str().or_else(|| found["content"].as_str()) {
                special.insert(name.to_owned(), json!(text));
            }
        }
    }
    let text_of = |token: Option<u32>| {
        let tokenizer = tokenizer?;
        Some(String::from_utf8_lossy(tokenizer.bytes_of(token?)).into_owned())
    };
    for (name, key, guessed) in [
        ("bos_token", "bos_token_id", tokenizer.and_then(Tokenizer::start)),
        ("eos_token", "eos_token_id", tokenizer.and_then(Tokenizer::end)),
    ] {
        let token = metadata.token_id(key).or(guessed);
        if let Some(text) = text_of(token)
            && !named.contains(&name)
        {
            special.insert(name.to_owned(), json!(text));
        }
    }
    special
}
