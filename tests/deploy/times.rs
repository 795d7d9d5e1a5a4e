//! Whoever stops the daemon waits for longer than it takes, and whoever asks it knows where.

use anyhow::{Context, Result, ensure};
use hone_config::Config;
use hone_tests::Hone;
use serde_json::Value;

use crate::files::{text, tree, unit};
use crate::settings::image;

/// How long connections may take to close after the last answer (`server/src/lib.rs`).
const CLOSE: u64 = 5;
/// For the database and a slow disk.
const SPARE: u64 = 10;

fn defaults() -> Result<Config> {
    Ok(Config::defaults(std::path::Path::new("hone-data"))?)
}

/// The longest that a stop may take, in seconds.
fn stop() -> Result<u64> {
    Ok(defaults()?.server.drain.0.as_secs() + CLOSE + SPARE)
}

fn seconds(text: &str) -> Result<u64> {
    let unit: hone_config::Seconds = serde_json::from_value(Value::from(text))?;
    Ok(unit.0.as_secs())
}

#[test]
fn each_way_to_stop_it_leaves_time_for_the_drain() -> Result<()> {
    let stop = stop()?;
    let compose = tree("deploy/compose.yaml")?;
    let grace = compose["services"]["hone"]["stop_grace_period"].as_str().context("compose")?;
    ensure!(seconds(grace)? >= stop, "compose: {grace}");

    let timeout = unit("TimeoutStopSec")?;
    ensure!(seconds(timeout.first().context("unit")?)? >= stop, "unit: {timeout:?}");
    let watchdog = unit("WatchdogSec")?;
    // The daemon calls an engine stuck after 30 s; pings come twice in the watchdog's time.
    ensure!(seconds(watchdog.first().context("unit")?)? >= 60, "unit: {watchdog:?}");

    let pod = &tree("deploy/kubernetes/deployment.yaml")?["spec"]["template"]["spec"];
    let hook = &pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"];
    ensure!(hook[0] == "sleep", "{hook}");
    let before: u64 = hook[1].as_str().context("no time")?.parse()?;
    let grace = pod["terminationGracePeriodSeconds"].as_u64().context("no grace")?;
    ensure!(grace >= before + stop, "pod: {grace} s, after {before} s");
    Ok(())
}

#[tokio::test]
async fn probes_ask_what_there_is() -> Result<()> {
    let pod = &tree("deploy/kubernetes/deployment.yaml")?["spec"]["template"]["spec"];
    let (container, hone) = (&pod["containers"][0], Hone::start().await?);
    let port = &container["ports"][0];
    for (probe, path) in
        [("startupProbe", "/startupz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")]
    {
        let get = &container[probe]["httpGet"];
        ensure!(get["path"] == path && get["port"] == port["name"], "{probe}: {get}");
        ensure!(hone.get(path).await?.status == 200, "{path}");
    }
    Ok(())
}

#[test]
fn all_agree_on_the_port() -> Result<()> {
    let listen = image()?.into_iter().find(|(name, _)| name == "HONE__SERVER__LISTEN");
    let (_, listen) = listen.context("the image does not say where it listens")?;
    let port = listen.rsplit(':').next().unwrap_or_default().to_owned();
    let default = defaults()?.server.listen.port().to_string();
    ensure!(port == default, "`hone status` asks {default}, and the image listens on {port}");
    ensure!(text("deploy/Dockerfile")?.contains(&format!("EXPOSE {port}\n")), "EXPOSE");
    let compose = tree("deploy/compose.yaml")?;
    ensure!(compose["services"]["hone"]["ports"][0] == format!("127.0.0.1:{port}:{port}"));
    let pod = &tree("deploy/kubernetes/deployment.yaml")?["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    ensure!(container["ports"][0]["containerPort"].as_u64() == port.parse().ok(), "pod");
    ensure!(pod["metadata"]["annotations"]["prometheus.io/port"] == port.as_str(), "annotation");
    ensure!(text("deploy/prometheus/prometheus.yaml")?.contains(&format!("\"hone:{port}\"")));
    for proxy in ["deploy/nginx/hone.conf", "deploy/caddy/Caddyfile"] {
        ensure!(text(proxy)?.contains(&format!("127.0.0.1:{port}")), "{proxy}");
    }
    Ok(())
}

#[test]
fn proxies_take_what_the_daemon_takes() -> Result<()> {
    let limit = defaults()?.server.body_limit.len() >> 20;
    ensure!(text("deploy/nginx/hone.conf")?.contains(&format!("client_max_body_size {limit}m;")));
    ensure!(text("deploy/caddy/Caddyfile")?.contains(&format!("max_size {limit}MiB")));
    Ok(())
}
