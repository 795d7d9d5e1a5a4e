//! The training process: `hone train --job DIR`.
//!
//! Training runs in a process of its own, so that no lack of memory, no panic and no bad data in it
//! can stop serving. The daemon holds the write end of the child's standard input. When the daemon
//! dies, however it dies, the kernel closes that pipe, and the child ends itself: no orphan goes on
//! training beside the run of the next daemon.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use fail::fail_point;
use hone_trainer::TrainingProgress;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells the child that its standard input is tied to a daemon.
const TIED: &str = "HONE_TIED_TO_PARENT";
/// How long the child may take to write its checkpoint after SIGTERM.
const CHECKPOINT_TIME: Duration = Duration::from_secs(10);
/// How much of what the child says on stderr is kept for the reason.
const REASON_BYTES: usize = 4096;

/// How much sooner than others the kernel ends the training process when memory runs out, of -1000 to 1000: a run is tried
/// again, an answer is not.
const FIRST_TO_GO: &str = "900";

/// How a training process is run.
#[derive(Debug, Clone, Copy)]
pub struct ChildLimits {
    /// Niceness, 0 to 19.
    pub nice: i32,
    /// Longest run.
    pub timeout: Duration,
}

/// How a training process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It says that it is done.
    Done,
    /// It was told to stop and did, leaving a checkpoint.
    Stopped,
    /// It refused, and says why: trying again would end the same.
    Refused(String),
    /// Something killed it: lack of memory, a crash.
    Killed(String),
    /// It took longer than allowed.
    TimedOut,
}

/// Trains the job in `job_dir` to its end, or until `stop`, and reports each progress line.
///
/// # Errors
/// The process cannot be started.
pub async fn train(
    job_dir: &Path,
    limits: ChildLimits,
    stop: &CancellationToken,
    mut progress: impl FnMut(TrainingProgress),
) -> anyhow::Result<Ended> {
    let mut command = Command::from(crate::program::again());
    command.arg("train").arg("--job").arg(job_dir).arg("--json");
    run(command, limits, stop, |line| {
        if let Ok(one) = serde_json::from_str::<TrainingProgress>(line) {
            progress(one);
        }
    })
    .await
}

async fn run(
    mut command: Command,
    limits: ChildLimits,
    stop: &CancellationToken,
    mut line: impl FnMut(&str),
) -> anyhow::Result<Ended> {
    let mut child = command
        .env(TIED, "1")
        // A trace would push the reason out of what is kept.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its own group: what kills the daemon's group must not cut a checkpoint in half, and
        // Ctrl-C at the terminal reaches the daemon alone.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("the training process does not start")?;
    fail_point!("child.spawn");
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid
        && let Err(error) = rustix::process::setpriority_process(Some(pid), limits.nice)
    {
        tracing::warn!(%error, "the training process keeps the daemon's priority");
    }
    if let Some(pid) = pid
        && let Err(error) = fs_err::write(oom_score_path(pid), FIRST_TO_GO)
    {
        tracing::warn!(%error, "the kernel may end the daemon before the training process");
    }
    let _tie = child.stdin.take(); // dropped when this function ends, however it ends
    let mut out = child.stdout.take().map(|out| BufReader::new(out).lines());
    let mut err = child.stderr.take();
    let mut reason = Vec::new();
    let deadline = tokio::time::sleep(limits.timeout);
    tokio::pin!(deadline);
    let mut chunk = [0_u8; 1024];
    let mut ending: Option<Ended> = None;
    let status = loop {
        tokio::select! {
            read = next_line(&mut out) => match read {
                Some(text) => line(&text),
                None => out = None,
            },
            read = read_some(&mut err, &mut chunk) => match read {
                0 => err = None,
                count => {
                    reason.extend_from_slice(&chunk[..count]);
                    let excess = reason.len().saturating_sub(REASON_BYTES);
                    reason.drain(..excess);
                }
            },
            () = stop.cancelled(), if ending.is_none() => {
                ending = Some(Ended::Stopped);
                ask_to_stop(pid, &mut deadline);
            }
            () = &mut deadline => match ending {
                None => {
                    ending = Some(Ended::TimedOut);
                    ask_to_stop(pid, &mut deadline);
                }
                Some(_) => break kill(&mut child).await?,
            },
            status = child.wait(), if out.is_none() && err.is_none() => break status?,
        }
    };
    if let Some(ending) = ending {
        return Ok(ending);
    }
    let reason = String::from_utf8_lossy(&reason);
    let reason = last_words(&reason);
    Ok(match (status.success(), status.code()) {
        (true, _) => Ended::Done,
        (false, Some(code)) => Ended::Refused(
            reason.map_or_else(|| format!("it ended with status {code}"), ToOwned::to_owned),
        ),
        (false, None) => Ended::Killed(format!(
            "{status}{}",
            reason.map(|reason| format!(", last words: {reason}")).unwrap_or_default()
        )),
    })
}

fn oom_score_path(pid: Pid) -> String {
    format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero())
}

/// The last line that says something. What a panic adds about traces does not.
fn last_words(said: &str) -> Option<&str> {
    let mut lines = said.lines().rev().map(str::trim);
    lines.find(|line| !line.is_empty() && !line.starts_with("note: "))
}

fn ask_to_stop(pid: Option<Pid>, deadline: &mut std::pin::Pin<&mut tokio::time::Sleep>) {
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, Signal::TERM); // gone already: as well
    }
    deadline.as_mut().reset(tokio::time::Instant::now() + CHECKPOINT_TIME);
}

