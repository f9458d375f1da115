//! Fetching one file: redirects, resuming, checksums.
//!
//! The hub answers with a redirect whose `X-Linked-ETag` is the SHA-256 of a large file, or with the file, whose `ETag` is the
//! SHA-1 of a git object.

use crate::error::CommandError;
use sha1::Digest as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::Agent;
use ureq::http::{HeaderMap, Response};

/// The most redirects of one file.
const REDIRECTS: usize = 8;

/// Bytes read at once.
const CHUNK: usize = 1 << 18;

/// Fetches files of one folder.
pub struct Fetcher {
    agent: Agent,
    base: String,
    dir: PathBuf,
}

/// What became of a file.
pub enum Got {
    /// It was fetched; so many bytes of it were here.
    Fetched { bytes: u64, resumed: u64 },
    /// It is here and as it should be.
    Kept,
    /// The server has none.
    Absent,
}

/// What the server says of a file.
#[derive(Default)]
struct Expected {
    checksum: Option<Checksum>,
    linked: bool,
    size: Option<u64>,
}

/// A checksum in hexadecimal digits.
#[derive(Clone)]
enum Checksum {
    /// SHA-256 of the content.
    Sha256(String),
    /// SHA-1 of a git object with the content.
    Git(String),
}

impl Fetcher {
    /// A fetcher of files below the address `base` into the folder `dir`.
    pub fn new(base: String, dir: PathBuf) -> Fetcher {
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .build();
        Fetcher { agent: config.into(), base, dir }
    }

    /// Fetches `name`, unless it is here.
    pub fn fetch(&self, name: &str) -> Result<Got, CommandError> {
        let path = self.dir.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| not_written(folder, &e))?;
        }
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let had = fs::metadata(&part).map_or(0, |m| m.len());
        match self.attempt(name, &path, &part, had)? {
            Some(got) => Ok(got),
            // What was here was not a beginning of the file.
            None => match self.attempt(name, &path, &part, 0)? {
                Some(got) => Ok(got),
                None => {
                    Err(CommandError::failure(format!("`{name}` is not what the server's checksum says"))
                        .with_hint("Fetch it again later, or from another server with `--endpoint`."))
                }
            },
        }
    }

    /// `None` if the checksum differs; the file is then deleted.
    fn attempt(&self, name: &str, path: &Path, part: &Path, had: u64) -> Result<Option<Got>, CommandError> {
        let mut url = format!("{}/{name}", self.base);
        let mut expected = Expected::default();
        for _ in 0..REDIRECTS {
            let mut response = self.get(&url, had)?;
            expected.learn(response.headers());
            match response.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => {
                    url = location(&url, &response).ok_or_else(|| refused(name, "a redirect to nowhere"))?;
                }
                status @ (200 | 206) => {
                    if is_as_expected(path, &expected)? {
                        return Ok(Some(Got::Kept));
                    }
                    // Without a checksum, nobody would notice that the beginning is another file's.
                    let resumed = if status == 206 && expected.checksum.is_some() { had } else { 0 };
                    if status == 206 && resumed == 0 {
                        remove(part)?;
                        return Ok(None);
                    }
                    let length = number(response.headers(), "content-length");
                    receive(response.body_mut().as_reader(), name, (part, resumed), length)?;
                    return finish(path, part, &expected, resumed);
                }
                // The server has no bytes beyond ours: the file may be complete.
                416 if had > 0 => {
                    if is_as_expected(path, &expected)? {
                        return Ok(Some(Got::Kept));
                    }
                    return finish(path, part, &expected, had);
                }
                404 => return Ok(Some(Got::Absent)),
                401 | 403 => {
                    return Err(CommandError::input(
                        format!("the server does not give `{name}` to everybody"),
                        "Check the name; a model with conditions is fetched with its owner's tools, after agreeing to them.",
                    ));
                }
                status => return Err(refused(name, &format!("status {status}"))),
            }
        }
        Err(refused(name, &format!("more than {REDIRECTS} redirects")))
    }

    fn get(&self, url: &str, had: u64) -> Result<Response<ureq::Body>, CommandError> {
        let mut request = self.agent.get(url);
        if had > 0 {
            request = request.header("Range", format!("bytes={had}-"));
        }
        request.call().map_err(|error| {
            let host = url.split('/').nth(2).unwrap_or(url);
            CommandError::failure(format!("cannot reach `{host}`: {error}")).with_hint(
                "Check the connection; what was fetched is kept, and the same command goes on where it stopped.",
            )
        })
    }
}

impl Expected {
    /// Adds what `headers` say; what the hub says of a linked file counts more than what its store says.
    fn learn(&mut self, headers: &HeaderMap) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(tag) = text("x-linked-etag") {
            (self.checksum, self.linked) = (Checksum::read(tag), true);
            self.size = number(headers, "x-linked-size");
        } else if let (false, Some(tag)) = (self.linked, text("etag")) {
            self.checksum = Checksum::read(tag);
        }
    }
}

