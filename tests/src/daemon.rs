//! A real daemon of its own for each test: started, killed, started again on the same data.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::canary::Canary;
use crate::{Certificates, hone_binary};

/// How a daemon shall be started.
#[derive(Debug, Default)]
pub struct Builder {
    config: String,
    arguments: Vec<String>,
    environment: Vec<(String, OsString)>,
    authority: Option<PathBuf>,
    upgraded: bool,
}

impl Builder {
    /// Adds lines of `hone.toml`.
    #[must_use]
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// Adds a command-line argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds a variable to the daemon's environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Speaks TLS with it, and believes the authority of these.
    #[must_use]
    pub fn authority(mut self, files: &Certificates) -> Self {
        self.authority = Some(files.authority.clone());
        self
    }

    /// Its binary is gone as soon as it runs, as after an upgrade that has put another one there.
    #[must_use]
    pub fn upgraded(mut self) -> Self {
        self.upgraded = true;
        self
    }

    /// Starts the daemon and waits until it is ready.
    ///
    /// # Errors
    /// It ends, or is not ready within two minutes; its own words are in the message.
    pub async fn start(self) -> Result<Hone> {
        let mut hone = self.prepare()?;
        hone.restart().await?;
        Ok(hone)
    }

    /// A daemon that does not run yet: [`Hone::restart`] starts it.
    ///
    /// # Errors
    /// The disk's.
    pub fn prepare(self) -> Result<Hone> {
        let folder = tempfile::tempdir()?;
        fs_err::write(folder.path().join("hone.toml"), &self.config)?;
        let authority = self.authority.map(fs_err::read).transpose()?;
        let trusted = authority.as_deref().map(reqwest::Certificate::from_pem).transpose()?;
        let scheme = if trusted.is_some() { "https" } else { "http" };
        let http = reqwest::Client::builder().no_proxy().tls_certs_only(trusted).build()?;
        let Self { arguments, environment, upgraded, .. } = self;
        let canary = Canary::default();
        Ok(Hone {
            folder,
            arguments,
            environment,
            upgraded,
            http,
            scheme,
            port: 0,
            child: None,
            canary,
        })
    }
}

/// A running daemon with a data folder of its own; both are gone when this is dropped. Then it is also made sure that the
/// daemon told nobody's words and no secret in its log (with the messages of panics), nor in its figures.
#[derive(Debug)]
pub struct Hone {
    folder: TempDir,
    arguments: Vec<String>,
    environment: Vec<(String, OsString)>,
    upgraded: bool,
    http: reqwest::Client,
    scheme: &'static str,
    port: u16,
    child: Option<Child>,
    canary: Canary,
}

impl Hone {
    /// A daemon on the starter model with default settings.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// A daemon with settings.
    #[must_use]
    pub fn builder() -> Builder {
        // The nightly cycle must not start in the middle of a test.
        Builder::default().config("[schedule]\nenabled = false")
    }

