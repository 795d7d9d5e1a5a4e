//! One file: what is there of it already is kept, the rest is asked for, and the whole is checked before it gets its name.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::StatusCode;
use sha2::{Digest as _, Sha256};

use crate::{
    Error, Name,
    cache::Repo,
    client::{Client, innermost},
    listing::Wares,
};

/// Attempts in a row that bring nothing, after which it is given up.
const TRIES: u32 = 4;
/// Before the second attempt; each further one waits twice as long.
const PAUSE: Duration = Duration::from_millis(500);

/// Where a file comes from and goes to.
pub(crate) struct Fetch<'a> {
    pub(crate) client: &'a Client,
    pub(crate) repo: &'a Repo,
    pub(crate) name: &'a Name,
    pub(crate) commit: &'a str,
    pub(crate) wares: &'a Wares,
}

/// A blob that is being written, and the hash of what it has so far.
struct Partial {
    path: PathBuf,
    file: std::fs::File,
    hasher: Sha256,
    done: u64,
}

impl Partial {
    /// Goes on with what an earlier download left, read once for its hash.
    fn open(path: PathBuf) -> std::io::Result<Self> {
        let options =
            fs_err::OpenOptions::new().create(true).read(true).append(true).open(&path)?;
        let (mut file, mut hasher, mut done) = (options.into_file(), Sha256::new(), 0);
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(Self { path, file, hasher, done });
            }
            hasher.update(&buffer[..read]);
            done += read as u64;
        }
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.done += bytes.len() as u64;
        Ok(())
    }

    fn empty(&mut self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        (self.hasher, self.done) = (Sha256::new(), 0);
        Ok(())
    }
}

impl Fetch<'_> {
    /// Gets the blob, unless it is there, and lets the file of the commit be it. `progress` is told how many bytes of
    /// this file are there.
    pub(crate) async fn run(&self, progress: &mut (dyn FnMut(u64) + Send)) -> Result<(), Error> {
        let Wares { name, etag, size, .. } = self.wares;
        let blob = self.repo.blob(etag);
        let lock = self.repo.lock(etag)?;
        if !is_whole(&blob, *size) {
            self.download(&blob, progress).await?;
        }
        drop(lock);
        progress(*size);
        self.repo.link(self.commit, name, etag)
    }

    async fn download(
        &self,
        blob: &Path,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(), Error> {
        let Wares { etag, size, .. } = self.wares;
        let path = blob.with_file_name(format!("{etag}.incomplete"));
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        if let Some(folder) = blob.parent() {
            fs_err::create_dir_all(folder).map_err(io(folder))?;
        }
        let mut partial = Partial::open(path.clone()).map_err(io(&path))?;
        let (mut tries, mut pause) = (0, PAUSE);
        while partial.done < *size {
            let before = partial.done;
            let failed = match self.attempt(&mut partial, progress).await? {
                // A server that ends too early without a word has failed, too.
                None => (partial.done < *size).then(|| "it ended too early".to_owned()),
                some => some,
            };
            let Some(reason) = failed else { break };
            if partial.done > before {
                (tries, pause) = (0, PAUSE);
            }
            tries += 1;
            if tries >= TRIES {
                let (file, done) = (self.wares.name.clone(), partial.done);
                return Err(Error::CutOff { file, done, total: *size, reason });
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.check(&partial)?;
        partial.file.sync_all().map_err(io(&path))?;
        hone_durable::rename(&partial.path, blob).map_err(io(blob))
    }

    /// Asks for what is missing; the reason, if the connection failed in the middle.
    async fn attempt(
        &self,
        partial: &mut Partial,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Option<String>, Error> {
        let asked = self.client.file(self.name, self.commit, &self.wares.name, partial.done).await;
        let mut response = match asked {
            Ok(response) => response,
            // What was there a moment ago may be there again.
            Err(Error::Offline { reason, .. }) => return Ok(Some(reason)),
            Err(Error::Status { status, .. })
                if status.starts_with('5') || status.starts_with("429") =>
            {
                return Ok(Some(status));
            }
            Err(error) => return Err(error),
        };
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        if partial.done > 0 && !goes_on(&response, partial.done) {
            partial.empty().map_err(io(&partial.path))?;
        }
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => {
                    partial.put(&bytes).map_err(io(&partial.path))?;
                    if partial.done > self.wares.size {
                        break;
                    }
                    progress(partial.done);
                }
                Ok(None) => break,
                Err(error) => return Ok(Some(innermost(&error))),
            }
        }
        Ok(None)
    }

    /// Throws away what is not what the hub says.
    fn check(&self, partial: &Partial) -> Result<(), Error> {
        let Wares { name, size, sha256, .. } = self.wares;
        let found = hex(partial.hasher.clone().finalize().as_slice());
        let reason = if partial.done != *size {
            format!("{} bytes instead of {size}", partial.done)
        } else if let Some(expected) = sha256.as_ref().filter(|expected| **expected != found) {
            format!("SHA-256 {found} instead of {expected}")
        } else {
            return Ok(());
        };
        drop(fs_err::remove_file(&partial.path));
        Err(Error::Differs { file: name.clone(), reason })
    }
}

/// Whether the answer is the rest that was asked for, and not the whole file again.
fn goes_on(response: &reqwest::Response, from: u64) -> bool {
    let range = response.headers().get("content-range").and_then(|range| range.to_str().ok());
    response.status() == StatusCode::PARTIAL_CONTENT
        && range.is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
}

fn is_whole(blob: &Path, size: u64) -> bool {
    fs_err::metadata(blob).is_ok_and(|found| found.is_file() && found.len() == size)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
