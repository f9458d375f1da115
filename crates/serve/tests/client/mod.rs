//! A client of HTTP for tests: it shows what comes, headers and all.

#![allow(dead_code, reason = "not every test needs all of it")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer.
pub struct Answer {
    pub status: u16,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// The events, without the last one, which must be `[DONE]`.
    pub fn events(&self) -> Vec<Value> {
        let mut events: Vec<&str> = self.body.split("\n\n").filter(|e| e.starts_with("data: ")).collect();
        assert_eq!(events.pop(), Some("data: [DONE]"), "{}", self.body);
        events.iter().map(|e| serde_json::from_str(&e[6..]).unwrap_or_else(|_| panic!("{e}"))).collect()
    }

    /// Status, type, param and code of an error.
    pub fn error(&self) -> (u16, String, Value, String) {
        let error = &self.json()["error"];
        let text =
            |name: &str| error[name].as_str().unwrap_or_else(|| panic!("{name}: {}", self.body)).to_owned();
        assert!(!text("message").is_empty());
        (self.status, text("type"), error["param"].clone(), text("code"))
    }
}

/// Begins a request; the connection is closed after the answer.
pub fn begin(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(to).expect("a connection");
    // No answer takes that long: a test that waits for ever says nothing.
    stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a limit");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).expect("sent");
    // A server that refuses a large body does not read it.
    let _ = stream.write_all(body);
    stream
}

/// Reads the rest of an answer.
pub fn finish(stream: TcpStream) -> std::io::Result<Answer> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let cut = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(cut)?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let is_chunked = headers.iter().any(|(n, v)| n == "transfer-encoding" && v == "chunked");
    let length = headers.iter().find(|(n, _)| n == "content-length").and_then(|(_, v)| v.parse().ok());
    let mut body = Vec::new();
    if is_chunked {
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim_end(), 16).map_err(|_| cut())?;
            let mut chunk = vec![0; size + 2];
            reader.read_exact(&mut chunk)?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    } else if let Some(length) = length {
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
    } else {
        reader.read_to_end(&mut body)?;
    }
    Ok(Answer { status, headers, body: String::from_utf8(body).expect("UTF-8") })
}

pub fn get(to: SocketAddr, path: &str) -> Answer {
    finish(begin(to, "GET", path, &[], b"")).expect("an answer")
}

pub fn post(to: SocketAddr, path: &str, body: &Value) -> Answer {
    finish(ask(to, path, body)).expect("an answer")
}

/// Begins a request with JSON.
pub fn ask(to: SocketAddr, path: &str, body: &Value) -> TcpStream {
    begin(to, "POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
}
