//! The demo's own daemon: a real child process on a free port with a temporary data directory.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::client::Client;

/// How long the daemon may take to become ready without a word: it downloads and packs the model on its first start, and says
/// how far it is.
const READY: Duration = Duration::from_secs(120);
/// How long it may take to end.
const END: Duration = Duration::from_secs(20);

/// A running daemon; it ends, and its folder goes, when this is dropped.
#[derive(Debug)]
pub struct Host {
    child: Option<Child>,
    folder: Option<TempDir>,
    client: Client,
}

impl Host {
    /// Starts a daemon with these lines of `hone.toml` and waits until it is ready. Its data goes
    /// to `data_dir`, which then stays, or to the temporary folder.
    ///
    /// # Errors
    /// It does not become ready; its last words are in the message.
    pub async fn start(
        toml: &str,
        data_dir: Option<&Path>,
        arguments: &[String],
    ) -> anyhow::Result<Self> {
        let data_dir = match data_dir {
            Some(dir) if dir.join("hone.db").exists() => {
                bail!("{} already holds a daemon's data; choose an empty --data-dir", dir.display())
            }
            Some(dir) => Some(std::path::absolute(dir)?),
            None => None,
        };
        let folder = tempfile::Builder::new().prefix("hone-demo-").tempdir()?;
        let config = folder.path().join("hone.toml");
        fs_err::write(&config, toml)?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (log, _) = fs_err::File::create(log_path(folder.path()))?.into_parts();
        let mut command = Command::from(hone_daemon::program::again());
        command.arg("--config").arg(&config).arg("--data-dir");
        command.arg(data_dir.unwrap_or_else(|| folder.path().join("hone-data")));
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
        command.args(arguments).current_dir(folder.path()).stdin(Stdio::null());
        // A group of its own: Ctrl-C reaches the demo, which then ends the daemon in order.
        command.stdout(Stdio::null()).stderr(log).process_group(0);
        let child = command.spawn().context("the daemon does not start")?;
        let client = Client::new(&format!("http://127.0.0.1:{port}"), None, None)?;
        let mut host = Self { child: Some(child), folder: Some(folder), client };
        host.until_ready().await?;
        Ok(host)
    }

    async fn until_ready(&mut self) -> anyhow::Result<()> {
        let (mut said, mut since) = (String::new(), Instant::now());
        while !self.client.is_ready().await {
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?,
                None => None,
            };
            let words = self.last_words();
            if words != said {
                (said, since) = (words, Instant::now());
            }
            if ended.is_some() || since.elapsed() > READY {
                bail!("the daemon did not become ready; it said: {}", self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// A client of it.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The last line of its log.
    pub fn last_words(&self) -> String {
        let log =
            self.folder.as_ref().map(|folder| fs_err::read_to_string(log_path(folder.path())));
        let log = log.and_then(Result::ok).unwrap_or_default();
        log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing").to_owned()
    }

    /// Leaves the daemon running and its folder where it is; the folder and the process id.
    pub fn keep(mut self) -> Option<(PathBuf, u32)> {
        let pid = self.child.take()?.id()?;
        Some((self.folder.take()?.keep(), pid))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let id = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let Some(pid) = id else { return };
        let _ = rustix::process::kill_process(pid, Signal::TERM);
        let start = Instant::now();
        while matches!(child.try_wait(), Ok(None)) {
            if start.elapsed() > END {
                // With its group, so that no training process stays behind.
                let _ = rustix::process::kill_process_group(pid, Signal::KILL);
                let _ = child.start_kill();
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join("daemon.log")
}
