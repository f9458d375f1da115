//! `serve` as a child process, with a tiny model trained here.

#[path = "../../serve/tests/client/mod.rs"]
mod client;
#[path = "cli/place.rs"]
#[allow(dead_code, reason = "the folder is shared with other tests")]
mod place;

use client::{Answer, ask, finish, get, post};
use place::{Place, binary};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

/// A chat as plain lines.
const TEMPLATE: &str = "{% for m in messages %}{{ m['content'] + '\\n' }}{% endfor %}{% if tools %}{{ tools | length }}{% endif %}\
    {% if add_generation_prompt %}{{ 'to ' }}{% endif %}";

/// A server, killed when it is dropped.
struct Served {
    child: Child,
    out: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Served {
    fn start(place: &Place, args: &str) -> Served {
        let mut child = Command::new(binary())
            .args(["serve", "--model", "run", "--json", "--port", "0"])
            .args(args.split_whitespace())
            .current_dir(place.path(""))
            .env("BACKPROPANE_API_KEY", "")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let first = line(&mut out).expect("the address");
        assert_eq!((&first["event"], &first["model"]), (&json!("listening"), &json!("run")));
        let address = first["address"].as_str().and_then(|a| a.strip_prefix("http://"));
        let address = address.and_then(|a| a.parse().ok()).expect("an address");
        Served { child, out, address }
    }

    /// Asks it to end, as `kill` does.
    #[cfg(unix)]
    fn terminate(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(killed.expect("kill").success());
    }

    /// Waits for its end: the exit code, and the entries of its requests.
    #[cfg(unix)]
    fn ended(&mut self) -> (Option<i32>, Vec<Value>) {
        let code = self.child.wait().expect("a child").code();
        (code, std::iter::from_fn(|| line(&mut self.out)).collect())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(out: &mut BufReader<ChildStdout>) -> Option<Value> {
    let mut text = String::new();
    out.read_line(&mut text).expect("a line");
    (!text.is_empty()).then(|| serde_json::from_str(&text).expect("JSON"))
}

/// A place with a trained model in `run`, and a template.
fn trained() -> Place {
    let place = Place::new();
    place.succeed(
        "train --model tiny --seq 128 --data text.txt --batch 2 --steps 40 --warmup 2 --quiet --out run",
    );
    place.write("template.jinja", TEMPLATE);
    place
}

/// The texts of an answer, whole or in events.
fn texts(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut texts = BTreeMap::new();
    let events = match answer.header("content-type") {
        Some("text/event-stream") => answer.events(),
        _ => vec![answer.json()],
    };
    for choice in events.iter().flat_map(|e| e["choices"].as_array().into_iter().flatten()) {
        let piece = [&choice["text"], &choice["message"]["content"], &choice["delta"]["content"]];
        let piece = piece.into_iter().find_map(|text| text.as_str()).unwrap_or_default();
        texts.entry(choice["index"].as_u64()).or_insert_with(String::new).push_str(piece);
    }
    texts.into_values().collect()
}

#[test]
fn answers_are_those_of_generate_whole_or_in_events() {
    let place = trained();
    let served = Served::start(&place, "--chat-template template.jinja");
    let to = served.address;
    assert_eq!(get(to, "/health").json()["status"], "ok");
    assert_eq!(get(to, "/v1/models").json()["data"][0]["context_length"], 128);

    let generated =
        place.succeed("generate --model run --prompt whether --tokens 40 --temperature 0 --json").json();
    let mut body = json!({
        "model": "run", "prompt": "whether", "max_tokens": 40, "temperature": 0, "logprobs": 3,
        "user": "a test",
    });
    let whole = post(to, TEXT, &body);
    assert_eq!(whole.json()["choices"][0]["text"], generated["texts"][0]["text"]);
    assert_eq!(whole.json()["usage"]["prompt_tokens"], generated["prompt_tokens"]);
    // The likeliest token is the one that is taken; its probability is that of `generate`, but for rounding to half
    // precision where passes have other widths.
    let logprobs = &whole.json()["choices"][0]["logprobs"];
    let ours = logprobs["token_logprobs"].as_array().expect("logprobs");
    for (i, theirs) in generated["texts"][0]["logprobs"].as_array().expect("logprobs").iter().enumerate() {
        let (a, b) = (ours[i].as_f64().expect("one"), theirs.as_f64().expect("one"));
        assert!((a - b).abs() < 0.02, "{i}: {a} {b}");
        let top = logprobs["top_logprobs"][i].as_object().expect("tokens");
        assert!(top.values().all(|other| other.as_f64() <= Some(a)), "{top:?}");
    }
    body["stream"] = json!(true);
    assert_eq!(texts(&post(to, TEXT, &body)), texts(&whole));

    let mut chat = json!({
        "model": "run", "messages": [{"role": "user", "content": "be or not"}], "max_tokens": 30, "temperature": 0,
    });
    let whole = post(to, CHAT, &chat);
    let prompt = json!({ "model": "run", "prompt": "be or not\nto ", "max_tokens": 30, "temperature": 0 });
    assert_eq!(texts(&whole), texts(&post(to, TEXT, &prompt)));
    chat["stream"] = json!(true);
    assert_eq!(texts(&post(to, CHAT, &chat)), texts(&whole));
    // Tools are in the prompt.
    chat["tools"] = json!([{}, {}]);
    chat["stream"] = json!(false);
    let with_tools = post(to, CHAT, &chat).json()["usage"]["prompt_tokens"].as_u64();
    assert!(with_tools > whole.json()["usage"]["prompt_tokens"].as_u64());
}

#[test]
fn options_do_what_they_say() {
    let place = trained();
    let served = Served::start(&place, "");
    let ask = |more: Value| {
        let mut body = json!({ "model": "run", "prompt": "to be", "max_tokens": 30 });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
        post(served.address, TEXT, &body)
    };
    let greedy = texts(&ask(json!({ "temperature": 0 })));
    // A stop string ends the text before it, also where tokens do not end with it.
    let stop: String = greedy[0].chars().skip(5).take(4).collect();
    let stopped = ask(json!({ "temperature": 0, "stop": [stop] }));
    assert_eq!(texts(&stopped)[0], greedy[0].split(stop.as_str()).next().expect("a beginning"));
    assert_eq!(stopped.json()["choices"][0]["finish_reason"], "stop");
    // The same seed, the same text; several texts have the seeds that follow.
    let both = texts(&ask(json!({ "seed": 7, "n": 2, "temperature": 1.5 })));
    assert_eq!(both[0], texts(&ask(json!({ "seed": 7, "temperature": 1.5 })))[0]);
    assert_eq!(both[1], texts(&ask(json!({ "seed": 8, "temperature": 1.5 })))[0]);
    assert_ne!(both[0], both[1]);
    // Without a seed they differ.
    assert_ne!(texts(&ask(json!({ "temperature": 2 }))), texts(&ask(json!({ "temperature": 2 }))));
    // A token that is ruled out is not taken, and one that is favoured always is.
    let favoured = ask(json!({ "temperature": 0, "logit_bias": {"70": 100}, "logprobs": 0 })).json();
    let tokens = favoured["choices"][0]["logprobs"]["tokens"].as_array().expect("tokens").clone();
    assert!(tokens.len() == 30 && tokens.iter().all(|token| *token == tokens[0]), "{tokens:?}");
    // A prompt may be tokens.
    let tokens = ask(json!({ "temperature": 0, "prompt": [[70, 71], [72]], "max_tokens": 3 })).json();
    assert_eq!(
        (&tokens["usage"]["prompt_tokens"], tokens["choices"].as_array().map(Vec::len)),
        (&json!(3), Some(2))
    );
    // All that there is room for, and not more.
    let full =
        ask(json!({ "temperature": 0, "prompt": [70, 71], "max_tokens": 126, "ignore_eos": true })).json();
    assert_eq!(
        (&full["usage"]["total_tokens"], &full["choices"][0]["finish_reason"]),
        (&json!(128), &json!("length"))
    );
    let over = ask(json!({ "prompt": [70, 71], "max_tokens": 127 }));
    assert_eq!(over.error().3, "context_length_exceeded");
    let chat = json!({ "model": "run", "messages": [{"role": "user", "content": "a"}] });
    let refused = post(served.address, CHAT, &chat);
    assert!(refused.body.contains("no chat template") && refused.status == 400, "{}", refused.body);
    assert_eq!(
        post(served.address, TEXT, &json!({ "model": "other", "prompt": "a" })).error().3,
        "model_not_found"
    );
}

/// The requests of client `i`, which have texts of several lengths.
fn request(i: usize, stream: bool) -> Value {
    const PROMPTS: [&str; 4] =
        ["whether nobler", "to be or", "in", "that is the question: whether nobler in mind."];
    let prompt = format!("{}{}", PROMPTS[i % 4], " or".repeat(i % 7));
    json!({ "model": "run", "prompt": prompt, "max_tokens": 10 + i, "temperature": 0, "stream": stream })
}

#[test]
fn thirty_two_clients_get_what_one_client_gets() {
    let place = trained();
    let served = Served::start(&place, "--slots 12");
    let to = served.address;
    let alone: Vec<_> = (0..32).map(|i| texts(&post(to, TEXT, &request(i, false)))).collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let ask = |i| scope.spawn(move || texts(&post(to, TEXT, &request(i, i % 2 == 0))));
        let clients: Vec<_> = (0..32).map(ask).collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).collect()
    });
    for (i, (alone, together)) in alone.iter().zip(&together).enumerate() {
        assert_eq!(alone, together, "client {i}");
    }
}

