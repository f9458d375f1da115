//! Text generation and chats.

use crate::place::{Place, trained};
use serde_json::{Value, json};

/// The only text of `generate --json`.
fn text(place: &Place, args: &str) -> Value {
    let all = place.succeed(&format!("generate --model run --prompt whether --json {args}")).json();
    let texts = all["texts"].as_array().expect("texts").clone();
    assert!(all["prompt_tokens"].as_u64() > Some(0) && texts.len() == 1, "{all}");
    texts[0].clone()
}

#[test]
fn json_has_tokens_with_their_probabilities() {
    let place = trained();
    let one = text(&place, "--tokens 6 --temperature 0");
    let (ids, logprobs) = (one["ids"].as_array().expect("ids"), one["logprobs"].as_array().expect("numbers"));
    assert_eq!((ids.len(), logprobs.len(), &one["finish"]), (6, 6, &json!("length")));
    assert!(logprobs.iter().all(|p| p.as_f64().is_some_and(|p| p < 0.0)), "{one}");
    assert!(one["seconds_to_first"].as_f64() > Some(0.0), "{one}");
    // The text is what is streamed without `--json`.
    let streamed = place.succeed("generate --model run --prompt whether --tokens 6 --temperature 0").stdout;
    assert_eq!(streamed.trim_end(), format!("whether{}", one["text"].as_str().expect("a text")).trim_end());
    // A token that ends the text: the second one, which is then no part of it.
    let second = &ids[1];
    let ended = text(&place, &format!("--tokens 6 --temperature 0 --stop-id {second}"));
    assert_eq!((&ended["finish"], &ended["end_id"]), (&json!("stop"), second));
    let first_of = ids.iter().position(|id| id == second).expect("the second");
    assert_eq!(ended["ids"].as_array().expect("ids").as_slice(), &ids[..first_of]);
}

#[test]
fn a_text_ends_before_a_stop_string() {
    let place = trained();
    let whole = text(&place, "--tokens 30 --temperature 0")["text"].as_str().expect("a text").to_owned();
    let stop: String = whole.chars().skip(5).take(4).collect();
    let mut command =
        place.command("generate --model run --prompt whether --json --tokens 30 --temperature 0");
    let output = command.args(["--stop", &stop, "--stop", "never in it"]).output().expect("run");
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let want = &whole[..whole.find(&stop).expect("there")];
    assert_eq!((&shown["texts"][0]["text"], &shown["texts"][0]["finish"]), (&json!(want), &json!("stop")));
}

#[test]
fn several_texts_have_seeds_that_follow_one_another() {
    let place = trained();
    let several = place.succeed("generate --model run --prompt to --tokens 9 --seed 5 --n 3 --json").json();
    for i in 0..3 {
        let one = &several["texts"][i];
        assert_eq!(one["seed"], json!(5 + i));
        let alone = place
            .succeed(&format!("generate --model run --prompt to --tokens 9 --seed {} --json", 5 + i))
            .json();
        assert_eq!(one["ids"], alone["texts"][0]["ids"], "text {i}");
    }
}

#[test]
fn a_prompt_comes_from_a_file_or_from_stdin() {
    let place = trained();
    place.write("prompt.txt", "whether");
    let args = "generate --model run --tokens 5 --seed 3";
    let given = place.succeed(&format!("{args} --prompt whether")).stdout;
    assert_eq!(place.succeed(&format!("{args} --prompt-file prompt.txt")).stdout, given);
    let piped = place.command(&format!("{args} --prompt -")).write_stdin("whether").output().expect("run");
    assert_eq!(String::from_utf8_lossy(&piped.stdout), given);
    let missing = place.run(&format!("{args} --prompt-file nothing.txt"));
    assert!(missing.code == Some(2) && missing.stderr.contains("nothing.txt"), "{}", missing.stderr);
    let both = place.run(&format!("{args} --prompt a --prompt-file prompt.txt"));
    assert_eq!(both.code, Some(2), "{}", both.stderr);
}

/// The window of `tiny` has 32 positions or so: more is refused, or the oldest are forgotten.
#[test]
fn positions_beyond_the_window_are_refused_or_slide() {
    let place = trained();
    let args = "generate --model run --prompt whether --seed 1";
    let refused = place.run(&format!("{args} --tokens 5000"));
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("do not fit into the model's window"), "{}", refused.stderr);
    // The remedy works as it is printed.
    let at = refused.stderr.find("--tokens ").expect("a remedy") + "--tokens ".len();
    let room: String = refused.stderr[at..].chars().take_while(char::is_ascii_digit).collect();
    let ids = |args: &str| {
        let shown = place.succeed(&format!("{args} --json")).json();
        shown["texts"][0]["ids"].as_array().expect("ids").len()
    };
    assert!(ids(&format!("{args} --temperature 0 --tokens {room}")) <= room.parse().expect("a number"));
    assert!(ids(args) > 0);
    let far = room.parse::<usize>().expect("a number") + 40;
    let slid = text(&place, &format!("--seed 1 --slide --tokens {far} --logit-bias 0=-inf"));
    assert_eq!(slid["ids"].as_array().expect("ids").len(), far, "{slid}");
}

