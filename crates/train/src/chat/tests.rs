//! Templates beside transformers, and the parts that the assistant wrote.

use super::*;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/chat")
}

fn read(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder().join(name)).expect("a recorded file"))
        .expect("JSON")
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn template(name: &str, record: &Value) -> Template {
    let text = std::fs::read_to_string(folder().join("templates").join(format!("{name}.jinja")))
        .expect("a template");
    let time = UNIX_EPOCH + Duration::from_secs(record["time"].as_u64().expect("a time"));
    Template::new(&text, None, object(&record["special"])).expect(name).at(time)
}

/// Each template with each conversation: the text that transformers makes, or a refusal where it refuses.
#[test]
fn texts_are_those_of_transformers() {
    let (record, conversations) = (read("rendered.json"), read("conversations.json"));
    let (mut texts, mut refusals, mut wrong) = (0, 0, Vec::new());
    for (name, cases) in object(&record["cases"]) {
        let template = template(&name, &record);
        for (chat, want) in object(&cases) {
            let given = &conversations[&chat];
            let variables = object(&given["variables"]);
            let conversation = Conversation {
                messages: given["messages"].as_array().expect("messages"),
                tools: given.get("tools"),
                variables: Some(&variables),
            };
            let got = template.render(&conversation, given["add_generation_prompt"] == true);
            match (got, want["text"].as_str()) {
                (Ok(got), Some(want)) if got == want => texts += 1,
                (Err(_), None) => refusals += 1,
                (got, want) => wrong.push(format!("{name}, {chat}:\n got {got:?}\nwant {want:?}")),
            }
            let Some(parts) = want.get("parts").filter(|_| given["add_generation_prompt"] != true) else {
                continue;
            };
            let answers = template.answers(&conversation).expect("rendered");
            let got: Vec<_> = answers.parts.iter().map(|part| [part.start, part.end]).collect();
            if json!(got) != *parts || want["text"] != answers.text.as_str() {
                wrong.push(format!("{name}, {chat}: parts {got:?}, not {parts}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(texts > 100 && refusals > 5, "{texts} texts, {refusals} refusals");
}

fn chat(turns: &[(&str, &str)]) -> Vec<Value> {
    turns.iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
}

#[test]
fn answers_are_what_each_adds_to_the_messages_before_it() {
    let record = read("rendered.json");
    let messages = chat(&[("user", "One?"), ("assistant", "Uno"), ("user", "Two?"), ("assistant", "Dos")]);
    let conversation = Conversation { messages: &messages, ..Conversation::default() };
    for (name, want) in [
        ("smollm2", ["Uno<|im_end|>\n", "Dos<|im_end|>\n"]),
        ("qwen2_5", ["Uno<|im_end|>\n", "Dos<|im_end|>\n"]),
        ("llama2", [" Uno </s>", " Dos </s>"]),
        ("llama3_1", ["Uno<|eot_id|>", "Dos<|eot_id|>"]),
        ("gemma", ["Uno<end_of_turn>\n", "Dos<end_of_turn>\n"]),
    ] {
        let answers = template(name, &record).answers(&conversation).expect(name);
        let got: Vec<&str> = answers.parts.iter().map(|part| &answers.text[part.clone()]).collect();
        assert_eq!((got.as_slice(), answers.last_only), (&want[..], false), "{name}");
    }
}

#[test]
fn an_earlier_answer_that_is_written_otherwise_later_is_left_out() {
    let record = read("rendered.json");
    let messages = chat(&[
        ("user", "One?"),
        ("assistant", "<think>\nhm\n</think>\n\nUno"),
        ("user", "Two?"),
        ("assistant", "<think>\nhm\n</think>\n\nDos"),
    ]);
    let conversation = Conversation { messages: &messages, ..Conversation::default() };
    // The template drops the thoughts of all answers but the last.
    let answers = template("qwen3", &record).answers(&conversation).expect("rendered");
    let got: Vec<&str> = answers.parts.iter().map(|part| &answers.text[part.clone()]).collect();
    assert_eq!(got, ["<think>\nhm\n</think>\n\nDos<|im_end|>\n"]);
    assert!(answers.last_only);

    let reversed =
        Template::new("{% for m in messages | reverse %}{{ m.content }};{% endfor %}", None, Map::new());
    let error = reversed.expect("parsed").answers(&conversation).unwrap_err();
    assert!(error.to_string().contains("which part of the text the assistant wrote"), "{error}");
}

#[test]
fn ends_of_lines_in_templates_are_one_character() {
    let template =
        Template::new("{% if true %}\r\na\rb\r\n{% endif %}\r\nc\r\n", None, Map::new()).expect("parsed");
    assert_eq!(template.render(&Conversation::default(), false).expect("rendered"), "a\nb\nc");
}

#[test]
fn marks_in_messages_are_text() {
    let template = Template::new(
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}\n{% endfor %}",
        None,
        Map::new(),
    );
    let messages = chat(&[("assistant", "a\u{fdd0}<b\u{fdd0}>c")]);
    let conversation = Conversation { messages: &messages, ..Conversation::default() };
    let answers = template.expect("parsed").answers(&conversation).expect("rendered");
    assert_eq!(&answers.text[answers.parts[0].clone()], "a\u{fdd0}<b\u{fdd0}>c");
    assert_eq!(answers.parts.len(), 1);
}

#[test]
fn refusals_name_the_line_and_the_reason() {
    let mistake = Template::new("a\n{% if %}", None, Map::new()).unwrap_err().to_string();
    assert!(mistake.starts_with("the chat template, line 2: syntax error"), "{mistake}");
    let conversation = Conversation::default();
    for (text, want) in [
        (
            "\n\n{{ raise_exception('no, ' ~ 'no') }}",
            "the chat template, line 3: it refuses this chat: no, no",
        ),
        ("{{ messages[0].content + 1 }}", "the chat template, line 1: "),
        ("{{ strftime_now('%Q') }}", "`strftime_now` does not know `%Q`"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "fuel"),
    ] {
        let error = Template::new(text, None, Map::new()).expect("parsed").render(&conversation, false);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(want), "{text}: {error}");
    }
}

#[test]
fn a_model_names_its_template_in_several_places() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    let load = || {
        let metadata = crate::formats::FolderMetadata::read(folder.path()).expect("metadata");
        Template::of(&metadata, None).expect("parsed")
    };
    write("config.json", "{}");
    assert!(load().is_none());
    write(
        "tokenizer_config.json",
        r#"{"bos_token": {"content": "<B>"}, "chat_template": [
            {"name": "default", "template": "{{ bos_token }}plain"}, {"name": "tool_use", "template": "tools"}]}"#,
    );
    let render = |tools: Option<&Value>| {
        load()
            .expect("a template")
            .render(&Conversation { tools, ..Conversation::default() }, false)
            .expect("rendered")
    };
    assert_eq!(render(None), "<B>plain");
    assert_eq!(render(Some(&json!([{"name": "f"}]))), "tools");
    write("chat_template.json", r#"{"chat_template": "of json"}"#);
    assert_eq!(render(None), "of json");
    write("chat_template.jinja", "of jinja{{ eos_token }}");
    assert_eq!(render(None), "of jinja");
}