#[cfg(unix)]
#[test]
fn a_server_that_is_told_to_end_loses_nothing() {
    let place = trained();
    let mut served = Served::start(&place, "--slots 4");
    let to = served.address;
    let begun: Vec<_> = (0..16).map(|i| ask(to, TEXT, &request(i + 40, i % 2 == 0))).collect();
    // Each is taken, or answered already.
    let mut answered = 0;
    while served_count(to) + answered < 16 {
        answered += usize::from(line(&mut served.out).is_some_and(|e| e["path"] == TEXT));
    }
    served.terminate();
    for (i, stream) in begun.into_iter().enumerate() {
        let answer = finish(stream).expect("a whole answer");
        assert!(!texts(&answer)[0].is_empty(), "{i}: {}", answer.body);
    }
    let (code, entries) = served.ended();
    assert_eq!(code, Some(0));
    let own = entries.iter().filter(|e| e["path"] == TEXT);
    assert!(own.clone().all(|e| e["end"] == "whole" && e["status"] == 200), "{entries:?}");
    assert_eq!(own.count() + answered, 16);
}

/// Texts under way and waiting.
#[cfg(unix)]
fn served_count(to: SocketAddr) -> usize {
    get(to, "/health").json()["texts"].as_u64().expect("a number") as usize
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let place = trained();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let refused = place.run(&format!("serve --model run --port {port}"));
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains(&format!("cannot listen on 127.0.0.1, port {port}")),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("`--port 0` takes a free one"), "{}", refused.stderr);
    let none = place.run("serve --model nothing --port 0");
    assert_eq!(none.code, Some(2), "{}", none.stderr);
    let key = place.run("serve --model run --port 0 --api-key=");
    assert!(key.code == Some(2) && key.stderr.contains("the API key is no word"), "{}", key.stderr);
}
