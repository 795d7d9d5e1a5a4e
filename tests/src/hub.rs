//! A small hub: the part of Hugging Face's protocol that a download needs, on loopback, with faults on demand.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use sha2::{Digest as _, Sha256};

/// The commit that `main` is.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A file of the repository.
#[derive(Debug, Clone)]
struct File {
    bytes: Vec<u8>,
    etag: String,
    /// Large: answered by a redirect to the store.
    lfs: bool,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Path and query.
    pub path: String,
    /// The header `range`.
    pub range: Option<String>,
    /// The header `authorization`.
    pub authorization: Option<String>,
    /// Whether the store was asked and not the hub.
    pub store: bool,
}

#[derive(Debug, Default)]
struct State {
    repo: String,
    files: BTreeMap<String, File>,
    /// Answers are cut off after so many bytes, so many times.
    cuts: (usize, usize),
    /// Refuses everything: status and `x-error-code`.
    refusal: Option<(u16, &'static str)>,
    asked: Vec<Asked>,
}

/// A hub with one repository. It ends with the test.
#[derive(Debug, Clone)]
pub struct Hub {
    state: Arc<Mutex<State>>,
    hub: SocketAddr,
}

impl Hub {
    /// A hub that has the repository `repo`, without files.
    ///
    /// # Errors
    /// No port is free.
    pub fn start(repo: &str) -> Result<Self> {
        let state = Arc::new(Mutex::new(State { repo: repo.to_owned(), ..State::default() }));
        // Two hosts, as there are: a name and an address, so that a client tells them apart.
        let (hub, store) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let (address, store_address) = (hub.local_addr()?, store.local_addr()?);
        for (listener, is_store) in [(hub, false), (store, true)] {
            let state = Arc::clone(&state);
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let state = Arc::clone(&state);
                    std::thread::spawn(move || {
                        drop(serve(&state, stream, is_store, store_address))
                    });
                }
            });
        }
        Ok(Self { state, hub: address })
    }

    /// For `HF_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a small file, which the hub answers with itself.
    pub fn small(&self, name: &str, bytes: &[u8]) {
        // Git's name for it would be a SHA-1; nobody can tell.
        let etag = sha256(bytes)[..40].to_owned();
        let file = File { bytes: bytes.to_vec(), etag, lfs: false };
        self.with(|state| state.files.insert(name.to_owned(), file));
    }

    /// Adds a large file, which the store has.
    pub fn large(&self, name: &str, bytes: &[u8]) {
        self.large_as(name, &sha256(bytes), bytes);
    }

    /// The same, announced with this SHA-256.
    pub fn large_as(&self, name: &str, sha256: &str, bytes: &[u8]) {
        let file = File { bytes: bytes.to_vec(), etag: sha256.to_owned(), lfs: true };
        self.with(|state| state.files.insert(name.to_owned(), file));
    }

    /// The next `times` answers of files end after `bytes`.
    pub fn cut(&self, bytes: usize, times: usize) {
        self.with(|state| state.cuts = (bytes, times));
    }

    /// From now on everything is refused.
    pub fn refuse(&self, status: u16, code: &'static str) {
        self.with(|state| state.refusal = Some((status, code)));
    }

    /// What was asked since the last time.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.with(|state| std::mem::take(&mut state.asked))
    }
}

/// Hex, as large files are known by.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn serve(state: &Mutex<State>, stream: TcpStream, store: bool, at: SocketAddr) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut asked = Asked { path, range: None, authorization: None, store };
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "range" => asked.range = Some(value.to_owned()),
                "authorization" => asked.authorization = Some(value.to_owned()),
                _ => {}
            }
        }
        line.clear();
        let (head, body, whole) = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.asked.push(asked.clone());
            answer(&mut state, &asked, at)
        };
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body)?;
        if !whole {
            return Ok(()); // in the middle
        }
    }
    Ok(())
}

/// Head and body of an answer, and whether it is whole.
fn answer(state: &mut State, asked: &Asked, store: SocketAddr) -> (String, Vec<u8>, bool) {
    let plain = |status: &str, headers: &str, body: &[u8]| {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{headers}\r\n");
        (head, body.to_vec(), true)
    };
    if let Some((status, code)) = state.refusal {
        return plain(&format!("{status} No"), &format!("x-error-code: {code}\r\n"), b"no");
    }
    let path = asked.path.split('?').next().unwrap_or_default();
    let resolve = format!("/{}/resolve/{COMMIT}/", state.repo);
    if asked.store {
        let found =
            state.files.values().find(|file| file.lfs && path.ends_with(&file.etag)).cloned();
        return match found {
            Some(file) => ranged(state, &file, asked),
            None => plain("404 Not Found", "", b""),
        };
    }
    let revision = format!("/api/models/{}/revision/", state.repo);
    if let Some(revision) = path.strip_prefix(&revision) {
        return match revision {
            "main" | COMMIT => plain("200 OK", "", listing(state).as_bytes()),
            _ => plain("404 Not Found", "x-error-code: RevisionNotFound\r\n", b""),
        };
    }
    let Some(name) = path.strip_prefix(&resolve) else {
        return plain("401 Unauthorized", "x-error-code: RepoNotFound\r\n", b"");
    };
    match state.files.get(name).cloned() {
        None => plain("404 Not Found", "x-error-code: EntryNotFound\r\n", b""),
        Some(file) if file.lfs => {
            let (etag, size) = (&file.etag, file.bytes.len());
            let headers = format!(
                "location: http://{store}/store/{etag}\r\nx-linked-etag: \"{etag}\"\r\nx-linked-size: {size}\r\n\
                 x-repo-commit: {COMMIT}\r\n"
            );
            plain("302 Found", &headers, b"")
        }
        Some(file) => ranged(state, &file, asked),
    }
}

fn listing(state: &State) -> String {
    let mut files = Vec::new();
    for (name, File { bytes, etag, lfs }) in &state.files {
        let size = bytes.len();
        let lfs = if *lfs {
            serde_json::json!({"sha256": etag, "size": size, "pointerSize": 134})
        } else {
            serde_json::Value::Null
        };
        files
            .push(serde_json::json!({"rfilename": name, "size": size, "blobId": etag, "lfs": lfs}));
    }
    serde_json::json!({"id": state.repo, "sha": COMMIT, "gated": false, "siblings": files})
        .to_string()
}

/// The file, or the rest of it that was asked for.
fn ranged(state: &mut State, file: &File, asked: &Asked) -> (String, Vec<u8>, bool) {
    let from = asked.range.as_deref().and_then(|range| range.strip_prefix("bytes="));
    let from = from.and_then(|range| range.strip_suffix('-')?.parse::<usize>().ok()).unwrap_or(0);
    let (total, rest) = (file.bytes.len(), file.bytes.get(from..).unwrap_or_default());
    let mut head = String::from(if from > 0 {
        "HTTP/1.1 206 Partial Content\r\n"
    } else {
        "HTTP/1.1 200 OK\r\n"
    });
    if from > 0 {
        let _ = write!(head, "content-range: bytes {from}-{}/{total}\r\n", total.saturating_sub(1));
    }
    let _ = write!(head, "content-length: {}\r\netag: \"{}\"\r\n\r\n", rest.len(), file.etag);
    let (bytes, times) = state.cuts;
    if times > 0 && bytes < rest.len() {
        state.cuts.1 -= 1;
        return (head, rest[..bytes].to_vec(), false);
    }
    (head, rest.to_vec(), true)
}
