//! Logs: structured, on stderr, with a level that can change while the daemon runs.
//!
//! stdout is for data. Prompts and answers are never logged.

use std::sync::OnceLock;

use anyhow::Context;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// The filter that [`set_filter`] exchanges.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging. A second call in one process changes the filter only.
///
/// # Errors
/// The filter is none.
pub fn start(filter: &str, json: bool) -> anyhow::Result<()> {
    if FILTER.get().is_some() {
        return set_filter(filter);
    }
    let (layer, handle) = reload::Layer::new(parse(filter)?);
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(true);
    let registry = tracing_subscriber::registry().with(layer);
    // Somebody else's subscriber (a test's) may be there; then it stays.
    let started = if json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        registry.with(lines.with_ansi(ansi())).try_init()
    };
    if started.is_ok() {
        let _ = FILTER.set(handle); // two calls at once: the first one's subscriber holds
        log_panics();
    }
    Ok(())
}

/// Changes what is logged from now on.
///
/// # Errors
/// The filter is none.
pub fn set_filter(filter: &str) -> anyhow::Result<()> {
    let filter = parse(filter)?;
    FILTER.get().map_or(Ok(()), |handle| handle.reload(filter)).context("telemetry.log")
}

/// Whether this is a filter.
///
/// # Errors
/// It is none, and what one looks like.
pub fn check(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(|_| ()).map_err(|error| {
        format!(
            "`{filter}` is no filter ({error}); write e.g. \"info\" or \"info,hone_engine=debug\""
        )
    })
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter).with_context(|| format!("telemetry.log: `{filter}`"))
}

fn ansi() -> bool {
    use std::io::IsTerminal;
    std::io::stderr().is_terminal()
}

/// A panic is a line in the log, with its place, not only text on stderr.
fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let text = info.payload_as_str().unwrap_or("no message");
        tracing::error!(place, text, "a thread panicked");
        before(info);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_is_refused_by_key() {
        assert!(parse("info,hone_engine=debug").is_ok());
        let error = parse("hone=loud").unwrap_err().to_string();
        assert!(error.starts_with("telemetry.log: `hone=loud`"), "{error}");
    }
}
