//! `fetch` against a server in this process: `cargo test -p cli --features fetch --test fetch`.

use sha1::Digest as _;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

/// A server of a model; large files are behind a redirect, as the hub's are.
struct Hub {
    address: String,
    /// Path and range of each request.
    asked: Arc<Mutex<Vec<String>>>,
}

/// How the server treats a large file.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Whole,
    /// The connection breaks after so many bytes, once.
    Breaks(usize),
    /// Its bytes are not those of its checksum.
    Damaged,
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Hub {
    fn new(files: &[(&str, Vec<u8>)], manner: Manner) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let files: HashMap<String, Vec<u8>> =
            files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut manner = manner;
            for stream in listener.incoming().flatten() {
                answer(stream, &files, &mut manner, &log);
            }
        });
        Hub { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().expect("no panic"))
    }
}

fn answer(
    mut stream: TcpStream,
    files: &HashMap<String, Vec<u8>>,
    manner: &mut Manner,
    log: &Mutex<Vec<String>>,
) {
    let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut start = None;
    for line in lines.take_while(|line| !line.is_empty()) {
        let line = line.to_ascii_lowercase();
        start =
            start.or(line.strip_prefix("range: bytes=").and_then(|r| r.trim_end_matches('-').parse().ok()));
    }
    log.lock().expect("no panic").push(format!("{path} {}", start.unwrap_or(0)));
    let say = |stream: &mut TcpStream, head: &str, body: &[u8]| {
        let _ = write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(body);
    };
    let store = path.strip_prefix("/store/");
    let name = store.or(path.strip_prefix("/org/name/resolve/main/")).unwrap_or_default();
    let Some(bytes) = files.get(name) else {
        return say(&mut stream, "404 Not Found\r\nContent-Length: 0", b"");
    };
    if store.is_none() && name.ends_with(".safetensors") {
        let tag = hexadecimal(&sha2::Sha256::digest(bytes));
        let head = format!(
            "302 Found\r\nX-Linked-ETag: \"{tag}\"\r\nX-Linked-Size: {}\r\nLocation: /store/{name}\r\nContent-Length: 0",
            bytes.len()
        );
        return say(&mut stream, &head, b"");
    }
    let tag = {
        let mut hash = sha1::Sha1::new();
        hash.update(format!("blob {}\0", bytes.len()));
        hash.update(bytes);
        hexadecimal(&hash.finalize())
    };
    let start = start.unwrap_or(0).min(bytes.len());
    let mut body = bytes[start..].to_vec();
    let mut status = if start > 0 { "206 Partial Content" } else { "200 OK" };
    if start > 0 && body.is_empty() {
        status = "416 Range Not Satisfiable";
    }
    let length = body.len();
    if store.is_some() {
        match *manner {
            Manner::Breaks(after) => {
                body.truncate(after);
                *manner = Manner::Whole;
            }
            Manner::Damaged => body[0] ^= 1,
            Manner::Whole => {}
        }
    }
    say(&mut stream, &format!("{status}\r\nETag: \"{tag}\"\r\nContent-Length: {length}"), &body);
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let large = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    vec![
        ("config.json", b"{\"hidden_size\": 4}".to_vec()),
        ("model.safetensors", large),
        ("tokenizer.json", b"{}".to_vec()),
    ]
}

fn fetch(hub: &Hub, dir: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backpropane"));
    command.args(["fetch", "org/name", "--endpoint", &hub.address, "--out"]).arg(dir).args(more);
    command.output().expect("the binary starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_model_is_fetched_and_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::new(&files(), Manner::Whole);
    for round in 0..2 {
        let output = fetch(&hub, dir.path(), &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        for (name, bytes) in files() {
            assert!(std::fs::read(dir.path().join(name)).expect("a file") == bytes, "{name}");
        }
        assert_eq!(stderr(&output).matches("is here already").count(), 3 * round, "{}", stderr(&output));
    }
    assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 3, "no other file stays");
}

#[test]
fn a_broken_fetch_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::new(&files(), Manner::Breaks(700_000));
    let output = fetch(&hub, dir.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("the connection broke within `model.safetensors`"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("it goes on where it stopped"), "{}", stderr(&output));
    assert!(!dir.path().join("model.safetensors").exists());
    hub.asked();
    let output = fetch(&hub, dir.path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let asked = hub.asked();
    assert!(asked.contains(&"/store/model.safetensors 700000".to_owned()), "{asked:?}");
    assert!(std::fs::read(dir.path().join("model.safetensors")).expect("a file") == files()[1].1);
    // What is here is no beginning of the file: it is noticed and fetched whole.
    std::fs::remove_file(dir.path().join("model.safetensors")).expect("removed");
    std::fs::write(dir.path().join("model.safetensors.part"), [9; 1000]).expect("written");
    let output = fetch(&hub, dir.path(), &[]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(std::fs::read(dir.path().join("model.safetensors")).expect("a file") == files()[1].1);
}

#[test]
fn what_is_not_as_the_server_says_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let hub = Hub::new(&files(), Manner::Damaged);
    let output = fetch(&hub, dir.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("`model.safetensors` is not what the server's checksum says"),
        "{}",
        stderr(&output)
    );
    assert!(!dir.path().join("model.safetensors").exists());
    let output = fetch(&hub, dir.path(), &["--file", "none.gguf"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("`org/name` has no file `none.gguf`"), "{}", stderr(&output));
    // Nobody listens.
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let away = Hub { address: format!("http://127.0.0.1:{port}"), asked: Arc::default() };
    let output = fetch(&away, dir.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains(&format!("cannot reach `127.0.0.1:{port}`")), "{}", stderr(&output));
    assert!(stderr(&output).contains("hint: Check the connection"), "{}", stderr(&output));
}
