//! The daemon as a whole: what starts in which order, and what ends in which.
//!
//! Start: lock, store, model, registry, engine with the live adapter, unfinished cycles, HTTP; only
//! then ready. End: no new requests, open streams drain, the training process writes its
//! checkpoint, the store closes. A kill in between leaves what the next start understands.

use std::sync::Arc;
use std::time::Duration;

use hone_api::key::KeyLimits;
use hone_config::{Config, ConfigSources, LoadedConfig};
use hone_server::address::Proxies;
use hone_server::tls::TlsFiles;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::Operator;
use crate::cycle::Cycles;
use crate::dirs::Dirs;
use crate::evals::Evals;
use crate::lock::DataLock;
use crate::reload::Reload;
use crate::services::Services;
use crate::settings::Settings;
use crate::startup::open_services;
use crate::{drop_folder, expiry, files, key_expiry, leftovers, memory, systemd, trigger};

/// SIGTERM and SIGINT, caught from the moment that this is made: one that comes while the daemon is
/// about to say that it is ready must not end the process with requests open.
#[derive(Debug)]
pub struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    /// Catches both.
    ///
    /// # Errors
    /// The system refuses to deliver signals.
    pub fn catch() -> std::io::Result<Self> {
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    /// The name of the next one.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// A daemon that is ready.
#[derive(Debug)]
pub struct RunningDaemon {
    url: String,
    stop: CancellationToken,
    tasks: TaskTracker,
    ended: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl RunningDaemon {
    /// Where it listens, as clients take it; the port is the real one when the configured one was 0.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on these signals stop the daemon; a second one does not make it faster.
    pub fn stop_on(&self, mut signals: Signals) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let name = tokio::select! {
                name = signals.next() => name,
                () = stop.cancelled() => return,
            };
            tracing::info!(signal = name, "stopping");
            stop.cancel();
        });
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
pub async fn start(loaded: LoadedConfig, sources: ConfigSources) -> anyhow::Result<RunningDaemon> {
    files::take()?;
    memory::check(&loaded)?;
    let config = loaded.config.clone();
    let lock = DataLock::take(&config.server.data_dir)?;
    let dirs = Dirs::open(&config.server.data_dir)?;
    leftovers::sweep(&dirs);
    let settings = Arc::new(Settings::new(loaded, sources));
    let reload = Reload::watch(Arc::clone(&settings))?;
    let services = open_services(settings, dirs).await?;

    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let (cycles, feedback) =
        (Arc::new(Cycles::new(Arc::clone(&services))), Arc::new(Notify::new()));
    let evals = Evals::new(Arc::clone(&services), tasks.clone(), stop.clone());
    let operator = Operator::new(
        Arc::clone(&services),
        Arc::clone(&cycles),
        evals,
        Arc::clone(&feedback),
        tasks.clone(),
    );
    operator.resume().await?;
    // The address first: a daemon that cannot listen starts nothing.
    let http = hone_server::run(http_dependencies(&services, operator), &http_options(&config))?;
    let (address, url) = (http.address(), http.url());
    tasks.spawn({
        let (cycles, stop) = (Arc::clone(&cycles), stop.clone());
        async move { cycles.run(stop).await }
    });
    tasks.spawn(trigger::run(Arc::clone(&services), cycles, feedback, stop.clone()));
    tasks.spawn(reload.run(services.journal.clone(), stop.clone()));
    tasks.spawn(expiry::run(Arc::clone(&services), stop.clone()));
    tasks.spawn(key_expiry::run(services.store.clone(), stop.clone()));
    tasks.spawn(services.journal.clone().settle(stop.clone()));
    tasks.spawn({
        let (services, stop) = (Arc::clone(&services), stop.clone());
        async move {
            if let Err(error) = drop_folder::run(services, stop).await {
                tracing::error!(%error, "adapters in the drop folder are not noticed");
            }
        }
    });
    if let Some(address) = http.metrics_address() {
        tracing::info!(%address, "/metrics is at an address of its own");
    }
    tracing::info!(%address, model = config.model.name(), "ready");
    // Two that are not among the tasks: one goes on while these end, the other waits for them.
    let apart = TaskTracker::new();
    apart.spawn(systemd::accompany(
        Arc::clone(&services.engine),
        format!("{} answers at {url}/v1", config.model.name()),
        stop.clone(),
    ));
    let end = End { http, services, tasks: tasks.clone(), _lock: lock };
    let ended = apart.spawn(end.when(stop.clone()));
    Ok(RunningDaemon { url, stop, tasks, ended })
}

fn http_dependencies(services: &Services, operator: Operator) -> hone_server::state::Dependencies {
    hone_server::state::Dependencies {
        engine: Arc::clone(&services.engine),
        registry: Arc::clone(&services.registry),
        store: services.store.clone(),
        control: Arc::new(operator),
        metrics: Arc::clone(&services.metrics),
        served_name: services.settings.now().model.name(),
        sources: services.sources.clone(),
        keys: Arc::clone(&services.keys),
    }
}

fn http_options(config: &Config) -> hone_server::Options {
    let (server, auth) = (&config.server, &config.auth);
    let bound = |most: u32| Some(most).filter(|most| *most > 0);
    let with_tls = !server.tls_certificate.as_os_str().is_empty();
    hone_server::Options {
        listen: server.listen,
        workers: server.workers,
        hosts: server.hosts.clone(),
        cors_origins: server.cors_origins.clone(),
        proxies: Proxies::new(server.trusted_proxies.iter().map(|network| network.0).collect()),
        per_address: KeyLimits {
            requests_per_minute: bound(auth.address_requests_per_minute),
            tokens_per_minute: bound(auth.address_tokens_per_minute),
            max_streams: bound(auth.address_max_streams),
        },
        body_limit: server.body_limit.len(),
        body_memory: server.body_memory.len(),
        embeddings: server.embeddings,
        tls: with_tls.then(|| TlsFiles {
            certificate: server.tls_certificate.clone(),
            key: server.tls_key.clone(),
        }),
        metrics: config.telemetry.metrics_listen.0,
        drain: server.drain.0,
    }
}

/// What has to end, in its order.
struct End {
    http: hone_server::Running,
    services: Arc<Services>,
    tasks: TaskTracker,
    _lock: DataLock,
}

impl End {
    async fn when(self, stop: CancellationToken) -> anyhow::Result<()> {
        stop.cancelled().await;
        self.tasks.close();
        // While streams drain, the training process writes its checkpoint.
        tokio::join!(self.http.stop(), self.tasks.wait());
        let engine = Arc::clone(&self.services.engine);
        // Nobody is left who could wait for an answer.
        let failed = tokio::task::spawn_blocking(move || engine.shutdown(Duration::ZERO)).await?;
        if failed > 0 {
            tracing::warn!(failed, "requests were cut off");
        }
        self.services.store.close().await;
        tracing::info!("stopped");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::settings_of_tiny;

    #[tokio::test(flavor = "multi_thread")]
    async fn it_serves_stops_and_serves_again() {
        let dir = tempfile::tempdir().unwrap();
        let (loaded, sources) = settings_of_tiny(dir.path());
        for _ in 0..2 {
            let running = start(loaded.clone(), sources.clone()).await.unwrap();
            let url = running.url().to_owned();
            let ready = reqwest::get(format!("{url}/readyz")).await.unwrap();
            assert!(ready.status().is_success());
            let second = start(loaded.clone(), sources.clone()).await.unwrap_err();
            assert!(second.to_string().contains("another daemon"), "{second}");

            // A cycle without feedback comes to an end and says why.
            let client = reqwest::Client::new();
            let started = client.post(format!("{url}/v1/cycles")).send().await.unwrap();
            let cycle: serde_json::Value = started.json().await.unwrap();
            let id = cycle["id"].as_str().unwrap();
            let events = client.get(format!("{url}/v1/cycles/{id}/events")).send().await.unwrap();
            assert!(events.text().await.unwrap().contains("min_examples"));
            let figures = client.get(format!("{url}/metrics")).send().await.unwrap();
            let figures = figures.text().await.unwrap();
            for line in [
                "hone_cycle_step_seconds_count{step=\"select\"} 1",
                "hone_cycle_step_seconds_count{step=\"train\"} 0",
                "hone_promotions_total{outcome=\"skipped\"} 1",
                "hone_promotions_total{outcome=\"promoted\"} 0",
            ] {
                assert!(figures.contains(line), "{line} is missing in {figures}");
            }

            running.stop.cancel();
            running.wait().await.unwrap();
            assert!(reqwest::get(format!("{url}/readyz")).await.is_err());
        }
    }
}
