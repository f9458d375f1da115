//! Lines of JSON: one record each, which is a text, a prompt with its completion, or a chat.

use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::error::TrainError;

/// The most bytes of a line.
const LONGEST_LINE: u64 = 64 << 20;

/// Some editors write it at the start of UTF-8 files.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The names of the keys that hold a record's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// A text.
    pub text: String,
    /// What comes before a completion.
    pub prompt: String,
    /// What the model is to write after a prompt.
    pub completion: String,
    /// The messages of a chat.
    pub messages: String,
}

impl Default for Keys {
    fn default() -> Self {
        let [text, prompt, completion, messages] =
            ["text", "prompt", "completion", "messages"].map(str::to_owned);
        Self { text, prompt, completion, messages }
    }
}

/// The content of a line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    /// A text.
    Text(String),
    /// A prompt, and what follows it.
    Completion { prompt: String, completion: String },
    /// A chat: its messages, each with a role, and its tools.
    Chat { messages: Vec<Value>, tools: Option<Value> },
}

impl Keys {
    /// The record on a line; the error says what is wrong and what is expected.
    pub(crate) fn record(&self, line: &[u8]) -> Result<Record, String> {
        let value: Value = serde_json::from_slice(line).map_err(|error| {
            let what = error.to_string();
            let what = what.split(" at line ").next().unwrap_or_default();
            format!("it is no JSON: {what} at column {}", error.column())
        })?;
        let Value::Object(mut object) = value else {
            return Err(format!("it is {}, not an object", kind(&value)));
        };
        // Some data sets have all keys in all records, with null where they do not apply.
        object.retain(|_, value| !value.is_null());
        let has = |key: &str| object.contains_key(key);
        if has(&self.messages) {
            return self.chat(object);
        }
        if has(&self.prompt) && has(&self.completion) {
            let (prompt, completion) = (string(&object, &self.prompt)?, string(&object, &self.completion)?);
            return Ok(Record::Completion { prompt, completion });
        }
        if has(&self.text) {
            return Ok(Record::Text(string(&object, &self.text)?));
        }
        let Keys { text, prompt, completion, messages } = self;
        let got: Vec<String> = object.keys().take(8).map(|key| format!("`{key}`")).collect();
        let got = if got.is_empty() { "no keys".to_owned() } else { got.join(", ") };
        Err(format!("it has {got}; expected are `{messages}`, or `{prompt}` and `{completion}`, or `{text}`"))
    }

    fn chat(&self, mut object: Map<String, Value>) -> Result<Record, String> {
        let key = &self.messages;
        let messages = match object.remove(key) {
            Some(Value::Array(messages)) => messages,
            other => {
                let got = other.as_ref().map_or("nothing", kind);
                return Err(format!("`{key}` is {got}, not a list of messages"));
            }
        };
        for (i, message) in messages.iter().enumerate() {
            let Value::Object(message) = message else {
                return Err(format!("`{key}[{i}]` is {}, not an object", kind(message)));
            };
            match message.get("role") {
                Some(Value::String(_)) => {}
                Some(other) => return Err(format!("`{key}[{i}].role` is {}, not a string", kind(other))),
                None => {
                    let has: Vec<String> = message.keys().take(8).map(|key| format!("`{key}`")).collect();
                    return Err(format!(
                        "`{key}[{i}]` has {}; expected are `role` and `content`",
                        if has.is_empty() { "no keys".to_owned() } else { has.join(", ") }
                    ));
                }
            }
            match message.get("content") {
                Some(Value::String(_) | Value::Array(_) | Value::Null) => {}
                None if message.contains_key("tool_calls") => {}
                Some(other) => return Err(format!("`{key}[{i}].content` is {}, not a string", kind(other))),
                None => return Err(format!("`{key}[{i}]` has no `content`")),
            }
        }
        match object.remove("tools") {
            None => Ok(Record::Chat { messages, tools: None }),
            Some(tools @ Value::Array(_)) => Ok(Record::Chat { messages, tools: Some(tools) }),
            Some(other) => Err(format!("`tools` is {}, not a list", kind(&other))),
        }
    }
}

fn string(object: &Map<String, Value>, key: &str) -> Result<String, String> {
    match object.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        other => Err(format!("`{key}` is {}, not a string", other.map_or("nothing", kind))),
    }
}

/// What a JSON value is, with its article.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The lines of a file that are not blank, with their numbers, counted from 1.
pub(crate) struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: u64,
}

