//! The daemon as a whole: what starts in which order, and what ends in which.
//!
//! Start: lock, store, model, registry, engine with the live adapter, unfinished cycles, HTTP; only
//! then ready. End: no new requests, open streams drain, the training process writes its
//! checkpoint, the store closes. A kill in between leaves what the next start understands.

use std::net::SocketAddr;

use hone_config::{Loaded, Sources};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dirs::Dirs;
use crate::lock::DataLock;

/// A daemon that is ready.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Where it listens; the port is the real one when the configured one was 0.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cancel it to stop the daemon as SIGTERM does.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// From now on SIGTERM and SIGINT stop the daemon; a second one does not make it faster.
    ///
    /// # Errors
    /// The system refuses to deliver signals.
    pub fn stop_on_signals(&self) -> anyhow::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let name = tokio::select! {
                _ = term.recv() => "SIGTERM",
                _ = int.recv() => "SIGINT",
                () = stop.cancelled() => return,
            };
            tracing::info!(signal = name, "stopping");
            stop.cancel();
        });
        Ok(())
    }

    /// Waits until the daemon has stopped and everything is on disk.
    ///
    /// # Errors
    /// A part of it failed while it ran or stopped.
    pub async fn wait(self) -> anyhow::Result<()> {
        self.ended.await?
    }
}

/// Starts a daemon and returns when it is ready. `sources` are what `loaded` was read from: they
/// are read again when the file changes.
///
/// # Errors
/// One sentence that says what to do: the directory is in use, the model is not there, the address
/// is taken.
pub async fn start(loaded: Loaded, sources: Sources) -> anyhow::Result<Running> {
    let config = loaded.config.clone();
    let lock = DataLock::take(&config.server.data_dir)?;
    let dirs = Dirs::open(&config.server.data_dir)?;
    let store = hone_store::Store::open(&dirs.database())?;
    let settings = crate::settings::Settings::new(loaded, sources);
    let stop = CancellationToken::new();
    let tasks = TaskTracker::new();
    let ended = tasks.spawn({
        let stop = stop.clone();
        async move {
            let _held = (lock, settings);
            stop.cancelled().await;
            store.close().await;
            Ok(())
        }
    });
    Ok(Running { address: config.server.listen, stop, tasks, ended })
}