impl Checksum {
    fn read(tag: &str) -> Option<Checksum> {
        let digits = tag.trim_start_matches("W/").trim_matches('"').to_ascii_lowercase();
        let is_hexadecimal = digits.bytes().all(|b| b.is_ascii_hexdigit());
        match digits.len() {
            64 if is_hexadecimal => Some(Checksum::Sha256(digits)),
            40 if is_hexadecimal => Some(Checksum::Git(digits)),
            _ => None,
        }
    }

    fn is_of(&self, path: &Path) -> io::Result<bool> {
        let mut file = File::open(path)?;
        let hexadecimal = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        match self {
            Checksum::Sha256(want) => {
                let mut hash = sha2::Sha256::new();
                each_chunk(&mut file, |bytes| hash.update(bytes))?;
                Ok(hexadecimal(&hash.finalize()) == *want)
            }
            Checksum::Git(want) => {
                let mut hash = sha1::Sha1::new();
                hash.update(format!("blob {}\0", file.metadata()?.len()));
                each_chunk(&mut file, |bytes| hash.update(bytes))?;
                Ok(hexadecimal(&hash.finalize()) == *want)
            }
        }
    }
}

fn each_chunk(file: &mut File, mut visit: impl FnMut(&[u8])) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(()),
            n => visit(&chunk[..n]),
        }
    }
}

/// Whether the file at `path` exists and is what the server has.
fn is_as_expected(path: &Path, expected: &Expected) -> Result<bool, CommandError> {
    if !path.is_file() {
        return Ok(false);
    }
    match &expected.checksum {
        Some(checksum) => checksum.is_of(path).map_err(|e| not_read(path, &e)),
        // A file whose checksum is not known is fetched again.
        None => Ok(false),
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

/// Appends a body of `length` bytes, if that is known, to the first bytes of a file.
fn receive(
    mut body: impl Read,
    name: &str,
    (part, had): (&Path, u64),
    length: Option<u64>,
) -> Result<(), CommandError> {
    let broke = |error: &dyn std::fmt::Display| {
        CommandError::failure(format!("the connection broke within `{name}`: {error}"))
            .with_hint("Run the same command again: it goes on where it stopped.")
    };
    let file = File::options().create(true).write(true).truncate(false).open(part);
    let mut file = file.map_err(|e| not_written(part, &e))?;
    file.set_len(had).map_err(|e| not_written(part, &e))?;
    io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(|e| not_written(part, &e))?;
    let mut chunk = vec![0; CHUNK];
    let mut left = length;
    loop {
        let count = body.read(&mut chunk).map_err(|error| broke(&error))?;
        left = left.map(|left| left.saturating_sub(count as u64));
        if count == 0 {
            file.sync_all().map_err(|e| not_written(part, &e))?;
            return match left {
                Some(1..) => Err(broke(&"the rest was not sent")),
                _ => Ok(()),
            };
        }
        file.write_all(&chunk[..count]).map_err(|e| not_written(part, &e))?;
    }
}

/// Gives the file its name, if it is what the server has.
fn finish(path: &Path, part: &Path, expected: &Expected, resumed: u64) -> Result<Option<Got>, CommandError> {
    let bytes = fs::metadata(part).map_err(|e| not_read(part, &e))?.len();
    let sized = expected.size.is_none_or(|size| size == bytes);
    let summed = expected.checksum.as_ref().map(|sum| sum.is_of(part)).transpose();
    if !sized || summed.map_err(|e| not_read(part, &e))? == Some(false) {
        remove(part)?;
        return Ok(None);
    }
    fs::rename(part, path).map_err(|e| not_written(path, &e))?;
    Ok(Some(Got::Fetched { bytes, resumed }))
}

fn remove(part: &Path) -> Result<(), CommandError> {
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(not_written(part, &error)),
        _ => Ok(()),
    }
}

/// The address that a redirect names, which may be relative to the server.
fn location(url: &str, response: &Response<ureq::Body>) -> Option<String> {
    let to = response.headers().get("location")?.to_str().ok()?;
    if to.starts_with("http://") || to.starts_with("https://") {
        // Never from a protected connection to an open one.
        return (!url.starts_with("https:") || to.starts_with("https:")).then(|| to.to_owned());
    }
    let host = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    to.starts_with('/').then(|| format!("{host}{to}"))
}

fn refused(name: &str, got: &str) -> CommandError {
    CommandError::failure(format!("the server answered with {got} for `{name}`"))
        .with_hint("Try again later, or another server with `--endpoint`.")
}

fn not_written(path: &Path, error: &io::Error) -> CommandError {
    let message = format!("cannot write `{}`: {error}", path.display());
    CommandError::input(message, "Name another folder with `--out`.")
}

fn not_read(path: &Path, error: &io::Error) -> CommandError {
    CommandError::failure(format!("cannot read `{}`: {error}", path.display()))
        .with_hint("Remove it, and fetch again.")
}
