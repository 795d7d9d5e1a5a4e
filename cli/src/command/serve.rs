//! `hone serve`: the daemon in the foreground.

use crate::cli::ServeArgs;
use crate::context::{CommandResult, Context, Failure, flag, model_flags};
use hone_daemon::exposure::Exposed;
use hone_daemon::{core_dump, dirs, load, serve, telemetry};

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// The configuration does not hold, or the daemon cannot start.
pub fn run(context: &Context, args: &ServeArgs) -> CommandResult {
    let mut flags = model_flags(&args.model);
    if let Some(listen) = &args.listen {
        flags.push(flag("--listen", "server.listen", listen));
    }
    let sources = context.sources(flags);
    let loaded = load::load(&sources).map_err(|error| Failure::Usage(error.to_string()))?;
    telemetry::start(&loaded.config.telemetry.log, loaded.config.telemetry.json)
        .map_err(|error| Failure::Usage(format!("{error:#}")))?;
    dirs::keep_private();
    core_dump::forbid()?;
    let output = context.output;
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(async move {
        let name = loaded.config.model.name();
        let mut signals = serve::Signals::catch()?;
        let running = tokio::select! {
            running = serve::start(loaded, sources) => running.map_err(refused)?,
            // Nothing is served yet, so there is nothing to drain.
            _ = signals.next() => return Ok(()),
        };
        running.stop_on(signals);
        let url = running.url().to_owned();
        if output.is_json() {
            output.value(&serde_json::json!({"ready": true, "url": url, "model": name}))?;
        }
        output.say(format_args!("{name} answers at {url}/v1; Ctrl-C stops it"));
        Ok(running.wait().await?)
    });
    // A model that is still being downloaded or packed is not waited for: the next start goes on with it.
    runtime.shutdown_background();
    outcome
}

/// An address that is open to everybody is a wrong configuration: starting again does not help.
fn refused(error: anyhow::Error) -> Failure {
    if error.is::<Exposed>() { Failure::Usage(error.to_string()) } else { Failure::Failed(error) }
}