    /// Starts the daemon again on the same data (after [`Self::kill`] or [`Self::terminate`]).
    ///
    /// # Errors
    /// It ends, or is not ready within two minutes.
    pub async fn restart(&mut self) -> Result<()> {
        self.port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = fs_err::OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let (log, _) = log.into_parts();
        let binary = self.folder.path().join("hone");
        if self.upgraded {
            fs_err::copy(hone_binary(), &binary)?;
        }
        let mut command = Command::new(if self.upgraded { binary.clone() } else { hone_binary() });
        command
            .arg("--data-dir")
            .arg(self.data())
            .arg("--config")
            .arg(self.folder.path().join("hone.toml"))
            .args(["serve", "--listen", &format!("127.0.0.1:{}", self.port)])
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // A group of its own, so that a kill takes the training child with it, as a power cut would.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        self.child = Some(command.spawn()?);
        if self.upgraded {
            fs_err::remove_file(&binary)?;
        }
        let start = Instant::now();
        loop {
            if let Ok(response) = self.http.get(self.at("/readyz")).send().await
                && response.status().is_success()
            {
                return Ok(());
            }
            let ended = self.child.as_mut().context("no child")?.try_wait()?;
            if ended.is_some() || start.elapsed() > Duration::from_secs(120) {
                bail!("the daemon is not ready ({ended:?}); it says:\n{}", self.log()?);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sets or takes away a variable of the next start's environment.
    pub fn set_environment(&mut self, name: &str, value: Option<&str>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.extend(value.map(|value| (name.to_owned(), value.into())));
    }

    /// Whether the daemon was started and has ended by itself, or by a kill from elsewhere.
    ///
    /// # Errors
    /// The system's.
    pub fn has_ended(&mut self) -> Result<bool> {
        let Some(child) = &mut self.child else { return Ok(true) };
        let ended = child.try_wait()?.is_some();
        if ended {
            self.child = None;
        }
        Ok(ended)
    }

    /// `kill -9` of the daemon and all its children, at once.
    ///
    /// # Errors
    /// There is no such process.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("not running")?;
        kill_process_group(Pid::from_child(&child), Signal::KILL)?;
        child.wait()?;
        Ok(())
    }

    /// SIGTERM, without waiting for anything; [`Self::terminate`] then waits for the end.
    ///
    /// # Errors
    /// There is no such process.
    pub fn signal_stop(&self) -> Result<()> {
        let child = self.child.as_ref().context("not running")?;
        Ok(kill_process(Pid::from_child(child), Signal::TERM)?)
    }

    /// SIGTERM; waits for the end. The exit code.
    ///
    /// # Errors
    /// It does not end within a minute.
    pub async fn terminate(&mut self) -> Result<Option<i32>> {
        let mut child = self.child.take().context("not running")?;
        kill_process(Pid::from_child(&child), Signal::TERM)?;
        for _ in 0..600 {
            if let Some(status) = child.try_wait()? {
                return Ok(status.code());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        child.kill()?;
        bail!("SIGTERM did not end the daemon; it says:\n{}", self.log()?)
    }

    /// The daemon's process id.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Runs the command line on this daemon, e.g. `["adapters", "list"]`.
    ///
    /// # Errors
    /// It does not start.
    pub fn cli(&self, arguments: &[&str]) -> Result<std::process::Output> {
        let output = Command::new(hone_binary())
            .args(arguments)
            .args(["--url", &self.at(""), "--data-dir"])
            .arg(self.data())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()?;
        self.canary.note_keys(&String::from_utf8_lossy(&output.stdout));
        Ok(output)
    }

    /// Runs the command line on this data directory, whether or not the daemon runs.
    ///
    /// # Errors
    /// It does not start.
    pub fn cli_offline(&self, arguments: &[&str]) -> Result<std::process::Output> {
        let output = Command::new(hone_binary())
            .args(arguments)
            .arg("--data-dir")
            .arg(self.data())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .output()?;
        self.canary.note_keys(&String::from_utf8_lossy(&output.stdout));
        Ok(output)
    }

    /// The URL of a path.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("hone-data")
    }

    /// The drop folder.
    #[must_use]
    pub fn drop_folder(&self) -> PathBuf {
        self.data().join("drop")
    }

    /// The configuration file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("hone.toml")
    }

    /// All that the daemon wrote to stdout and stderr.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(fs_err::read_to_string(self.log_path())?)
    }

    /// The HTTP client.
    #[must_use]
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    fn log_path(&self) -> PathBuf {
        Path::join(self.folder.path(), "log.txt")
    }

    pub(crate) const fn canary(&self) -> &Canary {
        &self.canary
    }

    /// What `/metrics` answers to nobody and to each key. Drops have no runtime to ask on.
    fn last_figures(&self) -> std::io::Result<String> {
        let mut figures = String::new();
        for key in self.canary.keys().iter().chain([&String::new()]) {
            let mut connection = TcpStream::connect(("127.0.0.1", self.port))?;
            connection.set_read_timeout(Some(Duration::from_secs(5)))?;
            let head = format!("host: 127.0.0.1:{}\r\nauthorization: Bearer {key}", self.port);
            write!(connection, "GET /metrics HTTP/1.1\r\n{head}\r\nconnection: close\r\n\r\n")?;
            connection.read_to_string(&mut figures)?;
        }
        Ok(figures)
    }
}

impl Drop for Hone {
    #[allow(clippy::panic, reason = "no test can forget to ask a drop")]
    fn drop(&mut self) {
        let mut said = String::new();
        if self.child.is_some() {
            said = self.last_figures().unwrap_or_default();
            let _ = self.kill();
        }
        // Not always UTF-8: a kill cuts off anywhere.
        let log = fs_err::read(self.log_path()).unwrap_or_default();
        said.push_str(&String::from_utf8_lossy(&log));
        if let Ok(key) = fs_err::read(self.data().join("source.key")) {
            self.canary.note_bytes(&key);
        }
        let told = self.canary.told_in(&said);
        if !told.is_empty() && !std::thread::panicking() {
            panic!("the daemon tells what is nobody's business:\n{}", told.join("\n"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "nobody's business")]
    fn a_log_that_tells_a_key_fails_the_test() {
        let hone = Hone::builder().prepare().unwrap();
        let secret = "0123456789abcdef".repeat(4);
        hone.canary.note_keys(&format!("hone-0123456789ab-{secret}"));
        fs_err::write(hone.log_path(), format!("WARN key={secret}\n")).unwrap();
    }
}