async fn kill(child: &mut Child) -> anyhow::Result<std::process::ExitStatus> {
    tracing::warn!("the training process does not stop; killing it");
    child.start_kill()?;
    Ok(child.wait().await?)
}

async fn next_line(
    out: &mut Option<tokio::io::Lines<BufReader<tokio::process::ChildStdout>>>,
) -> Option<String> {
    match out {
        Some(lines) => lines.next_line().await.ok().flatten(),
        None => std::future::pending().await,
    }
}

async fn read_some(err: &mut Option<tokio::process::ChildStderr>, chunk: &mut [u8]) -> usize {
    match err {
        Some(err) => err.read(chunk).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

/// For the training process: ends it when the daemon that started it is gone. Started by hand, the
/// process is tied to nobody and this does nothing.
///
/// # Errors
/// No thread can be started.
pub fn end_with_parent() -> std::io::Result<()> {
    if std::env::var_os(TIED).is_none() {
        return Ok(());
    }
    let watch = || {
        let mut nothing = [0_u8; 64];
        let mut input = std::io::stdin().lock();
        // The daemon never writes; the read returns when the pipe's other end is closed.
        while std::io::Read::read(&mut input, &mut nothing).is_ok_and(|count| count > 0) {}
        // At once: checkpoints are whole or absent, and the next daemon starts from the last one.
        let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
    };
    std::thread::Builder::new().name("hone-parent".to_owned()).spawn(watch)?;
    Ok(())
}

/// For the training process: a flag that SIGTERM sets, so that it ends with a checkpoint.
///
/// # Errors
/// The system refuses to deliver the signal.
pub fn stop_on_term() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let mut term = {
        let _inside = runtime.enter();
        signal(SignalKind::terminate())?
    };
    std::thread::Builder::new().name("hone-term".to_owned()).spawn(move || {
        runtime.block_on(term.recv());
        flag.store(true, Ordering::Relaxed);
    })?;
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ChildLimits = ChildLimits { nice: 5, timeout: Duration::from_secs(20) };

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        command
    }

    async fn ended(
        script: &str,
        limits: ChildLimits,
        stop: &CancellationToken,
    ) -> (Ended, Vec<String>) {
        let mut lines = Vec::new();
        let ended = run(shell(script), limits, stop, |line| lines.push(line.to_owned())).await;
        (ended.unwrap(), lines)
    }

    #[tokio::test]
    async fn each_line_is_reported_and_the_child_is_nice() {
        let never = CancellationToken::new();
        // The priority is set right after the start, which the child may be ahead of.
        let script = "echo one; until [ $(nice) = 5 ]; do sleep 0.01; done; nice";
        let (how, lines) = ended(script, LIMITS, &never).await;
        assert_eq!(how, Ended::Done);
        assert_eq!(lines, ["one", "5"]);
    }

    #[tokio::test]
    async fn the_child_is_the_first_to_go_when_memory_runs_out() {
        let never = CancellationToken::new();
        let script = "until grep -qx 900 /proc/$$/oom_score_adj; do sleep 0.01; done; echo so";
        let (how, lines) = ended(script, LIMITS, &never).await;
        assert_eq!((how, lines), (Ended::Done, vec!["so".to_owned()]));
        let own = fs_err::read_to_string("/proc/self/oom_score_adj").unwrap();
        assert_ne!(own.trim(), FIRST_TO_GO, "the daemon stays as it is");
    }

    #[tokio::test]
    async fn the_reason_is_the_last_line_on_stderr() {
        let never = CancellationToken::new();
        let (how, _) =
            ended("echo talk >&2; echo 'row 3 is empty' >&2; exit 1", LIMITS, &never).await;
        assert_eq!(how, Ended::Refused("row 3 is empty".into()));
        let (how, _) = ended("kill -9 $$", LIMITS, &never).await;
        assert!(matches!(how, Ended::Killed(reason) if reason.contains('9')));
    }

    #[tokio::test]
    async fn the_reason_of_a_panic_is_its_message() {
        let never = CancellationToken::new();
        let script = "test $RUST_BACKTRACE = 0 || exit 1
            echo 'memory allocation of 9437184 bytes failed' >&2
            echo 'note: run with `RUST_BACKTRACE=1` to display a backtrace' >&2
            kill -ABRT $$";
        let (how, _) = ended(script, LIMITS, &never).await;
        let Ended::Killed(reason) = how else { panic!("{how:?}") };
        assert!(
            reason.ends_with("last words: memory allocation of 9437184 bytes failed"),
            "{reason}"
        );
    }

    #[tokio::test]
    async fn it_is_asked_to_stop() {
        let stop = CancellationToken::new();
        let script = "trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done";
        let mut lines = Vec::new();
        let how = run(shell(script), LIMITS, &stop, |line| {
            lines.push(line.to_owned());
            stop.cancel();
        })
        .await;
        assert_eq!(how.unwrap(), Ended::Stopped);
        assert_eq!(lines, ["up", "saved"]);
    }

    #[tokio::test]
    async fn it_may_not_take_longer_than_allowed() {
        let never = CancellationToken::new();
        let limits = ChildLimits { timeout: Duration::from_millis(300), ..LIMITS };
        let (how, _) = ended("exec sleep 30", limits, &never).await;
        assert_eq!(how, Ended::TimedOut);
    }
}
