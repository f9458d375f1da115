//! Many clients, clients that go away, and the end.

use crate::client::{ask, begin, finish, get, post};
use crate::parrot::{LIMITS, Server};
use serde_json::json;
use serve::{End, Limits, ServeError};
use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::Ordering::SeqCst;

const TEXT: &str = "/v1/completions";

#[test]
fn many_clients_get_what_one_gets() {
    let server = Server::new(LIMITS, None);
    let to = server.address;
    let answers: Vec<_> = std::thread::scope(|scope| {
        let clients = (0..32u32).map(|i| {
            scope.spawn(move || {
                let prompt: String = (0..=i).map(|j| char::from(b'a' + ((i + j) % 26) as u8)).collect();
                let mut body =
                    json!({ "model": "parrot", "prompt": prompt, "max_tokens": 100, "stream": i % 2 == 0 });
                let answer = post(to, TEXT, &body);
                let text = |answer: &crate::client::Answer| match answer.header("content-type") {
                    Some("text/event-stream") => answer
                        .events()
                        .iter()
                        .filter_map(|e| e["choices"][0]["text"].as_str().map(str::to_owned))
                        .collect(),
                    _ => answer.json()["choices"][0]["text"].as_str().expect("a text").to_owned(),
                };
                let got: String = text(&answer);
                body["stream"] = json!(false);
                (got, prompt.chars().cycle().take(100).collect::<String>())
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).collect()
    });
    for (got, want) in answers {
        assert_eq!(got, want);
    }
    // Four slots: texts were written together, and no more than that.
    assert!(server.shared.together.load(SeqCst) <= 4);
    server.wait("no text is open", |s| s.open.load(SeqCst) == 0);
    server.end().unwrap();
}

#[test]
fn a_client_that_goes_away_frees_its_place() {
    let server = Server::new(Limits { slots: 1, waiting: 0, ..LIMITS }, None);
    for stream in [true, false] {
        let body = json!({ "model": "parrot", "prompt": "abc", "max_tokens": 90_000_000, "stream": stream });
        let client = ask(server.address, TEXT, &body);
        server.wait("the text is begun", |s| s.open.load(SeqCst) == 1);
        drop(client);
        server.wait("its place is free", |s| s.open.load(SeqCst) == 0);
    }
    server.wait("both are logged", |s| s.entries.lock().unwrap().len() == 2);
    assert!(server.shared.entries.lock().unwrap().iter().all(|entry| entry.end == End::Gone));
    server.end().unwrap();
}

#[test]
fn what_was_begun_is_finished_and_nothing_new_is_taken() {
    let server = Server::new(Limits { slots: 2, waiting: 20, ..LIMITS }, None);
    server.shared.is_held.store(true, SeqCst);
    let body =
        |stream: bool| json!({ "model": "parrot", "prompt": "abc", "max_tokens": 6, "stream": stream });
    // More than there are slots for: those that wait were begun, too.
    let begun: Vec<TcpStream> = (0..8).map(|i| ask(server.address, TEXT, &body(i % 2 == 0))).collect();
    server.wait("all are taken", |_| get(server.address, "/health").json()["texts"] == json!(8));
    let mut idle = TcpStream::connect(server.address).expect("a connection");
    server.stop.begin();
    server.wait("new ones are refused", |_| get(server.address, "/health").status == 503);
    let refused = post(server.address, TEXT, &body(false));
    assert_eq!((refused.status, refused.error().3.as_str()), (503, "server_stopping"));
    assert_eq!(refused.header("connection"), Some("close"));
    server.shared.is_held.store(false, SeqCst);
    for (i, stream) in begun.into_iter().enumerate() {
        let answer = finish(stream).expect("a whole answer");
        let text: String = match i % 2 {
            0 => answer
                .events()
                .iter()
                .filter_map(|e| e["choices"][0]["text"].as_str().map(str::to_owned))
                .collect(),
            _ => answer.json()["choices"][0]["text"].as_str().expect("a text").to_owned(),
        };
        assert_eq!(text, "abcabc", "{i}");
    }
    // A connection that asks nothing holds nobody up.
    assert_eq!(idle.read(&mut [0; 9]).unwrap_or(0), 0);
    server.end().unwrap();
}

#[test]
fn a_fault_of_the_model_ends_the_server_with_an_error() {
    let server = Server::new(LIMITS, None);
    let answer = post(server.address, TEXT, &json!({ "model": "parrot", "prompt": "ab$", "max_tokens": 9 }));
    assert_eq!(answer.status, 500);
    assert!(matches!(server.end(), Err(ServeError::Writer)));
}

#[test]
fn broken_requests_do_no_harm() {
    let server = Server::new(LIMITS, None);
    for bytes in
        [&b"\x16\x03\x01\x02\x00"[..], b"GET\r\n\r\n", b"POST /v1/completions HTTP/1.1\r\nContent-Length: 9"]
    {
        let mut stream = TcpStream::connect(server.address).expect("a connection");
        std::io::Write::write_all(&mut stream, bytes).expect("sent");
    }
    let half =
        begin(server.address, "POST", TEXT, &[("Content-Type", "application/json"), ("Expect", "no")], b"");
    assert_eq!(finish(half).expect("an answer").status, 400);
    assert_eq!(get(server.address, "/health").status, 200);
    server.end().unwrap();
}