#[test]
fn options_of_sampling_are_checked() {
    let place = trained();
    let args = "generate --model run --prompt a --tokens 2";
    for (flags, want) in [
        ("--min-p 2", "min-p 2 is invalid"),
        ("--repetition-penalty 0", "repetition penalty"),
        ("--logit-bias 99999=1", "the logit bias of token 99999"),
        ("--logit-bias x", "a token's id"),
    ] {
        let outcome = place.run(&format!("{args} {flags}"));
        assert_eq!(outcome.code, Some(2), "{flags}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(want), "{flags}: {}", outcome.stderr);
    }
    place.succeed(&format!(
        "{args} --top-k 5 --min-p 0.05 --repetition-penalty 1.2 --presence-penalty -0.5 --frequency-penalty 0.5"
    ));
}

/// The exit code, the output and the messages of a chat with this input; there is a plain template for it.
fn chat(place: &Place, args: &str, input: &str) -> (Option<i32>, String, String) {
    place.write("template.jinja", "{% for m in messages %}{{ m.content }}\n{% endfor %}");
    let output = place.command(args).write_stdin(input).output().expect("run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const CHAT: &str = "chat --model run --chat-template template.jinja --tokens 3 --temperature 0";

#[test]
fn a_chat_without_a_terminal_answers_each_line() {
    let place = trained();
    let (code, out, err) = chat(&place, CHAT, "to be\n\nor\n/save chat.jsonl\n/reset\nto be\n");
    assert_eq!((code, err.as_str()), (Some(0), "saved to `chat.jsonl`\n"), "{out}");
    let saved: Value = serde_json::from_slice(&place.read("chat.jsonl")).expect("JSON");
    let roles: Vec<&str> =
        saved["messages"].as_array().expect("a list").iter().filter_map(|m| m["role"].as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
    let answer = |at: usize| saved["messages"][at]["content"].as_str().expect("a text").to_owned();
    assert!(out.starts_with(&answer(1)), "{out}");
    // After `/reset` the chat begins anew.
    assert!(out.trim_end().ends_with(answer(1).trim_end()), "{out}");
    // What the model is told first is a message, too.
    let (_, _, _) =
        chat(&place, &format!("{CHAT} --system be"), "to\n/save told.jsonl\n/system\n/save not.jsonl\n");
    let first = |file: &str| {
        let saved: Value = serde_json::from_slice(&place.read(file)).expect("JSON");
        saved["messages"][0]["role"].clone()
    };
    assert_eq!((first("told.jsonl"), first("not.jsonl")), (json!("system"), json!("user")));
}

#[test]
fn a_chat_has_lines_that_go_on_and_an_end() {
    let place = trained();
    let (code, _, err) = chat(&place, CHAT, "a\\\nb\n/save x.jsonl\n/exit\nnever read\n");
    assert_eq!(code, Some(0), "{err}");
    let saved: Value = serde_json::from_slice(&place.read("x.jsonl")).expect("JSON");
    assert_eq!(saved["messages"][0]["content"], json!("a\nb"));
    assert_eq!(saved["messages"].as_array().expect("a list").len(), 2);
}

#[test]
fn what_a_chat_cannot_do_is_said() {
    let place = trained();
    let (code, _, err) = chat(&place, "chat --model run", "hi\n");
    assert_eq!(code, Some(2));
    assert!(err.contains("no chat template") && err.contains("--chat-template FILE"), "{err}");
    let (code, _, err) = chat(&place, CHAT, "/nothing\n");
    assert!(code == Some(2) && err.contains("no command `/nothing`") && err.contains("/help"), "{err}");
    let (code, _, err) = chat(&place, CHAT, "/save\n");
    assert!(code == Some(2) && err.contains("needs a file"), "{err}");
}

/// The oldest messages make way for new ones.
#[test]
fn a_chat_outgrows_its_window() {
    let place = trained();
    let many = "to be or not to be, that is the question\n".repeat(12);
    let (code, _, err) = chat(&place, CHAT, &many);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("its oldest 2 messages are forgotten"), "{err}");
}