impl Lines {
    /// # Errors
    /// [`TrainError::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self, TrainError> {
        let file = File::open(path).map_err(TrainError::io("read", path))?;
        Ok(Self { path: path.to_owned(), reader: BufReader::with_capacity(1 << 20, file), number: 0 })
    }

    fn read(&mut self) -> Result<Option<(u64, Vec<u8>)>, TrainError> {
        loop {
            let mut line = Vec::new();
            let read = (&mut self.reader).take(LONGEST_LINE + 1).read_until(b'\n', &mut line);
            if read.map_err(TrainError::io("read", &self.path))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if line.len() as u64 > LONGEST_LINE {
                let problem = format!("it has more than {} MiB", LONGEST_LINE >> 20);
                return Err(TrainError::Record { path: self.path.clone(), line: self.number, problem });
            }
            if self.number == 1 && line.starts_with(BYTE_ORDER_MARK) {
                line.drain(..BYTE_ORDER_MARK.len());
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some((self.number, line)));
            }
        }
    }
}

impl Iterator for Lines {
    type Item = Result<(u64, Vec<u8>), TrainError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// Whether the first line of the file `path` that is not blank is a JSON object.
///
/// # Errors
/// [`TrainError::Io`].
pub(super) fn is_json_lines(path: &Path) -> Result<bool, TrainError> {
    let file = File::open(path).map_err(TrainError::io("read", path))?;
    let mut reader = BufReader::new(file);
    // Most files are text: their first byte decides.
    loop {
        let buffer = reader.fill_buf().map_err(TrainError::io("read", path))?;
        let bytes = buffer.strip_prefix(BYTE_ORDER_MARK).unwrap_or(buffer);
        match bytes.trim_ascii_start().first() {
            Some(b'{') => break,
            Some(_) => return Ok(false),
            None if buffer.is_empty() => return Ok(false),
            None => {
                let read = buffer.len();
                reader.consume(read);
            }
        }
    }
    match Lines::open(path)?.next() {
        Some(Ok((_, line))) => Ok(serde_json::from_slice::<Map<String, Value>>(&line).is_ok()),
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problem(line: &str) -> String {
        Keys::default().record(line.as_bytes()).unwrap_err()
    }

    #[test]
    fn each_kind_of_record_is_told_by_its_keys() {
        let keys = Keys::default();
        let record = |value: Value| keys.record(value.to_string().as_bytes()).expect("a record");
        assert_eq!(record(json!({"text": "a", "id": 7})), Record::Text("a".to_owned()));
        assert_eq!(
            record(json!({"prompt": "a", "completion": "b", "text": "c", "messages": null})),
            Record::Completion { prompt: "a".to_owned(), completion: "b".to_owned() }
        );
        let messages =
            vec![json!({"role": "user", "content": "a"}), json!({"role": "assistant", "tool_calls": []})];
        assert_eq!(
            record(json!({"messages": messages, "tools": [1]})),
            Record::Chat { messages: messages.clone(), tools: Some(json!([1])) }
        );
        let own = Keys { messages: "turns".to_owned(), text: "story".to_owned(), ..Keys::default() };
        assert_eq!(own.record(br#"{"story": "a", "text": 1}"#), Ok(Record::Text("a".to_owned())));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        for (line, want) in [
            ("{\"text\": \"a}", "it is no JSON: EOF while parsing a string at column 12"),
            ("[1]", "it is a list, not an object"),
            ("{}", "it has no keys; expected are `messages`, or `prompt` and `completion`, or `text`"),
            ("{\"a\": 1, \"prompt\": \"\"}", "it has `a`, `prompt`; expected are"),
            ("{\"text\": 3}", "`text` is a number, not a string"),
            ("{\"prompt\": [], \"completion\": \"\"}", "`prompt` is a list, not a string"),
            ("{\"messages\": {}}", "`messages` is an object, not a list of messages"),
            ("{\"messages\": [1]}", "`messages[0]` is a number, not an object"),
            (
                "{\"messages\": [{\"from\": \"human\", \"value\": \"\"}]}",
                "`messages[0]` has `from`, `value`; expected are `role` and `content`",
            ),
            ("{\"messages\": [{\"role\": 1}]}", "`messages[0].role` is a number, not a string"),
            ("{\"messages\": [{\"role\": \"user\"}]}", "`messages[0]` has no `content`"),
            ("{\"messages\": [], \"tools\": \"x\"}", "`tools` is a string, not a list"),
        ] {
            let got = problem(line);
            assert!(got.starts_with(want), "{line}: {got}");
        }
    }
}
