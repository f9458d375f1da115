//! A model whose tokens are bytes, and which repeats its prompt for ever.

use serde_json::Value;
use serve::{
    Chat, Entry, Finish, Language, Likely, Limits, ModelCard, Options, Piece, Reading, Refusal, Stop,
    TextOptions, Token, Writer,
};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes that are read at a time.
const CHUNK: usize = 4;

pub struct Parrot {
    shared: Arc<Shared>,
}

/// What a test sees and does.
#[derive(Default)]
pub struct Shared {
    /// Nothing is written while it is set.
    pub is_held: AtomicBool,
    /// Texts begun and not taken back.
    pub open: AtomicUsize,
    /// The most texts written together.
    pub together: AtomicUsize,
    pub entries: Mutex<Vec<Entry>>,
}

pub struct Text {
    prompt: Vec<u32>,
    read: usize,
    written: usize,
    options: TextOptions,
}

struct Bytes;

impl Language for Bytes {
    fn chat(&self, chat: &Chat) -> Result<Vec<u32>, Refusal> {
        let text = |m: &Value| m["content"].as_str().unwrap_or_default().to_owned();
        let all: String = chat.messages.iter().map(text).collect();
        if all.contains("no chat") {
            return Err(Refusal::new("The template refuses this chat."));
        }
        self.prompt(&format!("{all}{}", if chat.tools.is_some() { " with tools" } else { "" }))
    }

    fn prompt(&self, text: &str) -> Result<Vec<u32>, Refusal> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn vocab(&self) -> usize {
        256
    }
}

impl Text {
    fn next(&mut self) -> Result<Piece, Refusal> {
        let byte = self.prompt[self.written % self.prompt.len()] as u8;
        self.written += 1;
        if byte == b'%' {
            return Err(Refusal::new("The model cannot say this."));
        }
        assert!(byte != b'$', "the test wants a panic");
        if byte == b'.' {
            return Ok(Piece { finish: Some(Finish::Stop), ..Piece::default() });
        }
        let likely = |byte: u8, logprob| Likely { bytes: vec![byte], logprob };
        let top = self.options.logprobs.unwrap_or(0);
        let token = Token {
            own: self.options.logprobs.map(|_| likely(byte, -0.5)),
            top: (0..top as u8).map(|i| likely(byte + i, -0.5 - f64::from(i))).collect(),
        };
        let is_last = self.options.tokens == Some(self.written);
        let finish = is_last.then_some(Finish::Length);
        Ok(Piece { text: (byte as char).to_string(), token: Some(token), finish })
    }
}

impl Writer for Parrot {
    type Text = Text;

    fn begin(&mut self, prompt: Vec<u32>, options: TextOptions) -> Result<Text, Refusal> {
        self.shared.open.fetch_add(1, SeqCst);
        Ok(Text { prompt, read: 0, written: 0, options })
    }

    fn read(&mut self, text: &mut Text) -> Result<Reading, Refusal> {
        text.read += CHUNK;
        if text.read < text.prompt.len() { Ok(Reading::More) } else { text.next().map(Reading::First) }
    }

    fn write(&mut self, texts: &mut [&mut Text]) -> Vec<Result<Piece, Refusal>> {
        while self.shared.is_held.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.shared.together.fetch_max(texts.len(), SeqCst);
        texts.iter_mut().map(|text| text.next()).collect()
    }

    fn end(&mut self, _: Text) {
        self.shared.open.fetch_sub(1, SeqCst);
    }
}

/// A server with a parrot.
pub struct Server {
    pub address: SocketAddr,
    pub shared: Arc<Shared>,
    pub stop: Stop,
    thread: Option<JoinHandle<Result<(), serve::ServeError>>>,
}

pub const LIMITS: Limits = Limits { body: 10_000, timeout: Duration::from_secs(600), slots: 4, waiting: 40 };

impl Server {
    pub fn new(limits: Limits, key: Option<&str>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (shared, stop) = (Arc::new(Shared::default()), Stop::default());
        let (own, log, stopped) = (Arc::clone(&shared), Arc::clone(&shared), stop.clone());
        let options = Options {
            model: ModelCard { id: "parrot".to_owned(), created: 1, context: 100_000_000 },
            key: key.map(str::to_owned),
            limits,
            log: Box::new(move |entry| log.entries.lock().expect("no panic").push(entry.clone())),
        };
        let thread = std::thread::spawn(move || {
            serve::run(listener, options, Arc::new(Bytes), Parrot { shared: own }, &stopped)
        });
        Server { address, shared, stop, thread: Some(thread) }
    }

    /// Stops it, and waits until it has ended.
    pub fn end(mut self) -> Result<(), serve::ServeError> {
        self.stop.begin();
        self.thread.take().expect("a thread").join().expect("no panic")
    }

    /// Waits until `holds`.
    pub fn wait(&self, what: &str, holds: impl Fn(&Shared) -> bool) {
        // A minute is a failure by any measure.
        for _ in 0..30_000 {
            if holds(&self.shared) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("it never happens that {what}");
    }
}
